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


class WaveformNet(nn.Sequential):
    """A discriminator as MelGAN's: plain, four grouped with stride 4, two plain; LeakyReLU 0.2 between them."""

    def __init__(self):
        layers: list[nn.Module] = [Conv(1, 16, 15)]
        for c_in, c_out in ((16, 64), (64, 256), (256, 1024), (1024, 1024)):
            layers.append(Conv(c_in, c_out, 41, 4, groups=c_in // 4))
        super().__init__(*layers, Conv(1024, 1024, 5), Conv(1024, 1, 3))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        """[b s] → the activations of every layer; the last are the logits [b 1 n]."""
        seen = [waveform[:, None]]
        for i, layer in enumerate(self):
            x = layer(seen[-1])
            seen.append(F.leaky_relu(x, 0.2) if i < len(self) - 1 else x)
        return seen[1:]


class Conv2d(nn.Conv2d):
    """Centred; with an even kernel the odd zero stands behind."""

    def forward(self, x: Tensor) -> Tensor:
        (kh, kw), around = self.kernel_size, []
        for k in (kw, kh):
            around += [(k - 1) // 2, k // 2]
        return super().forward(F.pad(x, around))


class SpectrumBlock(nn.Module):
    """Two convolutions, the second strided, beside a strided 1×1."""

    def __init__(self, c_in: int, c_out: int, stride: tuple[int, int]):
        super().__init__()
        self.conv1 = Conv2d(c_in, c_in, 3)
        self.conv2 = Conv2d(c_in, c_out, (stride[0] + 2, stride[1] + 2), stride)
        self.skip = Conv2d(c_in, c_out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv2(F.leaky_relu(self.conv1(x), 0.2)) + self.skip(x), 0.2)


class SpectrumNet(nn.Module):
    """A discriminator of the complex STFT [b 2 time frequency], window 1,024, hop 256, without the highest bin."""

    def __init__(self):
        super().__init__()
        widths = (32, 64, 128, 128, 256, 256, 512)
        self.first = Conv2d(2, widths[0], 7)
        strides = ((1, 2), (2, 2)) * 3
        self.blocks = nn.ModuleList(map(SpectrumBlock, widths[:-1], widths[1:], strides))
        self.last = nn.Conv2d(widths[-1], 1, (1, 512 // 2**6))

    def forward(self, waveform: Tensor) -> list[Tensor]:
        samples, hann = waveform.shape[1], torch.hann_window(1024)
        padded = F.pad(waveform, (768, -samples % 256 + 768))
        spectrum = torch.stft(padded, 1024, 256, window=hann, center=False, return_complex=True)[:, :512]
        x = torch.view_as_real(spectrum).permute(0, 3, 2, 1) / hann.square().sum().sqrt()
        seen = [F.leaky_relu(self.first(x), 0.2)]
        for block in self.blocks:
            seen.append(block(seen[-1]))
        return [*seen, self.last(seen[-1])[..., 0]]


class Discriminators(nn.Module):
    """Three nets on the waveform at 1, ½ and ¼ of the rate, one on the STFT."""

    def __init__(self):
        super().__init__()
        self.waveforms, self.spectrum = nn.ModuleList(WaveformNet() for _ in range(3)), SpectrumNet()

    def forward(self, waveform: Tensor) -> list[list[Tensor]]:
        seen, sound = [], waveform
        for net in self.waveforms:
            seen.append(net(sound))
            sound = F.avg_pool1d(F.pad(sound, (1, 1 + sound.shape[1] % 2)), 4, 2)
        return [*seen, self.spectrum(waveform)]
