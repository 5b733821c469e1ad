"""Can a narrow tokenizer learn eight real clips by heart? What its loss and its bits allow, whatever the data.

    python tests/benchmarks/overfit_clips.py FOLDER_OF_VIDEOS OUT.png [STEPS] [CONFIG] [KEY=VALUE …]

One 17-frame clip out of the middle of each of eight videos, at the config's size; every step sees all of them. Prints a
JSON line every 100 steps and draws the clips beside their copies, which are computed in the dtype of training.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import tune_xla
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.sources import clips
from videopoet_jax.cli.train import Run
from videopoet_jax.data.sources import ClipFolder
from videopoet_jax.evaluate import quality, sheets
from videopoet_jax.video.tokenizer import VideoTokenizer

CLIPS = 8


def chosen(source: ClipFolder) -> np.ndarray:
    """uint8 [8 t h w 3], from eight videos."""
    windows: dict[int, list[int]] = {}
    for index in range(len(source)):
        windows.setdefault(source.locate(index)[0], []).append(index)
    if len(windows) < CLIPS:
        raise SystemExit(f"{source.root}: {len(windows)} videos that are long enough; {CLIPS} are needed.")
    return np.stack([source[w[len(w) // 2]]["video"] for w in list(windows.values())[:CLIPS]])


class Always:
    """The same batch in every step."""

    def __init__(self, batch: dict[str, np.ndarray]) -> None:
        self.batch = batch

    def __next__(self) -> dict[str, np.ndarray]:
        return self.batch

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        pass

    def ahead(self, steps: int) -> list[dict[str, np.ndarray]]:
        return [self.batch]


def main(folder: str, picture: str, steps: str = "600", spec: str = "video_tokenizer:study", *changes: str) -> None:
    settings = (f"data.root={folder}", "data.zoom=1.0", "data.image_share=0.0", f"train.batch_size={CLIPS}")
    config = load_config(spec, (*settings, f"train.steps={steps}", *changes))
    video = chosen(clips(config, "train"))

    untrained = VideoTokenizer(config.model, {}, config.loss.dtype)

    def preview(params, extra, folder: Path, step: int) -> dict[str, float]:
        tokenizer = untrained.with_params(params)
        copies = tokenizer.decode(tokenizer.encode(video).codes, video.shape[1])
        rows = [sheets.Row(n, v) for t, c in zip(video, copies, strict=True) for n, v in (("true", t), ("copy", c))]
        sheets.save_contact_sheet(picture, rows)
        decibels = quality.psnr_clip(video, copies)
        figures = {"psnr": float(decibels.mean()), "worst": float(decibels.min())}
        print(json.dumps({"step": step, **figures}), flush=True)
        return figures

    with tempfile.TemporaryDirectory() as workdir:
        recipe = recipe_for(config, Path(workdir))
        run = Run(config, dataclasses.replace(recipe, batches=Always({"video": video}), preview=preview), None)
        run.train(Path(workdir), preview_every=100, checkpoint_every=config.train.steps, log_every=20)


if __name__ == "__main__":
    tune_xla("train")
    main(*sys.argv[1:])
