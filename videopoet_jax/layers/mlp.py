"""The gated feed-forward layer (Shazeer, 2020): SwiGLU with `silu`, GeGLU with `gelu_tanh`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Float

from videopoet_jax.layers.dense import project
from videopoet_jax.parallel.axes import constrain, partitioned

RESIDUALS = "mlp"  # the name of the wide products, for a rematerialisation policy to keep
ACTIVATIONS = {"silu": jax.nn.silu, "gelu_tanh": functools.partial(jax.nn.gelu, approximate=True)}


def gated(
    x: Float[Array, "b n d"],
    gate: Float[Array, "d hidden"],
    up: Float[Array, "d hidden"],
    down: Float[Array, "hidden d2"],
    activation: str,
) -> Float[Array, "b n d2"]:
    """`(activation(x · gate) ⊙ (x · up)) · down`, with one of `ACTIVATIONS`."""
    left, right = (checkpoint_name(project(x, kernel, 1), RESIDUALS) for kernel in (gate, up))
    hidden = ACTIVATIONS[activation](left) * right
    hidden = constrain(hidden, "batch", "length", "mlp")
    return project(hidden, down, 1)


class GatedMLP(nn.Module):
    """Owns the three matrices of `gated`, no biases.

    Attributes:
        hidden: width between the matrices.
        activation: one of `ACTIVATIONS`.
        output_scale: standard deviation of `down`, relative to 1/√hidden; deep stacks want 1/√(2·depth).
        dtype: of the computation.
    """

    hidden: int
    activation: str
    output_scale: float
    dtype: str

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        width = x.shape[-1]
        fan_in = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        fan_in_small = nn.initializers.variance_scaling(self.output_scale**2, "fan_in", "normal")
        gate = self.param("gate", partitioned(fan_in, "embed", "mlp"), (width, self.hidden), jnp.float32)
        up = self.param("up", partitioned(fan_in, "embed", "mlp"), (width, self.hidden), jnp.float32)
        down = self.param("down", partitioned(fan_in_small, "mlp", "embed"), (self.hidden, width), jnp.float32)
        return gated(x.astype(self.dtype), gate, up, down, self.activation)
