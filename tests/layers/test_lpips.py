"""LPIPS: a distance first, then equality with a version written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data

from videopoet_jax.layers.lpips import LPIPS, NETWORKS, load_lpips, unit_length
from videopoet_jax.pretrained import save_params, write_config


@pytest.fixture(scope="module", params=NETWORKS)
def lpips(request):
    """LPIPS and its gradient, jitted; random weights with biases and uneven heads; pictures and noisier copies."""
    rng = np.random.default_rng(0)
    picture = data.astronaut()[100:132, 160:196] / 127.5 - 1
    a = jnp.asarray(np.stack([picture] * 2), jnp.float32)
    b = jnp.asarray(a + rng.normal(size=a.shape) * np.array([0.02, 0.2])[:, None, None, None], jnp.float32)
    module = LPIPS(request.param)

    def drawn(path, shape):
        if path[-1].key == "weight":
            return rng.uniform(size=shape.shape).astype(np.float32)
        scale = 0.1 if path[-1].key == "bias" else (2 / np.prod(shape.shape[:-1])) ** 0.5
        return rng.normal(size=shape.shape, scale=scale).astype(np.float32)

    shapes = jax.eval_shape(module.init, jax.random.key(0), a, b)["params"]
    params = jax.tree_util.tree_map_with_path(drawn, shapes)
    run = jax.jit(lambda params, a, b: module.apply({"params": params}, a, b))
    gradient = jax.jit(jax.grad(lambda params, a, b: jnp.sum(module.apply({"params": params}, a, b)), argnums=2))
    return module.network, run, gradient, params, a, b


def conv(x, kernel, bias, stride, padding):
    """[h w c] by loops over the kernel's window."""
    size = kernel.shape[0]
    x = np.pad(x, [(padding, padding), (padding, padding), (0, 0)])
    h, w = ((side - size) // stride + 1 for side in x.shape[:2])
    y = np.zeros((h, w, kernel.shape[-1])) + bias
    for i in range(size):
        for j in range(size):
            y += x[i : i + stride * h : stride, j : j + stride * w : stride] @ kernel[i, j]
    return np.maximum(y, 0)


def pooled(x, size):
    h, w = ((side - size) // 2 + 1 for side in x.shape[:2])
    return np.array([[x[2 * i : 2 * i + size, 2 * j : 2 * j + size].max((0, 1)) for j in range(w)] for i in range(h)])


# (stride, padding, pooling in front, compared) of every convolution, from the papers
VGG16 = [(1, 1, 2 if i in (2, 4, 7, 10) else 0, i in (1, 3, 6, 9, 12)) for i in range(13)]
ALEXNET = [(4, 2, 0, True), (1, 2, 3, True), (1, 1, 3, True), (1, 1, 0, True), (1, 1, 0, True)]


def naive(params, layers, a, b):
    shift, scale = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
    pictures, total, head = [(np.asarray(x, np.float64) - shift) / scale for x in (a, b)], 0.0, 0
    for i, (stride, padding, pool, compared) in enumerate(layers):
        pictures = [pooled(x, pool) if pool else x for x in pictures]
        pictures = [conv(x, **params[f"conv{i}"], stride=stride, padding=padding) for x in pictures]
        if compared:
            x, y = (x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12) for x in pictures)
            total += np.mean(np.sum(params[f"head{head}"]["weight"] * (x - y) ** 2, axis=-1))
            head += 1
    return total


def test_equal_to_the_naive_version(lpips):
    network, run, _, params, a, b = lpips
    layers = {"vgg16": VGG16, "alexnet": ALEXNET}[network]
    np.testing.assert_allclose(
        run(params, a, b), [naive(params, layers, x, y) for x, y in zip(a, b, strict=True)], rtol=1e-4
    )


def test_it_is_a_distance_that_grows_with_the_noise(lpips):
    _, run, _, params, a, b = lpips
    found = run(params, a, b)
    assert found.shape == (2,) and found.dtype == jnp.float32 and 0 < found[0] < found[1]
    np.testing.assert_allclose(run(params, b, a), found, rtol=1e-4)
    np.testing.assert_allclose(run(params, b, b), 0, atol=1e-9)


def test_features_in_bfloat16_statistics_in_float32(lpips):
    _, run, _, params, a, b = lpips
    half = run(params, a.astype(jnp.bfloat16), b.astype(jnp.bfloat16))
    assert half.dtype == jnp.float32
    np.testing.assert_allclose(half, run(params, a, b), rtol=0.1)


def test_the_gradient_points_downhill_and_is_finite_where_nothing_is(lpips):
    _, run, gradient, params, a, b = lpips
    step = gradient(params, a, b)
    assert jnp.sum(run(params, a, b - 0.01 * step / jnp.linalg.norm(step))) < jnp.sum(run(params, a, b))
    dead = jax.tree.map(jnp.zeros_like, params)  # every feature is zero everywhere
    assert jnp.isfinite(gradient(dead, a, b)).all()
    assert jnp.isfinite(jax.grad(lambda x: jnp.sum(unit_length(x)[..., 0]))(jnp.zeros((2, 3)))).all()


def test_a_folder_is_read(tmp_path):
    module = LPIPS("alexnet")
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x, x)["params"]
    params = jax.tree.map(lambda s: np.full(s.shape, 0.5, np.float32), shapes)
    save_params(tmp_path, params, dtype="float32")
    write_config(tmp_path, "lpips", {"network": "alexnet"})
    loaded, read = load_lpips(tmp_path)
    assert loaded.network == "alexnet"
    jax.tree.map(np.testing.assert_array_equal, read, dict(params))


def test_clear_errors():
    small, x = jnp.zeros((1, 31, 64, 3)), jnp.zeros((1, 32, 32, 3))
    with pytest.raises(ValueError, match="31×64 pictures: LPIPS needs sides of at least 32"):
        LPIPS("alexnet").init(jax.random.key(0), small, small)
    with pytest.raises(ValueError, match="network 'resnet': unknown; use one of vgg16, alexnet"):
        LPIPS("resnet").init(jax.random.key(0), x, x)
