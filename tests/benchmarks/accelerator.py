"""How fast is the video tokenizer on a GPU, against a twin in PyTorch?

    ./launch/benchmark.sh accelerator [--alone] [NAME …]

Clips of 17×128×128 in bfloat16, on the one GPU that both libraries find. `encode` and `decode` go from uint8 in the
host's memory to codes and back; the peer is the twin compiled by PyTorch, unless ours runs `--alone`. `step` is a
training step of so many clips behind the start of the discriminator, with LPIPS and without R1; it has no peer.

Prints JSON lines {name, ours, peer, unit, ratio (above 1: ours is better), goal, load, clips, frames_per_second, gib,
tflops, mfu, versions}: medians of runs in turns after a warm-up; gib is the most that our side held. FLOPs are those of
the twins' convolutions, for both sides: of a step three times a pass through the tokenizer and eight through the
discriminator (which passes a gradient on, and learns from two clips), nothing of LPIPS and nothing that is computed
again. mfu is their share of the dense bfloat16 rate that the maker states (`parallel/chips.py`).
"""

import argparse
import functools
import sys
from pathlib import Path

import contest
import ours

HERE = Path(__file__)
SIZE = (17, 128, 128)
WIDTHS = {"base": 64, "large": 128}
CLIPS = {"base": 16, "large": 8}
ROUNDS, GOAL = 5, 1.1
# Both sides share the GPU, so JAX must not take its memory at the start.
SETTINGS = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def our_side(way: str, variant: str):
    if way == "step":
        return ours.recipe_step(variant, CLIPS[variant], SIZE)
    clip = (CLIPS[variant], *SIZE)
    return {"encode": ours.video_encode, "decode": ours.video_decode}[way](variant, clip, dtype="bfloat16")


def twin_side(way: str, variant: str):
    import peers

    return getattr(peers, f"gpu_{way}")(WIDTHS[variant], CLIPS[variant], SIZE)


def flops(way: str, variant: str) -> float:
    """Of one clip, counted by PyTorch over the twins' shapes; nothing is computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from twins import magvit2

    if way == "step":
        return 3 * (flops("encode", variant) + flops("decode", variant)) + 8 * flops("discriminate", variant)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = magvit2.Tokenizer(WIDTHS[variant])
        if way == "encode":
            model.encoder(torch.empty(1, 3, *SIZE))
        elif way == "decode":
            model.decoder(torch.empty(1, 18, 1 + (SIZE[0] - 1) // 4, SIZE[1] // 8, SIZE[2] // 8))
        else:
            magvit2.Discriminator(128, SIZE[1] // 32 * SIZE[2] // 32)(torch.empty(1, 3, *SIZE))
    return counter.get_total_flops()


CASES = {
    f"{variant}-{way}": {
        "ours": functools.partial(our_side, way, variant),
        "compiled twin": functools.partial(twin_side, way, variant),
    }
    for variant in WIDTHS
    for way in ("encode", "decode")
} | {"base-step": {"ours": functools.partial(our_side, "step", "base")}}


def gpu_mb() -> float:
    """The most of the GPU's memory that JAX held, 0 where PyTorch computes."""
    if "jax" not in sys.modules:
        return 0.0
    import jax

    return jax.local_devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20


def compare(name: str, gpu: str, alone: bool) -> None:
    """Runs a case and prints its line."""
    variant, way = name.split("-")
    sides = contest.contest(HERE, name, ["ours"] if alone else list(CASES[name]), ROUNDS, SETTINGS)
    mine, peer = sides["ours"].median, sides["compiled twin"].median if len(sides) > 1 else None
    from videopoet_jax.parallel.chips import peak_of

    clips, rate, peak = CLIPS[variant], CLIPS[variant] * flops(way, variant) / mine, peak_of(gpu)
    contest.line(
        f"{variant} {way}s {clips} × {'×'.join(map(str, SIZE))} on {gpu}" + ", against the compiled twin" * bool(peer),
        mine, peer, "s", GOAL,
        clips=clips, frames_per_second=round(clips * SIZE[0] / mine), gib=round(sides["ours"].peak_mb / 1024, 1),
        tflops=round(rate / 1e12, 1), mfu=peak and round(rate / peak, 3),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all unless named")
    parser.add_argument("--alone", action="store_true", help="without the twin, which takes minutes to compile")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        case, side = options.serve
        return contest.serve(CASES[case][side], gpu_mb)
    if unknown := set(options.names) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(CASES)}.")
    import torch

    if not torch.cuda.is_available():
        parser.error("no GPU that PyTorch can use; on a CPU take ./launch/benchmark.sh tokenizers.")
    gpu = torch.cuda.get_device_name()
    _, failed = contest.each(options.names or CASES, lambda name: compare(name, gpu, options.alone))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
