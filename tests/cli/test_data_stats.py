"""`videopoet data stats`: options that make no sense, names that are no lines, half-written records."""

import numpy as np
import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.data.media import write_video
from videopoet_jax.data.token_records import TokenWriter


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", np.zeros((40, 32, 32, 3), np.uint8), fps=8)
    write_video(folder / "new\nline.mp4", np.zeros((3, 32, 32, 3), np.uint8), fps=8)
    return folder


@pytest.mark.parametrize(
    "options, words",
    [
        (["--fps", "0"], "error: --fps 0: above 0 and at most 1,000 frames a second are needed; ask for others.\n"),
        (["--fps", "-8"], "--fps -8: above 0"),
        (["--fps", "nan"], "--fps nan: above 0"),
        (["--fps", "1e9"], "--fps 1e+09: above 0 and at most 1,000"),
        (["--num-frames", "16"], "16 frames: need 1 + 4·k; try 17"),
        (["--digests"], "--digests: of records alone, and "),
    ],
)
def test_options_that_make_no_sense_are_refused(folder, options, words, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["data", "stats", str(folder), *options])
    assert leave.value.code == 2 and words in capsys.readouterr().err


def test_the_file_of_the_figures_is_named_as_it_was_given(folder, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["data", "stats", str(folder), "--json", str(tmp_path)])
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}: is a directory; ")


def test_a_line_is_a_line_whatever_the_file_is_called(folder, capsys):
    main(["data", "stats", str(folder)])
    said = capsys.readouterr()
    assert "1 of 2 videos can be used" in said.out
    assert said.err == f"left out: {folder}/new\\nline.mp4: 0.4 s, at least 4.2 s are needed\n"


def test_records_that_lack_their_meta_are_said_to(tmp_path, capsys):
    with TokenWriter(tmp_path / "records", {}) as writer:
        writer.write({"video": np.zeros((5, 4, 4), np.int32)})
    (tmp_path / "records" / "meta.json").unlink()
    with pytest.raises(SystemExit):
        main(["data", "stats", str(tmp_path / "records")])
    assert (
        "meta.json: no such file, so this is no finished directory of records; `videopoet data prepare` makes one."
        in (capsys.readouterr().err)
    )
