"""In: waveform [b s] → Out: codes [b f q], and back: a SoundStream tokenizer with a residual quantizer.

    audio.encoder, audio.decoder   causal convolutions, 320 samples ↔ one frame
    audio.rvq                      the quantizer, pure functions over EMA codebooks
    audio.crops                    the stretches of sound that training hears
    audio.spectra                  windows, STFT, mel spectrogram
    audio.denoising                noise, and what to make of it
    audio.discriminators           three nets that hear the waveform, one that sees its STFT
    audio.losses                   spectral, waveform, commitment and adversarial losses, the training losses
    audio.soundstream              encoder, quantizer and decoder as one module
    audio.chunks                   causal networks over sounds of any length, at one fixed shape
    audio.tokenizer                AudioTokenizer: load, save, encode, decode, whole or in pieces

Public names are imported on first use.
"""

import importlib

_HOME = {
    "AudioTokenizer": "videopoet_jax.audio.tokenizer",
    "Discriminators": "videopoet_jax.audio.discriminators",
    "Encoded": "videopoet_jax.audio.tokenizer",
    "SoundStream": "videopoet_jax.audio.soundstream",
    "init_adversary": "videopoet_jax.audio.losses",
    "initial_extra": "videopoet_jax.audio.losses",
    "make_adversary_loss": "videopoet_jax.audio.losses",
    "make_crop": "videopoet_jax.audio.crops",
    "make_loss": "videopoet_jax.audio.losses",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOME[name]), name)
