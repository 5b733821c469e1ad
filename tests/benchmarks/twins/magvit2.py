"""MAGVIT-v2's video tokenizer in PyTorch: "Language Model Beats Diffusion" (Yu et al., ICLR 2024), architecture figure.

Clips are [b c t h w]. What the figure leaves open is chosen as in our model: GroupNorm by the statistics
of each frame; AdaGN's scale and bias a linear map of the code above each position (x·(1 + γ) + β); an upsampling in
time drops its first frame; 3×3×3 kernels before every depth-to-space.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPSILON = 1e-6
DOWN = ((1, 2, 2), (2, 2, 2), (2, 2, 2))


class Conv(nn.Conv3d):
    """Causal in time: the frames before the first are zeros, and there are none behind the last."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: tuple[int, int, int] = (1, 1, 1)):
        super().__init__(c_in, c_out, kernel, stride, padding=(0, kernel // 2, kernel // 2))

    def forward(self, x: Tensor) -> Tensor:
        before = self.kernel_size[0] - 1
        return super().forward(F.pad(x, (0, 0, 0, 0, before, 0)) if before else x)


def frame_norm(x: Tensor, groups: int, scale: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    """Group normalisation of every frame by itself: frames go into the batch."""
    b, c, t, h, w = x.shape
    frames = x.transpose(1, 2).reshape(b * t, c, h, w)
    frames = F.group_norm(frames, groups, scale, bias, EPSILON)
    return frames.reshape(b, t, c, h, w).transpose(1, 2)


class Norm(nn.Module):
    def __init__(self, channels: int, groups: int):
        super().__init__()
        self.groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return frame_norm(x, self.groups, self.weight, self.bias)


class AdaNorm(nn.Module):
    """Normalisation whose scale and bias come from the code above each position, `up` times finer."""

    def __init__(self, channels: int, groups: int, bits: int, up: tuple[int, int, int]):
        super().__init__()
        self.groups, self.up, self.affine = groups, up, Conv(bits, 2 * channels, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        affine = F.interpolate(self.affine(codes), scale_factor=tuple(map(float, self.up)), mode="nearest")
        scale, bias = affine[:, :, self.up[0] - 1 :].chunk(2, dim=1)
        return torch.addcmul(bias, frame_norm(x, self.groups), 1 + scale)


class Residual(nn.Module):
    def __init__(self, c_in: int, c_out: int, groups: int):
        super().__init__()
        self.norm1, self.conv1 = Norm(c_in, groups), Conv(c_in, c_out)
        self.norm2, self.conv2 = Norm(c_out, groups), Conv(c_out, c_out)
        self.shortcut = Conv(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class Upsample(nn.Module):
    """Convolution to more channels, which become depth and space, the channel index outermost as in pixel_shuffle."""

    def __init__(self, channels: int, up: tuple[int, int, int]):
        super().__init__()
        self.up, self.conv = up, Conv(channels, channels * up[0] * up[1] * up[2])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        (b, _, t, h, w), (pt, ph, pw) = x.shape, self.up
        x = x.view(b, -1, pt, ph, pw, t, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return x.reshape(b, -1, t * pt, h * ph, w * pw)[:, :, pt - 1 :]


class Encoder(nn.Module):
    """Widths w, 2w, 2w, 4w; 4 + 4 + 4 + 8 residual blocks; a strided convolution between two of the four stages."""

    def __init__(self, width: int, bits: int, groups: int):
        super().__init__()
        layers: list[nn.Module] = [Conv(3, width)]
        channels = width
        for stage, (times, blocks) in enumerate([(1, 4), (2, 4), (2, 4), (4, 8)]):
            for _ in range(blocks):
                layers.append(Residual(channels, times * width, groups))
                channels = times * width
            if stage < len(DOWN):
                layers.append(Conv(channels, channels, 3, DOWN[stage]))
        self.body = nn.Sequential(*layers)
        self.norm, self.head = Norm(channels, groups), Conv(channels, bits, 1)

    def forward(self, video: Tensor) -> Tensor:
        return self.head(F.silu(self.norm(self.body(video))))


class Decoder(nn.Module):
    """The encoder backwards, with AdaGN at the head of each stage and depth-to-space at its end."""

    def __init__(self, width: int, bits: int, groups: int):
        super().__init__()
        channels = 4 * width
        self.first = Conv(bits, channels)
        self.middle = nn.Sequential(*(Residual(channels, channels, groups) for _ in range(4)))
        self.norms, self.stages, self.ups = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        factor = (1, 1, 1)
        for times, up in zip((4, 2, 2, 1), (*reversed(DOWN), None), strict=True):
            self.norms.append(AdaNorm(channels, groups, bits, factor))
            blocks = []
            for _ in range(4):
                blocks.append(Residual(channels, times * width, groups))
                channels = times * width
            self.stages.append(nn.Sequential(*blocks))
            if up:
                self.ups.append(Upsample(channels, up))
                factor = tuple(f * u for f, u in zip(factor, up, strict=True))
        self.norm, self.head = Norm(channels, groups), Conv(channels, 3)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.middle(self.first(codes))
        for i, (norm, stage) in enumerate(zip(self.norms, self.stages, strict=True)):
            x = stage(norm(x, codes))
            x = self.ups[i](x) if i < len(self.ups) else x
        return self.head(F.silu(self.norm(x)))


def indices(z: Tensor) -> Tensor:
    """LFQ: z [b k t h w] → Σ 2^i·[z_i > 0]."""
    weights = 2 ** torch.arange(z.shape[1], device=z.device)
    return ((z > 0) * weights.view(1, -1, 1, 1, 1)).sum(dim=1)


class Tokenizer(nn.Module):
    def __init__(self, width: int, bits: int = 18, groups: int = 32):
        super().__init__()
        self.encoder, self.decoder = Encoder(width, bits, groups), Decoder(width, bits, groups)

    def forward(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """(video again, latents), the signs passed straight through."""
        z = self.encoder(video)
        codes = torch.where(z > 0, 1.0, -1.0)
        return self.decoder(z + (codes - z).detach()), z


def blur_pool(x: Tensor) -> Tensor:
    """Weights 1 2 1 in every direction, then every second position: the mean of neighbours, twice."""
    x = F.avg_pool3d(F.pad(x, (1,) * 6, mode="replicate"), 2, stride=1)
    return F.avg_pool3d(x, 2, stride=2)


class DownBlock(nn.Module):
    """ResBlockDown of MAGVIT's figure, in the order of StyleGAN 2: both ways are blurred and halved."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(c_in, c_in, 3, padding=1), nn.Conv3d(c_in, c_out, 3, padding=1)
        self.shortcut = nn.Conv3d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = blur_pool(F.leaky_relu(self.conv1(x), 0.2))
        y = F.leaky_relu(self.conv2(y), 0.2)
        return (self.shortcut(blur_pool(x)) + y) * 0.5**0.5


class Discriminator(nn.Module):
    """3 → 128, five halvings to 256, 512, 512, 512, 512; `positions` pixels are left of a frame."""

    def __init__(self, width: int, positions: int):
        super().__init__()
        self.first = nn.Conv3d(3, width, 3, padding=1)
        widths = [width * times for times in (1, 2, 4, 4, 4, 4)]
        self.stages = nn.Sequential(*(DownBlock(*pair) for pair in zip(widths, widths[1:], strict=False)))
        self.last = nn.Conv3d(widths[-1], widths[-1], 3, padding=1)
        self.linear1, self.linear2 = nn.Linear(widths[-1] * positions, widths[-1]), nn.Linear(widths[-1], 1)

    def forward(self, video: Tensor) -> Tensor:
        x = self.stages(F.leaky_relu(self.first(video), 0.2))
        x = F.leaky_relu(self.last(x), 0.2).mean(dim=2).flatten(1)
        return self.linear2(F.leaky_relu(self.linear1(x), 0.2))[:, 0]
