"""`videopoet data curate`: films with known cuts, black and still stretches → a manifest that `data prepare` takes."""

import json

import numpy as np
import pytest

from videopoet_jax.cli.data_curate import rules_of
from videopoet_jax.cli.main import main
from videopoet_jax.data.items import items_of
from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render


def test_shots_are_kept_or_dropped_for_reasons_that_are_told(tmp_path, capsys):
    films = tmp_path / "films"
    films.mkdir()
    moves = [render("train", 2, n, num_frames=24, height=128, width=128).frames for n in (0, 3)]
    write_video(films / "two.mp4", np.concatenate([np.repeat(clip, 3, axis=0) for clip in moves]), fps=24)
    still = render("train", 2, 6, num_frames=1, height=128, width=128).frames
    write_video(films / "still.mp4", np.repeat(still, 72, axis=0), fps=24)
    (films / "broken.mp4").write_bytes(b"no film")
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
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"report.json", "histograms.png", "dropped.png"}


def test_rules_are_changed_one_by_one():
    changed = rules_of(("motion=0.001:", "caption=yes", "black=any", "sharpness=:9"))
    assert changed["motion"] == (0.001, None) and changed["caption"] is True and changed["sharpness"] == (None, 9.0)
    assert "black" not in changed and changed["duplicate"] is False
    for wrong in ("motion", "motion=fast", "motion=1", "motion=a:b"):
        with pytest.raises(ValueError, match=f"--rule {wrong}: FIELD=LOW:HIGH, FIELD=yes"):
            rules_of((wrong,))
