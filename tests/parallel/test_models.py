"""The real models on eight devices: where their parameters lie, and that a step there is a step on one device."""

from functools import partial

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from videopoet_jax.audio import losses as audio_losses
from videopoet_jax.audio import tokenizer as audio_tokenizer
from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.layers.objective import ADVERSARY
from videopoet_jax.lm.language_model import LanguageModel, init_params
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.parallel import abstract, batch_sharding, make_mesh, param_shardings
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.training.state import create_state
from videopoet_jax.training.step import Adversary, make_train_step
from videopoet_jax.video import tokenizer as video_tokenizer
from videopoet_jax.video.losses import initial_extra, make_loss
from videopoet_jax.video.model import build
from videopoet_jax.video.tokenizer import VideoTokenizer


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(data=2, fsdp=2, tensor=2)


@pytest.mark.parametrize("size", ["300m", "1b", "8b"])
def test_the_language_model_is_split_as_intended(size, mesh):
    boxed = abstract(partial(init_params, PrefixLM(**load_config(f"lm:{size}").model)))
    specs = jax.tree.map(lambda s: s.spec, param_shardings(boxed, mesh))
    layers = specs["layers"]
    assert layers["attention"]["query"] == P(None, "fsdp", "tensor", None)
    assert layers["mlp"]["gate"] == P(None, "fsdp", "tensor")
    assert layers["mlp"]["down"] == P(None, "tensor", "fsdp")
    assert "tensor" in specs["output"]["visual"] and "tensor" in specs["input"]["visual"]


@pytest.mark.parametrize("variant", ["base", "large"])
def test_the_video_tokenizer_is_split_as_intended(variant, mesh):
    model = build(load_config(f"video_tokenizer:{variant}").model.to_dict())
    boxed = abstract(partial(video_tokenizer.init_params, model))
    specs = jax.tree.map(lambda s: s.spec, param_shardings(boxed, mesh))
    assert specs["encoder"]["stage0_block0"]["conv1"]["kernel"] == P(None, None, None, "fsdp", "tensor")
    assert specs["decoder"]["stage1_up"]["kernel"] == P(None, None, None, "fsdp", "tensor")
    assert specs["encoder"]["conv_in"]["kernel"] == P(None, None, None, None, "tensor")  # from 3 colours


def test_soundstream_is_split_as_intended(mesh):
    model = SoundStream(**load_config("audio_tokenizer:soundstream").model)
    boxed = abstract(lambda key: audio_tokenizer.init_variables(model, key)["params"])
    kernels = [s.spec for s in jax.tree.leaves(param_shardings(boxed, mesh)) if len(s.spec) == 3]
    assert P(None, None, "tensor") in kernels and P(None, "fsdp", None) in kernels  # from mono, to mono
    assert kernels.count(P(None, "fsdp", "tensor")) > 20


def test_soundstreams_discriminators_are_split_as_intended(mesh):
    config = load_config("audio_tokenizer:soundstream")
    boxed = abstract(partial(audio_losses.init_adversary, config))
    specs = jax.tree.map(lambda s: s.spec, param_shardings(boxed, mesh))
    assert specs["waveform0"]["grouped2"]["kernel"] == P(None, None, "tensor")  # four channels a group
    assert specs["waveform0"]["next"]["kernel"] == P(None, "fsdp", "tensor")
    assert specs["stft"]["block3"]["conv2"]["kernel"] == P(None, None, "fsdp", "tensor")


@pytest.mark.parametrize("cls", [VideoTokenizer, AudioTokenizer, TextEncoder, LanguageModel])
def test_weights_that_ship_load_onto_a_mesh(cls, mesh):
    def largest(mesh):
        return max(jax.tree.leaves(cls.from_pretrained("nano", mesh=mesh).params), key=lambda x: x.size)

    spread, whole = largest(mesh), largest(None)
    assert "fsdp" in jax.tree.leaves(tuple(spread.sharding.spec)) and len(whole.devices()) == 1
    np.testing.assert_array_equal(spread, whole)


def drawn(init, mesh):
    """Parameters of the right shapes in the right places, drawn by NumPy: initializers take longest to compile."""
    boxed, rng = abstract(init), np.random.default_rng(1)
    values = jax.tree.map(lambda p: rng.normal(scale=0.3, size=p.shape).astype(np.float32), nn.meta.unbox(boxed))
    return jax.device_put(values, param_shardings(boxed, mesh))


def test_a_video_step_on_eight_devices_is_the_step_on_one():
    config = load_config("video_tokenizer:nano")
    small = dict(
        encoder_widths=(8, 8, 8),
        decoder_widths=(8, 8, 8),
        decoder_blocks=(1, 1, 1),
        groups=4,
        quantizer={"name": "lfq", "bits": 6},
    )
    model, optimizer = build({**config.model.to_dict(), **small}), optax.sgd(1.0)
    step = make_train_step(make_loss(model, config.loss.to_dict()), optimizer, ema_decay=None)
    video = np.random.default_rng(0).integers(0, 256, (8, 5, 32, 32, 3), dtype=np.uint8)
    gradients, losses = [], []
    for mesh in (make_mesh(jax.devices()[:1]), make_mesh()):
        params = drawn(partial(video_tokenizer.init_params, model), mesh)
        before = jax.tree.map(np.asarray, params)
        state = create_state(params, optimizer, mesh=mesh, key=jax.random.key(1), extra=initial_extra())
        batch = {"video": jax.device_put(video, batch_sharding(mesh))}
        assert len({s.device for s in batch["video"].addressable_shards}) == mesh.size
        with jax.set_mesh(mesh):
            state, metrics = jax.jit(step)(state, batch)
        gradients.append(jax.tree.map(lambda new, old: old - np.asarray(new), state.params, before))
        losses.append(float(metrics["loss"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    named = [jax.tree_util.tree_leaves_with_path(tree) for tree in gradients]
    for (path, one), (_, eight) in zip(*named, strict=True):
        largest, name = np.abs(one).max(), jax.tree_util.keystr(path)
        assert largest > 0, f"{name}: no gradient"
        assert np.abs(one - eight).max() <= 1e-3 * largest + 1e-6, name


def test_adversarial_training_of_sound_on_eight_devices_is_that_on_one():
    """A step of the model and of its discriminators, noise and quantizer dropout drawn alike."""
    config = load_config("audio_tokenizer:soundstream")
    config.model.update(channels=2, dim=4, strides=(2, 4), dilations=(1,), levels=2, codebook_size=8, denoise=True)
    config.adversary.model.update(
        scales=1, waveform_widths=(4, 8), stft_window=64, stft_widths=(2, 4), stft_strides=((2, 2),)
    )
    config.loss.windows = (64,)
    audio = np.random.default_rng(0).normal(size=(8, 256)).astype(np.float32)
    model, optimizer = SoundStream(**config.model), optax.sgd(1e-3)
    second = make_train_step(audio_losses.make_adversary_loss(config), optimizer, ema_decay=None)
    step = make_train_step(audio_losses.make_loss(config), optimizer, ema_decay=None, adversary=Adversary(second, 0))
    results = []
    for mesh in (make_mesh(jax.devices()[:1]), make_mesh(data=4, tensor=2)):
        key, extra = jax.random.key(0), audio_losses.initial_extra(config)
        params = drawn(partial(audio_losses.init_adversary, config), mesh)
        extra[ADVERSARY] = create_state(params, optimizer, mesh=mesh, key=key)
        params = drawn(lambda key: audio_tokenizer.init_variables(model, key)["params"], mesh)
        state = create_state(params, optimizer, mesh=mesh, key=key, extra=extra)
        with jax.set_mesh(mesh):
            state, metrics = jax.jit(step)(state, {"audio": jax.device_put(audio, batch_sharding(mesh))})
        trees = (state.params, state.extra["codebooks"], state.extra[ADVERSARY].params, metrics)
        results.append(jax.tree.map(np.asarray, trees))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), *results)
    assert results[0][3]["adversary_loss"] > 0 and results[0][3]["features"] > 0
