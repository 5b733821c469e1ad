"""Logs of runs as one picture: a plot for each figure, a line for each run."""

import pytest

from videopoet_jax.cli.curves import figures, labels
from videopoet_jax.cli.main import main
from videopoet_jax.data.media import read_image


@pytest.fixture
def runs(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b" / "a", tmp_path / "c"]
    for path in paths:
        path.mkdir(parents=True)
        (path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0, "eval/psnr": 9.5}\n{"step": 2, "loss": 1.0}\n')
    return paths


def test_a_log_is_read_line_by_line(runs):
    log = runs[0] / "metrics.jsonl"
    assert list(figures(log)) == [("loss", 1, 2.0), ("eval/psnr", 1, 9.5), ("loss", 2, 1.0)]
    log.write_text('{"step": 1}\n{"loss": 3}\n')
    with pytest.raises(ValueError, match="metrics.jsonl, line 2: no log of a step"):
        list(figures(log))


def test_runs_of_one_name_are_told_apart(runs):
    assert labels(runs) == [f"{runs[0].parent.name} a", "b a", "c"]


def test_more_figures_make_a_larger_picture(runs, tmp_path, capsys):
    named = [str(run) for run in runs]
    main(["curves", *named, "--out", str(tmp_path / "all.png")])
    main(["curves", *named, "--out", str(tmp_path / "one.png"), "--only", "loss"])
    every, one = read_image(tmp_path / "all.png"), read_image(tmp_path / "one.png")
    assert every.shape[1] == 2 * one.shape[1] and one.std() > 1
    with pytest.raises(SystemExit):
        main(["curves", *named, "--out", str(tmp_path / "no.png"), "--only", "lss"])
    assert "--only lss: no run has such a figure" in capsys.readouterr().err and not (tmp_path / "no.png").exists()
