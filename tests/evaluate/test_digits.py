"""Scorers of moving digits: right on true clips, wrong on every trap."""

import numpy as np
import pytest

from videopoet_jax.data import moving_digits as world
from videopoet_jax.evaluate.digit_sound import clicks, matched, pitch_digits, pitches
from videopoet_jax.evaluate.digits import (
    end_error,
    glyphs_differ,
    parse,
    read_clip,
    score_text_to_video,
    score_unconditional,
)

RATE = 16_000
CASES = [("red", 3, "left"), ("white", 0, "down"), ("blue", 7, "right"), ("green", 5, "up"), ("yellow", 9, "left")]


def true(colour="red", digit=3, direction="left", **more):
    clip = world.render_prompt(colour, digit, direction, split="train", **more)
    return clip.frames.copy(), clip.audio.copy(), clip.truth.caption


def wrong(score):
    return {name for name, right in score._asdict().items() if not right}


@pytest.mark.parametrize("case", CASES)
def test_true_clips_are_right(case):
    frames, audio, caption = true(*case)
    assert not wrong(score_text_to_video(frames, audio, RATE, caption))


@pytest.mark.parametrize("size", [(32, 32), (128, 128), (224, 128)])
def test_true_clips_are_right_at_other_sizes(size):
    frames, audio, caption = true(height=size[0], width=size[1])
    assert not wrong(score_text_to_video(frames, audio, RATE, caption))


def test_slightly_blurred_and_noisy_clips_are_right():
    frames, audio, caption = true()
    soft = frames.astype(float)
    for axis in (1, 2):
        soft = 0.25 * np.roll(soft, 1, axis) + 0.5 * soft + 0.25 * np.roll(soft, -1, axis)
    rng = np.random.default_rng(0)
    soft = np.clip(soft + rng.normal(0, 6, soft.shape), 0, 255).astype(np.uint8)
    noisy = (audio + rng.normal(0, 0.05, audio.shape)).astype(np.float32)
    assert not wrong(score_text_to_video(soft, noisy, RATE, caption))


@pytest.mark.parametrize(
    "prompt,missed",
    [
        ("a red 8 moving left", {"digit", "pitch"}),
        ("a magenta 3 moving left", {"colour"}),
        ("a white 3 moving left", {"colour"}),
        ("a red 3 moving right", {"direction"}),
        ("a red 3 moving up", {"direction"}),
    ],
)
def test_another_prompt_is_missed_in_just_that(prompt, missed):
    frames, audio, _ = true()
    score = score_text_to_video(frames, audio, RATE, prompt)
    assert wrong(score) == missed and not score.all


def test_traps_in_motion():
    frames, audio, caption = true()

    def missed(trap):
        return wrong(score_text_to_video(trap, audio, RATE, caption))

    assert missed(np.repeat(frames[:1], 17, 0)) == {"direction", "path"}  # frozen
    assert missed(np.concatenate([frames[:1]] * 8 + [frames[-1:]] * 9)) == {"path"}  # a jump cut
    halting = frames.copy()
    halting[8] = halting[7]
    assert missed(halting) == {"path"}
    stairs = frames[[0, *np.repeat(np.arange(4, 17, 4), 4)]]  # one step for each group of four frames
    assert missed(stairs) == {"path"}
    assert "direction" in missed(frames[::-1])
    assert missed(np.concatenate([frames[:9], frames[8:0:-1]])) >= {"path"}  # back and forth
    shaken = np.stack([np.roll(f, 4 * (t % 2), 0) for t, f in enumerate(frames)])
    assert missed(shaken) == {"path"}
    assert missed(frames[[0] * 12 + [1, 2, 3, 4, 5]]) >= {"path"}  # hardly moves
    assert missed(frames[:2]) == missed(frames[:13]) == {"digit", "colour", "path"}  # a clip cut short


def test_traps_in_the_picture():
    frames, audio, caption = true()

    def missed(trap):
        return wrong(score_text_to_video(trap, audio, RATE, caption))

    blink = frames.copy()
    blink[5] = 0
    assert missed(blink) == {"path"}
    blink[::2] = 0
    assert missed(blink) >= {"path", "digit", "colour"}
    assert missed(np.zeros_like(frames)) == {"digit", "colour", "direction", "path"}
    assert missed(np.full_like(frames, 128)) >= {"digit", "colour", "path"}
    flicker = frames.copy()
    flicker[:, :, :, 1] = np.where(np.arange(17)[:, None, None] % 4 == 0, flicker[..., 0], flicker[..., 1])
    assert missed(flicker) == {"colour"}
    morph = np.concatenate([frames[:9], true(digit=8)[0][9:]])
    assert "digit" in missed(morph)
    y, x = np.mgrid[:64, :64]
    ball = np.stack([np.hypot(y - 32, x - (46 - 1.7 * t)) < 9 for t in range(17)])
    assert missed((ball[..., None] * np.array([255, 48, 48])).astype(np.uint8)) == {"digit"}


def test_traps_in_the_sound():
    frames, audio, caption = true()
    time = np.arange(34_000) / RATE

    def heard(trap):
        return score_text_to_video(frames, trap.astype(np.float32), RATE, caption).pitch

    pitch = 220 * 2 ** (3 / 11)

    def tone(hertz):
        return 0.4 * np.sin(2 * np.pi * hertz * time) + 0.2 * np.sin(4 * np.pi * hertz * time)

    assert heard(audio) and heard(tone(pitch))
    assert not heard(tone(2 * pitch)) and not heard(tone(pitch / 2))
    assert not heard(tone(pitch * 2 ** (1 / 11)))
    assert heard(audio[:33_920]) and not heard(audio[:4_000]) and not heard(audio[:28_000])
    assert not heard(np.zeros(34_000)) and not heard(np.zeros(0))
    assert not heard(np.random.default_rng(0).normal(0, 0.3, 34_000))
    assert not heard(np.where(time < 1.5, audio, 0)) and not heard(np.where(time < 1, tone(pitch), tone(300)))


@pytest.mark.parametrize("digit", range(10))
def test_pitch_measured_is_pitch_defined(digit):
    clip = world.render_prompt("white", digit, "up", index=3)
    measured = pitches(clip.audio, RATE)
    np.testing.assert_allclose(1200 * np.log2(measured / clip.truth.digits[0].pitch), 0, atol=8)
    assert (pitch_digits(measured) == digit).all()


def test_clicks_heard_are_the_bounces():
    for index in range(12):
        clip = world.render("train", 2, index, num_frames=41)
        heard = clicks(clip.audio, RATE)
        assert matched(heard, clip.truth.bounces, 0.01), (heard, clip.truth.bounces)
    assert clicks(world.render("train", 1, 0).audio, RATE).size == 0
    assert not matched(np.array([0.5]), np.array([0.5, 1.0]), 0.125)
    assert not matched(np.array([0.5, 1.5]), np.array([0.5]), 0.125)


def test_one_template_for_a_class_is_found_out():
    clips = [world.render_prompt("red", 3, "left", split="test", index=i) for i in range(4)]
    readings = [read_clip(c.frames, c.audio, RATE) for c in clips]
    assert glyphs_differ(readings, 3)
    rng = np.random.default_rng(0)
    moved = [np.roll(clips[0].frames, (i, 2 * i), (1, 2)) for i in range(4)]
    noisy = [np.clip(m + rng.normal(0, 8, m.shape), 0, 255).astype(np.uint8) for m in moved]
    assert not glyphs_differ([read_clip(f, clips[0].audio, RATE) for f in noisy], 3)


def test_unconditional_clips_are_valid_as_whatever_they_are():
    frames, audio, _ = true("cyan", 6, "up")
    score = score_unconditional(frames, audio, RATE)
    assert score.all and score.shown == ("cyan", 6, "up")
    assert not score_unconditional(frames, true("cyan", 7, "up")[1], RATE).all
    assert not score_unconditional(np.zeros_like(frames), audio, RATE).all


def test_end_error_is_the_distance_at_the_end():
    frames, _, _ = true()
    assert end_error(frames, frames) == 0
    np.testing.assert_allclose(end_error(np.roll(frames, 3, 1), frames), 3, atol=0.01)
    assert end_error(np.zeros_like(frames), frames) == np.inf


def test_prompts_are_read():
    assert parse("a red 3 moving left") == ("red", 3, "left")
    assert parse("Over the coffee picture, a small BLUE seven going up slowly") == ("blue", 7, "up")
    with pytest.raises(ValueError, match="must name a colour"):
        parse("a cat")
