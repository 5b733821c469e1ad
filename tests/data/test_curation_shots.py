"""Cuts are found where scenes change, and nowhere else: not in pans, flashes, changes of light or fast motion."""

import itertools

import numpy as np
import pytest
from skimage import data

from videopoet_jax.data.curation_shots import FLASH, LEAST, Shot, _small, change, shots
from videopoet_jax.data.moving_digits import render


def joined(levels, count, size=96):
    """Clips one after the other, and the frames that they begin with, the first left out."""
    clips = [render("train", levels[i % len(levels)], i, height=size, width=size).frames for i in range(count)]
    return np.concatenate(clips), np.cumsum([len(clip) for clip in clips])[:-1].tolist()


def starts(frames):
    return [shot.start for shot in shots(iter(frames))][1:]


def pan(picture, frames, step, side=160):
    return [picture[100 : 100 + side, step * i : step * i + side] for i in range(frames)]


def test_all_joins_of_clips_over_photographs_are_found_and_nothing_else():
    frames, cuts = joined((2, 3), 24)
    assert starts(frames) == cuts


def test_most_joins_of_digits_on_black_are_found_and_nothing_else():
    frames, cuts = joined((1,), 24)
    found = starts(frames)
    assert set(found) <= set(cuts) and len(found) >= 0.8 * len(cuts)


def test_shots_follow_one_another_and_are_all_of_the_film():
    frames, cuts = joined((2,), 4)
    found = shots(iter(frames))
    assert found[0] == Shot(0, cuts[0]) and found[-1].stop == len(frames)
    assert all(one.stop == other.start for one, other in itertools.pairwise(found))
    assert shots([]) == [] and shots([frames[0]]) == [Shot(0, 1)]


@pytest.mark.parametrize("step", [2, 8, 12])
def test_a_pan_is_no_cut(step):
    assert starts(pan(data.astronaut(), 29, step)) == []


def test_a_whip_pan_lasts_and_is_no_cut():
    picture = data.astronaut()
    places = ([*range(0, 350, 50), *range(300, 0, -50)]) * 3
    assert starts([picture[100:260, x : x + 160] for x in places]) == []


def test_what_has_moved_by_less_than_a_tenth_is_not_new():
    film = pan(data.coffee(), 2, 12)
    assert change(*map(_small, film)) < LEAST < change(_small(film[0]), _small(data.astronaut()))


def test_a_pan_that_starts_and_stops_is_no_cut():
    picture = data.coffee()
    still, moving = [picture[100:260, :160]] * 15, pan(picture, 20, 10)
    assert starts([*still, *moving, *[moving[-1]] * 15]) == []


@pytest.mark.parametrize("length", [1, FLASH])
def test_a_flash_is_no_cut_and_hides_none(length):
    one, other = pan(data.astronaut(), 40, 1), pan(data.coffee(), 40, 1)
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3)).astype(np.uint8)
    for flash in (np.full((160, 160, 3), 255, np.uint8), noise):
        one[20 : 20 + length] = [flash] * length
        assert starts(one) == []
        assert starts([*one, *other]) == [40]


def test_what_lasts_longer_than_a_flash_is_a_shot():
    film = pan(data.astronaut(), 40, 1)
    film[20 : 21 + FLASH] = [data.coffee()[100:260, 100:260]] * (FLASH + 1)
    assert starts(film) == [20, 21 + FLASH]


def test_light_and_noise_are_no_cuts():
    picture, rng = data.chelsea()[50:210, 100:260], np.random.default_rng(0)
    dimmed = [(picture * (1 if i < 20 else 0.6)).astype(np.uint8) for i in range(40)]
    assert starts(dimmed) == []
    noisy = [np.clip(picture + rng.normal(0, 15, picture.shape), 0, 255).astype(np.uint8) for _ in range(30)]
    assert starts(noisy) == []
    assert starts([np.full((90, 120, 3), level, np.uint8) for level in (0, 2, 0, 1, 3, 0)]) == []


def test_a_fade_is_no_cut():
    picture = data.astronaut()[100:260, 100:260]
    film = [(picture * min(1, max(0, i - 10) / 24)).astype(np.uint8) for i in range(50)]
    assert starts(film) == starts(film[::-1]) == []


def test_cuts_near_the_ends_and_near_one_another_are_found():
    pictures = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    scenes = [pan(picture[:, 40:], count, 1) for picture, count in zip(pictures, (5, 6, 5, 4), strict=True)]
    assert starts(itertools.chain(*scenes)) == [5, 11, 16]


def test_the_size_of_the_picture_does_not_matter():
    frames, cuts = joined((2,), 5, size=200)
    assert starts(frames) == starts(frames[:, ::2, ::2]) == cuts


def test_few_frames_are_in_memory_at_once():
    alive, most = [], 0

    class Frame(np.ndarray):
        def __del__(self):
            alive.pop()

    def film():
        nonlocal most
        for i in range(200):
            frame = np.full((40, 60, 3), i, np.uint8).view(Frame)
            alive.append(i)
            most = max(most, len(alive))
            yield frame

    shots(film())
    assert most <= 6
