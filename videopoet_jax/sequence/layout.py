"""Where every token of a task stands.

Image-to-video of a clip of 5 frames, latents (2, 1, 2), 2 of the 31 audio frames shown, one level, two text slots:

    prefix  <bos> <task:video+audio> <bot_i> <text> <text> <eot_i> <bov_i> v7 v8 <eov_i> <source:video> <duration:5>
    output  <bov_o> v3 v9 <eov_o> <boa_o> a0:5 a0:6 … <eoa_o> <eos>
    weight     1     1  1    1       1     1     1  …    1      1      (0 over the whole prefix)

The order is [VP]'s figure 2; a modality that a task lacks drops its tokens and its markers. A text that is written is a
run of its pieces, which ends with its `</s>`; what is left of the run counts for nothing. Several levels of sound
have two orders, the paper's and its alternative; here two levels of three frames:

    levels  <boa_o> a0:5 a0:6 a0:7 a1:1 a1:2 a1:3 <eoa_o>     the whole clip level by level, coarse first
    frames  <boa_o> a0:5 a1:1 a0:6 a1:2 a0:7 a1:3 <eoa_o>     all levels of a frame together
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Int

from videopoet_jax.sequence import vocabulary as vocab
from videopoet_jax.sequence.grid import Grid, audio_frames, latent_frames, latent_start, pixel_frames
from videopoet_jax.sequence.tasks import Span, Task
from videopoet_jax.sequence.vocabulary import Vocabulary

# Rows of the modality embedding, fixed for good like the special ids. Audio has one for each RVQ level.
# "other_in" is a clip that is shown in another way than its own pixels: with a hole, or as flow and depth.
MODALITIES = ("special", "text", "video_in", "video_out", *(f"audio_in_{q}" for q in range(4)),
              *(f"audio_out_{q}" for q in range(4)), "pieces", "other_in")  # fmt: skip
ORDERS = ("levels", "frames")
_MODALITY = {name: i for i, name in enumerate(MODALITIES)}
_TABLE = {"special": vocab.SPECIAL_TEXT, "text": vocab.TEXT_EMBEDDING, "video": vocab.VISUAL, "audio": vocab.AUDIO,
          "pieces": vocab.SPECIAL_TEXT}  # fmt: skip
CODES = ("video", "audio", "pieces")  # kinds whose ids come from a record, or from the model


@dataclasses.dataclass(frozen=True)
class Segment:
    """A run of positions of one kind.

    Attributes:
        kind: "special", "text" (embeddings), "pieces" (text that is written), "video" or "audio" (one segment for each
            RVQ level, or one with all of them in turn).
        output: whether the model writes it.
        start: first position in the sequence.
        length: positions.
        key: entry of the record that holds its codes.
        first: first latent (video) or first audio frame (audio) of the clip.
        level: RVQ level, the first of several (audio).
        levels: how many levels take turns (audio).
        tokens: the ids, where they are known before any clip (special).
        clock: time of special tokens, and of a frame alone, in audio frames.
        alone: a single frame with codes of its own (video).
    """

    kind: str
    output: bool
    start: int
    length: int
    key: str = ""
    first: int = 0
    level: int = 0
    levels: int = 1
    tokens: tuple[int, ...] = ()
    clock: int = 0
    alone: bool = False

    @property
    def stop(self) -> int:
        return self.start + self.length

    @property
    def table(self) -> int:
        return _TABLE[self.kind]

    @property
    def level_of(self) -> Int[np.ndarray, " n"]:
        """RVQ level of each position: two in turn are `0 1 0 1 …`."""
        return self.level + np.arange(self.length) % self.levels

    @property
    def modality(self) -> Int[np.ndarray, " n"]:
        """Row of the modality embedding at each position."""
        side = "out" if self.output else "in"
        if self.kind == "audio":
            return _MODALITY[f"audio_{side}_0"] + self.level_of
        name = f"video_{side}" if self.kind == "video" else self.kind
        if self.kind == "video" and self.key != "video" and not (self.alone or self.output):
            name = "other_in"
        return np.full(self.length, _MODALITY[name])

    def positions(self, grid: Grid) -> Int[np.ndarray, "n 4"]:
        """(t, h, w, modality): latents (2, 1, 2) → t h w `0 0 0, 0 0 1, 6 0 0, 6 0 1`; audio → t `0, 1, 2, …`,
        two levels in turn `0, 0, 1, 1, …`."""
        t, h, w = np.full(self.length, self.clock), np.zeros(self.length, int), np.zeros(self.length, int)
        if self.kind in ("text", "pieces"):
            t = np.arange(self.length)
        elif self.kind == "audio":
            t = self.first + np.arange(self.length) // self.levels
        elif self.kind == "video":
            frame, place = np.divmod(np.arange(self.length), grid.tokens_per_latent)
            if not self.alone:
                t = np.array([latent_start(self.first + f) for f in range(frame[-1] + 1)])[frame]
            h = place * grid.latents[1] // grid.tokens_per_latent  # rows of codes, in as equal parts as tokens allow
            w = place - -(-h * grid.tokens_per_latent // grid.latents[1])
        return np.stack([t, h, w, self.modality], axis=-1).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The static shape of a task's sequences; every example of it has the same.

    Attributes:
        text_length: text slots, also of `text_ids` where the task has no text.
        prefix_length: positions before the output.
    """

    task: Task
    grid: Grid
    vocabulary: Vocabulary
    segments: tuple[Segment, ...]
    text_length: int
    prefix_length: int

    @property
    def length(self) -> int:
        return self.segments[-1].stop

    @functools.cached_property
    def ids(self) -> Int[np.ndarray, " n"]:
        """Special ids in place, `<text>` in the text slots, `<pad>` where codes will stand."""
        text = vocab.special_id("<text>")
        fill = {"text": text, **dict.fromkeys(CODES, 0)}
        parts = [s.tokens if s.kind == "special" else (fill[s.kind],) * s.length for s in self.segments]
        return np.concatenate(parts).astype(np.int32)

    @functools.cached_property
    def tables(self) -> Int[np.ndarray, " n"]:
        return np.concatenate([np.full(s.length, s.table, np.int32) for s in self.segments])

    @functools.cached_property
    def positions(self) -> Int[np.ndarray, "n 4"]:
        return np.concatenate([s.positions(self.grid) for s in self.segments])

    def show(self, *, output: bool | None = None) -> str:
        """The sequence, or a side of it, a segment each: `<bos> <task:video> | video 80 | <eov_o> <eos>`."""
        parts = []
        for s in self.segments:
            if output not in (None, s.output):
                continue
            levels = "" if s.kind != "audio" else f"[{s.level}]" if s.levels == 1 else f"[{s.level}…{s.levels - 1}]"
            kind = s.key if s.kind == "video" else s.kind
            tokens = " ".join(map(vocab.name_of, s.tokens)) if s.kind == "special" else f"{kind}{levels} {s.length}"
            parts.append(tokens)
        return " | ".join(parts)


class _Builder:
    """Appends segments from the front; empty ones are left out."""

    def __init__(self, audio_order: str, text_length: int):
        self.audio_order, self.text_length = audio_order, text_length
        self.segments: list[Segment] = []
        self.length = 0

    def add(self, kind: str, output: bool, length: int, **fields) -> None:
        if length:
            self.segments.append(Segment(kind, output, self.length, length, **fields))
            self.length += length

    def special(self, output: bool, *names: str, clock: int = 0) -> None:
        tokens = tuple(vocab.special_id(name) for name in names)
        self.add("special", output, len(tokens), tokens=tokens, clock=clock)

    def video(self, span: Span, grid: Grid, output: bool, close: bool) -> None:
        side, (start, stop) = "o" if output else "i", span.frames(grid.frames)
        if span.alone:
            first, last, begin, end = 0, 1, audio_frames(start), audio_frames(start)
        else:
            first, last = (latent_frames(frame) if frame else 0 for frame in (start, stop))
            begin, end = latent_start(first), latent_start(last - 1)
        self.special(output, f"<bov_{side}>", clock=begin)
        length, fields = (last - first) * grid.tokens_per_latent, {"clock": begin} if span.alone else {}
        self.add("video", output, length, key=span.key, first=first, alone=span.alone, **fields)
        if close:
            self.special(output, f"<eov_{side}>", clock=end)

    def audio(self, span: Span, grid: Grid, output: bool) -> None:
        side, (first, last) = "o" if output else "i", map(audio_frames, span.frames(grid.frames))
        self.special(output, f"<boa_{side}>", clock=first)
        together = grid.audio_levels if self.audio_order == "frames" else 1
        for level in range(0, grid.audio_levels, together):
            length = (last - first) * together
            self.add("audio", output, length, key=span.key, first=first, level=level, levels=together)
        self.special(output, f"<eoa_{side}>", clock=last - 1)

    def span(self, span: Span, grid: Grid, output: bool, close: bool = True) -> None:
        if span.modality == "video":
            self.video(span, grid, output, close)
        elif span.modality == "audio":
            self.audio(span, grid, output)
        else:
            self.special(output, "<bot_o>")
            self.add("pieces", output, self.text_length, key=span.key)


def _conditioning_names(grid: Grid, source: str) -> list[str]:
    """`<source> <res> <duration>`; a square picture has no `<res>` [VP]."""
    shape = "portrait" if grid.height > grid.width else "landscape"
    res = [] if grid.height == grid.width else [f"<res:{shape}>"]
    return [f"<source:{source}>", *res, f"<duration:{grid.frames}>"]


def check_frames(frames: int) -> None:
    """Raises for a clip that is longer than any `<duration:…>`."""
    if frames > (most := pixel_frames(vocab.MAX_LATENTS)):
        raise ValueError(f"{frames} frames: clips of up to {most} fit; ask for fewer.")


def layout_for(
    task: Task, grid: Grid, *, vocabulary: Vocabulary, text_length: int, source: str, audio_order: str = "levels"
) -> Layout:
    """The layout of `task` on clips of `grid`; `audio_order` is one of `ORDERS`, [VP]'s own unless told otherwise.

    text_to_video, silent, 1 frame of 1×2 latents, one text slot:
    `<bos> <task:video> <bot_i> <text> <eot_i> <source:video> <duration:1> | <bov_o> v v <eov_o> <eos>`
    """
    if audio_order not in ORDERS:
        raise ValueError(f"audio_order {audio_order!r}: unknown; use one of {', '.join(ORDERS)}.")
    sound = bool(grid.audio_levels)
    reads, writes = ([s for s in spans if sound or s.modality != "audio"] for spans in (task.reads, task.writes))
    if not sound and task.needs_sound:
        raise ValueError(
            f"task {task.name} of a silent clip: sound is all that it reads, or writes; use a grid with audio_levels."
        )
    if task.frames:
        grid = dataclasses.replace(grid, frames=task.frames)
    both = {s.modality for s in writes} == {"video", "audio"}
    check_frames(grid.frames)
    for span in (*reads, *writes):
        try:
            span.frames(grid.frames)
        except ValueError as error:
            raise ValueError(f"task {task.name}: {error}") from error
    build = _Builder(audio_order, text_length)
    build.special(False, "<bos>", f"<task:{task.output}{'+audio' if both else ''}>")
    if task.text:
        build.special(False, "<bot_i>")
        build.add("text", False, text_length)
        build.special(False, "<eot_i>")
    for span in reads:
        build.span(span, grid, output=False)
    build.special(False, *_conditioning_names(grid, source))
    prefix_length = build.length
    for span in writes:
        build.span(span, grid, output=True, close=task.ends)
    if task.ends:
        build.special(True, "<eos>", clock=build.segments[-1].clock)
    return Layout(task, grid, vocabulary, tuple(build.segments), text_length, prefix_length)
