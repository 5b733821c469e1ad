"""Writing the output of a layout: markers are forced, every run of codes is one jitted loop over its positions.

    prefix <bov_o> | v v v v v … | <eov_o> <boa_o> | a a a … | <eoa_o> <eos>
    one forward      loop          one forward       loop      in place already

A turn of the loop draws an id from the last hidden state, scoring the segment's own table alone, and reads it back
through the model with the cache. With guidance every row has a twin below it (cond ‖ uncond) that reads another text
(the empty prompt, or a negative one) and the same ids.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int, Key

from videopoet_jax.layers.attention import Cache
from videopoet_jax.layers.masks import prefix_visible
from videopoet_jax.layers.positions import shift_left
from videopoet_jax.layers.sampling import Sampling, draw
from videopoet_jax.lm import logits
from videopoet_jax.lm.tables import factor_codes, join_factors
from videopoet_jax.lm.transformer import Batch, PrefixLM, Tokens, text_index, text_valid
from videopoet_jax.sequence.grid import AUDIO_CODES
from videopoet_jax.sequence.layout import CODES, Layout, Segment
from videopoet_jax.sequence.vocabulary import AUDIO_OFFSET, TEXT_OFFSET, VISUAL_OFFSET


@flax.struct.dataclass
class Prompt:
    """What does not change while ids are written; `r` rows are `b`, or `2b` with guidance.

    Attributes:
        text: embeddings of each row's text.
        valid: positions that may be seen.
    """

    table: Int[Array, "r n"]
    positions: Int[Array, "r n 4"]
    next_positions: Int[Array, "r n 4"]
    prefix_length: Int[Array, " r"]
    valid: Bool[Array, "r n"]
    text: Float[Array, "r l c"]
    text_index: Int[Array, "r n"]


@flax.struct.dataclass
class State:
    """What a loop carries: ids so far, cached keys and values, and the hidden state that scores the next id."""

    ids: Int[Array, "r n"]
    cache: Cache
    hidden: Float[Array, "r d"]


def forward(
    model: PrefixLM, params: Any, prompt: Prompt, state: State, start: int | Int[Array, ""], length: int, seen: int
) -> State:
    """Reads `length` ids from `start` on; they may look at the first `seen` positions, as far as the mask lets them."""

    def part(x: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(x, start, length, axis=1)

    tokens = Tokens(
        ids=part(state.ids),
        table=part(prompt.table),
        positions=part(prompt.positions),
        next_positions=part(prompt.next_positions),
        visible=prefix_visible(prompt.prefix_length[:, None], prompt.valid[:, :seen], start, length),
        text=prompt.text,
        text_index=part(prompt.text_index),
    )
    hidden, cache = model.apply({"params": params}, tokens, state.cache, start)
    return state.replace(cache=cache, hidden=hidden[:, -1])


def draw_ids(
    model: PrefixLM,
    output: Any,
    hidden: Float[Array, "r d"],
    segment: Segment,
    at: Int[Array, ""],
    sampling: Sampling,
    keys: Key[Array, " b"],
) -> Int[Array, " b"]:
    """One id of `segment` at position `at` for each key. Factors of a visual code are drawn in turn, each given those
    before."""
    x = hidden[:, None]
    if segment.kind == "pieces":
        rows = logits.special_text_logits(output, x, model.vocabulary.special_text_rows)[:, 0, VISUAL_OFFSET:]
        return TEXT_OFFSET + draw(rows, sampling, keys)
    if segment.kind == "audio":
        level = segment.level if segment.levels == 1 else segment.level + (at - segment.start) % segment.levels
        codes = draw(logits.audio_logits(output, x, level)[:, 0], sampling, keys)
        return AUDIO_OFFSET + level * AUDIO_CODES + codes
    each = factor_codes(model.visual_codes, model.visual_factors)
    twins = x.shape[0] // keys.shape[0]
    parts = jnp.zeros((x.shape[0], 0), jnp.int32)
    for j in range(model.visual_factors):
        values = logits.visual_logits(output, x, parts[:, None], each, model.epsilon)[:, 0]
        part = draw(values, sampling, jax.vmap(jax.random.fold_in, (0, None))(keys, j))
        parts = jnp.concatenate([parts, jnp.tile(part, twins)[:, None].astype(jnp.int32)], axis=1)
    return VISUAL_OFFSET + join_factors(parts[: keys.shape[0]], each)


@functools.partial(jax.jit, static_argnames=("model", "segment", "read", "rest"), donate_argnames=("state",))
def write_segment(
    params: Any,
    state: State,
    prompt: Prompt,
    keys: Key[Array, " b"],
    sampling: Sampling,
    *,
    model: PrefixLM,
    segment: Segment,
    read: int,
    rest: bool,
) -> State:
    """Reads the ids from `read` to the segment's start (prefix, markers), then writes the segment.

    Args:
        rest: whether something follows that needs the last id to have been read.
    """
    if read < segment.start:
        state = forward(model, params, prompt, state, read, segment.start - read, segment.start)
    twins = state.ids.shape[0] // keys.shape[0]

    def choose(state: State, i: Array) -> State:
        own = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        chosen = draw_ids(model, params["output"], state.hidden, segment, i, sampling, own)
        return state.replace(ids=state.ids.at[:, i].set(jnp.tile(chosen, twins).astype(state.ids.dtype)))

    def turn(state: State, i: Array) -> tuple[State, None]:
        return forward(model, params, prompt, choose(state, i), i, 1, segment.stop), None

    turns = segment.length if rest else segment.length - 1
    state, _ = jax.lax.scan(turn, state, segment.start + jnp.arange(turns))
    return state if rest else choose(state, jnp.asarray(segment.stop - 1))


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _make_cache(model: PrefixLM, rows: int, length: int) -> Cache:
    """An empty cache, every part of it made where it will stay."""
    return model.make_cache(rows, length)


def make_prompt(batch: Batch, guided: bool) -> Prompt:
    """The rows of `generate`, and below them their twins."""
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    sides = [("text", "text_mask"), ("empty_text", "empty_text_mask")][: 2 if guided else 1]
    twins = len(sides)

    def both(x: Array) -> Array:
        return jnp.concatenate([x] * twins)

    return Prompt(
        table=both(batch["table"]),
        positions=both(batch["positions"]),
        next_positions=both(shift_left(batch["positions"])),
        prefix_length=both(batch["prefix_length"]),
        valid=jnp.concatenate([text_valid(batch, batch[mask]) for _, mask in sides]),
        text=jnp.concatenate([batch[text] for text, _ in sides]),
        text_index=both(text_index(batch, batch["text_mask"].shape[-1])),
    )


def written(layout: Layout) -> Iterator[tuple[Segment, int, bool]]:
    """(segment, first position not read yet, whether more follows) of every run of codes in the output."""
    runs = [s for s in layout.segments if s.output and s.kind in CODES]
    read = 0
    for segment in runs:
        yield segment, read, segment is not runs[-1]
        read = segment.stop


def generate(
    model: PrefixLM,
    params: Any,
    batch: Batch,
    layout: Layout,
    keys: Key[Array, " b"],
    sampling: Sampling,
    callback: Callable[[int, int, Int[Array, "b n"]], None] | None = None,
) -> Int[Array, "b n"]:
    """The ids of whole sequences, output included.

    Args:
        params: of the model, unboxed.
        batch: stacked `assemble(layout, record, outputs=False)`, with `text` [b l c], the embeddings of its text; with
            guidance also `empty_text`, `empty_text_mask`, those of the empty prompt or of a negative one.
        keys: one for each row, which alone decides its draws.
        callback: called after each segment with (segments done, segments in all, ids).
    """
    guided = sampling.checked().guidance_scale is not None
    if guided and "empty_text" not in batch:
        raise ValueError("guidance_scale without empty_text: add the empty prompt's embeddings or pass None.")
    prompt = make_prompt(batch, guided)
    ids = jnp.concatenate([jnp.array(batch["ids"])] * (2 if guided else 1))  # a copy: the loops donate it
    rows, runs = ids.shape[0], list(written(layout))
    hidden = jnp.zeros((rows, model.width), model.dtype)
    state = State(ids=ids, cache=_make_cache(model, rows, runs[-1][0].stop), hidden=hidden)
    for done, (segment, read, rest) in enumerate(runs, 1):
        static = dict(model=model, segment=segment, read=read, rest=rest)
        state = write_segment(params, state, prompt, keys, sampling, **static)
        if callback is not None:
            callback(done, len(runs), state.ids[: keys.shape[0]])
    return state.ids[: keys.shape[0]]
