"""Adapters: nothing at first, a matrix of low rank later, of the matched parameters alone; they resume and merge."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from tiny_model import MODEL, assert_same_bits, loader, loss_fn, new_state, optimizer

from videopoet_jax.parallel import make_mesh
from videopoet_jax.pretrained import save_params
from videopoet_jax.pretrained.files import flatten
from videopoet_jax.training import lora
from videopoet_jax.training.loop import fit
from videopoet_jax.training.state import create_state
from videopoet_jax.training.step import make_train_step

SHAPES = {
    "layers": {"attention": {"query": (3, 6, 2, 4), "out": (3, 2, 4, 6), "query_norm": {"scale": (3, 4)}}, "mlp": {
        "up": (3, 6, 8)}}, "tables": {"special": (10, 6)}, "conv": {"kernel": (3, 3, 4, 5), "bias": (5,)},
}  # fmt: skip


def tree(shapes=SHAPES, seed=0):
    rng, shaped = np.random.default_rng(seed), lambda x: isinstance(x, tuple)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s), jnp.float32), shapes, is_leaf=shaped)


def drawn(params, match=".", rank=2):
    """Adapters away from their start."""
    adapters = lora.init_adapters(params, rank=rank, match=match, key=jax.random.key(0))
    return jax.tree.map(lambda x: jax.random.normal(jax.random.key(x.size), x.shape), adapters)


def test_what_is_matched_is_a_matrix_of_every_layer():
    assert lora.matched(tree(), ".") == {
        "layers.attention.query": (1, 1),
        "layers.attention.out": (1, 2),
        "layers.mlp.up": (1, 1),
        "tables.special": (0, 1),
        "conv.kernel": (0, 3),
    }
    assert list(lora.matched(tree(), r"attention\.(query|value)")) == ["layers.attention.query"]
    with pytest.raises(ValueError, match="'gamma': finds no matrix among conv.bias, conv.kernel"):
        lora.matched(tree(), "gamma")
    with pytest.raises(ValueError, match=r"'\(': no regular expression"):
        lora.matched(tree(), "(")


def test_at_first_nothing_changes_and_later_the_matched_change_by_a_matrix_of_low_rank():
    params = tree()
    start = lora.init_adapters(params, rank=2, match="query|kernel|up", key=jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, lora.merge(params, start, 4.0), params)
    after, before = flatten(lora.merge(params, drawn(params, "query|kernel|up"), 4.0)), flatten(params)
    changed = {name for name in before if np.any(after[name] != before[name])}
    assert changed == {"layers.attention.query", "conv.kernel", "layers.mlp.up"}
    for layer in after["layers.attention.query"] - before["layers.attention.query"]:
        assert np.linalg.matrix_rank(layer.reshape(6, 8), tol=1e-3) == 2
    kernel = (after["conv.kernel"] - before["conv.kernel"]).reshape(36, 5)
    assert np.linalg.matrix_rank(kernel, tol=1e-3) == 2


def test_the_sum_is_its_formula():
    params = tree()
    factors, merged = flatten(drawn(params)), flatten(lora.merge(params, drawn(params), 0.5))
    for name, sums in {"layers.attention.out": "lmer,lrd->lmed", "tables.special": "vr,rd->vd"}.items():
        product = jnp.einsum(sums, factors[f"{name}.lora_a"], factors[f"{name}.lora_b"])
        np.testing.assert_allclose(merged[name], flatten(params)[name] + 0.5 * product, rtol=1e-5, atol=1e-5)


def test_draws_depend_on_the_name_alone_and_factors_lie_as_their_parameter_does():
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    params = tree()
    spread = NamedSharding(mesh, P(None, "fsdp", "tensor", None))
    params["layers"]["attention"]["query"] = jax.device_put(params["layers"]["attention"]["query"], spread)
    one = lora.init_adapters(params, rank=2, match="query", key=jax.random.key(0))["layers"]["attention"]["query"]
    all_of_them = lora.init_adapters(params, rank=2, match=".", key=jax.random.key(0))["layers"]["attention"]["query"]
    jax.tree.map(np.testing.assert_array_equal, one, all_of_them)
    assert one["lora_a"].sharding.spec == P(None, "fsdp", None) and one["lora_b"].sharding.spec == P(
        None, None, "tensor", None
    )


def run(workdir, steps, mesh):
    base = new_state(mesh).params
    adapters = lora.init_adapters(base, rank=2, match="up|down", key=jax.random.key(5))
    extra = lora.with_base({"calls": jnp.zeros((), jnp.int32)}, base)
    state = create_state(adapters, optimizer(), mesh=mesh, key=jax.random.key(1), extra=extra)
    step = make_train_step(lora.adapted_loss(loss_fn, 2.0), optimizer(), ema_decay=None)
    return fit(state=state, train_step=step, batches=loader(), steps=steps, mesh=mesh, workdir=workdir,
               checkpoint_every=2, log_every=2)  # fmt: skip


def test_they_train_and_resume_bit_for_bit_while_the_base_stays(tmp_path):
    mesh = make_mesh(data=2, fsdp=2, tensor=2)
    whole = run(tmp_path / "whole", 6, mesh)
    run(tmp_path / "halves", 4, mesh)
    assert_same_bits(run(tmp_path / "halves", 6, mesh), whole)
    jax.tree.map(np.testing.assert_array_equal, lora.base_of(whole.extra), new_state(mesh).params)
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(whole.params))
    arrays = json.loads((tmp_path / "whole" / "checkpoints" / "00000006" / "manifest.json").read_text())["arrays"]
    assert not [name for name in arrays if "base" in name] and any("lora_a" in name for name in arrays)


def test_saved_alone_they_merge_into_their_own_base_and_no_other(tmp_path):
    params = new_state(make_mesh()).params
    adapters, numbers = drawn(params, "up"), dict(rank=2, alpha=8.0, match="up")
    base = lora.fingerprint(params)
    lora.save_adapters(tmp_path, adapters, **numbers, base=base)
    merged = lora.apply_adapters(params, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, merged, lora.merge(params, adapters, 4.0))
    x = jnp.ones((2, 4))
    expected = jnp.tanh(x @ (params["up"] + 4.0 * adapters["up"]["lora_a"] @ adapters["up"]["lora_b"])) @ params["down"]
    found = MODEL.apply({"params": merged}, x)
    np.testing.assert_allclose(found, expected + params["bias"], atol=1e-6)
    assert lora.fingerprint(jax.device_put(jax.tree.map(np.asarray, params), jax.devices()[0])) == base
    save_params(tmp_path / "other", params, "float32")
    with pytest.raises(ValueError, match="adapters belong to other weights .bits2:.*, these are bits2:"):
        lora.apply_adapters({**params, "up": params["up"] + 1e-6}, tmp_path)
    lora.save_adapters(tmp_path, adapters, **numbers, base="bits:0123456789abcdef")
    with pytest.raises(ValueError, match=f"bits:0123456789ab…, an earlier kind.*put {base} in its place"):
        lora.apply_adapters(params, tmp_path)


def test_weights_in_another_order_of_other_names_or_shapes_have_another_fingerprint():
    w = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8)), jnp.float32)
    others = [{"w": w}, {"v": w}, {"w": w[::-1]}, {"w": w[:, ::-1]}, {"w": w[:, :, ::-1]}, {"w": w.swapaxes(1, 2)}]
    others += [{"w": w.reshape(16, 8)}, {"w": w.reshape(-1)}, {"w": w.at[0, 0, :2].set(w[0, 0, 1::-1])}, {"w": -w}]
    others += [{"w": w, "v": 2 * w}, {"w": 2 * w, "v": w}, {"w": {"v": w}}, {"w": jnp.zeros(3)}, {"w": jnp.zeros(4)}]
    assert len({lora.fingerprint(params) for params in others}) == len(others)


def test_a_fingerprint_is_the_same_on_every_mesh():
    params = tree({"up": (4, 8, 16), "down": (16, 8), "bias": (8,)})
    alone = lora.fingerprint(params)
    for sizes in ({"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}, {"fsdp": 4, "tensor": 2}):
        mesh = make_mesh(**sizes)
        specs = {"up": P(None, "fsdp", "tensor"), "down": P("tensor", "fsdp"), "bias": P("fsdp")}
        spread = {name: jax.device_put(x, NamedSharding(mesh, specs[name])) for name, x in params.items()}
        assert lora.fingerprint(spread) == alone
