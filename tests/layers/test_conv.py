"""Convolutions: every form equals the plain one, time runs forwards, and chunks equal the whole."""

import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from numpy.testing import assert_allclose, assert_array_equal

from videopoet_jax.layers import conv_forms
from videopoet_jax.layers.conv import (
    CausalConv1D,
    CausalConvTranspose1D,
    Conv3D,
    carry,
    causal_conv1d,
    causal_conv3d,
    causal_conv_transpose1d,
    centred_conv3d,
    depth_to_space,
    past_length,
    space_to_depth,
)


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def plain3d(x, kernel, strides, causal=True):
    """The definition."""
    padding = [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in kernel.shape[:3]]
    if causal:
        padding[0] = (kernel.shape[0] - 1, 0)
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC"))


CONVOLUTIONS = [pytest.param(causal_conv3d, id="causal"), pytest.param(centred_conv3d, id="centred")]


GEOMETRIES = [  # frames, kernel size, strides
    (5, (3, 3, 3), (1, 1, 1)),
    (5, (3, 3, 3), (2, 2, 2)),
    (1, (3, 3, 3), (1, 1, 1)),
    (1, (3, 3, 3), (2, 2, 2)),
    (2, (3, 3, 3), (1, 1, 1)),
    (3, (5, 1, 3), (2, 1, 1)),
    (5, (3, 3, 3), (1, 2, 2)),
    (5, (1, 3, 3), (1, 1, 1)),
    (5, (1, 1, 1), (1, 1, 1)),
    (5, (1, 1, 1), (2, 2, 2)),
    (9, (4, 4, 4), (3, 2, 1)),
    (4, (2, 2, 2), (2, 2, 2)),
]


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("frames, size, strides", GEOMETRIES)
def test_every_form_equals_the_plain_convolution_in_value_and_gradients(frames, size, strides, convolution):
    x, kernel = normal(0, 2, frames, 6, 5, 3), normal(1, *size, 3, 4)

    methods = ("auto", "conv3d", "fold_in", "fold_out") + (("matmul",) if size == (1, 1, 1) else ())

    def products(f):
        y, vjp = jax.vjp(f, x, kernel)
        return y, *vjp(jnp.cos(y))

    @jax.jit
    def everything():
        truth = products(lambda x, k: plain3d(x, k, strides, convolution is causal_conv3d))
        return truth, [products(partial(convolution, strides=strides, method=m)) for m in methods]

    truth, ours = everything()
    for method, results in zip(methods, ours, strict=True):
        for a, b in zip(results, truth, strict=True):
            assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.abs(b).max()), err_msg=method)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("frames, size, strides", GEOMETRIES)
def test_gradient_of_a_gradient_agrees_with_the_plain_convolution(frames, size, strides, convolution):
    x, kernel = normal(0, 1, frames, 6, 5, 2), normal(1, *size, 2, 3)

    def penalty(f):
        slope = jax.grad(lambda x, k: jnp.sum(jnp.tanh(f(x, k))))
        return jax.jit(jax.grad(lambda x, k: jnp.sum(slope(x, k) ** 2), (0, 1)))(x, kernel)

    truth = penalty(lambda x, k: plain3d(x, k, strides, convolution is causal_conv3d))
    for ours, theirs in zip(penalty(partial(convolution, strides=strides)), truth, strict=True):
        assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(jnp.abs(theirs).max()))


def total(f):
    return lambda x, kernel: jnp.sum(jnp.tanh(f(x, kernel)))


def steepness(f):
    return lambda x, kernel: jnp.sum(jax.grad(total(f))(x, kernel) ** 2)


CLIP, SOUND = (3, 8, 8, 4), (32, 4)


@pytest.mark.parametrize(
    "loss, shape, taps, order",
    [
        (total(causal_conv3d), CLIP, (3, 3, 3), "b01f_01io->b01f"),
        (steepness(causal_conv3d), CLIP, (3, 3, 3), "b01f_01io->b01f"),
        (total(partial(causal_conv1d, stride=2)), SOUND, (4,), "b0f_0io->b0f"),
        (steepness(causal_conv1d), SOUND, (4,), "b0f_0io->b0f"),
    ],
)
def test_gradients_in_a_branch_are_convolutions_that_a_cpu_is_fast_at(loss, shape, taps, order):
    def branching(x, kernel, sometimes):
        return jax.lax.cond(sometimes, loss, lambda x, kernel: jnp.zeros(()), x, kernel)

    x, kernel = normal(0, 2, *shape), normal(1, *taps, 4, 6)
    program = jax.jit(jax.grad(branching, (0, 1))).lower(x, kernel, True).compile().as_text()
    orders = re.findall(r"dim_labels=([^\s,]+)", program)
    assert len(orders) > 2 and set(orders) == {order}


def test_a_centred_convolution_keeps_one_frame_in_so_many():
    x, kernel = normal(0, 1, 9, 4, 4, 2), normal(1, 4, 3, 3, 2, 2)
    assert [centred_conv3d(x[:, :t], kernel, strides=(3, 1, 1)).shape[1] for t in (1, 3, 4, 9)] == [1, 1, 2, 3]


def test_what_gives_nothing_has_a_gradient_of_nothing():
    x, kernel = jnp.ones((1, 3, 2)), jnp.ones((8, 2, 4))
    gradients = jax.grad(total(partial(causal_conv1d, stride=4)), (0, 1))(x, kernel)
    for gradient, truth in zip(gradients, (x, kernel), strict=True):
        assert_array_equal(gradient, jnp.zeros_like(truth))


@pytest.mark.parametrize("method", ["auto", "conv3d", "fold_in", "fold_out"])
def test_no_output_sees_the_future(method):
    kernel, x = normal(1, 3, 3, 3, 8, 8), normal(0, 1, 9, 8, 8, 8)
    f = jax.jit(lambda x: causal_conv3d(x, kernel, strides=(2, 1, 1), method=method))
    y, changed = f(x), f(x.at[:, 5:].add(1.0))
    assert_array_equal(y[:, :3], changed[:, :3])  # outputs 0, 1, 2 end at frames 0, 2, 4
    assert float(jnp.abs(y[:, 3:] - changed[:, 3:]).min(axis=(0, 2, 3, 4)).max()) > 0


def test_an_image_is_what_the_first_frame_is():
    kernel, x = normal(1, 3, 3, 3, 4, 4), normal(0, 2, 5, 6, 6, 4)
    assert_allclose(causal_conv3d(x[:, :1], kernel), causal_conv3d(x, kernel)[:, :1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_an_image_costs_one_tap(convolution):
    kernel, image = normal(1, 3, 3, 3, 4, 4), normal(0, 2, 1, 6, 6, 4)
    cost = jax.jit(convolution).lower(image, kernel).compile().cost_analysis()["flops"]
    assert cost <= 2 * 2 * 36 * 9 * 4 * 4


@pytest.mark.parametrize("k, stride", [(3, 1), (3, 2), (4, 2), (2, 2), (1, 2), (1, 1)])
def test_chunks_with_their_past_equal_the_whole_video(k, stride):
    x, kernel = normal(0, 2, 9, 6, 6, 3), normal(1, k, 3, 3, 3, 4)
    whole = causal_conv3d(x, kernel, strides=(stride, 2, 2))
    need, past, parts = past_length(k, stride), None, []
    for chunk in (x[:, :1], x[:, 1:5], x[:, 5:]):
        parts.append(causal_conv3d(chunk, kernel, strides=(stride, 2, 2), past=past))
        past = carry(chunk, past, need)
    assert_allclose(jnp.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-5)


def test_chunks_of_one_shape_are_computed_alike_wherever_they_stand():
    x, kernel = normal(0, 1, 13, 8, 8, 8), normal(1, 3, 3, 3, 8, 8)
    f = jax.jit(lambda chunk, past: causal_conv3d(chunk, kernel, past=past))
    shifted = jnp.concatenate([x[:, 4:], x[:, :4]], axis=1)
    assert_array_equal(f(x[:, 6:10], x[:, 4:6]), f(shifted[:, 2:6], shifted[:, :2]))


def test_a_tile_computes_what_the_picture_does_whatever_its_size():
    kernel, x = normal(1, 3, 3, 3, 2, 2), normal(0, 1, 3, 13, 13, 2)
    whole = causal_conv3d(x, kernel, strides=(1, 2, 2))
    tile = causal_conv3d(x[:, :, :8, :9], kernel, strides=(1, 2, 2))
    assert_allclose(tile[:, :, :3, :4], whole[:, :, :3, :4], rtol=1e-5, atol=1e-5)
    assert whole.shape[2] == 7 and tile.shape[2:4] == (4, 5)


def test_a_wrong_past_and_an_unknown_method_are_refused():
    x, kernel = normal(0, 1, 4, 4, 4, 2), normal(1, 3, 3, 3, 2, 2)
    with pytest.raises(ValueError, match="past of 1 frames.*carry 2"):
        causal_conv3d(x, kernel, past=x[:, :1])
    with pytest.raises(ValueError, match="'fastest'.*use 'auto'"):
        causal_conv3d(x, kernel, method="fastest")
    with pytest.raises(ValueError, match=r"\(3, 3, 3\).*'matmul' needs \(1, 1, 1\)"):
        causal_conv3d(x, kernel, method="matmul")
    with pytest.raises(ValueError, match="2 groups with dilation 3"):
        causal_conv1d(normal(0, 1, 20, 4), normal(1, 7, 2, 4), dilation=3, groups=2)


@pytest.mark.parametrize("k, stride, dilation", [(7, 1, 1), (7, 1, 3), (4, 2, 1), (5, 3, 2), (3, 5, 1)])
def test_both_derivatives_of_sounds_agree_with_the_plain_convolution(k, stride, dilation):
    x, kernel = normal(0, 2, 40, 3), normal(1, k, 3, 4)
    front, skip = max(0, (k - 1) * dilation + 1 - stride), max(0, stride - (k - 1) * dilation - 1)

    def plain(x, kernel):
        numbers = ("NWC", "WIO", "NWC")
        return lax.conv_general_dilated(
            x[:, skip:], kernel, (stride,), [(front, 0)], rhs_dilation=(dilation,), dimension_numbers=numbers
        )

    def derivatives(f):
        def penalty(x, kernel):
            y, pull = jax.vjp(f, x, kernel)
            slopes = pull(jnp.cos(y))
            return sum(jnp.sum(slope**3) for slope in slopes), (y, *slopes)

        (_, first), second = jax.jit(jax.value_and_grad(penalty, (0, 1), has_aux=True))(x, kernel)
        return *first, *second

    ours, truth = derivatives(partial(causal_conv1d, stride=stride, dilation=dilation)), derivatives(plain)
    for a, b in zip(ours, truth, strict=True):
        assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("k, stride, dilation, groups", [(7, 1, 1, 1), (7, 1, 3, 1), (4, 2, 1, 1), (10, 5, 1, 2)])
def test_sound_is_causal_by_blocks_and_chunks_equal_the_whole(k, stride, dilation, groups):
    x, kernel = normal(0, 2, 40, 4), normal(1, k, 4 // groups, 6)
    options = dict(stride=stride, dilation=dilation, groups=groups)
    f = jax.jit(lambda x: causal_conv1d(x, kernel, **options))
    whole, half = f(x), 20 // stride
    assert whole.shape[1] == 40 // stride
    assert_array_equal(f(x.at[:, 20:].add(1.0))[:, :half], whole[:, :half])
    need, past, parts = past_length(k, stride, dilation), None, []
    for chunk in (x[:, :10], x[:, 10:]):
        parts.append(causal_conv1d(chunk, kernel, past=past, **options))
        past = carry(chunk, past, need)
    assert_allclose(jnp.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k, stride", [(4, 2), (10, 5), (5, 2), (2, 2), (1, 3)])
def test_transposed_convolution_equals_the_definition_and_streams(k, stride):
    x, kernel = normal(0, 2, 12, 3), normal(1, k, 3, 4)
    y = np.zeros((2, 12 * stride + k, 4), np.float32)
    for i in range(12):
        for j in range(k):
            y[:, i * stride + j] += np.asarray(x[:, i] @ kernel[j])
    whole = causal_conv_transpose1d(x, kernel, stride=stride)
    assert_allclose(whole, y[:, : 12 * stride], rtol=1e-5, atol=1e-5)
    need = -(-k // stride) - 1
    parts = [
        causal_conv_transpose1d(x[:, :6], kernel, stride=stride),
        causal_conv_transpose1d(x[:, 6:], kernel, stride=stride, past=x[:, 6 - need : 6]),
    ]
    assert_allclose(jnp.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-5)


def test_depth_to_space_undoes_space_to_depth_and_drops_the_first_frames():
    x = normal(0, 2, 6, 4, 8, 3)
    folded = space_to_depth(x, (2, 2, 4))
    assert folded.shape == (2, 3, 2, 2, 48)
    assert_array_equal(depth_to_space(folded, (2, 2, 4), drop_first=False), x)
    assert_array_equal(depth_to_space(folded, (2, 2, 4), drop_first=True), x[:, 1:])  # 1+2 frames → 1+4
    with pytest.raises(ValueError, match="multiple of 16"):
        depth_to_space(x, (2, 2, 4), drop_first=False)
    with pytest.raises(ValueError, match="multiples of"):
        space_to_depth(x, (4, 2, 2))


def test_modules_own_partitioned_parameters_and_compute_in_the_inputs_dtype():
    video, sound = normal(0, 1, 5, 4, 4, 32), normal(0, 1, 20, 64)
    modules = [
        (Conv3D(features=48, kernel_size=(3, 3, 3), strides=(2, 2, 2), use_bias=True, causal=True), video),
        (CausalConv1D(features=48, kernel_size=7, stride=1, dilation=1, groups=2, use_bias=True), sound),
        (CausalConvTranspose1D(features=48, kernel_size=4, stride=2, use_bias=False), sound),
    ]
    for module, x in modules:
        boxed = jax.jit(module.init)(jax.random.key(0), x)
        names = boxed["params"]["kernel"].names
        assert names[-2:] == ("conv_in", "conv_out") and names[0] == "conv_t"
        assert ("bias" in boxed["params"]) == module.use_bias
        params = nn.meta.unbox(boxed)
        assert jax.eval_shape(module.apply, params, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_colours_and_bits_are_never_split():
    conv = Conv3D(features=18, kernel_size=(1, 1, 1), strides=(1, 1, 1), use_bias=True, causal=True)
    params = conv.init(jax.random.key(0), normal(0, 1, 1, 2, 2, 3))["params"]
    assert params["kernel"].names[-2:] == (None, None) and params["bias"].names == (None,)


def test_accelerators_get_the_plain_convolution():
    assert conv_forms.rule((3, 3, 3), (1, 1, 1)).forward == "fold_out"
    x, kernel = jnp.zeros((1, 5, 4, 4, 2)), jnp.zeros((3, 3, 3, 2, 2))
    text = jax.export.export(jax.jit(causal_conv3d), platforms=["tpu"])(x, kernel).mlir_module()
    assert text.count("stablehlo.convolution") == 1 and "tensor<1x5x4x4x2xf32>" in text
    assert "tensor<5x4x4x6xf32>" not in text
