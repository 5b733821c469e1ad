"""RAFT's parts against their plain definitions, and what moves with the picture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import structure_twins as twins
from numpy.testing import assert_allclose

from videopoet_jax.structure import raft
from videopoet_jax.structure.raft_encoder import Encoder

RNG = np.random.default_rng(0)


def between(volume: np.ndarray, x: float, y: float) -> float:
    """The value of a picture [h w] at a place, between its four neighbours; zero outside."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < volume.shape[0] and 0 <= column < volume.shape[1]:
                total += volume[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_the_lookup_is_the_naive_one():
    h, w, radius = 8, 11, 2
    first, second = RNG.normal(size=(2, 1, h, w, 5)).astype(np.float32)
    pyramid = raft.correlation_pyramid(jnp.asarray(first), jnp.asarray(second), 3)
    assert [level.shape[2:] for level in pyramid] == [(8, 11), (4, 5), (2, 2)]
    places = RNG.uniform(-3, 13, (1, h, w, 2)).astype(np.float32)  # outside, too
    places[0, 0, 0] = (3, 4)  # and on a position
    seen = np.asarray(raft.look_up(pyramid, jnp.asarray(places), radius)).reshape(h, w, 3, 5, 5)
    for i, j in ((0, 0), (2, 7), (7, 10), (5, 1)):
        pooled = np.einsum("d,hwd->hw", first[0, i, j], second[0]) / np.sqrt(5)
        for level in range(3):
            x, y = places[0, i, j] / 2**level
            naive = [[between(pooled, x + dx, y + dy) for dy in range(-2, 3)] for dx in range(-2, 3)]
            assert_allclose(seen[i, j, level], naive, atol=1e-5)
            rows, columns = pooled.shape[0] // 2, pooled.shape[1] // 2
            pooled = pooled[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2).mean(axis=(1, 3))


def test_what_moved_is_found_where_it_went():
    """Features that went 2 right and 1 up are most alike at (x, y) = (2, −1)."""
    first = RNG.normal(size=(1, 16, 16, 64)).astype(np.float32)
    second = np.roll(first, (-1, 2), axis=(1, 2))
    here = raft.grid(jnp.zeros((1, 16, 16, 2)))[None]
    seen = raft.look_up(raft.correlation_pyramid(jnp.asarray(first), jnp.asarray(second), 1), here, 4)
    inside = np.asarray(seen)[0, 4:-4, 4:-4]
    assert (np.argmax(inside, axis=-1) == (2 + 4) * 9 + (-1 + 4)).all()


def test_convex_upsampling_keeps_a_constant_and_picks_neighbours():
    flow = np.full((1, 5, 6, 2), (1.5, -2.0), np.float32)
    mask = RNG.normal(size=(1, 5, 6, 9 * 64)).astype(np.float32)
    fine = np.asarray(raft.convex_upsample(jnp.asarray(flow), jnp.asarray(mask)))
    assert fine.shape == (1, 40, 48, 2)
    assert_allclose(fine[0, 8:-8, 8:-8], np.broadcast_to([12.0, -16.0], (24, 32, 2)), rtol=1e-5)
    assert np.all(np.abs(fine[0, 0]) < [12.0, 16.0])  # beyond the border the flow counts as zero
    # All weight on the neighbour below and to the left (2·3 + 0), of subpixel row 1, column 6; elsewhere on the centre.
    flow = RNG.normal(size=(1, 5, 6, 2)).astype(np.float32)
    chosen = np.zeros((1, 5, 6, 9, 8, 8), np.float32)
    chosen[:, :, :, 4], chosen[:, :, :, :, 1, 6], chosen[:, :, :, 6, 1, 6] = 100, 0, 100
    fine = np.asarray(raft.convex_upsample(jnp.asarray(flow), jnp.asarray(chosen.reshape(mask.shape))))
    blocks = fine.reshape(5, 8, 6, 8, 2)
    assert_allclose(blocks[:, 3, :, 3], 8 * flow[0], rtol=1e-5)
    assert_allclose(blocks[:-1, 1, 1:, 6], 8 * flow[0, 1:, :-1], rtol=1e-5)


@pytest.mark.parametrize("norm, bottleneck", [("instance", False), ("batch", True)])
def test_features_move_with_the_picture(norm, bottleneck):
    """Eight pixels are one feature. The ground is grey and wide: what moves and the borders do not see one another."""
    picture = np.zeros((1, 272, 272, 3), np.float32)
    picture[:, 128:144, 128:152] = RNG.uniform(-1, 1, (1, 16, 24, 3))
    moved = np.roll(picture, (8, -8), axis=(1, 2))
    encoder = Encoder((4, 4, 4, 8, 8), norm, bottleneck)
    params = {"params": twins.drawn(lambda key: encoder.init(key, jnp.zeros((1, 16, 16, 3))), 0)}
    run = jax.jit(encoder.apply)
    before, after = (np.asarray(run(params, jnp.asarray(x)))[0, 8:-8, 8:-8] for x in (picture, moved))
    assert before.shape == (18, 18, 8)
    assert_allclose(np.roll(before, (1, -1), axis=(0, 1)), after, atol=1e-4)
    assert np.abs(before - after).max() > 0.1


def test_shapes_and_updates(drawn):
    fields, _, params = drawn["raft"]
    first, second = jnp.asarray(RNG.uniform(-1, 1, (2, 2, 64, 72, 3)), jnp.float32)
    run = jax.jit(raft.RAFT(**fields).apply, static_argnums=3)
    one, three = (np.asarray(run({"params": params}, first, second, n)) for n in (1, 3))
    assert one.shape == three.shape == (2, 64, 72, 2)
    assert np.isfinite(three).all() and np.abs(three - one).max() > 0.1
    swapped = run({"params": params}, first[::-1], second[::-1], 1)
    assert_allclose(np.asarray(swapped)[::-1], one, atol=1e-4)  # pairs do not see one another


@pytest.mark.parametrize("h, w", [(64, 70), (66, 64), (56, 64)])
def test_sizes_that_do_not_divide_or_are_too_small(drawn, h, w):
    fields, _, params = drawn["raft"]
    with pytest.raises(ValueError, match=rf"{h}×{w} pixels: RAFT takes multiples of 8 from 64 on; pad them"):
        raft.RAFT(**fields).apply({"params": params}, *jnp.zeros((2, 1, h, w, 3)), 1)
