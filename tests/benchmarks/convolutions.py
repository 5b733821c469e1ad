"""GFLOP/s of every form of the causal 3-D convolution in each direction: the table `conv_forms.rule` was read from.

    python tests/benchmarks/convolutions.py [--clock cpu] [--rounds 7] [--torch]

A cell is forward/gradient of the input/gradient of the kernel, the best of the rounds; the rounds go through all forms
in turn, so that a busy moment hits all of them. The last columns are forward + backward in one program, "auto" against
the plain form.

`--clock cpu` counts the CPU seconds of all threads over the number of cores, for a machine that others use too. It
measures work, not speed: a form that leaves a core idle looks faster than the wall clock would find it, and a library
whose threads spin while they wait (PyTorch's OpenMP) looks slower. Compare our own forms by it, never a peer.
"""

import argparse
import os
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from videopoet_jax.layers import conv_forms
from videopoet_jax.layers.conv import causal_conv3d

# batch, frames, height = width, channels in, out, kernel, strides: those of the nano tokenizer, then wider ones.
SHAPES = [
    (8, 17, 16, 32, 32, (3, 3, 3), (1, 1, 1)),
    (8, 17, 16, 48, 48, (3, 3, 3), (1, 1, 1)),
    (8, 17, 16, 64, 64, (3, 3, 3), (1, 1, 1)),
    (8, 9, 8, 64, 64, (3, 3, 3), (1, 1, 1)),
    (8, 9, 8, 96, 96, (3, 3, 3), (1, 1, 1)),
    (8, 5, 4, 128, 128, (3, 3, 3), (1, 1, 1)),
    (8, 17, 16, 48, 64, (3, 3, 3), (2, 2, 2)),
    (8, 9, 8, 96, 128, (3, 3, 3), (2, 2, 2)),
    (32, 1, 16, 48, 48, (3, 3, 3), (1, 1, 1)),
    (32, 1, 8, 96, 96, (3, 3, 3), (1, 1, 1)),
    (32, 1, 4, 128, 128, (3, 3, 3), (1, 1, 1)),
    (8, 17, 16, 48, 96, (1, 1, 1), (1, 1, 1)),
    (1, 17, 64, 64, 64, (3, 3, 3), (1, 1, 1)),
]


def operands(shape: tuple) -> tuple[jax.Array, jax.Array, jax.Array, float]:
    """x, kernel, the gradient of the output, and GFLOP of one product, zeros in front of the clip not counted."""
    b, t, h, c, d, size, strides = shape
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in [(b, t, h, h, c), (*size, c, d)])
    y = jax.eval_shape(lambda x, k: causal_conv3d(x, k, strides=strides, method="conv3d"), x, kernel)
    taps = size[0] if t > 1 else 1
    return x, kernel, jnp.asarray(rng.normal(size=y.shape), jnp.float32), 2e-9 * y.size * taps * size[1] * size[2] * c


def products(method: str, strides: tuple[int, int, int]) -> dict[str, Callable]:
    """The three products of training and all of them together, jitted."""

    def convolve(x, kernel):
        return causal_conv3d(x, kernel, strides=strides, method=method)

    return {
        "forward": jax.jit(lambda x, k, dy: convolve(x, k)),
        "input": jax.jit(lambda x, k, dy: jax.vjp(lambda x: convolve(x, k), x)[1](dy)),
        "kernel": jax.jit(lambda x, k, dy: jax.vjp(lambda k: convolve(x, k), k)[1](dy)),
        "both": jax.jit(lambda x, k, dy: (lambda y, pull: (y, pull(dy)))(*jax.vjp(convolve, x, k))),
    }


def seconds(clock: str, f: Callable, *args) -> float:
    now = time.process_time if clock == "cpu" else time.perf_counter
    start = now()
    jax.block_until_ready(f(*args))
    return (now() - start) / (os.cpu_count() if clock == "cpu" else 1)


def measure(shape: tuple, clock: str, rounds: int) -> dict[tuple[str, str], float]:
    """GFLOP/s by (form, product)."""
    x, kernel, dy, gflop = operands(shape)
    methods = ["conv3d", "auto", "matmul"] if shape[5] == (1, 1, 1) else ["conv3d", "fold_out", "fold_in", "auto"]
    jobs = {(m, p): f for m in methods for p, f in products(m, shape[6]).items()}
    best = dict.fromkeys(jobs, float("inf"))
    for f in jobs.values():
        jax.block_until_ready(f(x, kernel, dy))
    for _ in range(rounds):
        for name, f in jobs.items():
            best[name] = min(best[name], seconds(clock, f, x, kernel, dy))
    return {name: gflop * (3 if name[1] == "both" else 1) / s for name, s in best.items()}


def measure_torch(shape: tuple, clock: str, rounds: int) -> tuple[float, float]:
    """PyTorch's forward and forward + backward, channels last, the padding given as zeros in x."""
    import torch

    b, t, h, c, d, size, strides = shape
    x = torch.randn(b, c, t + size[0] - 1, h, h).to(memory_format=torch.channels_last_3d).requires_grad_()
    layer = torch.nn.Conv3d(c, d, size, strides, padding=(0, size[1] // 2, size[2] // 2), bias=False)
    layer = layer.to(memory_format=torch.channels_last_3d)
    gflop = operands(shape)[3]
    dy = torch.randn_like(layer(x))
    forward = min(seconds(clock, lambda: layer(x).sum().item()) for _ in range(rounds + 1))
    both = min(seconds(clock, lambda: layer(x).backward(dy)) for _ in range(rounds + 1))
    return gflop / forward, 3 * gflop / both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch", action="store_true", help="measure PyTorch too")
    parser.add_argument("--only", type=int, nargs="*", help="rows to measure")
    options = parser.parse_args()
    if options.torch and options.clock == "cpu":
        parser.error("--torch --clock cpu: spinning threads make CPU time unfair to PyTorch; take --clock wall.")
    flags = os.environ.get("XLA_FLAGS", "")
    print(f"{jax.devices()[0].platform}, {os.cpu_count()} cores, {options.clock} clock; XLA_FLAGS={flags}", flush=True)
    for i, shape in enumerate(SHAPES):
        if options.only and i not in options.only:
            continue
        speeds = measure(shape, options.clock, options.rounds)
        cells = [
            f"{m} {'/'.join(f'{speeds[m, p]:.0f}' for p in ('forward', 'input', 'kernel'))}"
            for m in dict.fromkeys(m for m, _ in speeds)
        ]
        plain, auto = speeds["conv3d", "both"], speeds["auto", "both"]
        peer = (
            " | torch {:.0f} fwd {:.0f} both".format(*measure_torch(shape, options.clock, options.rounds))
            if options.torch
            else ""
        )
        b, t, h, c, d, size, strides = shape
        name = f"{b}x{t}x{h}x{h} {c}→{d} k{''.join(map(str, size))} s{''.join(map(str, strides))}"
        chosen = conv_forms.rule(size if t > 1 else (1, *size[1:]), strides)
        print(
            f"{name} | {' | '.join(cells)} | both {plain:.0f} → {auto:.0f} ×{auto / plain:.1f} {chosen.forward}{peer}",
            flush=True,
        )


if __name__ == "__main__":
    main()
