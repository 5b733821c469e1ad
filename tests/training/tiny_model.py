"""A regression small enough to train in a test: model, data and a run of the real loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from videopoet_jax.data.loader import make_loader
from videopoet_jax.layers.objective import Aux
from videopoet_jax.parallel import initialize, make_mesh, partitioned
from videopoet_jax.training.loop import fit
from videopoet_jax.training.optimizer import make_optimizer
from videopoet_jax.training.state import TrainState, create_state
from videopoet_jax.training.step import make_train_step


class Mlp(nn.Module):
    """Two matrices, split over `fsdp` and `tensor` where a mesh has these."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        normal = nn.initializers.normal(0.1)
        up = self.param("up", partitioned(normal, "embed", "mlp"), (4, self.width), jnp.float32)
        down = self.param("down", partitioned(normal, "mlp", "embed"), (self.width, 4), jnp.float32)
        bias = self.param("bias", partitioned(nn.initializers.zeros, None), (4,), jnp.float32)
        return jnp.tanh(x @ up) @ down + bias


class Points:
    """Example i is a random point x and the target sin(x); `broken` ones are NaN."""

    def __init__(self, count: int = 64, broken: tuple[int, ...] = ()):
        self._count, self._broken = count, broken

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        x = np.random.default_rng(index).normal(size=4).astype(np.float32)
        return {"x": np.full_like(x, np.nan) if index in self._broken else x, "y": np.sin(x)}


MODEL = Mlp(width=16)


def loss_fn(params, extra, batch, keys):
    """Squared error under noise, so that a wrong key shows in the result; `extra` counts the calls."""
    noise = 0.1 * jax.random.normal(keys("noise"), batch["x"].shape)
    error = jnp.mean((MODEL.apply({"params": params}, batch["x"] + noise) - batch["y"]) ** 2)
    return error, Aux({"noise": jnp.mean(noise)}, {"calls": extra["calls"] + 1})


def optimizer(name: str = "adamw") -> optax.GradientTransformation:
    return make_optimizer(name=name, learning_rate=1e-2, b1=0.9, b2=0.99, eps=1e-8, weight_decay=0.01, clip_norm=1.0)


def new_state(mesh: jax.sharding.Mesh, *, model: Mlp | None = None, seed: int = 0, update: str = "adamw") -> TrainState:
    model = model or MODEL
    params = initialize(lambda key: model.init(key, jnp.zeros((1, 4)))["params"], mesh, jax.random.key(seed))
    extra = {"calls": jnp.zeros((), jnp.int32)}
    return create_state(params, optimizer(update), mesh=mesh, key=jax.random.key(seed + 1), extra=extra, ema=True)


def loader(**kwargs):
    return make_loader(kwargs.pop("source", Points()), batch_size=kwargs.pop("batch_size", 8), seed=7, **kwargs)


def train(workdir, steps: int, **kwargs) -> TrainState:
    """A run of `fit` on a 4 × 2 mesh, whatever is not given being small."""
    mesh = kwargs.pop("mesh", None) or make_mesh(fsdp=2, tensor=1, data=-1)
    update = kwargs.pop("update", "adamw")
    settings = {
        "state": kwargs.pop("state", None) or new_state(mesh, update=update),
        "train_step": make_train_step(kwargs.pop("loss_fn", loss_fn), optimizer(update), ema_decay=0.9),
        "batches": kwargs.pop("batches", None) or loader(),
        "checkpoint_every": 4,
        "log_every": 2,
        **kwargs,
    }
    return fit(steps=steps, mesh=mesh, workdir=workdir, **settings)


def assert_same_bits(one, other):
    """Both trees hold the same bits under the same names: parameters, moments, averages, step, extra, key."""
    one, other = (jax.tree_util.tree_leaves_with_path(tree) for tree in (one, other))
    assert [path for path, _ in one] == [path for path, _ in other]
    for (path, a), (_, b) in zip(one, other, strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=jax.tree_util.keystr(path))
