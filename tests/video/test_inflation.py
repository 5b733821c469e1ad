"""An inflated image tokenizer is that image tokenizer, until it is trained on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.conv import depth_to_space
from videopoet_jax.video import inflation
from videopoet_jax.video.model import build


def pixels(batch, frames):
    return np.random.default_rng(0).uniform(-1, 1, (batch, frames, 16, 16, 3)).astype(np.float32)


def run(config, params, x):
    model = build(config)
    return jax.jit(lambda params, x: model.apply({"params": params}, x))(params, x)


@pytest.fixture(scope="module")
def inflated(tiny):
    return inflation.inflate(tiny.parameters(image=True), build(tiny.IMAGE), build(tiny.CONFIG))


def test_equal_on_one_frame(tiny, inflated):
    x = pixels(2, 1)
    image = run(tiny.IMAGE, tiny.parameters(image=True), x)
    video = run(tiny.CONFIG, inflated, x)
    assert_array_equal(video.z, image.z)
    assert_array_equal(video.video, image.video)


def test_a_still_clip_stays_still(tiny, inflated):
    """Every frame of the decoder's starts as the image: what the copied channels are for."""
    codes = np.sign(np.random.default_rng(0).normal(size=(1, 1, 4, 4, 10))).astype(np.float32)
    model = build(tiny.CONFIG)
    decode = jax.jit(lambda params, codes: model.apply({"params": params}, codes, method="decode"))
    video = decode(inflated, np.repeat(codes, 3, axis=1))
    assert video.shape[1] == 9
    assert_allclose(video, jnp.broadcast_to(video[:, :1], video.shape), atol=1e-5)


def test_every_frame_encodes_as_an_image(tiny, inflated):
    x = pixels(1, 5)
    z = run(tiny.CONFIG, inflated, x).z
    alone = run(tiny.CONFIG, inflated, x[:, 4:]).z
    assert_allclose(z[:, 1:], alone, atol=1e-5)


def test_what_is_not_causal_equals_the_image_model_on_a_still_clip(tiny):
    whole = dict(causal=False, pooled=True, adaptive=False)
    strides = tuple((1, *stride[1:]) for stride in tiny.CONFIG["strides"])
    image = tiny.config(**whole, strides=strides, kernel_time=(1, 1, 1))
    video = tiny.config(**whole)
    shapes = jax.eval_shape(build(image).init, jax.random.key(0), jnp.zeros((1, 1, 16, 16, 3)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: np.float32(0.2 * rng.normal(size=leaf.shape)), nn.meta.unbox(shapes))
    inflated = inflation.inflate(params, build(image), build(video))
    picture = pixels(2, 1)
    alone, still = run(image, params, picture), run(video, inflated, np.repeat(picture, 4, axis=1))
    assert_array_equal(still.indices, alone.indices)
    assert len(np.unique(alone.indices)) > 1
    assert_allclose(still.video, np.repeat(alone.video, 4, axis=1), atol=1e-5)


def test_a_video_model_stays_as_it_is(tiny, inflated):
    trained = jax.tree.map(lambda p: np.asarray(p) + np.arange(p.size).reshape(p.shape), inflated)
    jax.tree.map(assert_array_equal, inflation.inflate(trained, build(tiny.CONFIG), build(tiny.CONFIG)), trained)


def test_channels_are_copied_as_depth_to_space_lays_them_out():
    channels = inflation.repeat_in_time(np.arange(8.0), 2)
    frames = depth_to_space(jnp.asarray(channels).reshape(1, 1, 1, 1, 8), (2, 2, 1), drop_first=False)
    assert_array_equal(frames[:, 0], frames[:, 1])
    kept = depth_to_space(jnp.arange(8.0).reshape(1, 1, 1, 1, 8), (2, 2, 1), drop_first=True)
    assert_array_equal(frames[:, 1:], kept)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"decoder_widths": (8, 8, 16)}, r"decoder_widths \(8, 8, 12\) of the weights.*this model has \(8, 8, 16\)"),
        ({"encoder_blocks": (2, 1, 1)}, r"encoder_blocks .*this model has \(2, 1, 1\); the two may differ in"),
        ({"quantizer": {"name": "fsq", "levels": (2,) * 10}}, r"quantizer .*lfq.*this model has .*fsq"),
        ({"groups": 2}, r"groups 4 of the weights to start from: this model has 2"),
        ({"causal": False, "adaptive": False}, r"adaptive True .*this model has False"),
        ({"patch": (1, 1, 1)}, r"patch .*this model has \(1, 1, 1\)"),
    ],
)
def test_another_model_is_refused_whatever_its_shapes(tiny, changed, words):
    with pytest.raises(ValueError, match=words):
        inflation.inflate(tiny.parameters(image=True), build(tiny.IMAGE), build(tiny.config(**changed)))


def test_fewer_taps_are_refused(tiny):
    with pytest.raises(ValueError, match=r"kernel_time .*taps are only added"):
        inflation.inflate(tiny.parameters(), build(tiny.CONFIG), build(tiny.IMAGE))
