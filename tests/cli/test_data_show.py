"""`videopoet data show`: real records, drawn by rates, back as films and tables."""

import numpy as np
import pytest

from videopoet_jax.cli.data_show import token_table
from videopoet_jax.cli.main import main
from videopoet_jax.data.media import read_audio, read_video
from videopoet_jax.pretrained import resolve
from videopoet_jax.sequence import Layouts, Vocabulary, assemble, get_task

TASKS = 'data.tasks={"text_to_video": 2.0, "inpainting": 1.0, "video_to_audio": 1.0}'


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    out = tmp_path_factory.mktemp("shown") / "records"
    settings = ["--config", "lm:nano", "--set", TASKS, "--set", "data.size=4"]
    main(["data", "prepare", *settings, "--models", str(resolve("nano")), "--out", str(out), "--batch-size", "4"])
    return out


def test_examples_become_films_with_sound_and_tables(records, tmp_path, capsys):
    main(["data", "show", str(records), "--config", "lm:nano", "--set", TASKS, "-n", "6", "--out-dir", str(tmp_path)])
    files = sorted(tmp_path.iterdir())
    assert len(files) == 12 and capsys.readouterr().out.count("wrote ") == 6
    drawn = {file.stem[5:] for file in files}
    assert "text_to_video" in drawn and len(drawn) > 1
    for film in tmp_path.glob("*.mp4"):
        frames = read_video(film)
        panels = {"text_to_video": 1, "inpainting": 2, "video_to_audio": 1}[film.stem[5:]]
        assert frames.shape[0] == 17 and frames.shape[2] > 256 * (panels - 1)
        if film.stem[5:] != "inpainting":
            assert len(read_audio(film, sample_rate=16_000)) > 30_000
        table = film.with_suffix(".txt").read_text()
        assert "<bos> <task:" in table and "output" in table and "prefix" in table


def test_the_table_is_token_by_token():
    layouts = Layouts(Vocabulary(2**18, 1, 0), 16, 0, "levels", "video", (2,))
    layout = layouts.layout(get_task("text_to_video"), layouts.grid(1, 16, 32))
    record = {"video": [[[7, 8]]], "text_ids": [5, 1], "text_mask": [True, True]}
    record = {name: np.array(values) for name, values in record.items()}
    lines = token_table(layout, assemble(layout, record)["ids"], "a film").splitlines()
    assert lines[0] == "text_to_video: a film" and lines[1] == layout.show()
    assert [" ".join(line.split()) for line in lines[3:]] == [
        "0 … 1 prefix special <bos> <task:video> time 0 … 0",
        "2 … 2 prefix special <bot_i> time 0 … 0",
        "3 … 4 prefix text <text> <text> time 0 … 1",
        "5 … 5 prefix special <eot_i> time 0 … 0",
        "6 … 8 prefix special <source:video> <res:landscape> <duration:1> time 0 … 0",
        "9 … 9 output special <bov_o> time 0 … 0",
        "10 … 11 output video v7 v8 time 0 … 0",
        "12 … 12 output special <eov_o> time 0 … 0",
        "13 … 13 output special <eos> time 0 … 0",
    ]


def test_a_task_that_the_records_cannot_make_is_named(records, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["data", "show", str(records), "--config", "lm:nano", "--set", 'data.tasks={"editing": 1.0}', "--out-dir",
              str(tmp_path)])  # fmt: skip
    assert "task editing: the records have no editing (only inpainting, video)" in capsys.readouterr().err
