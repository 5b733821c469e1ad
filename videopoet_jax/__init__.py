"""VideoPoet in JAX: text, pictures, video and sound as one sequence of tokens.

In: prompts, mp4, wav, png → Out: `Clip`s (frames and sound), token arrays, checkpoints.

Names are imported on first use, so `import videopoet_jax` stays quick and pulls in neither JAX nor TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videopoet_jax.audio.tokenizer import AudioTokenizer
    from videopoet_jax.generate.clip import Clip
    from videopoet_jax.generate.pipeline import VideoPoet
    from videopoet_jax.video.tokenizer import VideoTokenizer

__version__ = "0.1.0"
__all__ = ["AudioTokenizer", "Clip", "VideoPoet", "VideoTokenizer", "__version__"]

_HOME = {
    "AudioTokenizer": "videopoet_jax.audio.tokenizer",
    "Clip": "videopoet_jax.generate.clip",
    "VideoPoet": "videopoet_jax.generate.pipeline",
    "VideoTokenizer": "videopoet_jax.video.tokenizer",
}


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
