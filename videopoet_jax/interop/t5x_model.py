"""Our language model as T5X's scripts call one. No T5X in here: `t5x.py` joins this to T5X's base class.

    T5X (`t5x.models.BaseModel`)                            here
    get_initial_variables(rng, shapes, types)               params, params_axes, text_encoder, text_encoder_axes
    loss_fn(params, batch, rng, flax_mutables)              loss, (metrics, flax_mutables)
    eval_fn(params, batch, flax_mutables)                   the same, no condition dropped
    predict_batch(params, batch, rng, flax_mutables)        ids of the outputs, moved to the front of their rows
    predict_batch_with_aux(…)                               the same, {"scores": …}
    score_batch(params, batch, …, flax_mutables)            log-likelihood of each row's output

Batches are those of `data.features.FeatureConverter`, not packed, all of one length. The frozen text encoder is one of
T5X's `flax_mutables`: variables without gradient, which the train state carries and checkpoints hold.

T5X compiles under a mesh of its own, `data, model`; what is ours runs under the same devices by our names, so that
activations, losses and caches are spread as in our loop.
"""

import functools
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core import unfreeze
from flax.linen.partitioning import AxisMetadata
from jax.interpreters import pxla
from jax.sharding import AbstractMesh, AxisType, Mesh, PartitionSpec
from ml_collections import ConfigDict

from videopoet_jax.layers.objective import FROZEN, Aux, Mean
from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode_rows import generate_rows
from videopoet_jax.lm.heads import heads
from videopoet_jax.lm.language_model import init_params
from videopoet_jax.lm.loss import make_loss
from videopoet_jax.lm.totals import positions_of_chunk, shift_out
from videopoet_jax.lm.transformer import PrefixLM, whole_sequence
from videopoet_jax.parallel.axes import RULES
from videopoet_jax.parallel.mesh import AXES
from videopoet_jax.text import embed
from videopoet_jax.text.embed import TextEncoder

PyTree = Any
TEXT_ENCODER = "text_encoder"
THEIRS = {"data": "replica", "fsdp": "data", "tensor": "model"}  # our mesh's axes by T5X's names; `replica` are slices


def logical_axis_rules() -> list[tuple[str, str | None]]:
    """Our rules on T5X's mesh, for its partitioner: `[("batch", "data"), ("length", None), ("vocab", "model"), …]`"""
    one = {"fsdp": THEIRS["fsdp"], "tensor": THEIRS["tensor"], ("data", "fsdp"): THEIRS["fsdp"]}
    return [(name, one.get(axes)) for name, axes in RULES.items()]


def our_mesh(theirs: Mesh) -> AbstractMesh:
    """T5X's devices by our names: `data 4, model 2 → data 1, fsdp 4, tensor 2, sequence 1`"""
    shape = tuple(theirs.shape.get(THEIRS.get(axis), 1) for axis in AXES)
    return Mesh(theirs.devices.reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES)).abstract_mesh


def on_our_mesh(method: Callable) -> Callable:
    """Runs under `our_mesh` of the one that T5X has entered, and without its rules; as it is if there is none."""

    @functools.wraps(method)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        theirs = pxla.thread_resources.env.physical_mesh  # where `with mesh` leaves it, which T5X says; no newer name
        if theirs.empty:
            return method(*args, **kwargs)
        with jax.sharding.use_abstract_mesh(our_mesh(theirs)), nn.logical_axis_rules(()):
            args, kwargs = jax.tree.map(_by_our_names, (args, kwargs))
            return method(*args, **kwargs)

    return wrapped


def _by_our_names(x: Any) -> Any:
    """An array where it lies, its mesh the one that is set: some operations take none of two meshes."""
    if not isinstance(x, jax.Array):
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*[PartitionSpec.UNCONSTRAINED] * x.ndim))


def axes_of(boxed: PyTree) -> PyTree:
    """Boxed parameters, or their shapes → T5X's tree of their axes.

    `{"scale": <box of names ("layers", "norm")>} → {"scale_axes": AxisMetadata(("layers", "norm"))}`
    """
    if isinstance(boxed, Mapping):
        return {name if isinstance(v, Mapping) else f"{name}_axes": axes_of(v) for name, v in boxed.items()}
    return AxisMetadata(boxed.names if isinstance(boxed, nn.LogicallyPartitioned) else (None,) * boxed.ndim)


class Adapter:
    """See above.

    Args:
        config: `model`, `loss` and `train.accumulate` of `configs/lm.py`. T5X adds the gradients of its microbatches,
            so each loss is divided by how many there are.
        encoder: the frozen text encoder.
        sampling: how predictions are drawn.
    """

    def __init__(self, config: ConfigDict, encoder: TextEncoder, sampling: Sampling) -> None:
        self.module, self._encoder, self._sampling = PrefixLM(**config.model), encoder, sampling.checked()
        if encoder.width != self.module.text_dim:
            raise ValueError(
                f"text encoder of width {encoder.width}: model.text_dim is {self.module.text_dim}; take the encoder "
                f"that the records were made with, or another size of model."
            )
        if config.train.lora.rank:
            raise ValueError(f"train.lora.rank {config.train.lora.rank}: under T5X the whole model trains; set 0.")
        self._config = config
        told = ConfigDict(config.to_dict())
        told.loss.condition_drop = 0.0
        self._train_loss, self._eval_loss = (make_loss(c, self._embed) for c in (config, told))

    @on_our_mesh
    def get_initial_variables(
        self, rng: jax.Array, input_shapes: Mapping[str, Any], input_types: Mapping[str, Any] | None = None
    ) -> dict[str, PyTree]:
        """New parameters, the text encoder's as they were loaded, and the axes of both.

        Raises:
            ValueError: the batches are packed.
        """
        refuse_packed(input_shapes)
        boxed = init_params(self.module, rng)
        theirs = jax.eval_shape(functools.partial(embed.init_params, self._encoder.model), jax.random.key(0))

        def loaded(leaf: jax.Array) -> jax.Array:
            # Fetched when it is run: in the program it would be a constant of gigabytes, and shapes need no values.
            return jax.pure_callback(lambda: np.asarray(leaf), jax.ShapeDtypeStruct(leaf.shape, leaf.dtype))

        return {
            "params": nn.meta.unbox(boxed),
            "params_axes": axes_of(boxed),
            TEXT_ENCODER: jax.tree.map(loaded, dict(self._encoder.params)),
            f"{TEXT_ENCODER}_axes": axes_of(theirs),
        }

    @on_our_mesh
    def loss_fn(
        self,
        params: PyTree,
        batch: Mapping[str, jax.Array],
        dropout_rng: jax.Array | None,
        flax_mutables: Mapping[str, PyTree],
    ) -> tuple[jax.Array, tuple[dict[str, Any], PyTree]]:
        """Nats a token and z-loss. Without a key no condition is dropped."""
        key = jax.random.key(0) if dropout_rng is None else dropout_rng
        loss_fn = self._eval_loss if dropout_rng is None else self._train_loss

        def keys(purpose: str) -> jax.Array:
            return jax.random.fold_in(key, zlib.crc32(purpose.encode()))

        loss, aux = loss_fn(unfreeze(params), {FROZEN: flax_mutables}, self._batch(batch), keys)
        return loss / self._config.train.accumulate, (averages(aux), flax_mutables)

    def eval_fn(
        self, params: PyTree, batch: Mapping[str, jax.Array], flax_mutables: Mapping[str, PyTree]
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Loss and metrics."""
        loss, (metrics, _) = self.loss_fn(params, batch, None, flax_mutables)
        return loss, metrics

    def score_batch(
        self,
        params: PyTree,
        batch: Mapping[str, jax.Array],
        return_intermediates: bool = False,
        flax_mutables: Mapping[str, PyTree] | None = None,
    ) -> jax.Array:
        """log p of each row's output [b]."""
        if return_intermediates:
            raise ValueError("return_intermediates True: logits never exist whole, so there are none; leave it out.")
        return self._score(unfreeze(params), self._with_text(self._batch(batch), flax_mutables))

    def predict_batch(
        self,
        params: PyTree,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
        flax_mutables: Mapping[str, PyTree] | None = None,
    ) -> jax.Array:
        """Drawn outputs [b n], each at the front of its row, 0 behind."""
        return self.predict_batch_with_aux(params, batch, rng, flax_mutables)[0]

    def predict_batch_with_aux(
        self,
        params: PyTree,
        batch: Mapping[str, jax.Array],
        rng: jax.Array | None = None,
        flax_mutables: Mapping[str, PyTree] | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Drawn outputs, and log p of each under the model as it is, without guidance or temperature."""
        params, batch = unfreeze(params), self._with_text(self._batch(batch), flax_mutables)
        rng = jax.random.key(0) if rng is None else rng
        rng = rng if jnp.issubdtype(rng.dtype, jax.dtypes.prng_key) else jax.random.wrap_key_data(rng)
        rows, n = batch["ids"].shape
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, jnp.arange(rows))
        ids = on_our_mesh(generate_rows)(self.module, params, batch, keys, self._sampling)
        index = batch["prefix_length"][:, None] + jnp.arange(n)
        outputs = jnp.where(index < n, jnp.take_along_axis(ids, jnp.minimum(index, n - 1), axis=1), 0)
        return outputs, {"scores": self._score(params, batch | {"ids": ids})}

    def _embed(self, params: PyTree, ids: jax.Array, mask: jax.Array) -> jax.Array:
        return self._encoder.model.apply({"params": params}, ids, mask)

    def _batch(self, features: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Converted features → our batch, with the empty prompt."""
        from videopoet_jax.data.features import to_batch  # SeqIO, TensorFlow

        refuse_packed(features)
        batch = to_batch({name: jnp.asarray(value) for name, value in features.items()})
        empty = self._encoder.tokenize([""], batch["text_ids"].shape[1])
        for name, value in (("empty_text_ids", empty.ids), ("empty_text_mask", empty.mask)):
            batch[name] = jnp.broadcast_to(value, batch["text_ids"].shape)
        return batch

    @on_our_mesh
    def _with_text(self, batch: dict[str, jax.Array], mutables: Mapping[str, PyTree]) -> dict[str, jax.Array]:
        """The batch with the embeddings that decoding reads."""
        text, empty = (
            self._embed(mutables[TEXT_ENCODER], batch[f"{name}_ids"], batch[f"{name}_mask"])
            for name in ("text", "empty_text")
        )
        return batch | {"text": text, "empty_text": empty}

    @on_our_mesh
    def _score(self, params: PyTree, batch: dict[str, jax.Array]) -> jax.Array:
        """As `lm.totals`, a chunk of positions at a time; but of each row, and spread by the compiler."""
        hidden, _ = self.module.apply({"params": params}, whole_sequence(batch, batch["text"], batch["text_mask"]))
        fields = hidden, *(shift_out(batch[name]) for name in ("ids", "table", "weights"))
        rows, length = batch["ids"].shape
        size = positions_of_chunk(self._config.loss.chunk, rows, length)

        def chunks(x: jax.Array) -> jax.Array:
            """`[b n …] → [chunks b size …]`, zeros at the end."""
            x = jnp.pad(x, [(0, 0), (0, -length % size)] + [(0, 0)] * (x.ndim - 2))
            return jnp.moveaxis(x.reshape(rows, -1, size, *x.shape[2:]), 1, 0)

        def add(total: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, None]:
            x, ids, table, weights = chunk
            for head in heads(self.module):
                own = weights * head.belongs(ids, table)
                scored = head.score(params["output"], x, jnp.where(own != 0, head.index(ids), 0))
                total -= jnp.sum(own * scored.nll, axis=1)
            return total, None

        return jax.lax.scan(add, jnp.zeros(rows), tuple(map(chunks, fields)))[0]


def averages(aux: Aux) -> dict[str, Any]:
    """Metrics as T5X merges them over microbatches and steps: means over tokens, over none 0."""
    from clu.metrics import Average

    def mean(value: Any) -> Mean:
        return value if isinstance(value, Mean) else Mean(value * aux.weight, aux.weight)

    means = {name: mean(value) for name, value in aux.metrics.items()}
    return {name: Average(total, jnp.maximum(weight, 1e-6)) for name, (total, weight) in means.items()}


def refuse_packed(features: Mapping[str, Any]) -> None:
    """Raises where several sequences share a row."""
    if "decoder_segment_ids" in features:
        raise ValueError("packed batches: the adapter reads one sequence a row; set pack = False in DatasetConfig.")
