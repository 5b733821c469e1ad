"""In: pixels [b t h w 3] → Out: codes [b t' h' w'], and back: MAGVIT-v2's causal 3-D tokenizer.

encoder.py and decoder.py are built from blocks.py; lfq.py quantizes; model.py joins them; tokenizer.py holds
the weights; losses.py trains them; inflation.py turns an image tokenizer into a video one; streaming.py takes films of
any length in constant memory.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videopoet_jax.video.losses import make_loss
    from videopoet_jax.video.model import VideoTokenizerModel
    from videopoet_jax.video.tokenizer import Encoded, VideoTokenizer

_HOME = {
    "Encoded": "videopoet_jax.video.tokenizer",
    "VideoTokenizer": "videopoet_jax.video.tokenizer",
    "VideoTokenizerModel": "videopoet_jax.video.model",
    "make_loss": "videopoet_jax.video.losses",
}
__all__ = ["Encoded", "VideoTokenizer", "VideoTokenizerModel", "make_loss"]


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(_HOME[name]), name)
