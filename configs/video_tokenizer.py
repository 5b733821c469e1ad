"""Video tokenizers: `nano` (ships), `local` (your own clips), `base`, `large`, `huge`, and the image stage of each.

Sources: [fig] MAGVIT-v2's architecture figure; [author] L. Yu in vector-quantize-pytorch issue 88;
[O2] cofe-ai/O2-MAGVIT2; [v1] google-research/magvit. `base` is half as wide as `large`, which is the figure; `huge` is
half as wide again and has 1 B parameters; `fast` folds pixels into channels first. `magvit1` and `per_frame` are what
came before: MAGVIT's 3-D VQ that is not causal, and a tokenizer of single pictures. `study` is a larger `local`, for
two cores too, to compare parts with each other (tests/benchmarks/tokenizer_study.py).
"""

from ml_collections import ConfigDict

VIDEO = ("nano", "local", "base", "large", "huge", "fast", "study", "magvit1", "per_frame")
VARIANTS = (*VIDEO, *(f"{name}_image" for name in VIDEO))


def get_config(arg: str = "nano") -> ConfigDict:
    """The config of one variant; per-stage entries run from pixels to latents."""
    if arg not in VARIANTS:
        raise ValueError(f"variant {arg!r}: unknown; use one of {', '.join(VARIANTS)}.")
    arg, image = arg.removesuffix("_image"), arg.endswith("_image")
    c = ConfigDict()
    c.model_type = "videopoet_video_tokenizer"
    c.seed = 0  # ours
    c.mesh = ConfigDict(dict(data=-1, fsdp=1, tensor=1, sequence=1))  # ours; -1: the rest

    c.model = ConfigDict()
    c.model.patch = (1, 1, 1)  # [fig]: none
    c.model.strides = ((1, 2, 2), (2, 2, 2), (2, 2, 2))  # [fig]: 17×128×128 → 5×16×16
    c.model.quantizer = ConfigDict({"name": "lfq", "bits": 18})  # [fig]: 2^18 codes
    c.model.causal, c.model.pooled, c.model.adaptive = True, False, True  # [fig]
    c.model.groups = 32  # GroupNorm's usual number; the figure gives none
    c.model.kernel_time = (3, 3, 3, 3)  # [fig]
    c.model.encoder_widths = (128, 256, 256, 512)  # [fig]
    c.model.encoder_blocks = (4, 4, 4, 8)  # [fig]
    c.model.decoder_widths = (128, 256, 256, 512)  # [fig]
    c.model.decoder_middle_blocks = 4  # [fig]
    c.model.decoder_blocks = (4, 4, 4, 4)  # [fig]
    c.model.upsample_kernel = 3  # [fig]
    c.model.remat = True  # ours: a fifth of what `base` keeps of a clip without (tests/benchmarks/kept_memory.py)

    c.data = ConfigDict()
    c.data.source = "folder"  # ours
    c.data.root = ""  # the folder of videos
    c.data.num_frames, c.data.height, c.data.width, c.data.fps = 17, 128, 128, 8.0  # VideoPoet
    c.data.sample_rate = 16_000  # VideoPoet
    c.data.levels, c.data.size = (1,), 0  # of moving_digits, unused for a folder
    c.data.zoom, c.data.widest, c.data.mirror, c.data.tint = 1.25, 1.0, True, 0.0  # ours, see data/augment.py
    # Ours: of the steps, on single frames of the same clips; a step holds so many for each clip of a batch.
    c.data.image_share, c.data.images_per_clip = 0.2, 4

    c.loss = ConfigDict()
    c.loss.reconstruction = 5.0  # [O2]
    c.loss.l2, c.loss.l1 = 1.0, 0.0  # [author]: L2
    c.loss.foreground = 1.0  # ours: 1 is the plain mean
    c.loss.entropy = 0.1  # [author]
    c.loss.diversity = 1.0  # [author]: per-sample entropy minus the entropy of the mean, both with one weight
    c.loss.entropy_boost, c.loss.entropy_boost_steps = 3.0, 2000  # [O2]: ×3, decaying over the first 2,000 steps
    c.loss.commitment, c.loss.codebook = 0.25, 0.0  # [author]; LFQ has no codebook to pull
    # [O2], [v1]: 0.1, of another network's features. LPIPS needs the weights of launch/fetch_weights.sh
    c.loss.perceptual, c.loss.perceptual_frames, c.loss.perceptual_network = 0.1, 4, "weights/lpips_vgg16"
    c.loss.inverse_temperature = 1.0  # ours
    c.loss.dtype = "bfloat16"  # ours: of compute; parameters stay float32

    c.adversary = ConfigDict()
    c.adversary.weight = 0.1  # [O2], [v1]; 0 is none
    c.adversary.start = 20_000  # ours: late, or it wins before there is a picture
    c.adversary.kind = "non-saturating"  # [O2]
    c.adversary.width, c.adversary.multipliers = 128, (2, 4, 4, 4, 4)  # [fig]
    c.adversary.r1, c.adversary.r1_every = 10.0, 20  # [O2]
    c.adversary.lecam, c.adversary.lecam_decay = 0.001, 0.999  # [v1]; the decay: ours
    c.adversary.optimizer, c.adversary.b1, c.adversary.b2 = "adam", 0.0, 0.99  # [O2]
    c.adversary.learning_rate = 8e-5  # [O2]: 0.8 of the tokenizer's

    c.train = ConfigDict()
    c.train.batch_size, c.train.steps = 256, 500_000  # ours
    c.train.optimizer, c.train.schedule = "adam", "cosine"  # [O2]; the cosine: ours
    c.train.learning_rate, c.train.warmup_steps = 1e-4, 5_000  # [O2]; warm-up's length: ours
    c.train.learning_rate_end, c.train.eps = 1e-6, 1e-8  # ours
    c.train.b1, c.train.b2 = 0.0, 0.99  # [O2]
    c.train.weight_decay, c.train.clip_norm = 0.0, 1.0  # ours
    c.train.ema_decay, c.train.accumulate = 0.999, 1  # [O2]
    c.train.lora = ConfigDict(dict(rank=0, alpha=16.0, match="kernel"))  # ours; rank 0: the model itself trains

    if arg in ("base", "per_frame"):
        c.model.encoder_widths = c.model.decoder_widths = (64, 128, 128, 256)  # half of [fig]
    if arg == "huge":
        c.model.encoder_widths = c.model.decoder_widths = (192, 384, 384, 768)  # ours: half as wide again
        c.model.encoder_blocks, c.model.decoder_blocks = (4, 4, 6, 10), (4, 4, 6, 6)  # ours: deeper where it is cheap
    if arg == "fast":
        c.model.patch, c.model.strides = (1, 4, 4), ((2, 2, 2), (2, 1, 1))  # ours: nothing at full resolution
        c.model.kernel_time = (3, 3, 3)
        c.model.encoder_widths, c.model.encoder_blocks = (128, 256, 256), (2, 3, 4)
        c.model.decoder_widths, c.model.decoder_blocks = (128, 256, 256), (2, 3, 4)
        c.model.decoder_middle_blocks, c.model.remat = 2, False
    if arg == "magvit1":
        _magvit1(c)
    if arg == "per_frame":
        c.model.strides, c.model.kernel_time = ((1, 2, 2),) * 3, (1, 1, 1, 1)
        c.data.image_share = 0.0
    if arg in ("nano", "local", "study"):
        _small(c)
    if arg == "local":
        c.model.strides = ((2, 2, 2), (2, 1, 1))  # stride 8 in space: 17×64×64 → 5×8×8
        c.data.source = "folder"
        c.data.zoom, c.data.mirror, c.data.tint = 1.5, True, 0.2
        c.loss.foreground = 1.0
        c.loss.diversity = 1.0  # no black background: every token has something to say
    if arg == "study":
        c.model.strides = ((2, 2, 2), (2, 1, 1))  # 17×64×64 → 5×8×8
        c.model.encoder_blocks, c.model.decoder_blocks, c.model.decoder_middle_blocks = (1, 2, 2), (1, 2, 2), 1
        c.data.source = "folder"
        c.data.zoom, c.data.widest, c.data.mirror = 2.5, 0.5, True  # parts of 160×160, as detailed as 128×128
        # A batch has 640 tokens for 2^18 codes: at the paper's 0.1 equal patches are driven apart, most of a batch's
        # codes are distinct, and flat walls are noisy.
        c.loss.foreground, c.loss.entropy, c.loss.diversity = 1.0, 0.02, 1.0
        c.data.image_share, c.data.images_per_clip = 0.1, 8  # without any, first frames are the worst ones
        # In equal time twice the steps of half the clips learned more, and so did this rate than 1e-2.
        c.train.batch_size, c.train.steps = 2, 1_000
        c.train.learning_rate = 6e-3
    if image and arg in ("nano", "local"):
        c.train.batch_size, c.train.steps = 32, 3_000
        c.train.learning_rate, c.train.warmup_steps = 5e-3, 100
    if image and arg == "study":
        c.train.batch_size, c.train.steps, c.data.images_per_clip = 64, 1_000, 1
    if image:  # the same parameter tree with one tap in time; inflation.py makes it a video model
        c.model.kernel_time = (1,) * len(c.model.kernel_time)
        if not c.model.causal:  # there no frame stands alone
            c.model.strides = tuple((1, *stride[1:]) for stride in c.model.strides)
        c.data.num_frames, c.data.image_share = 1, 0.0
    return c


def _magvit1(c: ConfigDict) -> None:
    """MAGVIT's 3-D VQ, size B [v1]; its convolutions have no biases, these have."""
    c.model.quantizer = ConfigDict({"name": "vq", "size": 1024, "channels": 256})
    c.model.causal, c.model.pooled, c.model.adaptive = False, True, False
    c.model.strides = ((2, 2, 2), (2, 2, 2), (1, 2, 2))  # 16×128×128 → 4×16×16
    c.model.encoder_widths = c.model.decoder_widths = (64, 128, 128, 256)
    c.model.encoder_blocks, c.model.decoder_blocks, c.model.decoder_middle_blocks = (2, 2, 2, 4), (2, 2, 2, 2), 2
    c.data.num_frames, c.data.image_share = 16, 0.0  # a clip as a whole: a picture is none
    c.loss.codebook, c.loss.inverse_temperature = 1.0, 100.0
    c.loss.entropy_boost = 1.0
    c.adversary.width = 64


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
    c.data.images_per_clip = 1
    c.data.height, c.data.width = 64, 64
    c.data.zoom, c.data.mirror, c.data.tint = 1.0, False, 0.0  # a mirrored digit is none
    c.data.image_share = 0.0
    c.loss.foreground = 5.0  # most pixels are black
    # Most tokens of a black picture are black too, and should share a code: at the paper's weights 99 % of a batch's
    # codes were distinct, noise that a language model would have to learn.
    c.loss.entropy, c.loss.diversity, c.loss.entropy_boost = 0.02, 0.5, 1.0
    c.loss.perceptual, c.adversary.weight, c.loss.dtype = 0.0, 0.0, "float32"
    c.train.batch_size, c.train.steps = 8, 2_000
    c.train.optimizer = "muon"  # measured: Adam needs more than twice the steps to the same loss
    c.train.learning_rate, c.train.warmup_steps = 3e-3, 50
    c.train.learning_rate_end = 2e-5
    c.train.b1, c.train.b2 = 0.9, 0.99
