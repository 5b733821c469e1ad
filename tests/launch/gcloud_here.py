"""gcloud for one queued resource whose workers are folders of this machine: a stand-in for the tests of tpu_pod.

$CLOUD/state     what the resource is, in the words of the documentation; no file: there is none
$CLOUD/slice     its workers' homes; gone with it, and with all that runs there
$CLOUD/calls     what was asked for, a line each
$CLOUD/deaf      how many connections fail from now on, before they reach a worker; no file: none

`ssh` runs the command in every worker's home, `scp` copies there, `create` gives a slice at the second look.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

CLOUD = Path(os.environ["CLOUD"])
STATE, SLICE, CALLS, DEAF = CLOUD / "state", CLOUD / "slice", CLOUD / "calls", CLOUD / "deaf"
WORKERS = 2


def lose_slice() -> None:
    """Ends what runs on the workers, and takes them away."""
    for pid in SLICE.glob("*/videopoet_run/pid"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)
    shutil.rmtree(SLICE, ignore_errors=True)


def homes(words: list[str]) -> list[Path]:
    """Those that --worker names."""
    (asked,) = [word.partition("=")[2] for word in words if word.startswith("--worker=")]
    return [SLICE / str(number) for number in range(WORKERS) if asked in ("all", str(number))]


def main(words: list[str]) -> int:
    """Does what the command line says; returns the exit code."""
    assert words[:3] == ["compute", "tpus", "queued-resources"], words
    action, words = words[3], words[4:]
    if action == "describe":
        if not STATE.exists():
            print("ERROR: (gcloud.compute.tpus.queued-resources.describe) NOT_FOUND: no such resource", file=sys.stderr)
            return 1
        print(state := STATE.read_text())
        if state == "WAITING_FOR_RESOURCES":
            STATE.write_text("ACTIVE")
        return 0
    with CALLS.open("a") as calls:
        print(action, *(word.partition("=")[2] for word in words if word.startswith("--command=")), file=calls)
    if action == "create":
        for number in range(WORKERS):
            (SLICE / str(number)).mkdir(parents=True)
        STATE.write_text("WAITING_FOR_RESOURCES")
    elif action == "delete":
        STATE.unlink()
        lose_slice()
    elif action == "scp":
        for home in homes(words):
            shutil.copy(words[0], home / words[1].partition(":")[2])
    elif action == "ssh":
        if DEAF.exists() and (left := int(DEAF.read_text())):
            DEAF.write_text(str(left - 1))
            return 255
        (command,) = [word.partition("=")[2] for word in words if word.startswith("--command=")]
        for home in homes(words):
            if not home.exists():
                return 255
            prepared(home)
            done = subprocess.run(["bash", "-c", command], cwd=home, env={**os.environ, "HOME": str(home)})
            if done.returncode:
                return done.returncode
    return 0


def prepared(home: Path) -> None:
    """As if pip had been there: the test's own program, where the checkout's environment has `videopoet`."""
    setup, bin = home / "videopoet_jax/setup.py", home / "videopoet_jax/.venv/bin"
    if setup.exists() and not bin.exists():
        bin.mkdir(parents=True)
        shutil.copy(os.environ["PROGRAM"], bin / "videopoet")
        checksum = subprocess.run(["cksum"], stdin=setup.open(), capture_output=True, text=True).stdout.split()[0]
        (bin.parent / f".installed-tpu_gcs-{checksum}").touch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
