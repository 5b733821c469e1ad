"""A narrow SoundStream on real sound: how near are its copies of what it never heard, by bit rate, and under noise?

    python tests/benchmarks/sound_study.py CLIPS RUN [STEPS [ADVERSARIAL_STEPS]]

Trains `audio_tokenizer:local` with four levels, and with noise to leave out, on the sound of the films that
tokenizer_study.py trains on, into RUN, and scores the sound of those that it holds out with `videopoet evaluate
audio-tokenizer`. RUN/spectrograms.png shows what was heard.

Then the same model goes on in RUN/adversarial with SoundStream's discriminators (narrow ones), the paper's weights of
all losses and its averaging of weights, at a rate that does not fall; the averaged weights and the last ones are
scored. The same command goes on where it was stopped.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import tokenizer_study

from videopoet_jax.audio.denoising import noisy
from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import tune_xla
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.train import Run
from videopoet_jax.data.media import read_audio, write_image
from videopoet_jax.evaluate import sheets

SHOWN = ("president_speaks.mp4", "pianist.avi", "toy_robot.mp4")
FROM, SECONDS, SNR = 3.0, 2.5, 10.0  # seconds, seconds, dB


def draw(run: Path, clips: Path) -> None:
    """Spectrograms of what was held out: true, copied by one level and by all, under noise, and copied without it."""
    tokenizer = AudioTokenizer.from_pretrained(run / "model")
    columns, blank = [], np.zeros((1, 96, 1, 3), np.uint8)
    for number, name in enumerate(SHOWN):
        sound = read_audio(clips / name, sample_rate=tokenizer.sample_rate, start=FROM, end=FROM + SECONDS)
        heard, sound = noisy(number, sound / np.abs(sound).max(), SNR)
        codes = tokenizer.encode(sound).codes
        shown = {f"{name}: true": sound}
        shown |= {f"{levels} of {tokenizer.levels} levels": tokenizer.decode(codes[:, :levels]) for levels in (1, 4)}
        shown[f"noise at {SNR:g} dB"] = heard
        shown["copied, denoised"] = tokenizer.decode(tokenizer.encode(heard, denoise=True).codes)
        rows = [sheets.Row(title, blank, wave, tokenizer.sample_rate) for title, wave in shown.items()]
        columns.append(sheets.contact_sheet(rows, columns=1, frame_height=96))
    write_image(run / "spectrograms.png", np.concatenate(columns, axis=1))


def train_adversarially(run: Path, settings: dict[str, object], steps: int) -> dict[str, Path]:
    """Trains on with discriminators; where the averaged weights lie, and those of the last step."""
    config = load_config("audio_tokenizer:local", tuple(f"{name}={value}" for name, value in settings.items()))
    paper = load_config("audio_tokenizer:soundstream")
    config.adversary, config.loss.spectral_weight = paper.adversary, paper.loss.spectral_weight
    config.adversary.model.waveform_widths, config.adversary.model.stft_widths = (4, 16, 64), (4, 8, 8, 16, 16, 32, 32)
    config.train.steps, config.train.ema_decay, config.train.schedule = steps, paper.train.ema_decay, "constant"
    config.train.learning_rate = config.train.learning_rate / 20  # a step late in the first run's schedule
    recipe = recipe_for(config, run)
    state = Run(config, recipe, str(run / "model")).train(
        run / "adversarial", preview_every=None, checkpoint_every=100, log_every=20
    )
    kinds = {"averaged": state.ema_params, "last": state.params}
    for kind, params in kinds.items():
        recipe.trained(params, state.extra).save_pretrained(run / "adversarial" / kind)
    return {kind: run / "adversarial" / kind for kind in kinds}


def score(model: Path, held_out: list[Path], result: Path) -> None:
    command = ["evaluate", "audio-tokenizer", *map(str, held_out), "--model", str(model), "--json", str(result)]
    subprocess.run([*tokenizer_study.VIDEOPOET, *command, "--noise", "0", "--noise", "10"], check=True)


def main(clips: str, run: str, steps: str = "2400", adversarial: str = "1000") -> None:
    films, held_out = tokenizer_study.split(Path(clips))
    folder = Path(run) / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for film in films:
        if not (folder / film.name).exists():  # whole or not at all; a link out of the folder would not be followed
            part = folder / f".{film.name}"
            shutil.copy(film, part)
            part.rename(folder / film.name)
    settings = {"data.root": folder, "train.steps": steps, "model.levels": 4, "model.denoise": True}
    train = ["train", "--config", "audio_tokenizer:local", "--workdir", run, "--export", f"{run}/model"]
    train += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    subprocess.run([*tokenizer_study.VIDEOPOET, *train], check=True)
    score(Path(run) / "model", held_out, Path(run) / "sound.json")
    draw(Path(run), Path(clips))
    for kind, model in train_adversarially(Path(run), settings, int(adversarial)).items():
        score(model, held_out, Path(run) / "adversarial" / f"{kind}.json")


if __name__ == "__main__":
    tune_xla("train")
    main(*sys.argv[1:])
