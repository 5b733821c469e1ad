"""Both tokenizers are one protocol: what codes a signal becomes is known before, and they are the way back."""

import numpy as np
import pytest

from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.layers.tokenizer import Tokenizer
from videopoet_jax.video.tokenizer import VideoTokenizer


@pytest.mark.parametrize(
    ("kind", "signal", "size", "grid"),
    [
        (VideoTokenizer, np.full((6, 32, 48, 3), 90, np.uint8), (6, 32, 48), (3, 2, 3)),
        (AudioTokenizer, np.linspace(-0.5, 0.5, 1000, dtype=np.float32), (1000,), (3, 2)),
    ],
)
def test_the_tokenizers_that_ship_keep_to_it(kind, signal, size, grid):
    tokenizer = kind.from_pretrained("nano")
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.grid(*size) == grid
    codes = np.asarray(tokenizer.encode(signal).codes)
    assert codes.shape == grid and codes.min() >= 0 and codes.max() < tokenizer.vocabulary_size
    assert tokenizer.decode(codes).dtype == signal.dtype
    pieces = list(tokenizer.encode_pieces([signal[:4], signal[4:]]))
    assert np.concatenate(pieces).shape == grid
    assert np.concatenate(list(tokenizer.decode_pieces(pieces))).shape[1:] == signal.shape[1:]
