"""SeqIO's registry, converter, cache job and Evaluator on our tasks, and the way from its features to our batches."""

import collections
import importlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

seqio = pytest.importorskip("seqio")
tf = pytest.importorskip("tensorflow")

from videopoet_jax.data import features, mixtures  # noqa: E402
from videopoet_jax.data.task_batches import kinds_of  # noqa: E402
from videopoet_jax.data.token_records import TokenSource, TokenWriter  # noqa: E402
from videopoet_jax.sequence import MIXTURES, TASKS, Layouts, Vocabulary, assemble, get_mixture  # noqa: E402

LAYOUTS = Layouts(Vocabulary(2**18, 4, 100), 16, 2, "levels", "video", (4, 8))
VIEWS = ("video", "last_frame", "inpainting", "outpainting", "editing", "structure")
LENGTHS = dict.fromkeys(features.TASK_FEATURES, 700) | {"text": 8}


def record(number):
    rng, sound, pieces = np.random.default_rng(number), 106 * (number % 3 > 0), number % 7
    sizes = {key: (1 if key == "last_frame" else 5, 2, 1) for key in VIEWS}
    codes = {key: rng.integers(0, 2**18, size, np.int32) for key, size in sizes.items()}
    codes |= {"audio": rng.integers(0, 1024, (sound, 2), np.int32)} if sound else {}
    ids = np.where(np.arange(8) < pieces - 1, rng.integers(2, 100, 8), 1) * (np.arange(8) < pieces)
    return codes | ({"text_ids": ids, "text_mask": np.arange(8) < pieces} if pieces else {})


def write(directory, count, damaged=()):
    with TokenWriter(directory, {"keys": list(VIEWS), "layouts": LAYOUTS.to_dict()}) as writer:
        for number in range(count):
            example = record(number)
            writer.write(example | ({"video": example["video"] + 2**18} if number in damaged else {}))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("records")
    for split, count in (("train", 42), ("held_out", 21)):
        write(root / split, count)
    return root


@pytest.fixture(autouse=True)
def there(root, monkeypatch):
    monkeypatch.setenv(mixtures.RECORDS, str(root))


def test_tasks_and_mixtures_are_there_after_the_import_and_after_a_second_one():
    importlib.reload(mixtures)
    assert {f"videopoet_{name}" for name in TASKS} <= set(seqio.TaskRegistry.names())
    for name in MIXTURES:
        mixture = seqio.MixtureRegistry.get(f"videopoet_{name}")
        rates = {task.name.removeprefix("videopoet_"): mixture.get_rate(task) for task in mixture.tasks}
        assert rates == pytest.approx(get_mixture(name))


@pytest.mark.parametrize("name", TASKS)
def test_converted_features_are_the_examples_of_our_own_batches(name, root):
    source = TokenSource(root / "train")
    expected = {}
    for kind in kinds_of(source.index, VIEWS, {name: 1.0}, LAYOUTS):
        for number in kind.records:
            kept = {key: value for key, value in source[int(number)].items() if not key.startswith("text")}
            texts = {k: source[int(number)][k][: kind.layout.text_length] for k in ("text_ids", "text_mask")
                     if k in source[int(number)]}  # fmt: skip
            keys = kind.layout.task.keys(sound=bool(kind.layout.grid.audio_levels))
            expected[int(number)] = assemble(kind.layout, {key: kept[key] for key in keys} | texts)
    task = seqio.get_mixture_or_task(f"videopoet_{name}")
    ds = features.FeatureConverter(pack=False)(task.get_dataset(LENGTHS, "train", shuffle=False), LENGTHS)
    rows = list(ds.as_numpy_iterator())
    assert len(rows) == len(expected) > 0
    batch = features.to_batch({key: np.stack([row[key] for row in rows]) for key in rows[0]})
    for i, number in enumerate(sorted(expected)):
        alone = expected[number]
        n = len(alone["ids"]) if name != "captioning" else int(alone["valid"].sum())
        for key in ("ids", "table", "positions", "weights", "valid"):
            assert_array_equal(batch[key][i][:n], alone[key][:n], err_msg=f"{key} of record {number}")
            assert not np.any(batch[key][i][n:])
        assert batch["prefix_length"][i] == alone["prefix_length"]
        if TASKS[name].text:
            count = int(alone["text_mask"].sum())
            assert_array_equal(batch["text_ids"][i][:count], alone["text_ids"][:count])
            assert batch["text_mask"][i].sum() == count


@pytest.mark.parametrize("pack", [False, True])
def test_the_converter_does_what_seqios_prefix_lm_does_and_carries_places(pack):
    """On the example of its documentation."""
    pairs = [([7, 8, 5, 1], [3, 9, 1]), ([8, 4, 9, 3, 1], [4, 1])]
    plain = {"inputs": 7, "targets": 8}
    both = seqio.PrefixLMFeatureConverter(pack=pack)(dataset(pairs, plain), plain)
    lengths = dict.fromkeys(features.TASK_FEATURES, 7) | {n: 8 for n in features.TASK_FEATURES if n[:3] == "tar"}
    lengths |= {"text": 4}
    ours = features.FeatureConverter(pack=pack)(dataset(pairs, lengths), lengths)
    for theirs, mine in zip(both.as_numpy_iterator(), ours.as_numpy_iterator(), strict=True):
        for key, values in theirs.items():
            assert_array_equal(mine[key], values, err_msg=key)
        filled = mine["decoder_target_tokens"] > 0
        assert_array_equal(mine["decoder_row"], np.where(filled, 10 * mine["decoder_target_tokens"], 0))
        assert mine["text"].tolist() == ([6, 6] * 2 if pack else [6, 6, 0, 0])


def test_a_row_of_its_own_length_holds_the_longest_sequence_and_a_shorter_one_cuts_none():
    lengths = dict.fromkeys(features.TASK_FEATURES, 5) | {"text": 4}

    def rows_of(row):
        class Rows(features.FeatureConverter):
            pass

        Rows.row = row
        pairs = [([7, 8, 5, 1], [3, 9, 1]), ([8, 4], [4, 9, 3, 3, 1])]
        return [r["decoder_target_tokens"].tolist() for r in Rows(pack=False)(dataset(pairs, lengths), lengths)
                .as_numpy_iterator()]  # fmt: skip

    assert rows_of(7) == [[7, 8, 5, 1, 3, 9, 1], [8, 4, 4, 9, 3, 3, 1]]
    assert len(rows_of(None)[0]) == 10
    with pytest.raises(tf.errors.InvalidArgumentError, match="a sequence is longer than its row of 6 tokens"):
        rows_of(6)


def dataset(pairs, lengths):
    def examples():
        for inputs, targets in pairs:
            sides = {"inputs": inputs, "targets": targets}
            rows = {f"{side}_{place}": 10 * np.array(v) for side, v in sides.items() for place in features.PLACES}
            yield {k: np.asarray(v, np.int32) for k, v in (sides | rows | {"text": [6, 6]}).items() if k in lengths}

    signature = {name: tf.TensorSpec([None], tf.int32) for name in lengths}
    return tf.data.Dataset.from_generator(examples, output_signature=signature)


def test_a_mixture_draws_its_tasks_at_their_rates():
    mixture = seqio.get_mixture_or_task("videopoet_ablation_self_supervised")
    ds = mixture.get_dataset(LENGTHS, "train", num_epochs=None, seed=0)
    drawn = collections.Counter(
        int(example["inputs"][1]) for example in itertools.islice(ds.as_numpy_iterator(), 400)
    )  # the token <task:…>
    inpainted, outpainted = 16 + 4, 16 + 5
    assert drawn[inpainted] / 400 == pytest.approx(0.125, abs=0.06)
    assert drawn[outpainted] / 400 == pytest.approx(0.125, abs=0.06)


def test_an_order_is_of_its_seed_and_every_record_comes_once():
    def order(seed):
        made = mixtures.examples("unconditional", "train", seed)
        return [example["targets"].tobytes() for example in made]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(order(None)) and len(set(order(None))) == 42


@pytest.mark.parametrize("seed", [None, 1])
def test_a_damaged_record_is_told_of_and_passed_over(tmp_path, monkeypatch, caplog, seed):
    write(tmp_path / "train", 42, damaged={7})
    whole = sorted(example["targets"].tobytes() for example in mixtures.examples("unconditional", "train", seed))
    monkeypatch.setenv(mixtures.RECORDS, str(tmp_path))
    task = seqio.get_mixture_or_task("videopoet_unconditional")
    ds = task.get_dataset(LENGTHS, "train", shuffle=seed is not None, seed=seed)
    found = sorted(example["targets"].tobytes() for example in ds.as_numpy_iterator())
    assert len(found) == 41 and set(found) < set(whole)
    (told,) = (r.getMessage() for r in caplog.records if "passed over" in r.getMessage())
    assert told.startswith("passed over: record 7: visual codes")


@pytest.mark.parametrize(
    "count, damaged, words",
    [
        (42, {7, 8}, "2 of 42 records are damaged, 1% at most are passed over; the last: visual codes"),
        (1, {0}, "task unconditional: none of its 1 records is whole; leave the task out, .*; the last: visual codes"),
    ],
)
def test_too_many_damaged_records_end_a_dataset(tmp_path, monkeypatch, count, damaged, words):
    write(tmp_path / "train", count, damaged)
    monkeypatch.setenv(mixtures.RECORDS, str(tmp_path))
    with pytest.raises(ValueError, match=words):
        list(mixtures.examples("unconditional", "train", None))


def test_records_that_are_nowhere_are_named(monkeypatch):
    monkeypatch.delenv(mixtures.RECORDS)
    with pytest.raises(ValueError, match="VIDEOPOET_RECORDS: not set; name the directory that holds train"):
        mixtures.records("train")


def test_the_evaluator_counts_right_tokens(tmp_path):
    evaluator = seqio.Evaluator(
        "videopoet_text_to_video",
        feature_converter=features.FeatureConverter(pack=False),
        eval_split="validation",
        logger_cls=[],
        log_dir=str(tmp_path),
    )

    def all_but_the_first(ds, model_feature_lengths=None):
        made = []
        for index, example in ds.as_numpy_iterator():
            weights = example["decoder_loss_weights"] > 0
            tokens = example["decoder_target_tokens"][weights]
            tokens[0] = 0
            made.append((index, np.pad(tokens, (0, 700 - len(tokens)))))  # as decoders give them: all as long
        return made

    metrics, _ = evaluator.evaluate(
        compute_metrics=True, step=0, predict_fn=all_but_the_first, score_fn=lambda ds, **_: []
    )
    (accuracy,) = metrics.result()["videopoet_text_to_video"].values()
    lengths = [len(e["targets"]) for e in mixtures.examples("text_to_video", "validation", None)]
    assert accuracy.value == pytest.approx(100 * (1 - len(lengths) / sum(lengths)), abs=0.01)


def test_seqios_cache_job_writes_what_the_task_gives(root, tmp_path):
    command = [sys.executable, "-m", "seqio.scripts.cache_tasks_main", "--tasks=videopoet_inpainting",
               "--module_import=videopoet_jax.data.mixtures", f"--output_cache_dir={tmp_path}"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, mixtures.RECORDS: str(root)})
    assert done.returncode == 0, done.stderr[-2000:]
    seqio.add_global_cache_dirs([str(tmp_path)])
    task = seqio.get_mixture_or_task("videopoet_inpainting")

    def targets(use_cached):
        ds = task.get_dataset(LENGTHS, "train", use_cached=use_cached, shuffle=False)
        return sorted(example["targets"].tobytes() for example in ds.as_numpy_iterator())

    assert targets(True) == targets(False) and len(targets(True)) == 42
