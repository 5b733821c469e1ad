"""In: waveform [b s] → Out: codes [b f q], and back: a SoundStream tokenizer with a residual quantizer.

    audio.encoder, audio.decoder   causal convolutions, 320 samples ↔ one frame
    audio.rvq                      the quantizer, pure functions over EMA codebooks
    audio.crops                    the stretches of sound that training hears
    audio.losses                   spectral, waveform and commitment losses, the training loss
    audio.soundstream              the three as one module
    audio.windows                  causal functions over sounds of any length, at one fixed shape
    audio.tokenizer                AudioTokenizer: load, save, encode, decode, whole or in pieces

Public names are imported on first use.
"""

import importlib

_HOME = {
    "AudioTokenizer": "videopoet_jax.audio.tokenizer",
    "Encoded": "videopoet_jax.audio.tokenizer",
    "SoundStream": "videopoet_jax.audio.soundstream",
    "initial_extra": "videopoet_jax.audio.losses",
    "make_crop": "videopoet_jax.audio.crops",
    "make_loss": "videopoet_jax.audio.losses",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOME[name]), name)
