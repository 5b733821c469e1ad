"""How different pictures look to LPIPS, for whole videos: one compiled program whatever their lengths.

    perceptual = load_perceptual("weights")
    perceptual(true, copy)      uint8 [t h w 3] or [b t h w 3]  →  float32 [t] or [b t], 0 for equal pictures

AlexNet's, which its authors advise for measuring. Not VGG16's: tokenizers are trained on it, and would be judged by
what they were taught.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

NETWORK = "lpips_alexnet"
BATCH = 16  # ours: of pictures; what compares them takes many times their memory

Pictures = UInt8[np.ndarray, "*n h w 3"]
Perceptual = Callable[[Pictures, Pictures], Float[np.ndarray, "*n"]]


def load_perceptual(weights: str | os.PathLike) -> Perceptual:
    """The judge out of a folder that `launch/fetch_weights.sh` wrote.

    Raises:
        ValueError: no `lpips_alexnet` in it.
    """
    import jax

    from videopoet_jax.layers.lpips import load_lpips

    directory = Path(weights) / NETWORK
    if not (directory / "config.json").is_file():
        raise ValueError(f"{weights}: no {NETWORK} in it; fetch it with ./launch/fetch_weights.sh {weights}.")
    module, params = load_lpips(directory)
    params = jax.device_put(params)

    @jax.jit
    def distance(params, one, other):
        return module.apply({"params": params}, *(x.astype("float32") / 127.5 - 1 for x in (one, other)))

    def perceptual(true: Pictures, copy: Pictures) -> Float[np.ndarray, "*n"]:
        one, other = (video.reshape(-1, *video.shape[-3:]) for video in (true, copy))
        found = np.empty(len(one), np.float32)
        for start in range(0, len(one), BATCH):
            pair = [video[start : start + BATCH] for video in (one, other)]
            count = len(pair[0])
            padded = [np.pad(video, ((0, BATCH - count), (0, 0), (0, 0), (0, 0))) for video in pair]
            found[start : start + count] = np.asarray(distance(params, *padded))[:count]
        return found.reshape(true.shape[:-3])

    return perceptual
