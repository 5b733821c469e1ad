"""How long a compiled step will take, by one model of arithmetic, memory and links.

    an instruction    the longer of its operations at `PRODUCTS` of the chip's peak and its bytes from and to memory
    a loop's turn     its instructions one after another and the collectives that stand between them; collectives that
                      the program starts and fetches later run beside all of it
    a step            the sum over all turns; what goes between slices runs beside all of it

Nothing else is fitted. `PRODUCTS` is what large products reach: with full rematerialisation, 8 operations for 6 that
count, MaxText's 16 B model has an MFU of 61.1 % on 256 chips of v5e (its configs/v5e/README.md), so 81 % of the peak.
"""

from typing import NamedTuple

from videopoet_jax.parallel.chips import Slice
from videopoet_jax.training.program import NETWORK, Collective, Program

PRODUCTS = 0.85


class Forecast(NamedTuple):
    """Seconds of a step, and of what it is made of: these may overlap, so they need not add up."""

    step: float
    computation: float
    links: float
    network: float


def forecast(program: Program, place: Slice) -> Forecast:
    """The time of a program on the chips of slices like `place`."""
    chip, computation, links, both = place.chip, 0.0, 0.0, 0.0
    network = sum(times * c.bytes / chip.network for times, c in program.collectives() if c.kind == NETWORK)
    for block in program.blocks:
        work = sum(max(flops / (PRODUCTS * chip.flops), moved / chip.bandwidth) for flops, moved in block.work)
        waits, hidden = (
            sum(link_seconds(c, place) for c in block.collectives if c.beside is beside) for beside in (False, True)
        )
        computation, links = computation + block.times * work, links + block.times * (waits + hidden)
        both += block.times * max(work + waits, hidden)
    return Forecast(max(both, network), computation, links, network)


def link_seconds(collective: Collective, place: Slice) -> float:
    """A ring's time: a gathering or a scattering moves all but a device's own share past it, a reduction does both.

    Small ones take as long as a word from the farthest device.
    """
    members = len(collective.group)
    if collective.kind == NETWORK or members < 2:
        return 0.0
    if collective.kind == "collective-permute":
        return collective.bytes / place.chip.link
    passes = 2 if collective.kind == "all-reduce" else 1
    moving = collective.bytes * (members - 1) / members / place.link_bandwidth(members)
    return passes * max(moving, place.latency(members))
