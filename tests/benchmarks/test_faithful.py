"""Our tokenizers, narrowed, compute what the papers' figures say.

The twins' outputs are kept beside this file, for where PyTorch is not installed:

    ./launch/benchmark.sh faithful --golden tests/benchmarks/twins.npz \\
        magvit2-narrow discriminator-narrow soundstream-narrow sound-discriminators
"""

import functools
from pathlib import Path

import faithful
import numpy as np
import pytest

HERE = Path(__file__).parent
NARROW = ("magvit2-narrow", "discriminator-narrow", "soundstream-narrow", "sound-discriminators")


@functools.cache
def outputs(case):
    return list(faithful.CASES[case]())


@pytest.fixture(scope="module")
def golden():
    return np.load(HERE / "twins.npz")


@pytest.mark.parametrize("case", NARROW)
def test_equals_what_the_twin_computed(golden, case):
    numbers = [output for output in outputs(case) if output.distance is None]
    assert numbers
    for output in numbers:
        ours, theirs = output.kept(output.ours), golden[output.name]
        assert len(theirs) >= 2 and np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=faithful.BOUND, err_msg=output.name)


def test_every_kept_output_is_compared(golden):
    assert {o.name for case in NARROW for o in outputs(case) if o.distance is None} == set(golden.files)


@pytest.mark.parametrize("case", NARROW)
def test_equals_the_twin(case):
    pytest.importorskip("torch")
    results = [output.compare() for output in outputs(case)]
    assert results
    assert all(result.error <= faithful.BOUND < result.scale for result in results), results
