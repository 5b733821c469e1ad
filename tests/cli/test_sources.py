"""What the configs' data sources show."""

import numpy as np

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.sources import clips


def test_the_pictures_of_the_image_stage_show_digits_everywhere_a_clip_does():
    """Clips start near a wall and end near the opposite one; pictures of all their frames lie in between too."""
    config = load_config("video_tokenizer:nano_image", ("data.size=200",))
    pictures = clips(config, "train")
    light = np.stack([pictures[i]["video"][0].max(-1) for i in range(200)]).astype(float)
    y, x = np.mgrid[:64, :64] - 31.5
    centres = np.stack([(light * axis).sum((1, 2)) / light.sum((1, 2)) for axis in (x, y)], -1)
    in_the_middle = np.mean(np.abs(centres).max(-1) < 6)
    assert 0.08 < in_the_middle < 0.25  # 15 % of the frames of clips
