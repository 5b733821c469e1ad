"""`TextEncoder`: prompts in, frozen embeddings out. What the language model's text slots are filled with."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from videopoet_jax.layers.precision import compute_dtype
from videopoet_jax.parallel import place
from videopoet_jax.pretrained import SHARD_SIZE, files, save_params
from videopoet_jax.text import weights, weights_t5x
from videopoet_jax.text.t5 import T5Encoder
from videopoet_jax.text.vocabulary import FILE, PUBLISHED, Pieces, Tokens

MODEL_TYPE = "videopoet_text_encoder"
PART = "text_encoder"  # its folder inside a pipeline's directory
FIELDS = tuple(name for name in T5Encoder.__dataclass_fields__ if name not in ("parent", "name", "dtype"))
UNUSED_ROWS = 256  # fewer than that: T5's 100 sentinels, which its file may lack, and rows up to a multiple of 128
DIGEST = "vocabulary_sha256"  # in config.json, so that the digest of a model covers its vocabulary too


@functools.partial(jax.jit, static_argnums=0)
def apply_encoder(
    model: T5Encoder, params: Mapping[str, Any], ids: Int[Array, "b l"], mask: Bool[Array, "b l"]
) -> Float[Array, "b l d"]:
    """Embeddings of ids, zero where the mask is False: what `TextEncoder.embed` runs."""
    return jnp.where(mask[..., None], model.apply({"params": params}, ids, mask), 0)


class TextEncoder:
    """A vocabulary, a T5 encoder and its weights.

    encoder = TextEncoder.from_pretrained("nano")
    tokens = encoder.tokenize(["a red 3 moving left"], 16)
    embeddings = encoder.embed(tokens.ids, tokens.mask)        # [1 16 128]
    """

    def __init__(self, config: Mapping[str, Any], params: Mapping[str, Any], pieces: Pieces):
        self.model = T5Encoder(**config)
        if len(pieces) > self.model.vocabulary:
            raise ValueError(
                f"{len(pieces)} pieces: the embedding has {self.model.vocabulary} rows; "
                f"take the {FILE} that the weights were trained with."
            )
        self.config, self.params, self.pieces = dict(config), params, pieces

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | os.PathLike, dtype: str | None = None, mesh: Mesh | None = None
    ) -> "TextEncoder":
        """A shipped name, a directory of `save_pretrained`, or a published checkpoint of T5 v1.1, Flan-T5 or mT5.

        Published ones: Hugging Face's directory (config.json, safetensors, spiece.model), or T5X's checkpoint_1000000
        with the vocabulary copied into it as spiece.model. `save_pretrained` makes ours of either, for a pipeline.

        `dtype` of weights and computation: None is float32 on CPU and bfloat16 on accelerators. With a mesh the
        weights are spread over it as their logical axes say.

        Raises:
            FileNotFoundError, ValueError: see `pretrained.files`, `weights` and `weights_t5x`.
        """
        directory = files.resolve(name_or_dir, PART, (files.CONFIG, weights_t5x.FILE))
        dtype = compute_dtype(dtype)
        pieces = Pieces.load(directory / FILE)
        t5x = weights_t5x.is_t5x(directory)
        if t5x or weights.is_huggingface(directory):
            config, params = (weights_t5x.load_t5x if t5x else weights.load_huggingface)(directory, dtype)
            if config["vocabulary"] - len(pieces) >= UNUSED_ROWS:
                raise ValueError(
                    f"{directory / FILE}: {len(pieces)} pieces, the weights have {config['vocabulary']} rows: the "
                    f"vocabulary of another model; {PUBLISHED}."
                )
        else:
            config = files.read_config(directory, MODEL_TYPE, {*FIELDS, DIGEST})
            expected = config.pop(DIGEST)
            if pieces.sha256 != expected:
                raise ValueError(
                    f"{directory / FILE}: its SHA-256 starts {pieces.sha256[:8]}, the config names {expected[:8]}; "
                    f"restore the file that belongs to these weights."
                )
            params = files.open_tree(directory, dtype)
        config["dtype"] = dtype
        return cls(config, place(params, functools.partial(init_params, T5Encoder(**config)), mesh, directory), pieces)

    def save_pretrained(
        self, directory: str | os.PathLike, dtype: str = "bfloat16", max_shard_size: int | str = SHARD_SIZE
    ) -> None:
        """Writes config.json, model.safetensors, or shards of it, and the vocabulary."""
        fields = {name: self.config[name] for name in FIELDS}
        save_params(directory, self.params, dtype, max_shard_size)
        self.pieces.save(os.path.join(directory, FILE))
        files.write_config(directory, MODEL_TYPE, {**fields, DIGEST: self.pieces.sha256})

    @property
    def width(self) -> int:
        return self.model.width

    def tokenize(self, prompts: Sequence[str], length: int) -> Tokens:
        """ids, mask and which prompts were cut; any script and any length of prompt. An empty one is `</s>` alone."""
        return self.pieces.encode(prompts, length)

    def embed(
        self, ids: Int[np.ndarray | Array, "b l"], mask: Bool[np.ndarray | Array, "b l"], *, rows: int = 1
    ) -> Float[Array, "b l d"]:
        """Embeddings, zero where the mask is False.

        Always the same `rows` prompts to one call of the compiled encoder: a matrix product may round differently at
        another size, and a prompt must mean the same alone and in company. Embed a data set with more rows.
        """
        count, padding = len(ids), ((0, -len(ids) % rows), (0, 0))
        ids, mask = np.pad(np.asarray(ids), padding), np.pad(np.asarray(mask), padding)
        chunks = [
            apply_encoder(self.model, self.params, ids[i : i + rows], mask[i : i + rows]) for i in range(0, count, rows)
        ]
        if not chunks:
            return jnp.zeros((*ids.shape, self.width), self.model.dtype)
        return jnp.concatenate(chunks)[:count] if len(chunks) > 1 else chunks[0][:count]


def init_params(model: T5Encoder, key: PRNGKeyArray) -> dict[str, Any]:
    """New parameters, boxed."""
    return model.init(key, jnp.zeros((1, 8), jnp.int32), jnp.ones((1, 8), bool))["params"]
