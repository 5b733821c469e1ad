"""TFRecords: what TensorFlow and SeqIO read of them is what was written; the bytes are equal; training is told no."""

import functools
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

seqio = pytest.importorskip("seqio")
tf = pytest.importorskip("tensorflow")

from videopoet_jax.data.tfrecords import ExampleFile, description, kinds_of, shaped, to_example  # noqa: E402
from videopoet_jax.data.token_records import RecordError, TokenSource, TokenWriter  # noqa: E402
from videopoet_jax.data.token_shards import Failure, begin, finish, report_of, write_shard  # noqa: E402


def record(number):
    """With sound and a caption, with one of them, or with neither."""
    rng = np.random.default_rng(number)
    made = {"video": rng.integers(0, 2**18, (5, 4, 3 + number % 2), np.int32), "weight": np.float32(number)}
    made |= {"audio": rng.integers(0, 1024, (106, 2), np.int32)} if number % 2 else {}
    mask = np.arange(8) < number % 8
    return made | ({"text_mask": mask, "caption": f"eine {number} · 数字"} if number % 3 else {})


def prepare(directory, order=(0, 1, 2)):
    begin(directory, {"of": "tests"})
    for shard in order:
        records = [record(10 * shard + place) for place in range(4)]
        write_shard(directory, shard, [*records, Failure("bad.mp4", "cut off")] if shard != 1 else [], "tfrecord")
    return finish(directory, 3, {"keys": ["video"]})


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("records") / "a"
    assert prepare(directory) == {"records": 8, "failures": 2}
    return directory


NUMBERS = [0, 1, 2, 3, 20, 21, 22, 23]


def test_the_example_of_the_documentation():
    data, kinds = to_example({"video": np.arange(6, dtype=np.int32).reshape(1, 2, 3), "weight": 0.5, "caption": "hi"})
    feature = tf.train.Example.FromString(data).features.feature
    assert set(feature) == {"video", "video/shape", "weight", "caption"}
    assert list(feature["video"].int64_list.value) == [0, 1, 2, 3, 4, 5]
    assert list(feature["video/shape"].int64_list.value) == [1, 2, 3]
    assert list(feature["weight"].float_list.value) == [0.5] and feature["caption"].bytes_list.value[0] == b"hi"
    assert kinds == {"video": ("int64", 3), "weight": ("float", 0), "caption": ("bytes", 0)}


@pytest.mark.parametrize("name, value", [("x", np.array([1j])), ("x", np.array(["x"])), ("x/shape", np.zeros(1))])
def test_only_numbers_and_texts(name, value):
    with pytest.raises(RecordError, match="can be stored|another name"):
        to_example({name: value})


def test_plain_tensorflow_reads_them_without_our_code(directory):
    files = sorted(str(path) for path in directory.glob("*.tfrecord"))
    assert [file[-14:] for file in files] == ["00000.tfrecord", "00002.tfrecord"]
    rows = list(tf.data.TFRecordDataset(files).as_numpy_iterator())
    assert len(rows) == len(NUMBERS)
    for number, row in zip(NUMBERS, rows, strict=True):
        feature = tf.train.Example.FromString(row).features.feature
        codes = np.array(feature["video"].int64_list.value).reshape(feature["video/shape"].int64_list.value)
        assert_array_equal(codes, record(number)["video"])
        assert ("audio" in feature) == ("audio" in record(number))


def test_a_task_of_seqios_reads_equal_arrays(directory):
    kinds = kinds_of(directory)
    codes = seqio.PassThroughVocabulary(size=2**18)
    ranks = {name: rank for name, (kind, rank) in kinds.items() if kind == "int64"}
    assert ranks == {"video": 3, "audio": 2, "text_mask": 1}
    seqio.TaskRegistry.remove("test_tfrecords")
    task = seqio.TaskRegistry.add(
        "test_tfrecords",
        source=seqio.TFExampleDataSource({"train": str(directory / "*.tfrecord")}, description(kinds)),
        preprocessors=[functools.partial(shaped, kinds=kinds)],
        output_features={
            name: seqio.Feature(codes, add_eos=False, rank=rank, dtype=tf.int64, required=False)
            for name, rank in ranks.items()
        },
    )
    rows = list(task.get_dataset(None, "train", shuffle=False).as_numpy_iterator())
    assert len(rows) == len(NUMBERS)
    rows.sort(key=lambda row: row["weight"])  # SeqIO takes turns between files
    for number, row in zip(NUMBERS, rows, strict=True):
        wanted = record(number)
        for name, rank in ranks.items():
            assert_array_equal(row[name], wanted.get(name, np.zeros([0] * rank)))
        assert row["caption"].decode() == wanted.get("caption", "") and row["weight"] == wanted["weight"]


def test_equal_records_make_equal_bytes_in_any_order_and_twice_and_digests_are_theirs(directory, tmp_path):
    prepare(tmp_path / "b", order=(2, 0, 1, 0))
    assert files_of(tmp_path / "b") == files_of(directory)
    for file in json.loads((directory / "meta.json").read_text())["files"]:
        assert hashlib.sha256((directory / file["name"]).read_bytes()).hexdigest() == file["sha256"]
    TokenSource(directory, by_number=False).check_digests()


def test_what_a_stopped_writer_left_is_made_anew(tmp_path):
    begin(tmp_path / "a", {"of": "tests"})

    def stopped():
        yield record(0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(tmp_path / "a", 0, stopped(), "tfrecord")
    assert report_of(tmp_path / "a", 0) is None and not list((tmp_path / "a").glob(".*"))
    (tmp_path / "a" / ".00002.tfrecord.99-ab").write_bytes(b"killed in the middle")
    prepare(tmp_path / "a")
    assert not list((tmp_path / "a").glob(".*"))


def test_one_name_has_one_kind(tmp_path):
    file = ExampleFile(tmp_path / "x.tfrecord")
    file.write({"video": np.zeros((5, 4, 4), np.int32)})
    with pytest.raises(RecordError, match=r"'video': \('int64', 2\) after \('int64', 3\); one name needs one kind"):
        file.write({"video": np.zeros((4, 4), np.int32)})


def test_a_place_that_cannot_be_written_is_told_of(tmp_path):
    with pytest.raises(RecordError, match="nowhere: cannot be written"):
        ExampleFile(tmp_path / "nowhere" / "x.tfrecord").write(record(0))


def test_records_are_looked_up_by_number_in_array_records_alone_and_described_in_tfrecords_alone(directory, tmp_path):
    with pytest.raises(RecordError, match="TFRecords, in which no record is found by its number, as training .* make"):
        TokenSource(directory)
    with TokenWriter(tmp_path / "b", {}) as writer:
        writer.write(record(0))
    with pytest.raises(
        RecordError, match="b: not TFRecords; make them with `videopoet data prepare --format tfrecord`"
    ):
        kinds_of(tmp_path / "b")


def test_without_tensorflow_there_is_one_line():
    hide = "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == 'tensorflow' else f(n);"
    ask = (
        "from videopoet_jax.data.tfrecords import check_tensorflow as c; import sys\ntry: c()\nexcept ValueError as e: "
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}{ask}print(e, 'tensorflow' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout == (
        "tfrecord: TensorFlow writes it, which is not installed; pip install 'videopoet_jax[data]'. False\n"
    ), done.stderr
