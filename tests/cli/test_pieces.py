"""Films cut into pieces: what follows what, what is left out, and how little of a film is held."""

import numpy as np
import pytest

from videopoet_jax.cli.pieces import Piece, Pieces, batches, film_paths, spread
from videopoet_jax.data import media
from videopoet_jax.data.media import read_video, write_video
from videopoet_jax.data.sources import held_out_from


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Films of 44 and 9 frames that tell their frames apart, and a file that is none."""
    folder = tmp_path_factory.mktemp("clips")
    film = (5 * np.arange(44, dtype=np.uint8)).repeat(32 * 48 * 3).reshape(44, 32, 48, 3)
    write_video(folder / "a.mp4", film, fps=8)
    (folder / "sub").mkdir()
    write_video(folder / "sub" / "b.mp4", film[:9], fps=8)
    (folder / "text.mp4").write_text("not a video")
    return folder


def pieces(*sources, frames=9, least=None, **options):
    shape = dict(fps=8.0, height=32, width=48)
    return Pieces(film_paths(sources), frames=frames, least=least or frames, **shape, **options)


def spans(found):
    return [(p.path.name, p.first, p.first + len(p.clip) - 1) for p in found]


def test_pieces_follow_one_another(folder, capsys):
    found = pieces(folder)
    cut = list(found)
    assert spans(cut) == [("a.mp4", i, i + 8) for i in (0, 9, 18, 27)] + [("b.mp4", 0, 8)]  # 8 frames are left over
    assert (found.used, [p.name for p in found.left_out]) == (2, ["text.mp4"])
    assert capsys.readouterr().err.count("warning: left out: ") == 1
    whole = read_video(folder / "a.mp4", fps=8.0, height=32, width=48)
    np.testing.assert_array_equal(np.concatenate([p.clip for p in cut[:4]]), whole[:36])
    assert spans(pieces(folder / "a.mp4", frames=20, least=4))[2:] == [("a.mp4", 40, 43)]
    assert spans(pieces(folder / "a.mp4", frames=20, least=5)) == [("a.mp4", 0, 19), ("a.mp4", 20, 39)]
    assert spans(pieces(folder / "a.mp4", frames=257, least=17)) == [("a.mp4", 0, 43)]


def test_what_is_too_short_is_said(folder, capsys):
    short = pieces(folder / "sub", folder / "a.mp4", frames=17)
    assert len(list(short)) == 2 and "b.mp4: fewer than 17 frames" in capsys.readouterr().err
    assert (short.used, [p.name for p in short.left_out]) == (1, ["b.mp4"])


def test_pieces_that_are_left_out_are_spread(folder):
    found = list(pieces(folder / "a.mp4", limit=3))
    assert [p.first for p in found] == [round(p.clip[0].mean() / 5) for p in found] == [0, 18, 27]
    assert [p.first for p in pieces(folder / "a.mp4", limit=9)] == [0, 9, 18, 27]
    assert (spread(5, 3), spread(2, None), spread(0, 4)) == ({0, 2, 4}, {0, 1}, set())


def test_the_held_out_end_is_that_of_training(folder):
    whole = read_video(folder / "a.mp4", fps=8.0, height=32, width=48)
    (piece,) = pieces(folder / "a.mp4", frames=17, held_out=True)
    assert piece.first == held_out_from(44)
    np.testing.assert_array_equal(piece.clip, whole[held_out_from(44) :][:17])


def test_a_film_is_never_whole_in_memory(monkeypatch, tmp_path):
    drawn = 0

    def endless(path, **size):
        nonlocal drawn
        while True:
            drawn += 1
            yield np.zeros((8, 8, 3), np.uint8)

    monkeypatch.setattr(media, "iterate_frames", endless)
    (tmp_path / "a.mp4").touch()
    cut = iter(pieces(tmp_path / "a.mp4", frames=5))
    assert [next(cut).first for _ in range(3)] == [0, 5, 10] and drawn == 15


def test_a_film_that_is_gone_does_not_end_the_run(folder, tmp_path, capsys):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes((folder / "a.mp4").read_bytes())
    found = pieces(tmp_path, frames=20)
    (tmp_path / "a.mp4").unlink()
    assert spans(found) == [("b.mp4", 0, 19), ("b.mp4", 20, 39)] and [p.name for p in found.left_out] == ["a.mp4"]
    assert "a.mp4: no such file" in capsys.readouterr().err


def test_sources_are_there_and_count_once(folder):
    assert [p.name for p in film_paths([folder / "sub" / "b.mp4", folder])] == ["b.mp4", "a.mp4", "text.mp4"]
    with pytest.raises(FileNotFoundError, match="missing.mp4: no such file; give videos"):
        film_paths([folder / "missing.mp4"])


def test_batches_know_their_films(folder):
    clips = [Piece(folder / f"{i}.mp4", 0, np.full((2, 1, 1, 3), i)) for i in range(7)]
    found = list(batches(clips, 3, limit=5))
    assert [b.clips.shape for b in found] == [(3, 2, 1, 1, 3), (2, 2, 1, 1, 3)]
    assert found[1].clips[1, 0, 0, 0, 0] == 4 and found[1].films == [str(folder / "3.mp4"), str(folder / "4.mp4")]
