"""Each shape of batch is compiled once; JAX's own cache setting wins over ours."""

import jax
import jax.numpy as jnp
import pytest
from tiny_model import loss_fn, new_state, optimizer

from videopoet_jax.parallel import make_mesh
from videopoet_jax.training.compilation import CompiledStep, signature, use_compilation_cache
from videopoet_jax.training.step import make_train_step


@pytest.fixture
def no_cache():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def test_the_cache_lies_under_the_users_cache(tmp_path, monkeypatch, no_cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert use_compilation_cache() == str(tmp_path / "videopoet_jax" / "compiled")
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "videopoet_jax" / "compiled")


def test_jax_own_setting_wins(tmp_path, no_cache):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert use_compilation_cache(tmp_path / "other") == str(tmp_path / "mine")


def test_a_signature_is_names_shapes_and_dtypes():
    assert signature({"x": jnp.zeros((8, 4))}) == (("x", (8, 4), "float32"),)


def test_a_shape_is_compiled_once_and_the_state_keeps_its_shardings():
    mesh = make_mesh(fsdp=2, tensor=2)
    told = []
    step = CompiledStep(make_train_step(loss_fn, optimizer(), ema_decay=0.9), mesh, told.append)
    state = new_state(mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    with jax.set_mesh(mesh):
        for rows in (8, 16, 8, 16):
            state, _ = step(state, {"x": jnp.ones((rows, 4)), "y": jnp.ones((rows, 4))})
    assert [line for line in told if "compiling" in line] == [
        f"compiling, once for batches of x [{rows}, 4] …" for rows in (8, 16)
    ]
    assert jax.tree.map(lambda leaf: leaf.sharding, state) == shardings


def test_compiler_options_reach_the_compiler():
    mesh = make_mesh()
    train_step = make_train_step(loss_fn, optimizer(), ema_decay=0.9)
    step = CompiledStep(train_step, mesh, print, {"xla_no_such_option": "1"})
    with jax.set_mesh(mesh), pytest.raises(jax.errors.JaxRuntimeError, match="xla_no_such_option"):
        step(new_state(mesh), {"x": jnp.ones((8, 4)), "y": jnp.ones((8, 4))})
