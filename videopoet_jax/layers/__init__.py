"""In: activations and parameters → Out: activations. The building blocks that several models share.

Nothing is imported here, so that a model pays only for the layers it names:

    layers.attention     multi-head attention with rotary positions and an explicit cache
    layers.conv          causal 3-D and 1-D convolutions and their modules, 2-D ones, depth-to-space and its inverse
    layers.conv_forms    the equal forms of one causal 3-D convolution, and the rule that chooses among them
    layers.dense         products of activations with weights, in the form that the place runs fastest
    layers.distortion    how far a copy of a sound is from its original: SI-SDR of numpy and JAX arrays
    layers.gan           losses of a model and an adversary, R1, LeCAM
    layers.grouped       a 1-D convolution in groups whose gradient is fast on CPU
    layers.lpips         how different two pictures look to an image classifier
    layers.masks         who may look at whom
    layers.motion        how much moves in a clip: the length of its optical flow
    layers.mlp           GatedMLP
    layers.norms         root-mean-square normalisation
    layers.objective     what a loss function gives the training loop
    layers.pieces        sequences in pieces of any lengths, dealt out in chunks of one
    layers.positions     (t, h, w) positions, rotary angles
    layers.precision     the dtype that a model computes in
    layers.sampling      logits → a draw: guidance, temperature, top-k, top-p
    layers.tokenizer     what all tokenizers have in common
"""
