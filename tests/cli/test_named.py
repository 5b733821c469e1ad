"""Models on a command line have names, each its own."""

import pytest

from videopoet_jax.cli.named import named


def test_a_name_or_the_directory_itself():
    assert named(["nano", "mine=runs/a=b/model"]) == {"nano": "nano", "mine": "runs/a=b/model"}
    assert named([]) == {}


def test_a_second_one_of_a_name_is_refused():
    with pytest.raises(ValueError, match=r"--model a=y: a second 'a'; give each a name of its own, NAME=DIR"):
        named(["a=x", "a=y"])
