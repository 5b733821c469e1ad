"""Records come back as they were; a damaged one is an error that names file and record, and never another example."""

import copy
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from videopoet_jax.data.token_records import META, RecordError, TokenSource, TokenWriter, from_bytes, to_bytes

DIGESTS = {"video_tokenizer": "sha256:11", "audio_tokenizer": "sha256:22"}


def example(number):
    rng = np.random.default_rng(number)
    return {
        "video": rng.integers(0, 2**18, (5, 4, 4), dtype=np.int32),
        "audio": rng.integers(0, 1024, (106, 1), dtype=np.uint16),
        "weight": np.float32(number),
        "caption": f"a red {number} · 数字",
    }


def write(directory, count=50, **options):
    with TokenWriter(directory, DIGESTS, **options) as writer:
        for number in range(count):
            writer.write(example(number))
    return directory


def assert_same(got, wanted):
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert type(got[name]) is str or got[name].dtype == np.asarray(value).dtype
        np.testing.assert_array_equal(got[name], value)


def test_bytes_round_trip():
    for value in (example(3), {"empty": np.zeros((0, 4), np.int64), "": np.bool_(True), "text": ""}):
        assert_same(from_bytes(to_bytes(value)), value)
    transposed = {"x": np.arange(12).reshape(3, 4).T}
    assert_same(from_bytes(to_bytes(transposed)), transposed)


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["x"]), np.array([1j]), np.datetime64("2020-01-01")])
def test_only_numbers_and_texts(value):
    with pytest.raises(RecordError, match="can be stored"):
        to_bytes({"x": value})
    with pytest.raises(RecordError, match="another name"):
        to_bytes({"x.utf8": np.zeros(1)})


def test_records_come_back_by_index_over_several_files(tmp_path):
    source = TokenSource(write(tmp_path / "tokens", 50, records_per_file=16), expect=DIGESTS)
    assert len(source) == 50 and len(source.files) == 4
    for index in (0, 15, 16, 31, 32, 49, 3, 48):
        assert_same(source[index], example(index))
    for index in (-1, 50):
        with pytest.raises(IndexError):
            source[index]


def test_threads_and_copies_read_the_same(tmp_path):
    source = TokenSource(write(tmp_path / "tokens", 40, records_per_file=10))
    with ThreadPoolExecutor(8) as pool:
        for index, got in enumerate(pool.map(source.__getitem__, list(range(40)) * 5)):
            assert_same(got, example(index % 40))
    assert_same(copy.deepcopy(source)[7], example(7))  # as a loader's processes copy it


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), TokenWriter(tmp_path / "tokens", DIGESTS) as writer:
        writer.write(example(0))
        raise RuntimeError
    assert os.listdir(tmp_path) == []
    write(tmp_path / "tokens", 3)
    with pytest.raises(FileExistsError, match="another name"), TokenWriter(tmp_path / "tokens", DIGESTS):
        pass
    assert len(TokenSource(tmp_path / "tokens")) == 3
    assert os.listdir(tmp_path) == ["tokens"]


def test_other_tokenizers_are_refused(tmp_path):
    write(tmp_path / "tokens", 3)
    with pytest.raises(RecordError, match="audio_tokenizer 'sha256:22', 'sha256:33' is needed"):
        TokenSource(tmp_path / "tokens", expect=DIGESTS | {"audio_tokenizer": "sha256:33"})


def test_a_flipped_bit_never_gives_another_example(tmp_path):
    directory = write(tmp_path / "tokens", 20)
    path = directory / "00000.array_record"
    data, rng, caught = path.read_bytes(), np.random.default_rng(0), 0
    used = np.flatnonzero(np.frombuffer(data, np.uint8))  # the rest is padding
    for place in rng.choice(used, 60, replace=False):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        source = TokenSource(directory)
        for index in range(20):
            try:
                assert_same(source[index], example(index))
            except RecordError as error:
                caught += 1
                assert f"{path}: record {index} is damaged" in str(error) and "\n" not in str(error)
    assert caught > 30


def test_missing_and_cut_files(tmp_path):
    directory = write(tmp_path / "tokens", 30, records_per_file=10)
    second = directory / "00001.array_record"
    data = second.read_bytes()
    second.write_bytes(data[: len(data) // 2])
    with pytest.raises(RecordError, match="00001.array_record: .* bytes"):
        TokenSource(directory)
    second.unlink()
    with pytest.raises(RecordError, match="missing"):
        TokenSource(directory)
    with pytest.raises(FileNotFoundError, match="no finished directory"):
        TokenSource(tmp_path)


def change(**values):
    return lambda body: body.update(values)


@pytest.mark.parametrize(
    "edit",
    [
        change(version=99), change(records=4), change(files=[{"name": "../x", "records": 3, "bytes": 9}]),
        change(files=[{"name": "x"}]), change(meta=[]), change(files="x"), lambda body: body.pop("files"),
    ],
)  # fmt: skip
def test_a_meta_file_is_not_believed(tmp_path, edit):
    directory = write(tmp_path / "tokens", 3)
    body = json.loads((directory / META).read_text())
    edit(body)
    (directory / META).write_text(json.dumps(body))
    with pytest.raises(RecordError, match="TokenWriter"):
        TokenSource(directory)


def test_no_tensorflow_is_imported(tmp_path):
    code = (
        "import sys; from videopoet_jax.data.token_records import TokenSource; "
        f"TokenSource({str(write(tmp_path / 'tokens', 2))!r})[1]; sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
