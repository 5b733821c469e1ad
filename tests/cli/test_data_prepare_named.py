"""`videopoet data prepare` on what is no file: data sets of TFDS, and play in ViZDoom; one mechanism, equal bytes."""

import json

import numpy as np
import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.data.media import MediaError
from videopoet_jax.data.token_records import TokenSource
from videopoet_jax.data.vizdoom_game import check_installed
from videopoet_jax.pretrained import resolve


def prepare(source, out, tasks, *options):
    main(["data", "prepare", "--config", "lm:nano", "--set", "data.source=folder", "--set", f"data.tasks={tasks}",
          "--models", str(resolve("nano")), "--batch-size", "2", "--shard-size", "3", "--input", source, "--out",
          str(out), *options])  # fmt: skip
    return TokenSource(out)


def bytes_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file() and path.name != "meta.json"}


@pytest.fixture(scope="module")
def data_sets(tmp_path_factory):
    pytest.importorskip("tensorflow_datasets")
    from tiny_tfds import builders

    root = tmp_path_factory.mktemp("tfds")
    builders.TinyActions(data_dir=root, config="small").download_and_prepare()
    return root


def test_a_data_set_of_tfds_becomes_records(data_sets, tmp_path, monkeypatch):
    tasks = '{"text_to_video": 1.0, "inpainting": 1.0}'
    source = prepare(f"tfds:tiny_actions/small:test@{data_sets}?fps=8", tmp_path / "a", tasks)
    records = [source[i] for i in range(len(source))]
    assert source.meta["keys"] == ["inpainting", "video"] and len(records) == 50 // 17 + 40 // 17 + 75 // 17
    assert {record["caption"] for record in records} == {"apply eye makeup", "playing the cello"}
    assert all(record["id"].startswith("tiny_actions-test.tfrecord") for record in records)
    assert all(record["video"].shape == (5, 4, 4) and "audio" in record for record in records)  # nano: of silence, too
    (failure,) = (json.loads(line) for line in (tmp_path / "a" / "failures.jsonl").read_text().splitlines())
    assert failure["id"].startswith(f"tfds:tiny_actions/small@{data_sets}?split=test&fps=8#")
    assert "12 frames, a window has 17" in failure["error"]
    monkeypatch.chdir(data_sets.parent)  # and by its relative name, on Beam's workers
    pytest.importorskip("apache_beam")
    prepare(f"tfds:tiny_actions/small:test@{data_sets.name}?fps=8", tmp_path / "b", tasks, "--runner", "DirectRunner")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")


@pytest.mark.parametrize(
    "source, words",
    [
        ("vizdoom:nowhere", "error: scenarios nowhere: choose from basic, health_gathering, "),
        (
            "vizdoom:",
            "error: vizdoom:: no name of play; vizdoom:SCENARIO,SCENARIO?clips=1000&seed=0 is one, of basic, ",
        ),
        ("vizdoom:basic?clips=x", "error: vizdoom:basic?clips=x: no name of play"),
        ("tfds:a?rate=3", "error: tfds:a?rate=3: no name of a data set; tfds:NAME/CONFIG:1.0.0:SPLIT@/data_dir is one"),
        ("tfds:tiny_actions/small:tset@ROOT", "split 'tset': its splits are train, test; name one of them"),
        ("tfds:no_such_thing@ROOT", "TFDS has no such data set"),
    ],
)
def test_a_wrong_name_is_told_in_one_line_with_what_is_known(source, words, tmp_path, capsys, request):
    if "ROOT" in source:
        source = source.replace("ROOT", str(request.getfixturevalue("data_sets")))
    with pytest.raises(SystemExit) as leave:
        prepare(source, tmp_path / "out", '{"text_to_video": 1.0}')
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert leave.value.code == 2 and len(lines) == 1 and words in lines[0]
    assert not (tmp_path / "out").exists()


def test_what_has_no_shots_is_not_curated(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["data", "curate", "vizdoom:basic", "--out-dir", str(tmp_path / "report")])
    assert (
        "error: vizdoom:basic: its clips have no shots to cut; give it to `videopoet data prepare"
        in capsys.readouterr().err
    )
    assert not list(tmp_path.iterdir())


def test_play_becomes_records_with_its_depth_and_its_captions(tmp_path):
    try:
        check_installed()
    except MediaError as error:
        pytest.skip(str(error))
    pytest.importorskip("cv2")
    tasks = '{"text_to_video": 1.0, "stylization": 1.0}'
    name = "vizdoom:basic,defend_the_line?clips=5&seed=3"
    source = prepare(name, tmp_path / "a", tasks)
    records = [source[i] for i in range(len(source))]
    assert [record["id"] for record in records] == [
        f"vizdoom/{scenario}/3/{i}" for i, scenario in enumerate(("basic", "defend_the_line") * 2 + ("basic",))
    ]
    places = ("a brick room with a grid for a ceiling", "a grey hall with walls of brick")
    assert all(places[i % 2] in record["caption"] for i, record in enumerate(records))
    assert source.meta["keys"] == ["structure", "video"]
    assert not np.array_equal(records[0]["structure"], records[0]["video"])
    prepare(name, tmp_path / "b", tasks)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
