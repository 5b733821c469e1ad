"""What the data sets hold, as examples."""

import contextlib

from videopoet_jax.data.items import decode, items_of
from videopoet_jax.data.media import MediaError

SIZE = dict(fps=8, height=16, width=16, num_frames=5, sample_rate=16_000)


def examples(name, numbers=None, **sizes):
    """All windows of a data set, or of some of its clips; what is too short is left out."""
    for number, item in enumerate(items_of(name)):
        if numbers is None or number in numbers:
            with contextlib.suppress(MediaError):
                yield from decode(item, **{**SIZE, **sizes})


def levels(video):
    """What number each frame shows."""
    assert (video == video[:, :1, :1, :1]).all()
    return video[:, 0, 0, 0].astype(int).tolist()
