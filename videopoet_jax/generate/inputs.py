"""What a pipeline is told: its settings, and what is said of prompts and sizes that it does not know."""

import dataclasses
import re
import warnings
from collections.abc import Iterable, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a pipeline's `config.json` holds beside the models.

    Attributes:
        num_frames, height, width, fps, sample_rate: of the clips it was trained on, and by default makes.
        audio_levels: RVQ levels that the language model writes.
        audio_order: of several levels, "levels" one after the other or "frames" by frames.
        text_length: text slots.
        source: value of the `<source:…>` token.
        tasks: names of the tasks it was trained on.
        guidance_scale, temperature, top_k, top_p: the sampling that `generate` uses unless told otherwise.
        grammar, grammar_pattern: the prompts it understands, in words and as a regular expression; empty for any.
    """

    num_frames: int
    height: int
    width: int
    fps: float
    sample_rate: int
    audio_levels: int
    audio_order: str
    text_length: int
    source: str
    tasks: tuple[str, ...]
    guidance_scale: float | None
    temperature: float
    top_k: int | None
    top_p: float | None
    grammar: str
    grammar_pattern: str

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the clips that it makes by default."""
        return self.num_frames, self.height, self.width


def seed_of_step(seed: int, number: int) -> int:
    """The seed of one of several steps: that of the first is `seed` itself, no other is near it or near another's."""
    return int(np.random.SeedSequence((seed % 2**32, number)).generate_state(1)[0]) if number else seed


def warn_of_strangers(
    settings: Settings, prompts: Sequence[str], truncated: Iterable[bool], size: Sequence[int]
) -> None:
    """Warns of prompts that the model's grammar does not hold, of those that were cut, and of another size."""
    pattern = settings.grammar_pattern
    strange = [p for p in prompts if pattern and not re.fullmatch(pattern, p.strip().lower())]
    if strange:
        warnings.warn(
            f"{strange[0][:60]!r}: not a prompt this model was trained on, so expect little; it knows "
            f"{settings.grammar}.",
            stacklevel=4,
        )
    cut = sum(map(bool, truncated))
    if cut:
        warnings.warn(f"{cut} prompts: longer than {settings.text_length} pieces, cut to fit.", stacklevel=4)
    if tuple(size) != settings.size:
        asked, trained = (" × ".join(map(str, numbers)) for numbers in (size, settings.size))
        warnings.warn(
            f"{asked} (frames × height × width): this model was trained at {trained} alone, so expect little.",
            stacklevel=4,
        )
