"""What the benchmark of writing is told, and prints of times that are given to it."""

import json
from types import SimpleNamespace

import contest
import generate
import pytest
from generate import Case


def test_a_case_is_what_is_written():
    assert Case.parse("nano:8") == Case("nano", 8, False) and Case.parse("nano:1:guided") == Case("nano", 1, True)
    assert [Case.parse(text).rows for text in generate.CASES] == [1, 1, 8, 8, 32, 32]
    for text in ("nano", "nano:0", "nano:8:fast"):
        with pytest.raises(ValueError, match=f"{text}: unknown; write SHAPE:ROWS"):
            Case.parse(text)


def test_both_sides_read_and_draw_as_much():
    assert generate.lengths(Case("nano", 1, False)) == (22, 80 + 106)


def test_the_ratio_is_the_median_of_the_turns(monkeypatch, capsys):
    seconds = {"ours": [1.0, 1.0, 2.0], generate.PEER: [3.0, 5.0, 4.0]}

    def raced(script, case, sides, rounds):
        return {s: SimpleNamespace(side=s, seconds=seconds[s], median=seconds[s][0], cpu_median=1.0) for s in sides}

    monkeypatch.setattr(contest, "contest", raced)
    generate.compare("nano:8:guided")
    found = json.loads(capsys.readouterr().out)
    assert (found["ratio"], found["ratios"], found["goal"]) == (3.0, [2.0, 5.0], 2.0)
    assert found["tokens"] == 8 * 186 and found["tokens_per_second"] == 8 * 186
