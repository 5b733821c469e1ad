"""`videopoet evaluate tasks` on nano."""

import json

from click.testing import CliRunner
from PIL import Image

from videopoet_jax.cli.evaluate_tasks import command


def test_tasks_are_scored_beside_copies_and_cheat(tmp_path):
    report, sheet = tmp_path / "scores.json", tmp_path / "sheet.png"
    asked = ["nano", "--cases", "2", "--task", "frame_prediction_13"]
    done = CliRunner().invoke(command, [*asked, "--json", str(report), "--sheet", str(sheet)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    scores = json.loads(report.read_text())
    assert list(scores) == ["nano", "copies", "cheat"]
    ends = [scores[system]["frame_prediction_13"]["end"]["median"] for system in scores]
    assert ends[0] < 4 and ends[1] < 2 and ends[2] > 4  # trained; what tokenizers leave of the truth; held still
    assert Image.open(sheet).height > 2 * 64
