"""Per-frame normalisation, nearest upsampling and the adaptive norm, each against its definition."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.video.blocks import EPSILON, ResBlock, group_norm, normalize
from videopoet_jax.video.decoder import AdaptiveGroupNorm, upsample_nearest

normed = jax.jit(functools.partial(normalize, causal=True), static_argnums=1)


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_normalize_is_group_norm_of_each_frame():
    x = 3.0 + 2.0 * features(2, 3, 4, 5, 8)
    groups = x.reshape(2, 3, 20, 4, 2)
    mean, var = groups.mean((2, 4), keepdims=True), groups.var((2, 4), keepdims=True)
    assert_allclose(normed(x, 4), ((groups - mean) / np.sqrt(var + EPSILON)).reshape(x.shape), atol=1e-4)


def test_frames_do_not_share_statistics():
    x = features(1, 3, 4, 4, 8)
    louder = x * np.array([1.0, 9.0, 1.0], np.float32)[:, None, None, None]
    assert_array_equal(normed(louder, 4)[:, ::2], normed(x, 4)[:, ::2])


def test_statistics_are_of_the_whole_clip_where_nothing_is_causal():
    x = 3.0 + 2.0 * features(2, 3, 4, 5, 8)
    groups = x.reshape(2, 60, 4, 2)
    mean, var = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    expected = ((groups - mean) / np.sqrt(var + EPSILON)).reshape(x.shape)
    assert_allclose(normalize(jnp.asarray(x), 4, causal=False), expected, atol=1e-4)


def test_statistics_are_float32():
    x = (100.0 + 4 * features(1, 1, 8, 8, 8)).astype(jnp.bfloat16)
    y = normed(x, 2)
    assert y.dtype == jnp.bfloat16
    assert_allclose(np.asarray(y, np.float32).std(), 1.0, atol=0.02)


@pytest.mark.parametrize("causal", [True, False])
def test_little_variation_beside_a_large_mean_is_not_magnified(causal):
    """Squares of 2,000 are rounded to quarters in float32: around zero, a variance of 0.01 would be lost in them."""
    x = (2000.0 * np.sign(features(1, 2, 1, 1, 8)) + 0.1 * features(1, 2, 8, 8, 8)).astype(np.float32)
    groups = x.astype(np.float64).reshape(1, 2, 64, 8, 1)  # a channel a group
    axes = (2, 4) if causal else (1, 2, 4)
    mean, var = groups.mean(axes, keepdims=True), groups.var(axes, keepdims=True)
    expected = ((groups - mean) / np.sqrt(var + EPSILON)).reshape(x.shape)
    assert_allclose(normalize(jnp.asarray(x), 8, causal), expected, atol=0.02)


@pytest.mark.parametrize("causal", [True, False])
def test_gradient_of_the_norm_is_that_of_its_definition(causal):
    x, dy = 3.0 + 2.0 * features(2, 3, 4, 5, 8), jnp.asarray(features(2, 3, 4, 5, 8, seed=1))
    scale, bias = features(8, seed=2), features(8, seed=3)

    def definition(x, scale, bias):
        groups = x.reshape(2, 3, 20, 4, 2)
        axes = (2, 4) if causal else (1, 2, 4)
        mean, var = groups.mean(axes, keepdims=True), groups.var(axes, keepdims=True)
        return ((groups - mean) / jnp.sqrt(var + EPSILON)).reshape(x.shape) * scale + bias

    found, wanted = (
        jax.grad(lambda *given, f=f: jnp.vdot(dy, f(*given)), (0, 1, 2))(*map(jnp.asarray, (x, scale, bias)))
        for f in (lambda *given: group_norm(*given, 4, causal), definition)
    )
    for mine, theirs in zip(found, wanted, strict=True):
        assert_allclose(mine, theirs, atol=2e-5, rtol=2e-5)


GRADIENTS = """
import sys
if sys.argv[1] == "barriers":
    from videopoet_jax.cli.main import tune_xla
    tune_xla("evaluate")
import jax, jax.numpy as jnp, numpy as np
from videopoet_jax.video.blocks import ResBlock
x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 8, 8, 32)), jnp.float32)
block = ResBlock(features=64, groups=4, kernel_time=3, causal=True)
params = jax.tree.map(lambda p: p + 0.01, jax.jit(block.init, static_argnums=2)(jax.random.key(0), x, "whole"))
loss = jax.jit(jax.grad(lambda params, x: jnp.sum(jnp.sin(block.apply(params, x, "whole"))), (0, 1)))
print(str(loss.lower(params, x).compile().as_text().count("opt-barrier")))
np.savez(sys.argv[2], *map(np.asarray, jax.tree.leaves(loss(params, x))))
"""


def test_barriers_on_a_cpu_change_no_gradient(tmp_path):
    found = {}
    for name in ("barriers", "none"):
        command = [sys.executable, "-c", GRADIENTS, name, str(tmp_path / f"{name}.npz")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert (int(done.stdout) > 0) == (name == "barriers")
        found[name] = np.load(tmp_path / f"{name}.npz")
    for leaf in found["none"]:
        assert_allclose(found["barriers"][leaf], found["none"][leaf], rtol=1e-4, atol=1e-3)


def test_upsampling_repeats_then_drops():
    x = jnp.asarray(np.arange(3, dtype=np.float32)).reshape(1, 3, 1, 1, 1)
    assert_array_equal(upsample_nearest(x, (2, 1, 1), drop_first=True).ravel(), [0, 1, 1, 2, 2])
    assert_array_equal(upsample_nearest(x, (2, 1, 1), drop_first=False).ravel(), [0, 0, 1, 1, 2, 2])
    square = upsample_nearest(jnp.asarray(features(1, 1, 2, 2, 1)), (1, 2, 2), drop_first=True)
    assert_array_equal(square[0, 0, :2, :2], np.broadcast_to(square[0, 0, 0, 0], (2, 2, 1)))


def test_adaptive_norm_takes_each_position_from_its_own_code():
    x, codes = features(1, 5, 4, 4, 8), np.sign(features(1, 3, 2, 2, 6, seed=1))
    norm = AdaptiveGroupNorm(groups=4, factor=(2, 2, 2), causal=True)

    @jax.jit
    def run(x, codes):
        params = norm.init(jax.random.key(0), x, codes, "whole")
        return norm.apply(jax.tree.map(lambda p: p + 0.3, params), x, codes, "whole")

    flipped = codes.copy()
    flipped[0, 1, 0, 1] *= -1.0
    touched = np.zeros((5, 4, 4), bool)
    touched[1:3, :2, 2:] = True
    assert_array_equal(np.any(np.asarray(run(x, codes) != run(x, flipped)), axis=(0, -1)), touched)


def test_adaptive_norm_starts_as_plain_normalisation():
    x, codes = features(1, 1, 4, 4, 8), np.ones((1, 1, 4, 4, 6), np.float32)
    norm = AdaptiveGroupNorm(groups=4, factor=(1, 1, 1), causal=True)
    y = jax.jit(lambda x, codes: norm.init_with_output(jax.random.key(0), x, codes, "whole")[0])(x, codes)
    assert_allclose(y, normed(x, 4), atol=1e-6)


@pytest.mark.parametrize(("width", "shortcut"), [(8, False), (12, True)])
def test_residual_block_has_a_shortcut_only_where_widths_differ(width, shortcut):
    block = ResBlock(width, 4, 3, causal=True)
    params = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, "whole"), features(1, 2, 4, 4, 8))["params"]
    assert ("shortcut" in params) is shortcut
