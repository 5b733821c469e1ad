"""A model and its adversary in one step: the same as two by hand, late start, one checkpoint."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P
from tiny_model import MODEL, Mlp, assert_same_bits, loader, optimizer, train

from videopoet_jax.layers import gan
from videopoet_jax.layers.objective import ADVERSARY, Aux
from videopoet_jax.parallel import initialize, make_mesh
from videopoet_jax.training.loop import to_devices
from videopoet_jax.training.metrics import NonFinite
from videopoet_jax.training.state import create_state, purpose_key
from videopoet_jax.training.step import Adversary, make_train_step

DISCRIMINATOR = Mlp(width=8)


def logits_of(params, y):
    return jnp.mean(DISCRIMINATOR.apply({"params": params}, y), axis=-1)


def loss_fn(params, extra, batch, keys):
    """Guess y from x; the adversary is shown both."""
    fake = MODEL.apply({"params": params}, batch["x"]) + 0.1 * jax.random.normal(keys("noise"), batch["x"].shape)
    error = jnp.mean((fake - batch["y"]) ** 2)
    adversarial = gan.generator_loss(logits_of(extra[ADVERSARY].params, fake), "hinge")
    return error + 0.1 * adversarial, Aux({"error": error}, extra, {"real": batch["y"], "fake": fake})


def discriminator_loss(params, extra, outputs, keys):
    real, fake = (logits_of(params, outputs[name]) for name in ("real", "fake"))
    loss = gan.discriminator_loss(real, fake, "hinge")
    loss += 0.1 * gan.r1(lambda y: logits_of(params, y), outputs["real"])
    return loss, Aux({"real": jnp.mean(real)}, {"calls": extra["calls"] + 1})


def discriminator_optimizer():
    return optax.sgd(0.05)


def new_state(mesh):
    def create(model, seed, update, extra):
        params = initialize(lambda key: model.init(key, jnp.zeros((1, 4)))["params"], mesh, jax.random.key(seed))
        return create_state(params, update, mesh=mesh, key=jax.random.key(seed + 1), extra=extra)

    rival = create(DISCRIMINATOR, 5, discriminator_optimizer(), {"calls": jnp.zeros((), jnp.int32)})
    return create(MODEL, 0, optimizer(), {ADVERSARY: rival})


def step(start=0, loss=discriminator_loss):
    adversary = Adversary(make_train_step(loss, discriminator_optimizer(), ema_decay=None), start)
    return make_train_step(loss_fn, optimizer(), ema_decay=None, adversary=adversary)


def run(mesh, steps, start=0):
    state, compiled, history = new_state(mesh), jax.jit(step(start)), []
    with jax.set_mesh(mesh):
        for number in range(steps):
            batch = {name: value for name, value in loader()[number].items() if name in "xy"}
            state, metrics = compiled(state, to_devices(batch, mesh))
            history.append(metrics)
    return state, history


def test_one_step_is_the_models_step_then_the_adversarys_on_what_it_was_shown():
    mesh = make_mesh(jax.devices()[:1])
    state, (metrics,) = run(mesh, 1)
    before, rival = new_state(mesh), new_state(mesh).extra[ADVERSARY]
    batch = {name: jnp.asarray(value) for name, value in loader()[0].items() if name in "xy"}

    def keys(purpose):
        return purpose_key(before.key, purpose, 0)

    (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(before.params, before.extra, batch, keys)
    updates, _ = optimizer().update(grads, before.opt_state, before.params)
    its_grads = jax.grad(lambda p: discriminator_loss(p, rival.extra, aux.outputs, keys)[0])(rival.params)
    expected = optax.apply_updates(before.params, updates)
    expected_rival = jax.tree.map(lambda p, g: p - 0.05 * g, rival.params, its_grads)
    after = state.extra[ADVERSARY]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), state.params, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.params, expected_rival)
    assert int(after.step) == 1 and int(after.extra["calls"]) == 1
    assert set(metrics) == {"loss", "grad_norm", "error", "adversary_loss", "adversary_grad_norm", "adversary_real"}
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-6)


def test_an_adversary_waits_for_its_start():
    mesh = make_mesh(jax.devices()[:1])
    state, history = run(mesh, 2, start=2)
    assert_same_bits(state.extra[ADVERSARY], new_state(mesh).extra[ADVERSARY])
    assert [float(m["adversary_loss"]) for m in history] == [0, 0]
    state, history = run(mesh, 3, start=2)
    assert int(state.extra[ADVERSARY].step) == 1 and float(history[-1]["adversary_loss"]) > 0


def test_both_players_are_the_same_on_any_mesh_and_the_adversary_is_spread_too():
    (one, _), (many, _) = run(make_mesh(jax.devices()[:1]), 3), run(make_mesh(fsdp=2, tensor=2), 3)
    for a, b in ((one.params, many.params), (one.extra[ADVERSARY].params, many.extra[ADVERSARY].params)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), a, b)
    assert many.extra[ADVERSARY].params["up"].sharding.spec == P("fsdp", "tensor")


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    mesh = make_mesh(fsdp=2, tensor=1, data=-1)
    settings = dict(mesh=mesh, train_step=step(start=3))
    whole = train(tmp_path / "whole", 8, state=new_state(mesh), **settings)
    train(tmp_path / "parts", 4, state=new_state(mesh), **settings)
    assert_same_bits(train(tmp_path / "parts", 8, state=new_state(mesh), **settings), whole)
    assert int(whole.extra[ADVERSARY].step) == 5


def test_an_adversary_that_is_not_finite_stops_the_run(tmp_path):
    def broken(params, extra, outputs, keys):
        return jnp.sum(params["bias"]) * jnp.nan, Aux({}, extra)

    mesh = make_mesh()
    with pytest.raises(NonFinite, match="adversary"):
        train(tmp_path, 3, mesh=mesh, state=new_state(mesh), train_step=step(loss=broken))
