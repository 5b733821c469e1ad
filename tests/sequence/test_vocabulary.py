"""One id space: ranges that touch and do not overlap, codes and ids both ways."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from videopoet_jax.sequence import vocabulary as vocab
from videopoet_jax.sequence.vocabulary import Vocabulary, name_of, special_id

PAPER = Vocabulary(visual_codes=2**18, audio_levels=4, text_pieces=32_128)


def test_the_papers_ranges():
    assert (vocab.VISUAL_OFFSET, vocab.AUDIO_OFFSET, vocab.TEXT_OFFSET) == (256, 262_400, 266_496)
    assert PAPER.size == 298_624
    assert PAPER.visual_ids(np.array([2**18 - 1]))[0] + 1 == PAPER.audio_ids(np.array([0]), 0)[0]
    assert PAPER.audio_ids(np.array([1023]), 3)[0] + 1 == vocab.TEXT_OFFSET


def test_special_ids_are_those_that_weights_know():
    golden = {"<pad>": 0, "<bos>": 1, "<eos>": 2, "<bot_i>": 3, "<eot_i>": 4, "<bov_i>": 5, "<eov_i>": 6, "<boa_i>": 7,
              "<eoa_i>": 8, "<bov_o>": 9, "<eov_o>": 10, "<boa_o>": 11, "<eoa_o>": 12, "<text>": 13,
              "<task:video>": 16, "<task:video+audio>": 17, "<res:portrait>": 48, "<source:moving_digits>": 64,
              "<source:video>": 65, "<duration:1>": 128, "<duration:17>": 132, "<duration:253>": 191}  # fmt: skip
    assert {name: special_id(name) for name in golden} == golden
    assert len(set(vocab.SPECIAL.values())) == len(vocab.SPECIAL)
    assert all(0 <= i < 256 for i in vocab.SPECIAL.values())


@given(st.lists(st.integers(0, 2**18 - 1), min_size=1), st.integers(0, 3), st.lists(st.integers(0, 1023), min_size=1))
def test_codes_to_ids_and_back(visual, level, audio):
    visual, audio = np.array(visual), np.array(audio)
    ids = PAPER.visual_ids(visual)
    assert_array_equal(PAPER.visual_codes_of(ids), visual)
    assert ids.min() >= vocab.VISUAL_OFFSET and ids.max() < vocab.AUDIO_OFFSET
    ids = PAPER.audio_ids(audio, level)
    assert_array_equal(PAPER.audio_codes_of(ids, level), audio)
    assert_array_equal((ids - vocab.AUDIO_OFFSET) // 1024, level)


def test_tables_hold_every_id_and_divide_over_many_devices():
    for v in (PAPER, Vocabulary(2**18, 1, 0), Vocabulary(2**12, 2, 1)):
        for rows in (v.special_text_rows, v.visual_codes, v.audio_rows):
            assert rows <= vocab.padded(rows) < rows + 256 and vocab.padded(rows) % 256 == 0


def test_names_for_people():
    names = [name_of(i) for i in (1, 17, 255, 256, 262_399, 262_400, 263_424 + 7, 266_496)]
    assert names == ["<bos>", "<task:video+audio>", "<255>", "v0", "v262143", "a0:0", "a1:7", "t0"]


def test_values_out_of_range_are_refused():
    small = Vocabulary(visual_codes=16, audio_levels=1, text_pieces=0)
    with pytest.raises(ValueError, match="visual codes 16 … 16: must lie in 0 … 15"):
        small.visual_ids(np.array([16]))
    with pytest.raises(ValueError, match="audio level 1 … 1: must lie in 0 … 0; keep fewer"):
        small.audio_ids(np.array([0]), 1)
    with pytest.raises(ValueError, match="visual codes -1"):
        small.visual_codes_of(np.array([255]))
    with pytest.raises(ValueError, match="special token '<bso>'"):
        special_id("<bso>")
    with pytest.raises(ValueError, match="the id space holds"):
        Vocabulary(visual_codes=2**19, audio_levels=1, text_pieces=0)
