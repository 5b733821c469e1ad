"""What a command writes: looked at before the work begins, not after minutes of it."""

import tempfile
from pathlib import Path


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
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            tempfile.TemporaryFile(dir=target.parent).close()  # permissions alone do not tell (a read-only disk)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(target)) from error
