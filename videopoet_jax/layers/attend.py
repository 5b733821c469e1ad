"""Softmax attention under a `Visible`: one plain path, blocked kernels where the devices have them, and a mesh.

    queries [b i m e], keys and values [b j g e], Visible  →  [b i m e]

A TPU runs JAX's splash attention, a GPU cuDNN's; neither writes the `n²` scores to memory, and blocks that nobody sees
are skipped on a TPU. Everything else takes the plain path, which all kernels are tested against.

Over the mesh axis `sequence` devices hold stretches of the sequence. They swap them for heads before the softmax and
back after it, as DeepSpeed-Ulysses does (Jacobs et al., 2023), so each runs the same kernel over the whole sequence.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AbstractMesh, PartitionSpec
from jaxtyping import Float, Int

from videopoet_jax.layers.masks import NOBODY, Visible

Queries, Keys = Float[Array, "b i m e"], Float[Array, "b j g e"]
Kernel = Callable[[Queries, Keys, Keys, Visible], Queries]

PLAIN_QUERIES = 1024  # ours: longer sequences are taken in blocks of so many queries, their scores one block at a time
BLOCKS = (1024, 512, 256, 128)  # of queries and of keys, splash attention's; it needs multiples of 128
MOST_PADDING = 1 / 16  # ours: a smaller block is better than so much padding


def plain(q: Queries, k: Keys, v: Keys, visible: Visible) -> Queries:
    """Softmax in float32; heads `m` in groups share the `g` key and value heads."""
    if q.shape[1] <= PLAIN_QUERIES:
        return _plain_block(q, k, v, visible)
    blocks = -(-q.shape[1] // PLAIN_QUERIES)

    def split(x: Array) -> Array:
        x = _pad(x, blocks * PLAIN_QUERIES)
        return jnp.moveaxis(x.reshape(x.shape[0], blocks, PLAIN_QUERIES, *x.shape[2:]), 1, 0)

    @jax.checkpoint  # scores are computed again on the way back
    def block(own: tuple[Array, Array, Array]) -> Array:
        queries, horizon, of_query = own
        return _plain_block(queries, k, v, visible.replace(horizon=horizon, of_query=of_query))

    y = jax.lax.map(block, (split(q), split(visible.horizon), split(visible.of_query)))
    return jnp.moveaxis(y, 0, 1).reshape(q.shape[0], -1, *q.shape[2:])[:, : q.shape[1]]


def _plain_block(q: Queries, k: Keys, v: Keys, visible: Visible) -> Queries:
    """Heads come before positions, and the division by the sum comes last: on a CPU a third faster than the textbook's
    order, forward and backward."""
    b, i, m, e = q.shape
    g = k.shape[2]
    q = jnp.transpose((q * e**-0.5).reshape(b, i, g, m // g, e), (0, 2, 3, 1, 4))
    k, v = (jnp.transpose(x, (0, 2, 1, 3)) for x in (k, v))
    scores = _scores(q.reshape(b, g, -1, e), k).reshape(b, g, m // g, i, -1)
    scores = jnp.where(visible.dense()[:, None, None], scores, jnp.finfo(jnp.float32).min)
    top = jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))
    weights = jnp.exp(scores - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    y = jnp.einsum("bgrij,bgje->bgrie", weights.astype(v.dtype), v, preferred_element_type=jnp.float32) / total
    return jnp.transpose(y.astype(v.dtype), (0, 3, 1, 2, 4)).reshape(b, i, m, e)


@jax.custom_vjp
def _scores(q: Float[Array, "b g i e"], k: Float[Array, "b g j e"]) -> Float[Array, "b g i j"]:
    return jnp.einsum("bgie,bgje->bgij", q, k, preferred_element_type=jnp.float32)


def _scores_back(kept: tuple[Array, Array], slopes: Float[Array, "b g i j"]) -> tuple[Array, Array]:
    """JAX's own derivative turns the slopes of the scores to sum over queries; on a CPU that takes longer than the
    product. Here the queries are turned. (There is no forward-mode derivative.)"""
    q, k = kept
    slopes = slopes.astype(q.dtype)
    of_k = jnp.einsum("bgie,bgij->bgej", q, slopes, preferred_element_type=jnp.float32)
    of_q = jnp.einsum("bgij,bgje->bgie", slopes, k)
    return of_q.astype(q.dtype), jnp.swapaxes(of_k, 2, 3).astype(k.dtype)


_scores.defvjp(lambda q, k: (_scores(q, k), (q, k)), _scores_back)


def _pad(x: Array, length: int, value: int = 0) -> Array:
    """`x` [b n …] with `n` filled up to `length`."""
    return jnp.pad(x, [(0, 0), (0, length - x.shape[1])] + [(0, 0)] * (x.ndim - 2), constant_values=value)


def block_of(length: int) -> int:
    """The largest block that pads little, 128 at worst: `1790 → 256 (padded to 1,792), 100 → 128`"""
    return next((b for b in BLOCKS if -length % b <= MOST_PADDING * length), BLOCKS[-1])


def within_horizon(horizon: Int[Array, "*n"], key: Int[Array, "*n"]) -> Array:
    """The mask inside a block; splash attention calls it with what `MaskInfo.q_sequence` holds of each query."""
    return key < horizon


def splash(q: Queries, k: Keys, v: Keys, visible: Visible, *, interpret: bool = False) -> Queries:
    """JAX's kernel for TPUs. It takes masks that are known when it is compiled, but looks at a number of each query's
    in every block; given horizons instead of positions, its causal mask is any prefix's.

    Which blocks run is data too: those that a query of any row sees.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash_kernel
    from jax.experimental.pallas.ops.tpu.splash_attention.splash_attention_mask_info import MaskInfo

    length, block = q.shape[1], block_of(q.shape[1])
    padded = -(-length // block) * block
    q, k, v = (jnp.transpose(_pad(x, padded), (0, 2, 1, 3)) for x in (q * q.shape[-1] ** -0.5, k, v))
    horizon, of_query = _pad(visible.horizon, padded, 1), _pad(visible.of_query, padded)
    of_key = _pad(visible.of_key, padded, NOBODY)

    count = padded // block
    farthest = jnp.max(horizon.reshape(-1, count, block), axis=(0, 2))
    runs = jnp.arange(count) * block < farthest[:, None]
    sizes = splash_kernel.BlockSizes(
        **dict.fromkeys(("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq"), block)
    )

    def info(own: Array, horizon: Array) -> "MaskInfo":
        """Which block each turn reads; one that is skipped names the first, and moves no data."""
        return MaskInfo(
            data_next=jnp.where(runs, own, 0).astype(jnp.int16)[None],
            mask_next=None,
            block_mask=runs.astype(jnp.int8)[None],
            partial_mask_blocks=None,
            q_sequence=horizon,
        )

    def row(q: Array, k: Array, v: Array, horizon: Array, of_query: Array, of_key: Array) -> Array:
        keys_in_turn, queries_in_turn = jnp.arange(count)[None, :], jnp.arange(count)[:, None]
        kernel = splash_kernel.SplashAttentionKernel(
            info(keys_in_turn, horizon),
            info(keys_in_turn, horizon),
            info(queries_in_turn, horizon),
            block_sizes=sizes,
            is_mqa=False,
            save_residuals=False,
            mask_value=splash_kernel.DEFAULT_MASK_VALUE,
            attn_logits_soft_cap=None,
            residual_checkpoint_name=RESIDUALS,
            mask_function=within_horizon,
            interpret=interpret,
        )
        return kernel(q, k, v, splash_kernel.SegmentIds(of_query, of_key))

    y = jax.vmap(row)(q, k, v, horizon, of_query, of_key)
    return jnp.transpose(y, (0, 2, 1, 3))[:, :length]


def cudnn(q: Queries, k: Keys, v: Keys, visible: Visible, *, implementation: str = "cudnn") -> Queries:
    """cuDNN's kernel for GPUs; it reads the table of `n²` answers."""
    mask = visible.dense()[:, None]
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation=implementation)


RESIDUALS = "attention"  # the name of what a backward pass needs of a kernel, for a rematerialisation policy to keep


def kernel_for(mesh: AbstractMesh, q: Queries) -> Kernel:
    """What the devices run: splash on TPUs, cuDNN on GPUs in half precision, else `plain`."""
    platform = jax.default_backend() if mesh.empty else mesh.abstract_device.platform
    if q.shape[1] < BLOCKS[-1]:
        return plain  # nothing to block
    if platform == "tpu":
        return splash
    if platform in ("gpu", "cuda") and q.dtype.itemsize == 2 and q.shape[1] <= PLAIN_QUERIES * 16:
        return cudnn
    return plain


def attend(q: Queries, k: Keys, v: Keys, visible: Visible) -> Queries:
    """Attention of the whole sequence to itself, spread over the mesh that is set (`jax.set_mesh`).

    Raises:
        ValueError: on TPUs or GPUs, sizes that do not divide over the mesh.
    """
    mesh = jax.sharding.get_abstract_mesh()
    kernel = kernel_for(mesh, q)
    if mesh.empty or mesh.size == 1:
        return kernel(q, k, v, visible)
    parts = {name: mesh.shape[name] for name in ("tensor", "sequence")}
    parts["rows"] = mesh.shape["data"] * mesh.shape["fsdp"]
    divided = {
        f"{q.shape[0]} rows": q.shape[0] % parts["rows"] == 0,
        f"{q.shape[1]} positions": q.shape[1] % parts["sequence"] == 0,
        f"{q.shape[2]} heads": q.shape[2] % (parts["tensor"] * parts["sequence"]) == 0,
        f"{k.shape[2]} key heads": k.shape[2] % parts["tensor"] == 0,
    }
    if all(divided.values()) and (kernel is not plain or parts["sequence"] > 1):
        return _spread(kernel, parts["sequence"])(q, k, v, visible)
    if kernel is not plain:
        odd = next(name for name, divides in divided.items() if not divides)
        raise ValueError(f"attention of {odd} over a mesh of {dict(mesh.shape)}: they do not divide; choose a size "
                         f"that does, or smaller mesh axes.")  # fmt: skip
    return plain(q, k, v, visible)  # the compiler spreads it


def _spread(kernel: Kernel, parts: int) -> Kernel:
    """`kernel` on each device's own rows and heads; `parts` stretches of the sequence are swapped for heads."""
    rows = ("data", "fsdp")
    heads, whole = PartitionSpec(rows, "sequence", "tensor", None), PartitionSpec(rows, None)

    @functools.partial(
        jax.shard_map, in_specs=(heads, heads, heads, whole), out_specs=heads, check_vma=False
    )  # the kernels say nothing of how their results vary over the mesh
    def local(q: Array, k: Array, v: Array, visible: Visible) -> Array:
        if parts == 1:
            return kernel(q, k, v, visible)
        repeats = parts // math.gcd(parts, k.shape[2])  # so that every device gets the key heads of its queries
        swap = functools.partial(jax.lax.all_to_all, axis_name="sequence", tiled=True)
        q, k, v = (
            swap(x, split_axis=2, concat_axis=1)
            for x in (q, *(jnp.repeat(x, repeats, axis=2) for x in (k, v)))
        )  # fmt: skip
        return swap(kernel(q, k, v, visible), split_axis=1, concat_axis=2)

    return local
