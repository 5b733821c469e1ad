"""Words behind a prompt."""

import pytest

from videopoet_jax.generate.presets import CAMERAS, STYLES, extended


def test_words_go_behind_the_prompt():
    assert extended("a red 3") == "a red 3"
    assert extended("a red 3", camera="pan_left", style="oil", suffix="8k") == (
        "a red 3, camera pans left, oil painting, 8k"
    )
    assert all(extended("a", camera=name).endswith(words) for name, words in CAMERAS.items())
    assert all(extended("a", style=name).endswith(words) for name, words in STYLES.items())


@pytest.mark.parametrize(("prompt", "options", "words"), [
    ("a", {"camera": "shake"}, "camera 'shake': unknown; use one of pan_left"),
    ("a", {"style": "mud"}, "style 'mud': unknown; use one of oil"),
    (" ", {"suffix": "8k"}, "'8k': says how a prompt is shown, and there is none"),
])  # fmt: skip
def test_what_is_no_preset_is_told(prompt, options, words):
    with pytest.raises(ValueError, match=words):
        extended(prompt, **options)
