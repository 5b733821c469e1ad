"""What a command writes: looked at before the work begins, not after minutes of it."""

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from videopoet_jax.training import folders as places


class Place(click.ParamType):
    """A directory, or one in a bucket (`gs://…`): the run's own folder alone may lie there."""

    name = "directory"

    def __init__(self, exists: bool = False) -> None:
        self._here = click.Path(exists=exists, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> os.PathLike:
        """The path (`training.folders.folder`)."""
        return places.folder(value if places.is_address(value) else self._here.convert(value, param, context))


def check_targets(*targets: Path | None, inputs: tuple[Path | None, ...] = ()) -> None:
    """Makes the folders of files that are to be written; None stands for an option that was not given.

    Raises:
        OSError: a target that cannot be written.
        ValueError: a target that is one of the inputs.
    """
    for target in filter(None, targets):
        for source in filter(None, inputs):
            if target.exists() and source.exists() and target.samefile(source):
                raise ValueError(f"{target}: is the input itself, which would be lost; name another file.")
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory", str(target))
        leave_none_empty([target.parent])
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            tempfile.TemporaryFile(dir=target.parent).close()  # permissions alone do not tell (a read-only disk)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error


def leave_none_empty(folders: Iterable[Path]) -> None:
    """Of folders that are yet to be made, those that have nothing in them when the command ends are taken away."""
    context = click.get_current_context(silent=True)
    if context is not None:
        new = {path for folder in folders for path in (folder, *folder.parents) if not path.exists()}
        context.call_on_close(lambda: remove_empty(new))


def remove_empty(folders: Iterable[Path]) -> None:
    """Removes those of the folders that are empty, or hold nothing but such."""
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        with contextlib.suppress(OSError):  # it was never made, or has something in it
            folder.rmdir()
