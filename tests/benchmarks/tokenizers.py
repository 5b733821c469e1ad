"""How fast are the tokenizers on a CPU, against their public peers? Run by `./launch/benchmark.sh tokenizers [NAME …]`.

Prints JSON lines {name, ours, peer, unit, ratio (above 1: ours is better), goal, load, cpu, versions}: medians of runs
in turns (`contest.py`) after a warm-up, two threads each. The exit code is 1 if something failed or a ratio is below
its floor, which is the goal where none is stated. A twin is a PyTorch model written for speed (`twins`), timed
both eager and compiled; the fastest of a line's peers counts, and the line says which it was.
"""

import argparse
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import contest
import ours

HERE = Path(__file__)
CLIP, STEP_CLIPS, STEP_CLIP = (17, 128, 128), 2, (9, 64, 64)
SECONDS, FRAMES = 10, 8192
LENGTHS, LENGTH_SIDE = (17, 33, 65, 513, 1025), 64
SIDES, SIDE_FRAMES = (64, 128, 256), 65
STREAMED = ("nano", "fast")

Work = Callable[[], object]


class Case(NamedTuple):
    """Each side, by name, prepares its work. `bound_mb` is what our process may hold at most.

    A ratio below `floor` (None: below the goal) is a failure.
    """

    title: str
    goal: float
    rounds: int
    ours: Callable[[], Work]
    peers: dict[str, Callable[[], Work]] = {}
    bound_mb: float | None = None
    floor: float | None = None


def peer(name: str, *arguments: object) -> Callable[[], Work]:
    """A function of `peers.py`, which is imported (with PyTorch) in the process that runs it."""

    def prepare() -> Work:
        import peers

        return getattr(peers, name)(*arguments)

    return prepare


def twins(name: str, *arguments: object) -> dict[str, Callable[[], Work]]:
    return {f"twin, {how}": peer(name, *arguments, how == "compiled") for how in ("eager", "compiled")}


def _cases() -> dict[str, Case]:
    p = functools.partial
    audiolm, encodec = "audiolm-pytorch", "EnCodec 24 kHz, 6 kbps"
    clip = "×".join(map(str, CLIP))
    step = f"{STEP_CLIPS} × {'×'.join(map(str, STEP_CLIP))}"
    small = {"vector-quantize-pytorch": peer("lfq_entropy", 1280)}
    sides: dict[str, tuple] = {
        "encode": (p(ours.audio_encode, SECONDS), "audiolm_encode", "encodec_encode", "soundstream_encode"),
        "decode": (p(ours.audio_decode, SECONDS), "audiolm_decode", "encodec_decode", "soundstream_decode"),
    }
    cases = {
        "lfq-1280": Case("LFQ entropy at 2^18, 1,280 tokens, both passes", 50, 5, p(ours.lfq_entropy, 1280), small),
        "lfq-10240": Case(
            "LFQ entropy at 2^18, 10,240 tokens, both passes", 1, 5, p(ours.lfq_entropy, 10240), bound_mb=1024
        ),
        "video-encode": Case(
            f"base encodes {clip}", 1, 3, p(ours.video_encode, "base", CLIP), twins("video_encode", CLIP), floor=0.7
        ),
        "video-decode": Case(
            f"base decodes {clip}", 1, 3, p(ours.video_decode, "base", CLIP), twins("video_decode", CLIP), floor=0.7
        ),
        "rvq": Case(
            f"RVQ, 4 levels, {FRAMES} frames", 1, 9, p(ours.rvq, FRAMES), {"plain argmin": peer("rvq", FRAMES)}
        ),
    }
    for way, work in {"encode": ours.video_encode, "decode": ours.video_decode}.items():
        title, base = f"fast {way}s {clip}", {"our base": p(work, "base", CLIP)}
        cases[f"fast-{way}"] = Case(title, 5, 3, p(work, "fast", CLIP), base)
    for player in ("", "gan-"):
        name = f"base, a {player and 'GAN '}training step on {step}"
        size = (STEP_CLIPS, STEP_CLIP, bool(player))
        cases[f"video-{player}step"] = Case(
            name, 1, 5, p(ours.video_step, "base", *size), twins("video_step", *size), floor=0.7
        )
    for way, (mine, of_audiolm, of_encodec, of_twin) in sides.items():
        title = f"SoundStream {way}s {SECONDS} s"
        cases[f"audio-{way}"] = Case(title, 1.5, 9, mine, {audiolm: peer(of_audiolm, SECONDS)})
        cases[f"audio-{way}-encodec"] = Case(title, 1, 9, mine, {encodec: peer(of_encodec, SECONDS)})
        cases[f"audio-{way}-twin"] = Case(title, 1, 9, mine, twins(of_twin, SECONDS))
    for variant in STREAMED:
        for frames, side in [*((n, LENGTH_SIDE) for n in LENGTHS), *((SIDE_FRAMES, side) for side in SIDES)]:
            title = f"{variant} streams {frames} frames of {side}×{side}"
            cases[streaming(variant, frames, side)] = Case(title, 1, 3, p(ours.stream, variant, frames, side))
    return cases


def streaming(variant: str, frames: int, side: int) -> str:
    """The name of a case: `nano 33 64 → stream-nano-33-64`"""
    return f"stream-{variant}-{frames}-{side}"


def compare(name: str, case: Case) -> contest.Contestant:
    """Runs a case and prints its line."""
    sides = contest.contest(HERE, name, ["ours", *case.peers], case.rounds)
    mine = sides.pop("ours")
    best = min(sides.values(), key=lambda side: side.median, default=None)
    title = f"{case.title}, against {best.side}" if best else case.title
    cpu = {side.side: side.cpu_median for side in (mine, *sides.values())}
    floor = case.goal if case.floor is None else case.floor
    contest.line(title, mine.median, best and best.median, "s", case.goal, floor=floor, cpu=cpu)
    if case.bound_mb:
        contest.line(f"{case.title}: peak memory, against the bound", mine.peak_mb, case.bound_mb, "MB", 1, floor=1)
    return mine


def growth(variant: str, name: str, unit: str, amounts: dict[float, contest.Contestant | None]) -> None:
    """Is processor time linear in the number of frames and in the area of a picture, and is memory, which the former
    does not cost and the latter does, constant and linear?

    Linear: a further one costs no more at the end than at the beginning. The goals leave room for noise. Says nothing
    where a case was not run.
    """
    if not all(amounts.values()):
        return
    x, sides, most = list(amounts), list(amounts.values()), f"at most {name}, against few"

    def further(figure: str) -> tuple[float, float]:
        """What a further one costs at the end, and at the beginning."""
        y = [getattr(side, figure) for side in sides]
        last, first = ((y[i + 1] - y[i]) / (x[i + 1] - x[i]) for i in (len(x) - 2, 0))
        return last, first

    seconds = f"{variant} streams, processor seconds a further {unit} {most}"
    contest.line(seconds, *further("cpu_median"), "s", 0.8, floor=0.6)
    if name == "frames":
        memory = (sides[-1].peak_mb, sides[0].peak_mb)
        contest.line(f"{variant} streams, peak memory {most}", *memory, "MB", 0.95, floor=0.8)
    else:
        contest.line(f"{variant} streams, MB a further {unit} {most}", *further("peak_mb"), "MB", 0.8, floor=0.6)


def main() -> None:
    cases = _cases()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(cases)}; all unless named")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        case, side = cases[options.serve[0]], options.serve[1]
        return contest.serve(case.ours if side == "ours" else case.peers[side])
    if unknown := set(options.names) - set(cases):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(cases)}.")
    done, failed = contest.each(options.names or cases, lambda name: compare(name, cases[name]))
    growths = {}
    for variant in STREAMED:
        # From the second chunk on, which has a program of its own.
        lengths = {n: done.get(streaming(variant, n, LENGTH_SIDE)) for n in LENGTHS[1:]}
        areas = {side * side: done.get(streaming(variant, SIDE_FRAMES, side)) for side in SIDES}
        pixel = f"pixel of each of {SIDE_FRAMES} frames"
        growths[f"{variant}, frames"] = functools.partial(growth, variant, "frames", "frame", lengths)
        growths[f"{variant}, pixels"] = functools.partial(growth, variant, "pixels", pixel, areas)
    _, grown = contest.each(growths, lambda name: growths[name]())
    sys.exit(int(failed or grown))


if __name__ == "__main__":
    main()
