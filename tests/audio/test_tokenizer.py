"""AudioTokenizer: one fixed shape inside, so a clip's codes depend on nothing but the clip; and bad input."""

import functools
import re

import jax
import jaxtyping
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.audio import AudioTokenizer, SoundStream
from videopoet_jax.audio import tokenizer as audio_tokenizer
from videopoet_jax.video.tokenizer import VideoTokenizer


def test_shapes_and_arithmetic(tokenizer, noise):
    codes = tokenizer.encode(noise).codes
    assert codes.shape == (3, 500, 3) and np.issubdtype(codes.dtype, np.integer)
    assert tokenizer.encode(noise[0], levels=2).codes.shape == (500, 2)
    sound = tokenizer.decode(codes)
    assert sound.shape == (3, 4000) and sound.dtype == np.float32 and abs(sound).max() <= 1
    assert tokenizer.frames(4007) == 500 and tokenizer.vocabulary_size == 16 and tokenizer.levels == 3


def test_chunks_give_what_the_whole_gives(tokenizer, model, variables, noise):
    """Five chunks against one pass over everything: equal but for rounding."""
    codes = tokenizer.encode(noise).codes
    whole = jax.jit(lambda x: model.apply(variables, x, method=SoundStream.encode))(noise)
    assert (codes == np.asarray(whole)).mean() > 0.999
    sound = jax.jit(lambda c: model.apply(variables, c, method=SoundStream.decode))(codes)
    assert_allclose(tokenizer.decode(codes), np.clip(sound, -1, 1), atol=1e-5)


def test_a_clip_is_the_same_alone_in_a_batch_and_as_a_beginning(tokenizer, noise):
    codes = tokenizer.encode(noise).codes
    assert_array_equal(tokenizer.encode(noise[1]).codes, codes[1])
    assert_array_equal(tokenizer.decode(codes[1]), tokenizer.decode(codes)[1])
    assert_array_equal(tokenizer.encode(noise[1:2, :1000]).codes[0], codes[1, :125])
    assert_array_equal(tokenizer.decode(codes[2:])[0], tokenizer.decode(codes)[2])
    assert_array_equal(tokenizer.decode(codes[:, :77]), tokenizer.decode(codes)[:, : 77 * 8])


def test_every_product_is_exact(tokenizer):
    """An accelerator would round float32's operands, and codes would differ from machine to machine."""
    sound, codes = np.zeros((1, 64), np.float32), np.zeros((1, 8, 3), int)
    for chunks, given in ((tokenizer._encoders[False], sound), (tokenizer._decode, codes)):
        program = str(jax.make_jaxpr(functools.partial(chunks.step, None, given))())
        found = re.findall(r"precision=\(?(?:Precision\.)?(\w+)", program)
        assert len(found) > 10 and set(found) == {"HIGHEST"}


def test_tokenizers_of_the_same_sizes_share_their_programs(fields, tokenizer, variables, noise):
    codes = tokenizer.encode(noise).codes
    programs = audio_tokenizer.apply_chunk._cache_size()
    louder = jax.tree.map(lambda leaf: 2 * leaf, variables["params"])
    other = AudioTokenizer(fields, louder, variables["codebooks"]).encode(noise).codes
    assert np.any(other != codes) and audio_tokenizer.apply_chunk._cache_size() == programs > 0


@pytest.mark.parametrize("rows", [2, 4])
def test_rows_change_rounding_only(fields, tokenizer, variables, noise, rows):
    many = AudioTokenizer(fields, variables["params"], variables["codebooks"], rows=rows)
    codes = many.encode(noise).codes
    assert (codes == tokenizer.encode(noise).codes).mean() > 0.999
    assert_array_equal(many.encode(noise[2]).codes, codes[2])


def test_save_and_load(tokenizer, noise, tmp_path):
    tokenizer.save_pretrained(tmp_path / "float", dtype="float32")
    again = AudioTokenizer.from_pretrained(tmp_path / "float")
    assert again.config == tokenizer.config
    codes = tokenizer.encode(noise).codes
    assert_array_equal(again.encode(noise).codes, codes)
    assert_array_equal(again.decode(codes), tokenizer.decode(codes))
    for name in ("counts", "sums", "started"):
        assert_allclose(again.codebooks[name], tokenizer.codebooks[name], rtol=1e-5, atol=1e-5)

    tokenizer.save_pretrained(tmp_path / "half")
    half = AudioTokenizer.from_pretrained(tmp_path / "half")
    assert_allclose(half.decode(codes), tokenizer.decode(codes), atol=0.05)
    half.save_pretrained(tmp_path / "again")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("half", "again")]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    "sound,says",
    [
        (np.zeros(0, np.float32), "0 samples.*a frame is 8 samples; pad it with zeros to at least 8"),
        (np.zeros((0, 4000), np.float32), "× 0"),
        (np.zeros(7, np.float32), "7 samples.*pad"),
        (np.full(4000, np.nan, np.float32), "4000 values.*finite"),
        (np.zeros((4000, 2), np.float32), "2 samples × 4000: .*; average the channels, if they come last"),
        (np.zeros((1, 2, 4000), np.float32), r"\(1, 2, 4000\): give \[s\] or \[b s\], of one channel; average"),
        (np.zeros(4000, np.int16), "int16.*divide"),
        (np.full(4000, -50.0, np.float32), "as loud as 50: full scale is 1, at most 8 is coded; divide 16-bit"),
    ],
)
def test_bad_sounds_are_named(tokenizer, sound, says):
    with pytest.raises(ValueError, match=says):
        tokenizer.encode(sound)


@pytest.mark.parametrize(
    "codes,says",
    [
        (np.zeros((1, 0, 1), int), "at least one clip and one frame"),
        (np.full((1, 5, 1), 16), "16.*\\[0, 16\\).*offset"),
        (np.full((1, 5, 1), -1), "-1"),
        (np.zeros((1, 5, 4), int), "4 levels.*1 to 3"),
        (np.full((1, 5, 1), 7.9), r"codes float64 \[1, 5, 1\]: give integers \[f q\] or \[b f q\]"),
        (np.zeros(5, int), "give integers \\[f q\\]"),
    ],
)
def test_bad_codes_are_named(tokenizer, codes, says):
    with pytest.raises(ValueError, match=says):
        tokenizer.decode(codes)


def test_a_row_is_a_sound_and_may_overshoot(tokenizer, noise):
    """Two channels are two sounds; a film's decoder overshoots full scale."""
    left, right = 5 * noise[0], noise[1]
    assert 1 < np.abs(left).max() < 8
    codes = tokenizer.encode(np.stack([left, right])).codes
    assert codes.shape == (2, 500, 3)
    assert_array_equal(codes[0], tokenizer.encode(left).codes)


def test_codebooks_of_another_config_are_refused(fields, variables):
    with pytest.raises(ValueError, match="codebooks .*the config says"):
        AudioTokenizer({**fields, "levels": 2}, variables["params"], variables["codebooks"])


@pytest.fixture
def unchecked(monkeypatch):
    """As users run it: no signature is checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.parametrize("levels", [7, 0, 1.5])
def test_levels_that_are_not_there_are_refused(tokenizer, noise, unchecked, levels):
    with pytest.raises(ValueError, match=f"^{levels} levels: this tokenizer has 3; ask for a whole number from 1 to 3"):
        tokenizer.encode(noise, levels=levels)
    with pytest.raises(ValueError, match=f"^{levels} levels: "):
        list(tokenizer.encode_pieces([], levels))


@pytest.mark.parametrize("rows", [0, -1, 1.5])
def test_rows_that_are_none_are_refused(fields, variables, unchecked, rows):
    with pytest.raises(ValueError, match=f"^rows {rows}: give a whole number, at least 1"):
        AudioTokenizer(fields, variables["params"], variables["codebooks"], rows=rows)


@pytest.mark.parametrize("kind", [AudioTokenizer, VideoTokenizer])
def test_no_name_is_refused(kind, unchecked):
    with pytest.raises(ValueError, match=r"^None: neither a name nor a path; give a shipped model \(nano\) or the"):
        kind.from_pretrained(None)


@pytest.mark.parametrize("size", [1, 37, 1000, 4000])
def test_pieces_give_what_the_whole_gives(tokenizer, noise, size):
    """Sound in pieces of any length, and its codes too: the same bits."""
    sound = np.asarray(noise[0])[:3997]
    whole = tokenizer.encode(sound).codes
    pieces = [sound[i : i + size] for i in range(0, len(sound), size)]
    streamed = list(tokenizer.encode_pieces(pieces))
    assert_array_equal(np.concatenate(streamed), whole)
    assert len(streamed) == 5  # chunks of 106 frames: none waited for the end
    codes = [whole[i : i + size] for i in range(0, len(whole), size)]
    assert_array_equal(np.concatenate(list(tokenizer.decode_pieces(codes))), tokenizer.decode(whole))


@pytest.mark.parametrize("frames", [105, 106, 107])
def test_pieces_may_end_on_a_chunk(fields, variables, tokenizer, noise, frames):
    sound = np.asarray(noise[0])[: frames * 8]
    assert_array_equal(np.concatenate(list(tokenizer.encode_pieces([sound]))), tokenizer.encode(sound).codes)
    many = AudioTokenizer(fields, variables["params"], variables["codebooks"], rows=4)
    assert_array_equal(np.concatenate(list(many.encode_pieces([sound], 2))), many.encode(sound, 2).codes)


def test_pieces_of_less_than_a_frame_have_no_codes(tokenizer):
    assert list(tokenizer.encode_pieces([])) == [] == list(tokenizer.encode_pieces([np.zeros(7, np.float32)]))
    assert list(tokenizer.decode_pieces([])) == []


@pytest.mark.parametrize(
    "piece,says",
    [
        (np.full(2, np.nan, np.float32), "2 values that are NaN"),
        (np.zeros((2, 9), np.float32), r"sound of shape \(2, 9\): give \[s\], of one channel; average the channels"),
        (np.zeros(9, np.int16), "int16.*divide"),
        (np.full(9, 50.0, np.float32), "as loud as 50: "),
    ],
)
def test_bad_pieces_of_sound_are_named(tokenizer, unchecked, piece, says):
    with pytest.raises(ValueError, match=says):
        list(tokenizer.encode_pieces([np.zeros(9, np.float32), piece]))


@pytest.mark.parametrize(
    "piece,says",
    [
        (np.full((1, 1), 16), r"from 16 to 16: must lie in \[0, 16\)"),
        (np.full((1, 1), 7.9), r"codes float64 \[1, 1\]: give integers \[f q\]\."),
        (np.zeros(5, int), r"codes int64 \[5\]: give integers \[f q\]\."),
        (np.zeros((2, 5, 1), int), r"codes int64 \[2, 5, 1\]: give integers \[f q\]\."),
        (np.zeros((1, 4), int), "4 levels: this tokenizer has 3"),
    ],
)
def test_bad_pieces_of_codes_are_named(tokenizer, unchecked, piece, says):
    with pytest.raises(ValueError, match=says):
        list(tokenizer.decode_pieces([np.zeros((0, 1), int), piece]))
