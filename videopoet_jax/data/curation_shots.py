"""Where a film is cut: frames uint8 [h w 3], one at a time → the shots between its hard cuts.

Each frame is compared with the one before, both shrunk to 48×48 pixels, their mean colour taken off and divided by
their contrast, so that a lamp or the camera's exposure is no cut. What is left of the difference once every block of
8×8 has been looked for nearby (a pan, a moving hand) and the distance between the colour distributions are added:

    nothing new 0.01…0.1    a fast pan 0.1…0.4    a cut 0.6…1.8        (measured on films and on moving digits)

A cut is a score above `LEAST` that is also `RATIO` times the median of its neighbours': fast motion lasts, a cut does
not. The local threshold and its 3 are PySceneDetect's (AdaptiveDetector), which takes the mean over two frames on each
side, of differences in HSV; blocks are looked for as a video codec does that places its key frames at cuts.
A flash is no cut: the frames before and after it are alike. Dissolves and fades are not looked for; one out of black in
less than a second may be cut where the black ends.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

LEAST, RATIO = 0.45, 3.0  # ours, by the figures above; the ratio is PySceneDetect's
NEIGHBOURS = 8  # frames on each side; ours: a third of a second of a film, a second at 8 frames a second
FLASH = 3  # frames that a flash may last; ours
_SIDE, _BLOCK, _SEARCH = 48, 8, 5  # pixels of the small picture; a block may have moved by a tenth of its side
_NOISE = 8.0  # levels added to the contrast, so that the noise of a black picture is no change; ours
_LUMA = np.float32([0.299, 0.587, 0.114])


class Shot(NamedTuple):
    """Frames `start` to before `stop`, counted from 0."""

    start: int
    stop: int


class _Frame(NamedTuple):
    picture: Float[np.ndarray, "3 48 48"]
    change: float  # from the frame before; 0 for the first


def shots(frames: Iterable[UInt8[np.ndarray, "h w 3"]]) -> list[Shot]:
    """The shots of a film, in order, together all of its frames.

    `100 frames, another scene from frame 40 on  →  (0, 40) (40, 100)`

    Give it every frame that is stored: at 8 a second, what fast things leave behind now and then looks like a cut. Of
    the film, 17 small frames are in memory. At the very end a flash cannot be told from a cut, and is taken for one.
    """
    near: deque[_Frame] = deque(maxlen=2 * NEIGHBOURS + 1)
    cuts, count = [0], 0
    for count, frame in enumerate(frames, start=1):
        picture = _small(frame)
        near.append(_Frame(picture, change(near[-1].picture, picture) if near else 0.0))
        if count > NEIGHBOURS + 1 and _is_cut(near, len(near) - 1 - NEIGHBOURS):
            cuts.append(count - 1 - NEIGHBOURS)
    for place in range(max(1, len(near) - NEIGHBOURS), len(near)):  # these have fewer neighbours after them
        if _is_cut(near, place):
            cuts.append(count - len(near) + place)
    return [Shot(start, stop) for start, stop in zip(cuts, [*cuts[1:], count], strict=True)] if count else []


def _is_cut(near: Sequence[_Frame], place: int) -> bool:
    """Whether the film is cut before frame `place`, by its neighbours."""
    around = [frame.change for i, frame in enumerate(near) if 0 < abs(i - place) <= NEIGHBOURS]
    least = max(LEAST, RATIO * float(np.median(around or [0.0])))
    if near[place].change < least:
        return False
    # Both sides must stay apart when a few frames between them are left out: what returns was a flash.
    return all(
        change(near[before].picture, near[after].picture) >= least
        for before in range(max(0, place - 1 - FLASH), place)
        for after in range(place, min(len(near), before + FLASH + 2))
        if after - before > 1
    )


def _small(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "3 48 48"]:
    image = Image.fromarray(np.ascontiguousarray(frame))
    # A reducing gap of 2 first averages whole blocks: faster on large frames.
    pixels = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=2.0), np.float32)
    pixels = (pixels - pixels.mean((0, 1))).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels / (np.abs(pixels).mean() + _NOISE))


def change(one: Float[np.ndarray, "3 48 48"], other: Float[np.ndarray, "3 48 48"]) -> float:
    """How much of `other` is new, in units of its contrast: what does not come from nearby in `one`, and colours."""
    return _residual(one, other) + _colour_distance(one, other)


def _residual(one: Float[np.ndarray, "3 48 48"], other: Float[np.ndarray, "3 48 48"]) -> float:
    """The mean absolute difference of each block of `other` from the most similar place nearby in `one`."""
    padded = np.pad(one, ((0, 0), (_SEARCH, _SEARCH), (_SEARCH, _SEARCH)), mode="edge")
    blocks, shifts = _SIDE // _BLOCK, 2 * _SEARCH + 1
    least = np.full((blocks, blocks), np.inf, np.float32)
    for dy in range(shifts):
        strip = np.lib.stride_tricks.sliding_window_view(padded[:, dy : dy + _SIDE], _SIDE, axis=2)  # [3 48 shifts 48]
        error = np.abs(strip - other[:, :, None]).sum(0).reshape(blocks, _BLOCK, shifts, blocks, _BLOCK)
        least = np.minimum(least, error.sum((1, 4)).min(1))
    return float(least.mean()) / (3 * _BLOCK * _BLOCK)


def _colour_distance(one: Float[np.ndarray, "3 48 48"], other: Float[np.ndarray, "3 48 48"]) -> float:
    """The earth mover's distance between the histograms of luma and of the two colour differences, their mean.

    In one dimension it is the mean difference of the sorted values: no bins, at whose borders small changes would jump.
    """

    def sorted_values(picture: np.ndarray) -> np.ndarray:
        luma = np.tensordot(_LUMA, picture, 1)
        return np.sort(np.stack([luma, picture[0] - luma, picture[2] - luma]).reshape(3, -1), axis=1)

    return float(np.abs(sorted_values(one) - sorted_values(other)).mean())
