"""Rotary angles depend on distances, Fourier features on places, and the next position is the next one."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers.positions import (
    PositionEmbedding,
    fourier_features,
    rotary_angles,
    rotate,
    shift_left,
    stretched,
)

SECTIONS, BASES = (8, 4, 4), (1000.0, 100.0, 100.0)


def test_literal_angles():
    angles = rotary_angles(jnp.array([[[3, 1, 2]]]), (4, 2, 2), (100.0, 10.0, 10.0))
    assert_allclose(angles[0, 0], [3.0, 0.3, 1.0, 2.0], rtol=1e-6)


def test_one_section_turns_by_one_number():
    angles = rotary_angles(jnp.array([[[3]]]), (8,), (100.0,))
    assert_allclose(angles[0, 0], 3 * 100.0 ** -np.array([0, 0.25, 0.5, 0.75]), rtol=1e-6)


def test_slow_frequencies_are_slowed_down_and_fast_ones_stay():
    frequencies = 2 * np.pi * jnp.array([0.5, 1.0, 2.5, 4.0, 9.0]) / 8192  # turns within 8,192 places
    kept = stretched(frequencies, 32.0, 1.0, 4.0, 8192.0) / frequencies
    assert_allclose(kept, [1 / 32, 1 / 32, (1 + 1 / 32) / 2, 1, 1], rtol=1e-5)
    angles = rotary_angles(jnp.array([[[7]]]), (8,), (100.0,), (4.0, 1.0, 4.0, 64.0))[0, 0]
    assert_allclose(angles, 7 * stretched(100.0 ** -(jnp.arange(4) / 4), 4.0, 1.0, 4.0, 64.0), rtol=1e-6)


def test_scores_depend_on_distances_alone():
    q, k = jax.random.normal(jax.random.key(0), (2, 1, 1, 2, 16))
    at, of = jnp.array([[[40, 3, 2]]]), jnp.array([[[31, 1, 5]]])
    shift = jnp.array([25, 4, 7])

    def score(p, r):
        turned = (rotate(x, rotary_angles(places, SECTIONS, BASES)) for x, places in ((q, p), (k, r)))
        return jnp.einsum("bnme,bnme->m", *turned)

    assert_allclose(score(at, of), score(at + shift, of + shift), rtol=1e-4)
    assert np.abs(np.asarray(score(at, of) - score(at + shift, of))).max() > 0.1


def test_rotation_keeps_lengths_and_nothing_turns_at_the_origin():
    x = jax.random.normal(jax.random.key(0), (1, 3, 2, 16))
    places = jnp.array([[[0, 0, 0], [5, 2, 1], [106, 15, 15]]])
    turned = rotate(x, rotary_angles(places, SECTIONS, BASES))
    assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)
    assert_array_equal(turned[:, 0], x[:, 0])


def test_literal_features():
    assert_allclose(fourier_features(jnp.array([[[1, 0, 0]]]), (1, 0, 0))[0, 0], [1.0, 0.0], atol=1e-6)
    places = jnp.stack(jnp.meshgrid(jnp.arange(107), jnp.arange(16), jnp.arange(28), indexing="ij"), -1)
    features = np.asarray(fourier_features(places.reshape(1, -1, 3)[:, ::5], (10, 6, 6)))[0]
    assert len(np.unique(features.round(4), axis=0)) == len(features)  # every place has its own


def test_next_positions():
    positions = jnp.arange(12).reshape(1, 3, 4)
    assert_array_equal(shift_left(positions)[0], [[4, 5, 6, 7], [8, 9, 10, 11], [8, 9, 10, 11]])


def test_the_embedding_knows_modality_and_the_next_place_only():
    module = PositionEmbedding(width=8, modalities=4, octaves=(3, 2, 2), dtype="float32")
    own, following = jnp.array([[[1, 1, 1, 2]]]), jnp.array([[[2, 1, 1, 3]]])
    params = module.init(jax.random.key(0), own, following)

    def embed(own, following):
        return module.apply(
            {"params": jax.tree.map(lambda x: x.value, params["params"], is_leaf=_boxed)}, own, following
        )

    reference = embed(own, following)
    assert_array_equal(embed(own.at[..., :3].add(5), following), reference)
    for changed in (embed(own.at[..., 3].set(0), following), embed(own, following.at[..., 1].add(1))):
        assert np.abs(np.asarray(changed - reference)).max() > 1e-4


def _boxed(x):
    return hasattr(x, "names")
