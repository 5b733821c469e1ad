"""`videopoet data curate`: films with known cuts, black and still stretches → a manifest that `data prepare` takes."""

import json

import numpy as np
import pytest

from videopoet_jax.cli import curation_worker
from videopoet_jax.cli.data_curate import rules_of
from videopoet_jax.cli.main import main
from videopoet_jax.data.items import items_of
from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render


@pytest.fixture
def films(tmp_path):
    """A film of two shots, one that stands still, a broken one."""
    films = tmp_path / "films"
    films.mkdir()
    moves = [render("train", 2, n, num_frames=24, height=128, width=128).frames for n in (0, 3)]
    write_video(films / "two.mp4", np.concatenate([np.repeat(clip, 3, axis=0) for clip in moves]), fps=24)
    still = render("train", 2, 6, num_frames=1, height=128, width=128).frames
    write_video(films / "still.mp4", np.repeat(still, 72, axis=0), fps=24)
    (films / "broken.mp4").write_bytes(b"no film")
    return films


def made(folder):
    """Name → bytes of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shots_are_kept_or_dropped_for_reasons_that_are_told(films, tmp_path, capsys):
    main(["data", "curate", str(films), "--out-dir", str(tmp_path / "report"), "--rule", "letterbox=any"])
    captured = capsys.readouterr()
    assert "2 of 3 shots of 3 films" in captured.out and "left out: " in captured.err
    kept = [json.loads(line) for line in (films / "curated.jsonl").read_text().splitlines()]
    assert [(line["path"], line["start"], line["end"]) for line in kept] == [
        ("two.mp4", 0.0, 3.0),
        ("two.mp4", 3.0, 6.0),
    ]
    assert [item.id for item in items_of(films / "curated.jsonl")] == ["two.mp4@0.000-3.000", "two.mp4@3.000-6.000"]
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["kept"] == 2 and report["dropped"]["motion"]["clips"] == 1
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.json", "histograms.png", "dropped.png", "progress"}  # fmt: skip


def test_workers_of_beam_find_what_one_process_finds(films, tmp_path):
    pytest.importorskip("apache_beam")
    (films / "again.mp4").write_bytes((films / "two.mp4").read_bytes())  # a repetition in another shard
    command = ["data", "curate", str(films), "--rule", "letterbox=any", "--shard-size", "1"]
    here, there = tmp_path / "here", tmp_path / "there"
    main([*command, "--out-dir", str(here)])
    kept = (films / "curated.jsonl").read_bytes()
    main([*command, "--out-dir", str(there), "--runner", "DirectRunner", "--direct_num_workers=2",
          "--direct_running_mode=multi_processing"])  # fmt: skip
    assert made(here) == made(there) and len(list((here / "progress").glob("*.npz"))) == 4
    assert (films / "curated.jsonl").read_bytes() == kept
    report = json.loads((here / "report.json").read_text())
    assert report["kept"] == 2 and report["dropped"]["duplicate"]["clips"] == 2


def test_it_goes_on_where_it_was_stopped_and_other_rules_read_no_film(films, tmp_path, monkeypatch, capsys):
    out = tmp_path / "report"
    command = ["data", "curate", str(films), "--rule", "letterbox=any", "--shard-size", "1", "--out-dir", str(out)]
    main(command)
    whole = made(out)
    (out / "progress" / "00001.npz").unlink()  # as if it had been stopped there
    (out / "report.json").unlink()
    read, shots = [], curation_worker.shots_of
    monkeypatch.setattr(curation_worker, "shots_of", lambda item: read.append(item.id) or shots(item))
    main(command)
    assert made(out) == whole and read == ["still.mp4"]
    main([*command, "--rule", "motion=any", "--rule", "static=any"])
    assert json.loads((out / "report.json").read_text())["kept"] == 3 and read == ["still.mp4"]
    (films / "still.mp4").write_bytes((films / "two.mp4").read_bytes())
    with pytest.raises(SystemExit):
        main(command)
    assert "report: begun with another input" in capsys.readouterr().err


def test_rules_are_changed_one_by_one():
    changed = rules_of(("motion=0.001:", "caption=yes", "black=any", "sharpness=:9"))
    assert changed["motion"] == (0.001, None) and changed["caption"] is True and changed["sharpness"] == (None, 9.0)
    assert "black" not in changed and changed["duplicate"] is False
    for wrong in ("motion", "motion=fast", "motion=1", "motion=a:b"):
        with pytest.raises(ValueError, match=f"--rule {wrong}: FIELD=LOW:HIGH, FIELD=yes"):
            rules_of((wrong,))
