"""Quantizers behind one protocol: latents → what the decoder reads and a code, and back.

    quantizer.channels            of a latent, and of what the decoder reads
    quantizer.size                codes are 0 … size − 1
    quantizer(z)                  Quantized(codes, indices); `codes` pass gradients straight through to z
    quantizer.indices(z)          the codes alone
    quantizer.lookup(indices)     codes → what the decoder reads
    quantizer.penalties(z, τ)     Penalties: what keeps the codes sharp, all in use, and near the latents
    quantizer.statistics(z)       scalars to log, by name

A config names one:  {"name": "lfq", "bits": 18}   {"name": "fsq", "levels": (8, 8, 8, 8, 8, 8)}
                     {"name": "vq", "size": 1024, "channels": 256}
Another one fits in by these names and an entry in `KINDS`; a table of codes is a parameter "codebook", never rounded.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from videopoet_jax.parallel.axes import partitioned
from videopoet_jax.video import fsq, lfq, vq
from videopoet_jax.video.lfq import Entropy, Quantized


class Penalties(NamedTuple):
    """Terms of the training loss, each 0 where a quantizer has none.

    `entropy` of the soft assignment; `commitment` pulls latents to their codes, `codebook` the codes to their latents.
    """

    entropy: Entropy
    commitment: Float[Array, ""]
    codebook: Float[Array, ""]


class LFQ(nn.Module):
    """Lookup-free quantization, MAGVIT-v2's: the signs of `bits` channels (`lfq`)."""

    bits: int

    @property
    def channels(self) -> int:
        return self.bits

    @property
    def size(self) -> int:
        return 2**self.bits

    def __call__(self, z: Float[Array, "*n k"]) -> Quantized:
        return lfq.quantize(z)

    def indices(self, z: Float[Array, "*n k"]) -> Int[Array, "*n"]:
        return lfq.indices(z)

    def lookup(self, index: Int[Array, "*n"]) -> Float[Array, "*n k"]:
        return lfq.codes_from_indices(index, self.bits)

    def penalties(self, z: Float[Array, "*n k"], inverse_temperature: float) -> Penalties:
        return Penalties(lfq.entropy(z, inverse_temperature), lfq.commitment(z), jnp.zeros(()))

    def statistics(self, z: Float[Array, "*n k"]) -> dict[str, Array]:
        return lfq.bit_balance(z)


class FSQ(nn.Module):
    """Finite scalar quantization: channel i rounded to `levels[i]` values (`fsq`)."""

    levels: tuple[int, ...]

    @property
    def channels(self) -> int:
        return len(self.levels)

    @property
    def size(self) -> int:
        return math.prod(self.levels)

    def __call__(self, z: Float[Array, "*n k"]) -> Quantized:
        return Quantized(fsq.codes(z, self.levels), fsq.indices(z, self.levels))

    def indices(self, z: Float[Array, "*n k"]) -> Int[Array, "*n"]:
        return fsq.indices(z, self.levels)

    def lookup(self, index: Int[Array, "*n"]) -> Float[Array, "*n k"]:
        return fsq.codes_from_indices(index, self.levels)

    def penalties(self, z: Float[Array, "*n k"], inverse_temperature: float) -> Penalties:
        nothing = jnp.zeros(())
        return Penalties(Entropy(nothing, nothing), nothing, nothing)

    def statistics(self, z: Float[Array, "*n k"]) -> dict[str, Array]:
        return {}


class VQ(nn.Module):
    """Vector quantization: the nearest of `size` learned entries (`vq`)."""

    size: int
    channels: int

    def setup(self) -> None:
        # MAGVIT's start: uniform, fan-in scaled.
        init = jax.nn.initializers.variance_scaling(1.0, "fan_in", "uniform")
        shape = (self.size, self.channels)
        self.table = self.param("codebook", partitioned(init, "vocab", None), shape, jnp.float32)

    def __call__(self, z: Float[Array, "*n d"]) -> Quantized:
        return Quantized(vq.codes(z, self._table()), self.indices(z))

    def indices(self, z: Float[Array, "*n d"]) -> Int[Array, "*n"]:
        return vq.indices(z, self._table())

    def lookup(self, index: Int[Array, "*n"]) -> Float[Array, "*n d"]:
        return self._table()[index]

    def penalties(self, z: Float[Array, "*n d"], inverse_temperature: float) -> Penalties:
        table = self._table()
        entropy = vq.entropy(z, table, inverse_temperature)
        return Penalties(entropy, vq.commitment(z, table), vq.codebook(z, table))

    def statistics(self, z: Float[Array, "*n d"]) -> dict[str, Array]:
        return {}

    def _table(self) -> Array:
        return self.table.astype(jnp.float32)  # distances are float32 whatever the network computes in


class Kind(NamedTuple):
    """A quantizer's module, fields that an error can show, and what each integer in them is at least."""

    module: type[nn.Module]
    example: dict[str, int | tuple[int, ...]]
    least: int


MOST_CODES = 2**30
KINDS = {
    "lfq": Kind(LFQ, {"bits": 18}, least=1),
    "fsq": Kind(FSQ, {"levels": (8, 8, 8, 8, 8, 8)}, least=2),
    "vq": Kind(VQ, {"size": 1024, "channels": 256}, least=1),
}


def make_quantizer(config: Any) -> nn.Module:
    """The quantizer that a config's `quantizer` names, with its fields.

    Raises:
        ValueError: no mapping, an unknown name or field, a missing one, numbers that make no codes, or more codes than
            an int32 names.
    """
    fields = dict(config) if isinstance(config, Mapping) else {"name": config}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in KINDS:
        known = ", ".join(KINDS)
        raise ValueError(f"quantizer {name!r}: unknown; use one of {known}, such as {{'name': 'lfq', 'bits': 18}}.")
    module, example, least = KINDS[name]
    if set(fields) != set(example):
        raise ValueError(
            f"quantizer {name} with {sorted(fields)}: its fields are {sorted(example)}; give {example}, for instance."
        )
    fields = {key: tuple(v) if isinstance(v, list | tuple) else v for key, v in fields.items()}
    for key, value in fields.items():
        several = isinstance(example[key], tuple)
        numbers = value if isinstance(value, tuple) else (value,)
        whole = len(numbers) > 0 and all(type(v) is int and v >= least for v in numbers)
        if isinstance(value, tuple) != several or not whole:
            kind = "integers" if several else "an integer"
            raise ValueError(
                f"quantizer {name} with {key} {value!r}: needs {kind} of {least} or more; give {example[key]}, for "
                f"instance."
            )
    quantizer = module(**fields)
    if quantizer.size > MOST_CODES:
        raise ValueError(
            f"quantizer {name} with {fields}: 2^{math.log2(quantizer.size):.4g} codes, and an int32 names 2^30; choose "
            f"fewer (MAGVIT-v2 has 2^18)."
        )
    return quantizer
