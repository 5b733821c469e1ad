"""`LanguageModel`: a prefix LM with its weights, and the buckets in which it writes.

lm = LanguageModel.from_pretrained("nano")
written = lm.generate(prepared)                # Prepared (a batch of prefixes) → Written (whole sequences)
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int, PRNGKeyArray

from videopoet_jax.layers.precision import compute_dtype
from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import generate
from videopoet_jax.lm.transformer import PrefixLM, whole_sequence
from videopoet_jax.parallel import check_fits, place
from videopoet_jax.parallel.processes import own_copy
from videopoet_jax.pretrained import SHARD_SIZE, open_tree, read_config, resolve, save_params, write_config
from videopoet_jax.sequence.layout import Layout

MODEL_TYPE = "videopoet_lm"
PART = "lm"
FIELDS = tuple(f.name for f in dataclasses.fields(PrefixLM) if f.name not in ("parent", "name"))
# What models were before there was a choice, whose config.json does not tell.
EARLIER = dict(qk_norm=True, activation="silu", embedding_scale=1.0, place_embedding=True, rotary_stretch=())
DIGESTS = "tokenizers"  # {"video_tokenizer": "sha256:…", …} of the models that this one was trained with


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Prefixes of one layout, ready to be continued.

    Attributes:
        batch: stacked `assemble(layout, record, outputs=False)` with `text`, `empty_text`, `empty_text_mask`.
        seeds: (seed, number of the copy) of each row; they alone decide a row's draws.
        sampling: how ids are drawn unless `generate` is told otherwise.
        given: what the prefixes were made of, for whoever prepared them; handed on.
    """

    layout: Layout
    batch: Mapping[str, np.ndarray]
    seeds: tuple[tuple[int, int], ...]
    sampling: Sampling
    given: Any = None


@dataclasses.dataclass(frozen=True)
class Written:
    """Whole sequences: the prefixes as given, the outputs as drawn; `Prepared.given` as it was."""

    layout: Layout
    ids: Int[np.ndarray, "b n"]
    given: Any = None


def row_key(seed: int, copy: int) -> jax.Array:
    """The key of one row; any integer seed, of which the lowest 32 bits count."""
    return jax.random.fold_in(jax.random.key(seed % 2**32), copy)


def init_params(model: PrefixLM, key: PRNGKeyArray) -> dict[str, Any]:
    """New parameters, boxed; they depend on no length."""
    row = jnp.zeros((1, 2), jnp.int32)
    batch = {"ids": row, "table": row, "positions": jnp.zeros((1, 2, 4), jnp.int32)}
    batch |= {"prefix_length": jnp.zeros(1, jnp.int32), "valid": jnp.ones((1, 2), bool)}
    text, mask = jnp.zeros((1, 1, model.text_dim)), jnp.ones((1, 1), bool)
    return model.init(key, whole_sequence(batch, text, mask))["params"]


class LanguageModel:
    """A prefix LM with its weights.

    Args:
        config: the fields of `PrefixLM`.
        params: unboxed.
        tokenizers: digests of the models whose codes and embeddings it speaks (`pretrained.digest`).
        mesh: the devices that write together: rows are split over `data` and `fsdp`, heads over `tensor`.
        bucket: rows written at once. A batch is padded to whole buckets, so that a row's result does not depend on
            how many rows it came with: a matrix product may round differently at another size. On a mesh it is
            raised to what its devices can share.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        params: Any,
        tokenizers: Mapping[str, str],
        *,
        mesh: Mesh | None = None,
        bucket: int = 4,
    ) -> None:
        self.config = {k: tuple(v) if isinstance(v, list) else v for k, v in dict(config).items()}
        self.model, self.params = PrefixLM(**self.config), params
        shares = mesh.shape["data"] * mesh.shape["fsdp"] if mesh else 1
        self.tokenizers, self.mesh, self.bucket = dict(tokenizers), mesh, -(-bucket // shares) * shares

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | os.PathLike, dtype: str | None = None, mesh: Mesh | None = None, *, bucket: int = 4
    ) -> "LanguageModel":
        """A shipped name, a pipeline's directory or its own; with a mesh the weights are spread over it, each process
        reading the parts of its devices.

        `dtype` of the computation and of the weights: None is float32 on CPU and bfloat16 on accelerators.
        """
        directory = resolve(name_or_dir, PART)
        lm = cls._open(directory, compute_dtype(dtype), mesh, bucket, compute_dtype(dtype))
        lm.params = place(lm.params, functools.partial(init_params, lm.model), mesh, directory)
        return lm

    @classmethod
    def open_pretrained(cls, name_or_dir: str | os.PathLike, dtype: str | None = None) -> "LanguageModel":
        """`from_pretrained` with the weights left in their files, as float32: to save or train it, not to generate."""
        directory = resolve(name_or_dir, PART)
        lm = cls._open(directory, compute_dtype(dtype), None, 1, "float32")
        check_fits(lm.params, functools.partial(init_params, lm.model), directory)
        return lm

    @classmethod
    def _open(cls, directory: Path, dtype: str, mesh: Mesh | None, bucket: int, held: str) -> "LanguageModel":
        """The weights in their files, to be read as `held`."""
        config = EARLIER | read_config(directory, MODEL_TYPE, {*FIELDS, DIGESTS}, optional=EARLIER)
        digests = config.pop(DIGESTS)
        config["dtype"] = dtype
        return cls(config, open_tree(directory, held), digests, mesh=mesh, bucket=bucket)

    def save_pretrained(
        self, directory: str | os.PathLike, dtype: str = "bfloat16", max_shard_size: int | str = SHARD_SIZE
    ) -> None:
        """Writes config.json (with the tokenizers' digests) and model.safetensors, or shards of it."""
        save_params(directory, self.params, dtype, max_shard_size)
        write_config(directory, MODEL_TYPE, {**self.config, DIGESTS: self.tokenizers})

    def generate(
        self,
        prepared: Prepared,
        *,
        sampling: Sampling | None = None,
        callback: Callable[[int, int], None] | None = None,
    ) -> Written:
        """Continues every prefix to the end of its layout.

        Args:
            sampling: instead of the one prepared.
            callback: called with (segments written, segments in all) over all buckets.
        """
        sampling = sampling or prepared.sampling
        rows, bucket = len(prepared.seeds), self.bucket
        buckets, written = -(-rows // bucket), []
        for number in range(buckets):
            index = np.minimum(np.arange(number * bucket, (number + 1) * bucket), rows - 1)
            keys = jnp.stack([row_key(*prepared.seeds[i]) for i in index])
            batch = {name: np.asarray(value)[index] for name, value in prepared.batch.items()}

            def report(done: int, of: int, ids: jax.Array, number: int = number) -> None:
                jax.block_until_ready(ids)
                if callback is not None:
                    callback(number * of + done, buckets * of)

            with jax.set_mesh(self.mesh) if self.mesh else contextlib.nullcontext():
                ids = generate(self.model, self.params, batch, prepared.layout, keys, sampling, report)
            written.append(np.asarray(own_copy(ids)))
        return Written(prepared.layout, np.concatenate(written)[:rows], prepared.given)
