"""The text that a small encoder learns from."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.text.corpus import PROMPTS, TokenSource, english, prepare
from videopoet_jax.text.vocabulary import FILE

CAPTIONS = [f"a {c} {d} moving {w}" for c in ("red", "blue") for d in range(10) for w in ("left", "up")] * 20
ARGUMENTS = dict(
    vocabulary=dict(size=600, sentinels=4, normalization="nmt_nfkc_cf", required=("red", "3")),
    length=12,
    prompt_repeats=2,
    english_share=0.2,
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return folder, *prepare(CAPTIONS, folder, **ARGUMENTS)


def test_english_is_prose():
    lines = english()
    assert len(lines) > 300
    assert all(line.endswith(".") and "\n" not in line and ">>>" not in line for line in lines)
    assert len(PROMPTS) > 50 and all(line.strip() == line != "" for line in PROMPTS)


def test_captions_are_all_there_and_english_is_the_share_asked_for(prepared):
    _, pieces, source = prepared
    assert len(source) == round(len(CAPTIONS) / 0.8)
    for i, caption in enumerate(CAPTIONS):
        assert pieces.decode(source[i]["ids"]) == caption
    assert source[0]["ids"].shape == (12,) and source[0]["mask"].dtype == np.bool_


def test_capitals_are_folded(prepared):
    pieces = prepared[1]
    assert_array_equal(pieces.encode(["A RED 3 Moving Left"], 8).ids, pieces.encode(["a red 3 moving left"], 8).ids)


def test_a_vocabulary_that_is_there_is_read_and_not_trained_again(prepared):
    folder, pieces, source = prepared
    before = (folder / FILE).stat().st_mtime_ns
    again, other = prepare(CAPTIONS[:5], folder, **ARGUMENTS)
    assert again.model == pieces.model and (folder / FILE).stat().st_mtime_ns == before
    assert_array_equal(other[0]["ids"], source[0]["ids"])


def test_every_example_reads_the_same_each_time(prepared):
    _, pieces, source = prepared
    assert_array_equal(TokenSource(pieces, CAPTIONS, 12)[3]["ids"], source[3]["ids"])
