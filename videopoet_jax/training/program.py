"""What a compiled program does, read from its HLO text: operations, memory traffic and collectives of one device.

    read_program(compiled.as_text())  →  Program: its blocks, how often each runs, what a turn does

XLA's own `cost_analysis` counts a loop's body once. Here every computation is counted as often as it runs: loops by
the bound in their condition, both sides of a condition by the share of turns that take them (all, unless told).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

NETWORK = "send"  # what goes to another slice, by the host
COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "c64": 8, "c128": 16, "token": 0, "opaque": 0}
_FREE = {  # lines that move nothing
    *("parameter", "constant", "get-tuple-element", "tuple", "bitcast", "partition-id", "replica-id", "after-all"),
    *("while", "conditional", "call", "send", "send-done", "recv", "recv-done", "copy-done", "slice-done"),
    *("async-done", "async-update"),
}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^{}]*)\})?")
_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"  (?:ROOT )?%?([\w.\-]+) = (.*)$")


class Instruction(NamedTuple):
    """A line: `%name = shape opcode(operands), attributes`."""

    name: str
    shape: str
    opcode: str
    rest: str

    def attribute(self, name: str) -> str | None:
        """`calls=%fused.1, …` → fused.1"""
        match = re.search(rf"\b{name}=%?([\w.\-]+)", self.rest)
        return match and match[1]

    @property
    def operands(self) -> list[str]:
        start = self.rest.index("(") + 1
        return re.findall(r"%([\w.\-]+)", self.rest[start : _closing(self.rest, start - 1)])

    @property
    def scope(self) -> str:
        match = re.search(r'op_name="([^"]*)"', self.rest)
        return match[1] if match else ""


class Collective(NamedTuple):
    """A collective.

    Attributes:
        bytes: what of it a device holds: what it gathers, or what it reduces.
        group: the devices of one group.
        beside: whether the program computes meanwhile.
    """

    kind: str
    bytes: float
    group: tuple[int, ...]
    beside: bool


class Block(NamedTuple):
    """A computation of the schedule and how often it runs: its own work of one turn, loops inside it apart.

    Attributes:
        work: (operations, bytes from and to memory) of each instruction.
    """

    times: float
    work: tuple[tuple[float, float], ...]
    collectives: tuple[Collective, ...]


class Program(NamedTuple):
    """All blocks of a program."""

    blocks: tuple[Block, ...]

    @property
    def flops(self) -> float:
        """Operations of products, of one device."""
        return sum((b.times * flops for b in self.blocks for flops, _ in b.work), 0.0)

    @property
    def moved(self) -> float:
        """Bytes from and to memory, of one device."""
        return sum((b.times * moved for b in self.blocks for _, moved in b.work), 0.0)

    def bytes_by_kind(self) -> dict[str, int]:
        """Bytes of all collectives: `{"all-gather": …, "network": …}`"""
        sizes: dict[str, float] = {}
        for times, collective in self.collectives():
            name = "network" if collective.kind == NETWORK else collective.kind
            sizes[name] = sizes.get(name, 0.0) + times * collective.bytes
        return {name: round(size) for name, size in sorted(sizes.items())}

    def collectives(self) -> Iterator[tuple[float, Collective]]:
        """(how often, what) of every collective."""
        for block in self.blocks:
            for collective in block.collectives:
                yield block.times, collective


def read_program(text: str, share: Callable[[str], float] = lambda scope: 1.0, density: float = 1.0) -> Program:
    """The program of an HLO module's text.

    Args:
        share: scope of a conditional's work → the share of turns in which it is done.
        density: pairs of positions that attention kernels look at, of all.
    """
    computations, entry = _parse(text)
    blocks: list[Block] = []

    def visit(name: str, times: float) -> None:
        lines = computations[name]
        shapes = {line.name: line.shape for line in lines}
        work, found, channels = [], [], set()
        for line in lines:
            if line.opcode == "while":
                visit(line.attribute("body"), times * _trips(computations[line.attribute("condition")]))
            elif line.opcode == "conditional":
                for branch in _branches(line):
                    visit(branch, times * share(_scope_of(computations, branch)))
            elif line.opcode == "call":
                visit(line.attribute("to_apply"), times)
            flops, inner = _inside(computations, line, shapes, density)
            for collective, channel in inner:
                # One that several fusions share between them is written in each.
                mark = (channel, collective) if line.opcode == "fusion" else (line.name, collective)
                if mark not in channels:
                    channels.add(mark)
                    found.append(collective)
            moved = 0.0
            if line.opcode not in _FREE and not line.opcode.startswith(COLLECTIVES):
                moved = _moved(computations, line, shapes)
            if flops or moved:
                work.append((flops, moved))
        blocks.append(Block(times, tuple(work), tuple(found)))

    visit(entry, 1.0)
    return Program(tuple(blocks))


def _parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    computations: dict[str, list[Instruction]] = {}
    entry = current = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = head[2]
            computations[current] = []
            entry = current if head[1] else entry
        elif current and (match := _LINE.match(line)):
            computations[current].append(_instruction(match[1], match[2]))
    if not entry:
        raise ValueError(f"{text[:80]!r}…: not the text of an HLO module.")
    return computations, entry


def _closing(text: str, start: int) -> int:
    """The position of the bracket that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place
    return len(text)


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    rest = text[end:].strip()
    return Instruction(name, text[:end], re.match(r"[\w\-]*", rest)[0], rest)


def _trips(condition: list[Instruction]) -> int:
    """Turns of a loop: the constant that its counter, from 0 on, is compared with."""
    bounds = [int(m[1]) for line in condition if (m := re.match(r"constant\((\d+)\)", line.rest))]
    return max(bounds, default=1)


def _branches(line: Instruction) -> list[str]:
    if match := re.search(r"branch_computations=\{([^}]*)\}", line.rest):
        return [name.strip().lstrip("%") for name in match[1].split(",")]
    return [line.attribute("true_computation"), line.attribute("false_computation")]


def _scope_of(computations: Mapping[str, list[Instruction]], name: str) -> str:
    return " ".join(line.scope for line in computations[name])


def _inside(
    computations: Mapping[str, list[Instruction]], line: Instruction, shapes: Mapping[str, str], density: float
) -> tuple[float, list[tuple[Collective, str | None]]]:
    """Operations and collectives of a line, and of what it fuses."""
    if line.opcode not in ("fusion", "async-start"):
        return _operations(line, shapes, density), _collective(line)
    inner = computations[line.attribute("calls")]
    names = {other.name: other.shape for other in inner}
    parts = [_inside(computations, other, names, density) for other in inner]
    found = [(collective._replace(beside=True), channel) for _, found in parts for collective, channel in found]
    return sum((flops for flops, _ in parts), 0.0), found


def _sizes(shape: str) -> tuple[int, ...]:
    """`bf16[8,128]{1,0} → (8, 128)`; of a tuple its first array's."""
    match = _ARRAY.search(shape)
    return tuple(int(n) for n in match[2].split(",") if n) if match else ()


def _size(kind: str, dims: str) -> float:
    bits = re.fullmatch(r"[sfu]\D*(\d+).*", kind)
    width = _BYTES.get(kind, int(bits[1]) / 8 if bits else 4)
    return float(width * math.prod(int(n) for n in dims.split(",") if n))


def _memory(shape: str) -> float:
    """Bytes of the arrays that lie in main memory; `S(1)`, say, lie on the chip's own."""
    return sum((_size(kind, dims) for kind, dims, layout in _ARRAY.findall(shape) if "S(" not in layout), 0.0)


# Of a large array they touch a part: what a slice or a gathering gives, and what an update puts into it.
_READS_A_PART = {"dynamic-slice", "slice", "gather"}


def _moved(computations: Mapping[str, list[Instruction]], line: Instruction, shapes: Mapping[str, str]) -> float:
    """Bytes that a line reads from main memory and writes to it."""
    if line.opcode in ("copy-start", "slice-start"):  # (from, to, …)
        origin, target = _ARRAY.findall(line.shape)[:2]
        return _size(*target[:2]) * (("S(" not in origin[2]) + ("S(" not in target[2]))
    inner, given = [line], {operand: shapes.get(operand, "") for operand in line.operands}
    if line.opcode == "fusion":
        # Inside a fusion shapes say nothing of where arrays lie; those that it is called with do.
        inner = computations[line.attribute("calls")]
        given = {name: shapes.get(line.operands[number], "") for number, name in _parameters(inner).items()}
        if "AsyncCollective" in inner[-1].rest:
            return 0.0  # the begin or the end of one, whose bytes count as the links'
    written, total = _memory(line.shape) - _handed_on(inner), 0.0
    for name, shape in given.items():
        if whole := _memory(shape):
            read, spared = _touched(computations, inner, name, shapes)
            total, written = total + min(whole, read), max(0.0, written - spared)
    return total + written


def _handed_on(inner: list[Instruction]) -> float:
    """Bytes among a fusion's results that it does not write: what it was given, and what a collective brings."""
    lines, root = {other.name: other for other in inner}, inner[-1]
    if root.opcode != "tuple":
        return 0.0
    elements = _ARRAY.findall(root.shape)
    sizes = [_size(kind, dims) * ("S(" not in layout) for kind, dims, layout in elements]
    origins = [lines[name].opcode if name in lines else "" for name in root.operands]
    known = (s for s, o in zip(sizes, origins, strict=True) if o == "parameter" or o.startswith(COLLECTIVES))
    return sum(known, 0.0)


def _parameters(inner: list[Instruction]) -> dict[int, str]:
    """The names of a computation's parameters by their number."""
    found = [(re.match(r"parameter\((\d+)\)", other.rest), other.name) for other in inner]
    return {int(match[1]): name for match, name in found if match}


def _touched(
    computations: Mapping[str, list[Instruction]], inner: list[Instruction], name: str, outer: Mapping[str, str]
) -> tuple[float, float]:
    """Of an array that lines are given: the bytes that they read, infinite for all of it, and those of their results
    that they do not write, for they update it in place."""
    sizes = {**outer, **{other.name: other.shape for other in inner}}
    read = spared = 0.0
    for use in inner:
        for number in (n for n, operand in enumerate(use.operands) if operand == name):
            one = (math.inf, 0.0)
            if use.opcode == "tuple" or use.opcode.startswith(COLLECTIVES):
                one = (0.0, 0.0)
            elif use.opcode == "fusion":
                deeper = computations[use.attribute("calls")]
                one = _touched(computations, deeper, _parameters(deeper)[number], {})
            elif use.opcode == "bitcast":
                one = _touched(computations, inner, use.name, outer)
            elif number == 0 and use.opcode in _READS_A_PART:
                one = (_bytes(use.shape), 0.0)
            elif number == 0 and use.opcode == "dynamic-update-slice":
                put = _bytes(sizes.get(use.operands[1], ""))
                one = (put, _bytes(use.shape) - put)
            read, spared = read + one[0], spared + one[1]
    return read, spared


def _bytes(shape: str) -> float:
    """Bytes of all arrays of a shape, wherever they lie."""
    return sum((_size(kind, dims) for kind, dims, _ in _ARRAY.findall(shape)), 0.0)


def _operations(line: Instruction, shapes: Mapping[str, str], density: float) -> float:
    """Operations of a product, a convolution or an attention kernel; of anything else none are counted."""
    if line.opcode == "dot":
        left = _sizes(shapes[line.operands[0]])
        summed = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.rest)[1]
        return 2.0 * math.prod(_sizes(line.shape)) * math.prod(left[int(d)] for d in summed.split(",") if d)
    if line.opcode == "convolution":
        return _convolution(line, shapes)
    if line.opcode == "custom-call" and "splash" in line.name:
        # The queries come first among what is no integer: [rows heads positions channels], or without rows where there
        # is one. Products of positions with positions: 2 forward, 3 and 4 for the gradients.
        *alike, positions, channels = next(_sizes(shapes[o]) for o in line.operands if shapes[o][0] not in "spu(")
        products = 4 if "dkv" in line.name else 3 if "dq" in line.name else 2
        return products * 2.0 * math.prod(alike) * positions**2 * channels * density
    return 0.0


def _convolution(line: Instruction, shapes: Mapping[str, str]) -> float:
    """Two operations for every place of the kernel that meets a value and not padding."""
    kernel, result = _sizes(shapes[line.operands[1]]), _sizes(line.shape)
    image = _sizes(shapes[line.operands[0]])
    names = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.rest)
    window = re.search(r"window=\{([^}]*)\}", line.rest)
    window = {k: v.split("x") for k, v in re.findall(r"(\w+)=([\w\-]+)", window[1] if window else "")}
    total = 2.0 * kernel[names[2].index("i")] * result[names[3].index("f")] * result[names[3].index("b")]
    for axis in sorted(c for c in names[1] if c.isdigit()):
        i = int(axis)
        size, out = kernel[names[2].index(axis)], result[names[3].index(axis)]

        def of(name: str, default: int, i: int = i) -> int:
            return int(window[name][i]) if name in window else default

        low = int(window["pad"][i].split("_")[0]) if "pad" in window else 0
        spread, stride = of("lhs_dilate", 1), of("stride", 1)
        at = np.arange(out)[:, None] * stride - low + np.arange(size) * of("rhs_dilate", 1)
        total *= np.sum((at >= 0) & (at < (image[names[1].index(axis)] - 1) * spread + 1) & (at % spread == 0))
    return float(total)


def _collective(line: Instruction) -> list[tuple[Collective, str | None]]:
    kind = line.opcode.removesuffix("-start")
    if kind == NETWORK and "is_host_transfer=true" in line.rest:
        return [(Collective(NETWORK, _size(*_ARRAY.search(line.shape).groups()[:2]), (), True), None)]
    if kind not in COLLECTIVES:
        return []
    group = _group(line.rest)
    arrays = [_size(k, d) for k, d, _ in _ARRAY.findall(line.shape)]
    started = line.opcode.endswith("-start")
    size = max(arrays) if started else sum(arrays)
    if kind == "reduce-scatter":
        size *= len(group)
    channel = re.search(r"channel_id=(\d+)", line.rest)
    return [(Collective(kind, size, group, started), channel and channel[1])]


def _group(text: str) -> tuple[int, ...]:
    """The first group of devices, of any of the forms that XLA writes; pairs of a permutation are one group.

    `{{0,1},{2,3}} → 0 1`, `[2,4]<=[8] → 0 1 2 3`, `mesh['x'=2,'y'=4] {'x'} → 0 4`
    """
    if match := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return tuple(int(n) for n in match[1].split(","))
    if match := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        grid = np.arange(int(match[1]) * int(match[2])).reshape([int(n) for n in match[3].split(",")])
        grid = grid.transpose([int(n) for n in match[4].split(",")]) if match[4] else grid
        return tuple(grid.reshape(int(match[1]), int(match[2]))[0].tolist())
    if match := re.search(r"replica_groups=mesh\[([^\]]*)\] ?(?:[^{]*)\{([^}]*)\}", text):
        axes = dict(re.findall(r"'(\w+)'=(\d+)", match[1]))
        grid = np.arange(math.prod(map(int, axes.values()))).reshape([int(n) for n in axes.values()])
        used = re.findall(r"'(\w+)'", match[2])
        return tuple(grid[tuple(slice(None) if name in used else 0 for name in axes)].reshape(-1).tolist())
    pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", text)
    return tuple(sorted({int(n) for n in re.findall(r"\d+", pairs[1])})) if pairs else ()
