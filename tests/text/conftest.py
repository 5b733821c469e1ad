"""A small real vocabulary, trained once for all tests of the room."""

import pytest

from videopoet_jax.text.corpus import PROMPTS
from videopoet_jax.text.vocabulary import FILE, Pieces, train_vocabulary

CAPTIONS = [f"a {c} {d} moving {w}" for c in ("red", "green", "blue") for d in range(10) for w in ("left", "up")]


def train(folder, **changes) -> Pieces:
    arguments = dict(size=400, sentinels=4, normalization="nmt_nfkc", required=("red", "3", "left"))
    return train_vocabulary([*CAPTIONS * 5, *PROMPTS], folder / FILE, **{**arguments, **changes})


@pytest.fixture(scope="session")
def retrain():
    """The function that trained `pieces`, for tests that train again or otherwise."""
    return train


@pytest.fixture(scope="session")
def pieces(tmp_path_factory):
    return train(tmp_path_factory.mktemp("vocabulary"))
