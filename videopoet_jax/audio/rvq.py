"""Residual vector quantization: exact search by one matmul a level, and codebooks kept by moving averages.

Two levels on literal numbers, codebooks {0, 10} and {0, 1}:

    z 10.8  →  level 0 takes 10 (code 1), leaves 0.8  →  level 1 takes 1 (code 1), leaves −0.2  →  codes 1 1, value 11

Quantizer dropout: example i is rebuilt from its first `levels[i]` levels only, and only those levels learn from it.
Every sum over the batch is a plain reduction, so under jit with a sharded batch it runs over all devices.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int, PRNGKeyArray

# Distances and sums of vectors must not be rounded, as products are by default: to bfloat16 on a TPU, TF32 on a GPU.
EXACT = lax.Precision.HIGHEST
VECTORS_PER_BLOCK = 512  # ours: 2 MiB of distances to 1,024 entries


class Codebooks(NamedTuple):
    """State of all levels; `embedding` alone is needed to encode and decode."""

    embedding: Float[Array, "q v d"]
    counts: Float[Array, "q v"]  # moving average of how many vectors of a batch fall on an entry
    sums: Float[Array, "q v d"]  # moving average of their sum
    started: Bool[Array, ""]  # whether k-means has run


class Quantized(NamedTuple):
    """What `quantize` finds; all levels are searched, `used` says which of them count."""

    codes: Int[Array, "b f q"]
    value: Float[Array, "b f d"]  # sum of the used levels
    inputs: Float[Array, "q b f d"]  # what each level was given: z less the levels before it
    used: Bool[Array, "b q"]


def empty_codebooks(levels: int, size: int, dim: int) -> Codebooks:
    """Codebooks that wait for their k-means start."""
    zeros = jnp.zeros((levels, size, dim), jnp.float32)
    return Codebooks(zeros, jnp.zeros((levels, size), jnp.float32), zeros, jnp.zeros((), bool))


def nearest(vectors: Float[Array, "n d"], embedding: Float[Array, "v d"]) -> Int[Array, " n"]:
    """Index of the nearest entry, the lowest among equals: least |e|² − 2·x·e, for |x|² is the same for all."""
    counted = isinstance(vectors.shape[0], int)  # an exported program does not know its number of rows
    on_cpu = _nearest_in_blocks if counted else _nearest
    return lax.platform_dependent(vectors, embedding, cpu=on_cpu, default=_nearest)


def _distances(vectors: Float[Array, "n d"], embedding: Float[Array, "v d"]) -> Float[Array, "v n"]:
    """Squared, less |x|². What is not a number is infinitely far: XLA's minima may pass over it or not."""
    distances = jnp.sum(embedding**2, axis=-1)[:, None] - 2 * jnp.matmul(embedding, vectors.T, precision=EXACT)
    return jnp.where(jnp.isnan(distances), jnp.inf, distances)


def _nearest(vectors: Float[Array, "n d"], embedding: Float[Array, "v d"]) -> Int[Array, " n"]:
    return jnp.argmin(_distances(vectors, embedding), axis=0).astype(jnp.int32)


def _nearest_in_blocks(vectors: Float[Array, "n d"], embedding: Float[Array, "v d"]) -> Int[Array, " n"]:
    """The same on a CPU, 3.5 times as fast: distances that stay in its cache, minima that it takes many at a time."""
    blocks = -(-len(vectors) // VECTORS_PER_BLOCK)
    entries = jnp.arange(len(embedding), dtype=jnp.int32)[:, None]

    def block(x: Float[Array, "m d"]) -> Int[Array, " m"]:
        distances = _distances(x, embedding)
        least = jnp.min(distances, axis=0)
        return jnp.min(jnp.where(distances == least, entries, len(embedding)), axis=0)

    if blocks < 2:
        return block(vectors)
    padded = jnp.pad(vectors, ((0, -len(vectors) % blocks), (0, 0)))
    # Vectors of one block lie `blocks` apart, so that a sharded batch stays sharded inside every block.
    found = lax.map(block, padded.reshape(-1, blocks, vectors.shape[1]).swapaxes(0, 1))
    return found.T.reshape(-1)[: len(vectors)]


def quantize(z: Float[Array, "b f d"], embedding: Float[Array, "q v d"], levels: Int[Array, " b"]) -> Quantized:
    """Codes of every level; `value` sums the first `levels[i]` of example i. No gradient passes (straight_through)."""
    (b, f, d), q = z.shape, embedding.shape[0]
    used = jnp.arange(q) < levels[:, None]

    def level(rest: Array, entry: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array, Array]]:
        table, wanted = entry
        codes = nearest(rest.reshape(-1, d), table).reshape(b, f)
        chosen = table[codes]
        return rest - chosen, (codes, rest, jnp.where(wanted[:, None, None], chosen, 0))

    _, (codes, inputs, chosen) = lax.scan(level, lax.stop_gradient(z), (embedding, used.T))
    return Quantized(jnp.moveaxis(codes, 0, -1), jnp.sum(chosen, axis=0), inputs, used)


def dequantize(codes: Int[Array, "b f q"], embedding: Float[Array, "q2 v d"]) -> Float[Array, "b f d"]:
    """Sum of the entries that `codes` name; fewer levels than the codebooks have are a coarser sound."""
    q = codes.shape[-1]
    return jnp.sum(jax.vmap(lambda table, index: table[index], (0, 2))(embedding[:q], codes), axis=0)


def straight_through(z: Float[Array, "b f d"], value: Float[Array, "b f d"]) -> Float[Array, "b f d"]:
    """`value` forward, the gradient of `z` backward."""
    return z + lax.stop_gradient(value - z)


def commitment(z: Float[Array, "b f d"], q: Quantized, embedding: Float[Array, "q v d"]) -> Float[Array, ""]:
    """Mean squared distance between each used level's input and its entry; pulls the encoder, never the codebooks."""
    rest, total = z, jnp.zeros(())
    for i, table in enumerate(embedding):
        rest = rest - lax.stop_gradient(table[q.codes[..., i]])
        total += jnp.sum(jnp.where(q.used[:, i, None, None], rest**2, 0))
    return total / (jnp.maximum(jnp.sum(q.used), 1) * z.shape[1] * z.shape[2])


def draw_levels(key: PRNGKeyArray, batch: int, levels: int) -> Int[Array, " b"]:
    """Quantizer dropout: for EACH example a number of levels, uniform in 1 … `levels`."""
    return jax.random.randint(key, (batch,), 1, levels + 1)


def perplexity(books: Codebooks) -> Float[Array, " q"]:
    """How many entries of each level are in use, by their moving-average counts: equal use of n entries gives n."""
    shares = books.counts / jnp.maximum(jnp.sum(books.counts, axis=-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
    return jnp.exp(-jnp.sum(shares * jnp.log(jnp.where(shares > 0, shares, 1)), axis=-1))


def _tally(
    vectors: Float[Array, "n d"], codes: Int[Array, " n"], weights: Float[Array, " n"], size: int
) -> tuple[Float[Array, " v"], Float[Array, "v d"]]:
    """How many vectors fall on each entry, and their sum."""
    hits = jax.nn.one_hot(codes, size, dtype=vectors.dtype) * weights[:, None]
    return jnp.sum(hits, axis=0), jnp.matmul(hits.T, vectors, precision=EXACT)


def _pick(key: PRNGKeyArray, weights: Float[Array, " n"], number: int) -> Int[Array, " m"]:
    """Indices of `number` vectors drawn uniformly, with replacement, from those with weight 1."""
    cumulative = jnp.cumsum(weights)
    target = jnp.floor(jax.random.uniform(key, (number,)) * cumulative[-1]) + 1
    return jnp.clip(jnp.searchsorted(cumulative, target), 0, weights.shape[0] - 1)


def kmeans(
    key: PRNGKeyArray, vectors: Float[Array, "n d"], size: int, iterations: int
) -> tuple[Float[Array, "v d"], Float[Array, " v"]]:
    """Centres and their counts by Lloyd's algorithm from random vectors; an empty cluster keeps its centre."""
    n = vectors.shape[0]
    order = jax.random.permutation(key, n)
    centres = vectors[order[jnp.arange(size) % n]]  # fewer vectors than entries: duplicates, which revival replaces
    ones = jnp.ones((n,), vectors.dtype)

    def improve(_, centres: Array) -> Array:
        counts, sums = _tally(vectors, nearest(vectors, centres), ones, size)
        return jnp.where(counts[:, None] > 0, sums / jnp.maximum(counts, 1)[:, None], centres)

    centres = lax.fori_loop(0, iterations, improve, centres)
    return centres, _tally(vectors, nearest(vectors, centres), ones, size)[0]


def start_codebooks(
    key: PRNGKeyArray, z: Float[Array, "b f d"], books: Codebooks, *, iterations: int, dead_usage: float
) -> Codebooks:
    """k-means on the first batch, level after level on what the levels before leave."""
    size, rest = books.embedding.shape[1], lax.stop_gradient(z).reshape(-1, z.shape[-1])
    tables, counts = [], []
    for i in range(books.embedding.shape[0]):
        table, count = kmeans(jax.random.fold_in(key, i), rest, size, iterations)
        rest = rest - table[nearest(rest, table)]
        tables.append(table)
        counts.append(jnp.maximum(count, newcomer_count(least_count(count, dead_usage))))
    embedding, counts = jnp.stack(tables), jnp.stack(counts)
    return Codebooks(embedding, counts, embedding * counts[..., None], jnp.ones((), bool))


def least_count(counts: Float[Array, " v"], dead_usage: float) -> Float[Array, ""]:
    """Below it an entry is dead: `dead_usage` of the level's mean count. `[3 1 0 4], 0.1 → 0.2`

    SoundStream's threshold is 2 vectors of a batch whose size it does not give. A batch of 16 clips has fewer than 2
    for each entry of a deep level, and all of them would be replaced over and over; a share means the same everywhere.
    """
    return dead_usage * jnp.mean(counts)


def newcomer_count(least: Float[Array, ""]) -> Float[Array, ""]:
    """The count a fresh entry gets. Not in the paper; ours: twice the threshold, 69 batches of grace at decay 0.99."""
    return 2.0 * least


def update_codebooks(
    key: PRNGKeyArray, books: Codebooks, quantized: Quantized, *, decay: float, dead_usage: float
) -> Codebooks:
    """One moving-average step: N ← γN + (1−γ)n, M ← γM + (1−γ)Σx, e = M/N; then entries with N below
    `least_count` are replaced by random vectors of the batch. A level that no example of the batch uses stays as it is.
    """
    size, dim = books.embedding.shape[1:]
    frames = quantized.codes.shape[1]

    def level(key, table, counts, sums, inputs, codes, used):
        vectors, weights = inputs.reshape(-1, dim), jnp.repeat(used.astype(jnp.float32), frames)
        hits, total = _tally(vectors, codes.reshape(-1), weights, size)
        new_counts, new_sums = decay * counts + (1 - decay) * hits, decay * sums + (1 - decay) * total
        fresh = vectors[_pick(key, weights, size)]
        least = least_count(new_counts, dead_usage)
        dead, gift = new_counts < least, newcomer_count(least)
        new_counts = jnp.where(dead, gift, new_counts)
        new_sums = jnp.where(dead[:, None], fresh * gift, new_sums)
        known = new_counts[:, None] > 0
        new_table = jnp.where(known, new_sums / jnp.where(known, new_counts[:, None], 1), table)
        new, old = (new_table, new_counts, new_sums), (table, counts, sums)
        return jax.tree.map(lambda a, b: jnp.where(jnp.any(used), a, b), new, old)

    keys = jax.random.split(key, books.embedding.shape[0])
    codes, used = jnp.moveaxis(quantized.codes, -1, 0), quantized.used.T
    state = jax.vmap(level)(keys, books.embedding, books.counts, books.sums, quantized.inputs, codes, used)
    return Codebooks(*state, books.started)
