"""`videopoet evaluate scaling` on lines whose law is known."""

import json

import pytest
from PIL import Image

from videopoet_jax.cli.main import main
from videopoet_jax.evaluate.scaling import Law

LAW = Law(1.0, 1.5 * 0.25e6**0.4, 0.4, 1.5 * 0.2e6**0.5, 0.5)


def line(size, tokens):
    def value(scale):
        return {"nats": {"value": scale * LAW.loss(size, tokens), "interval": [0.0, 9.0]}}

    losses = {"text_to_video": value(1.0), "unconditional": value(2.0)}
    return {
        "name": f"{size:.0f}_{tokens:.0f}",
        "size": size,
        "tokens": tokens,
        "flops": 6 * size * tokens,
        "losses": losses,
    }


@pytest.fixture
def lines(tmp_path):
    found = [line(n, d) for n in (0.25e6, 0.8e6, 2.5e6) for d in (0.2e6, 0.6e6, 1.8e6)]
    (tmp_path / "losses.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
    return found


def run(folder, *options):
    main(["evaluate", "scaling", str(folder / "losses.jsonl"), *map(str, options)])


def test_the_law_is_found_told_and_drawn(lines, tmp_path, capsys):
    right = {"right": 3, "n": 4, "share": 0.75, "interval": [0.3, 0.95]}
    found = {"text_to_video": {"right": right, "end": {"median": None, "interval": [1, 2]}}}
    scores = {one["name"]: found for one in lines}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    run(
        tmp_path,
        "--scores",
        tmp_path / "scores.json",
        "--figure",
        tmp_path / "law.png",
        "--json",
        tmp_path / "out.jsonl",
    )
    told = capsys.readouterr().out
    assert "| 2.50 M | 1.80 M | 2.70e+13 |" in told and "75.0 % (30.1–95.4) | ∞ |" in told
    *models, last = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert [m["name"] for m in models] == [m["name"] for m in lines] and models[-1]["scores"]["text_to_video"]
    assert last["fit"]["law"] == pytest.approx(LAW._asdict(), rel=0.02)
    low, high = last["fit"]["ranges"]["law"]["alpha"]
    assert low <= 0.401 and high >= 0.399
    picture = Image.open(tmp_path / "law.png")
    assert picture.width > 1.5 * picture.height  # two panels
    run(tmp_path, "--task", "unconditional", "--figure", tmp_path / "one.png")
    assert Image.open(tmp_path / "one.png").width < picture.width


@pytest.mark.parametrize("spoil, words", [
    (lambda text: text + "{}\n", "line 10: none of `videopoet evaluate losses --json`; write it anew."),
    (lambda text: text.replace('"nats"', '"bits"'), "line 1: none of `videopoet evaluate losses --json`"),
    (lambda text: "[1, 2]\n", "line 1: none of"),
    (lambda text: "not JSON\n", "line 1: none of"),
    (lambda text: "", "empty; write it with"),
    (lambda text: text.splitlines()[0] + "\n", "1 models of 1 sizes, on 1 budgets of tokens"),
])  # fmt: skip
def test_lines_that_are_none_are_one_line(lines, tmp_path, capsys, spoil, words):
    path = tmp_path / "losses.jsonl"
    path.write_text(spoil(path.read_text()))
    with pytest.raises(SystemExit) as leave:
        run(tmp_path)
    assert leave.value.code == 2 and words in capsys.readouterr().err


@pytest.mark.parametrize("text, words", [
    ("nothing", "scores.json: none of `videopoet evaluate tasks --json`"),
    ("[]", "scores.json: none of"),
    ('{"250000_200000": {"text_to_video": {}}}', "scores.json: without 250000_600000, "),
])  # fmt: skip
def test_scores_of_other_models_are_one_line(lines, tmp_path, capsys, text, words):
    (tmp_path / "scores.json").write_text(text)
    with pytest.raises(SystemExit) as leave:
        run(tmp_path, "--scores", tmp_path / "scores.json")
    assert leave.value.code == 2 and words in capsys.readouterr().err


def test_a_task_without_losses_names_those_with(lines, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--task", "inpainting")
    assert "--task inpainting: 250000_200000 has no loss of it; use one of text_to_video" in capsys.readouterr().err
