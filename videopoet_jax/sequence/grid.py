"""How large a clip is: pixels, latents, tokens, audio frames, and the one clock that picture and sound share.

frames            0 | 1 2 3 4 | 5 6 7 8 | …      8 a second, 2,000 samples each
latents           0 |    1    |    2    | …      the first frame alone, then four frames each
audio frames    0…5 |  6…30   |  31…55  | …      320 samples (20 ms) each; floor(frames · 6.25)
"""

import dataclasses

from videopoet_jax.sequence.words import Words

FRAME_RATE = 8  # [VP] 17 frames are 2.125 s
SAMPLE_RATE = 16_000  # Not in the paper, which gives no rate; ours: with stride 320 it gives the paper's 106 frames
SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
SAMPLES_PER_AUDIO_FRAME = 320
TEMPORAL_STRIDE = 4  # [VP] frames per latent after the first
AUDIO_CODES = 1024  # [VP] codes of one RVQ level
DEFAULT_HEIGHT = 64  # ours: that of nano's clips


def latent_frames(frames: int) -> int:
    """`1 → 1, 5 → 2, 17 → 5, 41 → 11`; only 1 + 4·k frames have latents.

    Raises:
        ValueError: another number of frames.
    """
    if frames < 1 or (frames - 1) % TEMPORAL_STRIDE:
        nearest = max(1, 1 + (frames + 1) // TEMPORAL_STRIDE * TEMPORAL_STRIDE)
        raise ValueError(f"{frames} frames: need 1 + {TEMPORAL_STRIDE}·k; try {nearest}.")
    return 1 + (frames - 1) // TEMPORAL_STRIDE


def pixel_frames(latents: int) -> int:
    """`1 → 1, 2 → 5, 5 → 17`, and no latents are no frames."""
    return 0 if latents == 0 else 1 + TEMPORAL_STRIDE * (latents - 1)


def audio_frames(frames: int) -> int:
    """Whole audio frames in `frames` frames of picture: `1 → 6, 5 → 31, 17 → 106`."""
    return frames * SAMPLES_PER_FRAME // SAMPLES_PER_AUDIO_FRAME


def samples(frames: int) -> int:
    """Audio samples of `frames` frames of picture: `17 → 34000` (its 106 audio frames are 33,920 of them)."""
    return frames * SAMPLES_PER_FRAME


def latent_start(latent: int) -> int:
    """When a latent begins, in audio frames of 20 ms: `0 → 0, 1 → 6, 2 → 31, 3 → 56, 4 → 81`."""
    return audio_frames(pixel_frames(latent))


def working_size(
    shown: tuple[int, int], stride: tuple[int, int], *, height: int | None = None, width: int | None = None
) -> tuple[int, int]:
    """The height and width, multiples of a tokenizer's stride, at which a video of size `shown` is worked on.

    A side that is asked for becomes the nearest multiple, of two that are as near the larger; one that is not keeps the
    aspect, to the nearest multiple; if neither is, the height is 64. (`data.media.fit` then scales the picture until it
    covers that size and cuts out its middle.)

        720×1280, stride 16    nothing asked → 64×112    height 100 → 96×176    width 64 → 32×64    both 64 → 64×64
        64×64, stride 16       height 23 → 16×16         height 24 → 32×32      height 40 → 48×48

    Raises:
        ValueError: a side below the stride.
    """
    for name, size, step in (("height", height, stride[0]), ("width", width, stride[1])):
        if size is not None and size < step:
            raise ValueError(f"{name} {size}: the tokenizer works on multiples of {step}; give at least that.")
    if width is None:
        rows = _nearest(height or DEFAULT_HEIGHT, stride[0])
        columns = _nearest(rows * stride[0] * shown[1], stride[1] * shown[0])
    else:
        columns = _nearest(width, stride[1])
        rows = _nearest(height, stride[0]) if height else _nearest(columns * stride[1] * shown[0], stride[0] * shown[1])
    return rows * stride[0], columns * stride[1]


def _nearest(size: int, step: int) -> int:
    """How many steps are nearest to a size, at least one, of two as near the larger: `8 23 24 40 / 16 → 1 1 2 3`"""
    return max(1, (2 * size + step) // (2 * step))


@dataclasses.dataclass(frozen=True)
class Grid:
    """The sizes of one clip.

    `Grid(frames=17, height=128, width=128, spatial_stride=8, audio_levels=4)` has latents (5, 16, 16), which are
    1,280 tokens, and 106 audio frames × 4 levels, which are 424.

    Attributes:
        spatial_stride: pixels of one latent's side.
        audio_levels: RVQ levels of the sound; 0 for a silent clip.
        words: how tokens hold the bits of a latent frame; None: a token is a code.
    """

    frames: int
    height: int
    width: int
    spatial_stride: int
    audio_levels: int
    words: Words | None = None

    def __post_init__(self):
        latent_frames(self.frames)
        for name, size in (("height", self.height), ("width", self.width)):
            if size < 1 or size % self.spatial_stride:
                nearest = max(1, size // self.spatial_stride) * self.spatial_stride
                raise ValueError(f"{name} {size}: need a multiple of the stride {self.spatial_stride}; try {nearest}.")
        if self.audio_levels < 0:
            raise ValueError(f"audio_levels {self.audio_levels}: must be 0 (silent) or more.")

    @property
    def latents(self) -> tuple[int, int, int]:
        """Frames, height, width of the latent grid."""
        return latent_frames(self.frames), self.height // self.spatial_stride, self.width // self.spatial_stride

    @property
    def tokens_per_latent(self) -> int:
        codes = self.latents[1] * self.latents[2]
        return self.words.count(codes) if self.words else codes

    @property
    def video_tokens(self) -> int:
        return self.latents[0] * self.tokens_per_latent

    @property
    def audio_frames(self) -> int:
        return audio_frames(self.frames) if self.audio_levels else 0

    @property
    def audio_tokens(self) -> int:
        return self.audio_frames * self.audio_levels
