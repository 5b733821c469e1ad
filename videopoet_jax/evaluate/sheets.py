"""Pictures that a person looks at: contact sheets, videos side by side, spectrograms, loss curves.

    contact_sheet([Row("a red 3 moving left", frames, waveform, 16_000), …])  →  uint8 [h w 3]

        a red 3 moving left
        ▣ ▣ ▣ ▣ ▣ ▣ ▣ ▣ ▣  ▒▒▒▒     frames evenly spread, first and last among them; the spectrogram of the sound

Text may be in any script: what the font lacks is drawn as a box, what is no character as a space.
"""

import functools
import os
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from videopoet_jax.pretrained.files import write_atomically

BACKGROUND, INK, MARGIN = (24, 24, 28), (235, 235, 235), 6
MAX_TEXT = 160  # characters of a caption that are shown
_LOW_HZ, _RANGE_DB = 100.0, 60.0


@dataclass(frozen=True)
class Row:
    """One line of a contact sheet."""

    text: str
    frames: np.ndarray  # uint8 [t h w 3]
    audio: np.ndarray | None = None  # float [s]
    sample_rate: int | None = None


def contact_sheet(
    rows: Sequence[Row], *, columns: int = 9, frame_height: int = 96, text_size: int = 14
) -> UInt8[np.ndarray, "h w 3"]:
    """Caption, frames and spectrogram of every row, one below the other."""
    if not rows:
        raise ValueError("0 rows: a contact sheet shows at least one clip; give it some.")
    strips = [_strip(row, columns, frame_height, text_size) for row in rows]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips) + MARGIN), BACKGROUND)
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return np.asarray(sheet)


def save_contact_sheet(path: str | os.PathLike, rows: Sequence[Row], **options: int) -> None:
    """`contact_sheet` as a PNG; the file appears whole or not at all."""
    sheet = Image.fromarray(contact_sheet(rows, **options))
    write_atomically(Path(path), lambda temporary: sheet.save(temporary, format="PNG"))


def _strip(row: Row, columns: int, frame_height: int, text_size: int) -> Image.Image:
    chosen = np.unique(np.round(np.linspace(0, len(row.frames) - 1, min(columns, len(row.frames)))).astype(int))
    tiles = [scaled(row.frames[i], frame_height) for i in chosen]
    frame_width = tiles[0].shape[1]
    tiles += [None] * (columns - len(tiles))  # an image, or a clip with fewer frames: the sound stays in its column
    if row.audio is not None and len(row.audio):
        tiles.append(spectrogram(row.audio, sample_rate=row.sample_rate, height=frame_height, width=2 * frame_height))
    widths = [frame_width if tile is None else tile.shape[1] for tile in tiles]
    caption = _caption(row.text, sum(widths) + MARGIN * (len(widths) - 1), text_size)
    strip = Image.new("RGB", (caption.width + 2 * MARGIN, caption.height + frame_height + 2 * MARGIN), BACKGROUND)
    strip.paste(caption, (MARGIN, MARGIN))
    left = MARGIN
    for tile, width in zip(tiles, widths, strict=True):
        if tile is not None:
            strip.paste(Image.fromarray(tile), (left, caption.height + MARGIN))
        left += width + MARGIN
    return strip


def scaled(frame: UInt8[np.ndarray, "h w 3"], height: int) -> UInt8[np.ndarray, "h2 w2 3"]:
    """In that height, the aspect kept; whole multiples repeat the pixels, so that they can be seen as they are."""
    h, w = frame.shape[:2]
    size = (max(1, round(w * height / h)), height)
    kind = Image.Resampling.NEAREST if height % h == 0 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize(size, kind))


def side_by_side(videos: Mapping[str, np.ndarray], *, height: int = 256, text_size: int = 14) -> np.ndarray:
    """Videos uint8 [t h w 3] under their names, left to right, as one video; a shorter one stays on its last frame."""
    if not videos or min(len(video) for video in videos.values()) == 0:
        raise ValueError(f"{len(videos)} videos, one without frames perhaps: each needs at least one frame.")
    panels = [_panel(name, video, height, text_size) for name, video in videos.items()]
    length, tall = (max(panel.shape[axis] for panel in panels) for axis in (0, 1))
    panels = [np.concatenate([panel, np.repeat(panel[-1:], length - len(panel), axis=0)]) for panel in panels]
    # A name of more lines makes its panel taller: all end at one height.
    panels = [np.pad(panel, ((0, 0), (tall - panel.shape[1], 0), (0, 0), (0, 0)), mode="edge") for panel in panels]
    joined = np.concatenate(panels, axis=2)
    return np.pad(joined, ((0, 0), (0, joined.shape[1] % 2), (0, joined.shape[2] % 2), (0, 0)), mode="edge")


def _panel(name: str, video: np.ndarray, height: int, text_size: int) -> np.ndarray:
    frames = np.stack([scaled(frame, height) for frame in video])
    caption = np.asarray(_caption(name, frames.shape[2], text_size))
    captions = np.broadcast_to(caption, (len(frames), *caption.shape))
    panel = np.concatenate([captions, frames], axis=1)
    border = ((0, 0), (MARGIN // 2, MARGIN // 2), (MARGIN // 2, MARGIN // 2))
    return np.stack([np.pad(panel[..., c], border, constant_values=BACKGROUND[c]) for c in range(3)], axis=-1)


def _caption(text: str, width: int, size: int) -> Image.Image:
    """The text, broken into lines of at most `width` pixels (at a letter, since not every script has spaces)."""
    font, text = _font(size), printable(text)
    lines, rest = [], text
    while rest:
        fits = next((n for n in range(len(rest), 1, -1) if font.getlength(rest[:n]) <= width), 1)
        cut = fits if fits == len(rest) else (rest.rfind(" ", 1, fits + 1) if " " in rest[1 : fits + 1] else fits)
        lines.append(rest[:cut])
        rest = rest[cut:].lstrip()
    step = round(size * 1.4)
    image = Image.new("RGB", (width, step * max(1, len(lines)) + 2), BACKGROUND)
    for number, line in enumerate(lines):
        ImageDraw.Draw(image).text((0, number * step), line, fill=INK, font=font)
    return image


def printable(text: str) -> str:
    """At most `MAX_TEXT` characters; control characters and halves of characters become spaces."""
    clean = "".join(" " if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") else c for c in text[: MAX_TEXT + 1])
    return clean[: MAX_TEXT - 1] + "…" if len(clean) > MAX_TEXT else clean


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the same picture on every machine."""
    import matplotlib  # 0.2 s, needed only here and for curves

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    # The basic layout engine: the other one is a system library that may be there or not.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def spectrogram(
    waveform: Float[np.ndarray, " s"], *, sample_rate: int, height: int, width: int
) -> UInt8[np.ndarray, "h w 3"]:
    """Time to the right; upwards 100 Hz to half the rate, every octave as high; 60 dB below the loudest is dark.

    Silence (all below -40 dB of full scale) stays dark.
    """
    from matplotlib import colormaps

    window = max(64, sample_rate // 16)  # 62.5 ms: two tones of moving_digits apart by a step can be told
    padded = np.pad(np.nan_to_num(np.asarray(waveform, np.float64)), window // 2)
    centres = np.linspace(0, max(0, len(waveform) - 1), width).astype(int)
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(padded, (0, window)), window)[centres]
    bins = np.fft.rfftfreq(4 * window, 1 / sample_rate)
    magnitude = np.abs(np.fft.rfft(pieces * np.hanning(window), n=4 * window, axis=-1)) / (window / 4)
    decibels = 20 * np.log10(np.maximum(magnitude, 1e-8))
    level = np.clip(1 + (decibels - max(decibels.max(), -40.0)) / _RANGE_DB, 0, 1)
    rows = np.geomspace(sample_rate / 2, _LOW_HZ, height)
    image = np.stack([np.interp(rows, bins, column) for column in level], axis=1)
    return (colormaps["magma"](image)[..., :3] * 255).round().astype(np.uint8)


def save_curves(
    path: str | os.PathLike,
    curves: Mapping[str, tuple[Sequence | np.ndarray, Sequence | np.ndarray]],
    *,
    title: str = "",
) -> None:
    """A PNG with one small plot for each name: (steps, values), values smoothed beside the raw ones.

    The part of a name before its last "/" is the plot, the rest the line in it: `train/loss`, `eval/loss`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not curves:
        raise ValueError("0 curves: at least one name with (steps, values) is needed.")
    plots: dict[str, dict[str, tuple]] = {}
    for name, curve in curves.items():
        plot, _, line = name.rpartition("/")
        plots.setdefault(plot or line, {})[line] = curve
    across = min(3, len(plots))
    down = -(-len(plots) // across)
    figure = Figure(figsize=(5 * across, 3.2 * down + 0.3), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for axis, (plot, lines) in zip(axes, plots.items(), strict=False):
        for colour, (line, (steps, values)) in enumerate(lines.items()):
            steps, values = np.asarray(steps, float), np.asarray(values, float)
            marker = "." if len(values) < 20 else None  # a single point would not be seen as a line
            axis.plot(steps, values, color=f"C{colour}", alpha=0.3, linewidth=1, marker=marker)
            axis.plot(steps, _smoothed(values), color=f"C{colour}", label=_plain(line), linewidth=1.5)
        axis.set_title(_plain(plot), fontsize=10)
        axis.set_xlabel("step", fontsize=8)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    for axis in axes[len(plots) :]:
        axis.set_visible(False)
    figure.suptitle(_plain(title))
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks is drawn as boxes
        warnings.filterwarnings("ignore", message="constrained_layout")  # towers of accents leave no room
        write_atomically(Path(path), lambda temporary: figure.savefig(temporary, format="png", dpi=100))


def _plain(text: str) -> str:
    return printable(text).replace("$", r"\$")  # a dollar would start matplotlib's mathematics


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A running mean over a twentieth of the curve, narrower at its ends; NaN where there is nothing to average."""
    finite, places = np.isfinite(values), np.arange(len(values))
    total = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(finite)])
    width = np.minimum(len(values) // 40, np.minimum(places, len(values) - 1 - places))
    stop, start = places + width + 1, places - width
    there = count[stop] - count[start]
    return np.where(there > 0, (total[stop] - total[start]) / np.maximum(there, 1), np.nan)
