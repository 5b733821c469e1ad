"""Records of a few clips with nano's own text encoder, and numbers that make nano tiny."""

import os

import numpy as np
import pytest

from videopoet_jax.data.token_records import TokenWriter
from videopoet_jax.pretrained import files
from videopoet_jax.sequence import Layouts, Vocabulary
from videopoet_jax.text.vocabulary import FILE, Pieces

LAYOUTS = Layouts(Vocabulary(2**18, 1, 0), 16, 1, "levels", "moving_digits", (8,))
CAPTIONS = ("a red 3 moving left", "a blue 7 moving up", "a green 0 moving right")
TINY = {
    "model.depth": 2, "model.width": 32, "model.heads": 4, "model.kv_heads": 2, "model.head_dim": 8, "model.mlp": 48,
    "model.rotary_sections": (4, 2, 2), "model.chain_hidden": 16, "train.steps": 20, "train.warmup_steps": 5,
    "train.batch_size": 4,
}  # fmt: skip


def record(number: int, pieces: Pieces) -> dict[str, np.ndarray]:
    """Two latents of two tokens each, every third clip silent."""
    rng, text = np.random.default_rng(number), pieces.encode([CAPTIONS[number % 3]], 8)
    codes = {"video": rng.integers(0, 2**18, (2, 1, 2), np.int32)}
    codes |= {"audio": rng.integers(0, 1024, (31, 1), np.int32)} if number % 4 else {}
    return codes | {"text_ids": text.ids[0], "text_mask": text.mask[0]}


@pytest.fixture(scope="session")
def records(tmp_path_factory):
    """A directory for $VIDEOPOET_RECORDS: 24 records to train on and 10 held out."""
    root, encoder = tmp_path_factory.mktemp("records"), files.resolve("nano", "text_encoder")
    meta = {"keys": ["video"], "layouts": LAYOUTS.to_dict(), "models": str(encoder.parent)}
    meta["digests"] = {"text_encoder": files.digest(encoder)}
    pieces = Pieces.load(os.path.join(encoder, FILE))
    for split, count, first in (("train", 24, 0), ("held_out", 10, 100)):
        with TokenWriter(root / split, meta) as writer:
            for number in range(first, first + count):
                writer.write(record(number, pieces))
    return root


@pytest.fixture
def there(records, monkeypatch):
    monkeypatch.setenv("VIDEOPOET_RECORDS", str(records))
    return records


@pytest.fixture(scope="session")
def tiny():
    """Overrides of `lm:nano`."""
    return dict(TINY)
