"""The paper's shapes, and one clock for picture and sound."""

import pytest
from numpy.testing import assert_equal

from videopoet_jax.sequence import grid
from videopoet_jax.sequence.grid import Grid


@pytest.mark.parametrize(
    "frames, height, width, latents, tokens",
    [
        (1, 128, 128, (1, 16, 16), 256),
        (17, 128, 128, (5, 16, 16), 1_280),
        (17, 224, 128, (5, 28, 16), 2_240),
        (41, 128, 128, (11, 16, 16), 2_816),
        (41, 224, 128, (11, 28, 16), 4_928),
    ],
)
def test_the_papers_shapes(frames, height, width, latents, tokens):
    g = Grid(frames, height, width, spatial_stride=8, audio_levels=4)
    assert_equal((g.latents, g.video_tokens), (latents, tokens))


def test_the_papers_sound():
    g = Grid(17, 128, 128, spatial_stride=8, audio_levels=4)
    assert_equal((g.audio_frames, g.audio_tokens), (106, 424))
    assert grid.samples(17) == 34_000
    assert Grid(17, 128, 128, 8, 0).audio_frames == 0


def test_a_latent_begins_when_the_frames_before_it_end():
    assert [grid.latent_start(i) for i in range(5)] == [0, 6, 31, 56, 81]
    for latents in range(1, 30):
        frames = grid.pixel_frames(latents)
        assert grid.latent_frames(frames) == latents
        assert grid.latent_start(latents) == grid.audio_frames(frames)  # six, then 25 each: no drift, ever


@pytest.mark.parametrize("frames", [0, -3, 2, 16, 18])
def test_only_one_plus_four_k_frames(frames):
    with pytest.raises(ValueError, match=f"{frames} frames: need 1 \\+ 4·k; try "):
        grid.latent_frames(frames)


def test_a_size_between_two_latents_is_refused():
    with pytest.raises(ValueError, match="height 60: need a multiple of the stride 16; try 48"):
        Grid(17, 60, 64, 16, 1)


@pytest.mark.parametrize(
    "shown, asked, expected",
    [
        ((720, 1280), {}, (64, 112)),
        ((1280, 720), {}, (64, 32)),
        ((64, 64), {}, (64, 64)),
        ((720, 1280), {"height": 100}, (96, 176)),
        ((720, 1280), {"width": 64}, (32, 64)),
        ((1280, 720), {"width": 64}, (112, 64)),
        ((720, 1280), {"height": 64, "width": 64}, (64, 64)),
        ((16, 4000), {"width": 64}, (16, 64)),
        ((4000, 16), {}, (64, 16)),
        ((64, 64), {"height": 23, "width": 39}, (16, 32)),
        ((64, 64), {"height": 24, "width": 40}, (32, 48)),
        ((64, 64), {"height": 40, "width": 24}, (48, 32)),
        ((64, 64), {"height": 56, "width": 72}, (64, 80)),
        ((64, 64), {"height": 24}, (32, 32)),
        ((64, 64), {"width": 40}, (48, 48)),
        ((64, 40), {}, (64, 48)),
    ],
)
def test_the_working_size_keeps_the_aspect_in_multiples_of_the_stride(shown, asked, expected):
    assert grid.working_size(shown, (16, 16), **asked) == expected


@pytest.mark.parametrize("side", ["height", "width"])
def test_a_working_size_below_the_stride_is_refused(side):
    with pytest.raises(ValueError, match=f"{side} 8: the tokenizer works on multiples of 16"):
        grid.working_size((720, 1280), (16, 16), **{side: 8})


def test_who_asks_for_more_never_gets_less():
    sizes = [grid.working_size((90, 70), (16, 16), height=n, width=n) for n in range(16, 200)]
    assert sizes == sorted(sizes) and sizes[0] == (16, 16) and sizes[-1] == (192, 192)
    assert [grid.working_size((90, 70), (16, 16), height=n)[1] for n in (16, 56, 72, 199)] == [16, 48, 64, 144]
