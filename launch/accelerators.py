"""Google's TPU slices and NVIDIA's GPUs, by the names that the launch scripts take, and what the clouds call them.

v5p:2x2x4 → 16 chips, `--accelerator-type v5p-32`, on GKE 4 hosts of 4 chips with tpu-v5p-slice
h100:8    → 8 GPUs a host, on GKE nvidia-h100-80gb

`python launch/accelerators.py v5p:2x2x4` prints what a queued resource needs: its type, and its runtime.

Sources: XPK's system_characteristics.py (github.com/AI-Hypercomputer/xpk, 367c838) for topologies, counts of cores and
GKE's names; GKE's page "Plan TPUs" for the smallest; Cloud TPU's page "TPU software versions" for runtimes.
"""

import re
import sys
from math import prod
from typing import NamedTuple


class Generation(NamedTuple):
    """What the topologies of a generation of TPUs share."""

    prefix: str  # of a Cloud TPU accelerator type, which goes on with a number
    counted: int  # in that number, for each chip: its cores, or 1
    gke: str  # the node label cloud.google.com/gke-tpu-accelerator
    runtime: str  # the image of a TPU VM
    flat: tuple[str, ...] = ()  # all topologies of two dimensions
    cubes: int = 0  # in three dimensions: at most as many cubes of 4×4×4, beside SMALL
    ascending: bool = True  # AxBxC only with A ≤ B ≤ C


SMALL = ("2x2x1", "2x2x2", "2x2x4", "2x4x4")
FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
TPUS = {
    "v4": Generation("v4", 2, "tpu-v4-podslice", "tpu-ubuntu2204-base", cubes=64, ascending=False),
    "v5e": Generation("v5litepod", 1, "tpu-v5-lite-podslice", "v2-alpha-tpuv5-lite", flat=("1x1", *FLAT)),
    "v5p": Generation("v5p", 2, "tpu-v5p-slice", "v2-alpha-tpuv5", cubes=140),
    "v6e": Generation("v6e", 1, "tpu-v6e-slice", "v2-alpha-tpuv6e", flat=("1x1", *FLAT)),
}
GPUS = {  # the node label cloud.google.com/gke-accelerator, and how many a machine may have
    "l4": ("nvidia-l4", (1, 2, 4, 8)),
    "a100": ("nvidia-tesla-a100", (1, 2, 4, 8)),
    "a100-80gb": ("nvidia-a100-80gb", (1, 2, 4, 8)),
    "h100": ("nvidia-h100-80gb", (8,)),
    "h100-mega": ("nvidia-h100-mega-80gb", (8,)),
    "h200": ("nvidia-h200-141gb", (8,)),
    "b200": ("nvidia-b200", (8,)),
}


class Slice(NamedTuple):
    """A TPU slice: chips that their own network joins."""

    generation: Generation
    topology: str
    chips: int

    @property
    def accelerator_type(self) -> str:
        """`v5p:2x2x4 → v5p-32`"""
        return f"{self.generation.prefix}-{self.chips * self.generation.counted}"

    @property
    def chips_per_host(self) -> int:
        """On GKE: nodes of one chip for one, else nodes of four."""
        return min(self.chips, 4)

    @property
    def hosts(self) -> int:
        """On GKE; the hosts of a queued resource are the cloud's to choose."""
        return self.chips // self.chips_per_host


def slice_of(name: str) -> Slice:
    """`"v5p:2x2x4"` → its slice.

    Raises:
        ValueError: no such generation, or it has no such topology.
    """
    kind, _, topology = name.partition(":")
    if kind not in TPUS:
        raise ValueError(f"topology {name!r}: no TPU of these: {', '.join(TPUS)}; write one such as v5p:2x2x4.")
    generation = TPUS[kind]
    if not re.fullmatch(r"[1-9]\d{0,2}(x[1-9]\d{0,2}){1,2}", topology) or not _has(generation, topology):
        raise ValueError(f"topology {name!r}: not one that {kind} has; {_known(kind, generation)}.")
    return Slice(generation, topology, prod(_sides(topology)))


def _sides(topology: str) -> list[int]:
    return [int(side) for side in topology.split("x")]


def _has(generation: Generation, topology: str) -> bool:
    if not generation.cubes:
        return topology in generation.flat
    sides = _sides(topology)
    whole = len(sides) == 3 and all(side % 4 == 0 for side in sides) and prod(sides) <= 64 * generation.cubes
    return topology in SMALL or (whole and (sides == sorted(sides) or not generation.ascending))


def _known(kind: str, generation: Generation) -> str:
    if not generation.cubes:
        return f"use one of {', '.join(f'{kind}:{topology}' for topology in generation.flat)}"
    order = ", smallest first" if generation.ascending else ""
    return f"use {', '.join(SMALL)}, or three multiples of 4{order}, of at most {64 * generation.cubes} chips together"


def gpus_of(name: str) -> tuple[str, int]:
    """`"h100:8"` → GKE's name for it, and how many a machine has.

    Raises:
        ValueError: no such GPU, or no machine that has as many.
    """
    kind, _, count = name.partition(":")
    if kind not in GPUS:
        raise ValueError(f"gpus {name!r}: none of these: {', '.join(GPUS)}; write one such as h100:8.")
    label, counts = GPUS[kind]
    if count not in map(str, counts):
        some = " or ".join(f"{kind}:{number}" for number in counts)
        raise ValueError(f"gpus {name!r}: no machine has as many of them; use {some}.")
    return label, int(count)


if __name__ == "__main__":
    try:
        asked = slice_of(" ".join(sys.argv[1:]))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(asked.accelerator_type, asked.generation.runtime)
