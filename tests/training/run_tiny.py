"""`python run_tiny.py WORKDIR STEPS FAULT`: trains the tiny model in a process of its own and lets the fault happen."""

import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import tiny_model  # noqa: E402

from videopoet_jax.training import checkpoint, manifest  # noqa: E402


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_in_orbax(workdir: Path, step: int) -> None:
    """SIGKILL once the temporary folder of `step` is there; the write of arrays is slowed down to hit it."""
    finish = checkpoint.Checkpoints._finish
    checkpoint.ocp.AsyncCheckpointer._make_on_commit_callback = lambda *_: lambda: time.sleep(60)
    checkpoint.Checkpoints._finish = lambda self, n, arrays: time.sleep(60) if n == step else finish(self, n, arrays)

    def watch():
        while not list(workdir.glob(f"checkpoints/{step:08d}.orbax-checkpoint-tmp*")):
            time.sleep(0.001)
        kill()

    threading.Thread(target=watch, daemon=True).start()


def allow_small_files_only(workdir: Path) -> dict:
    """Once a step is saved, a file of more than 4 KB is a full disk: metrics still fit, checkpoints do not."""
    while not list(workdir.glob(f"checkpoints/*/{manifest.NAME}")):
        time.sleep(0.01)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    return {}


def forbid_writing(workdir: Path) -> dict:
    """Once a step is saved, its folder is read-only: to a user, whom root would not heed."""
    while not list(workdir.glob(f"checkpoints/*/{manifest.NAME}")):
        time.sleep(0.01)
    (workdir / "checkpoints").chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    return {}


def main(workdir: Path, steps: int, fault: str) -> None:
    settings = {}
    if fault == "kill in orbax":
        kill_in_orbax(workdir, step=4)
    elif fault == "kill before the manifest":
        manifest.write = lambda *_: kill()
    elif fault == "SIGTERM":
        settings = {
            "evaluate_every": 1,
            "evaluate": lambda s: s.step == 2 and os.kill(os.getpid(), signal.SIGTERM) or {},
        }
    elif fault == "SIGTERM twice":

        def twice(state):
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
            return {}

        settings = {"evaluate_every": 1, "evaluate": twice}
    elif fault == "disk full":
        tiny_model.MODEL = tiny_model.Mlp(width=2048)
        settings = {"evaluate_every": 6, "evaluate": lambda _: allow_small_files_only(workdir), "max_to_keep": 1}
    elif fault == "read-only":
        settings = {"evaluate_every": 6, "evaluate": lambda _: forbid_writing(workdir), "max_to_keep": 1}
    tiny_model.train(workdir, steps, checkpoint_every=4, **settings)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
