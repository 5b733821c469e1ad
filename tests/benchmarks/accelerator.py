"""How fast is the video tokenizer on a GPU, against a twin in PyTorch? By `./launch/benchmark.sh accelerator [NAME …]`.

Clips of 17×128×128 in bfloat16, from uint8 in the host's memory to codes and back, on the one GPU that both libraries
find. Prints JSON lines {name, ours, peer, unit, ratio (above 1: ours is better), goal, load, clips, frames_per_second,
tflops, mfu, versions}: medians of runs in turns after a warm-up; the peer is the twin compiled by PyTorch. FLOPs are
those of the twin's convolutions, for both sides; mfu is their share of PEAKS, the dense bfloat16 rate that the maker
states.
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
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12, "B200": 2250e12}


def our_side(way: str, variant: str):
    clip = (CLIPS[variant], *SIZE)
    return {"encode": ours.video_encode, "decode": ours.video_decode}[way](variant, clip, dtype="bfloat16")


def twin_side(way: str, variant: str):
    import peers

    return getattr(peers, f"gpu_{way}")(WIDTHS[variant], CLIPS[variant], SIZE)


def flops(way: str, variant: str) -> float:
    """Of one clip, counted by PyTorch over the twin's shapes; nothing is computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from twins import magvit2

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = magvit2.Tokenizer(WIDTHS[variant])
        latent = (1, 18, 1 + (SIZE[0] - 1) // 4, SIZE[1] // 8, SIZE[2] // 8)
        model.encoder(torch.empty(1, 3, *SIZE)) if way == "encode" else model.decoder(torch.empty(latent))
    return counter.get_total_flops()


CASES = {
    f"{variant}-{way}": {
        "ours": functools.partial(our_side, way, variant),
        "compiled twin": functools.partial(twin_side, way, variant),
    }
    for variant in WIDTHS
    for way in ("encode", "decode")
}


def compare(name: str, gpu: str) -> contest.Contestant:
    """Runs a case and prints its line."""
    variant, way = name.split("-")
    sides = contest.contest(HERE, name, list(CASES[name]), ROUNDS, SETTINGS)
    mine, peer = (sides[side].median for side in CASES[name])
    clips, rate = CLIPS[variant], CLIPS[variant] * flops(way, variant) / mine
    peak = next((peak for chip, peak in PEAKS.items() if chip in gpu), None)
    contest.line(
        f"{variant} {way}s {clips} × {'×'.join(map(str, SIZE))} on {gpu}, against the compiled twin",
        mine, peer, "s", GOAL,
        clips=clips, frames_per_second=round(clips * SIZE[0] / mine), tflops=round(rate / 1e12, 1),
        mfu=peak and round(rate / peak, 3),
    )  # fmt: skip
    return sides["ours"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all unless named")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        case, side = options.serve
        return contest.serve(CASES[case][side])
    if unknown := set(options.names) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(CASES)}.")
    import torch

    if not torch.cuda.is_available():
        parser.error("no GPU that PyTorch can use; on a CPU take ./launch/benchmark.sh tokenizers.")
    gpu = torch.cuda.get_device_name()
    _, failed = contest.each(options.names or CASES, lambda name: compare(name, gpu))
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
