"""What a command writes is looked at first; folders that stay empty do not stay."""

import click
import pytest

from videopoet_jax.cli.targets import check_targets, leave_none_empty


def run(action):
    """Calls it as a command does, inside of a context that ends with it."""
    with click.Context(click.Command("test")):
        action()


def test_new_folders_go_with_a_command_that_wrote_nothing(tmp_path):
    (tmp_path / "old").mkdir()

    def fail():
        check_targets(tmp_path / "new" / "deep" / "a.npz", tmp_path / "old" / "b.npz", None)
        assert (tmp_path / "new" / "deep").is_dir()
        raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        run(fail)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_folders_with_something_in_them_stay(tmp_path):
    def write():
        leave_none_empty([tmp_path / "out" / "a", tmp_path / "out" / "b"])
        check_targets(tmp_path / "out" / "a" / "1.npz")
        (tmp_path / "out" / "b").mkdir()
        (tmp_path / "out" / "a" / "1.npz").touch()

    run(write)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == ["out", "out/a", "out/a/1.npz"]


def test_targets_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match="a.mp4: is the input itself, which would be lost; name another file."):
        check_targets(tmp_path / "a.mp4", inputs=(tmp_path / "a.mp4",))
    with pytest.raises(IsADirectoryError):
        check_targets(tmp_path)
    with pytest.raises(OSError):
        check_targets(tmp_path / "a.mp4" / "b.mp4")
