"""One step is a gradient step: equal to Optax by hand, the same on any mesh, keys and extra passed through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_model import MODEL, loader, loss_fn, new_state, optimizer

from videopoet_jax.layers.objective import Aux, Mean
from videopoet_jax.parallel import make_mesh
from videopoet_jax.training.loop import to_devices
from videopoet_jax.training.state import purpose_key
from videopoet_jax.training.step import accumulated, ema_weight, make_train_step


def take_step(mesh, loss=loss_fn, steps=1):
    """The state after `steps` steps, and the last metrics."""
    train_step = jax.jit(make_train_step(loss, optimizer(), ema_decay=0.9))
    state = new_state(mesh)
    with jax.set_mesh(mesh):
        for number in range(steps):
            batch = {name: value for name, value in loader()[number].items() if name in "xy"}
            state, metrics = train_step(state, to_devices(batch, mesh))
    return state, metrics


def test_the_gradient_of_the_mean_over_the_whole_batch_whatever_the_mesh():
    one, _ = take_step(make_mesh(jax.devices()[:1]), steps=3)
    for sizes in ({}, {"fsdp": 2, "tensor": 2}):
        many, _ = take_step(make_mesh(**sizes), steps=3)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), many.params, one.params)


def weighted(params, extra, batch, keys):
    """A mean over things of which rows have different numbers, and a key's draw that no gradient sees."""
    counts = batch["count"]
    error = jnp.sum((MODEL.apply({"params": params}, batch["x"]) - batch["y"]) ** 2, axis=-1)
    weight = jnp.sum(counts)
    some = counts * (counts > 5)  # of a few rows, perhaps of none in a microbatch
    metrics = {"noise": jax.random.normal(keys("noise")), "some": Mean(jnp.sum(some * error), jnp.sum(some))}
    return jnp.sum(counts * error) / weight, Aux(metrics, {"calls": extra["calls"] + 1}, batch["x"], weight)


@pytest.mark.parametrize("sizes", [None, {"fsdp": 2, "tensor": 2}])
def test_microbatches_make_the_gradient_of_the_whole_batch(sizes):
    mesh = make_mesh(**sizes) if sizes else make_mesh(jax.devices()[:1])
    rng = np.random.default_rng(0)
    batch = {"x": rng.normal(size=(16, 4)), "y": rng.normal(size=(16, 4))}
    batch = to_devices({k: v.astype(np.float32) for k, v in batch.items()} | {"count": rng.integers(1, 9, 16)}, mesh)
    found = {}
    for parts in (1, 2, 4):
        grads = accumulated(jax.value_and_grad(weighted, has_aux=True), parts)
        state = new_state(mesh)
        with jax.set_mesh(mesh):
            found[parts] = jax.jit(lambda s, b, grads=grads: grads(s.params, s.extra, b, lambda name: s.key))(
                state, batch
            )
    (loss, aux), gradient = found[1]
    for parts in (2, 4):
        (other_loss, other_aux), other = found[parts]
        np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), other, gradient)
        np.testing.assert_array_equal(other_aux.outputs, batch["x"])  # what an adversary is shown, in its order
        assert int(other_aux.extra["calls"]) == int(aux.extra["calls"]) == 1  # a counter of steps
        assert float(other_aux.weight) == float(aux.weight)
        np.testing.assert_allclose(other_aux.metrics["some"], aux.metrics["some"], rtol=1e-5)


def test_microbatches_draw_different_noise_and_are_one_step():
    mesh = make_mesh()
    batch = to_devices({name: value for name, value in loader(batch_size=32)[0].items() if name in "xy"}, mesh)
    seen = []

    def watched(params, extra, batch, keys):
        jax.debug.callback(lambda key: seen.append(tuple(np.ravel(key))), jax.random.key_data(keys("noise")))
        return loss_fn(params, extra, batch, keys)

    step = jax.jit(make_train_step(watched, optimizer(), ema_decay=0.9, accumulate=4))
    with jax.set_mesh(mesh):
        state, metrics = step(new_state(mesh), batch)
    jax.effects_barrier()
    assert len(set(seen)) == 4 and int(state.step) == int(state.extra["calls"]) == 1
    assert set(metrics) == {"loss", "grad_norm", "noise"}
    with pytest.raises(ValueError, match="accumulate 3: 32 rows do not divide into so many microbatches"):
        make_train_step(loss_fn, optimizer(), ema_decay=None, accumulate=3)(new_state(mesh), batch)
    with pytest.raises(ValueError, match="accumulate 0: at least 1"):
        make_train_step(loss_fn, optimizer(), ema_decay=None, accumulate=0)


def test_loss_gradient_norm_and_the_models_own_metrics_are_returned():
    _, metrics = take_step(make_mesh())
    assert set(metrics) == {"loss", "grad_norm", "noise"}
    assert all(value.shape == () for value in metrics.values())


def test_the_loss_sees_keys_of_the_current_step():
    def noise(params, extra, batch, keys):
        return jnp.sum(params["bias"] ** 2), Aux({"noise": jax.random.normal(keys("noise"))}, extra)

    for steps in (1, 2):
        state, metrics = take_step(make_mesh(), noise, steps)
        assert metrics["noise"] == jax.random.normal(purpose_key(state.key, "noise", steps - 1))


def test_any_object_with_metrics_and_extra_is_an_aux():
    class Mine:
        metrics, extra = {}, {"calls": jnp.ones((), jnp.int32)}

    state, _ = take_step(make_mesh(), lambda params, *_: (jnp.sum(params["bias"]), Mine))
    assert int(state.extra["calls"]) == 1


def test_the_average_follows_quickly_at_first_and_slowly_later():
    weights = [float(ema_weight(0.999, jnp.int32(step))) for step in (0, 9, 9999)]
    assert weights == pytest.approx([0.1, 10 / 19, 0.999])
    before, (after, _) = new_state(make_mesh()), take_step(make_mesh())
    expected = 0.1 * before.ema_params["up"] + 0.9 * after.params["up"]
    np.testing.assert_allclose(after.ema_params["up"], expected, rtol=1e-6)
