"""Attention against NumPy, grouped heads against repeated ones, and the cache against no cache."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.attention import Attention, attend, empty_cache
from videopoet_jax.layers.masks import prefix_mask
from videopoet_jax.layers.positions import rotary_angles, rotate


def qkv(b=2, i=5, m=4, g=2, e=8):
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(jax.random.normal(key, (b, i, heads, e)) for key, heads in zip(keys, (m, g, g), strict=True))


def naive(q, k, v, mask):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros_like(q)
    group = q.shape[2] // k.shape[2]
    for b, i, m in np.ndindex(q.shape[:3]):
        scores = np.array([q[b, i, m] @ k[b, j, m // group] / q.shape[3] ** 0.5 for j in range(k.shape[1])])
        weights = np.where(mask[b, i], np.exp(scores - scores.max()), 0)
        out[b, i, m] = weights / weights.sum() @ v[b, :, m // group]
    return out


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_attention_against_numpy(kv_heads):
    q, k, v = qkv(g=kv_heads)
    mask = prefix_mask(jnp.array([[2], [3]]), jnp.ones((2, 5), bool), 0, 5)
    assert_allclose(attend(q, k, v, mask), naive(q, k, v, np.asarray(mask)), atol=1e-5)


def test_a_masked_position_has_no_influence():
    q, k, v = qkv()
    mask = jnp.ones((2, 5, 5), bool).at[:, :, 3].set(False)
    changed = attend(q, k.at[:, 3].add(100.0), v.at[:, 3].add(100.0), mask)
    assert_array_equal(changed, attend(q, k, v, mask))


def module_and_params(kv_heads=2, qk_norm=True):
    module = Attention(4, kv_heads, head_dim=8, qk_norm=qk_norm, epsilon=1e-6, output_scale=1.0, dtype="float32")
    x = jax.random.normal(jax.random.key(1), (2, 6, 16))
    angles = rotary_angles(jnp.arange(6)[None, :, None] * jnp.ones((2, 1, 3), int), (4, 2, 2), (100.0, 10.0, 10.0))
    mask = prefix_mask(jnp.array([[2], [3]]), jnp.ones((2, 6), bool), 0, 6)
    params = nn.meta.unbox(module.init(jax.random.key(2), x, angles, mask))
    return module, params, x, angles, mask


def test_cached_in_pieces_equals_at_once():
    module, params, x, angles, mask = module_and_params()
    whole, _ = module.apply(params, x, angles, mask)
    cache = empty_cache(1, 2, 8, 2, 8, "float32")
    parts = []
    for start, stop in ((0, 4), (4, 5), (5, 6)):  # prefixes of 2 and 3 lie within the first piece
        piece = slice(start, stop)
        y, cache = module.apply(
            params, x[:, piece], angles[:, piece], mask[:, piece], cache, jnp.int32(0), jnp.int32(start)
        )
        parts.append(y)
    assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)


def test_softmax_does_not_mind_large_queries():
    """Queries and keys are normalised: their scale does not reach the scores."""
    module, params, x, angles, mask = module_and_params()
    large = jax.tree_util.tree_map_with_path(
        lambda path, p: p * 1e3 if "query" in str(path) and "norm" not in str(path) else p, params
    )
    assert_allclose(module.apply(large, x, angles, mask)[0], module.apply(params, x, angles, mask)[0], atol=1e-5)


def test_without_their_norms_scores_are_those_of_the_projections():
    module, params, x, angles, mask = module_and_params(qk_norm=False)
    p = params["params"]
    assert set(p) == {"query", "key", "value", "out"}
    q, k, v = (jnp.einsum("bnd,dme->bnme", x, p[name]) for name in ("query", "key", "value"))
    y = naive(rotate(q, angles), rotate(k, angles), v, np.asarray(mask))
    assert_allclose(module.apply(params, x, angles, mask)[0], np.einsum("bnme,med->bnd", y, p["out"]), atol=1e-5)
