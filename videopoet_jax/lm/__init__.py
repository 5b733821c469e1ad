"""In: a batch of sequences (`sequence.assemble`) and text embeddings → Out: a loss, or the ids of the output.

`transformer` reads, `logits` scores one table at a time, `loss` trains, `decode` writes.
"""

from videopoet_jax.lm.transformer import PrefixLM, Tokens

__all__ = ["PrefixLM", "Tokens"]
