"""The attention layer: the cache against no cache, and what its scores do not depend on."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from numpy.testing import assert_allclose

from videopoet_jax.layers.attend import plain
from videopoet_jax.layers.attention import Attention, empty_cache
from videopoet_jax.layers.masks import prefix_visible
from videopoet_jax.layers.positions import rotary_angles, rotate


def module_and_params(kv_heads=2, qk_norm=True):
    module = Attention(4, kv_heads, head_dim=8, qk_norm=qk_norm, epsilon=1e-6, output_scale=1.0, dtype="float32")
    x = jax.random.normal(jax.random.key(1), (2, 6, 16))
    angles = rotary_angles(jnp.arange(6)[None, :, None] * jnp.ones((2, 1, 3), int), (4, 2, 2), (100.0, 10.0, 10.0))
    visible = prefix_visible(jnp.array([[2], [3]]), jnp.ones((2, 6), bool), 0, 6)
    params = nn.meta.unbox(module.init(jax.random.key(2), x, angles, visible))
    return module, params, x, angles, visible


def test_cached_in_pieces_equals_at_once():
    module, params, x, angles, visible = module_and_params()
    whole, _ = module.apply(params, x, angles, visible)
    cache = empty_cache(1, 2, 8, 2, 8, "float32")
    parts = []
    for start, stop in ((0, 4), (4, 5), (5, 6)):  # prefixes of 2 and 3 lie within the first piece
        piece = slice(start, stop)
        seen = prefix_visible(jnp.array([[2], [3]]), jnp.ones((2, 6), bool), start, stop - start)
        y, cache = module.apply(params, x[:, piece], angles[:, piece], seen, cache, jnp.int32(0), jnp.int32(start))
        parts.append(y)
    assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)


def test_softmax_does_not_mind_large_queries():
    """Queries and keys are normalised: their scale does not reach the scores."""
    module, params, x, angles, visible = module_and_params()
    large = jax.tree_util.tree_map_with_path(
        lambda path, p: p * 1e3 if "query" in str(path) and "norm" not in str(path) else p, params
    )
    assert_allclose(module.apply(large, x, angles, visible)[0], module.apply(params, x, angles, visible)[0], atol=1e-5)


def test_without_their_norms_scores_are_those_of_the_projections():
    module, params, x, angles, visible = module_and_params(qk_norm=False)
    p = params["params"]
    assert set(p) == {"query", "key", "value", "out"}
    q, k, v = (jnp.einsum("bnd,dme->bnme", x, p[name]) for name in ("query", "key", "value"))
    y = plain(rotate(q, angles), rotate(k, angles), v, visible)
    assert_allclose(module.apply(params, x, angles, visible)[0], jnp.einsum("bnme,med->bnd", y, p["out"]), atol=1e-5)
