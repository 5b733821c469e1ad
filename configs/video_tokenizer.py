"""Video tokenizers: `nano` (ships), `local` (your own clips), the image stage of each, `base`, `large`.

Sources: [fig] MAGVIT-v2's architecture figure; [author] L. Yu in vector-quantize-pytorch issue 88;
[O2] cofe-ai/O2-MAGVIT2. `base` is half as wide as `large`, which is the figure.
"""

from ml_collections import ConfigDict

VARIANTS = ("nano", "nano_image", "local", "local_image", "base", "large")


def get_config(arg: str = "nano") -> ConfigDict:
    """The config of one variant; per-stage entries run from pixels to latents."""
    if arg not in VARIANTS:
        raise ValueError(f"variant {arg!r}: unknown; use one of {', '.join(VARIANTS)}.")
    c = ConfigDict()
    c.model_type = "videopoet_video_tokenizer"
    c.seed = 0  # ours

    c.model = ConfigDict()
    c.model.patch = (1, 1, 1)  # [fig]: none
    c.model.strides = ((1, 2, 2), (2, 2, 2), (2, 2, 2))  # [fig]: 17×128×128 → 5×16×16
    c.model.code_bits = 18  # [fig]: 2^18 codes
    c.model.groups = 32  # GroupNorm's usual number; the figure gives none
    c.model.kernel_time = (3, 3, 3, 3)  # [fig]
    c.model.encoder_widths = (128, 256, 256, 512)  # [fig]
    c.model.encoder_blocks = (4, 4, 4, 8)  # [fig]
    c.model.decoder_widths = (128, 256, 256, 512)  # [fig]
    c.model.decoder_middle_blocks = 4  # [fig]
    c.model.decoder_blocks = (4, 4, 4, 4)  # [fig]
    c.model.upsample_kernel = 3  # [fig]
    c.model.remat = True  # ours: 370 M parameters at 17×128×128 do not fit otherwise

    c.data = ConfigDict()
    c.data.source = "folder"  # ours
    c.data.root = ""  # the folder of videos
    c.data.num_frames, c.data.height, c.data.width, c.data.fps = 17, 128, 128, 8.0  # VideoPoet
    c.data.sample_rate = 16_000  # VideoPoet
    c.data.levels, c.data.size = (1,), 0  # of moving_digits, unused for a folder
    c.data.zoom, c.data.mirror, c.data.tint = 1.25, True, 0.0  # ours, see data/augment.py

    c.loss = ConfigDict()
    c.loss.reconstruction = 5.0  # [O2]
    c.loss.l2, c.loss.l1 = 1.0, 0.0  # [author]: L2
    c.loss.foreground = 1.0  # ours: 1 is the plain mean
    c.loss.entropy = 0.1  # [author]
    c.loss.diversity = 1.0  # [author]: per-sample entropy minus the entropy of the mean, both with one weight
    c.loss.entropy_boost, c.loss.entropy_boost_steps = 3.0, 2000  # [O2]: ×3, decaying over the first 2,000 steps
    c.loss.commitment = 0.25  # [author]
    c.loss.inverse_temperature = 1.0  # ours
    c.loss.dtype = "bfloat16"  # ours: of compute; parameters stay float32

    c.train = ConfigDict()
    c.train.batch_size, c.train.steps = 256, 500_000  # ours
    c.train.optimizer, c.train.schedule = "adam", "cosine"  # [O2]; the cosine: ours
    c.train.learning_rate, c.train.warmup_steps = 1e-4, 5_000  # [O2]; warm-up's length: ours
    c.train.learning_rate_end, c.train.eps = 1e-6, 1e-8  # ours
    c.train.b1, c.train.b2 = 0.0, 0.99  # [O2]
    c.train.weight_decay, c.train.clip_norm = 0.0, 1.0  # ours
    c.train.ema_decay = 0.999  # [O2]

    if arg == "base":
        c.model.encoder_widths = c.model.decoder_widths = (64, 128, 128, 256)  # half of [fig]
        c.model.remat = False
    if arg in ("nano", "nano_image", "local", "local_image"):
        _small(c)
    if arg in ("local", "local_image"):
        c.model.strides = ((2, 2, 2), (2, 1, 1))  # stride 8 in space: 17×64×64 → 5×8×8
        c.data.source = "folder"
        c.data.zoom, c.data.mirror, c.data.tint = 1.5, True, 0.2
        c.loss.foreground = 1.0
        c.loss.diversity = 1.0  # no black background: every token has something to say
    if arg in ("nano_image", "local_image"):
        _image_stage(c)
    return c


def _small(c: ConfigDict) -> None:
    """64×64 on 2 cores; every number is ours."""
    c.model.patch = (1, 4, 4)  # the cheap path: no convolution at full resolution
    c.model.strides = ((2, 2, 2), (2, 2, 2))  # 17×64×64 → 5×4×4
    c.model.groups = 8
    # Time is mixed between the first and the last stage: the first is the dear one, the last holds most parameters.
    c.model.kernel_time = (1, 3, 1)
    c.model.encoder_widths, c.model.encoder_blocks = (32, 64, 128), (1, 1, 1)
    c.model.decoder_widths, c.model.decoder_blocks = (32, 64, 128), (1, 2, 2)
    c.model.decoder_middle_blocks = 0
    c.model.upsample_kernel = 1
    c.model.remat = False
    c.data.source, c.data.levels, c.data.size = "moving_digits", (1,), 100_000
    c.data.height, c.data.width = 64, 64
    c.data.zoom, c.data.mirror, c.data.tint = 1.0, False, 0.0  # a mirrored digit is none
    c.loss.foreground = 5.0  # most pixels are black
    # Most tokens of a black picture are black too, and should share a code: at the paper's weights 99 % of a batch's
    # codes were distinct, noise that a language model would have to learn.
    c.loss.entropy, c.loss.diversity, c.loss.entropy_boost = 0.02, 0.5, 1.0
    c.loss.commitment = 0.25
    c.loss.dtype = "float32"
    c.train.batch_size, c.train.steps = 8, 2_000
    c.train.optimizer = "muon"  # measured: Adam needs more than twice the steps to the same loss
    c.train.learning_rate, c.train.warmup_steps = 3e-3, 50
    c.train.learning_rate_end = 2e-5
    c.train.b1, c.train.b2 = 0.9, 0.99


def _image_stage(c: ConfigDict) -> None:
    """The same parameter tree with one tap in time, for one-frame clips; inflation.py makes it a video model."""
    c.model.kernel_time = (1, 1, 1)
    c.data.num_frames = 1
    c.train.batch_size, c.train.steps = 32, 3_000
    c.train.learning_rate, c.train.warmup_steps = 5e-3, 100
