"""The one id space of special tokens, pictures, sound and text, and the tables its rows live in.

    0 … 255          special and task tokens          table 0, special+text: row = id
    256 … 262399     visual codes, 256 + code         table 1, visual:       row = code
    262400 … 266495  audio, 262400 + 1024·level + code  table 2, audio:      row = 1024·level + code
    266496 …         text pieces, 266496 + piece      table 0, special+text: row = 256 + piece

Table 3 marks a slot where a text *embedding* stands instead of an id ([VP]: T5 embeddings right after `<bot_i>`).
Every vocabulary, nano's too, uses these offsets; a smaller codebook leaves the end of its range unused.
"""

import dataclasses
from types import MappingProxyType

import numpy as np
from jaxtyping import Int

from videopoet_jax.sequence.grid import AUDIO_CODES

VISUAL_OFFSET = 256  # [VP]
AUDIO_OFFSET = VISUAL_OFFSET + 2**18  # [VP] 262,400
AUDIO_LEVELS = 4  # [VP]
TEXT_OFFSET = AUDIO_OFFSET + AUDIO_LEVELS * AUDIO_CODES  # 266,496

SPECIAL_TEXT, VISUAL, AUDIO, TEXT_EMBEDDING = range(4)  # tables of the embedding and of the output
ROW_MULTIPLE = 256  # every table's rows are padded to this, so that they divide over any tensor axis

# The ids of these names are fixed for good: weights depend on them. New names take free ids, none is renumbered.
MARKERS = ("<pad>", "<bos>", "<eos>", "<bot_i>", "<eot_i>", "<bov_i>", "<eov_i>", "<boa_i>", "<eoa_i>",
           "<bov_o>", "<eov_o>", "<boa_o>", "<eoa_o>", "<text>", "<bot_o>")  # fmt: skip
# One per kind of *output* [VP]: text-to-video, image-to-video and unconditional share `video`.
OUTPUTS = ("video", "video+audio", "image", "audio", "inpainted", "outpainted", "stylized", "text")
# [VP] names portrait alone (128 wide × 224 high); a square is implied by no token. Landscape: ours.
RESOLUTIONS = ("portrait", "landscape")
SOURCES = ("moving_digits", "video", "image")  # [VP] "the source of the video to generate"; the values are ours
END_OF_TEXT = 1  # the piece `</s>`, in T5's vocabularies and in ours
MAX_LATENTS = 64  # durations 1, 5, 9, … 253 frames


def _special_ids() -> dict[str, int]:
    ids = {name: i for i, name in enumerate(MARKERS)}
    ids |= {f"<task:{name}>": 16 + i for i, name in enumerate(OUTPUTS)}
    ids |= {f"<res:{name}>": 48 + i for i, name in enumerate(RESOLUTIONS)}
    ids |= {f"<source:{name}>": 64 + i for i, name in enumerate(SOURCES)}
    return ids | {f"<duration:{1 + 4 * i}>": 128 + i for i in range(MAX_LATENTS)}


SPECIAL = MappingProxyType(_special_ids())
_NAMES = MappingProxyType({i: name for name, i in SPECIAL.items()})


def special_id(name: str) -> int:
    """`<bos>` → 1, `<task:video>` → 16, `<duration:17>` → 132."""
    if name not in SPECIAL:
        raise ValueError(f"special token {name!r}: not in the vocabulary; use one of {', '.join(SPECIAL)}.")
    return SPECIAL[name]


def name_of(token: int) -> str:
    """A token for people: `1 → <bos>`, `256 → v0`, `262400 → a0:0`, `263424 → a1:0`, `266496 → t0`."""
    if token < VISUAL_OFFSET:
        return _NAMES.get(token, f"<{token}>")
    if token < AUDIO_OFFSET:
        return f"v{token - VISUAL_OFFSET}"
    if token < TEXT_OFFSET:
        return "a{}:{}".format(*divmod(token - AUDIO_OFFSET, AUDIO_CODES))
    return f"t{token - TEXT_OFFSET}"


def _in_range(values: np.ndarray, size: int, what: str, remedy: str) -> np.ndarray:
    values = np.asarray(values)
    if values.size and (values.min() < 0 or values.max() >= size):
        raise ValueError(f"{what} {values.min()} … {values.max()}: must lie in 0 … {size - 1}; {remedy}.")
    return values.astype(np.int32)


def padded(rows: int) -> int:
    """Rows of a table with its padding: `256 → 256, 257 → 512`."""
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Which part of the id space a model uses. `Vocabulary(2**18, 4, 32128)` is the paper's with T5's pieces.

    Attributes:
        visual_codes: size of the visual codebook, at most 2^18.
        audio_levels: RVQ levels, at most 4.
        text_pieces: text ids; 0 where text enters as embeddings only.
    """

    visual_codes: int
    audio_levels: int
    text_pieces: int

    def __post_init__(self):
        if not 1 <= self.visual_codes <= AUDIO_OFFSET - VISUAL_OFFSET:
            raise ValueError(f"visual_codes {self.visual_codes}: the id space holds 1 … 2^18; use fewer bits.")
        if not 0 <= self.audio_levels <= AUDIO_LEVELS:
            raise ValueError(f"audio_levels {self.audio_levels}: the id space holds 0 … {AUDIO_LEVELS}; keep fewer.")

    @property
    def size(self) -> int:
        """Ids, from 0 to the last text piece."""
        return TEXT_OFFSET + self.text_pieces

    @property
    def special_text_rows(self) -> int:
        return VISUAL_OFFSET + self.text_pieces

    @property
    def audio_rows(self) -> int:
        return self.audio_levels * AUDIO_CODES

    def visual_ids(self, codes: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """`0 7 → 256 263`."""
        remedy = "tokenize with the tokenizer that this model was trained with"
        return VISUAL_OFFSET + _in_range(codes, self.visual_codes, "visual codes", remedy)

    def audio_ids(self, codes: Int[np.ndarray, "*n"], level: int) -> Int[np.ndarray, "*n"]:
        """Level 1: `0 7 → 263424 263431`."""
        _in_range(np.array([level]), self.audio_levels, "audio level", "keep fewer RVQ levels")
        return AUDIO_OFFSET + level * AUDIO_CODES + _in_range(codes, AUDIO_CODES, "audio codes", "codes are per level")

    def text_ids(self, pieces: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """`0 7 → 266496 266503`."""
        remedy = "a model that writes text has text_pieces, as many as its text encoder's vocabulary"
        return TEXT_OFFSET + _in_range(pieces, self.text_pieces, "text pieces", remedy)

    def text_pieces_of(self, ids: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """`266496 266503 → 0 7`; raises where an id is no text piece."""
        remedy = "these ids do not follow the layout"
        return _in_range(np.asarray(ids) - TEXT_OFFSET, self.text_pieces, "text pieces", remedy)

    def visual_codes_of(self, ids: Int[np.ndarray, "*n"]) -> Int[np.ndarray, "*n"]:
        """`256 263 → 0 7`; raises where an id is not visual."""
        remedy = "these ids do not follow the layout"
        return _in_range(np.asarray(ids) - VISUAL_OFFSET, self.visual_codes, "visual codes", remedy)

    def audio_codes_of(self, ids: Int[np.ndarray, "*n"], level: int) -> Int[np.ndarray, "*n"]:
        """Level 1: `263424 263431 → 0 7`; raises where an id is not of that level."""
        shifted = np.asarray(ids) - (AUDIO_OFFSET + level * AUDIO_CODES)
        return _in_range(shifted, AUDIO_CODES, f"audio codes of level {level}", "these ids do not follow the layout")
