"""The sound of moving digits, measured by spectrum and by sample."""

import numpy as np
import pytest

from videopoet_jax.data import moving_digits as world
from videopoet_jax.data.moving_digits_sound import Voice, digit_pitch, hum, sound


def line(wave, hertz):
    """Amplitude of the wave at one frequency."""
    shape = np.hanning(len(wave))
    return 2 * abs(np.sum(wave * shape * np.exp(-2j * np.pi * hertz * np.arange(len(wave)) / 16_000))) / shape.sum()


def test_ten_pitches_inside_an_octave():
    pitches = [digit_pitch(k) for k in range(10)]
    np.testing.assert_allclose(pitches, [220 * 2 ** (k / 11) for k in range(10)])
    assert pitches[-1] < 2 * pitches[0]


@pytest.mark.parametrize("digit", range(10))
def test_a_clip_hums_its_digits_pitch_and_two_harmonics(digit):
    clip = world.render_prompt("cyan", digit, "up", index=digit)
    voice = clip.truth.digits[0].voice
    assert abs(1200 * np.log2(voice.pitch / digit_pitch(digit))) <= 10
    first, *others = (line(clip.audio, k * voice.pitch) for k in (1, 2, 3))
    np.testing.assert_allclose([o / first for o in others], voice.timbre, atol=0.01)
    hertz = voice.pitch + np.linspace(-2, 2, 81)
    assert abs(hertz[np.argmax([line(clip.audio, h) for h in hertz])] - voice.pitch) < 0.05


def test_timbre_and_detune_hold_for_the_whole_clip():
    clip = world.render("train", 1, 0)
    voice = clip.truth.digits[0].voice
    np.testing.assert_allclose(clip.audio, 0.6 * hum(voice, 34_000), atol=1e-6)


def test_clicks_begin_at_the_bounces_and_last_20_ms():
    voice = Voice(220.0, 0.0, (0.3, 0.3))
    times = np.array([0.51234, 1.7])
    extra = sound([voice], [times], 17) - sound([voice], [np.zeros(0)], 17)
    loud = np.flatnonzero(np.abs(extra) > 1e-6) / 16_000
    for time in times:
        near = loud[np.abs(loud - time) < 0.1]
        assert time <= near.min() < time + 2e-4 and time + 0.015 < near.max() <= time + 0.02
    assert all(((loud >= times[:, None]) & (loud <= times[:, None] + 0.02)).any(0))


def test_a_pair_sounds_both_digits():
    index = next(i for i in range(20) if len(world.render("train", 3, i, num_frames=1).truth.digits) == 2)
    clip = world.render("train", 3, index, num_frames=17)
    assert len(clip.truth.pitches) == 2
    assert all(line(clip.audio, pitch) > 0.05 for pitch in clip.truth.pitches)


def test_a_click_at_the_very_end_is_cut_off():
    voice = Voice(220.0, 0.0, (0.3, 0.3))
    assert sound([voice], [np.array([2.1249])], 17).shape == (34_000,)
