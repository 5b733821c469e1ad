"""What both sides of `train.py` train on: one config, one batch, one set of weights, drawn by NumPy."""

import dataclasses
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np

CONFIGS = Path(__file__).parents[2] / "configs"
CODES = 1024  # of a level of sound

# What differs from the config `lm:…`: AdamW at a constant rate on both sides, and no text is dropped by chance.
SAME = ("train.optimizer=adamw", "train.learning_rate=1e-3", "train.schedule=constant", "train.warmup_steps=0",
        "loss.condition_drop=0.0")  # fmt: skip
TINY = ("model.depth=2", "model.width=64", "model.heads=2", "model.kv_heads=1", "model.head_dim=32", "model.mlp=128",
        "model.rotary_sections=(16,8,8)", "model.visual_codes=4096", "model.text_dim=32", "model.text_pieces=0",
        "data.height=32", "data.width=32", "data.text_length=16", "data.text_buckets=()")  # fmt: skip
SHAPES = {"nano": ("nano", ()), "300m": ("300m", ()), "1b": ("1b", ()), "tiny": ("300m", TINY)}

# Rows and rematerialisation to try on an accelerator, those that should run fastest first: ours.
FITS = {
    "300m": ((16, "none"), (16, "dots"), (8, "dots"), (8, "full")),
    "1b": ((8, "none"), (8, "dots"), (4, "dots"), (4, "full")),
    "tiny": ((2, "none"),),
    "nano": ((32, "none"),),
}


@dataclasses.dataclass(frozen=True)
class Task:
    """A step to be timed, written as `300m:16:dots:bfloat16`.

    Attributes:
        rows: sequences of a step; 0 leaves them and `remat` to our side, which takes the first that fits.
        remat: what the backward pass keeps of a layer, a name of `lm.transformer.REMAT`.
        dtype: of the computation; parameters are float32.
    """

    shape: str
    rows: int
    remat: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.shape}:{self.rows}:{self.remat}:{self.dtype}"

    @classmethod
    def parse(cls, text: str) -> "Task":
        shape, rows, remat, dtype = text.split(":")
        return cls(shape, int(rows), remat, dtype)


def choices(task: Task) -> list[Task]:
    """What our side may choose from: `300m:0::bfloat16 → 300m:16:none:bfloat16, …`; of a task with rows itself."""
    if task.rows:
        return [task]
    return [dataclasses.replace(task, rows=rows, remat=remat) for rows, remat in FITS[task.shape]]


def config_of(task: Task) -> Any:
    """The config of a task's shape, with its number types and what both sides share."""
    from videopoet_jax.cli.configuration import load_config

    variant, changes = SHAPES[task.shape]
    config = load_config(f"{CONFIGS / 'lm.py'}:{variant}", (*SAME, *changes))
    config.model.dtype, config.model.remat, config.train.batch_size = task.dtype, task.remat, task.rows
    return config


def layout_of(config: Any) -> Any:
    """Text to video with sound, the clips as large as the config's."""
    from videopoet_jax.cli.recipes_of_language import layouts_of
    from videopoet_jax.sequence import get_task

    layouts, data = layouts_of(config), config.data
    return layouts.layout(get_task("text_to_video"), layouts.grid(data.num_frames, data.height, data.width))


def batch_of(config: Any, layout: Any, rows: int, *, captions: tuple[int, int]) -> dict[str, np.ndarray]:
    """A batch as `videopoet train` makes it of token records with their text's embeddings; random codes.

    Args:
        captions: pieces of the shortest and the longest; what is left of the text slots is padding.
    """
    from videopoet_jax.sequence import assemble

    rng, grid, slots, model = np.random.default_rng(0), layout.grid, layout.text_length, config.model

    def record() -> dict[str, np.ndarray]:
        return {
            "video": rng.integers(0, model.visual_codes, grid.latents),
            "audio": rng.integers(0, CODES, (grid.audio_frames, grid.audio_levels)),
            "text_ids": np.zeros(slots, np.int32),  # nobody reads them where embeddings are given
            "text_mask": np.arange(slots) < rng.integers(captions[0], captions[1] + 1),
            "text_embedding": rng.standard_normal((slots, model.text_dim), np.float32),
            "empty_text_ids": np.zeros(slots, np.int32),
            "empty_text_mask": np.arange(slots) < 1,
        }

    examples = [assemble(layout, record()) for _ in range(rows)]
    return {name: np.stack([example[name] for example in examples]) for name in examples[0]}


def captions_of(task: Task, layout: Any) -> tuple[int, int]:
    """nano's own captions have 4 to 16 pieces; elsewhere all slots are full, so that the peer may do without a mask."""
    return (4 if task.shape == "nano" else layout.text_length, layout.text_length)


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The start of a parameter, the same for both sides: by its name alone.

    Larger than a start should be where that would hide one part's mistakes behind another: tables.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    values = rng.random(shape, np.float32)
    values *= 2
    values -= 1  # in place: a table of 2^18 codes is a gigabyte
    if name.endswith("scale"):
        return values * np.float32(0.1) + 1
    inner = shape[1:] if name.startswith("layers.") else shape
    if name.startswith(("input.", "positions.")) and "projection" not in name:
        deviation = 0.5
    elif name.startswith("output.") and "chain_mlp" not in name:
        deviation = 2 * shape[-1] ** -0.5
    else:  # kernels, by what they sum over
        deviation = math.prod(inner[:-1] if name.endswith("out") else inner[:1]) ** -0.5
    values *= np.float32(deviation * 3**0.5)
    return values
