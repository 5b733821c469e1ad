"""The rates of the mixtures, and that each is of tasks that there are."""

import pytest

from videopoet_jax.sequence import MIXTURES, TASKS, get_mixture


@pytest.mark.parametrize("name", MIXTURES)
def test_rates_are_of_tasks_and_add_up(name):
    rates = get_mixture(name)
    assert set(rates) <= set(TASKS) and min(rates.values()) > 0
    assert sum(rates.values()) == pytest.approx(1)


def test_pictures_come_first_then_clips():
    assert get_mixture("pictures_first")["text_to_image"] == 0.9
    assert get_mixture("clips_then")["text_to_image"] == 0.1
    assert set(get_mixture("clips_then")) == set(TASKS)  # all of them
    first, then = ({k: v for k, v in get_mixture(n).items() if k != "text_to_image"} for n in ("clips", "clips_then"))
    assert all(then[name] == pytest.approx(0.9 * rate) for name, rate in first.items())


def test_a_mixture_is_its_readers_own():
    get_mixture("clips")["captioning"] = 9.0
    assert get_mixture("clips")["captioning"] < 1
    with pytest.raises(ValueError, match="mixture 'all': unknown; use one of pictures_first, clips_then,"):
        get_mixture("all")
