"""Our RAFT and DPT, narrowed, compute what torchvision's and transformers' do.

The twins' outputs are kept beside this file, for where PyTorch is not installed:

    ./launch/benchmark.sh structure_twins --golden tests/benchmarks/structure_twins.npz \\
        raft-narrow raft-small-narrow dpt-narrow dpt-interpolated dpt-hybrid-narrow
"""

import functools
from pathlib import Path

import numpy as np
import pytest
import structure_twins as twins

HERE = Path(__file__).parent
NARROW = [name for name in twins.CASES if "narrow" in name or "interpolated" in name]


@functools.cache
def outputs(case):
    return list(twins.CASES[case]())


@pytest.fixture(scope="module")
def golden():
    return np.load(HERE / "structure_twins.npz")


@pytest.mark.parametrize("case", NARROW)
def test_equals_what_the_twin_computed(golden, case):
    assert outputs(case)
    for output in outputs(case):
        ours, theirs = output.kept(output.ours), golden[output.name]
        assert len(theirs) >= 2 and np.std(theirs) > 0.1
        bound = twins.BOUND * np.abs(theirs).max()
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound, err_msg=output.name)


def test_every_kept_output_is_compared(golden):
    assert {output.name for case in NARROW for output in outputs(case)} == set(golden.files)


def test_published_sizes():
    """As torchvision (num_params of its weights) and transformers count; without what DPT's files hold unused."""
    published = {"raft": (5_257_536, 990_162), "dpt": (343_030_465 - 1_182_208, 122_377_985 - 1_181_696)}
    assert tuple(twins.count(twins.raft_init(f)) for f in (twins.raft.LARGE, twins.raft.SMALL)) == published["raft"]
    assert tuple(twins.count(twins.dpt_init(f)) for f in (twins.dpt.LARGE, twins.dpt.HYBRID)) == published["dpt"]


@pytest.mark.parametrize("case", NARROW)
def test_equals_the_twin(case):
    pytest.importorskip("torchvision")
    pytest.importorskip("transformers")
    results = [output.compare() for output in outputs(case)]
    assert all(result.error <= twins.BOUND * result.scale for result in results), results
