"""From logits to a draw: guidance, temperature, top-k, top-p, and a key of its own for every row."""

import math

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int, Key

EXCLUDED = -1e30  # logit of an id that may not be drawn


@flax.struct.dataclass
class Sampling:
    """How ids are drawn. Numbers are traced, so changing one compiles nothing; None switches a part off.

    Of a code in several factors, each factor is drawn so: of 2 factors, `top_k=5` leaves up to 25 codes.

    Attributes:
        temperature: divides the logits; 0 takes the best id.
        top_k: only the k best ids.
        top_p: only the fewest best ids that together have at least this probability.
        guidance_scale: s in uncond + s · (cond − uncond); 1 is the condition alone. None needs no second row.
    """

    temperature: float | Array
    top_k: int | Array | None
    top_p: float | Array | None
    guidance_scale: float | Array | None

    def checked(self) -> "Sampling":
        """Itself; raises for numbers that mean nothing. Traced ones have no value yet and pass."""
        if any(isinstance(number, jax.core.Tracer) for number in jax.tree.leaves(self)):
            return self
        rules = {
            "temperature": (
                self.temperature is not None and 0 <= self.temperature < math.inf,
                "0 (the best id) or more, and finite",
            ),
            "top_k": (self.top_k is None or self.top_k >= 1, "1 or more; leave it out for all ids"),
            "top_p": (self.top_p is None or 0 < self.top_p <= 1, "above 0, at most 1; leave it out for all ids"),
            "guidance_scale": (
                self.guidance_scale is None or 0 <= self.guidance_scale < math.inf,
                "0 or more, and finite; 1 is none",
            ),
        }
        for name, (fine, rule) in rules.items():
            if not fine:
                raise ValueError(f"{name} {getattr(self, name)}: must be {rule}.")
        return self


def guide(logits: Float[Array, "b2 v"], scale: float | Array) -> Float[Array, "b v"]:
    """Rows `cond ‖ uncond` → uncond + s · (cond − uncond)."""
    cond, uncond = jnp.split(logits, 2)
    return uncond + scale * (cond - uncond)


def keep_top_k(logits: Float[Array, "b v"], k: int | Array) -> Float[Array, "b v"]:
    """All but the `k` largest excluded (equals of the k-th stay): k 2, `1 3 2 0 → − 3 2 −`."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    index = jnp.minimum(jnp.asarray(k), logits.shape[-1]) - 1
    return jnp.where(logits >= jnp.take(ordered, index, axis=-1)[:, None], logits, EXCLUDED)


def keep_top_p(logits: Float[Array, "b v"], p: float | Array) -> Float[Array, "b v"]:
    """The fewest ids with together at least probability `p` (the best always): p 0.6, `.5 .3 .2 → .5 .3 −`."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    last = jnp.sum(before < p, axis=-1, keepdims=True) - 1
    return jnp.where(logits >= jnp.take_along_axis(ordered, jnp.maximum(last, 0), axis=-1), logits, EXCLUDED)


def draw(logits: Float[Array, "r v"], sampling: Sampling, keys: Key[Array, " b"]) -> Int[Array, " b"]:
    """One id for each key; with guidance the logits have the rows `cond ‖ uncond`, twice as many as keys.

    A row's draw depends on its own logits and key alone.
    """
    if sampling.guidance_scale is not None:
        logits = guide(logits, sampling.guidance_scale)
    best = jnp.argmax(logits, axis=-1)
    temperature = jnp.asarray(sampling.temperature, jnp.float32)
    logits = logits / jnp.where(temperature == 0, 1.0, temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    drawn = jax.vmap(jax.random.categorical)(keys, logits)
    return jnp.where(temperature == 0, best, drawn)
