"""A model of a few thousand parameters, a batch for every task, and their text embeddings."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from videopoet_jax.layers.masks import prefix_visible
from videopoet_jax.lm.transformer import PrefixLM, Tokens, whole_sequence
from videopoet_jax.sequence.assembly import assemble
from videopoet_jax.sequence.grid import Grid
from videopoet_jax.sequence.layout import Layout, layout_for
from videopoet_jax.sequence.tasks import TASKS

TINY = dict(
    visual_codes=16, audio_levels=2, text_pieces=0, visual_factors=2, chain_hidden=8, text_dim=6, depth=2, width=16,
    heads=2, kv_heads=1, head_dim=8, mlp=24, qk_norm=True, activation="silu", embedding_scale=1.0, place_embedding=True,
    modalities=16, rotary_sections=(4, 2, 2), rotary_bases=(1000.0, 100.0, 100.0), rotary_stretch=(),
    place_octaves=(6, 2, 2), epsilon=1e-6, unroll=1, remat="none", dtype="float32",
)  # fmt: skip
OF_TEXT = dict(  # the backbone of a text language model, and none like any
    qk_norm=False, activation="gelu_tanh", embedding_scale=1.5, rotary_sections=(8,), rotary_bases=(100.0,),
    rotary_stretch=(4.0, 1.0, 4.0, 32.0),
)  # fmt: skip
GRID = Grid(frames=5, height=16, width=32, spatial_stride=16, audio_levels=2)
TEXT_LENGTH = 3


@dataclasses.dataclass(frozen=True, eq=False)  # hashed by identity
class Tiny:
    """A model with parameters, away from initialisation so that every part matters."""

    model: PrefixLM
    params: Any
    text_table: np.ndarray  # the "text encoder": a row for each piece

    def layout(self, task: str, grid: Grid = GRID, audio_order: str = "levels") -> Layout:
        task, vocabulary = TASKS[task], self.model.vocabulary
        return layout_for(
            task, grid, vocabulary=vocabulary, text_length=TEXT_LENGTH, source="video", audio_order=audio_order
        )

    def batch(self, layout: Layout, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
        rng, grid = np.random.default_rng(seed), layout.grid
        examples = []
        for _ in range(rows):
            record = {
                "video": rng.integers(0, 16, grid.latents),
                "audio": rng.integers(0, 1024, (grid.audio_frames, grid.audio_levels)),
                "text_ids": rng.integers(2, self.model.text_pieces or 20, TEXT_LENGTH),
                "text_mask": np.arange(TEXT_LENGTH) < rng.integers(1, TEXT_LENGTH + 1),
                "empty_text_ids": np.array([1, 0, 0]),
                "empty_text_mask": np.array([True, False, False]),
            }
            examples.append(assemble(layout, record))
        return {key: np.stack([e[key] for e in examples]) for key in examples[0]}

    def with_text(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The batch with what decoding reads: embeddings in place of the text encoder."""
        table = self.text_table
        return batch | {"text": table[batch["text_ids"]], "empty_text": table[batch["empty_text_ids"]]}

    def hidden(self, batch: dict[str, np.ndarray], **changed: Any) -> jax.Array:
        batch = batch | changed
        text = jnp.asarray(batch.get("text", self.text_table[batch["text_ids"]]))
        return _hidden(self.model, self.params, batch, text)


@functools.partial(jax.jit, static_argnums=0)
def _hidden(model: PrefixLM, params: Any, batch: dict[str, jax.Array], text: jax.Array) -> jax.Array:
    return model.apply({"params": params}, whole_sequence(batch, text, batch["text_mask"]))[0]


def abstract(model: PrefixLM) -> Any:
    """Boxed shapes of a model's parameters; nothing is allocated or compiled."""

    def init():
        ids, places = jnp.zeros((1, 8), int), jnp.zeros((1, 8, 4), int)
        visible = prefix_visible(ids[:, :1], jnp.ones((1, 8), bool), 0, 8)
        tokens = Tokens(ids, ids, places, places, visible, jnp.zeros((1, 4, model.text_dim)), ids)
        return model.init(jax.random.key(0), tokens)

    return jax.eval_shape(init)["params"]


def build(**changes: Any) -> Tiny:
    model = PrefixLM(**(TINY | changes))
    rng = np.random.default_rng(7)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        """Large embeddings: those of size 0.02 at initialisation would hide mistakes behind each other."""
        tables = any(name in str(path) for name in ("input", "output", "positions"))
        mean, deviation = (1.0, 0.1) if "scale" in str(path) else (0.0, 0.5 if tables else leaf.shape[-2] ** -0.5)
        return rng.normal(mean, deviation, leaf.shape).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(draw, nn.meta.unbox(abstract(model)))
    return Tiny(model, jax.device_put(params), rng.normal(size=(20, model.text_dim)).astype(np.float32))


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return build()


@pytest.fixture(scope="session")
def of_text():
    return OF_TEXT


@pytest.fixture(scope="session")
def make_tiny():
    return build


@pytest.fixture(scope="session")
def shapes_of():
    return abstract
