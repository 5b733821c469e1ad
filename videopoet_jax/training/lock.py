"""One run at a time in a folder: two would prune each other's checkpoints and write over each other's metrics."""

import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from videopoet_jax.training.folders import Folder, is_address

NAME = ".lock"
_LOG = logging.getLogger(__name__)


class Occupied(RuntimeError):
    """Another run holds the folder."""


@contextmanager
def sole_run(workdir: str | Folder) -> Iterator[None]:
    """Holds `workdir` while the `with` block runs; what is killed lets go of it. The first process acts for all.

    A bucket cannot be held so: of one it is only said.

    Raises:
        Occupied: another run has it.
    """
    if jax.process_index() != 0:
        yield
        return
    if is_address(workdir):
        _LOG.warning("%s: a bucket cannot be locked; see to it that no other run trains here.", workdir)
        yield
        return
    Path(workdir).mkdir(parents=True, exist_ok=True)
    with open(Path(workdir) / NAME, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Occupied(f"{workdir}: another run trains here; wait for it, stop it, or train elsewhere.") from None
        except OSError as error:  # some network file systems cannot lock
            _LOG.warning("%s: cannot be locked (%s); see to it that no other run trains here.", workdir, error)
        yield
