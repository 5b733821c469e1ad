"""The clips that a config's `data` names."""

from ml_collections import ConfigDict


def clips(config: ConfigDict, split: str, *, size: int | None = None):
    """The random-access source that a config's `data` names; `split` is "train" or the held-out part."""
    from videopoet_jax.data.sources import ClipFolder, MovingDigits

    data = config.data
    if data.source == "moving_digits":
        return MovingDigits(
            split if split == "train" else "validation",
            levels=tuple(data.levels),
            size=size or data.size,
            num_frames=data.num_frames,
            height=data.height,
            width=data.width,
            seed=config.seed,
            pictures=data.num_frames == 1,
        )
    if data.source == "folder":
        if not data.root:
            raise ValueError("data.root: empty; name the folder of your videos with --set data.root=DIRECTORY.")
        return ClipFolder(
            data.root,
            num_frames=data.num_frames,
            fps=data.fps,
            height=data.height,
            width=data.width,
            sample_rate=data.sample_rate,
            split="train" if split == "train" else "held_out",
        )
    raise ValueError(f"data.source {data.source!r}: unknown; use moving_digits or folder.")
