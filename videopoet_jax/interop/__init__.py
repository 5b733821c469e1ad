"""In: our models → Out: what other people's software runs.

`stablehlo` writes a pipeline as programs that need jax and numpy, and nothing of ours.
"""
