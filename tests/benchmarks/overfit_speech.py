"""Can a narrow SoundStream learn two seconds of real speech by heart, and do the averaged weights sound like it?

    python tests/benchmarks/overfit_speech.py FOLDER_OF_WAVS OUT.png [STEPS]

The sounds of the folder (Debian's alsa-utils has spoken ones in /usr/share/sounds/alsa) are joined and cut to two
seconds. They are learned from the same start in the ways of VARIANTS, the waveform loss on in all. With 1,024 codes
every frame of two seconds may have its own, and one level is enough; with 32 the levels must share the work.

Prints JSON lines: SI-SDR and log-spectral distance by the number of levels, of the weights as they are and of their
moving average; draws the spectrograms.
"""

import json
import sys
import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from videopoet_jax.audio.losses import init_adversary, initial_extra, make_adversary_loss, make_loss
from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.train import optimizer_of
from videopoet_jax.data.media import read_audio
from videopoet_jax.evaluate import quality, sheets
from videopoet_jax.layers.objective import ADVERSARY
from videopoet_jax.parallel import initialize, make_mesh
from videopoet_jax.training.state import create_state
from videopoet_jax.training.step import Adversary, make_train_step

SECONDS, EMA_DECAY = 2, 0.99
# name → codes of a level, whether there are discriminators
VARIANTS = {"plain": (1024, False), "32 codes": (32, False), "discriminators": (1024, True)}


def narrow(steps: int, codes: int, game: bool) -> ConfigDict:
    """The paper's config with C = 8, the local recipe's optimizer, a waveform loss, and narrow discriminators or none.

    The paper's weights are all a thousandth, beside the waveform's.
    """
    c = load_config("audio_tokenizer:soundstream")
    c.model.channels, c.model.dim, c.model.codebook_size = 8, 32, codes
    c.loss.spectral_weight, c.loss.waveform_weight = 1e-3, 100.0
    c.adversary.weight, c.adversary.feature_weight = (1e-3, 0.1) if game else (0.0, 0.0)
    c.adversary.start = steps // 4
    c.adversary.model.waveform_widths, c.adversary.model.stft_widths = (4, 16, 32), (2, 4, 4, 8, 8, 16, 16)
    c.train = load_config("audio_tokenizer:local").train
    c.train.batch_size, c.train.steps, c.train.ema_decay = 2, steps, EMA_DECAY
    return c


def learn(config: ConfigDict, speech: np.ndarray):
    """The state after training; the figures on the way go to stderr."""
    mesh, model, train = make_mesh(jax.devices()[:1]), SoundStream(**config.model), config.train
    optimizer = optimizer_of(train)
    extra, adversary = initial_extra(config), None
    if config.adversary.weight:
        judge = optimizer_of({**train, **config.adversary, "steps": train.steps - config.adversary.start})
        params = initialize(lambda key: init_adversary(config, key), mesh, jax.random.key(2))
        extra[ADVERSARY] = create_state(params, judge, mesh=mesh, key=jax.random.key(3))
        step = make_train_step(make_adversary_loss(config), judge, ema_decay=None)
        adversary = Adversary(step, config.adversary.start)
    params = initialize(lambda key: init_variables(model, key)["params"], mesh, jax.random.key(0))
    state = create_state(params, optimizer, mesh=mesh, key=jax.random.key(1), extra=extra, ema=True)
    step = make_train_step(make_loss(config), optimizer, ema_decay=train.ema_decay, adversary=adversary)
    step, batch = jax.jit(step, donate_argnums=0), {"audio": np.stack([speech] * train.batch_size)}
    with jax.set_mesh(mesh):
        for number in range(train.steps):
            state, metrics = step(state, batch)
            if (number + 1) % 50 == 0 or number + 1 == train.steps:
                figures = {name: float(value) for name, value in metrics.items()}
                print(json.dumps({"step": number + 1, **figures}), file=sys.stderr)
                if not all(map(np.isfinite, figures.values())):
                    raise SystemExit(f"not finite at step {number + 1}")
    return state


def judged(tokenizer: AudioTokenizer, speech: np.ndarray, levels: int) -> tuple[dict[str, float], np.ndarray]:
    copy = tokenizer.decode(tokenizer.encode(speech, levels).codes)
    truth = speech[: len(copy)]
    distance = quality.spectral_distance(quality.log_spectrum(truth), quality.log_spectrum(copy))
    return {"si_sdr": float(quality.si_sdr(truth, copy)), "distance": distance}, copy


def main(folder: str, picture: str, steps: str = "300") -> None:
    sounds = [read_audio(path, sample_rate=16_000) for path in sorted(Path(folder).glob("*.wav"))]
    speech = np.concatenate(sounds)[: SECONDS * 16_000]
    speech = (speech / np.abs(speech).max()).astype(np.float32)
    heard = {"speech": speech}
    for name, variant in VARIANTS.items():
        config, started = narrow(int(steps), *variant), time.perf_counter()
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
    rows = [sheets.Row(name, blank, sound, 16_000) for name, sound in heard.items()]
    sheets.save_contact_sheet(picture, rows, columns=1, frame_height=192)


if __name__ == "__main__":
    main(*sys.argv[1:])
