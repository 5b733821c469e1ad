"""A narrow SoundStream on real sound: how near are its copies of films that it never heard, by bit rate?

    python tests/benchmarks/sound_study.py CLIPS RUN [STEPS]

Trains `audio_tokenizer:local` with four levels on the sound of the films that tokenizer_study.py trains on, into RUN,
and scores the sound of those that it holds out with `videopoet evaluate audio-tokenizer`. `local` learns by its spectra
alone, so its distance counts; its SI-SDR, which hears phase, does not. The same command goes on where it was stopped.
"""

import runpy
import subprocess
import sys
from pathlib import Path

STUDY = runpy.run_path(str(Path(__file__).parent / "tokenizer_study.py"))


def main(clips: str, run: str, steps: str = "2000") -> None:
    films, held_out = STUDY["split"](Path(clips))
    folder = Path(run) / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    for film in films:
        if not (folder / film.name).exists():
            (folder / film.name).symlink_to(film.resolve())
    settings = [f"data.root={folder}", f"train.steps={steps}", "model.levels=4"]
    train = ["train", "--config", "audio_tokenizer:local", "--workdir", run, "--export", f"{run}/model"]
    train += [part for setting in settings for part in ("--set", setting)]
    subprocess.run([*STUDY["VIDEOPOET"], *train], check=True)
    score = ["evaluate", "audio-tokenizer", *map(str, held_out), "--model", f"{run}/model"]
    subprocess.run([*STUDY["VIDEOPOET"], *score, "--json", f"{run}/sound.json"], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
