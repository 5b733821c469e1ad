"""Prompts to piece ids and back: a SentencePiece model, and the training of one.

The ids are T5's: 0 pads, 1 ends the text, 2 is unknown. A vocabulary that `train_vocabulary` makes falls back to bytes,
so no prompt in any script meets id 2.

    "a red 3", 6 slots  →  ▁a ▁red ▁3 </s> <pad> <pad>      mask 1 1 1 1 0 0
    "", 3 slots         →  </s> <pad> <pad>                 mask 1 0 0
    a text too long     →  its first length − 1 pieces </s>, marked as truncated
"""

import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import sentencepiece
from jaxtyping import Bool, Int

from videopoet_jax.pretrained.files import write_atomically

PAD, EOS, UNKNOWN = 0, 1, 2
FILE = "spiece.model"  # the name that Hugging Face's T5 checkpoints use
PUBLISHED = (
    f"copy there as {FILE} gs://t5-data/vocabs/cc_all.32000.100extra/sentencepiece.model for T5 v1.1 and Flan-T5, "
    f"…/mc4.250000.100extra/sentencepiece.model for mT5"
)


class Tokens(NamedTuple):
    """What `encode` returns; `truncated` marks the prompts that did not fit, so that a caller can warn."""

    ids: Int[np.ndarray, "b l"]
    mask: Bool[np.ndarray, "b l"]
    truncated: Bool[np.ndarray, " b"]


class Pieces:
    """A SentencePiece model in memory: `encode`, `decode`, and the bytes to write beside the weights."""

    def __init__(self, model: bytes):
        self.model = model
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(model)
        except (RuntimeError, OSError) as error:
            raise ValueError(
                f"{len(model)} bytes: not a SentencePiece model; copy {FILE} again from its source."
            ) from error
        found = (self.processor.pad_id(), self.processor.eos_id(), self.processor.unk_id())
        if found != (PAD, EOS, UNKNOWN):
            raise ValueError(
                f"pad, end and unknown have ids {found}: T5's {(PAD, EOS, UNKNOWN)} are needed; "
                f"train the vocabulary with train_vocabulary, or take a T5 checkpoint's {FILE}."
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Pieces":
        """Reads a model file.

        Raises:
            FileNotFoundError, ValueError: no such file; not a T5-like SentencePiece model.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such vocabulary; a text encoder's directory holds it: for a published T5 {PUBLISHED}."
            )
        return cls(path.read_bytes())

    def save(self, path: str | os.PathLike) -> None:
        write_atomically(Path(path), lambda temporary: temporary.write_bytes(self.model))

    def __len__(self) -> int:
        return self.processor.vocab_size()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.model).hexdigest()

    @property
    def sentinels(self) -> tuple[int, ...]:
        """Ids of <extra_id_0>, <extra_id_1>, …: they stand for what the denoising objective took out."""
        names = (f"<extra_id_{i}>" for i in range(len(self)))
        found = []
        for name in names:
            index = self.processor.piece_to_id(name)
            if self.processor.id_to_piece(index) != name:
                return tuple(found)
            found.append(index)
        return tuple(found)

    def encode(self, prompts: Sequence[str], length: int) -> Tokens:
        """Pads or cuts every prompt to `length` ids, the end mark always among them.

        Raises:
            ValueError: no slot, or one string where a list of strings belongs.
        """
        if length < 1:
            raise ValueError(f"length {length}: at least 1 slot is needed, for the end mark.")
        if isinstance(prompts, str):
            raise ValueError(f"{prompts[:40]!r}: a list of prompts is needed; write [prompt].")
        ids = np.full((len(prompts), length), PAD, np.int32)
        truncated = np.zeros(len(prompts), bool)
        for row, prompt in enumerate(prompts):
            pieces = self.processor.encode(well_formed(prompt))
            truncated[row] = len(pieces) > length - 1
            kept = [*pieces[: length - 1], EOS]
            ids[row, : len(kept)] = kept
        return Tokens(ids, ids != PAD, truncated)

    def decode(self, ids: Int[np.ndarray, " l"]) -> str:
        """The normalised text of a row of ids; padding, end mark and sentinels say nothing."""
        return self.processor.decode([int(i) for i in ids if i > UNKNOWN])

    def single(self, words: Iterable[str]) -> dict[str, bool]:
        """Which of the words are one piece each: `{"red": True, "esoteric": False}`."""
        return {word: len(self.processor.encode(word)) == 1 for word in words}


def well_formed(text: str) -> str:
    """Replaces lone surrogates (a shell hands them over for bytes that are no UTF-8), which no encoder can write."""
    return text.encode("utf-8", "replace").decode("utf-8")


def train_vocabulary(
    lines: Iterable[str],
    path: str | os.PathLike,
    *,
    size: int,
    sentinels: int,
    normalization: str,
    required: Sequence[str],
) -> Pieces:
    """Trains a unigram vocabulary of exactly `size` pieces on `lines` and writes it to `path`.

    Layout: <pad> </s> <unk>, the sentinels, 256 bytes, then pieces by falling frequency. The sentinels are control
    symbols: no prompt can spell one. One thread, since the order of sums decides between pieces that tie.

    Raises:
        ValueError: a word of `required` did not become a piece of its own, or the lines hold too little for the size.
    """
    written = io.BytesIO()
    options = dict(
        model_type="unigram",
        vocab_size=size,
        pad_id=PAD,
        eos_id=EOS,
        unk_id=UNKNOWN,
        bos_id=-1,
        pad_piece="<pad>",
        eos_piece="</s>",
        unk_piece="<unk>",
        control_symbols=[f"<extra_id_{i}>" for i in range(sentinels)],
        byte_fallback=True,
        normalization_rule_name=normalization,
        num_threads=1,
        minloglevel=2,
    )
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(well_formed(line) for line in lines), model_writer=written, **options
        )
    except RuntimeError as error:
        reason = str(error).rpartition("] ")[2]
        raise ValueError(f"{size} pieces: {reason} Give a smaller size or more lines.") from error
    pieces = Pieces(written.getvalue())
    split = [word for word, whole in pieces.single(required).items() if not whole]
    if split:
        raise ValueError(
            f"{split}: not one piece each with {size} pieces; give more lines that use them, or a larger size."
        )
    pieces.save(path)
    return pieces
