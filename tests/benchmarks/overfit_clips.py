"""Can a narrow tokenizer learn eight real clips by heart? What its loss and its bits allow, whatever the data.

    python tests/benchmarks/overfit_clips.py FOLDER_OF_VIDEOS OUT.png [STEPS] [CONFIG] [KEY=VALUE …]

One 17-frame clip out of the middle of each of eight videos, at the config's size; every step sees all of them. Prints a
JSON line every 100 steps and draws the clips beside their copies.
"""

import functools
import json
import sys
import time

import jax
import numpy as np

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.train import optimizer_of
from videopoet_jax.data.sources import ClipFolder
from videopoet_jax.evaluate import quality, sheets
from videopoet_jax.parallel import initialize, make_mesh
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


def main(folder: str, picture: str, steps: str = "600", spec: str = "video_tokenizer:study", *changes: str) -> None:
    config = load_config(spec, (f"train.steps={steps}", *changes))
    video, started = chosen(folder, config.data), time.perf_counter()
    mesh, model = make_mesh(jax.devices()[:1]), build(config.model)
    params = initialize(functools.partial(init_params, model), mesh, jax.random.key(config.seed))
    optimizer = optimizer_of(config.train)
    state = create_state(params, optimizer, mesh=mesh, key=jax.random.key(1), extra=losses.initial_extra())
    step = make_train_step(losses.make_loss(model, config.loss), optimizer, ema_decay=None)
    step = jax.jit(step, donate_argnums=0)

    def copies() -> np.ndarray:
        tokenizer = VideoTokenizer(config.model, state.params, "float32")
        return np.stack([tokenizer.decode(tokenizer.encode(clip).codes, len(clip)) for clip in video])

    with jax.set_mesh(mesh):
        for number in range(1, config.train.steps + 1):
            state, metrics = step(state, {"video": video})
            if number % 100 == 0 or number == config.train.steps:
                decibels = quality.psnr_clip(video, copies())
                line = {
                    "step": number,
                    "psnr": round(float(decibels.mean()), 2),
                    "worst": round(float(decibels.min()), 2),
                }
                line |= {name: round(float(metrics[name]), 4) for name in ("loss", "entropy_per_sample", "code_usage")}
                print(json.dumps(line | {"seconds": round(time.perf_counter() - started)}), flush=True)
    rows = [sheets.Row(n, v) for t, c in zip(video, copies(), strict=True) for n, v in (("true", t), ("copy", c))]
    sheets.save_contact_sheet(picture, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
