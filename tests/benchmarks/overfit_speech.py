"""Can a narrow SoundStream learn two seconds of real speech by heart, and do the averaged weights sound like it?

    python tests/benchmarks/overfit_speech.py FOLDER_OF_WAVS OUT.png [STEPS]

The sounds of the folder (Debian's alsa-utils has spoken ones in /usr/share/sounds/alsa) are joined and cut to two
seconds, and learned from the same start with discriminators and without, the waveform loss on in both. Every frame of
two seconds may have a code of its own among the 1,024 of the first level, so one level is enough; what the others are
worth is for sound_study.py, on sounds that were not heard before.

Prints JSON lines: SI-SDR and log-spectral distance by the number of levels, of the weights as they are and of their
moving average; draws the spectrograms.
"""

import dataclasses
import json
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import tune_xla
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.train import Run
from videopoet_jax.data.media import read_audio
from videopoet_jax.evaluate import quality, sheets
from videopoet_jax.layers.distortion import si_sdr
from videopoet_jax.training.state import TrainState

RATE, SAMPLES, EMA_DECAY = 16_000, 32_000, 0.99


def narrow(steps: int, adversarial: bool) -> ConfigDict:
    """The paper's config with C = 8, the local recipe's optimizer, a waveform loss, and narrow discriminators or none.

    The paper's weights are all a thousandth, beside the waveform's.
    """
    c = load_config("audio_tokenizer:soundstream")
    c.model.channels, c.model.dim = 8, 32
    c.data.crop = c.data.window = SAMPLES
    c.loss.spectral_weight, c.loss.waveform_weight = 1e-3, 100.0
    c.adversary.weight, c.adversary.feature_weight = (1e-3, 0.1) if adversarial else (0.0, 0.0)
    c.adversary.start = steps // 4
    c.adversary.model.waveform_widths, c.adversary.model.stft_widths = (4, 16, 32), (2, 4, 4, 8, 8, 16, 16)
    c.train = load_config("audio_tokenizer:local").train
    c.train.batch_size, c.train.steps, c.train.ema_decay = 2, steps, EMA_DECAY
    return c


def learn(config: ConfigDict, speech: np.ndarray) -> TrainState:
    """The state after training on a folder in which there is nothing else."""
    with tempfile.TemporaryDirectory() as config.data.root, tempfile.TemporaryDirectory() as workdir:
        with wave.open(f"{config.data.root}/speech.wav", "wb") as file:
            file.setparams((1, 2, RATE, len(speech), "NONE", ""))
            file.writeframes(np.round(32767 * speech).astype("<i2").tobytes())
        recipe = dataclasses.replace(recipe_for(config, Path(workdir)), preview=None)  # nothing is held out
        run = Run(config, recipe, None)
        return run.train(Path(workdir), preview_every=None, checkpoint_every=config.train.steps, log_every=50)


def judged(tokenizer: AudioTokenizer, speech: np.ndarray, levels: int) -> tuple[dict[str, float], np.ndarray]:
    copy = tokenizer.decode(tokenizer.encode(speech, levels).codes)
    truth = speech[: len(copy)]
    distance = quality.spectral_distance(quality.log_spectrum(truth), quality.log_spectrum(copy))
    return {"si_sdr": float(si_sdr(truth, copy)), "distance": distance}, copy


def main(folder: str, picture: str, steps: str = "300") -> None:
    sounds = [read_audio(path, sample_rate=RATE) for path in sorted(Path(folder).glob("*.wav"))]
    speech = np.concatenate(sounds)[:SAMPLES]
    speech = (speech / np.abs(speech).max()).astype(np.float32)
    heard = {"speech": speech}
    for name, adversarial in (("plain", False), ("discriminators", True)):
        config, started = narrow(int(steps), adversarial), time.perf_counter()
        state = learn(config, speech)
        seconds = time.perf_counter() - started
        codebooks = state.extra["codebooks"]
        both = {"as they are": state.params, "averaged": state.ema_params}
        tokenizers = {kind: AudioTokenizer(config.model.to_dict(), p, codebooks) for kind, p in both.items()}
        copies = {}
        for kind, tokenizer in tokenizers.items():
            for levels in range(1, tokenizer.levels + 1):
                figures, copies[kind] = judged(tokenizer, speech, levels)
                bits = 50 * levels * int(np.log2(tokenizer.vocabulary_size))
                row = {"training": name, "weights": kind, "levels": levels, "bits_per_second": bits}
                print(json.dumps(row | {k: round(v, 2) for k, v in figures.items()}))
            heard[f"{name}, {kind}"] = copies[kind]
        apart = quality.spectral_distance(*(quality.log_spectrum(copy) for copy in copies.values()))
        print(json.dumps({"training": name, "averaged_from_raw_distance": round(apart, 2), "seconds": round(seconds)}))
    blank = np.zeros((1, 192, 1, 3), np.uint8)
    rows = [sheets.Row(name, blank, sound, RATE) for name, sound in heard.items()]
    sheets.save_contact_sheet(picture, rows, columns=1, frame_height=192)


if __name__ == "__main__":
    tune_xla("train")
    main(*sys.argv[1:])
