"""`videopoet data curate`: films with known cuts, black and still stretches → a manifest that `data prepare` takes."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from videopoet_jax.cli import curation_worker
from videopoet_jax.cli.curation_worker import Annotator, read
from videopoet_jax.cli.data_curate import REPEATS, rules_of
from videopoet_jax.cli.main import main
from videopoet_jax.data.items import items_of
from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render

FILMS = ["again.mp4", "broken.mp4", "still.mp4", "two.mp4"]  # one a shard, in this order


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A film of two shots, one of them heard; that one again, moved by a pixel; one that stands still, one cut off."""
    films = tmp_path_factory.mktemp("curated") / "films"
    films.mkdir()
    moves = [np.repeat(render("train", 2, n, num_frames=18, height=128, width=128).frames, 3, axis=0) for n in (0, 3)]
    tone = np.sin(np.arange(24_000) / 5).astype(np.float32) / 2
    write_video(films / "two.mp4", np.concatenate(moves), fps=24, audio=tone, sample_rate=16_000)
    write_video(films / "again.mp4", np.roll(moves[0], 1, axis=2), fps=24)
    still = render("train", 2, 6, num_frames=1, height=128, width=128).frames
    write_video(films / "still.mp4", np.repeat(still, 54, axis=0), fps=24)
    (films / "broken.mp4").write_bytes((films / "two.mp4").read_bytes()[:2000])
    return films


def command(films, out, *options):
    return ["data", "curate", str(films), "--rule", "letterbox=any", "--shard-size", "1", "--out-dir", str(out),
            "--manifest", str(films / f"{out.name}.jsonl"), *options]  # fmt: skip


@pytest.fixture(scope="module")
def here(films, tmp_path_factory):
    """What one process finds, and what it says."""
    out, said, wrong = tmp_path_factory.mktemp("curated") / "here", io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
        main(command(films, out))
    return out, said.getvalue(), wrong.getvalue()


def made(films, out):
    """Name → bytes of every file, and of the manifest."""
    files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    return files, (films / f"{out.name}.jsonl").read_bytes()


def test_shots_are_kept_or_dropped_for_reasons_that_are_told(films, here):
    out, said, wrong = here
    assert "2 of 4 shots of 4 films, 1 of which could not be read (failures.jsonl)" in said
    kept = [json.loads(line) for line in (films / "here.jsonl").read_text().splitlines()]
    assert [(line["path"], line["start"], line["end"]) for line in kept] == [
        ("again.mp4", 0.0, 2.25),
        ("two.mp4", 2.25, 4.5),
    ]
    assert [item.id for item in items_of(films / "here.jsonl")] == ["again.mp4@0.000-2.250", "two.mp4@2.250-4.500"]
    report = json.loads((out / "report.json").read_text())
    assert report["kept"] == 2 and report["dropped"]["motion"]["clips"] == 1
    assert {path.name for path in out.iterdir()} == {
        "report.json", "histograms.png", "dropped.png", "failures.jsonl", "progress"}  # fmt: skip
    (failure,) = (json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines())
    assert failure["id"] == "broken.mp4" and f"left out: {failure['error']}" in wrong


def test_what_nearly_repeats_a_shot_of_another_shard_is_dropped(here):
    (again,), two = (read(here[0], FILMS.index(name))[0] for name in ("again.mp4", "two.mp4"))
    assert 0 < (again.annotations.middle_hash ^ two[0].annotations.middle_hash).bit_count() <= REPEATS
    report = json.loads((here[0] / "report.json").read_text())
    repeats = {item["id"]: item["annotations"]["duplicate"] for item in report["items"]}
    assert repeats[two[0].id] == again.id and [by for by in repeats.values() if by] == [again.id]


def test_a_shot_is_not_lost_where_the_sound_ends_before_the_pictures(here):
    heard, silent = (shot.annotations for shot in read(here[0], FILMS.index("two.mp4"))[0])
    assert heard.has_audio and heard.loudness > -20
    assert silent.has_audio and silent.loudness == -120 and silent.silence == 1


def test_workers_of_beam_find_what_one_process_finds(films, here, tmp_path):
    pytest.importorskip("apache_beam")
    out = tmp_path / "there"
    main(command(films, out, "--runner", "DirectRunner", "--direct_num_workers=2",
                 "--direct_running_mode=multi_processing"))  # fmt: skip
    assert made(films, out) == made(films, here[0])
    assert len(list((out / "progress").glob("*.npz"))) == len(FILMS)


def test_killed_it_goes_on_and_other_rules_read_no_film(films, here, tmp_path, monkeypatch, capsys):
    out = tmp_path / "killed"
    line = [sys.executable, "-c", "from videopoet_jax.cli.main import main; main()", *command(films, out)]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "progress" / "00000.npz").is_file():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (out / "progress" / ".00003.npz.half").write_bytes(b"killed in the middle")
    left = [name for number, name in enumerate(FILMS) if not (out / "progress" / f"{number:05d}.npz").is_file()]
    assert left and not (out / "report.json").exists()

    seen, shots = [], curation_worker.shots_of
    monkeypatch.setattr(curation_worker, "shots_of", lambda item: seen.append(item.id) or shots(item))
    main(command(films, out))
    assert made(films, out) == made(films, here[0]) and seen == left
    main(command(films, out, "--rule", "motion=any", "--rule", "static=any"))
    assert json.loads((out / "report.json").read_text())["kept"] == 3 and seen == left

    others = tmp_path / "films"
    shutil.copytree(films, others)
    with pytest.raises(SystemExit):
        main(command(others, out))
    assert f"{out}: begun with another SOURCE" in capsys.readouterr().err
    main(command(others, tmp_path / "other"))
    (others / "still.mp4").write_bytes((films / "two.mp4").read_bytes())
    (others / "broken.mp4").write_bytes((films / "two.mp4").read_bytes())
    with pytest.raises(SystemExit):
        main(command(others, tmp_path / "other"))
    assert "shard 2 was made of other items: 'still.mp4' has changed" in capsys.readouterr().err


def test_a_worker_that_does_not_see_the_directory_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere: not seen by this worker; mount the share"):
        Annotator({"out": str(tmp_path / "elsewhere"), "threads": 1})


@pytest.mark.parametrize(
    "options, words",
    [
        (["--direct_num_workers=2"], "--direct_num_workers=2: an option of Apache Beam's without --runner"),
        (["--runner", "DirectRunner", "--direct_num_worker=2"], "did you mean --direct_num_workers?"),
        (["--runner", "DataflowRunner"], "--project: missing; DataflowRunner needs"),
        (["--runner", "DirectRunner", "--out-dir", "gs://bucket/report"], "gs://bucket/report: an address"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(options, words, films, tmp_path, capsys):
    with pytest.raises(SystemExit) as leave:
        main(command(films, tmp_path / "out", *options))
    error = capsys.readouterr().err
    assert leave.value.code == 2 and words in error and error.count("error: ") == 1
    assert not list(tmp_path.iterdir()) and not (films / "out.jsonl").exists()


def test_an_option_of_beams_is_not_taken_for_the_films(films, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["data", "curate", "--direct_num_workers=2", *command(films, tmp_path / "out")[2:]])
    assert "error: --direct_num_workers=2: stands where SOURCE should; name SOURCE first" in capsys.readouterr().err


def test_rules_are_changed_one_by_one():
    changed = rules_of(("motion=0.001:", "caption=yes", "black=any", "sharpness=:9"))
    assert changed["motion"] == (0.001, None) and changed["caption"] is True and changed["sharpness"] == (None, 9.0)
    assert "black" not in changed and changed["duplicate"] is False
    for wrong, words in {
        "motion": "no such field; use one of frames, duration, motion",
        "blakc=any": "no such field; use one of frames, duration, motion",
        "motion=fast": "LOW:HIGH, LOW:, :HIGH or any is needed, of numbers",
        "motion=1": "LOW:HIGH, LOW:, :HIGH or any is needed, of numbers",
        "motion=a:b": "LOW:HIGH, LOW:, :HIGH or any is needed, of numbers",
        "motion=nan:": "LOW:HIGH, LOW:, :HIGH or any is needed, of numbers",
        "motion=yes": "LOW:HIGH, LOW:, :HIGH or any is needed, of numbers",
        "motion=2:1": "nothing is from 2 to 1; give the lower one first",
        "caption=0:3": "yes, no or any is needed",
    }.items():
        with pytest.raises(ValueError, match=f"--rule {wrong}: {words}"):
            rules_of((wrong,))


def test_a_manifest_that_data_prepare_would_refuse_is_refused_before_any_film_is_read(films, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(
            ["data", "curate", str(films), "--out-dir", str(tmp_path / "out"), "--manifest", str(tmp_path / "x.jsonl")]
        )
    assert f"x.jsonl: a manifest names films below itself; put it into {films}, or above" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_link_and_a_manifest_above_it_name_films_that_are_found(films, tmp_path):
    (tmp_path / "link").symlink_to(films)
    shutil.copytree(films, tmp_path / "a" / "films")
    for source, manifest in ((tmp_path / "link", None), (tmp_path / "a" / "films", tmp_path / "a" / "m.jsonl")):
        options = ["--manifest", str(manifest)] if manifest else []
        main([*command(source, tmp_path / f"out{bool(manifest)}")[:-2], *options])
        manifest = manifest or source / "curated.jsonl"
        assert len(list(items_of(manifest))) == 2
        manifest.unlink()


def test_nothing_that_can_be_kept_is_told_with_its_reasons(films, tmp_path, capsys):
    out, short = tmp_path / "out", tmp_path / "short"
    with pytest.raises(SystemExit):
        main(command(films, out, "--rule", "duration=9:"))
    error = capsys.readouterr().err
    assert "none of its 4 shots is kept: duration below 9 (4)" in error and "out.jsonl was not written" in error
    assert not (films / "out.jsonl").exists() and (out / "report.json").is_file()
    short.mkdir()
    write_video(short / "three.mp4", render("train", 2, 0, num_frames=3).frames, fps=60)
    with pytest.raises(SystemExit):
        main(["data", "curate", str(short), "--out-dir", str(tmp_path / "of_short")])
    assert "1 of 1 items could not be read" in (error := capsys.readouterr().err)
    assert "three.mp4: no shot of it lasts 0.125 s; give a longer one" in error
    (failure,) = (json.loads(line) for line in (tmp_path / "of_short" / "failures.jsonl").read_text().splitlines())
    assert failure["id"] == "three.mp4"
