"""What moves where, and how near it is, as a clip of pictures that the video tokenizer reads: stylization's prefix.

[VP] normalises two channels of optical flow and one of depth and stacks them to three. Here, in a picture 64 across:

    flow (x, y), nearness                     red, green, blue
    0 0     still, far                        128 128   0
    4 0     4 pixels right in one frame       191 128   …      a sixteenth of the shorter side
    0 -8    8 pixels up: an eighth, the most  128   1   …
    …  1    as near as anything               …       255

The scale is ours: at 8 frames a second an eighth a frame is across the picture in a second.

Flow is from each frame to the next, in pixels of the clip, x before y; the last frame, which has no next, moves as the
one before it. So do the truth of moving digits, `dis_flow` below and RAFT (`videopoet_jax.structure`) give it, and
nearness is 0 for what is farthest, 1 for what is nearest, in the truth as by DPT.
"""

import importlib.util

import numpy as np
from jaxtyping import Float, UInt8

STILL, STEPS = 128, 127  # the middle of a byte, and the levels on either side
FASTEST = 1 / 8  # of the shorter side, from frame to frame


def to_picture(
    flow: Float[np.ndarray, "t h w 2"], depth: Float[np.ndarray, "t h w"] | None
) -> UInt8[np.ndarray, "t h w 3"]:
    """Flow in pixels a frame and nearness in [0, 1] → pictures; faster than `FASTEST` is as fast. None: all is far."""
    t, h, w, _ = flow.shape
    moved = STILL + np.clip(flow / (FASTEST * min(h, w)), -1, 1) * STEPS
    near = np.zeros((t, h, w)) if depth is None else np.clip(depth, 0, 1) * 255
    return np.concatenate([moved, near[..., None]], axis=-1).round().astype(np.uint8)


def from_picture(
    picture: UInt8[np.ndarray, "t h w 3"],
) -> tuple[Float[np.ndarray, "t h w 2"], Float[np.ndarray, "t h w"]]:
    """The way back: flow in pixels a frame, nearness; to within half a level."""
    side = min(picture.shape[1:3])
    flow = (picture[..., :2].astype(np.float32) - STILL) / STEPS * (FASTEST * side)
    return flow, picture[..., 2].astype(np.float32) / 255


def check_opencv() -> None:
    """Raises where `dis_flow` cannot run."""
    if importlib.util.find_spec("cv2") is None:
        raise RuntimeError(
            "OpenCV: not installed, it brings the flow that needs no weights; pip install 'videopoet_jax[structure]', "
            "or name RAFT's weights in data.flow."
        )


def dis_flow(video: UInt8[np.ndarray, "t h w 3"]) -> Float[np.ndarray, "t h w 2"]:
    """OpenCV's DIS flow (Kroeger et al. 2016), which needs no weights: (x, y) pixels to the next frame; the last frame
    repeats the one before it.

    On moving digits over photographs (`moving_digits`, level 2, 64×64), that move by 1.8 pixels a frame, it is wrong by
    0.3 pixels on the digit and 0.2 beside it. Of a picture alone nothing moves.

    Raises:
        RuntimeError: without OpenCV.
        ValueError: sides of fewer than 16 pixels.
    """
    check_opencv()
    import cv2

    if min(video.shape[1:3]) < 16:
        raise ValueError(f"{video.shape[1]}×{video.shape[2]} frames: flow needs sides of at least 16 pixels.")
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in video]
    flow = [solver.calc(one, other, None) for one, other in zip(grey, grey[1:], strict=False)]
    return np.stack([*flow, flow[-1] if flow else np.zeros((*video.shape[1:3], 2), np.float32)])
