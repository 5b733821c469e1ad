"""Losses of adversarial training: a model against a discriminator that learns to tell its outputs from the truth.

Logits are of any shape, one for each thing that was judged; high means "true". All sums are in float32.

    adversary   minimises  discriminator_loss(real, fake) + r1 + lecam
    model       minimises  generator_loss(fake)           (+ feature_matching)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Num

KINDS = ("hinge", "non-saturating")


def discriminator_loss(real: Float[Array, "*n"], fake: Float[Array, "*m"], kind: str) -> Float[Array, ""]:
    """`hinge`: E[max(0, 1 − real)] + E[max(0, 1 + fake)]; `non-saturating`: E[−log σ(real)] + E[−log(1 − σ(fake))]."""
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    if kind == "hinge":
        return jnp.mean(jax.nn.relu(1 - real)) + jnp.mean(jax.nn.relu(1 + fake))
    if kind == "non-saturating":
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))
    raise ValueError(f"adversarial loss {kind!r}: unknown; use one of {', '.join(KINDS)}.")


def generator_loss(fake: Float[Array, "*m"], kind: str) -> Float[Array, ""]:
    """What makes the adversary's logits of the model's outputs rise. `hinge`: −E[fake] (SoundStream clips it at 1:
    `clipped-hinge`, E[max(0, 1 − fake)]); `non-saturating`: E[−log σ(fake)]."""
    fake = fake.astype(jnp.float32)
    if kind == "hinge":
        return -jnp.mean(fake)
    if kind == "clipped-hinge":
        return jnp.mean(jax.nn.relu(1 - fake))
    if kind == "non-saturating":
        return jnp.mean(jax.nn.softplus(-fake))
    raise ValueError(f"adversarial loss {kind!r}: unknown; use one of {', '.join((*KINDS, 'clipped-hinge'))}.")


def r1(logits: Callable[[Array], Array], real: Float[Array, " b *shape"]) -> Float[Array, ""]:
    """E over true examples of ‖∂ logits / ∂ example‖² (Mescheder et al. 2018): no slope where the truth is."""
    slope = jax.grad(lambda x: jnp.sum(logits(x).astype(jnp.float32)))(real)
    return jnp.sum(jnp.square(slope.astype(jnp.float32))) / real.shape[0]


class Averages(NamedTuple):
    """Moving averages of the adversary's logits, which `lecam` holds it to."""

    real: Float[Array, ""]
    fake: Float[Array, ""]


def no_averages() -> Averages:
    """Where they start: an adversary that knows nothing says 0."""
    return Averages(jnp.zeros(()), jnp.zeros(()))


def follow(averages: Averages, real: Float[Array, "*n"], fake: Float[Array, "*m"], decay: float) -> Averages:
    """The averages after one more batch."""
    means = Averages(jnp.mean(real.astype(jnp.float32)), jnp.mean(fake.astype(jnp.float32)))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * jax.lax.stop_gradient(new), averages, means)


def lecam(real: Float[Array, "*n"], fake: Float[Array, "*m"], averages: Averages) -> Float[Array, ""]:
    """E[max(0, real − average fake)²] + E[max(0, average real − fake)²] (Tseng et al. 2021; one-sided as in MAGVIT's
    code, but of each example, as in the paper): holds back an adversary that tells the two apart too surely, as it does
    when there are few examples.
    """
    real, fake = real.astype(jnp.float32), fake.astype(jnp.float32)
    above, below = jax.nn.relu(real - averages.fake), jax.nn.relu(averages.real - fake)
    return jnp.mean(jnp.square(above)) + jnp.mean(jnp.square(below))


def feature_matching(real: Sequence[Num[Array, "..."]], fake: Sequence[Num[Array, "..."]]) -> Float[Array, ""]:
    """Mean over an adversary's layers of the mean absolute difference; the true side gives no gradient."""

    def layer(a: Any, b: Any) -> Array:
        return jnp.mean(jnp.abs(jax.lax.stop_gradient(a.astype(jnp.float32)) - b.astype(jnp.float32)))

    return jnp.mean(jnp.stack([layer(a, b) for a, b in zip(real, fake, strict=True)]))
