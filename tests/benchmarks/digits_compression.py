"""`nano` against H.265 and H.266 in its own world: moving digits that it was not trained on, kept without loss.

    python tests/benchmarks/digits_compression.py OUT_DIR [CLIPS]

Writes the clips (six unless told) into OUT_DIR/clips, and what `videopoet evaluate compression` finds beside them.
"""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np

from videopoet_jax.data.moving_digits import FPS, render

VIDEOPOET = [sys.executable, "-c", "from videopoet_jax.cli.main import main; main()"]


def write_lossless(path: Path, frames: np.ndarray) -> None:
    """uint8 [t h w 3] → FFV1, every value kept."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=FPS, pix_fmt="bgr0")
        stream.height, stream.width = frames.shape[1:3]
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def main(out: str, clips: str = "6") -> None:
    folder = Path(out) / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(int(clips)):
        write_lossless(folder / f"{index}.mkv", render("test", 1, index).frames)
    run = ["evaluate", "compression", folder, "--out-dir", out, "--height", "64", "--width", "64"]
    subprocess.run([*VIDEOPOET, *run], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
