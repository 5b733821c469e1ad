"""DPT's parts against their plain definitions, and what moves with the picture."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import structure_twins as twins
from numpy.testing import assert_allclose

from videopoet_jax.structure import dpt
from videopoet_jax.structure.dpt_resnet import ResNet
from videopoet_jax.structure.resample import bilinear

RNG = np.random.default_rng(0)


def test_between_neighbours_in_both_conventions():
    x = jnp.asarray([0.0, 10.0]).reshape(1, 1, 2, 1)
    assert_allclose(bilinear(x, 1, 4, aligned=True).ravel(), [0, 10 / 3, 20 / 3, 10], rtol=1e-6)
    assert_allclose(bilinear(x, 1, 4, aligned=False).ravel(), [0, 2.5, 7.5, 10])
    picture = jnp.asarray(RNG.normal(size=(1, 6, 4, 2)), jnp.float32)
    for aligned in (True, False):
        assert_allclose(bilinear(picture, 6, 4, aligned=aligned), picture)
        tall = np.asarray(bilinear(picture, 11, 7, aligned=aligned))
        turned = bilinear(picture.swapaxes(1, 2), 7, 11, aligned=aligned)
        assert_allclose(tall, np.asarray(turned).swapaxes(1, 2), atol=1e-6)
        assert tall.min() >= picture.min() and tall.max() <= picture.max()
    assert_allclose(np.asarray(bilinear(picture, 11, 7, aligned=True))[:, ::2, ::2], picture, atol=1e-6)


def test_patches_are_whole_squares():
    x = np.arange(4 * 6 * 3).reshape(1, 4, 6, 3)
    patches = np.asarray(dpt.to_patches(jnp.asarray(x, jnp.float32), 2))
    assert patches.shape == (1, 2, 3, 12)
    assert_allclose(patches[0, 1, 2], x[0, 2:4, 4:6].ravel())


def test_spreading_is_a_transposed_convolution():
    spread, x = dpt.Spread(3), jnp.asarray(RNG.normal(size=(1, 2, 4, 5)), jnp.float32)
    kernel = RNG.normal(size=(5, 3, 3, 5)).astype(np.float32)
    y = np.asarray(spread.apply({"params": {"spread": kernel, "bias": jnp.arange(5.0)}}, x))
    assert y.shape == (1, 6, 12, 5)
    assert_allclose(y[0, 1 * 3 + 2, 3 * 3 + 1], np.asarray(x)[0, 1, 3] @ kernel[:, 2, 1] + np.arange(5), atol=1e-5)


@pytest.mark.parametrize("name", ["dpt", "hybrid"])
def test_shapes_of_pictures_that_are_not_square(drawn, name):
    fields, _, params = drawn[name]
    near = jax.jit(dpt.DPT(**fields).apply)(
        {"params": params}, jnp.asarray(RNG.uniform(-1, 1, (2, 32, 64, 3)), jnp.float32)
    )
    assert near.shape == (2, 32, 64) and near.dtype == jnp.float32
    assert near.min() >= 0 and np.std(near) > 0
    with pytest.raises(ValueError, match="48×64 pixels: DPT takes multiples of 32; resize them"):
        dpt.DPT(**fields).apply({"params": params}, jnp.zeros((1, 48, 64, 3)))


def test_tokens_move_with_the_picture_if_positions_are_alike(drawn):
    """Attention sees a set: rolled by one patch, the tokens behind the last layer are the same, rolled."""
    fields, _, params = drawn["dpt"]
    picture = RNG.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    rolled = np.roll(picture, (16, -32), axis=(1, 2))

    run = jax.jit(functools.partial(dpt.DPT(**fields).apply, capture_intermediates=True))

    def tokens(params: dict, x: np.ndarray) -> np.ndarray:
        _, seen = run({"params": params}, jnp.asarray(x))
        return np.asarray(seen["intermediates"]["layer3"]["__call__"][0])[:, 1:].reshape(1, 4, 4, -1)

    for alike in (True, False):
        one = {**params, "positions": params["positions"] * (not alike)}
        before = np.roll(tokens(one, picture), (1, -2), axis=(1, 2))
        assert np.allclose(before, tokens(one, rolled), atol=1e-4) == alike


def test_the_resnet_moves_with_the_picture_and_halves():
    """Sixteen pixels are one feature of the third stage. The ground is grey, so the borders look the same."""
    net = ResNet(8, (8, 16, 32), (1, 2, 1), 2)
    picture = np.zeros((1, 160, 160, 3), np.float32)
    picture[:, 72:88, 64:88] = RNG.uniform(-1, 1, (1, 16, 24, 3))
    params = {"params": twins.drawn(lambda key: net.init(key, jnp.zeros((1, 32, 32, 3))), 0)}
    run = jax.jit(net.apply)
    before, after = (run(params, jnp.asarray(x)) for x in (picture, np.roll(picture, (-16, 16), axis=(1, 2))))
    assert [x.shape for x in before] == [(1, 40, 40, 8), (1, 20, 20, 16), (1, 10, 10, 32)]
    for x, y, step, rim in zip(before, after, (4, 2, 1), (8, 5, 3), strict=True):
        inside = (slice(None), slice(rim, -rim), slice(rim, -rim))
        assert_allclose(np.roll(x, (-step, step), axis=(1, 2))[inside], np.asarray(y)[inside], atol=1e-3)
        assert np.abs(np.asarray(x) - np.asarray(y))[inside].max() > 0.01
