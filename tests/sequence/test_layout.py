"""Layouts on literal tokens, and both ways for every task."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from videopoet_jax.sequence import layout as layouts
from videopoet_jax.sequence.assembly import assemble, disassemble
from videopoet_jax.sequence.grid import Grid
from videopoet_jax.sequence.layout import layout_for
from videopoet_jax.sequence.tasks import TASKS
from videopoet_jax.sequence.vocabulary import AUDIO, SPECIAL_TEXT, TEXT_EMBEDDING, VISUAL, Vocabulary, name_of

VOCABULARY = Vocabulary(visual_codes=2**18, audio_levels=4, text_pieces=9)


def make(name, *, frames=5, height=16, width=32, levels=1, text_length=2, source="video", audio_order="levels"):
    grid = Grid(frames, height, width, 16, levels)
    task = TASKS[name] if isinstance(name, str) else name
    return layout_for(
        task, grid, vocabulary=VOCABULARY, text_length=text_length, source=source, audio_order=audio_order
    )


def record_for(layout, seed=0):
    rng, grid = np.random.default_rng(seed), layout.grid
    shapes = {key: grid.latents for key in layout.task.keys(sound=True) if key != "audio"}
    shapes |= {"last_frame": (1, *grid.latents[1:])} if "last_frame" in shapes else {}
    return {
        **{key: rng.integers(0, 2**18, shape) for key, shape in shapes.items()},
        "audio": rng.integers(0, 1024, (grid.audio_frames, grid.audio_levels)),
        "text_ids": np.where(np.arange(layout.text_length) < 1, 1, 0),  # `</s>`
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


def test_a_text_to_image_is_the_first_frame_of_a_clip_and_can_be_continued():
    layout = make("text_to_image", frames=17, levels=1)
    assert layout.grid.frames == 1
    clip = record_for(make("text_to_video", frames=17))
    example = assemble(layout, clip)
    assert_array_equal(disassemble(layout, example["ids"])["video"], clip["video"][:1])
    assert names(example).endswith("<duration:1> <bov_o> " + " ".join(name_of(int(i)) for i in example["ids"][-2:]))
    assert "<eov_o>" not in names(example) and "<eos>" not in names(example)


def test_an_audio_video_continuation_reads_a_frame_and_its_sound():
    layout = make("audio_video_continuation", frames=17, levels=2)
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


TEXT = {"text_ids": np.array([5, 1]), "text_mask": np.array([True, True])}
VIDEO, OTHER = np.array([[[7, 8]], [[3, 9]]]), np.array([[[70, 80]], [[30, 90]]])
SILENT = [
    (
        "inpainting",
        {"video": VIDEO, "inpainting": OTHER},
        "<bos> <task:inpainted> <bov_i> v70 v80 v30 v90 <eov_i> <source:video> <res:landscape> <duration:5> "
        "<bov_o> v7 v8 v3 v9 <eov_o> <eos>",
    ),
    (
        "editing",
        {"video": VIDEO, "editing": OTHER},
        "<bos> <task:inpainted> <bot_i> <text> <text> <eot_i> <bov_i> v70 v80 v30 v90 <eov_i> "
        "<source:video> <res:landscape> <duration:5> <bov_o> v7 v8 v3 v9 <eov_o> <eos>",
    ),
    (
        "stylization_with_first_frame",
        {"video": VIDEO, "structure": OTHER},
        "<bos> <task:stylized> <bot_i> <text> <text> <eot_i> <bov_i> v70 v80 v30 v90 <eov_i> <bov_i> v7 v8 <eov_i> "
        "<source:video> <res:landscape> <duration:5> <bov_o> v3 v9 <eov_o> <eos>",
    ),
    (
        "frame_interpolation",
        {"video": VIDEO, "last_frame": OTHER[:1]},
        "<bos> <task:video> <bov_i> v7 v8 <eov_i> <bov_i> v70 v80 <eov_i> <source:video> <res:landscape> <duration:5> "
        "<bov_o> v3 v9 <eov_o> <eos>",
    ),
    (
        "captioning",
        {"video": VIDEO},
        "<bos> <task:text> <bov_i> v7 v8 v3 v9 <eov_i> <source:video> <res:landscape> <duration:5> <bot_o> t5 t1",
    ),
]


@pytest.mark.parametrize("name, record, tokens", SILENT, ids=[name for name, *_ in SILENT])
def test_what_else_is_read_and_written_token_by_token(name, record, tokens):
    layout = make(name, levels=0)
    example = assemble(layout, record | TEXT)
    assert names(example) == tokens
    back = disassemble(layout, example["ids"])
    for key in set(record) | ({"text_ids"} if name == "captioning" else set()):
        assert_array_equal(back[key], (record | TEXT)[key])


def test_a_frame_alone_has_the_time_of_its_frame_and_another_view_a_modality_of_its_own():
    layout = make("frame_interpolation", levels=0, frames=17)
    (alone,) = (s for s in layout.segments if s.alone)
    time, height, width, modality = layout.positions[alone.start + 1]
    assert (time, height, width) == (100, 0, 1)  # 16 frames of 6.25
    assert layouts.MODALITIES[modality] == "video_in"
    layout = make("inpainting", levels=0)
    kinds = [layouts.MODALITIES[m] for m in layout.positions[:, 3]]
    assert kinds.count("other_in") == 4 == kinds.count("video_out")


def test_a_text_that_is_written_counts_to_its_end():
    layout = make("captioning", levels=0, text_length=4)
    text = {"text_ids": np.array([5, 1, 0, 0]), "text_mask": np.array([True, True, False, False])}
    example = assemble(layout, {"video": VIDEO, **text})
    assert example["weights"].tolist() == [0] * 11 + [1, 1, 1, 0, 0]
    assert example["valid"].tolist() == [True] * 14 + [False] * 2
    ids = example["ids"].copy()
    ids[-2:] = 266_496 + 3  # what a model writes behind the end
    assert_array_equal(disassemble(layout, ids)["text_ids"], [5, 1, 0, 0])
    prefix = assemble(layout, {"video": VIDEO}, outputs=False)
    assert (prefix["ids"][-4:] == 0).all()
    with pytest.raises(ValueError, match="text pieces 5 … 9: must lie in 0 … 8; a model that writes text has text_pi"):
        assemble(layout, {"video": VIDEO, **text, "text_ids": np.array([5, 9, 5, 5])})


def test_sound_alone_needs_sound():
    with pytest.raises(ValueError, match="task video_to_audio of a silent clip: sound is all that it reads, or writes"):
        make("video_to_audio", levels=0)
    assert "boa" not in make("audio_video_continuation", levels=0).show()


@settings(max_examples=80, deadline=None)
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
    assume(levels or not TASKS[name].needs_sound)
    layout = make(name, **sizes, audio_order=audio_order)
    record = record_for(layout, seed)
    example = assemble(layout, record)
    back = disassemble(layout, example["ids"])
    text = ("text_ids",) if name == "captioning" else ()
    assert set(back) == {*layout.task.keys(sound=bool(levels)), *text}
    batch = disassemble(layout, np.stack([example["ids"]] * 2))
    for key, codes in back.items():
        assert_array_equal(codes, record[key])
        assert_array_equal(batch[key][1], record[key])

    n = layout.length
    expected = {"ids": (n,), "table": (n,), "positions": (n, 4), "prefix_length": (), "weights": (n,), "valid": (n,)}
    assert {k: v.shape for k, v in example.items()} == expected | {
        "text_ids": (text_length,),
        "text_mask": (text_length,),
    }
    table_of_id = np.select(
        [example["ids"] == 13, example["ids"] < 256, example["ids"] < 262_400, example["ids"] < 266_496],
        [TEXT_EMBEDDING, SPECIAL_TEXT, VISUAL, AUDIO],
        SPECIAL_TEXT,
    )
    assert_array_equal(example["table"], table_of_id)
    written = np.arange(n) >= example["prefix_length"]
    assert_array_equal(example["weights"], written & example["valid"] if text else written)
    assert example["ids"][0] == 1 and (example["ids"][-1] == 2) == layout.task.ends
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
    read = {s.key for s in layout.segments if not s.output}
    needed = read | ({"text_ids", "text_mask"} if layout.task.text else set())
    without = {k: v for k, v in record.items() if k in needed}
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
