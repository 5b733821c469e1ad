"""Films in pieces: no seams, and codes that do not depend on the pieces."""

import functools
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.video import lfq
from videopoet_jax.video.model import build, init_params, to_pixels
from videopoet_jax.video.streaming import Stream
from videopoet_jax.video.tokenizer import VideoTokenizer


@pytest.fixture(scope="module")
def film():
    return np.random.default_rng(0).integers(0, 256, (31, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return tiny.tokenizer(chunk_frames=8)


@pytest.mark.parametrize(("dtype", "chunk_frames"), [("float32", 8), ("bfloat16", 8), ("float32", 4)])
def test_pieces_do_not_matter(tiny, film, dtype, chunk_frames):
    tokenizer = tiny.tokenizer(chunk_frames=chunk_frames, dtype=dtype)
    whole = np.concatenate(list(tokenizer.encode_pieces([film])))
    for size in (1, 7, 20):
        pieces = [film[i : i + size] for i in range(0, len(film), size)]
        assert_array_equal(np.concatenate(list(tokenizer.encode_pieces(pieces))), whole)


@pytest.mark.parametrize(("dtype", "precision"), [("float32", "HIGHEST"), ("bfloat16", "None")])
def test_every_product_is_as_exact_as_the_dtype(tiny, film, dtype, precision):
    """An accelerator would round float32's operands, and codes would differ from machine to machine."""
    tokenizer = tiny.tokenizer(dtype=dtype)
    stream = Stream(tokenizer.model, jnp.dtype(dtype))
    codes, _ = jax.eval_shape(
        functools.partial(stream.encode_chunk, chunk="first"), tokenizer.params, {}, film[None, :17]
    )
    for work, given in ((stream.encode_chunk, film[None, :17]), (stream.decode_chunk, codes)):
        program = str(jax.make_jaxpr(functools.partial(work, chunk="first"))(tokenizer.params, {}, given))
        found = re.findall(r"precision=\(?(?:Precision\.)?(\w+)", program)
        assert len(found) > 10 and set(found) == {precision}


@pytest.mark.parametrize("chunk_frames", [4, 12, 16])
def test_encoding_equals_one_shot(tiny, chunk_frames):
    """Of 107,520 bits at most one may differ (99.999 %), and only where the latent is as good as zero."""
    tokenizer = tiny.tokenizer(chunk_frames=chunk_frames)
    film = np.random.default_rng(1).integers(0, 256, (165, 16, 16, 3), np.uint8).repeat(4, 1).repeat(4, 2)
    streamed = np.concatenate(list(tokenizer.encode_pieces([film])))
    encode = jax.jit(lambda params, x: tokenizer.model.apply({"params": params}, to_pixels(x), method="encode"))
    z = np.asarray(encode(tokenizer.params, film[None])[0])
    flipped = np.asarray(lfq.codes_from_indices(jnp.asarray(streamed), 10) > 0) != (z > 0)
    assert flipped.size == 107_520 and flipped.mean() <= 1e-5
    assert np.all(np.abs(z)[flipped] < 1e-4)


@pytest.mark.parametrize("chunk_frames", [4, 8, 12])
def test_decoding_equals_one_shot(tiny, chunk_frames):
    tokenizer = tiny.tokenizer(chunk_frames=chunk_frames)
    codes = np.random.default_rng(0).integers(0, 1024, (8, 4, 4))
    streamed = np.concatenate(list(tokenizer.decode_pieces([codes[:3], codes[3:]])))
    once = tokenizer.decode(codes)
    assert streamed.shape == once.shape
    assert np.abs(streamed.astype(int) - once).max() <= 1  # rounding of the last digit


def test_prefix_of_a_film_is_a_film(tokenizer, film):
    """The filling of the last chunk reaches nothing that is kept."""
    whole = np.concatenate(list(tokenizer.encode_pieces([film])))
    for frames in (1, 5, 9, 13, 21):
        codes = np.concatenate(list(tokenizer.encode_pieces([film[:frames]])))
        assert_array_equal(codes, whole[: 1 + (frames - 1) // 4])


@pytest.mark.parametrize("frames", [1, 2, 9, 10, 31])
def test_reconstruction_has_the_films_length(tokenizer, film, frames):
    pieces = list(tokenizer.reconstruct_pieces([film[:frames]]))
    assert_array_equal(np.concatenate([p.truth for p in pieces]), film[:frames])
    video = np.concatenate([p.video for p in pieces])
    assert video.shape == film[:frames].shape
    codes = np.concatenate([p.codes for p in pieces])
    assert_array_equal(video, np.concatenate(list(tokenizer.decode_pieces([codes])))[:frames])


def test_no_frames_no_pieces(tokenizer):
    assert list(tokenizer.encode_pieces([])) == [] and list(tokenizer.reconstruct_pieces([])) == []


def test_a_chunk_is_a_multiple_of_the_stride(tiny):
    with pytest.raises(ValueError, match=r"10 frames a chunk: needs a multiple of 4; use 8"):
        tiny.tokenizer(chunk_frames=10)


def test_strides_longer_than_kernels_stream_too(tiny, film):
    """With one tap in time a stride jumps over frames, and must jump over the right ones in every chunk."""
    image = VideoTokenizer(tiny.IMAGE, tiny.parameters(image=True), dtype="float32", chunk_frames=8)
    streamed = np.concatenate(list(image.encode_pieces([film[:29]])))
    assert (streamed == np.asarray(image.encode(film[:29]).codes)).mean() > 0.99


@pytest.fixture(scope="module")
def clipwise(tiny):
    """MAGVIT's kind: not causal, means between stages."""
    config = tiny.config(causal=False, pooled=True, adaptive=False)
    variables = jax.eval_shape(functools.partial(init_params, build(config)), jax.random.key(0))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.2), nn.meta.unbox(variables))
    return VideoTokenizer(config, params, dtype="float32", chunk_frames=8)


def test_a_model_that_is_not_causal_takes_clips_one_by_one(clipwise, film):
    """21 frames: clips of 8, 8 and 5, of which the last is filled up to 8 by its last frame: 2 + 2 + 2 latents."""
    codes = np.concatenate(list(clipwise.encode_pieces([film[:3], film[3:21]])))
    assert codes.shape == clipwise.grid(21, 16, 16) == (6, 4, 4)
    clips = [film[:8], film[8:16], np.concatenate([film[16:21], film[20:21].repeat(3, 0)])]
    assert_array_equal(codes, np.concatenate([np.asarray(clipwise.encode(clip).codes) for clip in clips]))
    video = np.concatenate(list(clipwise.decode_pieces([codes[:1], codes[1:]])))
    each = [clipwise.decode(codes[start : start + 2]) for start in (0, 2, 4)]
    assert_array_equal(video, np.concatenate(each))
    pieces = list(clipwise.reconstruct_pieces([film[:21]]))
    assert [len(piece.truth) for piece in pieces] == [8, 8, 5] and len(np.unique(codes)) > 4
    assert_array_equal(np.concatenate([piece.codes for piece in pieces]), codes)
    assert_array_equal(np.concatenate([piece.video for piece in pieces]), video[:21])


def test_the_last_clip_is_no_longer_than_its_latents(clipwise, film):
    codes = np.concatenate(list(clipwise.encode_pieces([film[:9]])))
    assert codes.shape == (3, 4, 4) == clipwise.grid(9, 16, 16)
    assert_array_equal(codes[2:], np.asarray(clipwise.encode(film[8:9]).codes))
    assert len(np.concatenate(list(clipwise.decode_pieces([codes])))) == 12
    assert list(clipwise.encode_pieces([])) == []


def test_bad_pieces_are_named(tokenizer, film):
    with pytest.raises(ValueError, match=r"video float32 \[31, 16, 16, 3\]: give uint8 \[t h w 3\]"):
        list(tokenizer.encode_pieces(iter([film.astype(np.float32)])))
    with pytest.raises(ValueError, match=r"height 15: needs a multiple of 4"):
        list(tokenizer.encode_pieces(iter([film[:, :15]])))
    with pytest.raises(ValueError, match=r"codes 0 … 1024: must lie in 0 … 1023"):
        list(tokenizer.decode_pieces(iter([np.array([[[0, 1024]]])])))
