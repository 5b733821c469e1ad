"""What a person looks at: everything that was given is on it, where it belongs, whatever the script of the text."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

from videopoet_jax.evaluate.sheets import (
    MARGIN,
    Row,
    contact_sheet,
    printable,
    save_contact_sheet,
    save_curves,
    side_by_side,
    spectrogram,
)

RATE = 16_000


def coloured(frames, height=32, width=32):
    """Frame t has red 10 t + 5, so that it can be told on a sheet."""
    video = np.zeros((frames, height, width, 3), np.uint8)
    video[..., 0], video[..., 2] = (10 * np.arange(frames) + 5)[:, None, None], 200
    return video


def tone(hertz, seconds=2.0):
    return np.sin(2 * np.pi * hertz * np.arange(round(RATE * seconds)) / RATE).astype(np.float32)


def frames_on(sheet, row_top=0, height=96):
    """Which frames are on the sheet, from left to right."""
    line = sheet[-MARGIN - height // 2 + row_top]
    reds = line[line[:, 2] == 200][:, 0]
    return [int(red - 5) // 10 for red in dict.fromkeys(reds.tolist())]


def test_frames_are_evenly_spread_with_first_and_last():
    assert frames_on(contact_sheet([Row("x", coloured(17))], columns=9)) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
    assert frames_on(contact_sheet([Row("x", coloured(17))], columns=5)) == [0, 4, 8, 12, 16]
    assert frames_on(contact_sheet([Row("x", coloured(3))], columns=9)) == [0, 1, 2]
    assert frames_on(contact_sheet([Row("x", coloured(1))])) == [0]


def test_small_pixels_are_repeated_exactly():
    video = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    sheet = contact_sheet([Row("x", video)], columns=1, frame_height=96)
    tile = sheet[-MARGIN - 96 - MARGIN : -MARGIN - MARGIN, MARGIN : MARGIN + 96]
    assert any(
        np.array_equal(sheet[top : top + 96, MARGIN : MARGIN + 96], np.kron(video[0], np.ones((3, 3, 1), np.uint8)))
        for top in range(sheet.shape[0] - 96)
    ), tile.shape


def test_the_spectrogram_stands_in_one_column():
    long, short = Row("a", coloured(17), tone(440), RATE), Row("b", coloured(2), tone(440), RATE)
    one, two = contact_sheet([long]), contact_sheet([short])
    assert one.shape == two.shape
    np.testing.assert_array_equal(one[-60:, -150:], two[-60:, -150:])
    assert contact_sheet([long, Row("c", coloured(2))]).shape[1] == one.shape[1]


@pytest.mark.parametrize("hertz", [220, 440, 1_000, 5_000])
def test_a_tone_is_a_bright_line_at_its_height(hertz):
    image = spectrogram(tone(hertz), sample_rate=RATE, height=200, width=50)
    brightest = image.sum(-1)[:, 20:30].mean(1).argmax()
    assert brightest == pytest.approx(199 * (1 - np.log(hertz / 100) / np.log(RATE / 2 / 100)), abs=3)


def test_a_click_is_bright_at_its_time_and_silence_is_dark():
    wave = np.zeros(2 * RATE, np.float32)
    assert spectrogram(wave, sample_rate=RATE, height=50, width=100).max() < 10
    wave[RATE : RATE + 20] = 1
    image = spectrogram(wave, sample_rate=RATE, height=50, width=100).sum((0, 2))
    assert abs(int(image.argmax()) - 50) <= 3 and image[:40].max() == image[60:].max()
    for odd in (np.zeros(0, np.float32), np.full(5, np.nan, np.float32), np.ones(1, np.float32)):
        assert spectrogram(odd, sample_rate=RATE, height=8, width=9).shape == (8, 9, 3)


TEXTS = [
    "", "a red 3 moving left", "красная тройка", "赤い三が左へ動く", "رقم ثلاثة أحمر", "עברית", "हिन्दी", "👾🏳️‍🌈",
    "\ud800", "\x00\n\t\r", "a" * 10_000, "字" * 500, "e" + "\u0301" * 300, "\u202e reversed", "$x^2$ \\frac",
    "\ufffe\U000e0001",
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_of_any_script(tmp_path, text):
    sheet = contact_sheet([Row(text, coloured(2))], columns=2)
    assert sheet.shape[0] < 400
    assert side_by_side({text: coloured(2)}).shape[0] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_curves(tmp_path / "a.png", {f"{text}/x": ([1, 2], [3, 4])}, title=text)


def test_printable_is_short_and_has_no_control_characters():
    assert printable("a\nb\x00c") == "a b c"
    assert len(printable("x" * 10_000)) == 160 and printable("x" * 160) == "x" * 160


def test_videos_side_by_side():
    left, right = coloured(9), coloured(5)
    both = side_by_side({"left": left, "right": right}, height=64)
    assert both.shape[0] == 9 and both.shape[1] % 2 == both.shape[2] % 2 == 0
    for t in range(9):
        reds = [int(red) for red in dict.fromkeys(both[t, -30][both[t, -30][:, 2] == 200][:, 0].tolist())]
        assert reds == list(dict.fromkeys([10 * t + 5, 10 * min(t, 4) + 5]))
    with pytest.raises(ValueError, match="at least one frame"):
        side_by_side({"none": left[:0]})


def test_panels_whose_names_take_more_lines_end_at_one_height():
    narrow = coloured(2)[:, :, :4]
    both = side_by_side({"a": narrow, "a name of many words": narrow}, height=64)
    assert both.dtype == np.uint8 and both.shape[1] > 64 + 3 * 14


def test_curves_survive_what_training_brings(tmp_path):
    steps = np.arange(200)
    values = 1 / (1 + steps)
    broken = values.copy()
    broken[50], broken[60] = np.nan, np.inf
    curves = {"train/loss": (steps, values), "train/entropy": (steps, broken), "eval/psnr": ([100], [20.0]),
              "grad": (steps, np.full(200, np.nan)), "empty": ([], [])}  # fmt: skip
    save_curves(tmp_path / "a.png", curves, title="nano")
    with Image.open(tmp_path / "a.png") as image:
        assert image.width > 1000 and image.height > 400
    assert os.listdir(tmp_path) == ["a.png"]
    with pytest.raises(ValueError, match="0 curves"):
        save_curves(tmp_path / "b.png", {})


def test_sheets_are_written_whole_or_not_at_all(tmp_path):
    save_contact_sheet(tmp_path / "sheet.png", [Row("x", coloured(3))], columns=3)
    with Image.open(tmp_path / "sheet.png") as image:
        np.testing.assert_array_equal(np.asarray(image), contact_sheet([Row("x", coloured(3))], columns=3))
    with pytest.raises(ValueError, match="at least one clip"):
        save_contact_sheet(tmp_path / "none.png", [])
    assert os.listdir(tmp_path) == ["sheet.png"]
