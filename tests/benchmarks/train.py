"""How fast does the language model train, against a Llama in PyTorch? Run by `./launch/benchmark.sh train [SHAPE …]`.

Shapes are the configs `lm:nano`, `lm:300m` and `lm:1b`: on a CPU `nano` in float32 unless others are named, on a GPU
`300m` and `1b` in bfloat16. A step is text to video with sound from a batch in the host's memory, the texts' embeddings
with it, to new parameters: forward, backward, clipping, AdamW (also for `nano`, which otherwise trains with Muon) and
where the config has one the moving average. The peer is compiled by PyTorch, has the same weights, tokens and masks
(`twins/language.py`), and the losses of the first three steps must be ours to 1e-3, or nothing is timed.

On a CPU both sides run in turns, two threads each, and the ratio is the median of the turns' ratios. On a GPU each has
the device to itself, one after the other: ours takes the first of `train_task.FITS` that fits into its memory, the peer
as many rows, with its layers rematerialised if it needs to.

Prints JSON lines {name, ours, peer, unit, ratio (above 1: ours is better), goal, load, rows, tokens, …, versions}. MFU
is a line of its own: the peer is the chip at the dense rate that its maker states (`chips.py`), so the ratio is the
share of it that we reach. FLOPs are `lm.flops.step_flops`, attention by all pairs, as in PaLM and `videopoet plan`;
`mfu_seen_pairs` counts those alone that the mask lets through.
"""

import argparse
import functools
import statistics
import sys
from pathlib import Path

import contest
from train_task import SHAPES, Task, config_of, layout_of

HERE = Path(__file__)
TWIN, TOLERANCE = "compiled Llama twin", 1e-3
ROUNDS = {"cpu": 9, "gpu": 15}
GOALS = {"cpu": 1.0, "gpu": 1.1, "mfu": 0.5}
ON_GPU = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.94"}  # each side has the device to itself


def side_of(case: str, side: str):
    """The work of a side, in the process that runs it."""
    import train_sides

    return functools.partial(train_sides.our_side if side == "ours" else train_sides.twin_side, Task.parse(case))


def memory_mb() -> float:
    """The most that this process held, on its accelerator if it has one."""
    torch, jax = (sys.modules.get(name) for name in ("torch", "jax"))
    if torch and torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    stats = jax.local_devices()[0].memory_stats() if jax and not torch else None
    return stats["peak_bytes_in_use"] / 2**20 if stats else contest.peak_mb()


def equal(ours: contest.Contestant, peer: contest.Contestant) -> list[float]:
    """Our first losses.

    Raises:
        Failed: they are not the peer's, or a side has none.
    """
    if not (ours.told and peer.told):
        raise contest.Failed(f"{ours.name if not ours.told else peer.name}: ended early; its words are on stderr.")
    pairs = list(zip(ours.told["losses"], peer.told["losses"], strict=True))
    if not all(abs(a - b) <= TOLERANCE * abs(b) for a, b in pairs):
        raise contest.Failed(f"{ours.name}: its first losses and the peer's are {pairs}, not equal to {TOLERANCE}.")
    return [round(a, 4) for a, _ in pairs]


def compare(task: Task, gpu: str | None) -> None:
    """Times both sides and prints the lines of a task."""
    kind = "gpu" if gpu else "cpu"
    rounds = ROUNDS[kind]
    if gpu:
        ours = contest.contest(HERE, str(task), ["ours"], rounds, ON_GPU)["ours"]
        task = Task.parse(ours.told["task"])
        mfu(task, ours, gpu)
        peer = contest.contest(HERE, str(task), [TWIN], rounds, {"JAX_PLATFORMS": "cpu"})[TWIN]
    else:
        sides = contest.contest(HERE, str(task), ["ours", TWIN], rounds)
        ours, peer = sides["ours"], sides[TWIN]
    losses = equal(ours, peer)
    ratios = [b / a for a, b in zip(ours.seconds, peer.seconds, strict=True)]
    ratio = peer.median / ours.median if gpu else statistics.median(ratios)
    contest.line(
        f"{title(task, gpu)}, against the {TWIN}", ours.median, peer.median, "s", GOALS[kind], ratio=ratio,
        ratios=[round(min(ratios), 3), round(max(ratios), 3)], cpu={s.side: s.cpu_median for s in (ours, peer)},
        losses=losses, **speed(task, ours), peer_gib=round(peer.peak_mb / 1024, 1), peer_remat=peer.told["remat"],
    )  # fmt: skip


def title(task: Task, gpu: str | None) -> str:
    on = f" on {gpu}" if gpu else ""
    return f"{task.shape}, a training step of {task.rows} × {length(task):,} tokens in {task.dtype}{on}"


def length(task: Task) -> int:
    return layout_of(config_of(task)).length


def speed(task: Task, ours: contest.Contestant) -> dict[str, object]:
    """What a line tells of our side beside its time."""
    tokens, needed = task.rows * length(task), flops(task)
    return {
        "rows": task.rows, "tokens": tokens, "remat": task.remat, "gib": round(ours.peak_mb / 1024, 1),
        "tokens_per_second": round(tokens / ours.median), "tflops": contest.rounded(needed.dense / ours.median / 1e12),
    }  # fmt: skip


def flops(task: Task):
    from videopoet_jax.lm.flops import step_flops
    from videopoet_jax.lm.transformer import PrefixLM

    config = config_of(task)
    return step_flops(PrefixLM(**config.model), layout_of(config), task.rows)


def mfu(task: Task, ours: contest.Contestant, gpu: str) -> None:
    """The line of MFU; without a ratio for a chip that `chips.py` does not know."""
    from videopoet_jax.parallel.chips import peak_of

    peak, needed = peak_of(gpu), flops(task)
    contest.line(
        f"{title(task, gpu)}, against the chip's dense rate", ours.median, peak and needed.dense / peak, "s",
        GOALS["mfu"], mfu_seen_pairs=peak and round(needed.exact / peak / ours.median, 3), **speed(task, ours),
    )  # fmt: skip


def gpu_name() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--rows", type=int, default=0, help="sequences of a step, instead of what fits")
    parser.add_argument("--remat", default="none", help="with --rows: what the backward pass keeps of a layer")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="bfloat16 on a GPU, float32 elsewhere")
    parser.add_argument("--as-on-gpu", action="store_true", help="a CPU goes the way of a GPU; to try it")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return contest.serve(side_of(*options.serve), memory_mb)
    if unknown := set(options.shapes) - set(SHAPES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(SHAPES)}.")
    gpu = gpu_name() or ("a CPU" if options.as_on_gpu else None)
    dtype = options.dtype or ("bfloat16" if gpu_name() else "float32")
    rows = options.rows or (0 if gpu else 32)
    shapes = options.shapes or (["300m", "1b"] if gpu else ["nano"])
    tasks = {shape: Task(shape, rows, options.remat if rows else "", dtype) for shape in shapes}
    _, failed = contest.each(tasks, lambda shape: compare(tasks[shape], gpu))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
