"""2-D → 3-D: the parameters of an image tokenizer as the start of a video tokenizer that equals it on one frame.

An image tokenizer is the same model with one tap in time. Its kernels go into the tap that meets the present frame, the
last, and the others start at zero. Where the video model is not causal that is the middle one, MAGVIT's central
inflation, and it equals the image model on still clips:

    [1 3 3 c d]  →  [3 3 3 c d]    time taps  0 0 k,  not causal  0 k 0

A convolution in front of an upsampling in time makes pt frames of one, of which the first frame of a clip keeps the
last; an image trains only the channels of that one, so they are copied to the others and every frame starts as the
image.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float

from videopoet_jax.layers.conv_forms import same
from videopoet_jax.video.model import VideoTokenizerModel


def inflate_kernel(
    kernel: Float[np.ndarray, "kt kh kw c d"], taps: int, causal: bool
) -> Float[np.ndarray, "kt2 kh kw c d"]:
    """Zeros before the taps that are there, up to `taps` of them; not causal: around them."""
    missing = taps - kernel.shape[0]
    before = missing if causal else same(taps)[0] - same(kernel.shape[0])[0]
    return np.pad(kernel, ((before, missing - before), (0, 0), (0, 0), (0, 0), (0, 0)))


def repeat_in_time(channels: Float[np.ndarray, "*rest d"], frames: int) -> Float[np.ndarray, "*rest d"]:
    """Channels (pt ph pw c) of a depth-to-space: those of its last frame for each of its `frames`."""
    by_frame = channels.reshape(*channels.shape[:-1], frames, -1)
    return np.broadcast_to(by_frame[..., -1:, :], by_frame.shape).reshape(channels.shape)


def inflate(params: Mapping[str, Any], image: VideoTokenizerModel, model: VideoTokenizerModel) -> dict[str, Any]:
    """Parameters (NumPy, on the host) for the video tokenizer `model` from `params` of `image`, its image stage.

    Those of a video model stay as they are, up to zero taps where `model` looks further back.

    Raises:
        ValueError: the two models differ in more than their taps and strides in time.
    """
    _check_alike(image, model)
    size = (1, model.filled_frames(1), model.stride[1], model.stride[2], 3)
    variables = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(size, jnp.float32))
    targets = flatten_dict(nn.meta.unbox(variables)["params"])
    sources = flatten_dict(dict(params))
    images = all(value.shape[0] == 1 for value in sources.values() if value.ndim == 5)
    upsampled = images and not model.pooled  # by depth-to-space
    frames = {f"stage{i + 1}_up": stride[0] for i, stride in enumerate(model.strides)} if upsampled else {}
    inflated = {}
    for path, target in targets.items():
        value = np.asarray(sources[path])
        if value.ndim == 5 and value.shape[0] < target.shape[0]:
            value = inflate_kernel(value, target.shape[0], model.causal)
        inflated[path] = repeat_in_time(value, frames[path[-2]]) if path[-2] in frames else value
    return unflatten_dict(inflated)


def _check_alike(image: VideoTokenizerModel, model: VideoTokenizerModel) -> None:
    """Raises unless the two configs are equal but for what inflation changes and what changes no result (`remat`)."""

    def comparable(m: VideoTokenizerModel) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(m)} - {"parent", "name", "kernel_time", "remat"}
        return {name: getattr(m, name) for name in sorted(names)} | {"strides": [stride[1:] for stride in m.strides]}

    ours, theirs = comparable(model), comparable(image)
    for name, value in ours.items():
        if theirs[name] != value:
            raise ValueError(
                f"{name} {theirs[name]} of the weights to start from: this model has {value}; the two may differ in "
                f"kernel_time and in strides of time alone, so start from another tokenizer or change the config."
            )
    short = [(a, b) for a, b in zip(image.kernel_time, model.kernel_time, strict=True) if a > b]
    if short:
        raise ValueError(
            f"kernel_time {image.kernel_time} of the weights to start from: this model has {model.kernel_time}, and "
            f"taps are only added; give it as many."
        )
