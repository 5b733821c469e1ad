"""Gin files for T5X's scripts: `lm.gin` is our language model, which `train.gin` and `infer.gin` include.

A package, because gin finds files so: `--gin_file=videopoet_jax/configs/t5x/train.gin`.
"""
