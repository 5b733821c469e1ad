"""A narrow SoundStream on real sound: how near are its copies of what it never heard, by bit rate, and under noise?

    python tests/benchmarks/sound_study.py CLIPS RUN [STEPS]

Trains `audio_tokenizer:local` with four levels, and with noise to leave out, on the sound of the films that
tokenizer_study.py trains on, into RUN, and scores the sound of those that it holds out with `videopoet evaluate
audio-tokenizer`. RUN/spectrograms.png shows what was heard. The same command goes on where it was stopped.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import tokenizer_study

from videopoet_jax.audio.denoising import noisy
from videopoet_jax.audio.tokenizer import AudioTokenizer
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


def main(clips: str, run: str, steps: str = "2000") -> None:
    films, held_out = tokenizer_study.split(Path(clips))
    folder = Path(run) / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for film in films:
        if not (folder / film.name).exists():  # whole or not at all; a link out of the folder would not be followed
            part = folder / f".{film.name}"
            shutil.copy(film, part)
            part.rename(folder / film.name)
    settings = [f"data.root={folder}", f"train.steps={steps}", "model.levels=4", "model.denoise=True"]
    train = ["train", "--config", "audio_tokenizer:local", "--workdir", run, "--export", f"{run}/model"]
    train += [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*tokenizer_study.VIDEOPOET, *train], check=True)
    score = ["evaluate", "audio-tokenizer", *map(str, held_out), "--model", f"{run}/model"]
    score += ["--noise", "0", "--noise", "10", "--json", f"{run}/sound.json"]
    subprocess.run([*tokenizer_study.VIDEOPOET, *score], check=True)
    draw(Path(run), Path(clips))


if __name__ == "__main__":
    main(*sys.argv[1:])
