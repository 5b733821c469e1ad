"""`lm:nano` or `configs/lm.py:nano`, and `--set train.steps=10` on top of it."""

import ast
import importlib
import importlib.util
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_collections


def load_config(spec: str, overrides: tuple[str, ...] = (), needs: tuple[str, ...] = ()) -> ml_collections.ConfigDict:
    """The config that `spec` names, `overrides` applied.

    `"lm:nano"` finds `configs/lm.py` from an installed wheel too; `"my/lm.py:small"` is a file of the user's.

    Args:
        needs: keys (`data`, `data.text_length`) that the caller will read.

    Raises:
        ValueError: no such config, no such variant, an unknown key, a value of another type, a number that is not
            finite, a key that is needed and not there.
    """
    name, _, argument = spec.partition(":")
    module = _from_file(Path(name)) if name.endswith(".py") else _from_package(name)
    config = module.get_config(argument) if argument else module.get_config()
    require(config, *needs, name=repr(spec))
    for key, value in _not_finite(config):
        raise ValueError(f"config {spec!r}: {key} is {value}, no number to compute with; give a finite one.")
    for override in overrides:
        _apply(config, override)
    return config


def require(config: ml_collections.ConfigDict, *keys: str, name: str = "") -> ml_collections.ConfigDict:
    """The config, if it has all of these keys."""
    for key in keys:
        if _find(config, key) is None:
            raise ValueError(
                f"config {name or config.get('model_type')}: has no {key!r}, which this command reads; add it, or "
                f"choose another config."
            )
    return config


def _from_file(path: Path):
    if not path.is_file():
        raise ValueError(f"config {str(path)!r}: no such file; give a path or a name such as lm:nano.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file may do
        raise ValueError(f"config {str(path)!r}: {type(error).__name__} while reading it: {error}; mend it.") from error
    if not hasattr(module, "get_config"):
        raise ValueError(f"config {str(path)!r}: defines no get_config(arg); add one that returns a ConfigDict.")
    return module


def _from_package(name: str):
    if not name.isidentifier() or importlib.util.find_spec(f"videopoet_jax.configs.{name}") is None:
        raise ValueError(f"config {name!r}: unknown; use one of {', '.join(names())} or a path to a file.")
    return importlib.import_module(f"videopoet_jax.configs.{name}")


def names() -> list[str]:
    """Names of the configs that ship."""
    found = importlib.util.find_spec("videopoet_jax.configs")
    places = (found and found.submodule_search_locations) or []
    return sorted(p.stem for place in places for p in Path(place).glob("[a-z]*.py"))


def _find(config: ml_collections.ConfigDict, key: str):
    """The entry `data.text_length`, or None."""
    for part in key.split("."):
        config = config.get(part) if isinstance(config, ml_collections.ConfigDict) else None
    return config


def _not_finite(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The numbers in it that are infinite or none, by their keys: `{"a": {"b": (1.0, inf)}} → (a.b, inf)`"""
    if isinstance(value, Mapping | ml_collections.ConfigDict):
        for name, inner in value.items():
            yield from _not_finite(inner, f"{key}.{name}".removeprefix("."))
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from _not_finite(inner, key)
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, value


def _apply(config: ml_collections.ConfigDict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ValueError(f"--set {override!r}: write KEY=VALUE, for instance train.steps=100.")
    *path, leaf = key.split(".")
    node = _find(config, ".".join(path)) if path else config
    if not isinstance(node, ml_collections.ConfigDict) or leaf not in node:
        known = sorted(node) if isinstance(node, ml_collections.ConfigDict) else sorted(config)
        raise ValueError(f"--set {override!r}: no key {key!r} in this config; keys here: {', '.join(known)}.")
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError):
        value = text
    old = node[leaf]
    if isinstance(old, float) and type(value) is int:
        value = float(value) if abs(value) < 2**1023 else math.inf
    for _, number in _not_finite(value):
        raise ValueError(f"--set {override!r}: {number} is no number to compute with; give a finite one.")
    try:
        node[leaf] = value
    except TypeError as error:
        quotes = ", its names in quotes" if isinstance(old, ml_collections.ConfigDict) else ""
        old = old.to_dict() if quotes else old
        raise ValueError(f"--set {override!r}: {key} is a {type(old).__name__} ({old!r}); give one{quotes}.") from error
