"""`AudioTokenizer`: load, save, waveform → codes → waveform.

    tokenizer = AudioTokenizer.from_pretrained("nano")
    codes = tokenizer.encode(waveform).codes        # float32 [s] or [b s] → int [f q] or [b f q], f = floor(s / 320)
    sound = tokenizer.decode(codes)                 # → float32 [320·f] or [b 320·f]
    for codes in tokenizer.encode_pieces(chunks)    # a film's sound, never whole in memory; decode_pieces likewise

A sound of any length passes in chunks of one fixed size, the network carrying its past from one to the next (`chunks`).
So its memory does not grow with the length, nothing is computed twice, and a clip has the same codes alone,
in a batch, in pieces, and as the beginning of a longer one (XLA rounds differently for different shapes; here there is
one shape).
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray, Shaped

from videopoet_jax.audio.chunks import Chunks, blocks
from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.layers.precision import products_in
from videopoet_jax.layers.tokenizer import fits
from videopoet_jax.parallel import place
from videopoet_jax.pretrained import SHARD_SIZE, open_tree, read_config, resolve, save_params, write_config

MODEL_TYPE, PART = "videopoet_audio_tokenizer", "audio_tokenizer"
LOUDEST = 8.0  # ours: 18 dB above full scale, as a film's decoder may overshoot; beyond it are undivided integers


class Encoded(NamedTuple):
    """What `AudioTokenizer.encode` returns."""

    codes: Int[np.ndarray, "*b f q"]


class AudioTokenizer:
    """A SoundStream with its weights.

    Args:
        config: the fields of `SoundStream`.
        params: its parameters, unboxed.
        codebooks: its collection `codebooks`; `embedding` is enough.
        rows: sounds computed in one call. The codes of a clip depend on it (by rounding), not on its company.

    Attributes:
        samples_per_frame: the product of the strides.

    Raises:
        ValueError: codebooks of other sizes than the config's, or no rows.
    """

    def __init__(
        self, config: Mapping[str, Any], params: Mapping[str, Any], codebooks: Mapping[str, Any], *, rows: int = 1
    ):
        if not isinstance(rows, int | np.integer) or rows < 1:
            raise ValueError(f"rows {rows!r}: give a whole number, at least 1.")
        self.config = {k: tuple(v) if isinstance(v, list | tuple) else v for k, v in dict(config).items()}
        self.model = SoundStream(**self.config)
        self.params = jax.tree.map(jnp.asarray, dict(params))
        self.codebooks = complete_codebooks(codebooks)
        books, wanted = self.codebooks["embedding"].shape, (self.model.levels, self.model.codebook_size, self.model.dim)
        if books != wanted:
            raise ValueError(
                f"codebooks {books}: the config says {wanted} (levels, codes, channels); use those saved with it."
            )
        self.samples_per_frame = math.prod(self.model.strides)
        self.rows = rows
        self._encoders = {
            denoise: self._chunks(SoundStream.encode, _samples, jnp.full((rows,), denoise)) for denoise in (False, True)
        }
        self._decode = self._chunks(SoundStream.decode, lambda codes: codes)

    @property
    def vocabulary_size(self) -> int:
        """Codes of one level."""
        return self.model.codebook_size

    @property
    def levels(self) -> int:
        """Codes of one frame."""
        return self.model.levels

    @property
    def denoises(self) -> bool:
        """Whether it has learned to leave noise out."""
        return self.model.denoise

    @property
    def sample_rate(self) -> int:
        """Samples a second, in Hz, of the sound that it takes and gives."""
        return self.model.sample_rate

    def frames(self, samples: int) -> int:
        """Frames of a sound of `samples` samples; what is left beyond them is dropped. 34,000 → 106."""
        return samples // self.samples_per_frame

    def grid(self, samples: int) -> tuple[int, int]:
        """(frames, levels): the shape of the codes of a sound. At four levels 34,000 → (106, 4)."""
        return self.frames(samples), self.levels

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | os.PathLike, *, mesh: Mesh | None = None, rows: int = 1
    ) -> "AudioTokenizer":
        """The tokenizer of a shipped name ("nano"), of a pipeline's directory, or of its own; with a mesh the weights
        are spread over it. It computes in float32 everywhere: its quantizer tells apart what bfloat16 does not.

        Raises:
            FileNotFoundError: no such name or directory, or no weights in it.
            ValueError: no name and no path, a config or weights that are none, or that do not fit one another.
        """
        directory = resolve(name_or_dir, PART)
        # Those who were saved before there was a choice could not denoise.
        config = {"denoise": False, **read_config(directory, MODEL_TYPE, _fields(), optional=("denoise",))}
        tree = open_tree(directory)
        try:
            params, codebooks = tree["params"], tree["codebooks"]
        except KeyError as error:
            raise ValueError(f"{directory}: weights without {error}; save them with save_pretrained.") from error
        tokenizer = cls(config, params, codebooks, rows=rows)
        tokenizer.params = place(params, lambda key: init_variables(tokenizer.model, key)["params"], mesh, directory)
        return tokenizer

    def save_pretrained(
        self, directory: str | os.PathLike, dtype: str = "bfloat16", max_shard_size: int | str = SHARD_SIZE
    ) -> None:
        """Writes config.json and model.safetensors, or shards of it; EMA sums are not stored: they are embedding ·
        counts.

        Args:
            dtype: of the network's weights in the file; the codebooks keep float32.

        Raises:
            ValueError: an unknown dtype, or a size that is none.
        """
        books = {name: np.asarray(self.codebooks[name]) for name in ("embedding", "counts", "started")}
        books["started"] = books["started"].astype(np.uint8)
        save_params(directory, {"params": self.params, "codebooks": books}, dtype, max_shard_size)
        write_config(directory, MODEL_TYPE, self.config)

    def encode(
        self,
        waveform: Shaped[np.ndarray, "*shape"] | Shaped[Array, "*shape"],
        levels: int | None = None,
        *,
        denoise: bool = False,
    ) -> Encoded:
        """Codes of the first `levels` levels (None: all) of a sound [s] or of several [b s], full scale being 1.

        A row is a sound: two channels [2 s] would be coded as two sounds, so average them first. What is louder than
        full scale is coded as it is, up to `LOUDEST`.

        Args:
            denoise: leave the noise out, if the tokenizer has learned to.

        Raises:
            ValueError: another shape, empty, shorter than a frame, not floating point, not finite, louder than
                `LOUDEST`, too many levels, or a tokenizer that cannot denoise.
        """
        waveform = _checked_sound(waveform, "[s]", "[b s]")
        sound = np.atleast_2d(waveform)
        if len(sound) == 0 or sound.shape[1] < self.samples_per_frame:
            remedy = f"pad it with zeros to at least {self.samples_per_frame}"
            if sound.shape[1] <= 2 < len(sound):
                remedy = "average the channels, if they come last"
            raise ValueError(
                f"sound of {sound.shape[1]} samples × {len(sound)}: a frame is {self.samples_per_frame} samples; "
                f"{remedy}."
            )
        wanted = self._checked_levels(levels)
        frames = self.frames(sound.shape[1])
        blocks = sound[:, : frames * self.samples_per_frame].reshape(len(sound), frames, self.samples_per_frame)
        codes = self._encoder(denoise)(blocks)[:, :, :wanted]
        return Encoded(codes[0] if waveform.ndim == 1 else codes)

    def decode(self, codes: Shaped[np.ndarray, "*shape"] | Shaped[Array, "*shape"]) -> Float[np.ndarray, "*b s"]:
        """Waveform of the codes [f q] or [b f q] of one or more levels, 320 samples a frame, clipped to [-1, 1].

        Raises:
            ValueError: no integers of that shape, no frames, more levels than the tokenizer has, or a code outside
                its codebook.
        """
        given = self._checked_codes(codes, "[f q]", "[b f q]")
        codes = given if given.ndim == 3 else given[None]
        if codes.size == 0:
            raise ValueError(
                f"codes of shape {given.shape}: need at least one clip and one frame; encode a sound first."
            )
        sound = np.clip(self._decode(codes).reshape(len(codes), -1), -1.0, 1.0)
        return sound if given.ndim == 3 else sound[0]

    def encode_pieces(
        self, pieces: Iterable[Float[np.ndarray, " _s"]], levels: int | None = None, *, denoise: bool = False
    ) -> Iterator[Int[np.ndarray, "_f q"]]:
        """`encode` of a sound that comes in pieces of any lengths: the same codes, in constant memory.

        A sound shorter than a frame has none.

        Raises:
            ValueError: a piece that is not [s], not floating point, not finite or louder than `LOUDEST`; too many
                levels; a tokenizer that cannot denoise.
        """
        wanted = self._checked_levels(levels)
        framed = blocks((_checked_sound(piece, "[s]") for piece in pieces), self.samples_per_frame)
        for codes in self._encoder(denoise).stream(framed):
            yield codes[:, :wanted]

    def decode_pieces(self, pieces: Iterable[Int[np.ndarray, "_f q"]]) -> Iterator[Float[np.ndarray, " _s"]]:
        """`decode` of codes that come in pieces of any lengths: the same sound, in constant memory.

        Raises:
            ValueError: a piece that is not integers [f q], has more levels than the tokenizer, or a code outside its
                codebook.
        """
        checked = (self._checked_codes(piece, "[f q]") for piece in pieces)
        for sound in self._decode.stream(codes for codes in checked if len(codes)):
            yield np.clip(sound.reshape(-1), -1.0, 1.0)

    def _chunks(self, method: Callable, prepare: Callable[[np.ndarray], np.ndarray], *rest: Array) -> Chunks:
        """`method` of the model over sequences of any length; its past is a collection of variables."""
        apply = partial(apply_chunk, self.model, method)

        def step(past: Any, x: np.ndarray) -> tuple[Array, Any]:
            if past is None:
                past = first_past(self.model, method, self.params, self.codebooks, x, *rest)
            return apply(self.params, self.codebooks, past, x, *rest)

        return Chunks(step, prepare, self.rows)

    def _encoder(self, denoise: bool) -> Chunks:
        if denoise and not self.denoises:
            raise ValueError(
                "denoise: this tokenizer has not learned it; train one with model.denoise, or leave it out."
            )
        return self._encoders[denoise]

    def _checked_levels(self, levels: int | None) -> int:
        levels = self.levels if levels is None else levels
        if not isinstance(levels, int | np.integer) or not 1 <= levels <= self.levels:
            raise ValueError(
                f"{levels} levels: this tokenizer has {self.levels}; ask for a whole number from 1 to {self.levels}."
            )
        return levels

    def _checked_codes(self, codes: Any, *shapes: str) -> Int[np.ndarray, "*b f q"]:
        """The codes as int32, if they have one of these shapes and are this tokenizer's."""
        codes = np.asarray(codes)
        if not fits(codes, *shapes) or not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(f"codes {codes.dtype} {list(codes.shape)}: give integers {' or '.join(shapes)}.")
        self._checked_levels(codes.shape[-1])
        low, high = (codes.min(), codes.max()) if codes.size else (0, 0)
        if low < 0 or high >= self.vocabulary_size:
            raise ValueError(
                f"codes from {low} to {high}: must lie in [0, {self.vocabulary_size}); "
                "subtract the vocabulary's audio offset first."
            )
        return codes.astype(np.int32)


def _checked_sound(sound: Any, *shapes: str) -> Float[np.ndarray, "*b s"]:
    """The sound as float32, if it has one of these shapes and values that can be sound."""
    sound = np.asarray(sound)
    if not fits(sound, *shapes):
        raise ValueError(
            f"sound of shape {sound.shape}: give {' or '.join(shapes)}, of one channel; average the channels."
        )
    if not np.issubdtype(sound.dtype, np.floating):
        raise ValueError(f"sound of type {sound.dtype}: need float in [-1, 1]; divide 16-bit integers by 32768.")
    if not np.isfinite(sound).all():
        bad = int(np.size(sound) - np.isfinite(sound).sum())
        raise ValueError(f"sound with {bad} values that are NaN or infinite: all must be finite; repair the file.")
    if (loudest := np.abs(sound).max(initial=0)) > LOUDEST:
        raise ValueError(
            f"sound as loud as {loudest:g}: full scale is 1, at most {LOUDEST:g} is coded; divide 16-bit integers by "
            "32768, or turn it down."
        )
    return sound.astype(np.float32)


def init_variables(model: SoundStream, key: PRNGKeyArray) -> dict[str, Any]:
    """New `params`, boxed, and empty `codebooks`, which start at the first batch."""
    return model.init(key, jnp.zeros((1, math.prod(model.strides))), jnp.ones((1,), jnp.int32))


@partial(jax.jit, static_argnames=("model", "method"))
def apply_chunk(
    model: SoundStream, method: Callable, params: Any, codebooks: Any, past: Any, *given: Array
) -> tuple[Array, Any]:
    """(what `method` gives, past) of one chunk: one program for all tokenizers of the same sizes.

    The past of a beginning is zeros (`first_past`).
    """
    variables = {"params": params, "codebooks": codebooks, "past": past}
    with products_in(jnp.float32):
        y, carried = model.apply(variables, *given, method=method, mutable=["past"])
    return y, carried["past"]


def first_past(
    model: SoundStream, method: Callable, params: Any, codebooks: Any, *given: Array | np.ndarray
) -> dict[str, Any]:
    """What a sound's first chunk finds as its past."""
    shapes = jax.eval_shape(partial(apply_chunk, model, method), params, codebooks, {}, *given)[1]
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def _samples(frames: Float[np.ndarray, "b f n"]) -> Float[np.ndarray, "b s"]:
    return frames.reshape(len(frames), -1)


def complete_codebooks(codebooks: Mapping[str, Any]) -> dict[str, Array]:
    """All four fields of `rvq.Codebooks` from those that were saved."""
    embedding = jnp.asarray(codebooks["embedding"], jnp.float32)
    counts = jnp.asarray(codebooks.get("counts", jnp.ones(embedding.shape[:2])), jnp.float32)
    sums = jnp.asarray(codebooks.get("sums", embedding * counts[..., None]), jnp.float32)
    return {"embedding": embedding, "counts": counts, "sums": sums, "started": jnp.ones((), bool)}


def _fields() -> list[str]:
    return [name for name in SoundStream.__dataclass_fields__ if name not in ("parent", "name")]
