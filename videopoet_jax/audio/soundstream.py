"""SoundStream as one module: encoder, residual quantizer, decoder.

    waveform [b s] → latents [b f d] → codes [b f q], value [b f d] → waveform [b s]

The codebooks are no parameters but live in the collection `codebooks`; `rvq` says how they learn. With `denoise` the
latents pass through FiLM, which is told whether noise shall be taken away.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from videopoet_jax.audio import rvq
from videopoet_jax.audio.decoder import Decoder
from videopoet_jax.audio.encoder import Encoder
from videopoet_jax.parallel.axes import constrain, partitioned


class Reconstruction(NamedTuple):
    """What a training pass returns."""

    waveform: Float[Array, "b s"]
    codes: Int[Array, "b f q"]
    used: Bool[Array, "b q"]  # the levels that each example was rebuilt from
    commitment: Float[Array, ""]


class Film(nn.Module):
    """γ · z + β, both chosen by a one-hot of two [SS]; it starts as z (ours)."""

    @nn.compact
    def __call__(self, z: Float[Array, "b f d"], denoise: Bool[Array, " b"]) -> Float[Array, "b f d"]:
        shape, row = (2, z.shape[-1]), denoise.astype(jnp.int32)
        gamma = self.param("gamma", partitioned(nn.initializers.ones_init(), None, None), shape, jnp.float32)
        beta = self.param("beta", partitioned(nn.initializers.zeros_init(), None, None), shape, jnp.float32)
        return z * gamma[row][:, None].astype(z.dtype) + beta[row][:, None].astype(z.dtype)


class SoundStream(nn.Module):
    """Encoder, residual quantizer and decoder; the codebooks live in the collection `codebooks`.

    Attributes:
        sample_rate: Hz of the sound it is made for.
        channels: width C after the first convolution; every block of the encoder doubles it.
        dim: width D of a latent frame.
        strides: of the encoder's blocks; their product is the number of samples in a frame.
        dilations: of the residual units in a block.
        kernel_size: of the outermost and of the dilated convolutions.
        levels, codebook_size: residual quantizers and the entries of each.
        ema_decay, dead_usage, kmeans_iterations: how the codebooks learn (`rvq.update_codebooks`).
        denoise: whether it can be asked to take noise away.
    """

    sample_rate: int
    channels: int
    dim: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    kernel_size: int
    levels: int
    codebook_size: int
    ema_decay: float
    dead_usage: float
    kmeans_iterations: int
    denoise: bool

    def setup(self):
        self.encoder = Encoder(self.channels, self.dim, tuple(self.strides), tuple(self.dilations), self.kernel_size)
        self.decoder = Decoder(self.channels, tuple(self.strides), tuple(self.dilations), self.kernel_size)
        if self.denoise:
            self.film = Film()
        empty = rvq.empty_codebooks(self.levels, self.codebook_size, self.dim)
        self.books = {n: self.variable("codebooks", n, lambda v=v: v) for n, v in empty._asdict().items()}

    def codebooks(self) -> rvq.Codebooks:
        """The state of the quantizer as it stands."""
        return rvq.Codebooks(**{name: variable.value for name, variable in self.books.items()})

    def latents(self, waveform: Float[Array, "b s"], denoise: Bool[Array, " b"] | None = None) -> Float[Array, "b f d"]:
        """What the quantizer is given; only a model with `denoise` minds which examples shall lose their noise."""
        z = self.encoder(waveform)
        if self.denoise:
            z = self.film(z, jnp.zeros(z.shape[:1], bool) if denoise is None else denoise)
        return constrain(z, "batch", None, None)

    def encode(self, waveform: Float[Array, "b s"], denoise: Bool[Array, " b"] | None = None) -> Int[Array, "b f q"]:
        """Codes of all levels."""
        z = self.latents(waveform, denoise).astype(jnp.float32)
        every = jnp.full((z.shape[0],), self.levels)
        return rvq.quantize(z, self.codebooks().embedding, every).codes

    def decode(self, codes: Int[Array, "b f q"]) -> Float[Array, "b s"]:
        """Waveform of the first q levels."""
        return self.decoder(rvq.dequantize(codes, self.codebooks().embedding))

    def __call__(
        self,
        waveform: Float[Array, "b s"],
        levels: Int[Array, " b"],
        key: PRNGKeyArray | None = None,
        bypass: Bool[Array, " b"] | None = None,
        denoise: Bool[Array, " b"] | None = None,
    ) -> Reconstruction:
        """Through the quantizer and back, example i by `levels[i]` levels; with a `key` the codebooks learn.

        Learning needs `mutable=["codebooks"]`; the first batch starts them by k-means. Examples that `bypass` marks are
        rebuilt from the latents themselves, though the codebooks learn from them as from the others.
        """
        z = self.latents(waveform, denoise).astype(jnp.float32)
        books = self.codebooks()
        if key is not None:
            books = self._started(key, z, books)
        quantized = rvq.quantize(z, books.embedding, levels)
        commitment = rvq.commitment(z, quantized, books.embedding)
        if key is not None and not self.is_initializing():
            revive = jax.random.fold_in(key, 1)
            numbers = {"decay": self.ema_decay, "dead_usage": self.dead_usage}
            for name, value in rvq.update_codebooks(revive, books, quantized, **numbers)._asdict().items():
                self.books[name].value = value
        value = rvq.straight_through(z, quantized.value)
        if bypass is not None:
            value = jnp.where(bypass[:, None, None], z, value)
        return Reconstruction(self.decoder(value.astype(waveform.dtype)), quantized.codes, quantized.used, commitment)

    def _started(self, key: PRNGKeyArray, z: Float[Array, "b f d"], books: rvq.Codebooks) -> rvq.Codebooks:
        def start() -> rvq.Codebooks:
            numbers = {"iterations": self.kmeans_iterations, "dead_usage": self.dead_usage}
            return rvq.start_codebooks(jax.random.fold_in(key, 0), z, books, **numbers)

        return jax.lax.cond(books.started, lambda: books, start)
