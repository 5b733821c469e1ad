"""Modules of other packages that are imported for what they register: tasks, views, annotators.

[project.entry-points."videopoet_jax.tasks"]      in the pyproject.toml of a package
mine = "my_package.tasks"                          →  importlib.import_module("my_package.tasks")
"""

import importlib.metadata


def load(group: str) -> None:
    """Imports the modules that installed packages name as entry points of a group.

    Raises:
        ValueError: one that cannot be imported, or registers what it must not; with its name, and its package's.
    """
    for point in importlib.metadata.entry_points(group=group):
        try:
            point.load()
        except Exception as error:  # whatever the user's module may do
            package = f" of package {point.dist.name!r}" if point.dist else ""
            reason = " ".join(str(error).split()) or "no reason given"
            raise ValueError(
                f"{point.value}, an entry point {group}{package}: {type(error).__name__}: {reason.rstrip('.')}; "
                f"correct that module, or uninstall its package."
            ) from error
