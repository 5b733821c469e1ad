"""Text encoder: T5 v1.1's encoder. `xl` is the size that VideoPoet used, ready-made; `nano` is trained here.

text_encoder:nano   0.46 M parameters, on the captions of moving_digits and some English
text_encoder:xl     1.22 B parameters, for weights converted from the published checkpoint
"""

import ml_collections

SIZES = ("nano", "xl")


def get_config(arg: str = "nano") -> ml_collections.ConfigDict:
    """The config of one of `SIZES`."""
    if arg not in SIZES:
        raise ValueError(f"text_encoder size {arg!r}: unknown; use one of {', '.join(SIZES)}.")
    c = ml_collections.ConfigDict()
    c.model_type = "videopoet_text_encoder"
    c.seed = 0
    c.mesh = ml_collections.ConfigDict(dict(data=-1, fsdp=1, tensor=1, sequence=1))  # ours; -1: the rest

    # T5 v1.1 XL, as published; VideoPoet conditions on its frozen embeddings.
    c.model = ml_collections.ConfigDict()
    c.model.vocabulary = 32_128  # 32,000 pieces and 100 sentinels, padded to a multiple of 128
    c.model.width = 2048
    c.model.depth = 24
    c.model.heads = 32
    c.model.head_width = 64
    c.model.mlp_width = 5120
    c.model.buckets = 32
    c.model.max_distance = 128
    c.model.epsilon = 1e-6
    c.model.dtype = "bfloat16"
    if arg == "xl":
        return c  # frozen: nothing here trains it

    # nano: everything from here on is ours.
    c.model.vocabulary = 1024
    c.model.width = 128
    c.model.depth = 2
    c.model.heads = 4
    c.model.head_width = 32
    c.model.mlp_width = 256
    c.model.dtype = "float32"

    c.data = ml_collections.ConfigDict()
    c.data.name = "moving_digits"
    c.data.captions = (4_000, 10_000, 10_000)  # of levels 1, 2, 3, training split
    c.data.length = 32  # slots; the longest caption, a pair with a camera, needs 30
    c.data.prompt_repeats = 30
    c.data.english_share = 0.2
    c.data.vocabulary = ml_collections.ConfigDict()
    c.data.vocabulary.size = c.model.vocabulary
    c.data.vocabulary.sentinels = 8
    c.data.vocabulary.normalization = (
        "nmt_nfkc_cf"  # T5's NFKC, and capitals folded: 1,024 pieces have no room for both
    )
    c.data.vocabulary.required = (
        *"0123456789",
        *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
        *("red", "green", "blue", "yellow", "cyan", "magenta", "white"),
        *("left", "right", "up", "down"),
    )

    c.loss = ml_collections.ConfigDict()
    c.loss.rate = 0.3  # T5: 0.15; captions are short and repeat, half of their pieces say nothing
    c.loss.mean_span = 1.5  # T5: 3
    c.loss.keep = 0.1  # BERT's

    c.train = ml_collections.ConfigDict()
    c.train.batch_size, c.train.steps = 32, 2_500
    c.train.learning_rate, c.train.warmup_steps = 2e-3, 100
    c.train.schedule, c.train.learning_rate_end = "cosine", 1e-5
    c.train.optimizer, c.train.b1, c.train.b2, c.train.eps = "adam", 0.9, 0.99, 1e-8
    c.train.weight_decay, c.train.clip_norm = 0.0, 1.0
    c.train.ema_decay, c.train.accumulate = 0.99, 1
    c.train.lora = ml_collections.ConfigDict(dict(rank=0, alpha=16.0, match="layers"))  # rank 0: the model itself
    return c
