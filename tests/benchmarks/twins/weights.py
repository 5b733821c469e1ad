"""Our parameters, as the twins name and lay them out; a parameter that is left over or missing is an error.

Kernels: [t h w in out] → [out in t h w]; of a sound [t in out] → [out in t], transposed [in out t].
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from twins import magvit2, soundstream

Tree = Mapping[str, Any]
Named = Iterator[tuple[str, np.ndarray]]


def load(twin: nn.Module, named: Named) -> None:
    state = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in named}
    twin.load_state_dict(state, strict=True)


def conv(name: str, ours: Tree) -> Named:
    kernel = np.asarray(ours["kernel"])
    yield f"{name}.weight", np.moveaxis(kernel, (-1, -2), (0, 1))
    if "bias" in ours:
        yield f"{name}.bias", ours["bias"]


def norm(name: str, ours: Tree) -> Named:
    yield f"{name}.weight", ours["scale"]
    yield f"{name}.bias", ours["bias"]


def residual(name: str, ours: Tree) -> Named:
    for part in ("conv1", "conv2", *(["shortcut"] if "shortcut" in ours else [])):
        yield from conv(f"{name}.{part}", ours[part])
    for part in ("norm1", "norm2"):
        yield from norm(f"{name}.{part}", ours[part])


def upsample(name: str, ours: Tree, up: tuple[int, int, int]) -> Named:
    """Our channels are laid out (pt ph pw d), the twin's (d pt ph pw)."""
    blocks = int(np.prod(up))
    for part, value in conv(name, ours):
        value = np.asarray(value)
        yield part, value.reshape(blocks, -1, *value.shape[1:]).swapaxes(0, 1).reshape(value.shape)


def magvit2_encoder(ours: Tree) -> Named:
    names = ["conv_in"]
    for stage, blocks in enumerate((4, 4, 4, 8)):
        names += [f"stage{stage}_block{i}" for i in range(blocks)]
        names += [f"stage{stage}_down"] if stage < len(magvit2.DOWN) else []
    for i, name in enumerate(names):
        yield from (residual if "block" in name else conv)(f"encoder.body.{i}", ours[name])
    yield from norm("encoder.norm", ours["norm_out"])
    yield from conv("encoder.head", ours["conv_out"])


def magvit2_decoder(ours: Tree) -> Named:
    yield from conv("decoder.first", ours["conv_in"])
    for i in range(4):
        yield from residual(f"decoder.middle.{i}", ours[f"middle_block{i}"])
    for depth in range(4):
        stage = 3 - depth
        yield from conv(f"decoder.norms.{depth}.affine", ours[f"stage{stage}_norm"]["affine"])
        for i in range(4):
            yield from residual(f"decoder.stages.{depth}.{i}", ours[f"stage{stage}_block{i}"])
        if stage:
            yield from upsample(f"decoder.ups.{depth}.conv", ours[f"stage{stage}_up"], magvit2.DOWN[stage - 1])
    yield from norm("decoder.norm", ours["norm_out"])
    yield from conv("decoder.head", ours["conv_out"])


def magvit2_tokenizer(params: Tree) -> Named:
    yield from magvit2_encoder(params["encoder"])
    yield from magvit2_decoder(params["decoder"])


def magvit2_discriminator(params: Tree) -> Named:
    yield from conv("first", params["conv_in"])
    for stage in range(5):
        for part in ("conv1", "conv2", "shortcut"):
            yield from conv(f"stages.{stage}.{part}", params[f"stage{stage}_{part}"])
    yield from conv("last", params["conv_out"])
    for part in ("linear1", "linear2"):
        kernel = np.asarray(params[part]["kernel"])
        # Ours flattens (h w c), the twin (c h w): channels outermost, for the first linear layer.
        channels = np.shape(params["conv_out"]["bias"])[0] if part == "linear1" else kernel.shape[0]
        yield f"{part}.weight", kernel.reshape(-1, channels, kernel.shape[1]).swapaxes(0, 1).reshape(kernel.shape).T
        yield f"{part}.bias", params[part]["bias"]


def unit(name: str, ours: Tree) -> Named:
    for part in ("dilated", "pointwise"):
        yield from conv(f"{name}.{part}", ours[part])


def transposed(name: str, ours: Tree) -> Named:
    yield f"{name}.weight", np.moveaxis(np.asarray(ours["kernel"]), 0, -1)
    yield f"{name}.bias", ours["bias"]


def _sequence(name: str, twin: nn.Sequential, ours: Tree, order: list[str]) -> Named:
    """`order` names our layers as they stand in the twin's sequence, whose activations have no parameters."""
    places = [i for i, layer in enumerate(twin) if not isinstance(layer, nn.ELU)]
    for place, part in zip(places, order, strict=True):
        kind = unit if "unit" in part else transposed if part.endswith("up") else conv
        yield from kind(f"{name}.{place}", ours[part])


def soundstream_tokenizer(twin: soundstream.Tokenizer, params: Tree, embedding: np.ndarray) -> Named:
    units = range(len(soundstream.DILATIONS))
    blocks = range(len(soundstream.STRIDES))
    down = [[*(f"block{b}_unit{u}" for u in units), f"block{b}_down"] for b in blocks]
    up = [[f"block{b}_up", *(f"block{b}_unit{u}" for u in units)] for b in blocks]
    yield from _sequence("encoder", twin.encoder, params["encoder"], ["first", *sum(down, []), "last"])
    yield from _sequence("decoder", twin.decoder, params["decoder"], ["first", *sum(up, []), "last"])
    yield "quantizer.tables", embedding


def soundstream_discriminators(params: Tree) -> Named:
    for scale in range(3):
        net = params[f"waveform{scale}"]
        for i, part in enumerate(["first", *(f"grouped{i}" for i in range(4)), "next", "last"]):
            yield from conv(f"waveforms.{scale}.{i}", net[part])
    net = params["stft"]
    yield from conv("spectrum.first", net["first"])
    for block in range(6):
        for part in ("conv1", "conv2", "skip"):
            yield from conv(f"spectrum.blocks.{block}.{part}", net[f"block{block}"][part])
    channels = np.shape(net["block5"]["skip"]["bias"])[0]
    # Ours sees (frequency, channel) as one vector.
    yield "spectrum.last.weight", np.asarray(net["last"]["kernel"]).reshape(-1, channels).T[None, :, None]
    yield "spectrum.last.bias", net["last"]["bias"]
