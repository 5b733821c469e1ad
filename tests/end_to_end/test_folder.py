"""A folder of videos, all the way: what can be used, every model trained for two steps, joined, and scored."""

import json

import numpy as np
import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.data.media import probe, read_image, write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.data.token_records import TokenSource

VIDEO = ["model.encoder_widths=(8,8,8)", "model.decoder_widths=(8,8,8)", "model.groups=4"]
AUDIO = ["model.channels=2", "model.dim=8", "model.levels=1", "data.crop=3200", "loss.windows=(256,512)"]
LM = ["model.depth=1", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16", "model.mlp=32",
      "model.rotary_sections=(8,4,4)", "model.chain_hidden=16", 'data.tasks={"frame_prediction_9": 1.0}']  # fmt: skip
SHORT = ["train.steps=2", "train.batch_size=2", "train.optimizer=adamw"]  # the quickest to compile


def train(config, run, *changes, init=None):
    settings = [part for change in (*changes, *SHORT) for part in ("--set", change)]
    start = ["--init", str(init)] if init else []
    name = config.replace(":", "_")
    main(["train", "--config", config, "--workdir", str(run / name), "--export", str(run / "models" / name),
          *settings, *start])  # fmt: skip
    return run / "models" / name


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """One clip with sound, one without, one too short, one damaged."""
    folder = tmp_path_factory.mktemp("clips")
    long = render("train", 2, 3, num_frames=49, height=64, width=96)
    write_video(folder / "loud.mp4", long.frames, fps=8, audio=long.audio, sample_rate=16_000)
    write_video(folder / "silent.mp4", long.frames[::-1], fps=8)
    write_video(folder / "short.mp4", long.frames[:9], fps=8)
    (folder / "damaged.mp4").write_bytes((folder / "loud.mp4").read_bytes()[:300])
    (folder / "captions.jsonl").write_text('{"path": "loud.mp4", "caption": "a digit over a picture"}\n')
    return folder


def test_what_can_be_used_is_said(clips, tmp_path, capsys):
    main(["data", "stats", str(clips), "--json", str(tmp_path / "stats.json")])
    told = capsys.readouterr()
    assert json.loads((tmp_path / "stats.json").read_text()) == {
        "files": 4, "usable": 2, "seconds": 12.2, "with_sound": 1, "captions": 1}  # fmt: skip
    assert "2 of 4 videos can be used" in told.out
    assert "short.mp4: 1.1 s, at least 4.2 s are needed" in told.err and "damaged.mp4" in told.err
    only_short = tmp_path / "only_short"
    only_short.mkdir()
    (only_short / "a.mp4").write_bytes((clips / "short.mp4").read_bytes())
    with pytest.raises(SystemExit) as leave:
        main(["data", "stats", str(only_short)])
    assert leave.value.code == 2 and "none of its 1 videos has 4.2 s" in capsys.readouterr().err


def test_from_a_folder_to_scores_of_its_held_out_ends(clips, tmp_path, capsys):
    from videopoet_jax.pretrained import resolve

    root = f"data.root={clips}"
    image = train("video_tokenizer:local_image", tmp_path, *VIDEO, root)
    train("video_tokenizer:local", tmp_path, *VIDEO, root, init=image)
    train("audio_tokenizer:local", tmp_path, *AUDIO, root)
    models = tmp_path / "joined"
    models.mkdir()
    (models / "video_tokenizer").symlink_to(tmp_path / "models" / "video_tokenizer_local")
    (models / "audio_tokenizer").symlink_to(tmp_path / "models" / "audio_tokenizer_local")
    (models / "text_encoder").symlink_to(resolve("nano") / "text_encoder")
    records = tmp_path / "records"
    main(["data", "prepare", "--config", "lm:local", "--set", root, "--models", str(models), "--out", str(records),
          "--clips", "40"])  # fmt: skip
    windows = [np.array(record["video"]) for record in TokenSource(records)]
    assert len(windows) == 40 > 2 * (49 - 17 - 16)  # views: more records than there are windows
    (models / "lm").symlink_to(train("lm:local", tmp_path, *LM, f"data.records={records}"))
    settings = 'tasks=("frame_prediction_9",)'
    main(["export", "--config", "pipeline:local", "--set", settings, "--models", str(models), "--out",
          str(tmp_path / "pipeline")])  # fmt: skip
    out = tmp_path / "held_out"
    evaluate = ["evaluate", str(tmp_path / "pipeline"), "--clips", str(clips), "--out-dir"]
    main([*evaluate, str(out), "--json", str(tmp_path / "scores.json")])
    told = capsys.readouterr()
    assert (tmp_path / "scores.json").read_text() == (out / "scores.json").read_text()
    for refused, words in (([str(clips / "deep")], "would join"), ([str(out), "--seeds", "2"], "--seeds with --clips")):
        with pytest.raises(SystemExit):
            main([*evaluate, *refused])
        assert words in capsys.readouterr().err
    scores = json.loads((out / "scores.json").read_text())
    assert scores["windows"] == scores["clips"] == 2 and scores["left_out"] == 2 and scores["windows_with_sound"] == 1
    assert 0 < scores["sound_mean_spectrum_distance"] < min(scores[f"sound_{n}_distance"] for n in ("copy", "silence"))
    assert all(np.isfinite(value) for value in scores.values())
    assert scores["block_mean_psnr"] > scores["copy_psnr"]  # two steps teach nothing: the figures can tell
    assert read_image(out / "sheet.png").std() > 10
    assert [probe(path).has_audio for path in sorted(out.glob("*.mp4"))] == [True, True]
    main(["curves", str(tmp_path / "video_tokenizer_local"), str(tmp_path / "lm_local"), "--out",
          str(tmp_path / "curves.png")])  # fmt: skip
    assert read_image(tmp_path / "curves.png").std() > 1
    assert "| tokenizer's copy |" in told.out


def test_a_folder_without_sound_trains_no_sound_tokenizer(clips, tmp_path, capsys):
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "a.mp4").write_bytes((clips / "silent.mp4").read_bytes())
    with pytest.raises(SystemExit):
        train("audio_tokenizer:local", tmp_path, *AUDIO, f"data.root={silent}")
    assert "none of its 1 files can be trained on; the first:" in capsys.readouterr().err


def test_a_video_is_not_overwritten_by_its_copy(clips, capsys):
    before = (clips / "loud.mp4").read_bytes()
    with pytest.raises(SystemExit):
        main(["reconstruct", str(clips / "loud.mp4"), "--out", str(clips / "loud.mp4")])
    assert "name another file" in capsys.readouterr().err
    assert (clips / "loud.mp4").read_bytes() == before
