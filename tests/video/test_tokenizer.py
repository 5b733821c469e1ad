"""The tokenizer as a whole: causality, shapes, sizes of the paper's models, its API and its errors."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from videopoet_jax.configs.video_tokenizer import VARIANTS

from videopoet_jax.video import blocks
from videopoet_jax.video.model import VideoTokenizerModel, build, to_bytes, to_pixels
from videopoet_jax.video.tokenizer import Encoded, VideoTokenizer, _checked_pixels


def clip(frames=17, side=16, batch=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (batch, frames, side, side, 3)).astype(np.float32)


def shifted(x, at, by):
    """A copy of x with `by` added at an index."""
    y = x.copy()
    y[at] += by
    return y


@pytest.fixture(scope="module")
def encode(tiny):
    model, params = build(tiny.CONFIG), tiny.parameters()
    return jax.jit(lambda x: model.apply({"params": params}, x, method="encode"))


@pytest.fixture(scope="module")
def decode(tiny):
    model, params = build(tiny.CONFIG), tiny.parameters()
    return jax.jit(lambda q: model.apply({"params": params}, q, method="decode"))


def test_encoder_is_causal_bit_for_bit(encode):
    x = clip()
    z = encode(x)
    for frame in (1, 5, 9, 13):
        latent = 1 + (frame - 1) // 4
        changed = encode(shifted(x, np.s_[:, frame:], 1.0))
        assert_array_equal(changed[:, :latent], z[:, :latent])
        assert np.abs(np.asarray(changed - z)[:, latent]).max() > 1e-3


def test_decoder_is_causal_bit_for_bit(encode, decode):
    codes = np.sign(encode(clip()))
    video = np.asarray(decode(codes))
    for latent in (1, 2, 4):
        frame = 4 * latent - 3
        changed = np.asarray(decode(np.concatenate([codes[:, :latent], -codes[:, latent:]], axis=1)))
        assert_array_equal(changed[:, :frame], video[:, :frame])
        assert np.abs(changed[:, frame : frame + 4] - video[:, frame : frame + 4]).max(axis=(0, 2, 3, 4)).min() > 1e-3


def test_every_frame_is_seen(encode):
    """A stride in time with too short a kernel would skip some."""
    x = clip(batch=1)
    sensitivity = jax.jit(jax.grad(lambda x: jnp.sum(jnp.square(encode(x)))))(x)
    assert np.abs(np.asarray(sensitivity)).max(axis=(0, 2, 3, 4)).min() > 1e-4


def test_an_image_is_a_first_frame(encode, decode):
    x = clip()
    assert_allclose(encode(x[:, :1]), encode(x)[:, :1], atol=1e-5)
    codes = np.sign(encode(x))
    assert_allclose(decode(codes[:, :1]), decode(codes)[:, :1], atol=1e-5)


def test_batch_members_do_not_meet(encode):
    x = clip()
    assert_array_equal(encode(shifted(x, 1, 0.5))[0], encode(x)[0])


@pytest.mark.parametrize(
    ("frames", "height", "width", "grid"),
    [
        (1, 128, 128, (1, 16, 16)),
        (17, 128, 128, (5, 16, 16)),
        (17, 224, 128, (5, 28, 16)),
        (41, 128, 128, (11, 16, 16)),
        (41, 224, 128, (11, 28, 16)),
    ],
)
def test_shapes_of_the_paper(get_config, frames, height, width, grid):
    config = get_config("large").model
    config.encoder_blocks = config.decoder_blocks = (1, 1, 1, 1)  # depth changes no shape, and takes time to trace
    model = build(config)
    x = jax.ShapeDtypeStruct((1, frames, height, width, 3), jnp.float32)
    out = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], x)
    assert out.indices.shape == (1, *grid)
    assert out.z.shape == (1, *grid, 18)
    assert out.video.shape == x.shape
    assert VideoTokenizer(config, {}).grid(frames, height, width) == grid


def count(config):
    model = build(config.model)
    x = jnp.zeros((1, 1 if model.causal else 4, config.data.height, config.data.width, 3))
    params = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), x))["params"]
    return {name: sum(p.size for p in jax.tree.leaves(part)) for name, part in params.items()}


# Of these two are named by their size: `huge`, and `magvit1`, whose paper gives 41 M for 3D-VQ, size B.
MILLIONS = {"local": 1.87, "study": 2.68, "per_frame": 28.07, "magvit1": 40.59, "fast": 80.21, "huge": 992.75}


@pytest.mark.parametrize("variant", MILLIONS)
def test_parameters_of_the_others(get_config, variant):
    assert round(sum(count(get_config(variant)).values()) / 1e6, 2) == MILLIONS[variant]


def test_parameters_of_the_figure(get_config):
    large = count(get_config("large"))
    assert round(large["encoder"] / 1e6, 1) == 144.9
    assert round(large["decoder"] / 1e6, 1) == 225.7
    assert abs(sum(count(get_config("base")).values()) / 1e6 - 92.7) < 0.1


def test_nano_is_small(get_config):
    assert sum(count(get_config("nano")).values()) <= 2.3e6


@pytest.mark.parametrize("variant", VARIANTS)
def test_configs_build_at_their_own_size(get_config, variant):
    config = get_config(variant)
    model, data = build(config.model), config.data
    grid = VideoTokenizer(config.model, {}).grid(data.num_frames, data.height, data.width)
    x = jax.ShapeDtypeStruct((1, data.num_frames, data.height, data.width, 3), jnp.float32)
    out = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x)[0], x)
    assert isinstance(model, VideoTokenizerModel)
    assert out.indices.shape == (1, *grid) and out.video.shape == x.shape


def test_a_model_that_is_not_causal_sees_ahead_by_its_convolutions_and_by_its_statistics(tiny, monkeypatch):
    quantizer = {"name": "vq", "size": 16, "channels": 6}
    config = tiny.config(causal=False, pooled=True, adaptive=False, quantizer=quantizer)
    model, params = build(config), tiny.drawn(config, frames=4)
    x = 0.5 * jax.random.normal(jax.random.key(1), (1, 32, 16, 16, 3))

    def changed():
        """Which latent frames the last four frames have a say in."""
        encode = jax.jit(lambda x: model.apply({"params": params}, x, method="encode"))
        z, later = encode(x), encode(x.at[:, 28:].add(0.5))
        assert z.shape == (1, 8, 4, 4, 6)
        return np.any(np.asarray(z != later), axis=(0, 2, 3, 4)).tolist()

    assert changed() == [True] * 8
    monkeypatch.setattr(blocks, "group_norm", lambda x, scale, bias, groups, causal: x)
    # Two convolutions among 16 frames, and two among 8: a frame and two back. Causal ones would change the last alone.
    assert changed() == [False] * 4 + [True] * 4


@pytest.mark.parametrize(
    ("causal", "counts"), [(True, {1: 1, 2: 5, 5: 5, 6: 9, 17: 17}), (False, {1: 4, 4: 4, 5: 8, 16: 16, 17: 20})]
)
def test_any_number_of_frames_is_filled_up(tiny, causal, counts):
    tokenizer = VideoTokenizer(tiny.config(causal=causal), {}, dtype="float32")
    assert {frames: tokenizer.filled_frames(frames) for frames in counts} == counts
    assert tokenizer.grid(17, 16, 16)[0] == 5


def test_filled_frames_repeat_the_last_and_are_cut_off_again(tiny):
    tokenizer = tiny.tokenizer()
    video = np.asarray(to_bytes(jnp.asarray(clip())))[0, :6]
    encoded = tokenizer.encode(video)
    assert encoded.num_frames == 6
    filled = np.concatenate([video, video[-1:], video[-1:], video[-1:]])
    assert_array_equal(encoded.codes, tokenizer.encode(filled).codes)
    assert_array_equal(tokenizer.decode(encoded.codes, 6), tokenizer.decode(encoded.codes)[:6])


def test_unknown_variant(get_config):
    with pytest.raises(ValueError, match=r"'giant'.*use one of nano"):
        get_config("giant")


def test_round_trip_of_pixels():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    pixels = np.asarray(to_pixels(every))
    assert pixels.min() == -1 and pixels.max() == 1
    assert_array_equal(to_bytes(jnp.asarray(pixels)), every)


def test_clip_and_batch_agree_and_survive_saving(tiny, tmp_path):
    tokenizer = tiny.tokenizer()
    video = np.asarray(to_bytes(jnp.asarray(clip())))
    batch = tokenizer.encode(video).codes
    assert batch.shape == (2, *tokenizer.grid(17, 16, 16)) and batch.dtype == jnp.int32
    one = tokenizer.encode(video[0]).codes
    assert (np.asarray(one) == np.asarray(batch[0])).mean() > 0.99  # another batch size rounds differently
    assert np.min(batch) >= 0 and np.max(batch) < tokenizer.vocabulary_size == 1024
    decoded = tokenizer.decode(batch)
    assert decoded.shape == video.shape and decoded.dtype == np.uint8
    assert tokenizer.decode(batch[0]).shape == video[0].shape

    tokenizer.save_pretrained(tmp_path, dtype="float32")
    again = VideoTokenizer.from_pretrained(tmp_path, dtype="float32")
    assert_array_equal(again.encode(video).codes, batch)
    assert_array_equal(again.decode(batch), decoded)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: t.grid(0, 16, 16), r"0 frames: .*give at least one"),
        (lambda t: t.grid(17, 18, 16), r"height 18: needs a multiple of 4; resize or crop to 16 or 20"),
        (lambda t: t.grid(17, 16, 3), r"width 3: needs a multiple of 4; resize or crop to 4\."),
        (lambda t: t.encode(np.zeros((17, 16, 16, 3), np.float32)), "float32 .*give uint8"),
        (lambda t: t.encode(np.zeros((17, 16, 16, 4), np.uint8)), "give uint8"),
        (
            lambda t: t._checked_codes(Encoded(np.zeros((5, 2, 2), np.int32), 17), "[t h w]"),
            r"codes of type Encoded: give integers \[t h w\]; of what `encode` returns, its `.codes`",
        ),
        (
            lambda t: _checked_pixels([[0]], "[t h w 3]", "[b t h w 3]"),
            r"of type list: give uint8 \[t h w 3\] or \[b t",
        ),
        (lambda t: t.encode(np.zeros((0, 5, 16, 16, 3), np.uint8)), r"video \[0, 5, 16, 16, 3\]: a batch of no clips"),
        (
            lambda t: _checked_pixels(np.zeros((16, 16, 3), np.uint8), "[t h w 3]"),
            r"\[16, 16, 3\]: give uint8 \[t h w 3\]\.",
        ),
        (lambda t: t._checked_codes(np.full((1, 4, 4), 7.9), "[t h w]"), r"codes float64 \[1, 4, 4\]: give integers"),
        (
            lambda t: t._checked_codes(np.zeros((4, 4), int), "[t h w]"),
            r"codes int64 \[4, 4\]: give integers \[t h w\]\.",
        ),
        (lambda t: t.decode(np.zeros((2, 4, 4), np.int32), 6), "num_frames 6: these codes are 5 frames"),
        (lambda t: t.decode(np.full((1, 4, 4), 1024)), "codes 1024 … 1024: must lie in 0 … 1023"),
        (lambda t: t.decode(np.zeros((1, 4, 4))), "give integers"),
        (lambda t: build(dict(t.config, quantizer={"name": "bsq"})), "'bsq': unknown; use one of lfq, fsq, vq"),
        (
            lambda t: build(dict(t.config, quantizer={"name": "vq", "size": 4})),
            r"its fields are \['channels', 'size'\]",
        ),
        *(
            (lambda t, spec=spec: build(dict(t.config, quantizer=spec)), words)
            for spec, words in [
                ({"name": "lfq", "bits": 31}, r"2\^31 codes, and an int32 names 2\^30; choose fewer"),
                (
                    {"name": "lfq", "bits": 40},
                    r"with \{'bits': 40\}: 2\^40 codes, .*2\^30; choose fewer \(MAGVIT-v2 has 2\^18",
                ),
                ({"name": "lfq", "bits": 20_000}, r"2\^2e\+04 codes"),
                ({"name": "lfq", "bits": 0}, "bits 0: needs an integer of 1 or more; give 18, for instance"),
                ({"name": "lfq", "bits": "18"}, "bits '18': needs an integer"),
                ({"name": "fsq", "levels": (1, 8)}, r"levels \(1, 8\): needs integers of 2 or more"),
                ({"name": "fsq", "levels": []}, r"levels \(\): needs integers of 2 or more; give \(8, 8, 8, 8, 8, 8\)"),
                ({"name": "fsq", "levels": 8}, "levels 8: needs integers"),
                ({"name": "fsq", "levels": (8,) * 11}, r"2\^33 codes"),
                ({"name": "vq", "size": 0, "channels": 4}, "size 0: needs an integer of 1 or more"),
            ]
        ),
    ],
)
def test_errors_say_value_rule_remedy(tiny, call, words):
    with pytest.raises(ValueError, match=words):
        call(tiny.tokenizer())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patch": (2, 2, 2)}, "patch (2, 2, 2): the first frame stands alone, so a patch spans 1 frame; use strides."),
        (
            {"patch": (1, 0, 4)},
            "patch (1, 0, 4): needs 3 integers of 1 or more (frames, height, width), such as (1, 4, 4).",
        ),
        ({"patch": (1, 2)}, "patch (1, 2): needs 3 integers"),
        ({"patch": [1, 2, 2.0]}, "patch (1, 2, 2.0): needs 3 integers"),
        (
            {"strides": ((2, 2), (2, 1, 1))},
            "strides ((2, 2), (2, 1, 1)): each needs 3 integers of 1 or more (frames, height, width), such as (2, 2, "
            "2); 1 leaves an axis as it is.",
        ),
        ({"strides": (2, 2, 2)}, "strides (2, 2, 2): each needs 3 integers"),
        ({"strides": ((2, 2, 0), (2, 1, 1))}, "strides ((2, 2, 0), (2, 1, 1)): each needs 3 integers of 1 or more"),
        (
            {"kernel_time": (3, 3)},
            "kernel_time (3, 3): 3 stages need 3 integers of 1 or more; give one for each, or other strides, of which "
            "there is one fewer.",
        ),
        ({"kernel_time": (0, 3, 3)}, "kernel_time (0, 3, 3): 3 stages need 3 integers of 1 or more"),
        ({"encoder_widths": (0, 8, 12)}, "encoder_widths (0, 8, 12): 3 stages need 3 integers of 1 or more"),
        ({"decoder_widths": (8, 8, True)}, "decoder_widths (8, 8, True): 3 stages need 3 integers of 1 or more"),
        ({"encoder_blocks": (1, 1, -1)}, "encoder_blocks (1, 1, -1): 3 stages need 3 integers of 0 or more"),
        ({"decoder_blocks": 2}, "decoder_blocks 2: 3 stages need 3 integers of 0 or more"),
        ({"decoder_middle_blocks": -1}, "decoder_middle_blocks -1: needs an integer of 0 or more; give one."),
        ({"upsample_kernel": 0}, "upsample_kernel 0: needs an integer of 1 or more"),
        ({"groups": 0}, "groups 0: needs an integer of 1 or more"),
        ({"groups": 5}, "groups 5: must divide all widths, [8, 12]; choose one of 1, 2, 4."),
        ({"groups": 7}, "groups 7: must divide all widths"),
        ({"causal": "no"}, "causal 'no': needs True or False; give one."),
        ({"pooled": True}, "pooled and causal: a mean over frames sees ahead of the first; turn one of the two off."),
        ({"quantizer": "lfq"}, "quantizer lfq with []: its fields are ['bits']; give {'bits': 18}, for instance."),
        ({"depth": 3}, "model with unknown fields ['depth'], without []; its fields are ['adaptive', 'causal', "),
    ],
)
def test_a_config_that_makes_no_model_says_value_rule_remedy(tiny, changes, words):
    with pytest.raises(ValueError) as refused:
        build(tiny.config(**changes))
    assert str(refused.value).startswith(words)


def test_a_config_without_a_field_is_refused(tiny):
    config = tiny.config()
    del config["patch"]
    with pytest.raises(ValueError, match=r"without \['patch'\]; its fields are"):
        build(config)


def test_a_config_as_json_has_it_builds_the_same_model(tiny):
    assert build(json.loads(json.dumps(tiny.CONFIG))) == build(tiny.CONFIG)
