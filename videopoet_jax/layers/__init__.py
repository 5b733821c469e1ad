"""In: activations and parameters → Out: activations. The building blocks that several models share.

Nothing is imported here, so that a model pays only for the layers it names:

    layers.conv          causal 3-D and 1-D convolutions and their modules, 2-D ones, depth-to-space and its inverse
    layers.conv_forms    the equal forms of one causal 3-D convolution, and the rule that chooses among them
    layers.distortion    how far a copy of a sound is from its original: SI-SDR of numpy and JAX arrays
    layers.grouped       a 1-D convolution in groups whose gradient is fast on CPU
"""
