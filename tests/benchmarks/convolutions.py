"""GFLOP/s of every form of the 3-D convolution in each direction: the table `conv_forms.rule` was read from.

    python tests/benchmarks/convolutions.py [--clock cpu] [--rounds 7] [--torch] [--only ROW …]

A cell is forward/gradient of the input/gradient of the kernel, the best of the rounds; the rounds go through all forms
in turn, so that a busy moment hits all of them. The last columns are all three in one program, the plain form against
"auto", and "auto" once more in a branch of `lax.cond`, where a discriminator that starts late has its own.

`--clock cpu` counts the CPU seconds of all threads over the number of cores, for a machine that others use too. It
measures work, not speed: a form that leaves a core idle looks faster than the wall clock would find it, and a library
whose threads spin while they wait (PyTorch's OpenMP) looks slower. Compare our own forms by it, never a peer.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from videopoet_jax.cli.main import tune_xla

tune_xla("evaluate")  # the options of the command line, of a command that computes on one device

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import Array, lax  # noqa: E402

from videopoet_jax.layers import conv_forms  # noqa: E402
from videopoet_jax.layers.conv import causal_conv3d, centred_conv3d  # noqa: E402


class Shape(NamedTuple):
    """`batch` clips of `frames` × `side` × `side`; the convolution is centred in time if it is not causal."""

    batch: int
    frames: int
    side: int
    channels: int
    features: int
    kernel: tuple[int, int, int] = (3, 3, 3)
    strides: tuple[int, int, int] = (1, 1, 1)
    causal: bool = True

    def __str__(self) -> str:
        b, t, h, c, d, kernel, strides, causal = self
        size, steps = ("".join(map(str, numbers)) for numbers in (kernel, strides))
        return f"{b}×{t}×{h}×{h} {c}→{d} k{size} s{steps}{'' if causal else ' centred'}"

    def convolution(self, method: str) -> Callable[[Array, Array], Array]:
        convolve = causal_conv3d if self.causal else centred_conv3d
        return lambda x, kernel: convolve(x, kernel, strides=self.strides, method=method)


SHAPES = [
    # the nano tokenizer's
    Shape(8, 17, 16, 32, 32),
    Shape(8, 17, 16, 48, 48),
    Shape(8, 17, 16, 64, 64),
    Shape(8, 9, 8, 64, 64),
    Shape(8, 9, 8, 96, 96),
    Shape(8, 5, 4, 128, 128),
    Shape(8, 17, 16, 48, 64, strides=(2, 2, 2)),
    Shape(8, 9, 8, 96, 128, strides=(2, 2, 2)),
    Shape(32, 1, 16, 48, 48),
    Shape(32, 1, 8, 96, 96),
    Shape(32, 1, 4, 128, 128),
    Shape(8, 17, 16, 48, 96, kernel=(1, 1, 1)),
    # base's
    Shape(1, 17, 64, 64, 64),
    Shape(1, 9, 32, 128, 128),
    # the discriminator's, and magvit1's
    Shape(2, 9, 64, 128, 128, causal=False),
    Shape(2, 5, 32, 256, 256, causal=False),
    Shape(2, 2, 4, 512, 512, causal=False),
    Shape(2, 16, 32, 64, 64, causal=False),
]


def operands(shape: Shape) -> tuple[Array, Array, Array, float]:
    """x, kernel, the gradient of the output, and GFLOP of one product: of one tap for a picture, of all for a clip."""
    b, t, h, c, d, size, *_ = shape
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in [(b, t, h, h, c), (*size, c, d)])
    y = jax.eval_shape(shape.convolution("conv3d"), x, kernel)
    taps = size[0] if t > 1 else 1
    return x, kernel, jnp.asarray(rng.normal(size=y.shape), jnp.float32), 2e-9 * y.size * taps * size[1] * size[2] * c


def products(shape: Shape, method: str) -> dict[str, Callable]:
    """The three products of training, all of them together, and these in a branch; jitted."""
    convolve = shape.convolution(method)

    def both(x: Array, kernel: Array, dy: Array) -> tuple[Array, tuple[Array, Array]]:
        y, pull = jax.vjp(convolve, x, kernel)
        return y, pull(dy)

    def never(*operands: Array) -> tuple[Array, tuple[Array, Array]]:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(both, *operands))

    found = {
        "forward": lambda x, k, dy: convolve(x, k),
        "input": lambda x, k, dy: jax.vjp(lambda x: convolve(x, k), x)[1](dy),
        "kernel": lambda x, k, dy: jax.vjp(lambda k: convolve(x, k), k)[1](dy),
        "both": both,
        "branch": lambda x, k, dy: lax.cond(x[0, 0, 0, 0, 0] < jnp.inf, both, never, x, k, dy),
    }
    return {name: jax.jit(f) for name, f in found.items() if method == "auto" or name != "branch"}


def seconds(clock: str, f: Callable, *args) -> float:
    now = time.process_time if clock == "cpu" else time.perf_counter
    start = now()
    jax.block_until_ready(f(*args))
    return (now() - start) / (os.cpu_count() if clock == "cpu" else 1)


def measure(shape: Shape, clock: str, rounds: int) -> dict[tuple[str, str], float]:
    """GFLOP/s by (form, product)."""
    x, kernel, dy, gflop = operands(shape)
    methods = ["conv3d", "auto", "matmul"] if shape.kernel == (1, 1, 1) else ["conv3d", "fold_out", "fold_in", "auto"]
    jobs = {(m, p): f for m in methods for p, f in products(shape, m).items()}
    best = dict.fromkeys(jobs, float("inf"))
    for f in jobs.values():
        jax.block_until_ready(f(x, kernel, dy))
    for _ in range(rounds):
        for name, f in jobs.items():
            best[name] = min(best[name], seconds(clock, f, x, kernel, dy))
    return {name: gflop * (3 if name[1] in ("both", "branch") else 1) / s for name, s in best.items()}


def measure_torch(shape: Shape, clock: str, rounds: int) -> tuple[float, float]:
    """PyTorch's forward and forward + backward, channels last, the padding in time given as zeros in x."""
    import torch

    b, t, h, c, d, size, strides, _ = shape
    x = torch.randn(b, c, t + size[0] - 1, h, h).to(memory_format=torch.channels_last_3d).requires_grad_()
    layer = torch.nn.Conv3d(c, d, size, strides, padding=(0, size[1] // 2, size[2] // 2), bias=False)
    layer = layer.to(memory_format=torch.channels_last_3d)
    gflop = operands(shape)[3]
    dy = torch.randn_like(layer(x))
    forward = min(seconds(clock, lambda: layer(x).sum().item()) for _ in range(rounds + 1))
    both = min(seconds(clock, lambda: layer(x).backward(dy)) for _ in range(rounds + 1))
    return gflop / forward, 3 * gflop / both


def row(shape: Shape, clock: str, rounds: int, torch: bool) -> str:
    """A line of the table."""
    speeds = measure(shape, clock, rounds)
    cells = [
        f"{method} {'/'.join(f'{speeds[method, product]:.0f}' for product in ('forward', 'input', 'kernel'))}"
        for method in dict.fromkeys(method for method, _ in speeds)
    ]
    plain, auto, branch = speeds["conv3d", "both"], speeds["auto", "both"], speeds["auto", "branch"]
    chosen = conv_forms.rule(shape.kernel if shape.frames > 1 else (1, *shape.kernel[1:]), shape.strides)
    cells.append(f"both {plain:.0f} → {auto:.0f} ×{auto / plain:.1f}, in a branch {branch:.0f}")
    cells.append("/".join(chosen))
    if torch:
        cells.append("torch {:.0f} forward, {:.0f} both".format(*measure_torch(shape, clock, rounds)))
    return f"{shape} | {' | '.join(cells)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--torch", action="store_true", help="measure PyTorch too")
    parser.add_argument("--only", type=int, nargs="+", metavar="ROW", help="rows to measure, the first is 0")
    options = parser.parse_args()
    if options.torch and options.clock == "cpu":
        parser.error("--torch --clock cpu: spinning threads make CPU time unfair to PyTorch; take --clock wall.")
    if options.only and max(options.only) >= len(SHAPES):
        parser.error(f"--only {max(options.only)}: the last row is {len(SHAPES) - 1}.")
    flags = os.environ.get("XLA_FLAGS", "")
    print(f"{jax.devices()[0].platform}, {os.cpu_count()} cores, {options.clock} clock; XLA_FLAGS={flags}", flush=True)
    for i in options.only or range(len(SHAPES)):
        print(row(SHAPES[i], options.clock, options.rounds, options.torch), flush=True)


if __name__ == "__main__":
    main()
