"""Files of codes: NumPy reads them, pieces are the whole, and what is not one is refused before it is believed."""

import io
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.data.code_files import CodeFile, Film, write_codes

LOUD = Film(9, 32, 48, 29.97, 16_000, "sha256:v", "sha256:a", '{"bytes": 7}')
SILENT = Film(9, 32, 48, 8.0, None, "sha256:v", None, "")


@pytest.fixture
def codes():
    rng = np.random.default_rng(0)
    return rng.integers(0, 2**18, (3, 2, 3), np.int32), rng.integers(0, 1024, (31, 2), np.int32)


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_what_was_written_comes_back_in_pieces(tmp_path, codes, rows):
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    with CodeFile(tmp_path / "a.npz") as file:
        assert file.film == LOUD and (file.video_shape, file.audio_shape) == ((3, 2, 3), (31, 2))
        for kind, whole in zip(("video", "audio"), codes, strict=True):
            pieces = list(getattr(file, kind)(rows))
            assert_array_equal(np.concatenate(pieces), whole)
            assert max(map(len, pieces)) <= rows


def test_a_silent_film_has_no_sound(tmp_path, codes):
    write_codes(tmp_path / "a.npz", SILENT, codes[0], None)
    with CodeFile(tmp_path / "a.npz") as file:
        assert file.film == SILENT and file.audio_shape is None and list(file.audio(5)) == []


def test_numpy_reads_it_without_pickle(tmp_path, codes):
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert_array_equal(arrays["video"], codes[0])
        assert_array_equal(arrays["audio"], codes[1])
        assert arrays["video"].dtype == np.int32 and int(arrays["version"]) == 1
        assert str(arrays["video_tokenizer"]) == "sha256:v" and float(arrays["fps"]) == 29.97


def changed(path, target, **members):
    """A copy whose members are other bytes; None leaves one out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = members.get(name.removesuffix(".npy"), old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def npy(array, **options):
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array), **options)
    return file.getvalue()


def claiming(shape, dtype="<i4"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + b"\0" * 64


@pytest.mark.parametrize(
    "members, words",
    [
        ({"version": npy(2)}, "version 2, this library reads 1"),
        ({"version": None}, "version.npy"),
        ({"video": None}, "video.npy"),
        ({"frames": None}, "frames.npy"),
        ({"sample_rate": None}, "sample_rate.npy"),
        ({"video": npy(np.zeros((3, 2, 3)))}, "video is float64"),
        ({"video": npy(np.zeros((3, 6), np.int32))}, r"video is int32 \[3, 6\]"),
        ({"video": npy(np.zeros((0, 2, 3), np.int32))}, r"video is int32 \[0, 2, 3\]"),
        ({"video": npy(np.asfortranarray(np.zeros((3, 2, 3), np.int32)))}, "stored by columns"),
        ({"video": npy(np.array([{}], object), allow_pickle=True)}, "video is object"),
        ({"video": claiming((1, 1 << 20, 1 << 20))}, "video is int32"),
        ({"audio": claiming((4, 1 << 30))}, "audio is int32"),
        ({"frames": npy([1, 2])}, "frames is int64"),
        ({"made_from": claiming((), "<U99999999")}, "made_from is <U99999999"),
        ({"made_from": npy(5)}, "made_from is int64"),
    ],
)
def test_another_file_is_refused(tmp_path, codes, members, words):
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    with pytest.raises(ValueError, match=f"not codes of a film, or damaged .*{words}.*make it anew"):
        CodeFile(changed(tmp_path / "a.npz", tmp_path / "b.npz", **members))


def test_a_shape_that_the_file_does_not_hold_is_found_when_it_is_read(tmp_path, codes):
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    path = changed(tmp_path / "a.npz", tmp_path / "b.npz", video=claiming((1 << 40, 2, 3)))
    with CodeFile(path) as file, pytest.raises(ValueError, match="not codes of a film, or damaged"):
        list(file.video(64))


def test_every_flipped_byte_of_the_codes_is_found(tmp_path, codes):
    """Wherever it is, in the header of the array too; what no flip has touched is whole."""
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    with CodeFile(tmp_path / "a.npz") as file:
        file.check()
    data = (tmp_path / "a.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as file:
        members = [file.getinfo(f"{name}.npy") for name in ("video", "audio")]
    for member in members:
        first = member.header_offset + 30 + len(member.filename) + 20  # NumPy writes 20 bytes of ZIP64
        for place in range(first, first + member.compress_size, 23):
            flipped = bytearray(data)
            flipped[place] ^= 0x10
            (tmp_path / "b.npz").write_bytes(flipped)
            with pytest.raises(ValueError, match="make it anew"), CodeFile(tmp_path / "b.npz") as file:
                file.check()


def test_a_shape_of_fewer_rows_than_the_file_holds_is_refused(tmp_path, codes):
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    path = changed(tmp_path / "a.npz", tmp_path / "b.npz", video=npy(codes[0]).replace(b"(3, 2, 3)", b"(2, 2, 3)"))
    with CodeFile(path) as file, pytest.raises(ValueError, match=r"video holds more than \[2, 2, 3\]"):
        list(file.video(64))


@pytest.mark.parametrize("size", [0, 10, 700])
def test_no_zip_at_all(tmp_path, codes, size):
    write_codes(tmp_path / "a.npz", LOUD, *codes)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:size])
    with pytest.raises(ValueError, match="not codes of a film"):
        CodeFile(tmp_path / "a.npz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        CodeFile(tmp_path / "nothing.npz")
