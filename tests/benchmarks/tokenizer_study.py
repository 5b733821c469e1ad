"""Which parts of a video tokenizer earn their keep: the same data, steps, batches and optimizer for all of them.

    python tests/benchmarks/tokenizer_study.py CLIPS RUNS WEIGHTS [STEPS]

CLIPS is a folder of videos (launch/fetch_clips.sh DIR large), RUNS where the models go, WEIGHTS what
launch/fetch_weights.sh wrote. Every row of ROWS is trained on all but the end of each video, one after the other, and
scored on those ends by `videopoet evaluate tokenizer`. The same command goes on where it was stopped.
"""

import subprocess
import sys
from pathlib import Path

VIDEOPOET = [sys.executable, "-c", "from videopoet_jax.cli.main import main; main()"]
VQ = {"model.quantizer": {"name": "vq", "size": 1024, "channels": 64}, "loss.codebook": 1.0}
# What MAGVIT had: 3-D, but not causal, without AdaGN, means and nearest neighbours between the stages, 1,024 entries.
MAGVIT1 = {
    **VQ,
    "model.causal": False,
    "model.pooled": True,
    "model.adaptive": False,
    "loss.inverse_temperature": 100.0,
}
PICTURES = {"model.kernel_time": (1, 1, 1), "model.strides": ((1, 2, 2), (1, 1, 1))}
# Convolutions at half of full resolution, three taps in time everywhere: nearer to the paper's figure, and dearer.
UNFOLDED = {
    "model.patch": (1, 2, 2),
    "model.strides": ((2, 2, 2), (2, 2, 2)),
    "model.kernel_time": (3, 3, 3),
    "model.encoder_widths": (24, 48, 96),
    "model.decoder_widths": (24, 48, 96),
}


def width(*widths: int) -> dict:
    return {"model.encoder_widths": widths, "model.decoder_widths": widths}


ROWS: dict[str, dict] = {
    "lfq_2^18": {},
    "magvit1_2^10": MAGVIT1,
    "lfq_2^10": {"model.quantizer.bits": 10},
    "fsq_8^6": {"model.quantizer": {"name": "fsq", "levels": (8,) * 6}},
    "per_frame_2^18": PICTURES,  # 17 grids of tokens for 5
    "per_frame_2^5": {**PICTURES, "model.quantizer.bits": 5},  # as many bits as lfq_2^18, nearly
    "half_as_wide": width(16, 32, 64),
    "half_as_wide_again": width(48, 96, 192),
    "unfolded": UNFOLDED,
}


def train(name: str, clips: str, runs: Path, steps: str) -> Path:
    """The directory of row `name`'s model."""
    folder = runs / name.replace("/", "_")
    if not (folder / "model" / "config.json").exists():
        changes = {"data.root": clips, "train.steps": steps, **ROWS[name]}
        settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        run = ["train", "--config", "video_tokenizer:study", "--workdir", folder, "--checkpoint-every", "100"]
        subprocess.run([*VIDEOPOET, *run, "--export", folder / "model", *settings], check=True)
    return folder / "model"


def main(clips: str, runs: str, weights: str, steps: str = "400") -> None:
    models = [train(name, clips, Path(runs), steps) for name in ROWS]
    named = [part for model in models for part in ("--model", model)]
    scored = ["evaluate", "tokenizer", clips, "--held-out", "--height", "64", "--width", "64", "--weights", weights]
    subprocess.run([*VIDEOPOET, *scored, *named, "--json", Path(runs) / "study.json"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
