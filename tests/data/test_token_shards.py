"""Shards: whole or not there, the same bytes from whoever writes them, and one directory of records in the end."""

import json

import numpy as np
import pytest

from videopoet_jax.data import token_shards
from videopoet_jax.data.token_records import TokenSource
from videopoet_jax.data.token_shards import Failure, begin, begun, check, digest_of, finish, report_of, write_shard


def records(first, count):
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        yield {"video": rng.integers(0, 2**18, (5, 4, 4), np.int32), "caption": f"clip {number}"}


def made(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def prepare(directory, order=(0, 1, 2)):
    begin(directory, {"of": "tests"})
    for shard in order:
        bad = [Failure("bad.mp4", "bad.mp4: cut off")] if shard == 1 else []
        write_shard(directory, shard, [*records(10 * shard, 4), *bad, *records(10 * shard + 4, shard)])
    return finish(directory, 3, {"keys": ["video"]})


def test_shards_become_one_directory_of_records_in_their_order(tmp_path):
    assert prepare(tmp_path / "a") == {"records": 15, "failures": 1}
    source = TokenSource(tmp_path / "a")
    captions = [source[i]["caption"] for i in range(15)]
    assert captions == [f"clip {n}" for n in (*range(4), *range(10, 15), *range(20, 26))]
    assert source.index.shape == (15, 5) and source.index[0].tolist() == [5, 4, 4, 0, 0]
    line = json.loads((tmp_path / "a" / token_shards.FAILURES).read_text())
    assert line == {"id": "bad.mp4", "error": "bad.mp4: cut off"}
    assert {len(file["sha256"]) for file in source.files} == {64}
    assert begun(tmp_path / "a")  # what failed may be tried again
    begin(tmp_path / "b", {})
    write_shard(tmp_path / "b", 0, records(0, 1))
    finish(tmp_path / "b", 1, {})
    assert not (tmp_path / "b" / token_shards.PROGRESS).exists()


def test_equal_records_make_equal_bytes_in_any_order_and_twice(tmp_path):
    prepare(tmp_path / "a")
    prepare(tmp_path / "b", order=(2, 0, 1, 2, 0))  # as when a worker is thought dead and is not
    assert made(tmp_path / "a") == made(tmp_path / "b")


def test_what_a_stopped_writer_left_is_made_anew_and_nothing_else(tmp_path):
    out = tmp_path / "a"
    begin(out, {"of": "tests"})
    write_shard(out, 0, records(0, 4))

    def stopped():
        yield from records(10, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(out, 1, stopped())
    assert report_of(out, 0) is not None and report_of(out, 1) is None
    assert not list(out.glob(".*"))
    (out / ".00002.array_record.99-ab").write_bytes(b"killed in the middle")
    (out / "00000.array_record").write_bytes(b"short")
    assert report_of(out, 0) is None  # the file is not the one that was reported
    write_shard(out, 0, records(0, 4))
    for damaged in (b"", (out / "progress" / "00000.npy").read_bytes()[:-4]):
        (out / "progress" / "00000.npy").write_bytes(damaged)
        assert report_of(out, 0) is None
    with pytest.raises(ValueError, match="shard 0 of 3 is not there; the same command makes it"):
        finish(out, 3, {})
    begin(out, {"of": "tests"})  # goes on
    assert prepare(out)["records"] == 15 and not list(out.glob(".*"))


def test_another_plan_and_a_finished_directory_are_refused(tmp_path):
    a, plan = tmp_path / "a", {"of": "tests", "config": {"depth": 2, "size": (1, 2)}, "digest": "0" * 64}
    other = {"of": "others", "config": {"depth": 3, "size": (1, 2)}, "digest": "1" * 64}
    begin(a, other)
    write_shard(a, 0, [Failure("bad.mp4", "cut off")])
    begin(a, plan)  # nothing has come of the other
    assert report_of(a, 0) is None
    write_shard(a, 0, records(0, 1))
    begin(a, plan)
    with pytest.raises(ValueError, match=r"another config.depth \(2, now 3\), digest, of \(tests, now others\); go on"):
        begin(a, other)
    prepare(tmp_path / "b")
    with pytest.raises(FileExistsError, match="finished, and made of another input .* mend what failed and --retry-"):
        begin(tmp_path / "b", {"of": "tests"})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "film.mp4").touch()
    with pytest.raises(FileExistsError, match="c: not an empty directory, nor one that was begun; choose another name"):
        begin(tmp_path / "c", plan)


def test_a_finished_directory_is_known_by_its_plan(tmp_path):
    plan, made_of = {"of": "tests"}, digest_of({"of": "tests", "items": "0"})
    begin(tmp_path / "a", plan)
    assert not check(tmp_path / "a", plan, made_of)
    write_shard(tmp_path / "a", 0, records(0, 2))
    finish(tmp_path / "a", 1, {"made_of": made_of})
    assert check(tmp_path / "a", plan, made_of)
    with pytest.raises(FileExistsError, match="finished, and made of another input or with other settings; choose"):
        check(tmp_path / "a", plan, digest_of({"of": "tests", "items": "1"}))


def test_too_many_failures_are_the_machines_fault(tmp_path):
    out = tmp_path / "a"
    begin(out, {})
    write_shard(out, 0, [*records(0, 1), *[Failure(f"{n}.mp4", "not there.") for n in range(2)]])
    with pytest.raises(
        ValueError, match="2 of 3 items could not be read, at most 50% may be; the first: not there; --ret"
    ):
        finish(out, 1, {}, items=3, most=0.5)
    assert len((out / token_shards.FAILURES).read_text().splitlines()) == 2
    with pytest.raises(ValueError, match="4 of 5 items"):
        finish(out, 1, {}, items=3, most=0.5, skipped=[Failure("m.csv, line 2", "no such file")] * 2)
    assert finish(out, 1, {}, items=3, most=0.7) == {"records": 1, "failures": 2}
    begin(out, {}, retry=True)
    assert not (out / "meta.json").exists()
    token_shards.forget(out, 0)
    assert report_of(out, 0) is None and not list(out.glob("*.array_record"))


def test_no_records_at_all_are_an_error_that_says_why(tmp_path):
    begin(tmp_path / "a", {})
    write_shard(tmp_path / "a", 0, [Failure("a.mp4", "a.mp4: not a video")])
    with pytest.raises(ValueError, match="no records were made; the first of 1 failures: a.mp4: not a video; give"):
        finish(tmp_path / "a", 1, {})
