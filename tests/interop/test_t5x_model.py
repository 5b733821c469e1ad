"""What T5X's scripts call of a model, called as they call it, by a stand-in of a page: T5X itself is not needed.

`Trainer` does what T5X's train_state.py, partitioning.py, trainer.py and utils.get_infer_fn do at cc342d419ec3.
"""

import inspect
import json
import zlib

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from flax.linen import partitioning
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal

seqio = pytest.importorskip("seqio")

from videopoet_jax.data.features import FeatureConverter, to_batch  # noqa: E402
from videopoet_jax.interop import t5x, t5x_model, t5x_predictions  # noqa: E402
from videopoet_jax.layers.objective import FROZEN, Mean  # noqa: E402
from videopoet_jax.layers.sampling import Sampling  # noqa: E402
from videopoet_jax.lm import make_loss, transformer  # noqa: E402
from videopoet_jax.sequence.vocabulary import SPECIAL_TEXT  # noqa: E402
from videopoet_jax.text.embed import TextEncoder  # noqa: E402

MIXTURE = "videopoet_adapt_to_text"  # text-to-video, text-to-image, image-to-video
GUIDED = Sampling(temperature=1.0, top_k=None, top_p=None, guidance_scale=2.0)
ROWS = 4


class Trainer:
    """Variables on a mesh `data, model`, and what T5X compiles of a model. Parameters are drawn, not initialized."""

    def __init__(self, model, rules, mesh, batch):
        self.model, self.rules, self.mesh = model, rules, mesh
        shapes = {name: value.shape for name, value in batch.items()}

        def initialize(rng):
            variables = flax.core.freeze(model.get_initial_variables(rng=rng, input_shapes=shapes, input_types=None))
            rest, params = flax.core.pop(variables, "params")
            rest, params_axes = flax.core.pop(rest, "params_axes")
            axes, mutables = {"params": params_axes}, {}
            for name, value in rest.items():
                (axes if name.endswith("_axes") else mutables)[name.removesuffix("_axes")] = value
            return params, flax.core.freeze(mutables), flax.core.freeze(axes)

        with mesh, partitioning.axis_rules(rules):
            params, _, axes = jax.eval_shape(initialize, jax.random.PRNGKey(0))
            specs = {name: self._specs(tree) for name, tree in axes.items()}
            self.where = specs.pop("params"), flax.core.freeze(specs)
            rng, (on_params, on_mutables) = np.random.default_rng(0), self._shardings()
            drawn = jax.tree.map(lambda p: rng.normal(0, 0.3, p.shape).astype(p.dtype), params)
            self.params = jax.device_put(drawn, on_params)
            self.mutables = jax.jit(lambda: initialize(jax.random.PRNGKey(0))[1], out_shardings=on_mutables)()

    def _specs(self, axes):
        return jax.tree.map(
            lambda names: partitioning.logical_to_mesh_axes(names, self.rules),
            partitioning.get_axis_names(axes),
            is_leaf=lambda leaf: isinstance(leaf, PartitionSpec),
        )

    def _shardings(self):
        is_spec = lambda leaf: isinstance(leaf, PartitionSpec)  # noqa: E731
        return jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), self.where, is_leaf=is_spec)

    def _run(self, function, batch, rng=None):
        """`function(params, mutables, batch, rng)`, where partitioning.partition would have everything lie."""
        rows, whole = (NamedSharding(self.mesh, spec) for spec in (PartitionSpec("data"), PartitionSpec()))
        with self.mesh, partitioning.axis_rules(self.rules):
            where = (*self._shardings(), rows, whole)
            given = jax.device_put((self.params, self.mutables, batch, rng), where)
            return jax.jit(function, in_shardings=where)(*given)

    def gradients(self, batch, rng):
        """trainer.accumulate_grads_microbatched: (gradients, metrics)"""

        def step(params, mutables, batch, rng):
            (_, (metrics, _)), grads = jax.value_and_grad(self.model.loss_fn, has_aux=True)(
                params, batch, rng, mutables
            )
            return grads, metrics

        return self._run(step, batch, rng)

    def evaluate(self, batch):
        """trainer.eval_step: (loss, metrics)"""
        return self._run(lambda params, mutables, batch, rng: self.model.eval_fn(params, batch, mutables), batch)

    def infer(self, step, batch):
        """utils.get_infer_fn: what a step takes is read off its signature."""
        names = inspect.signature(step).parameters

        def one(params, mutables, batch, rng):
            rest = (rng,) if "rng" in names else ()
            return step(params, batch, *rest, **({"flax_mutables": mutables} if "flax_mutables" in names else {}))

        return self._run(one, batch, jax.random.PRNGKey(3))


def computed(metrics):
    return {name: float(metric.compute()) for name, metric in metrics.items()}


@pytest.fixture(scope="module")
def encoder():
    return TextEncoder.from_pretrained("nano")


@pytest.fixture(scope="module")
def config(tiny):
    return t5x.lm_config("nano", {**tiny, "loss.condition_drop": 0.5, "loss.z_coefficient": 1e-3})


@pytest.fixture(scope="module")
def drawn(records):
    """(features of tasks, converted batch) of the first examples of each of the mixture's tasks in turn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDEOPOET_RECORDS", str(records))
        lengths = t5x.feature_lengths(MIXTURE)
        tasks = seqio.get_subtasks(seqio.get_mixture_or_task(MIXTURE))
        found, converted = [], []
        for number in range(ROWS):
            ds = tasks[number % len(tasks)].get_dataset(lengths, "train", shuffle=False)
            ds = ds.skip(number // len(tasks)).take(1)
            found += ds.as_numpy_iterator()
            converted += FeatureConverter(pack=False)(ds, lengths).as_numpy_iterator()
    return found, {name: np.stack([row[name] for row in converted]) for name in converted[0]}


@pytest.fixture(scope="module")
def batch(drawn):
    return drawn[1]


@pytest.fixture(scope="module")
def trainer(config, encoder, batch):
    """On two devices of data and two of model."""
    mesh = Mesh(np.array(jax.devices()[:4]).reshape(2, 2), ("data", "model"))
    return Trainer(t5x_model.Adapter(config, encoder, GUIDED), t5x.logical_axis_rules(), mesh, batch)


def test_every_parameter_has_its_axes_and_the_text_encoder_is_the_one_that_was_loaded(trainer, encoder):
    params, mutables = trainer.where
    for specs, values in ((params, trainer.params), (mutables, trainer.mutables)):
        assert set(traverse_util.flatten_dict(specs)) == set(traverse_util.flatten_dict(values))
    assert trainer.params["layers"]["mlp"]["gate"].sharding.spec == PartitionSpec(None, "data", "model")
    jax.tree.map(assert_array_equal, trainer.mutables["text_encoder"], flax.core.freeze(dict(encoder.params)))


def test_a_step_is_that_of_our_loss_function_and_lies_on_t5xs_mesh(trainer, config, encoder, batch, monkeypatch):
    """The same conditions dropped, metrics and gradients as alone on one device; activations spread by our names."""
    whole, extra, rng = to_batch(batch), {FROZEN: {"text_encoder": encoder.params}}, jax.random.PRNGKey(1)
    empty = encoder.tokenize([""] * ROWS, whole["text_ids"].shape[1])
    whole |= {"empty_text_ids": empty.ids, "empty_text_mask": empty.mask}
    loss_fn = make_loss(config, lambda params, ids, mask: encoder.model.apply({"params": params}, ids, mask))

    def ours(params):
        return loss_fn(params, extra, whole, lambda name: jax.random.fold_in(rng, zlib.crc32(name.encode())))

    wanted, aux = jax.jit(jax.grad(ours, has_aux=True))(jax.device_get(flax.core.unfreeze(trainer.params)))
    seen = []

    def watched(x, *names, constrain=transformer.constrain):
        y = constrain(x, *names)
        jax.debug.inspect_array_sharding(y, callback=lambda sharding: seen.append(sharding.shard_shape(x.shape)))
        return y

    monkeypatch.setattr(transformer, "constrain", watched)
    grads, metrics = trainer.gradients(batch, rng)
    rows, length = batch["decoder_target_tokens"].shape
    assert seen and set(seen) == {(rows // 2, length, 32)}
    metrics = computed(metrics)
    assert metrics.keys() == aux.metrics.keys()
    wanted_metrics = [float(m.total / m.weight) if isinstance(m, Mean) else float(m) for m in aux.metrics.values()]
    assert_allclose([metrics[name] for name in aux.metrics], wanted_metrics, rtol=1e-4)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(wanted))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-5 * scale), flax.core.unfreeze(grads), wanted)


def test_slices_are_data_of_ours():
    devices = np.array(jax.devices()).reshape(2, 2, 2)
    sizes = {"data": 2, "fsdp": 2, "tensor": 2, "sequence": 1}
    assert dict(t5x_model.our_mesh(Mesh(devices, ("replica", "data", "model"))).shape) == sizes
    assert dict(t5x_model.our_mesh(Mesh(devices.reshape(8, 1), ("data", "model"))).shape) == {
        "data": 1, "fsdp": 8, "tensor": 1, "sequence": 1
    }  # fmt: skip


def test_rules_name_t5xs_axes_alone():
    rules = dict(t5x.logical_axis_rules())
    assert {rules[name] for name in rules} == {None, "data", "model"}
    assert (rules["batch"], rules["embed"], rules["vocab"], rules["length"]) == ("data", "data", "model", None)


def test_what_is_predicted_is_read_back_as_codes(trainer, drawn, there, tmp_path):
    """Through the lines of a file, as infer.py writes them."""
    features, batch = drawn
    ids, aux = trainer.infer(trainer.model.predict_batch_with_aux, batch)
    names = [task.name for task in seqio.get_subtasks(seqio.get_mixture_or_task(MIXTURE))]
    for row, example in enumerate(features):
        path = tmp_path / f"{names[row % len(names)]}-predict_with_aux.jsonl-00000-of-00001"
        inputs = {name: [*value.tolist(), 0, 0] for name, value in example.items()}  # padded to others of its chunk
        line = {"inputs": inputs, "prediction": ids[row].tolist(), "aux": {"scores": float(aux["scores"][row])}}
        path.write_text(json.dumps(line) + "\n")
        (read,) = t5x_predictions.read(path)
        assert_array_equal(read.ids[: len(example["inputs"])], example["inputs"])
        markers = read.layout.tables[len(example["inputs"]) :] == SPECIAL_TEXT
        assert_array_equal(read.ids[len(example["inputs"]) :][markers], example["targets"][markers])
        assert read.codes["video"].shape == read.layout.grid.latents
        assert not ids[row, len(example["targets"]) :].any()
    assert len({tuple(row) for row in np.asarray(ids).tolist()}) == ROWS


def test_scores_are_log_likelihoods_and_add_up_to_the_loss_without_dropping(trainer, config, batch):
    """The loss is a half of it, for T5X adds up the gradients of two microbatches."""
    scores = np.asarray(trainer.infer(trainer.model.score_batch, batch))
    config.train.accumulate = 2
    loss, metrics = trainer.evaluate(batch)
    config.train.accumulate = 1
    metrics, tokens = computed(metrics), batch["decoder_loss_weights"].sum()
    assert float(loss) == pytest.approx(metrics["loss"] / 2, rel=1e-6)
    assert scores.shape == (ROWS,)
    assert scores.sum() == pytest.approx(-metrics["bits_per_token"] * np.log(2) * tokens, rel=1e-5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.text_dim": 64}, "text encoder of width 128: model.text_dim is 64"),
        ({"train.lora.rank": 8}, "train.lora.rank 8: under T5X the whole model trains; set 0"),
    ],
)
def test_configs_that_t5x_cannot_train_are_refused(encoder, overrides, message):
    with pytest.raises(ValueError, match=message):
        t5x_model.Adapter(t5x.lm_config("nano", overrides), encoder, GUIDED)


def test_packed_batches_are_refused(trainer, there):
    packed = dict.fromkeys(FeatureConverter(pack=True).get_model_feature_lengths(t5x.feature_lengths(MIXTURE)), (4, 8))
    with pytest.raises(ValueError, match="packed batches: .* set pack = False"):
        trainer.model.get_initial_variables(jax.random.PRNGKey(0), packed)
