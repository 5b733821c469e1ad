"""`videopoet evaluate tokenizer`: real files in, a table and its JSON out; judges are cheap stand-ins."""

import json

import numpy as np
import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.evaluate import reconstruction


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips of 44 and 9 frames, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", render("test", 1, 0, num_frames=44).frames, fps=8)
    (folder / "sub").mkdir()
    write_video(folder / "sub" / "b.mp4", render("test", 1, 1, num_frames=9).frames, fps=8)
    (folder / "text.mp4").write_text("not a video")
    return folder


def test_the_command_writes_what_it_prints(folder, tmp_path, monkeypatch, capsys):
    judges = reconstruction.Judges(
        lambda one, other: np.abs(one.astype(float) - other).mean((1, 2, 3, 4)) / 255,
        lambda clips: clips[:, :, ::16, ::16].reshape(len(clips), -1).astype(float)[:, :30],
    )
    monkeypatch.setattr(reconstruction, "load_judges", lambda weights: judges)
    main(["evaluate", "tokenizer", str(folder), "--model", "nano", "--weights", "w", "--height", "32", "--width", "48",
          "--num-frames", "9", "--batch-size", "2", "--json", str(tmp_path / "e.json")])  # fmt: skip
    printed = capsys.readouterr()
    figures = json.loads((tmp_path / "e.json").read_text())
    nano, still, blocks = figures["rows"]
    assert [nano["name"], still["name"], blocks["name"]] == ["nano", "first frame repeated", "8×8×4 block means"]
    # 9 frames of 32×48 are 3·2·3 tokens of 18 bits
    assert nano["bits_per_pixel"] == pytest.approx(18 * 18 / (9 * 32 * 48)) and nano["vocabulary_size"] == 2**18
    assert 1 <= nano["codes_used"] <= 5 * 18 and nano["psnr"]["value"] > 10 and nano["motion"] > 0 == still["motion"]
    assert (figures["clips"], figures["videos"], len(figures["left_out"]), figures["frames"]) == (5, 2, 1, 9)
    assert f"| nano | {nano['psnr']['value']:.2f} |" in printed.out
    assert printed.out.endswith("\nVideos: 2 of 3, at 8 frames a second; left out: 1.\n")


def test_the_videos_that_a_limit_leaves_unread_are_told(folder, tmp_path, monkeypatch, capsys):
    judges = reconstruction.Judges(
        lambda one, other: np.zeros(len(one)), lambda clips: clips[:, 0, ::32, ::32].reshape(len(clips), -1) / 1.0
    )
    monkeypatch.setattr(reconstruction, "load_judges", lambda weights: judges)
    monkeypatch.setattr("videopoet_jax.cli.evaluate_tokenizer.tokenizer", lambda *_: reconstruction.Copies)
    main(["evaluate", "tokenizer", str(folder), "--model", "nano", "--weights", "w", "--height", "32", "--width", "48",
          "--num-frames", "9", "--limit", "4", "--json", str(tmp_path / "e.json")])  # fmt: skip
    said = "Videos: 1 of 3, at 8 frames a second; left out: 0; not read, for --limit 4: 2."
    assert capsys.readouterr().out.splitlines()[-1] == said
    figures = json.loads((tmp_path / "e.json").read_text())
    assert (figures["clips"], figures["videos"], figures["videos_given"], figures["limit"]) == (4, 1, 3, 4)


def test_too_few_clips_are_refused_before_any_is_copied(folder, monkeypatch, capsys):
    never = pytest.fail
    monkeypatch.setattr(reconstruction, "load_judges", lambda weights: reconstruction.Judges(never, never))
    monkeypatch.setattr("videopoet_jax.cli.evaluate_tokenizer.tokenizer", lambda *_: never)
    with pytest.raises(SystemExit):
        main(["evaluate", "tokenizer", str(folder), "--model", "nano", "--weights", "w", "--num-frames", "22"])
    words = "2 clips: a Fréchet distance and its floor need 4; give longer videos or more of them, or shorter clips."
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {words}"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--weights", "nowhere"], "nowhere: no lpips_alexnet in it; fetch it with ./launch/fetch_weights.sh"),
        (["--weights", "nowhere", "--height", "16"], "16 is not in the range x>=32"),
        ([], "Missing option '--weights'"),
        (["--weights", "nowhere", "--json", "/dev/null/x"], "/dev/null"),
    ],
)
def test_a_mistake_is_one_line(options, words, folder, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["evaluate", "tokenizer", str(folder), "--model", "nano", *options])
    assert leave.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line


def test_clips_of_a_shape_that_a_tokenizer_cannot_take_are_refused_before_the_work(folder, monkeypatch, capsys):
    monkeypatch.setattr(reconstruction, "load_judges", lambda weights: None)
    with pytest.raises(SystemExit):
        main(["evaluate", "tokenizer", str(folder), "--model", "nano", "--weights", "w", "--height", "40"])
    assert "height 40: needs a multiple of 16" in capsys.readouterr().err
