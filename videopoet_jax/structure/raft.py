"""RAFT (Teed and Deng 2020): two pictures → the optical flow from the first to the second, in pixels, x then y.

Every pixel's feature is compared with every pixel's of the other picture, once. The flow starts at zero; a
convolutional GRU looks up the comparisons around where it points, and corrects it, several times.

    model = RAFT(**LARGE)
    flow = model.apply({"params": params}, first, second, updates=20)     [b h w 3] in [-1, 1] → [b h w 2]

Sources: the paper, sections 3.1 to 3.3 and appendix B; princeton-vl/RAFT, core/{raft,update,corr}.py; torchvision,
models/optical_flow/{raft,_utils}.py, whose `raft_large` and `raft_small` LARGE and SMALL are.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from videopoet_jax.structure.raft_encoder import Encoder, conv
from videopoet_jax.structure.resample import bilinear

FACTOR = 8  # pixels of a feature's side
LARGE: dict[str, Any] = {  # 5,257,536 parameters
    "feature_widths": (64, 64, 96, 128, 256),
    "context_widths": (64, 64, 96, 128, 256),
    "context_norm": "batch",
    "bottleneck": False,
    "levels": 4,
    "radius": 4,
    "correlation_widths": (256, 192),
    "flow_widths": (128, 64),
    "motion_width": 128,
    "hidden_width": 128,
    "gru_kernels": ((1, 5), (5, 1)),
    "head_width": 256,
    "mask_width": 256,
}
SMALL: dict[str, Any] = {  # 990,162
    "feature_widths": (32, 32, 64, 96, 128),
    "context_widths": (32, 32, 64, 96, 160),
    "context_norm": "none",
    "bottleneck": True,
    "levels": 4,
    "radius": 3,
    "correlation_widths": (96,),
    "flow_widths": (64, 32),
    "motion_width": 82,
    "hidden_width": 96,
    "gru_kernels": ((3, 3),),
    "head_width": 128,
    "mask_width": 0,
}

Pyramid = list[Float[Array, "b n _ _"]]
Carry = tuple[Float[Array, "b h w d"], Float[Array, "b h w 2"]]  # hidden state and flow


def correlation_pyramid(first: Float[Array, "b h w d"], second: Float[Array, "b h w d"], levels: int) -> Pyramid:
    """Products of all pairs of features over √d; each further level averages 2×2 of the second picture's positions."""
    b, h, w, d = first.shape
    volume = jnp.einsum("bnd,bhwd->bnhw", first.reshape(b, h * w, d), second) / jnp.sqrt(jnp.float32(d))
    pyramid = [volume]
    for _ in range(levels - 1):
        rows, columns = volume.shape[2] // 2, volume.shape[3] // 2  # an odd last one is dropped, as avg_pool2d does
        volume = volume[:, :, : 2 * rows, : 2 * columns].reshape(b, h * w, rows, 2, columns, 2).mean(axis=(3, 5))
        pyramid.append(volume)
    return pyramid


def look_up(pyramid: Pyramid, places: Float[Array, "b h w 2"], radius: int) -> Float[Array, "b h w f"]:
    """The comparisons around `places` (x, y in features), at every level (2·radius + 1)² of them, zero outside.

    Between positions they are interpolated. That is two small products with hat functions, max(0, 1 − distance), which
    accelerators do faster than they gather. Level by level, x before y:  (-r, -r) (-r, -r+1) … (r, r).
    """
    b, h, w, _ = places.shape
    around = jnp.arange(-radius, radius + 1, dtype=places.dtype)
    found = []
    for level, volume in enumerate(pyramid):
        centre = places.reshape(b, h * w, 2, 1) / 2**level + around
        across, down = (
            nn.relu(1 - jnp.abs(centre[:, :, axis, :, None] - jnp.arange(size)))
            for axis, size in ((0, volume.shape[3]), (1, volume.shape[2]))
        )
        rows = jnp.einsum("bnyh,bnhw->bnyw", down, volume)
        found.append(jnp.einsum("bnyw,bnxw->bnxy", rows, across).reshape(b, h, w, -1))
    return jnp.concatenate(found, axis=-1)


def convex_upsample(flow: Float[Array, "b h w 2"], mask: Float[Array, "b h w k"]) -> Float[Array, "b h2 w2 2"]:
    """Eight times larger: each pixel is a weighted mean of 3×3 coarse flows, the weights from `mask` by softmax.

    Mask channels are (neighbour, row, column): 9·8·8. Beyond the border the flow counts as zero, as in RAFT, so a
    constant flow stays constant only where all nine neighbours are inside or weigh nothing.
    """
    b, h, w, _ = flow.shape
    weights = jax.nn.softmax(mask.reshape(b, h, w, 9, FACTOR, FACTOR), axis=3)
    padded = jnp.pad(FACTOR * flow, ((0, 0), (1, 1), (1, 1), (0, 0)))
    neighbours = jnp.stack([padded[:, y : y + h, x : x + w] for y in range(3) for x in range(3)], axis=3)
    fine = jnp.einsum("bhwkij,bhwkc->bhiwjc", weights, neighbours)
    return fine.reshape(b, FACTOR * h, FACTOR * w, 2)


class MotionEncoder(nn.Module):
    """What was looked up and the flow so far → motion features; the last two are the flow itself."""

    correlation_widths: tuple[int, ...]
    flow_widths: tuple[int, int]
    width: int

    @nn.compact
    def __call__(self, flow: Float[Array, "b h w 2"], seen: Float[Array, "b h w f"]) -> Float[Array, "b h w d"]:
        for i, (width, kernel) in enumerate(zip(self.correlation_widths, (1, 3), strict=False), start=1):
            seen = nn.relu(conv(width, (kernel, kernel), f"correlation{i}")(seen))
        moved = flow
        for i, (width, kernel) in enumerate(zip(self.flow_widths, (7, 3), strict=True), start=1):
            moved = nn.relu(conv(width, (kernel, kernel), f"flow{i}")(moved))
        joined = nn.relu(conv(self.width - 2, (3, 3), "out")(jnp.concatenate([seen, moved], axis=-1)))
        return jnp.concatenate([joined, flow], axis=-1)


class ConvGRU(nn.Module):
    """A gated recurrent unit whose products are convolutions."""

    kernel_size: tuple[int, int]

    @nn.compact
    def __call__(self, hidden: Float[Array, "b h w d"], x: Float[Array, "b h w c"]) -> Float[Array, "b h w d"]:
        width, joined = hidden.shape[-1], jnp.concatenate([hidden, x], axis=-1)
        update = nn.sigmoid(conv(width, self.kernel_size, "update")(joined))
        reset = nn.sigmoid(conv(width, self.kernel_size, "reset")(joined))
        candidate = jnp.tanh(conv(width, self.kernel_size, "candidate")(jnp.concatenate([reset * hidden, x], axis=-1)))
        return (1 - update) * hidden + update * candidate


class Update(nn.Module):
    """One correction of the flow. Returns (carry, None), as nn.scan asks."""

    radius: int
    correlation_widths: tuple[int, ...]
    flow_widths: tuple[int, int]
    motion_width: int
    gru_kernels: tuple[tuple[int, int], ...]
    head_width: int

    @nn.compact
    def __call__(self, carry: Carry, context: Float[Array, "b h w c"], pyramid: Pyramid) -> tuple[Carry, None]:
        hidden, flow = carry
        seen = look_up(pyramid, flow + grid(flow), self.radius)
        motion = MotionEncoder(self.correlation_widths, self.flow_widths, self.motion_width, name="motion")
        x = jnp.concatenate([context, motion(flow, seen)], axis=-1)
        for i, kernel in enumerate(self.gru_kernels, start=1):
            hidden = ConvGRU(kernel, name=f"gru{i}")(hidden, x)
        inner = nn.relu(conv(self.head_width, (3, 3), "head1")(hidden))
        return (hidden, flow + conv(2, (3, 3), "head2")(inner)), None


def grid(flow: Float[Array, "b h w 2"]) -> Float[Array, "h w 2"]:
    """Each position's own x and y."""
    y, x = jnp.meshgrid(*(jnp.arange(size, dtype=flow.dtype) for size in flow.shape[1:3]), indexing="ij")
    return jnp.stack([x, y], axis=-1)


class RAFT(nn.Module):
    """See above. `mask_width` 0: no convex upsampling, the flow is enlarged between neighbours (RAFT-small)."""

    feature_widths: tuple[int, int, int, int, int]
    context_widths: tuple[int, int, int, int, int]  # the last: hidden state and context side by side
    context_norm: str
    bottleneck: bool
    levels: int
    radius: int
    correlation_widths: tuple[int, ...]
    flow_widths: tuple[int, int]
    motion_width: int
    hidden_width: int
    gru_kernels: tuple[tuple[int, int], ...]
    head_width: int
    mask_width: int

    @nn.compact
    def __call__(
        self, first: Float[Array, "b h w 3"], second: Float[Array, "b h w 3"], updates: int
    ) -> Float[Array, "b h w 2"]:
        b, h, w, _ = first.shape
        if h % FACTOR or w % FACTOR or min(h, w) < FACTOR * 2 ** (self.levels - 1):
            raise ValueError(
                f"{h}×{w} pixels: RAFT takes multiples of {FACTOR} from {FACTOR * 2 ** (self.levels - 1)} on; pad them."
            )
        encoder = Encoder(self.feature_widths, "instance", self.bottleneck, name="features")
        both = encoder(jnp.concatenate([first, second]))
        pyramid = correlation_pyramid(both[:b], both[b:], self.levels)
        context = Encoder(self.context_widths, self.context_norm, self.bottleneck, name="context")(first)
        hidden, context = jnp.tanh(context[..., : self.hidden_width]), nn.relu(context[..., self.hidden_width :])
        steps = nn.scan(
            Update, variable_broadcast="params", split_rngs={"params": False}, in_axes=nn.broadcast, length=updates
        )
        flow = jnp.zeros((*hidden.shape[:3], 2), first.dtype)
        correct = steps(
            self.radius, self.correlation_widths, self.flow_widths, self.motion_width, self.gru_kernels,
            self.head_width, name="update",
        )  # fmt: skip
        (hidden, flow), _ = correct((hidden, flow), context, pyramid)
        if not self.mask_width:
            return FACTOR * bilinear(flow, h, w, aligned=True)
        inner = nn.relu(conv(self.mask_width, (3, 3), "mask1")(hidden))
        # A quarter, as in RAFT: it balances gradients, and published weights are used to it.
        return convex_upsample(flow, 0.25 * conv(9 * FACTOR**2, (1, 1), "mask2")(inner))
