"""DPT (Ranftl et al. 2021), which MiDaS v3 is: a picture → how near each pixel is, up to an unknown scale and shift.

A vision transformer whose tokens, after four of its layers, are put together to pictures again, at a quarter to a
thirty-second of the size; convolutions fuse them from coarse to fine.

    model = DPT(**LARGE)
    near = model.apply({"params": params}, pictures)     [b h w 3] in [-1, 1], sides multiples of 32  →  [b h w], ≥ 0

Sources: the paper, section 3 and its supplement; isl-org/DPT, dpt/{vit,blocks,models}.py; transformers,
models/dpt/modeling_dpt.py, whose DPTForDepthEstimation this computes. Pictures need not be square here, as in the
authors' code: positions are interpolated.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from videopoet_jax.layers.conv import Conv2D
from videopoet_jax.structure.dpt_resnet import ResNet
from videopoet_jax.structure.resample import bilinear

HEAD_WIDTH = 32  # of the head's last layers, in every DPT
_SPREADS = (4, 2, 1)  # how much the first three pictures of tokens grow; the fourth is halved

LARGE: dict[str, Any] = {  # Intel/dpt-large
    "patch": 16,
    "side": 24,
    "width": 1024,
    "depth": 24,
    "heads": 16,
    "mlp_width": 4096,
    "epsilon": 1e-12,
    "taps": (5, 11, 17, 23),
    "neck_widths": (256, 512, 1024, 1024),
    "fusion_width": 256,
    "resnet_stem": 0,
    "resnet_widths": (),
    "resnet_depths": (),
    "resnet_groups": 0,
}
HYBRID: dict[str, Any] = {  # Intel/dpt-hybrid-midas
    "patch": 16,
    "side": 24,
    "width": 768,
    "depth": 12,
    "heads": 12,
    "mlp_width": 3072,
    "epsilon": 1e-12,
    "taps": (8, 11),
    "neck_widths": (256, 512, 768, 768),
    "fusion_width": 256,
    "resnet_stem": 64,
    "resnet_widths": (256, 512, 1024),
    "resnet_depths": (3, 4, 9),
    "resnet_groups": 32,
}


def conv3(features: int, name: str, *, stride: int = 1, use_bias: bool = True) -> Conv2D:
    return Conv2D(features, (3, 3), (stride, stride), use_bias=use_bias, name=name)


def to_patches(x: Float[Array, "b h w 3"], patch: int) -> Float[Array, "b h2 w2 d"]:
    """Squares of pixels laid out as (row, column, colour)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // patch, w // patch, patch * patch * c)


class Layer(nn.Module):
    """Pre-norm self-attention of all tokens, pre-norm MLP with the exact GELU."""

    heads: int
    mlp_width: int
    epsilon: float

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        b, n, d = x.shape
        y = self._norm("norm1")(x)
        query, key, value = (
            nn.Dense(d, name=name)(y).reshape(b, n, self.heads, d // self.heads) for name in ("query", "key", "value")
        )
        x = x + nn.Dense(d, name="out")(jax.nn.dot_product_attention(query, key, value).reshape(b, n, d))
        y = jax.nn.gelu(nn.Dense(self.mlp_width, name="up")(self._norm("norm2")(x)), approximate=False)
        return x + nn.Dense(d, name="down")(y)

    def _norm(self, name: str) -> nn.LayerNorm:
        return nn.LayerNorm(self.epsilon, use_fast_variance=False, name=name)


class Spread(nn.Module):
    """Each position becomes k×k: a transposed convolution whose kernels do not overlap.  [b h w c] → [b k·h k·w c]"""

    times: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        (b, h, w, c), k = x.shape, self.times
        kernel = self.param("spread", nn.initializers.lecun_normal(), (c, k, k, c), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (c,), jnp.float32)
        return jnp.einsum("bhwc,cijd->bhiwjd", x, kernel).reshape(b, k * h, k * w, c) + bias


class Reassemble(nn.Module):
    """Tokens and the class token → a picture of features, `spread` times as large as the patches; 0 halves it."""

    features: int
    spread: int

    @nn.compact
    def __call__(self, tokens: Float[Array, "b h w d"], whole: Float[Array, "b d"]) -> Float[Array, "b h2 w2 f"]:
        both = jnp.concatenate([tokens, jnp.broadcast_to(whole[:, None, None], tokens.shape)], axis=-1)
        x = jax.nn.gelu(nn.Dense(tokens.shape[-1], name="readout")(both), approximate=False)
        x = nn.Dense(self.features, name="project")(x)
        if self.spread > 1:
            return Spread(self.spread, name="resize")(x)
        return x if self.spread else conv3(self.features, "resize", stride=2)(x)


class Residual(nn.Module):
    """Two convolutions, each of what is above zero of its input, added to what came in."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"]) -> Float[Array, "b h w f"]:
        y = conv3(x.shape[-1], "conv1")(nn.relu(x))
        return x + conv3(x.shape[-1], "conv2")(nn.relu(y))


class Fusion(nn.Module):
    """The picture so far plus a finer one, twice as large."""

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w f"], finer: Float[Array, "b h w f"] | None = None
    ) -> Float[Array, "b h2 w2 f"]:
        if finer is not None:
            x = x + Residual(name="residual1")(finer)
        x = Residual(name="residual2")(x)
        x = bilinear(x, 2 * x.shape[1], 2 * x.shape[2], aligned=True)
        return nn.Dense(x.shape[-1], name="project")(x)


class DPT(nn.Module):
    """See above. Each patch becomes 16×16 values, whatever `patch`; 16 is that of both published networks.

    `side`: patches along a side of the pictures that positions were learnt on.

    `taps`: the layers whose tokens are read. With a `resnet_stem` (DPT-Hybrid) a ResNet comes first: tokens are made
    from its third stage, its first two stand in for the two finest pictures of tokens, and there are two taps.
    """

    patch: int
    side: int
    width: int
    depth: int
    heads: int
    mlp_width: int
    epsilon: float
    taps: tuple[int, ...]
    neck_widths: tuple[int, int, int, int]
    fusion_width: int
    resnet_stem: int
    resnet_widths: tuple[int, ...]
    resnet_depths: tuple[int, ...]
    resnet_groups: int

    @nn.compact
    def __call__(self, pictures: Float[Array, "b h w 3"]) -> Float[Array, "b h2 w2"]:
        h, w = pictures.shape[1:3]
        if h % (2 * self.patch) or w % (2 * self.patch):
            raise ValueError(f"{h}×{w} pixels: DPT takes multiples of {2 * self.patch}; resize them.")
        if self.resnet_stem:
            net = ResNet(self.resnet_stem, self.resnet_widths, self.resnet_depths, self.resnet_groups, name="resnet")
            stages = net(pictures)
            levels, patches = stages[:2], stages[2]
        else:
            levels, patches = [], to_patches(pictures, self.patch)
        tokens = self._transformer(nn.Dense(self.width, name="patches")(patches))
        for i, (spatial, whole) in enumerate(tokens, start=len(levels)):
            spread = _SPREADS[i] if i < len(_SPREADS) else 0
            levels.append(Reassemble(self.neck_widths[i], spread, name=f"reassemble{i}")(spatial, whole))
        levels = [conv3(self.fusion_width, f"level{i}", use_bias=False)(x) for i, x in enumerate(levels)]
        x = Fusion(name="fusion0")(levels[-1])
        for i, finer in enumerate(levels[-2::-1], start=1):
            x = Fusion(name=f"fusion{i}")(x, finer)
        x = conv3(self.fusion_width // 2, "head1")(x)
        x = bilinear(x, 2 * x.shape[1], 2 * x.shape[2], aligned=True)
        x = nn.relu(conv3(HEAD_WIDTH, "head2")(x))
        return nn.relu(nn.Dense(1, name="head3")(x))[..., 0]

    def _transformer(self, x: Float[Array, "b h w d"]) -> list[tuple[Float[Array, "b h w d"], Float[Array, "b d"]]]:
        """The tokens behind each tap, and the class token beside them."""
        (b, h, w, d), n = x.shape, self.side**2
        places = self.param("positions", nn.initializers.normal(0.02), (1, 1 + n, d), jnp.float32)
        first = self.param("class_token", nn.initializers.normal(0.02), (1, 1, d), jnp.float32)
        grid = bilinear(places[:, 1:].reshape(1, self.side, self.side, d), h, w, aligned=False)
        x = (x + grid).reshape(b, h * w, d)
        x = jnp.concatenate([jnp.broadcast_to(first + places[:, :1], (b, 1, d)), x], axis=1)
        taken = []
        for i in range(self.depth):
            x = Layer(self.heads, self.mlp_width, self.epsilon, name=f"layer{i}")(x)
            if i in self.taps:
                taken.append((x[:, 1:].reshape(b, h, w, d), x[:, 0]))
        return taken
