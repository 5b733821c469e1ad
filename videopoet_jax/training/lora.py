"""Low-rank adapters (LoRA; Hu et al., 2021) of any matched parameters of any model: W stays, A and B are trained.

    W + alpha/rank · A·B       layers.attention.query  [24 1024 16 64]       W, of 24 layers
                               ….query.lora_a          [24 1024 8]           A, drawn
                               ….query.lora_b          [24 8 16 64]          B, zero: at first nothing changes

The sum is made anew in every step, before the model runs, so no model knows of it. That holds a second copy of what is
matched and its gradient for the time of a step; moments, averages and checkpoints are those of A and B alone.
"""

import hashlib
import json
import os
import re
import string
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import PRNGKeyArray

from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.pretrained import files, save_params
from videopoet_jax.training.optimizer import NEVER_DECAYED, matrices

PyTree = Any
MODEL_TYPE = "videopoet_adapters"
FIELDS = ("rank", "alpha", "match", "base")
A, B = "lora_a", "lora_b"
KIND = "bits2:"  # of fingerprint; the first, `bits:`, was the same for weights in another order
BASE = "base"  # the weights that stay, among the frozen parts of `extra`


def matched(params: Mapping[str, Any], match: str) -> dict[str, tuple[int, int]]:
    """Which parameters `match` finds, by their dotted names: {name: (dimensions of layers, dimensions summed over)}.

    "attention.(query|value)" → {"layers.attention.query": (1, 1), "layers.attention.value": (1, 1)}

    Gains and biases are no matrices and are passed over. Of a table the rows are summed over.

    Raises:
        ValueError: no regular expression, or one that finds no matrix.
    """
    try:
        pattern = re.compile(match)
    except re.error as error:
        raise ValueError(f"train.lora.match {match!r}: no regular expression ({error}).") from error
    flat, known, found = files.flatten(params), files.flatten(matrices(params)), {}
    for name, leaf in flat.items():
        if leaf.ndim < 2 or name.rpartition(".")[2] in NEVER_DECAYED or not pattern.search(name):
            continue
        axes = known[name]
        summed = len(axes.reduction_axis) if axes else 1
        made = len(axes.output_axis) if axes else 1
        found[name] = (leaf.ndim - summed - made, summed)
    if not found:
        raise ValueError(f"train.lora.match {match!r}: finds no matrix among {', '.join(sorted(flat))}; match some.")
    return found


def init_adapters(params: Mapping[str, Any], *, rank: int, match: str, key: PRNGKeyArray) -> dict[str, Any]:
    """New adapters of the matched parameters, as a tree like theirs, each factor on the devices of its parameter.

    Args:
        params: unboxed, on devices.
        rank: the size between A and B.
    """
    if rank < 1:
        raise ValueError(f"train.lora.rank {rank}: at least 1 is needed.")
    made = {}
    for name, (layers, summed) in matched(params, match).items():
        w = files.flatten(params)[name]
        own = jax.random.fold_in(key, zlib.crc32(name.encode()))
        spec, cut = _spec(w), layers + summed
        shape_a, shape_b = (*w.shape[:cut], rank), (*w.shape[:layers], rank, *w.shape[cut:])
        wide = float(np.prod(w.shape[layers:cut])) ** -0.5
        a = (wide * jax.random.normal(own, shape_a)).astype(w.dtype)
        made[f"{name}.{A}"] = _put(a, w, (*spec[:cut], None))
        made[f"{name}.{B}"] = _put(jnp.zeros(shape_b, w.dtype), w, (*spec[:layers], None, *spec[cut:]))
    return files.unflatten(made)


def _spec(w: jax.Array) -> tuple:
    spec = tuple(w.sharding.spec) if isinstance(w.sharding, NamedSharding) else ()
    return (*spec, *[None] * (w.ndim - len(spec)))


def _put(x: jax.Array, w: jax.Array, spec: tuple) -> jax.Array:
    if not isinstance(w.sharding, NamedSharding):
        return x
    # Through the host: other processes' devices take no array of this process's.
    return jax.device_put(np.asarray(x), NamedSharding(w.sharding.mesh, PartitionSpec(*spec)))


def merge(params: Mapping[str, Any], adapters: Mapping[str, Any], scale: float) -> dict[str, Any]:
    """`params` with `scale · A·B` added where there are adapters; `scale` is alpha/rank."""
    flat, factors = files.flatten(params), files.flatten(adapters)
    for name in (n.removesuffix(f".{A}") for n in factors if n.endswith(f".{A}")):
        w, a, b = flat[name], factors[f"{name}.{A}"], factors[f"{name}.{B}"]
        layers = a.ndim + b.ndim - w.ndim - 2
        cut, letters = a.ndim - 1, string.ascii_lowercase[: w.ndim]
        sums = f"{letters[:cut]}R,{letters[:layers]}R{letters[cut:]}->{letters}"
        flat[name] = w + scale * jnp.einsum(sums, a, b).astype(w.dtype)
    return files.unflatten(flat)


def with_base(extra: Mapping[str, Any], params: PyTree) -> dict[str, Any]:
    """`extra` with the weights that stay among its frozen parts, which no checkpoint holds."""
    return {**extra, FROZEN: {**extra.get(FROZEN, {}), BASE: params}}


def base_of(extra: Mapping[str, Any]) -> PyTree:
    """The weights that stay."""
    return extra[FROZEN][BASE]


def adapted_loss(loss_fn: Callable, scale: float) -> Callable:
    """The loss of a model as a function of its adapters, `(adapters, extra, batch, keys) → (loss, aux)`."""

    def of_adapters(adapters: PyTree, extra: PyTree, batch: PyTree, keys: Callable) -> tuple[jax.Array, Any]:
        base = base_of(extra)
        loss, aux = loss_fn(merge(base, adapters, scale), extra, batch, keys)
        return loss, aux._replace(extra=with_base(aux.extra, base))

    return of_adapters


def count(tree: PyTree) -> int:
    """Numbers in a tree of arrays."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def _mixed(x: jax.Array) -> jax.Array:
    """Whole numbers of 32 bits, each made another one (the last steps of MurmurHash3; Appleby, public domain)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> shift)) * jnp.uint32(factor)
    return x ^ (x >> 16)


@jax.jit
def _sums(flat: dict[str, jax.Array]) -> dict[str, list[jax.Array]]:
    """Of each array two sums of its elements' bits, mixed with where they stand: the same on every mesh, for whole
    numbers add up exactly in any order."""
    sums = {}
    for name, x in flat.items():
        bits, place = jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32), jnp.zeros(x.shape, jnp.uint32)
        for axis in range(x.ndim):
            place = _mixed(place + jax.lax.broadcasted_iota(jnp.uint32, x.shape, axis) + jnp.uint32(0x9E3779B9))
        weighed = _mixed(bits ^ place) * (place | 1)
        sums[name] = [jnp.sum(y, dtype=jnp.uint32) for y in (weighed, _mixed(weighed + place))]
    return sums


def fingerprint(params: Mapping[str, Any]) -> str:
    """What tells the weights that adapters belong to from others, by name, shape, value and order: `bits2:…`"""
    flat = files.flatten(params)
    found = {name: [list(flat[name].shape), *map(int, sums)] for name, sums in _sums(flat).items()}
    return KIND + hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def check_base(base: str, params: Mapping[str, Any], where: str) -> str:
    """The fingerprint of `params`, which must be `base`: that of the weights that the adapters in `where` belong to.

    Raises:
        ValueError: they are others, or `base` is of a kind that did not tell reordered weights apart.
    """
    found = fingerprint(params)
    if not base.startswith(KIND):
        raise ValueError(
            f"{where}: its adapters belong to weights {base[:17]}…, an earlier kind of fingerprint, which reordered "
            f"weights share; if they are these, put {found} in its place."
        )
    if found != base:
        raise ValueError(
            f"{where}: its adapters belong to other weights ({base[:17]}…, these are {found[:17]}…); give those that "
            f"they were trained on, in float32."
        )
    return found


def save_adapters(
    directory: str | os.PathLike, adapters: Mapping[str, Any], *, rank: int, alpha: float, match: str, base: str
) -> None:
    """Writes adapters alone: config.json (with the fingerprint of their base) and model.safetensors, in float32."""
    save_params(directory, adapters, "float32")
    files.write_config(directory, MODEL_TYPE, dict(rank=rank, alpha=alpha, match=match, base=base))


def apply_adapters(params: Mapping[str, Any], directory: str | os.PathLike) -> dict[str, Any]:
    """`params` merged with the adapters that `save_adapters` wrote.

    Raises:
        ValueError: the adapters belong to other weights (`check_base`).
    """
    config = files.read_config(directory, MODEL_TYPE, FIELDS)
    check_base(config["base"], params, str(directory))
    return merge(params, files.load_params(directory), config["alpha"] / config["rank"])
