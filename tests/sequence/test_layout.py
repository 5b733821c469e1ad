"""Layouts on literal tokens, and both ways for every task."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from videopoet_jax.sequence import layout as layouts
from videopoet_jax.sequence.grid import Grid
from videopoet_jax.sequence.layout import assemble, disassemble, layout_for
from videopoet_jax.sequence.tasks import TASKS, Span, Task
from videopoet_jax.sequence.vocabulary import AUDIO, SPECIAL_TEXT, TEXT_EMBEDDING, VISUAL, Vocabulary, name_of

VOCABULARY = Vocabulary(visual_codes=2**18, audio_levels=4, text_pieces=0)


def make(name, *, frames=5, height=16, width=32, levels=1, text_length=2, source="video", audio_order="levels"):
    grid = Grid(frames, height, width, 16, levels)
    task = TASKS[name] if isinstance(name, str) else name
    return layout_for(
        task, grid, vocabulary=VOCABULARY, text_length=text_length, source=source, audio_order=audio_order
    )


def record_for(layout, seed=0):
    rng, grid = np.random.default_rng(seed), layout.grid
    return {
        "video": rng.integers(0, 2**18, grid.latents),
        "audio": rng.integers(0, 1024, (grid.audio_frames, grid.audio_levels)),
        "text_ids": rng.integers(0, 9, layout.text_length),
        "text_mask": np.arange(layout.text_length) < 1,
    }


def names(example):
    return " ".join(name_of(int(i)) for i in example["ids"])


def test_image_to_video_token_by_token():
    layout = make("image_to_video")
    video = np.array([[[7, 8]], [[3, 9]]])
    audio = np.arange(31)[:, None]
    text = {"text_ids": np.array([5, 1]), "text_mask": np.array([True, False])}
    example = assemble(layout, {"video": video, "audio": audio, **text})
    sound = " ".join(f"a0:{i}" for i in range(31))
    assert names(example) == (
        "<bos> <task:video+audio> <bot_i> <text> <text> <eot_i> <bov_i> v7 v8 <eov_i> "
        "<source:video> <res:landscape> <duration:5> "
        f"<bov_o> v3 v9 <eov_o> <boa_o> {sound} <eoa_o> <eos>"
    )
    assert example["prefix_length"] == 13
    assert_array_equal(example["weights"], [0] * 13 + [1] * (layout.length - 13))
    assert_array_equal(example["valid"], [True] * 4 + [False] + [True] * (layout.length - 5))
    special, text_slot = SPECIAL_TEXT, TEXT_EMBEDDING
    prefix = [special] * 3 + [text_slot] * 2 + [special] * 2 + [VISUAL] * 2 + [special] * 4
    output = [special, VISUAL, VISUAL, special, special] + [AUDIO] * 31 + [special] * 2
    assert_array_equal(example["table"], prefix + output)
    text_in, video_in, video_out, audio_out = (
        layouts.MODALITIES.index(m) for m in ("text", "video_in", "video_out", "audio_out_0")
    )
    places = {3: (0, 0, 0, text_in), 4: (1, 0, 0, text_in), 7: (0, 0, 0, video_in), 8: (0, 0, 1, video_in),
              13: (6, 0, 0, 0), 14: (6, 0, 0, video_out), 15: (6, 0, 1, video_out), 16: (6, 0, 0, 0),
              18: (0, 0, 0, audio_out), 48: (30, 0, 0, audio_out), 49: (30, 0, 0, 0)}  # fmt: skip
    for position, place in places.items():
        assert tuple(example["positions"][position]) == place, position


@pytest.mark.parametrize(
    "name, shown",
    [
        (
            "text_to_video",
            "<bos> <task:video+audio> | <bot_i> | text 16 | <eot_i> | <source:moving_digits> <duration:17> | "
            "<bov_o> | video 80 | <eov_o> | <boa_o> | audio[0] 106 | <eoa_o> | <eos>",
        ),
        (
            "unconditional",
            "<bos> <task:video+audio> | <source:moving_digits> <duration:17> | "
            "<bov_o> | video 80 | <eov_o> | <boa_o> | audio[0] 106 | <eoa_o> | <eos>",
        ),
        (
            "frame_prediction_9",
            "<bos> <task:video+audio> | <bov_i> | video 48 | <eov_i> | <source:moving_digits> <duration:17> | "
            "<bov_o> | video 32 | <eov_o> | <boa_o> | audio[0] 106 | <eoa_o> | <eos>",
        ),
    ],
)
def test_nano_layouts(name, shown):
    layout = make(name, frames=17, height=64, width=64, text_length=16, source="moving_digits")
    assert layout.show() == shown


def test_audio_is_written_level_by_level_coarse_first():
    layout = make("unconditional", frames=1, levels=3)
    audio = np.arange(18).reshape(6, 3)  # frame f, level q: 3·f + q
    example = assemble(layout, {"video": np.zeros((1, 1, 2), int), "audio": audio})
    levels = [" ".join(f"a{q}:{3 * f + q}" for f in range(6)) for q in range(3)]
    assert f"<boa_o> {' '.join(levels)} <eoa_o> <eos>" in names(example)


def test_all_levels_of_a_frame_together_are_the_other_order():
    layout = make("unconditional", frames=1, levels=3, audio_order="frames")
    audio = np.arange(18).reshape(6, 3)  # frame f, level q: 3·f + q
    example = assemble(layout, {"video": np.zeros((1, 1, 2), int), "audio": audio})
    frames = [" ".join(f"a{q}:{3 * f + q}" for q in range(3)) for f in range(6)]
    assert f"<boa_o> {' '.join(frames)} <eoa_o> <eos>" in names(example)
    assert layout.show().endswith("<boa_o> | audio[0…2] 18 | <eoa_o> | <eos>")
    by_level = assemble(make("unconditional", frames=1, levels=3), {"video": np.zeros((1, 1, 2), int), "audio": audio})
    columns = [
        set(zip(e["ids"].tolist(), map(tuple, e["positions"].tolist()), strict=True)) for e in (example, by_level)
    ]
    assert columns[0] == columns[1]  # each token has the time and the modality that it has in the other order
    with pytest.raises(ValueError, match="audio_order 'codes': unknown; use one of levels, frames"):
        make("unconditional", audio_order="codes")


def test_a_silent_clip_drops_sound_and_its_markers():
    layout = make("text_to_video", levels=0)
    example = assemble(layout, record_for(layout))
    assert "boa" not in names(example) and "<task:video> " in names(example)
    assert set(disassemble(layout, example["ids"])) == {"video"}


def test_a_text_to_image_is_one_declaration_and_can_be_continued():
    task = Task("text_to_image", output="image", text=True, reads=(), writes=(Span("video"),), ends=False)
    layout = make(task, frames=1, levels=0)
    example = assemble(layout, record_for(layout))
    assert names(example).endswith("<duration:1> <bov_o> " + " ".join(name_of(int(i)) for i in example["ids"][-2:]))
    assert "<eov_o>" not in names(example) and "<eos>" not in names(example)


def test_an_audio_video_continuation_is_one_declaration():
    task = Task(
        name="audio_video_continuation",
        output="video",
        text=False,
        reads=(Span("video", 0, 1), Span("audio", 0, 1)),
        writes=(Span("video", 1), Span("audio", 1)),
    )
    layout = make(task, frames=17, levels=2)
    record = record_for(layout)
    lengths = {(s.kind, s.output, s.level): s.length for s in layout.segments if s.kind in ("video", "audio")}
    assert lengths == {
        ("video", False, 0): 2, ("audio", False, 0): 6, ("audio", False, 1): 6,
        ("video", True, 0): 8, ("audio", True, 0): 100, ("audio", True, 1): 100,
    }  # fmt: skip
    assert_array_equal(disassemble(layout, assemble(layout, record)["ids"])["audio"], record["audio"])


def test_portrait_has_a_resolution_token_and_a_square_none():
    assert "<res:portrait>" in make("unconditional", height=32, width=16).show()
    assert "<res:" not in make("unconditional", height=32, width=32).show()


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(TASKS)),
    latents=st.integers(5, 8),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
    levels=st.integers(0, 4),
    text_length=st.integers(1, 5),
    seed=st.integers(0, 99),
    audio_order=st.sampled_from(layouts.ORDERS),
)
def test_both_ways_for_every_task(name, latents, height, width, levels, text_length, seed, audio_order):
    sizes = dict(frames=4 * latents - 3, height=16 * height, width=16 * width, levels=levels, text_length=text_length)
    layout = make(name, **sizes, audio_order=audio_order)
    record = record_for(layout, seed)
    example = assemble(layout, record)
    back = disassemble(layout, example["ids"])
    assert_array_equal(back["video"], record["video"])
    if levels:
        assert_array_equal(back["audio"], record["audio"])
    batch = disassemble(layout, np.stack([example["ids"]] * 2))
    assert_array_equal(batch["video"][1], record["video"])

    n = layout.length
    expected = {"ids": (n,), "table": (n,), "positions": (n, 4), "prefix_length": (), "weights": (n,), "valid": (n,)}
    assert {k: v.shape for k, v in example.items()} == expected | {
        "text_ids": (text_length,),
        "text_mask": (text_length,),
    }
    table_of_id = np.select(
        [example["ids"] == 13, example["ids"] < 256, example["ids"] < 262_400],
        [TEXT_EMBEDDING, SPECIAL_TEXT, VISUAL],
        AUDIO,
    )
    assert_array_equal(example["table"], table_of_id)
    assert_array_equal(example["weights"], np.arange(n) >= example["prefix_length"])
    assert example["ids"][0] == 1 and example["ids"][-1] == 2
    assert (example["positions"] >= 0).all() and (example["positions"][:, 3] < len(layouts.MODALITIES)).all()


@pytest.mark.parametrize("name", TASKS)
def test_a_prefix_needs_no_outputs(name):
    layout = make(name, frames=17)
    record = record_for(layout)
    whole, prefix = assemble(layout, record), assemble(layout, record, outputs=False)
    p = layout.prefix_length
    assert_array_equal(prefix["ids"][:p], whole["ids"][:p])
    codes = np.isin(prefix["table"][p:], (VISUAL, AUDIO))
    assert (prefix["ids"][p:][codes] == 0).all()
    without = {k: v for k, v in record.items() if k != "audio"}
    assert_array_equal(assemble(layout, without, outputs=False)["ids"], prefix["ids"])


def test_other_entries_of_a_record_pass_through():
    layout = make("text_to_video")
    example = assemble(layout, record_for(layout) | {"empty_text_ids": np.array([1, 0])})
    assert_array_equal(example["empty_text_ids"], [1, 0])


def test_mistakes_are_named():
    layout = make("text_to_video")
    record = record_for(layout)
    with pytest.raises(ValueError, match="needs 'audio' codes"):
        assemble(layout, {k: v for k, v in record.items() if k != "audio"})
    with pytest.raises(ValueError, match=r"video codes of shape \(1, 1, 2\): the layout needs \(2, 1, 2\)"):
        assemble(layout, record | {"video": record["video"][:1]})
    with pytest.raises(ValueError, match="2 text slots"):
        assemble(layout, record | {"text_ids": np.zeros(3, int), "text_mask": np.zeros(3, bool)})
    ids = assemble(layout, record)["ids"]
    ids[-5] = 256
    with pytest.raises(ValueError, match="audio codes of level 0"):
        disassemble(layout, ids)
    with pytest.raises(ValueError, match="frames 5 … 5 of a clip of 5: need start < stop"):
        make("frame_prediction_5", frames=5)


def test_a_layout_is_hashable_and_its_arrays_cached():
    layout = make("text_to_video")
    assert hash(layout) == hash(make("text_to_video"))
    assert layout.positions is layout.positions
    assert dataclasses.replace(layout, text_length=2) == layout
