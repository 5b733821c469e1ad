"""What one picture, or one stretch of sound, is like: small pure functions, and sums that grow over a film.

working(frame)                 the frame at 128 pixels of its shorter side, on which the others are measured
sharpness, colourfulness, is_black, brightness, blocks, perceptual_hash      of one picture
Bars, Loudness, Spread         take pictures or sound one after the other, in constant memory
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from videopoet_jax.data.media_image import fit, target_size

SIDE = 128  # pixels; [VP] its language model's pictures are as large, so that what cannot be seen there counts nothing
BLACK_LEVEL, BLACK_SHARE = 25.5, 0.98  # FFmpeg's blackdetect: a tenth of the range, in 98 % of the pixels
SILENT = -60.0  # dBFS; FFmpeg's silencedetect
QUIETEST = -120.0  # dBFS that stands for no sound at all; the last bit of 16 is at -90
SPREAD = 17  # frames; ours: of windows of 1 + 16·k frames the first, the middle and the last are among them
_PIECE = 0.1  # seconds over which sound is silent or not; ours
_BAR_NOISE = 10  # levels of 255 that a bar's pixels may differ by; ours: what MPEG-4 leaves of a black border
_BAR_DRIFT = 3  # levels of 255 that their mean may differ by from line to line; ours
_LUMA = np.float32([0.299, 0.587, 0.114])


class Letterbox(NamedTuple):
    """Bars at the edges of the picture, each as a share of its height (top, bottom) or width (left, right)."""

    top: float
    bottom: float
    left: float
    right: float

    @property
    def share(self) -> float:
        """The share of the picture's area that is bars.  `(0.1, 0.1, 0, 0) → 0.2`"""
        return 1 - (1 - self.top - self.bottom) * (1 - self.left - self.right)


def working(frame: UInt8[np.ndarray, "h w 3"], side: int = SIDE) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The frame with `side` pixels along its shorter side, the aspect kept."""
    h, w = frame.shape[:2]
    size = target_size(h, w, side, None) if h <= w else target_size(h, w, None, side)
    return fit(frame, *size)


def luma(frame: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """Its brightness, 0 to 255 (BT.601)."""
    return frame.astype(np.float32) @ _LUMA


def sharpness(grey: Float[np.ndarray, "h w"]) -> float:
    """Variance of the Laplacian, in squared levels of 255 (Pech-Pacheco et al. 2000): 0 flat, photographs 300 and up.

    Pictures compare when they are equally large, so give it those of `working`; a small one, enlarged, is blurred.
    """
    from scipy.ndimage import laplace

    return float(laplace(grey)[1:-1, 1:-1].var())


def colourfulness(frame: UInt8[np.ndarray, "h w 3"]) -> float:
    """Hasler and Süsstrunk 2003, their M3: 0 grey, 15 slightly, 33 moderately, 45 averagely, 59 quite, 82 highly."""
    red, green, blue = np.moveaxis(frame.astype(np.float32), -1, 0)
    yellow_blue = (red + green) / 2 - blue
    deviation = math.hypot((red - green).std(), yellow_blue.std())
    return float(deviation + 0.3 * math.hypot((red - green).mean(), yellow_blue.mean()))


def is_black(grey: Float[np.ndarray, "h w"]) -> bool:
    """Whether nearly all of it is nearly black."""
    return bool((grey < BLACK_LEVEL).mean() >= BLACK_SHARE)


def blocks(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "y x"]:
    """Means of blocks of 8×8 pixels, in which noise has been averaged away; a rest at the edges is left out."""
    h, w = (side // 8 * 8 for side in grey.shape)
    return grey[:h, :w].reshape(h // 8, 8, w // 8, 8).mean((1, 3))


def perceptual_hash(frame: UInt8[np.ndarray, "h w 3"]) -> int:
    """64 bits that stay when a picture is resized, encoded anew or lit differently: pHash (Zauner 2010).

    Which of the 8×8 lowest frequencies of its 32×32 luma, those that do not change along one axis left out, are above
    their median. A picture without contrast is 0: rounding would choose its bits.
    """
    from scipy.fft import dctn

    small = Image.fromarray(np.ascontiguousarray(frame)).convert("L").resize((32, 32), Image.Resampling.BOX)
    low = dctn(np.asarray(small, np.float64), norm="ortho")[1:9, 1:9].ravel()
    if np.abs(low).max() < 8:  # ours: noise of a quarter of a level at each of the 1,024 pixels
        return 0
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


class Bars:
    """Finds letterbox and pillarbox bars in pictures that are added one after the other.

    A line of one picture is like a bar when few of its pixels differ from the outermost line's colour; a bar is made of
    lines that are so over the whole film, and ends where a line is full of picture at once, along a straight edge.
    Subtitles in a bar cover it in part and are borne. A digit on black has no straight edge, and a sky or a wall drifts
    away from its outermost colour before it differs.
    """

    def __init__(self):
        self._edges: list[np.ndarray] | None = None  # `_lines` of top, bottom, left and right, summed
        self._count = 0

    def add(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        rows = frame.astype(np.int16)
        columns = rows.transpose(1, 0, 2)
        edges = [self._lines(lines) for lines in (rows, rows[::-1], columns, columns[::-1])]
        self._edges = [a + b for a, b in zip(self._edges, edges, strict=True)] if self._edges else edges
        self._count += 1

    def letterbox(self) -> Letterbox:
        return Letterbox(*(self._bar(*(edge / max(1, self._count))) for edge in self._edges or ()))

    @staticmethod
    def _lines(lines: Int[np.ndarray, "n m 3"]) -> Float[np.ndarray, "2 n"]:
        """Of each line: the share of pixels that differ from the outermost one's colour, and how far the rest drift."""
        difference = lines - np.median(lines[0], axis=0).astype(np.int16)
        same = np.abs(difference).max(-1) <= _BAR_NOISE
        count = same.sum(1)
        drift = np.abs((difference.sum(-1) * same).sum(1)) / (3 * np.maximum(1, count))
        return np.stack([1 - count / same.shape[1], drift])

    @staticmethod
    def _bar(covered: Float[np.ndarray, " n"], drift: Float[np.ndarray, " n"]) -> float:
        """How much of the lines is a bar that begins at the first one.  `0 0 .6 0 1 1 1 1 1 1 → 0.4`"""
        n = len(covered)
        inside = float(np.median(covered[n // 4 : n - n // 4]))  # below 1 between pillars and where it is dark
        if inside < 0.3 or covered[0] > 0.2 * inside:  # ours: nothing to see, or the outermost line is in use
            return 0.0
        rise = covered[np.minimum(np.arange(n) + 1, n - 1)] - covered[np.maximum(np.arange(n) - 2, 0)]
        edges = [
            line
            for line in range(1, n // 2)
            if covered[line - 1] < inside / 2 <= covered[line]
            and rise[line] >= 0.3 * inside  # ours: within three lines, as wide as shrinking blurs an edge
            and covered[: max(1, line - 1)].max() <= 0.8 * inside  # ours: what subtitles cover at most
            and drift[: max(1, line - 1)].max() <= _BAR_DRIFT
        ]
        return max(edges, default=0) / n


class Loudness:
    """How loud sound is, and how much of it is silent, added chunk after chunk."""

    def __init__(self, sample_rate: int):
        self._piece, self._rest = max(1, round(_PIECE * sample_rate)), np.zeros(0)
        self._power, self._samples, self._pieces, self._silent = 0.0, 0, 0, 0

    def add(self, chunk: Float[np.ndarray, " s"]) -> None:
        samples = np.concatenate([self._rest, chunk])
        whole = len(samples) // self._piece * self._piece
        self._count(samples[:whole].reshape(-1, self._piece))
        self._rest = samples[whole:]

    def measure(self) -> tuple[float, float]:
        """RMS in dBFS (a full square wave is 0, a full sine -3), and the share of pieces of 0.1 s below -60 dBFS."""
        if self._rest.size:
            self._count(self._rest[None])
            self._rest = self._rest[:0]
        return _decibels(self._power / max(1, self._samples)), self._silent / self._pieces if self._pieces else 1.0

    def _count(self, pieces: Float[np.ndarray, "p s"]) -> None:
        powers = np.square(pieces, dtype=np.float64)
        self._power, self._samples = self._power + float(powers.sum()), self._samples + powers.size
        self._pieces += len(pieces)
        self._silent += sum(_decibels(float(power)) < SILENT for power in powers.mean(1))


def _decibels(power: float) -> float:
    return max(QUIETEST, 10 * math.log10(power)) if power > 0 else QUIETEST


class Spread:
    """Up to 17 frames spread evenly over a film of unknown length: when there are more, every other one is let go.

    `17 frames → all;  18 → 0 2 4 … 16;  41 → 0 4 8 … 40`
    """

    def __init__(self):
        self.frames: list[np.ndarray] = []
        self._step, self._count = 1, 0

    def add(self, frame: UInt8[np.ndarray, "h w 3"]) -> None:
        if self._count % self._step == 0:
            self.frames.append(frame)
        if len(self.frames) > SPREAD:
            self.frames, self._step = self.frames[::2], 2 * self._step
        self._count += 1

    def middle(self) -> UInt8[np.ndarray, "h w 3"]:
        """The frame of it that is nearest to the middle of the film.  `17 → 8, 41 → 20`"""
        return self.frames[min(round((self._count - 1) / 2 / self._step), len(self.frames) - 1)]
