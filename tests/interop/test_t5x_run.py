"""`python -m t5x.train` and `python -m t5x.infer` themselves, where T5X is: our loop's losses, our layouts."""

import importlib.util
import os
import re
import subprocess
import sys
import zlib

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal

if importlib.util.find_spec("t5x") is None:
    pytest.skip("T5X is not installed; see videopoet_jax/interop/t5x.py", allow_module_level=True)

import seqio

from videopoet_jax.data import mixtures
from videopoet_jax.data.features import FeatureConverter, to_batch
from videopoet_jax.interop import t5x, t5x_predictions
from videopoet_jax.layers.objective import FROZEN
from videopoet_jax.lm import make_loss
from videopoet_jax.lm.language_model import init_params
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.parallel import initialize, make_mesh
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.training import create_state, fit, make_train_step
from videopoet_jax.training.optimizer import make_optimizer

pytestmark = pytest.mark.slow
MIXTURE = "videopoet_adapt_to_text"  # text-to-video, text-to-image, image-to-video


def run(script, where, records, *bindings, devices=1):
    """The script's own log."""
    command = [sys.executable, "-m", f"t5x.{script}", f"--gin_file=videopoet_jax/configs/t5x/{where}.gin"]
    environment = {**os.environ, "VIDEOPOET_RECORDS": str(records), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    done = subprocess.run(
        [*command, *(f"--gin.{binding}" for binding in bindings)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


class Batches:
    """T5X's own data set, as our loop asks for batches."""

    def __init__(self, encoder, rows):
        self._batches = seqio.get_dataset(
            MIXTURE,
            t5x.feature_lengths(MIXTURE),
            dataset_split="train",
            num_epochs=None,
            shuffle=True,
            feature_converter=FeatureConverter(pack=False),
            trim_output_features=False,
            seed=0,
            batch_size=rows,
        ).as_numpy_iterator()
        self._encoder = encoder

    def __next__(self):
        batch = to_batch(next(self._batches))
        empty = self._encoder.tokenize([""] * len(batch["ids"]), batch["text_ids"].shape[1])
        return batch | {"empty_text_ids": empty.ids, "empty_text_mask": empty.mask}

    def ahead(self, steps):
        return []  # the one shape there is compiles when it comes

    def get_state(self):
        return {}

    def set_state(self, state):
        raise NotImplementedError


def ours(config, workdir):
    """The losses of our own loop with T5X's keys."""
    init_key, key = jax.random.split(jax.random.PRNGKey(0))
    encoder, mesh = TextEncoder.from_pretrained("nano"), make_mesh(jax.devices()[:1])
    loss_fn = make_loss(config, lambda params, ids, mask: encoder.model.apply({"params": params}, ids, mask))

    def with_their_keys(params, extra, batch, keys):
        of_step = jax.random.fold_in(key, keys.keywords["step"])
        return loss_fn(params, extra, batch, lambda name: jax.random.fold_in(of_step, zlib.crc32(name.encode())))

    t = config.train
    numbers = {name: getattr(t, name) for name in ("b1", "b2", "eps", "weight_decay", "clip_norm")}
    optimizer = make_optimizer(name=t.optimizer, learning_rate=t5x.schedule(config), **numbers)
    params = initialize(lambda key: init_params(PrefixLM(**config.model), key), mesh, init_key)
    extra = {FROZEN: {"text_encoder": encoder.params}}
    fit(
        state=create_state(params, optimizer, mesh=mesh, key=jax.random.key(0), extra=extra),
        train_step=make_train_step(with_their_keys, optimizer, ema_decay=None),
        batches=Batches(encoder, t.batch_size),
        steps=t.steps,
        mesh=mesh,
        workdir=workdir,
        checkpoint_every=t.steps,
        log_every=1,
    )
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return np.array([float(re.search(r'"loss": ([\d.]+)', line)[1]) for line in lines])


def theirs(log):
    """The losses that T5X logged."""
    found = re.findall(r"\[(\d+)\] collection=train .*?[ ,]loss=([\d.]+)", log)
    assert [int(step) for step, _ in found] == list(range(1, len(found) + 1))
    return np.array([float(loss) for _, loss in found])


def train(workdir, records, tiny, *bindings, devices=1):
    """The losses of 20 steps, a text dropped here and there."""
    common = (f"OVERRIDES={tiny}", f"MIXTURE_OR_TASK_NAME='{MIXTURE}'", f"MODEL_DIR='{workdir}'")
    rare = ("train/utils.DatasetConfig.seed=0", "train.stats_period=1", "train.eval_period=20", "train.eval_steps=2")
    log = run("train", "train", records, *common, *rare, *bindings, devices=devices)
    for task in ("text_to_video", "text_to_image", "image_to_video"):
        assert re.search(rf"collection=training_eval/videopoet_{task} .*loss=\d", log)
    return theirs(log)


@pytest.fixture(scope="module")
def trained(records, tiny, tmp_path_factory):
    """(workdir, losses)"""
    workdir = tmp_path_factory.mktemp("t5x")
    return workdir, train(workdir, records, tiny)


def test_the_losses_are_those_of_our_loop(trained, there, tiny, tmp_path):
    """Data, start, schedule, optimizer and dropped texts are the same: 20 steps, to 1e-3."""
    losses = ours(t5x.lm_config("nano", tiny), tmp_path)
    difference = np.abs(losses - trained[1]).max()
    print(f"largest difference over {len(losses)} steps: {difference:.2e}; {losses[0]:.4f} to {losses[-1]:.4f}")
    assert len(losses) == 20 and losses[-1] < losses[0] - 0.3
    assert difference < 1e-3


def test_a_model_axis_of_two_devices_gives_the_same_losses(trained, records, tiny, tmp_path):
    losses = train(tmp_path, records, tiny, devices=2)  # of a CPU's devices T5X makes the `model` axis
    print(f"largest difference on two devices: {np.abs(losses - trained[1]).max():.2e}")
    assert np.abs(losses - trained[1]).max() < 1e-3


def test_what_infer_writes_is_read_back_as_codes(trained, there, tiny, tmp_path):
    run("infer", "infer", there, f"OVERRIDES={tiny}", "MIXTURE_OR_TASK_NAME='videopoet_image_to_video'",
        f"CHECKPOINT_PATH='{trained[0]}/checkpoint_20'", f"INFER_OUTPUT_DIR='{tmp_path}'",
        "infer.mode='predict_with_aux'", "utils.DatasetConfig.batch_size=4")  # fmt: skip
    (path,) = tmp_path.glob("*.jsonl-00000-of-00001")
    read = list(t5x_predictions.read(path))
    examples = list(mixtures.examples("image_to_video", "validation", None))
    assert len(read) == len(examples) == 10
    for one, example in zip(read, examples, strict=True):
        count = len(example["inputs"])
        assert_array_equal(one.ids[:count], example["inputs"])
        assert one.layout.length == count + len(example["targets"]) and one.score < 0
        assert one.codes["video"].shape == (2, 1, 2)
        assert_array_equal(256 + one.codes["video"][0].ravel(), example["inputs"][example["inputs_modality"] == 2])
