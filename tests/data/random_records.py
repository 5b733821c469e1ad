"""Token records for `lm:nano` whose codes are drawn: no tokenizer runs, and every test that trains can make its own."""

import os
from pathlib import Path

import numpy as np
from videopoet_jax.configs.lm import get_config

from videopoet_jax.cli.recipes_of_language import layouts_of
from videopoet_jax.data.token_records import TokenWriter
from videopoet_jax.generate.pipeline import PARTS
from videopoet_jax.pretrained import digest, resolve
from videopoet_jax.text.embed import TextEncoder

# A language model that compiles in seconds.
TINY = ("model.depth=1", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16", "model.mlp=32",
        "model.rotary_sections=(8,4,4)", "model.chain_hidden=16", "train.optimizer=adamw")  # fmt: skip


def write(directory, count=8):
    """Clips of nano's size with sound and a caption, as `videopoet data prepare --config lm:nano --models nano`."""
    directory, models = Path(directory), resolve("nano")
    tokens = TextEncoder.from_pretrained(models).tokenize([f"a red {i % 10} moving left" for i in range(count)], 16)
    meta = {
        "models": os.path.relpath(Path(models).resolve(), directory.resolve()),
        "digests": {part: digest(Path(models) / part) for part in PARTS},
        "structure": {},
        "embeddings": "",
        "keys": ["video"],
        "layouts": layouts_of(get_config("nano")).to_dict(),
    }
    with TokenWriter(directory, meta) as writer:
        for number in range(count):
            rng = np.random.default_rng(number)
            codes = {"video": rng.integers(0, 2**18, (5, 4, 4), np.int32)}
            codes["audio"] = rng.integers(0, 1024, (106, 1), np.int32)
            text = {"text_ids": tokens.ids[number], "text_mask": tokens.mask[number]}
            writer.write(codes | text | {"caption": f"a red {number % 10} moving left"})
    return directory


def settings(records, *changes):
    """`--set` of a run of the tiny model on them."""
    return [word for change in (*TINY, f"data.records={records}", *changes) for word in ("--set", change)]
