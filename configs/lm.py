"""The prefix language model: `nano` (shipped), `local` (your own clips), the paper's sizes `300m`, `1b`, `8b`, and the
backbones of text language models, to start from their weights: `llama_1b`, `gemma_2b` (`llama_nano`: small, for tests).
`1b_long` is `1b` on 18 seconds at 896×512, without super-resolution: 265,216 codes a clip, 268,916 tokens with sound.

[VP] gives the sizes' names, the vocabulary, 64 text tokens, and for its ablations lr 1e-3, batch 1,024, 300 k steps.
Depths, widths, heads and everything inside a layer: ours.
"""

from ml_collections import ConfigDict

SIZES = ("nano", "local", "300m", "1b", "1b_long", "8b", "llama_nano", "llama_1b", "gemma_2b")


def _paper() -> ConfigDict:
    """What the paper's three sizes share; the numbers of a layer are filled in by `get_config`."""
    return ConfigDict(
        dict(
            model_type="videopoet_lm",
            model=dict(
                visual_codes=2**18,  # [VP]
                audio_levels=4,  # [VP]
                text_pieces=32_128,  # T5's; [VP] says only that the total is about 300,000
                visual_factors=1,  # [VP] one softmax over 2^18
                chain_hidden=0,  # unused without factors
                text_dim=2048,  # T5-XL
                depth=24,
                width=1024,
                heads=16,
                kv_heads=16,
                head_dim=64,
                mlp=2816,
                qk_norm=True,  # ours, as in ViT-22B: keeps the softmax from saturating at any size and rate
                activation="silu",
                embedding_scale=1.0,
                place_embedding=True,  # ours
                modalities=16,  # ours: 12 used, room for later inputs
                rotary_sections=(32, 16, 16),  # ours
                rotary_bases=(1000.0, 100.0, 100.0),  # ours: t runs to hundreds of 20 ms, h and w to tens
                rotary_stretch=(),
                place_octaves=(10, 6, 6),  # ours: periods 4 … 2,048 for t, 4 … 128 for h and w
                epsilon=1e-6,
                unroll=1,
                remat="full",
                dtype="bfloat16",
            ),
            loss=dict(
                condition_drop=0.1,  # ours for the LM; [VP] drops 10 % in super-resolution
                chunk=1024,  # ours: tokens of a device whose logits exist at once
                z_coefficient=1e-4,  # ours: keeps bfloat16 logits near zero
            ),
            data=dict(
                records="",  # token records of `videopoet data prepare`
                held_out="",  # ours: the same of its held-out split; each task's loss there is measured while training
                source="folder",  # ours; `root` is the folder of videos
                root="",
                num_frames=17,  # [VP]
                fps=8.0,  # [VP]
                sample_rate=16_000,  # [VP]
                levels=(1,),  # of moving_digits
                size=0,
                height=128,  # [VP]
                width=128,  # [VP]
                views=1,  # ours: records of each window; more than one only where they differ by what follows
                zoom=1.0,  # ours, like the next three: see data/augment.py
                widest=1.0,
                mirror=False,
                tint=0.0,
                flow="",  # a directory of RAFT's weights, for stylization; else moving_digits' truth, or OpenCV's DIS
                depth="",  # one of DPT's; else moving_digits' truth, or none
                spatial_stride=8,  # [VP]
                code_bits=0,  # ours: of the tokenizer's codes, where tokens hold another number (sequence/words.py)
                audio_levels=4,  # [VP]
                audio_order="levels",  # [VP]; "frames", all levels of a frame together, is its alternative
                silence=False,  # ours: whether a clip without sound counts as one that is silent
                text_length=64,  # [VP]
                text_buckets=(16, 32),  # ours: captions that fit into fewer slots take no more
                embeddings="",  # "float16" or "float32": records keep what T5 makes of captions, and no step runs it
                # ours: of a step, in as many rows as hold them, [VP]'s 1,024 of text to video; 0: train.batch_size rows
                tokens=1024 * 1792,
                groups=24,  # ours: shapes of batches at most, each compiled; all tasks in five sizes then pad 0.9 %
                packing=0,  # ours: tokens of a row that several sequences share, all rows of one shape; 0: groups
                mixture="",  # a name of sequence/mixtures.py, in place of `tasks`
                tasks=dict(  # [VP] 20 % for each video task of the ablation; the shares here are ours
                    text_to_video=0.4,
                    unconditional=0.1,
                    image_to_video=0.2,
                    frame_prediction_5=0.1,
                    frame_prediction_9=0.1,
                    frame_prediction_13=0.1,
                ),
            ),
            train=dict(
                batch_size=1024,  # [VP] ablation; where data.tokens is 0
                steps=300_000,  # [VP] ablation
                learning_rate=1e-3,  # [VP] ablation
                warmup_steps=5_000,  # ours, like all below
                learning_rate_end=1e-5,
                optimizer="adamw",
                eps=1e-8,
                schedule="cosine",
                weight_decay=0.1,
                b1=0.9,
                b2=0.95,
                clip_norm=1.0,
                ema_decay=0.0,
                accumulate=1,  # microbatches of a step
                lora=dict(rank=0, alpha=16.0, match=r"layers\.(attention|mlp)"),  # rank 0: the model itself trains
            ),
            mesh=dict(data=1, fsdp=-1, tensor=1, sequence=1),  # ours: within a slice; -1 is what the others leave
            seed=0,
        )
    )


def get_config(arg: str = "nano") -> ConfigDict:
    """The config of one of `SIZES`."""
    if arg not in SIZES:
        raise ValueError(f"lm size {arg!r}: unknown; use one of {', '.join(SIZES)}.")
    c = _paper()
    if arg == "300m":  # 308 M without the tables; heads of 128 channels, for a TPU pads smaller ones
        c.model.update(depth=24, width=1024, heads=8, kv_heads=8, head_dim=128, mlp=2816)
        c.model.rotary_sections = (64, 32, 32)
    if arg in ("1b", "1b_long"):  # 1.03 B
        c.model.update(depth=20, width=2048, heads=16, kv_heads=16, head_dim=128, mlp=5632)
        c.model.rotary_sections = (64, 32, 32)
    if arg == "1b_long":
        c.mesh.sequence = 16  # one head on each device between the two exchanges of attention
        c.data.update(num_frames=145, height=896, width=512, tokens=0)
        c.train.batch_size = 32
    if arg == "8b":  # 7.96 B; grouped queries keep the cache of 4,928 video tokens small
        c.model.update(depth=36, width=4096, heads=32, kv_heads=8, head_dim=128, mlp=14_592)
        c.model.rotary_sections = (64, 32, 32)
        c.train.learning_rate = 3e-4  # ours: 1e-3 is the 300 M ablation's
    if arg == "llama_1b":  # Llama 3.2 1B, by its config.json; 973 M without the tables
        c.model.update(depth=16, width=2048, heads=32, kv_heads=8, head_dim=64, mlp=8192, text_pieces=128_256)
        c.model.update(qk_norm=False, epsilon=1e-5, rotary_sections=(64,), rotary_bases=(500_000.0,))
        c.model.rotary_stretch = (32.0, 1.0, 4.0, 8192.0)
    if arg == "gemma_2b":  # Gemma 2B, by its config.json; 1.98 B without the tables
        c.model.update(depth=18, width=2048, heads=8, kv_heads=1, head_dim=256, mlp=16_384, text_pieces=256_000)
        c.model.update(qk_norm=False, activation="gelu_tanh", embedding_scale=2048**0.5)
        c.model.update(rotary_sections=(256,), rotary_bases=(10_000.0,))
    if arg in ("llama_1b", "gemma_2b"):
        c.train.learning_rate = 2e-4  # ours: what was learned from text shall not be lost in the first steps
    if arg in ("nano", "local", "llama_nano"):
        c.mesh.update(data=-1, fsdp=1)
        c.model.update(
            audio_levels=1,  # sound must not swamp the picture: 106 tokens beside 80
            text_pieces=0,  # text enters as embeddings; no task reads or writes text ids
            visual_factors=2,  # 2 × 512 rows instead of 2^18
            chain_hidden=256,
            text_dim=128,  # nano's text encoder
            depth=5,
            width=256,
            heads=4,
            kv_heads=2,
            head_dim=64,
            mlp=384,
            unroll=1,  # measured on a CPU: as fast as unrolled, training and decoding, and compiles in half the time
            remat="none",
            dtype="float32",
        )
        c.loss.z_coefficient = 0.0
        c.data.update(height=64, width=64, audio_levels=1, text_length=16, text_buckets=(), silence=True)
        c.data.tokens = 0  # a batch is small whatever it holds
        # Muon: on nano AdamW needs one and a half times the steps to the same loss.
        c.train.update(
            optimizer="muon", batch_size=32, steps=2_200, learning_rate=4e-3, warmup_steps=100, ema_decay=0.99
        )
    if arg == "local":
        c.train.batch_size = 8  # 430 tokens a sequence, and minutes rather than hours
        c.data.update(views=8, zoom=1.25)  # a few clips are learnt by heart; not mirrored, captions may say "left"
    if arg in ("nano", "llama_nano"):
        c.data.update(source="moving_digits", spatial_stride=16, size=16_000)
        c.data.tasks.update(text_to_video=0.6, unconditional=0.05, image_to_video=0.14)
        c.data.tasks.update(frame_prediction_5=0.07, frame_prediction_9=0.07, frame_prediction_13=0.07)
        c.train.weight_decay = 0.05
    if arg == "llama_nano":
        c.model.update(qk_norm=False, epsilon=1e-5, rotary_sections=(64,), rotary_bases=(10_000.0,))
    return c
