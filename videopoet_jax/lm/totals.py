"""Sums of the losses of a batch's output tokens, table by table and a chunk of positions at a time.

    read        <bov_o>   v7      v3      <eov_o>      hidden state i scores token i + 1
    scored      v7        v3      <eov_o> <eos>
    by the head video     video   special special

Logits exist for one chunk of one head; a chunk without tokens of a head skips it, so a layout's long runs of one
modality cost one head each. On a mesh every device scores its own rows and stretches of the sequence. The tables'
widths, which are split over `fsdp`, come together there once a step, in the dtype of the computation, and their
gradients part again once.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Float, Int, Shaped

from videopoet_jax.lm.heads import Head, Totals, heads
from videopoet_jax.lm.logits import Params
from videopoet_jax.lm.transformer import PrefixLM

TABLES = ("special_text", "visual", "audio", "chain")  # of the output parameters: a row for each id
OWN = ("data", "fsdp", "sequence")  # mesh axes over which every device scores tokens of its own
Chunks = tuple[Array, Array, Array, Array, dict[str, Array]]


def nothing() -> Totals:
    """The sums over no token."""
    return Totals(*[jnp.float32(0)] * 4)


def _scored(head: Head, output: Params, x: Array, ids: Array, weights: Array) -> Totals:
    with jax.named_scope(f"score_{head.name}"):
        s = head.score(output, x, jnp.where(weights != 0, head.index(ids), 0))
        return Totals(jnp.sum(weights), *(jnp.sum(weights * value) for value in (s.nll, s.z, s.correct)))


class Sums(NamedTuple):
    """Over the tokens of a batch.

    Attributes:
        objective: weight · (−log p + z_coefficient · log² Z), of all heads; this alone has a derivative.
        totals: of each head.
    """

    objective: Float[Array, ""]
    totals: dict[str, Totals]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def chunk_sums(heads: tuple[Head, ...], z_coefficient: float, output: Params, chunks: Chunks) -> Sums:
    """The sums, chunk after chunk.

    Where they are differentiated, a chunk's part of the derivative is taken at once, while its logits are there: of a
    sum it is known up to one factor. So logits are neither kept nor computed again; what is kept are the slopes of the
    hidden states and of the tables, which add up in float32, a chunk only where it has tokens of theirs.

    Args:
        chunks: hidden states [chunks b size d]; ids, tables and weights of the tokens to score [chunks b size]; and of
            each head, which chunks have tokens of it [chunks].
    """

    def add(totals: dict[str, Totals], chunk: Chunks) -> tuple[dict[str, Totals], None]:
        x, ids, table, weights, used = chunk

        def total(head: Head) -> Totals:
            own = weights * head.belongs(ids, table)
            return jax.lax.cond(used[head.name], lambda: _scored(head, output, x, ids, own), nothing)

        return jax.tree.map(jnp.add, totals, {head.name: total(head) for head in heads}), None

    totals = jax.lax.scan(add, {head.name: nothing() for head in heads}, chunks)[0]
    return Sums(sum(_objective(t, z_coefficient) for t in totals.values()), totals)


def _objective(total: Totals, z_coefficient: float) -> Float[Array, ""]:
    return total.nll + z_coefficient * total.z


def _sums_and_slopes(
    heads: tuple[Head, ...], z_coefficient: float, output: Params, chunks: Chunks
) -> tuple[Sums, tuple[Params, Params, Array]]:
    """The sums, and what the way back needs: `output`, its slopes and those of the hidden states."""

    def add(carry: tuple[dict[str, Totals], Params], chunk: Chunks) -> tuple[tuple[dict[str, Totals], Params], Array]:
        (totals, of_output), (x, ids, table, weights, used) = carry, chunk
        totals, of_x = dict(totals), jnp.zeros_like(x)
        for head in heads:
            own = weights * head.belongs(ids, table)

            def some(total: Totals, of_output: Params, of_x: Array, head: Head = head, own: Array = own) -> tuple:
                def objective(output: Params, x: Array) -> tuple[Array, Totals]:
                    found = _scored(head, output, x, ids, own)
                    return _objective(found, z_coefficient), found

                (more_of_output, more_of_x), found = jax.grad(objective, argnums=(0, 1), has_aux=True)(output, x)
                of_output = jax.tree.map(lambda a, b: a + b.astype(a.dtype), of_output, more_of_output)
                return jax.tree.map(jnp.add, total, found), of_output, of_x + more_of_x

            given = (totals[head.name], of_output, of_x)
            totals[head.name], of_output, of_x = jax.lax.cond(used[head.name], some, lambda *same: same, *given)
        return (totals, of_output), of_x

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), output)
    (totals, of_output), of_hidden = jax.lax.scan(add, ({head.name: nothing() for head in heads}, zeros), chunks)
    sums = Sums(sum(_objective(t, z_coefficient) for t in totals.values()), totals)
    return sums, (output, of_output, of_hidden)


def _back(
    heads: tuple[Head, ...], z_coefficient: float, kept: tuple[Params, Params, Array], slopes: Sums
) -> tuple[Params, tuple]:
    """The slopes of the tables and of the hidden states."""
    output, of_output, of_hidden = kept

    def scaled(slope: Array, like: Array) -> Array:
        return (slopes.objective * slope).astype(like.dtype)

    return jax.tree.map(scaled, of_output, output), (scaled(of_hidden, of_hidden), None, None, None, None)


chunk_sums.defvjp(_sums_and_slopes, _back)


def positions_of_chunk(tokens: int, rows: int, length: int) -> int:
    """Positions that a chunk takes of each row: `1024 tokens, 8 rows of 1779 → 128`"""
    return max(1, min(tokens // rows, length))


def token_sums(
    model: PrefixLM,
    output: Params,
    hidden: Float[Array, "b n d"],
    ids: Int[Array, "b n"],
    table: Int[Array, "b n"],
    weights: Float[Array, "b n"],
    chunk: int,
    z_coefficient: float,
) -> Sums:
    """The sums over a batch of whole sequences; on every device about `chunk` tokens at a time.

    Where several share a row, the last token of one scores nothing: the first of the next is of a prefix, of no weight.
    """
    mesh = jax.sharding.get_abstract_mesh()
    spread = not mesh.empty and math.prod(mesh.shape[axis] for axis in OWN) > 1
    stretches = mesh.shape["sequence"] if spread else 1
    length = -(-hidden.shape[1] // stretches) * stretches
    rows = hidden.shape[0] // (mesh.shape["data"] * mesh.shape["fsdp"] if spread else 1)
    size = positions_of_chunk(chunk, rows, length // stretches)

    def chunks(x: Array) -> Array:
        """`[b n …] → [chunks b size …]`, zeros at the end."""
        count = -(-x.shape[1] // size)
        return jnp.moveaxis(_pad(x, count * size).reshape(x.shape[0], count, size, *x.shape[2:]), 1, 0)

    def local(output: Params, hidden: Array, *tokens: Array) -> Sums:
        ids, table, weights = (chunks(x) for x in tokens)
        used = {h.name: jnp.any((weights != 0) & h.belongs(ids, table), axis=(1, 2)) for h in heads(model)}
        if not spread:
            return chunk_sums(heads(model), z_coefficient, output, (chunks(hidden), ids, table, weights, used))
        # All do the same, for part of a head may be computed together (its vocabulary over `tensor`).
        used = jax.tree.map(lambda x: jax.lax.pmax(x.astype(jnp.int32), OWN) > 0, used)
        output = {name: _whole(x, hidden) if name in TABLES else x for name, x in output.items()}
        given = (chunks(hidden), ids, table, weights, used)
        return jax.lax.psum(chunk_sums(heads(model), z_coefficient, output, given), OWN)

    fields = [_pad(x, length) for x in (hidden, *(shift_out(x) for x in (ids, table, weights)))]
    return (_on_each(mesh, local, output, len(fields)) if spread else local)(output, *fields)


def _on_each(mesh: AbstractMesh, local: Callable, output: Params, fields: int) -> Callable:
    """`local` on each device's own tokens; the vocabulary may still be split over `tensor`, by the compiler."""
    tokens, whole = PartitionSpec(("data", "fsdp"), "sequence"), PartitionSpec()

    def of_table(x: Array) -> PartitionSpec:
        return PartitionSpec(*[None] * (x.ndim - 1), "fsdp")

    tables = {n: of_table(x) if n in TABLES else jax.tree.map(lambda _: whole, x) for n, x in output.items()}
    return jax.shard_map(
        local, axis_names=set(OWN), check_vma=False, in_specs=(tables, *[tokens] * fields), out_specs=whole
    )


def _whole(table: Array, hidden: Array) -> Array:
    """Of a table whose width is split over `fsdp`, all of it."""
    return jax.lax.all_gather(table.astype(hidden.dtype), "fsdp", axis=table.ndim - 1, tiled=True)


def shift_out(x: Shaped[Array, "b n"]) -> Shaped[Array, "b n"]:
    """What each position is to predict; the last predicts nothing: `5 6 7 → 6 7 0`"""
    return jnp.pad(x[:, 1:], ((0, 0), (0, 1)))


def _pad(x: Array, length: int) -> Array:
    return jnp.pad(x, [(0, 0), (0, length - x.shape[1])] + [(0, 0)] * (x.ndim - 2))
