"""The discriminator, as we read the figure: shapes, parameters by hand, blur-pooling by its definition, its view."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from videopoet_jax.video.discriminator import Discriminator, blur_pool


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


def parameters(model, *shape):
    return nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape)))["params"]


def test_blur_pooling_is_a_convolution_with_1_2_1():
    x = np.asarray(normal(0, 1, 5, 6, 7, 2))
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)), mode="edge")
    taps = np.array([1, 2, 1]) / 4
    kernel = taps[:, None, None] * taps[:, None] * taps
    expected = np.zeros((1, 3, 3, 4, 2))
    for t, h, w in np.ndindex(3, 3, 4):
        window = padded[0, 2 * t : 2 * t + 3, 2 * h : 2 * h + 3, 2 * w : 2 * w + 3]
        expected[0, t, h, w] = (window * kernel[..., None]).sum((0, 1, 2))
    assert_allclose(blur_pool(jnp.asarray(x)), expected, atol=1e-6)


def test_the_documented_blur():
    x = jnp.array([0.0, 4.0, 8.0, 8.0]).reshape(1, 4, 1, 1, 1)
    assert_allclose(blur_pool(x).ravel(), [1, 7])


def test_parameters_counted_by_hand():
    widths = [128, 256, 512, 512, 512, 512]
    expected = 27 * 3 * 128 + 128
    for a, b in zip(widths, widths[1:], strict=False):
        expected += 27 * a * a + a + 27 * a * b + b + a * b
    expected += 27 * 512 * 512 + 512 + 4 * 4 * 512 * 512 + 512 + 512 + 1
    model = Discriminator(128, (2, 4, 4, 4, 4))
    assert sum(x.size for x in jax.tree.leaves(parameters(model, 1, 17, 128, 128, 3))) == expected


def test_pictures_and_clips_share_their_parameters():
    model = Discriminator(8, (2, 4))
    shapes = [jax.tree.map(jnp.shape, parameters(model, 1, frames, 32, 16, 3)) for frames in (1, 17)]
    assert shapes[0] == shapes[1]


@pytest.fixture(scope="module")
def discriminator():
    model, clip = Discriminator(4, (2, 2)), normal(0, 2, 5, 16, 16, 3)
    params = nn.meta.unbox(model.init(jax.random.key(1), clip))["params"]
    return jax.jit(lambda x: model.apply({"params": params}, x)), clip


def test_one_logit_for_each_clip_by_itself(discriminator):
    logits, clip = discriminator
    both = logits(clip)
    assert both.shape == (2,)
    assert_allclose(both, jnp.concatenate([logits(clip[:1]), logits(clip[1:])]), rtol=1e-4, atol=1e-5)


def test_every_pixel_of_every_frame_counts(discriminator):
    logits, clip = discriminator
    slope = jax.jit(jax.grad(lambda x: logits(x).sum()))(clip)
    assert float(jnp.abs(slope).max(axis=-1).min()) > 0  # every pixel by one of its channels at least
    assert float(jnp.mean(slope != 0)) > 0.99
