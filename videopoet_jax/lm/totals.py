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
from collections.abc import Callable

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


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def chunk_totals(heads: tuple[Head, ...], output: Params, chunks: Chunks) -> dict[str, Totals]:
    """Each head's sums, chunk after chunk.

    The derivative is written out, so that logits are computed again on the way back rather than kept, a chunk adds to
    the gradient of the tables only where it has tokens of theirs, and the sum of these gradients is float32.

    Args:
        chunks: hidden states [chunks b size d]; ids, tables and weights of the tokens to score [chunks b size]; and of
            each head, which chunks have tokens of it [chunks].
    """

    def add(sums: dict[str, Totals], chunk: Chunks) -> tuple[dict[str, Totals], None]:
        x, ids, table, weights, used = chunk

        def total(head: Head) -> Totals:
            own = weights * head.belongs(ids, table)
            return jax.lax.cond(used[head.name], lambda: _scored(head, output, x, ids, own), nothing)

        return jax.tree.map(jnp.add, sums, {head.name: total(head) for head in heads}), None

    return jax.lax.scan(add, {head.name: nothing() for head in heads}, chunks)[0]


def _back(heads: tuple[Head, ...], kept: tuple[Params, Chunks], slopes: dict[str, Totals]) -> tuple[Params, tuple]:
    """The slopes of the tables and of the hidden states."""
    output, (hidden, *others) = kept

    def add(sums: Params, chunk: Chunks) -> tuple[Params, Array]:
        x, ids, table, weights, used = chunk
        of_x = jnp.zeros_like(x)
        for head in heads:
            own = weights * head.belongs(ids, table)

            def some(sums: Params, of_x: Array, head: Head = head, own: Array = own) -> tuple[Params, Array]:
                _, pull = jax.vjp(lambda output, x: _scored(head, output, x, ids, own), output, x)
                of_output, more = pull(slopes[head.name])
                return jax.tree.map(lambda a, b: a + b.astype(a.dtype), sums, of_output), of_x + more

            sums, of_x = jax.lax.cond(used[head.name], some, lambda *same: same, sums, of_x)
        return sums, of_x

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), output)
    sums, of_hidden = jax.lax.scan(add, zeros, (hidden, *others))
    return jax.tree.map(lambda a, leaf: a.astype(leaf.dtype), sums, output), (of_hidden, None, None, None, None)


chunk_totals.defvjp(lambda heads, *kept: (chunk_totals(heads, *kept), kept), _back)


def positions_of_chunk(tokens: int, rows: int, length: int) -> int:
    """Positions that a chunk takes of each row: `1024 tokens, 8 rows of 1779 → 128`"""
    return max(1, min(tokens // rows, length))


def token_totals(
    model: PrefixLM,
    output: Params,
    hidden: Float[Array, "b n d"],
    ids: Int[Array, "b n"],
    table: Int[Array, "b n"],
    weights: Float[Array, "b n"],
    chunk: int,
) -> dict[str, Totals]:
    """Each head's sums over a batch of whole sequences; on every device about `chunk` tokens at a time.

    Where several share a row, the last token of one scores nothing: the first of the next is of a prefix, of no weight.
    """
    mesh = jax.sharding.get_abstract_mesh()
    spread = not mesh.empty and mesh.size > 1
    stretches = mesh.shape["sequence"] if spread else 1
    length = -(-hidden.shape[1] // stretches) * stretches
    rows = hidden.shape[0] // (mesh.shape["data"] * mesh.shape["fsdp"] if spread else 1)
    size = positions_of_chunk(chunk, rows, length // stretches)

    def chunks(x: Array) -> Array:
        """`[b n …] → [chunks b size …]`, zeros at the end."""
        count = -(-x.shape[1] // size)
        return jnp.moveaxis(_pad(x, count * size).reshape(x.shape[0], count, size, *x.shape[2:]), 1, 0)

    def local(output: Params, hidden: Array, *tokens: Array) -> dict[str, Totals]:
        ids, table, weights = (chunks(x) for x in tokens)
        used = {h.name: jnp.any((weights != 0) & h.belongs(ids, table), axis=(1, 2)) for h in heads(model)}
        if not spread:
            return chunk_totals(heads(model), output, (chunks(hidden), ids, table, weights, used))
        # All do the same, for part of a head may be computed together (its vocabulary over `tensor`).
        used = jax.tree.map(lambda x: jax.lax.pmax(x.astype(jnp.int32), OWN) > 0, used)
        output = {name: _whole(x, hidden) if name in TABLES else x for name, x in output.items()}
        return jax.lax.psum(chunk_totals(heads(model), output, (chunks(hidden), ids, table, weights, used)), OWN)

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
