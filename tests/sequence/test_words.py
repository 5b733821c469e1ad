"""Codes in tokens of another size: the docstring's example, there and back, and whole sequences."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from videopoet_jax.sequence import Layouts, get_task
from videopoet_jax.sequence.assembly import assemble, disassemble
from videopoet_jax.sequence.vocabulary import VISUAL, VISUAL_OFFSET, Vocabulary
from videopoet_jax.sequence.words import Words, bits_of

TASKS = ["text_to_video", "image_to_video", "frame_prediction_5", "frame_interpolation", "inpainting", "text_to_image"]
CODES = Layouts(Vocabulary(2**18, 1, 0), 16, 1, "levels", "moving_digits", (4,))
WORDS = dataclasses.replace(CODES, vocabulary=Vocabulary(2**10, 1, 0), code_bits=18)


def test_the_examples_of_the_docstring():
    codes = np.array([13, 21])
    assert Words(6, 4).split(codes).tolist() == [13, 4, 5]
    assert Words(6, 5).split(codes).tolist() == [13, 10, 1]
    assert Words(18, 10).count(16) == 29 and bits_of(1024) == 10
    with pytest.raises(ValueError, match="1000 visual codes: .*; choose a power of 2"):
        bits_of(1000)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_the_same_bits_come_back(code_bits, token_bits, count, seed):
    words, codes = Words(code_bits, token_bits), np.random.default_rng(seed).integers(0, 2**code_bits, (2, count))
    tokens = words.split(codes)
    assert tokens.shape == (2, words.count(count)) and tokens.min() >= 0 and tokens.max() < 2**token_bits
    assert sum(bin(t).count("1") for t in tokens.ravel()) == sum(bin(c).count("1") for c in codes.ravel())
    assert_array_equal(words.join(tokens, count), codes)
    spare = words.count(count) * token_bits - count * code_bits
    tokens[:, -1] |= (2**token_bits - 1) ^ (2 ** (token_bits - spare) - 1)  # whatever stands in the spare bits
    assert_array_equal(words.join(tokens, count), codes)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_in_tokens_of_ten_bits_writes_the_same_pictures(name):
    task = get_task(name)
    layouts = [layouts.layout(task, layouts.grid(17, 64, 64)) for layouts in (CODES, WORDS)]
    rng, latents = np.random.default_rng(0), layouts[0].grid.latents
    record = {key: rng.integers(0, 2**18, latents) for key in task.keys(sound=True) if key != "audio"}
    record |= {"last_frame": rng.integers(0, 2**18, (1, 4, 4))} if "last_frame" in record else {}
    record |= {"audio": rng.integers(0, 1024, (106, 1))}
    record |= {"text_ids": np.array([5, 1, 0, 0]), "text_mask": np.array([True, True, False, False])}
    examples = [assemble(layout, record) for layout in layouts]
    for example, frame in zip(examples, (16, 29), strict=True):
        tokens = int((example["table"] == VISUAL).sum())
        assert tokens % frame == 0 and tokens // frame == int((examples[0]["table"] == VISUAL).sum()) // 16
    visual = examples[1]["ids"][examples[1]["table"] == VISUAL] - VISUAL_OFFSET
    assert visual.min() >= 0 and visual.max() < 2**10
    found = [disassemble(layout, example["ids"]) for layout, example in zip(layouts, examples, strict=True)]
    assert found[0].keys() == found[1].keys()
    for key in found[0]:
        assert_array_equal(found[0][key], found[1][key])


def test_every_token_of_a_latent_frame_has_a_place_of_its_own():
    layout = WORDS.layout(get_task("text_to_video"), WORDS.grid(17, 64, 64))
    places = layout.positions[layout.tables == VISUAL]
    assert len(np.unique(places, axis=0)) == len(places) == 5 * 29
    assert np.bincount(places[:, 1]).tolist() == [40, 35, 35, 35]  # rows of a frame, which are 7.2 tokens each
    assert (np.diff(places[:29, 1] * 100 + places[:29, 2]) > 0).all()  # in reading order


def test_a_layout_that_says_nothing_of_words_has_none():
    plain = CODES.to_dict()
    del plain["code_bits"]  # as of records that were made before there was a choice
    assert Layouts.from_dict(plain) == CODES and CODES.codebook == WORDS.codebook == 2**18
