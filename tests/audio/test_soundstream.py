"""The network: causal, 320 samples a frame, as big as its description says."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.audio.encoder import elu
from videopoet_jax.audio.soundstream import SoundStream

STRIDE = 8  # of the tiny model


def test_encoder_is_causal(model, variables, noise):
    """Frame i hears samples before (i+1)·8 and none after; the same shape, bit for bit."""
    latents = jax.jit(lambda x: model.apply(variables, x, method=SoundStream.latents))
    before, after = latents(noise), latents(np.where(np.arange(4000) < 1600, noise, noise + 1))
    assert_array_equal(before[:, :200], after[:, :200])
    assert (before[:, 200] != after[:, 200]).any(axis=-1).all()


def test_decoder_is_causal(model, variables):
    codes = jax.random.randint(jax.random.key(0), (2, 60, 3), 0, 16)
    decode = jax.jit(lambda c: model.apply(variables, c, method=SoundStream.decode))
    before, after = decode(codes), decode(codes.at[:, 40:].set((codes[:, 40:] + 1) % 16))
    assert_array_equal(before[:, : 40 * STRIDE], after[:, : 40 * STRIDE])
    assert (before[:, 40 * STRIDE :] != after[:, 40 * STRIDE :]).any()


@pytest.mark.parametrize("samples,frames", [(34_000, 106), (320, 1), (639, 1), (33_920, 106)])
def test_frames_are_the_floor(get_config, samples, frames):
    full = SoundStream(**get_config("nano").model)
    shapes = jax.eval_shape(
        lambda x: full.init_with_output(jax.random.key(0), x, jnp.ones((2,), int))[0], jnp.zeros((2, samples))
    )
    assert shapes.codes.shape == (2, frames, full.levels)
    assert shapes.waveform.shape == (2, 320 * frames)


def parameters(config) -> int:
    full = SoundStream(**config.model)
    shapes = jax.eval_shape(lambda: full.init(jax.random.key(0), jnp.zeros((1, 640)), jnp.ones((1,), int)))
    return sum(leaf.size for leaf in jax.tree.leaves(nn.meta.unbox(shapes)["params"]))


def test_parameter_counts(get_config):
    assert parameters(get_config("nano")) == 616_481
    assert parameters(get_config("local")) == 616_481
    # The paper says 8.4 M for C = 32; what it describes has 9.2 M without the two convolutions whose width D it does
    # not state (k3 in front of the quantizer, k7 behind it), 9.5 M with them at D = 64.
    assert parameters(get_config("soundstream")) == 9_510_977
    assert round((parameters(get_config("soundstream")) - (3 + 7) * 64 * 512) / 1e6, 1) == 9.2


def test_levels_choose_what_is_heard(model, variables, noise):
    """Example i through n levels is what decoding its first n codes gives."""
    out = jax.jit(model.apply)(variables, noise[:, :800], jnp.array([1, 2, 3]))
    decode = jax.jit(partial(model.apply, method=SoundStream.decode))
    for i in range(3):
        alone = decode(variables, out.codes[i : i + 1, :, : i + 1])
        assert_allclose(out.waveform[i], alone[0], atol=1e-5)


def test_bypassed_examples_are_rebuilt_from_their_latents(model, variables, noise):
    """They are still told their codes, and the codebooks still learn from them."""
    sound, levels, key = noise[:2, :800], jnp.array([3, 3]), jax.random.key(0)
    through, taught = model.apply(variables, sound, levels, key, mutable=["codebooks"])
    around, same = model.apply(variables, sound, levels, key, jnp.array([False, True]), mutable=["codebooks"])
    assert_array_equal(around.waveform[0], through.waveform[0])
    latents = model.apply(variables, sound, method=SoundStream.latents)
    assert_allclose(around.waveform[1], model.bind(variables).decoder(latents)[1], atol=1e-5)
    assert_array_equal(around.codes, through.codes)
    jax.tree.map(assert_array_equal, same, taught)


def test_without_a_key_nothing_is_learned(model, variables, noise):
    run = jax.jit(partial(model.apply, mutable=["codebooks"]))
    _, changed = run(variables, noise[:, :800], jnp.array([3, 3, 3]))
    jax.tree.map(assert_array_equal, changed["codebooks"], variables["codebooks"])


def test_first_batch_starts_the_codebooks(model, noise):
    init = nn.meta.unbox(jax.jit(model.init)(jax.random.key(0), noise[:, :800], jnp.ones((3,), int)))
    assert not init["codebooks"]["started"] and not init["codebooks"]["embedding"].any()
    run = jax.jit(partial(model.apply, mutable=["codebooks"]))
    _, changed = run(init, noise[:, :800], jnp.array([3, 3, 3]), jax.random.key(1))
    assert changed["codebooks"]["started"]
    assert (np.abs(changed["codebooks"]["embedding"]).sum(axis=(1, 2)) > 0).all()


@pytest.mark.parametrize("size", ["nano", "local", "soundstream", "soundstream_24k"])
def test_configs_name_every_field(get_config, size):
    fields = {name for name in SoundStream.__dataclass_fields__ if name not in ("parent", "name")}
    assert set(get_config(size).model) == fields


def test_an_unknown_size_is_named(get_config):
    with pytest.raises(ValueError, match="'huge'.*nano, local, soundstream, soundstream_24k"):
        get_config("huge")


def test_elu_is_elu_and_so_is_its_gradient():
    x = jnp.concatenate([jnp.linspace(-30, 3, 500), jnp.array([0.0, -0.0, -1e-9, 1e-9])])
    assert_allclose(elu(x), nn.elu(x), rtol=0, atol=2e-7)
    assert_allclose(jax.vmap(jax.grad(elu))(x), jax.vmap(jax.grad(nn.elu))(x), rtol=0, atol=2e-7)
