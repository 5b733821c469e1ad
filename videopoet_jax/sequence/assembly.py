"""A record of codes → a sequence, as its layout places it, and back.

codes `video [[[7 8]] [[3 9]]]`   →   ids … <bov_i> 263 264 <eov_i> … | <bov_o> 259 265 <eov_o> …
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from videopoet_jax.sequence import vocabulary as vocab
from videopoet_jax.sequence.layout import CODES, Layout, Segment
from videopoet_jax.sequence.vocabulary import Vocabulary


def assemble(layout: Layout, record: Mapping[str, np.ndarray], *, outputs: bool = True) -> dict[str, np.ndarray]:
    """A record → one example of the language model's batch.

    codes `video [[[7 8]] [[3 9]]]` →
    ids `… <bov_i> 263 264 <eov_i> … | <bov_o> 259 265 <eov_o> …`, weights `… 0 0 0 0 … | 1 1 1 1 …`

    Args:
        record: codes of the *whole* clip, `video` [t h w], `audio` [f q] and what else `task.keys` names, as far as the
            task needs them; `text_ids`, `text_mask` [l] where it has a text. Other entries (the empty prompt's, say)
            pass through.
        outputs: False to prepare a prefix: the codes to be written may be missing and stay `<pad>`.

    Returns:
        ids, table, weights, valid [n]; positions [n 4]; prefix_length []; text_ids, text_mask [l]; what passed through.
    """
    ids = layout.ids.copy()
    weights = (np.arange(layout.length) >= layout.prefix_length).astype(np.float32)
    valid = np.ones(layout.length, bool)
    text_ids, text_mask = _text(layout, record, outputs)
    for segment in layout.segments:
        if segment.kind in CODES and (outputs or not segment.output):
            if segment.key not in record:
                raise ValueError(f"record {sorted(record)}: task {layout.task.name} needs {segment.key!r} codes.")
            ids[segment.start : segment.stop] = _segment_ids(layout, segment, np.asarray(record[segment.key]))
            if segment.kind == "pieces":
                weights[segment.start : segment.stop] = valid[segment.start : segment.stop] = text_mask
    tables = layout.tables
    if layout.task.text:
        valid[tables == vocab.TEXT_EMBEDDING] = text_mask
    used = {s.key for s in layout.segments} | {"video", "audio"}
    passed = {key: np.asarray(value) for key, value in record.items() if key not in used}
    return passed | {
        "ids": ids,
        "table": tables,
        "positions": layout.positions,
        "prefix_length": np.int32(layout.prefix_length),
        "weights": weights,
        "valid": valid,
        "text_ids": text_ids,
        "text_mask": text_mask,
    }


def _segment_ids(layout: Layout, segment: Segment, codes: np.ndarray) -> np.ndarray:
    if segment.kind == "pieces":
        return layout.vocabulary.text_ids(codes)
    if segment.kind == "video":
        needed = (1, *layout.grid.latents[1:]) if segment.alone else layout.grid.latents
        codes = codes[:1] if layout.task.frames == 1 else codes  # of a clip its first frame, which stands alone
        if codes.shape != needed:
            raise ValueError(f"{segment.key} codes of shape {codes.shape}: the layout needs {needed}.")
        count = segment.length // layout.grid.tokens_per_latent
        codes = codes[segment.first : segment.first + count].reshape(count, -1)
        words = layout.grid.words
        return layout.vocabulary.visual_ids((words.split(codes) if words else codes).reshape(-1))
    needed = (layout.grid.audio_frames, layout.grid.audio_levels)
    if codes.ndim != 2 or codes.shape[0] != needed[0] or codes.shape[1] < needed[1]:
        raise ValueError(f"{segment.key} codes of shape {codes.shape}: the layout needs {needed} (or more levels).")
    frames, levels = segment.length // segment.levels, range(segment.level, segment.level + segment.levels)
    part = codes[segment.first : segment.first + frames]
    return np.stack([layout.vocabulary.audio_ids(part[:, q], q) for q in levels], axis=-1).reshape(-1)


def _text(layout: Layout, record: Mapping[str, np.ndarray], outputs: bool) -> tuple[np.ndarray, np.ndarray]:
    """`text_ids` and `text_mask` of the record; nothing but padding for a task without text."""
    if not (layout.task.text or (outputs and layout.task.needs_text)):
        return np.zeros(layout.text_length, np.int32), np.zeros(layout.text_length, bool)
    if "text_ids" not in record or "text_mask" not in record:
        raise ValueError(f"record {sorted(record)}: task {layout.task.name} needs text_ids and text_mask.")
    ids, mask = np.asarray(record["text_ids"], np.int32), np.asarray(record["text_mask"], bool)
    if ids.shape != (layout.text_length,) or mask.shape != ids.shape:
        raise ValueError(f"text of shapes {ids.shape}, {mask.shape}: the layout has {layout.text_length} text slots.")
    return ids, mask


def disassemble(layout: Layout, ids: Int[np.ndarray, "*b n"]) -> dict[str, np.ndarray]:
    """Ids → the codes of the whole clip, those of the prefix and those of the output joined; batch axes are kept.

    `… <bov_i> 263 264 <eov_i> … | <bov_o> 259 265 <eov_o> …` → `video [[[7 8]] [[3 9]]]`

    What a task neither reads nor writes (the sound before a continuation that starts later) stays 0.

    Raises:
        ValueError: an id that its position does not allow, or another length.
    """
    ids = np.asarray(ids)
    if ids.shape[-1] != layout.length:
        raise ValueError(f"{ids.shape[-1]} ids: the layout of {layout.task.name} has {layout.length}.")
    grid, record = layout.grid, {}
    for s in layout.segments:
        part = ids[..., s.start : s.stop]
        if s.kind == "pieces":
            record[s.key] = _until_end(layout.vocabulary, part)
        elif s.kind == "video":
            latents = (1, *grid.latents[1:]) if s.alone else grid.latents
            whole = record.setdefault(s.key, np.zeros((*ids.shape[:-1], *latents), np.int32))
            count = s.length // grid.tokens_per_latent
            codes = layout.vocabulary.visual_codes_of(part).reshape(*ids.shape[:-1], count, -1)
            codes = grid.words.join(codes, int(np.prod(latents[1:]))) if grid.words else codes
            whole[..., s.first : s.first + count, :, :] = codes.reshape(*ids.shape[:-1], count, *latents[1:])
        elif s.kind == "audio":
            shape = (*ids.shape[:-1], grid.audio_frames, grid.audio_levels)
            whole = record.setdefault(s.key, np.zeros(shape, np.int32))
            part = part.reshape(*part.shape[:-1], -1, s.levels)
            for i in range(s.levels):
                codes = layout.vocabulary.audio_codes_of(part[..., i], s.level + i)
                whole[..., s.first : s.first + part.shape[-2], s.level + i] = codes
    return record


def _until_end(vocabulary: Vocabulary, ids: Int[np.ndarray, "*b l"]) -> Int[np.ndarray, "*b l"]:
    """Text ids → pieces up to the first `</s>` and it, then 0: `t9 t1 t7 → 9 1 0`."""
    pieces = np.where(ids == vocab.special_id("<pad>"), 0, ids - vocab.TEXT_OFFSET)
    kept = np.cumsum(np.cumsum(pieces == vocab.END_OF_TEXT, axis=-1), axis=-1) <= 1
    return vocabulary.text_pieces_of(np.where(kept, pieces, 0) + vocab.TEXT_OFFSET)
