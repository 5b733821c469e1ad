"""How one model lays out the sequences of all tasks, for clips of any size."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from videopoet_jax.sequence.grid import Grid
from videopoet_jax.sequence.layout import Layout, layout_for
from videopoet_jax.sequence.tasks import Task
from videopoet_jax.sequence.vocabulary import Vocabulary
from videopoet_jax.sequence.words import Words, bits_of


@dataclasses.dataclass(frozen=True)
class Layouts:
    """What of a layout belongs to the model and its data, not to a clip or a task; plain JSON by `to_dict`.

    Attributes:
        spatial_stride, audio_levels: see `Grid`; 0 levels leave all sound out.
        audio_order: see `layout_for`.
        source: value of the `<source:…>` token.
        text_lengths: text slots, ascending: a caption takes the first that it fits into; records hold none longer.
        code_bits: of the tokenizer's codes, where the vocabulary's tokens hold another number; 0: a token is a code.
    """

    vocabulary: Vocabulary
    spatial_stride: int
    audio_levels: int
    audio_order: str
    source: str
    text_lengths: tuple[int, ...]
    code_bits: int = 0

    def __post_init__(self):
        _ = self.words  # raises

    @property
    def words(self) -> Words | None:
        """How tokens hold the bits of codes; None where a token is a code."""
        return Words(self.code_bits, bits_of(self.vocabulary.visual_codes)) if self.code_bits else None

    @property
    def codebook(self) -> int:
        """How many codes the tokenizer has."""
        return 2**self.code_bits if self.code_bits else self.vocabulary.visual_codes

    def grid(self, frames: int, height: int, width: int, sound: bool = True) -> Grid:
        """The sizes of a clip."""
        return Grid(frames, height, width, self.spatial_stride, self.audio_levels if sound else 0, self.words)

    def layout(self, task: Task, grid: Grid, text_length: int | None = None) -> Layout:
        """A task's layout; with the most text slots unless told otherwise."""
        return layout_for(
            task,
            grid,
            vocabulary=self.vocabulary,
            text_length=self.text_lengths[-1] if text_length is None else text_length,
            source=self.source,
            audio_order=self.audio_order,
        )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Layouts":
        lengths, vocabulary = tuple(values["text_lengths"]), Vocabulary(**values["vocabulary"])
        return cls(**{**values, "vocabulary": vocabulary, "text_lengths": lengths})
