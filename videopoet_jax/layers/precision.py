"""The dtype that a model computes in when nothing else is asked for."""

import jax


def compute_dtype(name: str | None = None) -> str:
    """`name`, or what suits the machine: float32 on a CPU, which is slow at anything else, bfloat16 on accelerators."""
    return name or ("float32" if jax.default_backend() == "cpu" else "bfloat16")
