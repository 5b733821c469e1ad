"""The papers' tokenizers and our language model in PyTorch, against which ours are checked (`faithful.py`) and timed
(`tokenizers.py`, `train.py`).

    twins.magvit2       MAGVIT-v2's figure: encoder, LFQ, decoder; channels first, as PyTorch likes it
    twins.soundstream   SoundStream's figure 3: encoder, residual quantizer, decoder
    twins.language      our language model, as a Llama
    twins.training      a training step
    twins.weights       a Flax tree of ours → the parameters of a twin, name by name
    twins.structure     the same for RAFT and DPT, whose twins are torchvision's and transformers'

They share no code with videopoet_jax: only `weights` and `structure` know its names.
"""
