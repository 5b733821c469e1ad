"""`--model NAME=DIR`: several models on one command line, each under a name of its own."""

from collections.abc import Iterable


def named(models: Iterable[str]) -> dict[str, str]:
    """Models by name: of `NAME=DIR`, or of a directory or shipped name that is its own.

    Raises:
        ValueError: a name given twice.
    """
    found: dict[str, str] = {}
    for model in models:
        name, _, directory = model.partition("=")
        if name in found:
            raise ValueError(f"--model {model}: a second {name!r}; give each a name of its own, NAME=DIR.")
        found[name] = directory or name
    return found
