"""The model of time on numbers written out."""

import pytest

from videopoet_jax.parallel.chips import CHIPS, parse_topology
from videopoet_jax.training.forecast import PRODUCTS, forecast, link_seconds
from videopoet_jax.training.program import Block, Collective, Program

POD = parse_topology("v5p:4x4x4")
CHIP = CHIPS["v5p"]
ALL = tuple(range(64))


def test_the_longer_of_operations_and_memory_one_after_another():
    products, moves = (PRODUCTS * CHIP.flops, 0.0), (0.0, 2 * CHIP.bandwidth)
    assert forecast(Program((Block(3.0, (products, moves), ()),)), POD).step == pytest.approx(9.0)


@pytest.mark.parametrize(("beside", "together"), [(True, 1.0), (False, 2.0)])
def test_collectives_that_are_started_run_beside_computation_of_their_own_turn_alone(beside, together):
    gather = Collective("all-gather", 6 * CHIP.link * 64 / 63, ALL, beside)  # a second over six links
    products = (PRODUCTS * CHIP.flops, 0.0)
    apart = Program((Block(1.0, (products,), ()), Block(1.0, (), (gather,))))
    assert forecast(apart, POD).step == pytest.approx(2.0)
    assert forecast(Program((Block(1.0, (products,), (gather,)),)), POD).step == pytest.approx(together)


def test_a_reduction_passes_twice_and_a_small_group_has_fewer_links():
    size = 1e9
    gather, reduction = (link_seconds(Collective(kind, size, ALL, False), POD) for kind in ("all-gather", "all-reduce"))
    assert reduction == pytest.approx(2 * gather)
    assert gather == pytest.approx(size * 63 / 64 / (6 * CHIP.link))
    assert link_seconds(Collective("all-gather", size, (0, 1, 2, 3), False), POD) == pytest.approx(
        size * 3 / 4 / (2 * CHIP.link)
    )


def test_a_word_takes_a_microsecond_for_each_neighbour_on_its_way():
    small = parse_topology("v5p:2x2x1")
    assert small.latency(4) == pytest.approx(2e-6) and POD.latency(64) == pytest.approx(6e-6)
    reduction = Collective("all-reduce", 100.0, (0, 1, 2, 3), False)
    assert link_seconds(reduction, small) == pytest.approx(4e-6)


def test_an_axis_that_does_not_wrap_has_half_the_links():
    assert parse_topology("v5e:4x4").link_bandwidth(16) == 2 * CHIPS["v5e"].link
    assert parse_topology("v5e:16x16").link_bandwidth(256) == 4 * CHIPS["v5e"].link


def test_the_network_runs_beside_everything():
    sent = Collective("send", 5 * CHIP.network, (), True)
    found = forecast(Program((Block(1.0, ((PRODUCTS * CHIP.flops, 0.0),), (sent,)),)), POD)
    assert found.step == pytest.approx(5.0) and found.network == pytest.approx(5.0)


@pytest.mark.parametrize("text", ["v5p", "v9:2x2", "v5p:4", "v5p:4x4x4x4", "5p:2x2"])
def test_what_is_no_topology_is_refused(text):
    with pytest.raises(ValueError, match="KIND:AxB"):
        parse_topology(text)
