"""What chips can do, by the names that they have where they are."""

import pytest

from videopoet_jax.parallel.chips import CHIPS, KINDS, parse_topology, peak_of


def test_every_chip_that_is_planned_for_is_known_where_it_is():
    assert {KINDS[kind] for kind in KINDS} == set(CHIPS)
    assert peak_of("TPU v5 lite") == CHIPS["v5e"].flops


@pytest.mark.parametrize(("topology", "links"), [("v5p:4x4x4", 6), ("v5p:2x2x4", 3), ("v4:2x4x4", 3), ("v5e:8x8", 2),
                                                  ("v5e:8x16", 3), ("v6e:16x16", 4)])  # fmt: skip
def test_rings_close_between_whole_cubes_and_along_whole_pods(topology, links):
    place = parse_topology(topology)
    assert place.link_bandwidth(place.chips) == links * place.chip.link


@pytest.mark.parametrize("kind", ["cpu", "TPU v3", "NVIDIA GeForce RTX 4090"])
def test_of_others_nothing_is_said(kind):
    assert peak_of(kind) is None


def test_gpus_by_their_data_sheets():
    assert peak_of("NVIDIA H100 80GB HBM3") == 989.5e12
