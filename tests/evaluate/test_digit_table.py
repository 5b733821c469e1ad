"""The table: intervals, rows handed in, and cheats that get nowhere."""

import numpy as np
import pytest

from videopoet_jax.data import moving_digits as world
from videopoet_jax.evaluate.digit_table import Rate, Sample, cheats, score_row, score_table, to_json, to_markdown
from videopoet_jax.evaluate.digits import parse

PROMPTS = ["a red 3 moving down", "a white 7 moving up"]


def clip_of(rendered):
    return Sample(rendered.frames, rendered.audio, world.SAMPLE_RATE)


def true(prompts, seeds):
    for prompt, seed in zip(prompts, seeds, strict=True):
        yield clip_of(world.render_prompt(*parse(prompt), split="train", index=seed))


def training(count=40):
    clips = [world.render("train", 1, i) for i in range(count)]
    return [(c.truth.caption, clip_of(c)) for c in clips]


def test_wilsons_interval():
    np.testing.assert_allclose(Rate(81, 263).interval, (0.2553, 0.3662), atol=1e-4)  # Newcombe 1998, table I
    np.testing.assert_allclose(Rate(0, 20).interval, (0.0, 0.1611), atol=1e-4)
    assert Rate(208, 208).interval[1] == 1.0 and Rate(0, 0).interval == (0.0, 1.0)
    assert str(Rate(1, 2)).startswith("50.0 % (")


def test_true_clips_head_the_table_and_cheats_end_at_nothing():
    heard = []
    rows = score_table(PROMPTS, range(4), {"true clips": true, **cheats(true, training())}, heard.append)
    assert [r.name for r in rows] == [r.name for r in heard] and len(rows) == 5
    assert rows[0].rates["all"] == Rate(8, 8) and rows[0].glyphs == Rate(2, 2)
    assert all(row.rates["all"].right == 0 for row in rows[1:])
    held = rows[1]
    assert held.rates["digit"].right == 8 and held.rates["path"].right == 0
    assert rows[4].rates["path"].right == 8  # real clips, only not those that were asked for


def test_the_table_as_text_and_as_numbers():
    rows = score_table(PROMPTS[:1], [0], {"true clips": true})
    text = to_markdown(rows).splitlines()
    assert (
        "n = 1 clips" in text[0]
        and text[2].startswith("| true clips | 100.0 % (")
        and len({t.count("|") for t in text}) == 1
    )
    figures = to_json(rows)[0]
    assert figures["all"]["right"] == figures["all"]["n"] == 1 and figures["glyphs"]["n"] == 1


def test_a_row_makes_a_clip_for_each_prompt():
    with pytest.raises(ValueError, match="0 clips for 2 prompts"):
        score_row("lazy", lambda prompts, seeds: [], PROMPTS, [0])


def test_no_two_clips_of_an_evaluation_share_their_random_numbers():
    from videopoet_jax.cli.evaluate import own_seeds

    seeds = own_seeds(PROMPTS * 4, [n for n in range(4) for _ in PROMPTS])
    assert len(set(seeds)) == 8 and seeds == own_seeds(PROMPTS * 4, [n for n in range(4) for _ in PROMPTS])
