"""Can a narrow tokenizer learn eight real clips by heart? What its loss and its bits allow, whatever the data.

    python tests/benchmarks/overfit_clips.py FOLDER_OF_VIDEOS OUT.png [STEPS] [CONFIG] [KEY=VALUE …]

One 17-frame clip out of the middle of each of eight videos, at the config's size; every step sees all of them. Prints a
JSON line every 100 steps and draws the clips beside their copies.
"""

import functools
import json
import math
import sys
import tempfile

import jax
import numpy as np

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import tune_xla
from videopoet_jax.cli.train import optimizer_of
from videopoet_jax.data.sources import ClipFolder
from videopoet_jax.evaluate import quality, sheets
from videopoet_jax.parallel import initialize, make_mesh
from videopoet_jax.training.loop import fit
from videopoet_jax.training.state import create_state
from videopoet_jax.training.step import make_train_step
from videopoet_jax.video import losses
from videopoet_jax.video.tokenizer import VideoTokenizer, build, init_params

CLIPS = 8


def chosen(folder: str, data) -> np.ndarray:
    """uint8 [8 t h w 3], from eight videos."""
    source = ClipFolder(folder, num_frames=data.num_frames, fps=data.fps, height=data.height, width=data.width,
                        sample_rate=data.sample_rate, split="train")  # fmt: skip
    windows: dict[int, list[int]] = {}
    for index in range(len(source)):
        windows.setdefault(source.locate(index)[0], []).append(index)
    if len(windows) < CLIPS:
        raise SystemExit(f"{folder}: {len(windows)} videos that are long enough; {CLIPS} are needed.")
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


def main(folder: str, picture: str, steps: str = "600", spec: str = "video_tokenizer:study", *changes: str) -> None:
    config = load_config(spec, (f"train.steps={steps}", *changes))
    video = chosen(folder, config.data)
    mesh, model = make_mesh(jax.devices()[: math.gcd(CLIPS, jax.device_count())]), build(config.model)
    params = initialize(functools.partial(init_params, model), mesh, jax.random.key(config.seed))
    optimizer = optimizer_of(config.train)
    state = create_state(params, optimizer, mesh=mesh, key=jax.random.key(1), extra=losses.initial_extra())
    step = make_train_step(losses.make_loss(model, config.loss), optimizer, ema_decay=None)

    def copies(state) -> np.ndarray:
        tokenizer = VideoTokenizer(config.model, state.params, "float32")
        return np.stack([tokenizer.decode(tokenizer.encode(clip).codes, len(clip)) for clip in video])

    def evaluate(state) -> dict[str, float]:
        decibels = quality.psnr_clip(video, copies(state))
        figures = {"psnr": float(decibels.mean()), "worst": float(decibels.min())}
        print(json.dumps({"step": int(state.step), **figures}), flush=True)
        return figures

    with tempfile.TemporaryDirectory() as workdir:
        state = fit(state=state, train_step=step, batches=Always({"video": video}), steps=config.train.steps, mesh=mesh,
                    workdir=workdir, checkpoint_every=config.train.steps, log_every=20, evaluate_every=100,
                    evaluate=evaluate)  # fmt: skip
    rows = [sheets.Row(n, v) for t, c in zip(video, copies(state), strict=True) for n, v in (("true", t), ("copy", c))]
    sheets.save_contact_sheet(picture, rows)


if __name__ == "__main__":
    tune_xla("train")
    main(*sys.argv[1:])
