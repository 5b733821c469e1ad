"""A training step and decoding on eight devices are those of one, and every array lies where its names say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm import decode, transformer
from videopoet_jax.lm.language_model import LanguageModel, Prepared
from videopoet_jax.lm.totals import token_sums
from videopoet_jax.parallel import batch_sharding, constrain, make_mesh, param_shardings
from videopoet_jax.sequence.grid import Grid

MESHES = [dict(data=2, fsdp=2, tensor=2), dict(data=2, sequence=4), dict(fsdp=8)]
GUIDED = Sampling(temperature=1.0, top_k=None, top_p=None, guidance_scale=2.0)
SHORT = Grid(frames=5, height=16, width=16, spatial_stride=16, audio_levels=1)


@pytest.fixture(scope="module")
def small(make_tiny):
    return make_tiny(kv_heads=2)


def loss_and_gradient(small, params, batch, text):
    batch = jax.tree.map(jnp.asarray, batch)

    def loss(params):
        hidden, _ = small.model.apply({"params": params}, transformer.whole_sequence(batch, text, batch["text_mask"]))
        fields = (batch[name] for name in ("ids", "table", "weights"))
        return token_sums(small.model, params["output"], hidden, *fields, 16, 0.1).objective

    return jax.jit(jax.value_and_grad(loss))(params)


@pytest.mark.parametrize("sizes", MESHES)
def test_loss_and_gradient_are_those_of_one_device(small, shapes_of, sizes):
    mesh = make_mesh(**{"data": 1} | sizes)
    batch = small.batch(small.layout("text_to_video"), 8)
    text = jnp.asarray(small.text_table[batch["text_ids"]])
    wanted, gradient = loss_and_gradient(small, small.params, batch, text)
    params = jax.device_put(small.params, param_shardings(shapes_of(small.model), mesh))
    spread = jax.device_put({**batch, "text": text}, batch_sharding(mesh))
    with jax.set_mesh(mesh):
        found, spread_gradient = loss_and_gradient(small, params, spread, spread.pop("text"))
    assert_allclose(found, wanted, rtol=1e-5)
    scale = max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-5 * scale), spread_gradient, gradient)


def test_slopes_of_a_vocabulary_that_alone_is_split_are_those_of_one_device(small, shapes_of):
    mesh, batch = make_mesh(jax.devices()[:2], data=1, tensor=2), small.batch(small.layout("text_to_video", SHORT), 2)
    hidden = np.random.default_rng(0).normal(size=(*batch["ids"].shape, small.model.width)).astype(np.float32)

    @jax.jit
    @jax.grad
    def gradient(output, hidden):
        fields = (jnp.asarray(batch[name]) for name in ("ids", "table", "weights"))
        return token_sums(small.model, output, hidden, *fields, 16, 0.1).objective

    wanted = gradient(small.params["output"], hidden)
    split = jax.device_put(small.params, param_shardings(shapes_of(small.model), mesh))
    with jax.set_mesh(mesh):
        found = gradient(split["output"], jax.device_put(hidden, batch_sharding(mesh)))
    jax.tree.map(lambda a, b: assert_allclose(a, b, atol=1e-4), found, wanted)


def test_activations_and_cache_lie_as_their_names_say(small, shapes_of, monkeypatch):
    mesh = make_mesh(data=2, fsdp=1, tensor=2, sequence=2)
    seen = []

    def watched(x, *names):
        y = constrain(x, *names)
        jax.debug.inspect_array_sharding(y, callback=lambda sharding: seen.append((names, y.ndim, sharding)))
        return y

    monkeypatch.setattr(transformer, "constrain", watched)
    layout = small.layout("text_to_video")
    batch = small.batch(layout, 8)
    batch = {name: np.pad(x, [(0, 0), (0, -x.shape[1] % 2)] + [(0, 0)] * (x.ndim - 2)) if x.ndim > 1 else x
             for name, x in batch.items()}  # fmt: skip
    params = jax.device_put(small.params, param_shardings(shapes_of(small.model), mesh))
    with jax.set_mesh(mesh):
        jax.block_until_ready(loss_and_gradient(small, params, batch, jnp.asarray(small.text_table[batch["text_ids"]])))
        cache = decode._make_cache(small.model, 8, 64)
    stream = NamedSharding(mesh, P(("data", "fsdp"), "sequence", None))
    found = [sharding for names, _, sharding in seen if names == ("batch", "length", "activation_embed")]
    assert found and all(sharding.is_equivalent_to(stream, 3) for sharding in found)
    assert cache.keys.sharding.is_equivalent_to(
        NamedSharding(mesh, P(None, ("data", "fsdp"), "sequence", "tensor", None)), 5
    )


def test_a_mesh_writes_what_one_device_writes(small, shapes_of):
    layout = small.layout("text_to_video", SHORT)
    batch = small.with_text(small.batch(layout, 3))
    prepared = Prepared(layout, batch, seeds=((1, 0), (2, 0), (3, 0)), sampling=GUIDED)
    fields = {name: getattr(small.model, name) for name in small.model.__dataclass_fields__}
    config = {name: value for name, value in fields.items() if name not in ("parent", "name")}
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    spread = jax.device_put(small.params, param_shardings(shapes_of(small.model), mesh))
    alone = LanguageModel(config, small.params, {}, bucket=4)
    together = LanguageModel(config, spread, {}, mesh=mesh, bucket=3)
    assert together.bucket == 4
    assert_array_equal(together.generate(prepared).ids, alone.generate(prepared).ids)
