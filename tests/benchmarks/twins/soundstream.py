"""SoundStream in PyTorch (Zeghidour et al., 2021): encoder, residual quantizer, decoder; sound is [b c s].

Causal throughout; ELU, no normalisation. Kernels as public descriptions of its figure have them: 7 outermost and in
the dilated half of a residual unit, 1 in the other half, twice the stride where the rate changes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES, DILATIONS = (2, 4, 5, 8), (1, 3, 9)


class Conv(nn.Conv1d):
    """Pads the past so that every output sees its own stride's samples and what precedes them."""

    def forward(self, x: Tensor) -> Tensor:
        before = (self.kernel_size[0] - 1) * self.dilation[0] + 1 - self.stride[0]
        return super().forward(F.pad(x, (before, 0)))


class ConvTranspose(nn.ConvTranspose1d):
    """What reaches beyond the last input's own samples is cut off."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[..., : x.shape[-1] * self.stride[0]]


class Unit(nn.Module):
    def __init__(self, channels: int, dilation: int):
        super().__init__()
        self.dilated, self.pointwise = Conv(channels, channels, 7, dilation=dilation), Conv(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(F.elu(self.dilated(F.elu(x))))


class Encoder(nn.Sequential):
    def __init__(self, channels: int, dim: int):
        layers: list[nn.Module] = [Conv(1, channels, 7)]
        for stride in STRIDES:
            layers += [Unit(channels, d) for d in DILATIONS]
            layers += [nn.ELU(), Conv(channels, 2 * channels, 2 * stride, stride)]
            channels *= 2
        super().__init__(*layers, nn.ELU(), Conv(channels, dim, 3))


class Decoder(nn.Sequential):
    def __init__(self, channels: int, dim: int):
        channels *= 2 ** len(STRIDES)
        layers: list[nn.Module] = [Conv(dim, channels, 7)]
        for stride in reversed(STRIDES):
            layers += [nn.ELU(), ConvTranspose(channels, channels // 2, 2 * stride, stride)]
            channels //= 2
            layers += [Unit(channels, d) for d in DILATIONS]
        super().__init__(*layers, nn.ELU(), Conv(channels, 1, 7))


class Quantizer(nn.Module):
    """Residual vector quantizer: each level names the entry nearest to what the levels before it left."""

    def __init__(self, levels: int, size: int, dim: int):
        super().__init__()
        self.tables = nn.Parameter(torch.zeros(levels, size, dim), requires_grad=False)

    def encode(self, z: Tensor) -> Tensor:
        """[n d] → [n q]: the plain way, one argmin of distances a level."""
        rest, codes = z, []
        for table in self.tables:
            distance = (table**2).sum(dim=1) - 2 * rest @ table.T
            codes.append(distance.argmin(dim=1))
            rest = rest - table[codes[-1]]
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """[n q] → [n d]."""
        return sum(F.embedding(codes[:, level], table) for level, table in enumerate(self.tables))


class Tokenizer(nn.Module):
    def __init__(self, channels: int, dim: int, levels: int = 4, size: int = 1024):
        super().__init__()
        self.encoder, self.decoder = Encoder(channels, dim), Decoder(channels, dim)
        self.quantizer = Quantizer(levels, size, dim)

    def encode(self, waveform: Tensor) -> Tensor:
        """[b s] → codes [b f q]."""
        z = self.encoder(waveform[:, None]).transpose(1, 2)
        return self.quantizer.encode(z.reshape(-1, z.shape[-1])).view(*z.shape[:2], -1)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [b f q] → [b s]."""
        z = self.quantizer.decode(codes.reshape(-1, codes.shape[-1])).view(*codes.shape[:2], -1)
        return self.decoder(z.transpose(1, 2))[:, 0]
