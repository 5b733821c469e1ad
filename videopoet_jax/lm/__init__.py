"""In: a batch of sequences (`sequence.assemble`) and text embeddings → Out: a loss, or the ids of the output.

`transformer` reads, `logits` scores one table at a time, `loss` trains, `decode` writes (`decode_rows` rows of several
layouts), `weights` starts from a published text model, `flops` counts what a step costs.
"""

from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import generate
from videopoet_jax.lm.flops import step_flops
from videopoet_jax.lm.loss import make_loss
from videopoet_jax.lm.transformer import PrefixLM, Tokens, whole_sequence

__all__ = ["PrefixLM", "Sampling", "Tokens", "generate", "make_loss", "step_flops", "whole_sequence"]
