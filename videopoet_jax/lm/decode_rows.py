"""Writing rows of several layouts at once: what a row's position is to be is data here, and not shape.

    row 0    <bos> 7 | <bov_o> v v v <eov_o> <eos>         position by position, each head that a row needs there:
    row 1    <bos> 7 8 9 | <boa_o> a a <eoa_o> <eos>       markers stand, codes are drawn

`decode.generate` writes the rows of one layout, a segment at a time, and is faster. This is one jitted function of
arrays alone, for who hands rows over as they come: an evaluator that batches a mixture's examples, say.
"""

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Int, Key

from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import State, draw_ids, forward, make_prompt
from videopoet_jax.lm.logits import Params
from videopoet_jax.lm.transformer import Batch, PrefixLM
from videopoet_jax.sequence.grid import AUDIO_CODES
from videopoet_jax.sequence.layout import Segment
from videopoet_jax.sequence.vocabulary import AUDIO, AUDIO_OFFSET, SPECIAL_TEXT, TEXT_OFFSET, VISUAL


def drawn(model: PrefixLM, batch: Batch) -> list[tuple[Segment, Bool[Array, "b n"]]]:
    """Each kind of id that is not known before any clip, and where the output has it.

    Of the ids that stand there only the kind is looked at: their table, the level of a code of sound.
    """
    ids, table, output = (jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))
    levels = jnp.where(table == AUDIO, (ids - AUDIO_OFFSET) // AUDIO_CODES, -1)
    kinds = [(Segment("video", True, 0, 1), table == VISUAL)]
    kinds += [(Segment("audio", True, 0, 1, level=q), levels == q) for q in range(model.audio_levels)]
    if model.text_pieces:
        kinds.append((Segment("pieces", True, 0, 1), (table == SPECIAL_TEXT) & (ids >= TEXT_OFFSET)))
    return [(segment, where & (output > 0)) for segment, where in kinds]


def generate_rows(
    model: PrefixLM, params: Params, batch: Batch, keys: Key[Array, " b"], sampling: Sampling
) -> Int[Array, "b n"]:
    """The ids of whole sequences, output included; the same as `decode.generate` gives, row by row.

    Args:
        params: of the model, unboxed.
        batch: stacked `assemble(layout, record)` of any layouts, padded to one length, with `text` [b l c], the
            embeddings of its text; with guidance also `empty_text`, `empty_text_mask`. The codes of the output say
            which kind of code is to stand there, and are not read otherwise.
        keys: one for each row, which alone decides its draws.
    """
    guided = sampling.guidance_scale is not None
    prompt, kinds, rows = make_prompt(batch, guided), drawn(model, batch), len(keys)
    unknown = jnp.any(jnp.stack([where for _, where in kinds]), axis=0)
    ids = jnp.tile(jnp.where(unknown, 0, batch["ids"]), (2 if guided else 1, 1))
    n = ids.shape[1]

    def choose(state: State, i: Array) -> State:
        own, chosen = jax.vmap(jax.random.fold_in, (0, None))(keys, i), state.ids[:rows, i]

        def draw(segment: Segment) -> Array:
            return draw_ids(model, params["output"], state.hidden, segment, i, sampling, own).astype(ids.dtype)

        for segment, where in kinds:
            here = where[:, i]
            draw_it, leave = functools.partial(draw, segment), functools.partial(jnp.zeros, rows, ids.dtype)
            chosen = jnp.where(here, jax.lax.cond(jnp.any(here), draw_it, leave), chosen)
        return state.replace(ids=state.ids.at[:, i].set(jnp.tile(chosen, len(state.ids) // rows)))

    def turn(i: Array, state: State) -> State:
        return forward(model, params, prompt, choose(state, i), i, 1, n)

    state = State(ids, model.make_cache(len(ids), n), jnp.zeros((len(ids), model.width), model.dtype))
    state = forward(model, params, prompt, state, 0, n, n)  # the prefixes; what lies behind them is read again
    # A row whose prefix is longer reads the rest of it again, and finds the same.
    first = jnp.min(prompt.prefix_length)
    stop = jnp.max(jnp.where(unknown, jnp.arange(n) + 1, 0))
    state = forward(model, params, prompt, state, first - 1, 1, n)
    return jax.lax.fori_loop(first, stop, turn, state).ids[:rows]
