"""TPUs as a planner sees them: arithmetic, memory and links, and how many chips make a slice. And what the chips that
are here can do.

    devices_of("v5p:4x4x4")  →  64 devices to compile for, wherever `libtpu` is installed (extra `tpu`)
    peak_of("TPU v5 lite")   →  197e12 operations a second; None of a CPU

Figures are those of Google's system architecture pages and of "How to Scale Your Model" (Austin et al., 2025); those of
GPUs are their makers'.
"""

import contextlib
import math
import os
import re
from typing import NamedTuple

import jax

GIB = 2**30


class Chip(NamedTuple):
    """One chip.

    Attributes:
        flops: products of bfloat16 matrices, operations a second.
        memory: HBM, bytes.
        bandwidth: of it, bytes a second.
        link: of one link of the torus (ICI), bytes a second one way.
        network: of the data centre's network (DCN), bytes a second for each chip.
        wraps: an axis of the torus closes to a ring if its chips are a multiple of so many.
    """

    flops: float
    memory: float
    bandwidth: float
    link: float
    network: float
    wraps: int


CHIPS = {
    "v4": Chip(275e12, 32 * GIB, 1.2e12, 4.5e10, 3.1e9, 4),
    "v5e": Chip(197e12, 16 * GIB, 8.1e11, 4.5e10, 3.1e9, 16),
    "v5p": Chip(459e12, 95 * GIB, 2.77e12, 9.0e10, 6.25e9, 4),
    "v6e": Chip(918e12, 32 * GIB, 1.64e12, 9.0e10, 12.5e9, 16),
}
HOP = 1e-6  # seconds from a chip to its neighbour, of the same book
# As JAX calls them where they are. TPU v2 and v3 are not among them: there a device is half a chip.
KINDS = {"TPU v4": "v4", "TPU v5 lite": "v5e", "TPU v5": "v5p", "TPU v5p": "v5p", "TPU v6 lite": "v6e"}
# Dense products of bfloat16 matrices, operations a second. Data sheets give the rate with sparsity, twice the dense
# one, in brackets below.
GPUS = {
    "NVIDIA H100 80GB HBM3": 989.5e12,  # NVIDIA H100 data sheet, SXM (1,979)
    "NVIDIA H100 PCIe": 756.5e12,  # the same, PCIe (1,513)
    "NVIDIA H200": 989.5e12,  # NVIDIA H200 data sheet, SXM (1,979)
    "NVIDIA A100-SXM4-40GB": 312e12,  # NVIDIA A100 data sheet (624)
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA L4": 121e12,  # NVIDIA L4 data sheet (242)
}
_TOPOLOGY = re.compile(r"(v\w+):(\d+(?:x\d+){1,2})")


class Slice(NamedTuple):
    """Chips that links join, and how they lie: `v5p, (4, 4, 4)`."""

    name: str
    chip: Chip
    shape: tuple[int, ...]

    @property
    def chips(self) -> int:
        return math.prod(self.shape)

    def _axes(self, members: int) -> list[tuple[int, bool]]:
        """(chips, whether they are a ring) of the torus's axes that a group of `members` uses: all, where it is the
        slice, else one. In three dimensions rings close between whole cubes, so all axes or none are closed."""
        closed = [size % self.chip.wraps == 0 for size in self.shape]
        if len(self.shape) == 3:
            closed = [all(closed)] * 3
        axes = [(size, ring) for size, ring in zip(self.shape, closed, strict=True) if size > 1]
        return axes if members >= self.chips else axes[:1]

    def link_bandwidth(self, members: int) -> float:
        """Bytes a second that a chip exchanges with a group of `members`, both ways round where there is a ring."""
        return self.chip.link * sum(2 if ring else 1 for _, ring in self._axes(members))

    def latency(self, members: int) -> float:
        """Seconds until the chip of a group of `members` that is farthest away has heard."""
        return HOP * sum(size // 2 if ring else size - 1 for size, ring in self._axes(members))


def peak_of(kind: str) -> float | None:
    """Operations a second of a device that JAX (and PyTorch) call so; None where it is not known."""
    return CHIPS[KINDS[kind]].flops if kind in KINDS else GPUS.get(kind)


def parse_topology(text: str) -> Slice:
    """`"v5p:4x4x4"` → its slice.

    Raises:
        ValueError: not KIND:AxB or KIND:AxBxC, or an unknown kind.
    """
    match = _TOPOLOGY.fullmatch(text)
    if not match or match[1] not in CHIPS:
        raise ValueError(
            f"topology {text!r}: KIND:AxB or KIND:AxBxC is needed, of {', '.join(CHIPS)}; such as v5p:4x4x4."
        )
    return Slice(match[1], CHIPS[match[1]], tuple(map(int, match[2].split("x"))))


def devices_of(text: str, slices: int = 1) -> list[jax.Device]:
    """Devices to compile for; none of them need be there.

    Raises:
        ValueError: no such slice is made.
        ModuleNotFoundError: `libtpu` is not installed.
    """
    from jax.experimental import topologies

    parse_topology(text)
    # No TPU is looked for, and other programs may hold the library.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        import libtpu  # noqa: F401
    except ImportError as error:
        raise ModuleNotFoundError(
            "libtpu: not installed, and it holds the compiler for TPUs; pip install 'videopoet_jax[tpu]'."
        ) from error
    try:
        with _quiet():
            found = topologies.get_topology_desc(text, "tpu", num_slices=slices)
    except Exception as error:  # JAX raises its own kinds
        raise ValueError(
            f"topology {text}, {slices} slices: libtpu knows none ({' '.join(str(error).split())[:160]}); give a shape "
            f"that is sold, such as v5e:4x4, v5p:2x2x4 or v6e:16x16."
        ) from error
    return list(found.devices)


@contextlib.contextmanager
def _quiet():
    """What libtpu writes to the terminal while it finds no TPU is kept back."""
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)
