"""What a clip is like, so that one table of rules (`curation_filter`) can choose what a model learns from.

    frames of a film  → shots                  (curation_shots)   where it is cut
    frames and sound  → annotate → Annotations                    of one shot, or of a window of it
    their hashes      → duplicates             (curation_duplicates)
    Annotations       → verdict                (curation_filter) → write_report (curation_report)

A clip's own figures are pure functions of its frames and its sound, the same wherever they are computed. Frames and
chunks of sound come as iterators, as `iterate_frames` and `iterate_audio` give them; 17 frames are in memory at most.
A score of your own (of beauty, of safety) joins them: `register_annotator` it in a module that your package names as an
entry point of `videopoet_jax.annotators`, and every process that annotates knows it.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from videopoet_jax.data.curation_duplicates import duplicates
from videopoet_jax.data.curation_measures import (
    Bars,
    Letterbox,
    Loudness,
    Spread,
    blocks,
    colourfulness,
    is_black,
    luma,
    perceptual_hash,
    sharpness,
    working,
)
from videopoet_jax.data.curation_shots import Shot, shots
from videopoet_jax.data.media_open import Number
from videopoet_jax.layers.motion import flow_length
from videopoet_jax.sequence import plugins

__all__ = [
    "ANNOTATORS", "Annotations", "Annotator", "Figure", "Letterbox", "Shot", "annotate", "duplicates", "figures",
    "load_plugins", "register_annotator", "shots",
]  # fmt: skip

PLUGINS = "videopoet_jax.annotators"  # entry points: modules that register annotators when they are imported
FLOW_SIDE, FLOW_EVERY = 64, 2  # ours: flow costs 10 to 40 ms a pair at 64 pixels, and every other pair tells enough
STILL = 3.0  # levels of 255 that the mean of a block may change by while nothing moves; ours: noise stays below it
Figure = float | int | bool
Annotator = Callable[[UInt8[np.ndarray, "t h w 3"]], float]
ANNOTATORS: dict[str, Annotator] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Annotations(NamedTuple):
    """What is known of one clip. Shares are between 0 and 1; pictures are measured at 128 pixels of their shorter side.

    Attributes:
        frames: how many there are.
        duration: seconds.
        motion: mean length of the optical flow from one frame to the next, as a share of the picture's shorter side;
            0 for one frame. It depends on the frame rate: rules hold for one rate. Where nothing can be seen to move
            (black around a digit) it is taken from what moves nearby, and is too large.
        static: share of the pairs of frames between which nothing changes; 1 for one frame.
        black: share of frames that are black.
        letterbox: bars at each edge.
        sharpness: variance of the Laplacian, mean over frames; see `curation_measures.sharpness`.
        brightness: mean luma, 0 black to 1 white.
        colourfulness: 0 grey to about 110; see `curation_measures.colourfulness`.
        has_audio: there is a track of sound, silent perhaps.
        loudness: RMS in dBFS, -120 (no sound) to 0.
        silence: share of the sound, in pieces of 0.1 s, below -60 dBFS; 1 where there is none.
        caption: whether there is one.
        caption_words: how many words it has, by the spaces between them.
        first_hash: perceptual hash of the first frame, 64 bits.
        middle_hash: that of the middle frame; of more than 17 frames, of the one nearest to it among 9 to 17.
        scores: by name, what each registered annotator says.
        duplicate: the id of the earlier clip that it repeats; it is known once all clips have been annotated:
            `annotations._replace(duplicate=duplicates(hashes, 6)[id])`.
    """

    frames: int
    duration: float
    motion: float
    static: float
    black: float
    letterbox: Letterbox
    sharpness: float
    brightness: float
    colourfulness: float
    has_audio: bool
    loudness: float
    silence: float
    caption: bool
    caption_words: int
    first_hash: int
    middle_hash: int
    scores: Mapping[str, float]
    duplicate: str | None = None


NOT_FIGURES = ("first_hash", "middle_hash", "scores")


def annotate(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    *,
    fps: Number,
    audio: Iterable[Float[np.ndarray, " s"]] | None = None,
    sample_rate: int = 16_000,
    caption: str = "",
) -> Annotations:
    """The annotations of one clip.

    Args:
        fps: of the frames as they are handed.
        audio: its sound in chunks; None where the film has no track.

    Raises:
        ValueError: no frames.
    """
    load_plugins()
    bars, spread, loud = Bars(), Spread(), Loudness(sample_rate)
    sums, lengths, still, before, count = np.zeros(4), [0.0, 0], 0, None, 0
    for count, frame in enumerate(frames, start=1):
        picture = working(frame)
        grey = luma(picture)
        sums += is_black(grey), sharpness(grey), grey.mean() / 255, colourfulness(picture)
        bars.add(picture)
        spread.add(frame)
        if before is not None:
            still += bool(np.abs(blocks(grey) - blocks(luma(before))).max() < STILL)
            if count % FLOW_EVERY == 0:
                pair = np.stack([working(one, FLOW_SIDE) for one in (before, picture)])
                lengths = [lengths[0] + float(flow_length(pair)[0]) / FLOW_SIDE, lengths[1] + 1]
        before = picture
    if before is None:
        raise ValueError("0 frames: a clip has at least one; check where it starts and ends.")
    for chunk in audio or ():
        loud.add(chunk)
    black, sharp, bright, colourful = (sums / count).tolist()
    loudness, silence = loud.measure()
    sample = np.stack(spread.frames)
    return Annotations(
        frames=count,
        duration=count / float(fps),
        motion=lengths[0] / max(1, lengths[1]),
        static=still / (count - 1) if count > 1 else 1.0,
        black=black,
        letterbox=bars.letterbox(),
        sharpness=sharp,
        brightness=bright,
        colourfulness=colourful,
        has_audio=audio is not None,
        loudness=loudness,
        silence=silence,
        caption=bool(caption.strip()),
        caption_words=len(caption.split()),
        first_hash=perceptual_hash(spread.frames[0]),
        middle_hash=perceptual_hash(spread.middle()),
        scores={name: float(function(sample)) for name, function in ANNOTATORS.items()},
    )


def figures(annotations: Annotations) -> dict[str, Figure]:
    """The annotations that a rule can be about, each as one number, or as whether there is one.

    `letterbox` is the share of the picture that bars take, `duplicate` whether the clip repeats another.
    """
    plain = {name: value for name, value in annotations._asdict().items() if name not in NOT_FIGURES}
    plain |= {"letterbox": annotations.letterbox.share, "duplicate": annotations.duplicate is not None}
    return plain | dict(annotations.scores)


def register_annotator(name: str, function: Annotator) -> Annotator:
    """Makes a score known by its name: a function of up to 17 frames of a clip, spread evenly, as they were handed.

    `register_annotator("brightest", brightest)` of `def brightest(video): return float(video.max())`. It must give the
    same number for the same frames. The same function may be registered again.

    Raises:
        ValueError: a name that is taken, or that is none.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"annotator {name!r}: small letters, digits and underscores are needed, a letter first.")
    if name in Annotations._fields or ANNOTATORS.setdefault(name, function) is not function:
        raise ValueError(f"annotator {name!r}: another one has this name already; give yours one of its own.")
    return function


@functools.cache
def load_plugins() -> None:
    """Imports the modules that installed packages name as entry points of `videopoet_jax.annotators`."""
    plugins.load(PLUGINS)
