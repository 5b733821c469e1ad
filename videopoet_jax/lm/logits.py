"""Logits from hidden states, one table at a time: pure functions of the output tables' parameters.

Only ids that are legal at a position are scored: special and text ids, the codes of one visual factor, or the 1,024
codes of one RVQ level. Padding rows get no probability.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.layers.mlp import gated
from videopoet_jax.layers.norms import rms_norm
from videopoet_jax.parallel.axes import constrain
from videopoet_jax.sequence.grid import AUDIO_CODES

Params = Mapping[str, Any]
PADDING = -1e30  # logit of a padding row: finite, so that gradients stay finite


@jax.custom_vjp
def product(x: Float[Array, "b n d"], table: Float[Array, "v d"]) -> Float[Array, "b n v"]:
    """`x · tableᵀ` of numbers in the dtype of `x`, summed in float32.

    So are the two products on the way back: the slopes of the logits are rounded to the dtype of `x`. JAX's own
    derivative multiplies them as float32, which a GPU does at half the speed.
    """
    return jnp.einsum("bnd,vd->bnv", x, table.astype(x.dtype), preferred_element_type=jnp.float32)


def _product_back(kept: tuple[Array, Array], slopes: Float[Array, "b n v"]) -> tuple[Array, Array]:
    x, table = kept
    slopes = slopes.astype(x.dtype)
    of_x = jnp.einsum("bnv,vd->bnd", slopes, table.astype(x.dtype))
    of_table = jnp.einsum("bnd,bnv->dv", x, slopes, preferred_element_type=jnp.float32).T  # the smaller one is turned
    return of_x, of_table.astype(table.dtype)


product.defvjp(lambda x, table: (product(x, table), (x, table)), _product_back)


def score(x: Float[Array, "b n d"], table: Float[Array, "v d"], rows: int) -> Float[Array, "b n v"]:
    """`x · tableᵀ` in float32, the rows from `rows` on left out of every softmax."""
    logits = product(x, table)
    if rows < table.shape[0]:
        logits = jnp.where(jnp.arange(table.shape[0]) < rows, logits, PADDING)
    return constrain(logits, "batch", "length", "vocab")


def special_text_logits(output: Params, x: Float[Array, "b n d"], rows: int) -> Float[Array, "b n v"]:
    """Logits of the special and text ids, `rows` of them."""
    return score(x, output["special_text"], rows)


def audio_logits(output: Params, x: Float[Array, "b n d"], level: int | Int[Array, ""]) -> Float[Array, "b n v"]:
    """Logits of the 1,024 codes of one RVQ level."""
    rows = jax.lax.dynamic_slice_in_dim(output["audio"], level * AUDIO_CODES, AUDIO_CODES)
    return score(x, rows, AUDIO_CODES)


def visual_logits(
    output: Params, x: Float[Array, "b n d"], known: Int[Array, "b n j"], rows: int, epsilon: float
) -> Float[Array, "b n v"]:
    """Logits of visual factor `j` given the `j` factors before it (`known`, high first; none for the first).

    x₀ = x;  xⱼ = x + gated(norm(x + Σ_{i<j} chainᵢ[factorᵢ]))
    """
    j = known.shape[-1]
    if j:
        chained = x + sum(
            jnp.take(output["chain"][i].astype(x.dtype), known[..., i], axis=0, mode="clip") for i in range(j)
        )
        kernels = (output["chain_mlp"][name] for name in ("gate", "up", "down"))
        x = x + gated(rms_norm(chained, output["chain_norm"]["scale"], epsilon), *kernels, "silu")
    return score(x, output["visual"][j], rows)
