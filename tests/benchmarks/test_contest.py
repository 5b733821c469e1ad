"""A benchmark's line says how a ratio stands to its goal, and one below the floor is a failure."""

import json
from pathlib import Path

import contest
import pytest


def test_a_ratio_below_the_floor_is_printed_and_then_a_failure(capsys):
    with pytest.raises(contest.Failed, match=r"decode: 0\.5, below the floor of 0\.7"):
        contest.line("decode", 2.0, 1.0, "s", 1, floor=0.7)
    result = json.loads(capsys.readouterr().out)
    assert (result["ours"], result["peer"], result["ratio"], result["goal"], result["floor"]) == (2, 1, 0.5, 1, 0.7)


def test_what_has_no_peer_cannot_be_below_the_floor(capsys):
    contest.line("decode", 2.0, None, "s", 1, floor=1)
    assert json.loads(capsys.readouterr().out)["ratio"] is None


CONTESTANT = """
import contest, sys, time
leaves = sys.argv[-1] == "absent"
contest.serve(lambda: sys.exit(1) if leaves else lambda: time.sleep(0.2), memory=lambda: 7.0)
"""


def test_every_side_runs_in_a_process_of_its_own(tmp_path):
    script = tmp_path / "sides.py"
    script.write_text(CONTESTANT)
    settings = {"PYTHONPATH": str(Path(contest.__file__).parent)}
    sides = contest.contest(script, "sleep", ["ours", "peer"], 2, settings)
    for side in sides.values():
        assert len(side.seconds) == 2 and side.median >= 0.2 and side.peak_mb == 7
    with pytest.raises(contest.Failed, match="sleep, absent: ended early"):
        contest.contest(script, "sleep", ["ours", "absent"], 2, settings)


def test_one_failure_leaves_the_other_cases(capsys):
    def compare(name):
        if name == "b":
            raise contest.Failed("too slow")
        return name.upper()

    assert contest.each("abc", compare) == ({"a": "A", "c": "C"}, True)
    assert json.loads(capsys.readouterr().out) == {"name": "b", "error": "too slow"}
