"""I3D's parts against loops, and what the whole must see; on the real weights see benchmarks/perceptual_twins.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage import data

from videopoet_jax.evaluate.i3d import I3D, Unit, load_i3d, make_features, max_pool, prepare
from videopoet_jax.pretrained import save_params, write_config


def windows(x, kernel, stride, value):
    """(place, window) of x [t h w c] for every output, padded as TensorFlow pads: the odd one behind."""
    counts = [-(-size // s) for size, s in zip(x.shape[:3], stride, strict=True)]
    pads = [max(0, (n - 1) * s + k - size) for n, s, k, size in zip(counts, stride, kernel, x.shape[:3], strict=True)]
    x = np.pad(x, [*((p // 2, p - p // 2) for p in pads), (0, 0)], constant_values=value)
    for place in np.ndindex(*counts):
        cut = tuple(slice(i * s, i * s + k) for i, s, k in zip(place, stride, kernel, strict=True))
        yield place, x[cut]


@pytest.mark.parametrize(("kernel", "stride", "size"), [(3, 1, (3, 5, 4)), (7, 2, (9, 8, 7)), (1, 1, (2, 3, 3))])
def test_a_unit_equals_its_loops(kernel, stride, size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, *size, 2)).astype(np.float32)
    params = {
        "kernel": rng.normal(size=(kernel,) * 3 + (2, 3)), "bias": rng.normal(size=3),
        "mean": rng.normal(size=3), "variance": rng.uniform(0.1, 4, 3),
    }  # fmt: skip
    unit = Unit(3, (kernel,) * 3, stride)
    params32 = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    found = jax.jit(lambda params, x: unit.apply({"params": params}, x))(params32, x)[0]
    for place, window in windows(x[0].astype(np.float64), (kernel,) * 3, (stride,) * 3, 0):
        y = np.einsum("thwc,thwcd->d", window, params["kernel"])
        y = (y - params["mean"]) / np.sqrt(params["variance"] + 1e-3) + params["bias"]
        np.testing.assert_allclose(found[place], np.maximum(y, 0), atol=1e-3)


def test_pooling_pads_like_tensorflow():
    x = np.random.default_rng(0).normal(size=(1, 5, 6, 7, 2)).astype(np.float32) - 5
    found = max_pool(jnp.asarray(x), (3, 3, 3), (2, 2, 2))[0]
    for place, window in windows(x[0], (3, 3, 3), (2, 2, 2), -np.inf):
        np.testing.assert_array_equal(found[place], window.max((0, 1, 2)))


@pytest.fixture(scope="module")
def i3d():
    """The whole network of random weights, for small clips."""
    module, rng = I3D(400), np.random.default_rng(0)
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 9, 32, 32, 3), jnp.float32))

    def drawn(path, shape):
        if path[-1].key == "variance":
            return np.ones(shape.shape, np.float32)
        scale = (2 / np.prod(shape.shape[:-1])) ** 0.5 if path[-1].key == "kernel" else 0.1
        return rng.normal(size=shape.shape, scale=scale).astype(np.float32)

    params = jax.tree_util.tree_map_with_path(drawn, shapes["params"])
    return jax.jit(lambda params, video: module.apply({"params": params}, video)), params


def test_the_whole_network_has_the_papers_size_and_sees_order_in_time(i3d):
    run, params = i3d
    # Carreira and Zisserman's 12 M; OpenVINO's conversion of DeepMind's network counts 12.69 M
    learned = jax.tree_util.tree_map_with_path(
        lambda path, p: 0 if path[-1].key in ("mean", "variance") else p.size, params
    )
    assert sum(jax.tree.leaves(learned)) == 12_689_984
    video = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (1, 9, 32, 32, 3)), jnp.float32)
    logits = run(params, video)
    assert logits.shape == (1, 400) and logits.dtype == jnp.float32 and jnp.isfinite(logits).all()
    assert jnp.abs(run(params, video[:, ::-1]) - logits).max() > 0.01 * jnp.abs(logits).max()


@pytest.mark.parametrize(("height", "width"), [(96, 64), (224, 224), (300, 224)])
def test_clips_are_stretched_to_224_as_tensorflow_1_does(height, width):
    clip = data.astronaut()[None, None, :height, 100 : 100 + width]
    frames = np.asarray(prepare(jnp.asarray(clip)))
    assert frames.shape == (1, 1, 224, 224, 3) and -1 <= frames.min() < frames.max() <= 1
    picture = clip[0, 0].astype(float)
    for i, j in ((0, 0), (1, 2), (100, 50), (223, 223), (222, 1), (7, 199)):
        y, x = i * height / 224, j * width / 224  # no half pixels
        wanted = sum(
            (1 - abs(y - a)) * (1 - abs(x - b)) * picture[min(a, height - 1), min(b, width - 1)]
            for a in (int(y), int(y) + 1)
            for b in (int(x), int(x) + 1)
        )
        np.testing.assert_allclose(frames[0, 0, i, j], wanted / 127.5 - 1, atol=1e-4)


def test_a_folder_is_read(i3d, tmp_path):
    _, params = i3d
    save_params(tmp_path, params, dtype="float32")
    write_config(tmp_path, "i3d", {"classes": 400})
    module, read = load_i3d(tmp_path)
    assert module.classes == 400
    jax.tree.map(np.testing.assert_array_equal, read, params)


def test_clips_too_short_are_refused():
    with pytest.raises(ValueError, match="8 frames: I3D looks at 9 or more"):
        make_features(I3D(400))({}, jnp.zeros((1, 8, 32, 32, 3), jnp.uint8))
