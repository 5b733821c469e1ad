"""VMAF (Li et al. 2016), Netflix's estimate of what viewers say of a copy, by the libvmaf inside ffmpeg.

Its model v0.6.1 takes a picture for a part of a screen of 1,080 lines, seen from three times the screen's height. Small
pictures are doubled, tripled … bicubically, original and copy alike, until their shorter side has `MIN_SIDE` pixels,
and no further: blown up to 1,080 lines, every copy of a 128×128 clip at the rates of tokenizers scores 0.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from videopoet_jax.evaluate.codecs import run_ffmpeg

# Ours: VMAF's fidelity filter is 17 pixels wide at full scale, and looks at 1/2, 1/4 and 1/8 of it too.
MIN_SIDE = 128


def vmaf(
    reference: UInt8[np.ndarray, "t h w 3"], estimate: UInt8[np.ndarray, "t2 h2 w2 3"], *, fps: int | float
) -> float:
    """The mean of the frames' scores: 0 … 100, about 100 for an exact copy."""
    if reference.shape != estimate.shape:
        raise ValueError(f"{reference.shape} and {estimate.shape}: a copy has its original's shape; cut or pad one.")
    _, h, w, _ = reference.shape
    times = -(-MIN_SIDE // min(h, w))
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}", "-r", f"{fps}"]
    scaled = f"scale={w * times}:{h * times}:flags=bicubic:out_color_matrix=bt709,format=yuv420p"
    graph = f"[0]{scaled}[copy];[1]{scaled}[truth];[copy][truth]libvmaf=n_threads=1:log_fmt=json:log_path=vmaf.json"
    with tempfile.TemporaryDirectory() as folder:
        reference.tofile(Path(folder) / "truth.rgb")
        inputs = [*raw, "-i", "-", *raw, "-i", "truth.rgb"]
        run_ffmpeg([*inputs, "-lavfi", graph, "-f", "null", "-"], estimate.tobytes(), Path(folder))
        return float(json.loads((Path(folder) / "vmaf.json").read_text())["pooled_metrics"]["vmaf"]["mean"])
