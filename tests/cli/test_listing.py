"""A source is listed once; what changed is told from what did not; one bad item is a line of failures.jsonl."""

import errno
import json
import logging
import os

import pytest

from videopoet_jax.cli.listing import Listing, attempted, items_path, listed_in
from videopoet_jax.data.token_shards import Failure, begin, failures_of, forget, report_of, write_shard


@pytest.fixture
def films(tmp_path):
    films = tmp_path / "films"
    films.mkdir()
    for name in "abcde":
        (films / f"{name}.mp4").write_bytes(name.encode())
    return films


@pytest.fixture
def out(tmp_path):
    begin(tmp_path / "out", {})
    return tmp_path / "out"


def place(films, out, retry=False):
    return Listing(films).place(out, 2, failures_of, forget, retry)


def make(out, number, *failures):
    """A shard as a worker writes it."""
    records = [{"video": [[[number]]]}, *(Failure(name, "cut off") for name in failures)]
    write_shard(out, number, records)


def change(path, data=b"another film"):
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


def test_items_come_back_as_they_were_listed(films, out):
    assert place(films, out) == [0, 1, 2]
    ids = [[listed.item.id for listed in listed_in(out, number)] for number in range(3)]
    assert ids == [["a.mp4", "b.mp4"], ["c.mp4", "d.mp4"], ["e.mp4"]]
    listed = next(listed_in(out, 0))
    assert listed.item.path == str(films / "a.mp4") and listed.item.root == str(films)
    assert listed.file == [1, (films / "a.mp4").stat().st_mtime_ns]


def test_a_name_that_is_no_text_costs_nothing(films, out):
    name = os.fsdecode(b"bad\xff.mp4")
    (films / name).write_bytes(b"")
    place(films, out)
    listed = [one for number in range(3) for one in listed_in(out, number)]
    assert [one.item.path for one in listed if one.item.id.startswith("bad")] == [str(films / name)]
    _, found = attempted(listed[2], raising(ValueError(f"{films / name}: no film")))
    json.dumps(found, ensure_ascii=False).encode()  # can be stored


def test_a_film_that_changed_after_its_shard_was_made_is_told_by_name(films, out):
    place(films, out)
    make(out, 0)
    change(films / "c.mp4")
    assert place(films, out) == [1, 2]  # of a shard that is not made yet, any film may change
    change(films / "b.mp4")
    with pytest.raises(
        ValueError, match="shard 0 was made of other items: 'b.mp4' has changed, come or gone; restore it"
    ):
        place(films, out)


def test_films_may_come_behind_and_go_from_behind_what_is_made(films, out):
    place(films, out)
    make(out, 0), make(out, 1)
    (films / "f.mp4").write_bytes(b"f")
    (films / "g.mp4").write_bytes(b"g")
    assert place(films, out) == [2, 3]
    for name in "efg":
        (films / f"{name}.mp4").unlink()
    assert place(films, out) == [] and not items_path(out, 2).exists()
    (films / "d.mp4").unlink()
    with pytest.raises(ValueError, match="shard 1 was made of other items: 'd.mp4' has changed"):
        place(films, out)


def test_a_shard_with_failures_is_made_anew_when_its_films_have_changed_or_on_request(films, out):
    place(films, out)
    make(out, 0, "b.mp4"), make(out, 1, "d.mp4"), make(out, 2)
    assert place(films, out) == []  # nothing would become of it
    change(films / "b.mp4", b"mended")
    assert place(films, out) == [0] and report_of(out, 0) is None and not list(out.glob("00000.*"))
    make(out, 0)
    assert place(films, out) == []
    assert place(films, out, retry=True) == [1]


def test_lines_of_a_manifest_that_are_none_are_failures_and_it_is_read_once(films, out, caplog):
    lines = ["a.mp4,x", "none.mp4,x", "b.mp4,x", "../c.mp4,x", "c.mp4,x"]
    (films / "m.csv").write_text("path,caption\n" + "".join(line + "\n" for line in lines))
    with caplog.at_level(logging.WARNING):
        listing = Listing(films / "m.csv")
        listing.place(out, 2, failures_of, forget, False)
    assert listing.count == 3 and [name for name, _ in listing.failures] == ["m.csv, line 3", "m.csv, line 5"]
    assert "no such file" in listing.failures[0].error and "leads out of" in listing.failures[1].error
    assert len(caplog.records) == 1 and "2 of 5 lines left out" in caplog.text


def raising(error):
    def make(item):
        yield "one window"
        raise error

    return make


def test_whatever_is_wrong_with_a_film_is_its_failure(films, out, caplog):
    place(films, out)
    listed = next(listed_in(out, 0))
    for error, words in [
        (ValueError("a.mp4: cut\noff."), "a.mp4: cut off."),
        (FileNotFoundError("a.mp4: no such file; check the path."), "a.mp4: no such file; check the path."),
        (PermissionError(errno.EACCES, "Permission denied", "a.mp4"), "a.mp4: permission denied; check the path"),
        (RuntimeError("libav lost its way"), "libav lost its way"),
        (KeyError("x"), "KeyError: 'x'; this is a bug of videopoet_jax"),
        (MemoryError(), "out of memory"),
    ]:
        caplog.clear()
        window, found = attempted(listed, raising(error))
        assert window == "one window" and found.id == "a.mp4" and found.error.startswith(words)
        assert bool(caplog.records) == isinstance(error, RuntimeError | KeyError | MemoryError)  # with the traceback


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ENOSPC, errno.ETIMEDOUT])
def test_what_is_wrong_with_the_machine_is_no_films_failure(films, out, number):
    place(films, out)
    with pytest.raises(OSError):
        list(attempted(next(listed_in(out, 0)), raising(OSError(number, os.strerror(number)))))


def test_a_film_that_changes_between_the_listing_and_the_reading_is_told(films, out):
    place(films, out)
    change(films / "a.mp4")
    (found,) = attempted(next(listed_in(out, 0)), raising(ValueError("never reached")))
    assert found.id == "a.mp4" and "has changed since it was listed" in found.error
