"""Which film becomes which file, and what becomes of the others when one fails."""

import json
import threading
from pathlib import Path

import jax
import pytest

from videopoet_jax.cli.detokenize import film_name
from videopoet_jax.cli.films import STREAMS, Job, Made, Models, Tally, check_sides, conclude, plan, work_through

NPZ = "{}.npz".format


@pytest.fixture
def tree(tmp_path):
    for name in ("x/a.mp4", "x/b/a.mp4", "x/b/a.mkv", "y/a.mp4", "x/notes.txt", "x/.hidden.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    return tmp_path


def planned(tree, *inputs, out="out", name=NPZ, suffixes=(".mp4", ".mkv")):
    jobs = plan([tree / i for i in inputs], tree / out, suffixes, name)
    return {str(job.source.relative_to(tree)): str(job.target.relative_to(tree)) for job in jobs}


def test_names_keep_their_path(tree):
    assert planned(tree, "x") == {
        "x/a.mp4": "out/a.mp4.npz", "x/b/a.mkv": "out/b/a.mkv.npz", "x/b/a.mp4": "out/b/a.mp4.npz"
    }  # fmt: skip
    assert planned(tree, "x/a.mp4", "y/a.mp4") == {"x/a.mp4": "out/x/a.mp4.npz", "y/a.mp4": "out/y/a.mp4.npz"}
    assert planned(tree, "x/b", "y") == {
        "x/b/a.mkv": "out/x/b/a.mkv.npz", "x/b/a.mp4": "out/x/b/a.mp4.npz", "y/a.mp4": "out/y/a.mp4.npz"
    }  # fmt: skip
    assert planned(tree, "x", "x/a.mp4") == planned(tree, "x")  # named twice, made once


def test_one_file_may_be_named(tree):
    assert planned(tree, "x/a.mp4", out="new/codes.npz") == {"x/a.mp4": "new/codes.npz"}
    assert planned(tree, "x/a.mp4", out="new") == {"x/a.mp4": "new/a.mp4.npz"}
    for several in (["x"], ["x/a.mp4", "y/a.mp4"]):
        with pytest.raises(ValueError, match="codes.npz: names one file; name a folder"):
            planned(tree, *several, out="codes.npz")


@pytest.mark.parametrize("out", ["q.mkv", "q.MP4", "q.json", "notes"])
def test_a_file_of_another_kind_cannot_be_named(tree, out):
    (tree / "notes").touch()
    for several in (["x/a.mp4"], ["x"]):
        with pytest.raises(
            ValueError, match=f"{out}: a file that is no .npz; name it {out[:-4] if '.' in out else out}"
        ):
            planned(tree, *several, out=out)


def test_a_folder_may_have_a_dot_in_its_name(tree):
    (tree / "old.mkv").mkdir()
    assert planned(tree, "x/a.mp4", out="old.mkv") == {"x/a.mp4": "old.mkv/a.mp4.npz"}
    assert planned(tree, "x/a.mp4", out="run.2") == {"x/a.mp4": "run.2/a.mp4.npz"}


def test_names_of_films_come_back():
    assert [film_name(n) for n in ("a.mp4.npz", "a.mkv.npz", "a.npz", "a.MP4.npz", "a.mp4")] == [
        "a.mp4", "a.mkv.mp4", "a.mp4", "a.MP4", "a.mp4.mp4"
    ]  # fmt: skip


def test_two_films_of_one_name_are_refused(tree):
    for name in ("a.mp4.npz", "a.npz"):
        (tree / "y" / name).touch()
    with pytest.raises(ValueError, match="a.mp4.npz and .*a.npz: both would be .*a.mp4; rename"):
        planned(tree, "y", name=film_name, suffixes=(".npz",))


def test_nothing_to_do_is_an_error(tree):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or folder"):
        planned(tree, "x", "nowhere")
    with pytest.raises(ValueError, match="empty: no files in it"):
        planned(tree, "x", "empty")


def jobs_of(tmp_path, count):
    return [Job(tmp_path / f"{i}.mp4", tmp_path / f"{i}.npz") for i in range(count)]


def test_a_bad_film_is_reported_and_the_others_go_on(tmp_path, capsys):
    def work(job, models, until_stopped):
        full = OSError(28, "No space left on device", str(job.target))
        if error := {"3": ValueError("odd"), "4": TypeError("odder"), "5": full}.get(job.source.stem):
            raise error
        return Made(f"wrote {job.target}", "a scratch" if job.source.stem == "7" else None)

    assert work_through(jobs_of(tmp_path, 9), lambda: Models(None, None), work) == Tally(written=6, failed=3)
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"wrote {tmp_path}/{i}.npz" for i in (0, 1, 2, 6, 7, 8)]
    assert "Traceback" not in err
    odd, odder, full, scratch = err.splitlines()
    assert odd == f"error: {tmp_path}/3.mp4: odd"
    assert odder.startswith(f"error: {tmp_path}/4.mp4: TypeError: odder; this is a bug of videopoet_jax")
    assert "no space left" in full and f"{tmp_path}/5.npz" in full
    assert scratch == f"error: {tmp_path}/7.mp4: a scratch"


def test_films_are_reported_in_their_order_whichever_ends_first(tmp_path, capsys):
    ended = threading.Event()

    def work(job, models, until_stopped):
        if job.source.stem == "0":
            ended.wait(60)
        if job.source.stem == "1":
            ended.set()
        raise ValueError("odd")

    assert work_through(jobs_of(tmp_path, 2), lambda: Models(None, None), work) == Tally(written=0, failed=2)
    assert ended.is_set()
    assert capsys.readouterr().err.splitlines() == [f"error: {tmp_path}/{i}.mp4: odd" for i in (0, 1)]


def test_debug_shows_where_a_film_failed(tmp_path, capsys):
    def work(job, models, until_stopped):
        raise ValueError("odd")

    work_through(jobs_of(tmp_path, 1), lambda: Models(None, None), work, debug=True)
    err = capsys.readouterr().err
    assert "Traceback" in err and 'raise ValueError("odd")' in err and err.endswith("/0.mp4: odd\n")


def test_every_device_has_its_models_and_its_films(tmp_path):
    """All films at once wait for one another: so they run on all devices, `STREAMS` on each."""
    devices, seen = jax.local_devices(), []
    meet = threading.Barrier(STREAMS * len(devices), timeout=60)

    def work(job, models, until_stopped):
        meet.wait()
        here = jax.numpy.zeros(1).devices()
        assert here == models.video.devices()
        seen.append(*here)
        return Made("")

    jobs = jobs_of(tmp_path, STREAMS * len(devices))
    work_through(jobs, lambda: Models(jax.numpy.zeros(1), None), work)
    assert sorted(d.id for d in seen) == sorted(d.id for d in devices * STREAMS)


def test_stopping_ends_the_films_that_are_under_way(tmp_path, monkeypatch):
    given = []

    def stopped(future):
        begun.wait()
        raise KeyboardInterrupt

    def work(job, models, until_stopped):
        for i in until_stopped(range(10**9)):
            given.append(i)
            if i == 100:
                begun.set()
        return Made("")

    begun = threading.Event()
    monkeypatch.setattr("concurrent.futures.Future.result", stopped)
    with pytest.raises(KeyboardInterrupt):
        work_through(jobs_of(tmp_path, 3), lambda: Models(None, None), work)
    assert 100 <= max(given) < 10**9 - 1


def test_the_exit_code_says_whether_all_went_well(tmp_path, capsys):
    conclude(3, Tally(2, 0), tmp_path / "figures.json", frames=7)
    assert json.loads((tmp_path / "figures.json").read_text()) == {
        "films": 3, "unchanged": 1, "written": 2, "failed": 0, "frames": 7
    }  # fmt: skip
    with pytest.raises(SystemExit) as leave:
        conclude(3, Tally(2, 1), None)
    assert leave.value.code == 2 and "2 written, 0 unchanged, 1 failed" in capsys.readouterr().out
    with pytest.raises(SystemExit) as leave:
        conclude(3, Tally(2, 0), None, sound_lost=1)
    assert leave.value.code == 2
    said = "3 films: 2 written (1 without sound that could not be read), 1 unchanged, 0 failed."
    assert capsys.readouterr().out.splitlines() == [said]


def test_a_film_too_wide_to_be_written_is_refused_by_its_sizes_alone():
    film = Path("wide.mp4")
    check_sides(film, (16, 1920), (64, 7680), (64, 7680))
    with pytest.raises(ValueError) as refused:
        check_sides(film, (16, 1920), (64, 7680), (128, 30_720))
    assert str(refused.value) == (
        "wide.mp4: 16×1920 (height × width), worked on at 64×7680, gives frames of 128×30720; sides of up to 16,384 "
        "and 35,651,584 pixels are written; give --height and --width, and its middle is taken."
    )
    with pytest.raises(ValueError, match="gives frames of 8000×8000"):
        check_sides(film, (90, 90), (8000, 8000), (8000, 8000))
