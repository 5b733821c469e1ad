"""`videopoet data prepare` on real files: any source, broken files too, stopped and gone on with, and on Beam."""

import errno
import json
import shutil

import numpy as np
import pytest

from videopoet_jax.cli.data_worker import Worker
from videopoet_jax.cli.main import main
from videopoet_jax.cli.tokenize_clips import TokenizeClips
from videopoet_jax.data.media import write_image, write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.data.token_records import TokenSource
from videopoet_jax.pretrained import resolve
from videopoet_jax.sequence import TASKS, Span, Task

SETTINGS = ["--config", "lm:nano", "--set", "data.source=folder", "--set", "data.silence=False", "--set",
            'data.tasks={"text_to_image": 1.0, "text_to_video": 1.0, "inpainting": 1.0}', "--models",
            str(resolve("nano")), "--batch-size", "2", "--shard-size", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    root = tmp_path_factory.mktemp("films")
    for number, frames in enumerate((40, 18, 17)):
        clip = render("train", 2, number, num_frames=frames)
        sound = {"audio": clip.audio, "sample_rate": 16_000} if number != 1 else {}
        write_video(root / f"{number}.mp4", clip.frames, fps=8, **sound)
    write_image(root / "picture.png", render("train", 2, 5).frames[0])
    (root / "broken.mp4").write_bytes(b"no film")
    return root


def prepare(films, out, *options):
    main(["data", "prepare", *SETTINGS, "--input", str(films), "--out", str(out), *options])
    return TokenSource(out)


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "whole"
    return prepare(films, out)


def captions(source):
    return [source[i]["caption"] for i in range(len(source))]


def bytes_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "meta.json"}


def test_windows_pictures_and_failures(whole):
    records = [whole[i] for i in range(len(whole))]
    assert [(r["id"].split("@")[0], r["video"].shape[0], "audio" in r) for r in records] == [
        ("0.mp4", 5, True), ("0.mp4", 5, True), ("1.mp4", 5, False), ("2.mp4", 5, True), ("picture.png", 1, False),
    ]  # fmt: skip
    assert whole.index[:, 3].tolist() == [106, 106, 0, 106, 0]
    assert all(r["inpainting"].shape == r["video"].shape for r in records)
    assert not np.array_equal(records[0]["inpainting"], records[0]["video"])
    (failure,) = (json.loads(line) for line in (whole.directory / "failures.jsonl").read_text().splitlines())
    assert failure["id"] == "broken.mp4" and "not a video or sound" in failure["error"]
    assert {name for name in whole.meta["keys"]} == {"video", "inpainting"}


def test_a_stopped_run_goes_on_and_ends_in_the_same_bytes(films, whole, tmp_path, monkeypatch, capsys):
    made = []

    def stopped(self, number, once=Worker.__call__):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(number)
        return once(self, number)

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "__call__", stopped)
        with pytest.raises(SystemExit):
            prepare(films, tmp_path / "records")
    assert (tmp_path / "records" / "progress" / "00000.json").is_file()
    before = (tmp_path / "records" / "00000.array_record").stat().st_mtime_ns
    with pytest.raises(SystemExit):
        prepare(films, tmp_path / "records", "--shard-size", "3")
    assert "records: begun with another --shard-size (2, now 3); go on with that, choose" in capsys.readouterr().err
    prepare(films, tmp_path / "records")
    assert (tmp_path / "records" / "00000.array_record").stat().st_mtime_ns == before
    assert bytes_of(tmp_path / "records") == bytes_of(whole.directory)
    capsys.readouterr()
    prepare(films, tmp_path / "records")
    words = "already whole: 5 records, 1 items could not be read (failures.jsonl); --retry-failures reads them again\n"
    assert capsys.readouterr().out == f"{tmp_path / 'records'}: {words}"
    assert (tmp_path / "records" / "00000.array_record").stat().st_mtime_ns == before


def test_a_film_that_is_mended_joins_the_others(films, whole, tmp_path, capsys):
    """Films of the first try: two broken ones of four, then too many, then one mended, then both."""
    root, out = tmp_path / "films", tmp_path / "records"
    root.mkdir()
    for name in ("0.mp4", "1.mp4", "2.mp4"):
        shutil.copy(films / name, root / name)
    (root / "1.mp4").write_bytes((films / "1.mp4").read_bytes()[:500])
    lines = [{"path": name, "caption": name[0]} for name in ("0.mp4", "1.mp4", "none.mp4", "2.mp4")]
    (root / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(SystemExit):
        prepare(root / "m.jsonl", out, "--most-failures", "0.4")
    assert "2 of 4 items could not be read, at most 40% may be; the first: " in capsys.readouterr().err
    failed = [json.loads(line)["id"] for line in (out / "failures.jsonl").read_text().splitlines()]
    assert failed == ["m.jsonl, line 3", "1.mp4"]
    assert captions(prepare(root / "m.jsonl", out)) == ["0", "0", "2"]
    assert "wrote" in (said := capsys.readouterr().out) and "3 records, 2 items could not be read" in said
    shutil.copy(films / "1.mp4", root / "1.mp4")
    with pytest.raises(SystemExit):
        prepare(root / "m.jsonl", out)
    assert "finished, and made of another input" in capsys.readouterr().err
    assert captions(prepare(root / "m.jsonl", out, "--retry-failures")) == ["0", "0", "1", "2"]
    shutil.copy(films / "2.mp4", root / "0.mp4")
    with pytest.raises(SystemExit):
        prepare(root / "m.jsonl", out, "--retry-failures")
    assert "shard 0 was made of other items: '0.mp4' has changed" in capsys.readouterr().err


def test_an_error_nobody_foresaw_costs_its_film_alone_and_a_disks_costs_none(films, tmp_path, monkeypatch, capsys):
    root, shown = tmp_path / "films", TokenizeClips.shown
    root.mkdir()
    for name in ("1.mp4", "2.mp4"):
        shutil.copy(films / name, root / name)

    def failing(error):
        def views(self, example):
            if example["source"] == "1.mp4":
                raise error
            return shown(self, example)

        return views

    with monkeypatch.context() as patched:
        patched.setattr(TokenizeClips, "shown", failing(OSError(errno.EIO, "Input/output error", "1.mp4")))
        with pytest.raises(SystemExit):
            prepare(root, tmp_path / "records")
    assert capsys.readouterr().err.endswith("error: 1.mp4: input/output error; check the path, its permissions and "
                                            "the free space.\n")  # fmt: skip
    with monkeypatch.context() as patched:
        patched.setattr(TokenizeClips, "shown", failing(RuntimeError("the network was lost")))
        assert len(prepare(root, tmp_path / "records")) == 1
    (failure,) = (json.loads(line) for line in (tmp_path / "records" / "failures.jsonl").read_text().splitlines())
    assert failure == {"id": "1.mp4", "error": "the network was lost"}
    assert len(prepare(root, tmp_path / "records", "--retry-failures")) == 2
    assert not (tmp_path / "records" / "progress").exists()


def test_a_manifest_gives_stretches_and_captions(films, tmp_path):
    shutil.copytree(films, tmp_path / "films")
    lines = [
        {"path": "0.mp4", "caption": "first", "start": 0, "end": 2.125},
        {"path": "2.mp4", "caption": "two\u2028lines"},
    ]
    (tmp_path / "films" / "some.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = prepare(tmp_path / "films" / "some.jsonl", tmp_path / "records")
    assert [source[i]["caption"] for i in range(len(source))] == ["first", "two\u2028lines"]


def test_tfrecords_hold_the_same_and_training_is_told_no(films, whole, tmp_path, capsys):
    pytest.importorskip("tensorflow")
    import tensorflow as tf

    out = tmp_path / "records"
    main(["data", "prepare", *SETTINGS, "--input", str(films), "--out", str(out), "--format", "tfrecord"])
    rows = list(tf.data.TFRecordDataset(sorted(map(str, out.glob("*.tfrecord")))).as_numpy_iterator())
    assert len(rows) == len(whole)
    for number, row in enumerate(rows):
        feature, wanted = tf.train.Example.FromString(row).features.feature, whole[number]
        assert set(feature) == set(wanted) | {
            f"{name}/shape" for name, value in wanted.items() if type(value) is not str
        }
        for name in ("video", "inpainting", "text_ids"):
            values = np.array(feature[name].int64_list.value).reshape(feature[f"{name}/shape"].int64_list.value)
            np.testing.assert_array_equal(values, wanted[name])
        assert feature["caption"].bytes_list.value[0].decode() == wanted["caption"]
    main(["data", "stats", str(out), "--digests"])
    assert "5 records" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["train", "--config", "lm:nano", "--workdir", str(tmp_path / "run"), "--set", f"data.records={out}"])
    error = capsys.readouterr().err
    assert error.startswith(f"error: {out}: TFRecords, in which no record is found by its number, as training")
    assert error.count("\n") == 1


def test_on_beam_the_bytes_are_the_same_and_a_dry_run_does_nothing(films, whole, tmp_path, capsys):
    pytest.importorskip("apache_beam")
    prepare(films, tmp_path / "records", "--runner", "DirectRunner")
    assert bytes_of(tmp_path / "records") == bytes_of(whole.directory)
    options = ["--runner", "FlinkRunner", "--dry-run", "--flink_master=host:8081", "--environment_type=EXTERNAL",
               "--environment_config=localhost:50000"]  # fmt: skip
    main(["data", "prepare", *SETTINGS, "--input", str(films), "--out", str(tmp_path / "none"), *options])
    said = capsys.readouterr().out
    assert "3 shards of 5 films and pictures" in said and "FlinkRunner: a job of" in said
    assert not (tmp_path / "none").exists()


def test_a_worker_that_does_not_see_the_directory_says_so(tmp_path):
    job = {"config": "lm:nano", "overrides": [], "out": str(tmp_path / "elsewhere")}
    with pytest.raises(FileNotFoundError, match="elsewhere: not seen by this worker; mount the share"):
        Worker(job)


@pytest.mark.parametrize(
    "options, words",
    [
        (["--input", "nowhere"], "nowhere: no such file or folder"),
        (["--input", ""], "--input: empty; name a folder, a film or a manifest, or leave it"),
        (["--input", ".", "--clips", "2"], "--clips 2: of the config's own data alone; leave it, or --input"),
        (["--input", ".", "--split", "train"], "--split train: of the config's own data alone; leave it"),
        (["--models", "nowhere"], "--models nowhere: no video_tokenizer in it; name a directory that has"),
        (["--set", "data.audio_levels=4"], "data.audio_levels 4: "),
        (["--set", "data.spatial_stride=8"], "data.spatial_stride 8: that of "),
        (["--set", 'data.tasks={"captioning": 1.0}'], "model.text_pieces 0: captioning writes text, of 1,024 pieces"),
        (
            ["--flink_master=localhost"],
            "--flink_master=localhost: an option of Apache Beam's without --runner; name one",
        ),
        (["--runner", "DirectRunner", "--shard_size=3"], "--shard_size: no option of Apache Beam"),
        (["--out", "gs://bucket/records"], "gs://bucket/records: an address; directories are read and written"),
        (["--input", "gs://bucket/films"], "gs://bucket/films: an address; directories are read and written"),
    ],
)
def test_mistakes_are_told_before_anything_is_made(films, options, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["data", "prepare", *SETTINGS, "--input", str(films), "--out", str(tmp_path / "out"), *options])
    assert leave.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_view_that_nobody_registered_is_told_at_once(films, tmp_path, monkeypatch, capsys):
    spans = {"reads": (Span("video", key="my_view"),), "writes": (Span("video"),)}
    monkeypatch.setitem(TASKS, "mirrored", Task("mirrored", output="video", text=False, **spans))
    with pytest.raises(SystemExit):
        prepare(films, tmp_path / "out", "--set", "data.tasks={'mirrored': 1.0}")
    assert "error: view 'my_view': unknown; use video, last_frame" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_films_are_no_moving_digits_whatever_the_config_is_of(films, tmp_path):
    settings = [option for option in SETTINGS if option != "data.source=folder"]
    settings.remove("--set")
    main(
        [
            "data",
            "prepare",
            *settings,
            "--models",
            "nano",
            "--input",
            str(films / "2.mp4"),
            "--out",
            str(tmp_path / "a"),
        ]
    )
    assert TokenSource(tmp_path / "a").meta["layouts"]["source"] == "video"


def test_a_dry_run_looks_at_the_directory_too(films, tmp_path, capsys):
    shutil.copy(films / "2.mp4", tmp_path / "2.mp4")
    for out, words in ((tmp_path, "not an empty directory"), (tmp_path / "2.mp4", "not an empty directory")):
        with pytest.raises(SystemExit):
            main(["data", "prepare", *SETTINGS, "--input", str(films), "--out", str(out), "--dry-run"])
        assert words in (error := capsys.readouterr().err) and "delete" not in error


def test_the_language_model_trains_on_them_and_measures_each_task(whole, tmp_path):
    records = [f"data.{name}={whole.directory}" for name in ("records", "held_out")]
    small = ["data.groups=2", "train.batch_size=2", "train.steps=2", "train.optimizer=adamw", "model.depth=1",
             "model.width=32", "model.mlp=32", "model.chain_hidden=8", "data.source=folder"]  # fmt: skip
    tasks = 'data.tasks={"text_to_image": 1.0, "text_to_video": 1.0, "inpainting": 1.0}'
    settings = [part for change in (*records, *small, tasks) for part in ("--set", change)]
    main(["train", "--config", "lm:nano", "--workdir", str(tmp_path), *settings])
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = {name: value for line in lines for name, value in line.items() if name.startswith("eval/")}
    assert set(losses) == {"eval/loss_text_to_image", "eval/loss_text_to_video", "eval/loss_inpainting"}
    assert all(3 < loss < 14 for loss in losses.values())  # nats a token, of 2^18 codes at most 12.5


def test_a_model_that_has_no_text_is_not_asked_to_write_any(whole, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--config", "lm:nano", "--set", 'data.tasks={"captioning": 1.0}', "--set",
              f"data.records={whole.directory}", "--workdir", str(tmp_path)])  # fmt: skip
    assert capsys.readouterr().err == (
        "error: model.text_pieces 0: captioning writes text, of 1,024 pieces; --set model.text_pieces=1024, or leave "
        "that task out.\n"
    )


def test_stats_of_records_and_their_digests(whole, tmp_path, capsys):
    directory = tmp_path / "records"
    shutil.copytree(whole.directory, directory)
    main(["data", "stats", str(directory), "--digests", "--json", str(tmp_path / "stats.json")])
    figures = json.loads((tmp_path / "stats.json").read_text())
    assert figures["sizes"] == {"17×64×64": 4, "1×64×64": 1} and figures["records"] == 5
    assert figures["with_sound"] == 3 and figures["video_tokens"] == 4 * 80 + 16
    assert "5 records" in capsys.readouterr().out
    file = directory / "00000.array_record"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(SystemExit):
        main(["data", "stats", str(directory), "--digests"])
    assert "00000.array_record: its SHA-256 is not the one in meta.json" in capsys.readouterr().err
