"""Any text in any script becomes ids and comes back; what does not fit is cut and said so."""

import unicodedata

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.text.vocabulary import EOS, FILE, PAD, Pieces

SCRIPTS = [
    "a red 3 moving left",
    "Ein grüner Drache fliegt über Köln",
    "一只红色的猫在跑步",
    "قطة حمراء تتحرك إلى اليسار",
    "красный кот",
    "לחתול אדום",
    "लाल बिल्ली",
    "🙂🎉👩‍🚀 in space",
    "²③ ﬁne ＡＢＣ",
    "tab\tand\nnewline",
    "𝔘𐍈 \U0010ffff",
]


@pytest.mark.parametrize("text", SCRIPTS)
def test_round_trip_in_any_script(pieces, text):
    tokens = pieces.encode([text], 200)
    assert 2 not in tokens.ids  # bytes, not <unk>
    normal = " ".join(unicodedata.normalize("NFKC", text).split())  # white space is folded too
    assert pieces.decode(tokens.ids[0]) == normal


def test_ids_on_literal_text(pieces):
    tokens = pieces.encode(["a red 3", ""], 6)
    words = [pieces.processor.id_to_piece(int(i)) for i in tokens.ids[0]]
    assert words == ["▁a", "▁red", "▁3", "</s>", "<pad>", "<pad>"]
    assert tokens.mask.sum(1).tolist() == [4, 1]
    assert tokens.ids[1, 0] == EOS
    assert tokens.ids.dtype == np.int32 and not tokens.truncated.any()


def test_a_text_too_long_keeps_its_start_and_its_end_mark(pieces):
    long, fits = "a red 3 moving left " * 500, "a red 3 moving left"
    tokens = pieces.encode([long, fits], 6)
    assert tokens.truncated.tolist() == [True, False]
    assert_array_equal(tokens.ids[0], tokens.ids[1])
    assert tokens.mask.all() and (tokens.ids[:, -1] == EOS).all()
    assert pieces.encode(["x"], 1).ids.tolist() == [[EOS]]


@pytest.mark.parametrize(
    "text", ["x" * 10_000, "猫" * 10_000, "🙂" * 10_000, " " * 10_000, "\ud83d lone", "a\x00b", "</s><pad>"]
)
def test_strange_prompts_go_through(pieces, text):
    tokens = pieces.encode([text], 16)
    assert tokens.mask[0].sum() >= 1 and (tokens.ids[0][tokens.mask[0]] == EOS).sum() == 1
    assert not np.isin(tokens.ids[0][tokens.mask[0]], [PAD, 2]).any()


def test_no_prompt_can_spell_a_sentinel(pieces):
    assert pieces.sentinels == (3, 4, 5, 6)
    assert not np.isin(pieces.encode(["<extra_id_0>"], 40).ids, pieces.sentinels).any()


def test_training_again_gives_the_same_bytes(pieces, retrain, tmp_path):
    assert retrain(tmp_path).model == pieces.model == (tmp_path / FILE).read_bytes()
    assert len(pieces) == 400


def test_a_vocabulary_that_cannot_be_is_an_error_and_no_file(retrain, tmp_path):
    with pytest.raises(ValueError, match="'esoteric'.*larger size"):
        retrain(tmp_path, required=("red", "esoteric"))
    with pytest.raises(ValueError, match="60000 pieces: Vocabulary size too high.*more lines"):
        retrain(tmp_path, size=60_000)
    assert not any(tmp_path.iterdir())


def test_bad_files_and_arguments_say_what_to_do(pieces, tmp_path):
    with pytest.raises(FileNotFoundError, match=FILE):
        Pieces.load(tmp_path / FILE)
    (tmp_path / FILE).write_bytes(b"not a model at all")
    with pytest.raises(ValueError, match="not a SentencePiece model"):
        Pieces.load(tmp_path / FILE)
    with pytest.raises(ValueError, match="at least 1 slot"):
        pieces.encode(["a"], 0)
    with pytest.raises(ValueError, match=r"write \[prompt\]"):
        pieces.encode("a red 3", 4)
