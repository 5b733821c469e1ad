"""Where PyTorch is installed: our tokenizers, narrowed, compute what the papers' figures say."""

import runpy
from pathlib import Path

import pytest

pytest.importorskip("torch")


@pytest.mark.parametrize("case", ["magvit2-narrow", "discriminator-narrow", "soundstream-narrow"])
def test_equals_the_twin(case):
    faithful = runpy.run_path(str(Path(__file__).parent / "faithful.py"))
    results = list(faithful["CASES"][case]())
    assert results
    assert all(result.error <= faithful["BOUND"] < result.scale for result in results), results
