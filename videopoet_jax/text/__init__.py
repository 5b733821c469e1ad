"""In: prompts → Out: embeddings [b l d] of a frozen T5-type encoder, and the mask of the slots that say something.

    TextEncoder      embed.py       from_pretrained, tokenize, embed
    T5Encoder        t5.py          the Flax module; holds T5 v1.1 up to XXL
    Pieces, Tokens   vocabulary.py  SentencePiece; train_vocabulary makes a new one
    TokenSource      corpus.py      examples for training a small encoder; prepare makes them
    denoising_loss   losses.py      what a small encoder is trained on
    weights.py, weights_t5x.py      published checkpoints of T5 v1.1 and mT5 (Hugging Face's, T5X's) into our tree

Names are imported on first use.
"""

import importlib

_HOME = {
    "Pieces": "vocabulary",
    "T5Encoder": "t5",
    "TextEncoder": "embed",
    "TokenSource": "corpus",
    "Tokens": "vocabulary",
    "denoising_loss": "losses",
    "prepare": "corpus",
    "train_vocabulary": "vocabulary",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it offers {', '.join(__all__)}.")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
