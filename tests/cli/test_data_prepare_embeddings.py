"""Records that keep T5's embeddings are trained on as those whose pieces the step embeds."""

import itertools

import flax.linen as nn
import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.data.token_records import TokenSource
from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.pretrained import resolve
from videopoet_jax.text.embed import TextEncoder

TASKS = ('data.tasks={"text_to_video": 1.0, "unconditional": 1.0}', "data.num_frames=5")
SMALL = ("model.depth=1", "model.width=32", "model.mlp=32", "model.chain_hidden=8", "data.groups=1",
         "train.batch_size=8", "loss.condition_drop=0.5")  # fmt: skip
PLAIN = ""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """By what they keep."""
    root, made = tmp_path_factory.mktemp("records"), {}
    for kept in (PLAIN, "float16", "float32"):
        settings = [part for change in (*TASKS, f"data.embeddings={kept}") for part in ("--set", change)]
        settings += ["--models", str(resolve("nano")), "--batch-size", "2", "--clips", "6"]
        main(["data", "prepare", "--config", "lm:nano", *settings, "--out", str(root / f"of_{kept}")])
        made[kept] = TokenSource(root / f"of_{kept}")
    return made


def recipe(records, tmp_path, kept, held_out=None):
    named = [f"data.records={records[kept].directory}"]
    named += [] if held_out is None else [f"data.held_out={records[held_out].directory}"]
    return recipe_for(load_config("lm:nano", (*TASKS, *SMALL, *named)), tmp_path)


def test_the_filled_slots_are_kept_and_all_else_is_as_it_was(records):
    encoder = TextEncoder.from_pretrained("nano")
    for i in range(6):
        plain = records[PLAIN][i]
        mask = plain["text_mask"]
        found = np.asarray(encoder.embed(plain["text_ids"][None], mask[None], rows=2))[0]
        for kept in ("float16", "float32"):
            record = records[kept][i]
            embedding = record.pop("text_embedding")
            assert embedding.shape == (mask.sum(), 128) and embedding.dtype == kept
            assert_array_equal(embedding, found[mask].astype(kept))
            assert record.keys() == plain.keys()
            assert all(np.array_equal(record[name], plain[name]) for name in plain)
    assert [records[kept].meta["embeddings"] for kept in records] == ["", "float16", "float32"]


def test_training_on_them_is_the_same_without_t5(records, tmp_path):
    """Half of the rows have their prompt dropped, half of the tasks read none."""
    losses, keys = {}, lambda name: jax.random.key(5)
    for kept in records:
        made = recipe(records, tmp_path, kept)
        assert set(made.extra[FROZEN]) == ({"empty_text"} if kept else {"text_encoder"})
        params = nn.meta.unbox(made.init(jax.random.key(1)))
        loss = jax.jit(lambda params, extra, batch, made=made: made.loss_fn(params, extra, batch, keys)[0])
        losses[kept] = [float(loss(params, made.extra, batch)) for batch in itertools.islice(made.batches, 3)]
    assert_allclose(losses["float32"], losses[PLAIN], rtol=1e-6)
    assert_allclose(losses["float16"], losses[PLAIN], rtol=1e-4)


def test_what_is_measured_by_keeps_the_same(records, tmp_path):
    made = recipe(records, tmp_path, "float16", held_out="float16")
    figures = made.preview(nn.meta.unbox(made.init(jax.random.key(1))), made.extra, tmp_path, 0)
    assert set(figures) == {"loss_text_to_video", "loss_unconditional"}
    with pytest.raises(ValueError, match="made with embeddings '', 'float16' is needed"):
        recipe(records, tmp_path, "float16", held_out=PLAIN)


def test_an_unknown_number_is_refused_before_anything_is_made(tmp_path, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["data", "prepare", "--config", "lm:nano", "--set", "data.embeddings=int8", "--models",
              str(resolve("nano")), "--out", str(tmp_path / "out")])  # fmt: skip
    assert leave.value.code == 2 and "data.embeddings 'int8': unknown; use" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
