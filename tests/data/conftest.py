"""What several tests of data read."""

import pytest
from encoded import encode, moving_square, tone


@pytest.fixture(scope="session")
def tiny_sets(tmp_path_factory):
    """The folder of the prepared data sets, and the module that made them."""
    pytest.importorskip("tensorflow_datasets")
    from tiny_tfds import builders

    root = tmp_path_factory.mktemp("tfds")
    (root / "films").mkdir()
    sound = ("aac", 16_000, "mono", tone(2.4)[None])
    encode(root / "films" / "heard.mp4", moving_square(60), "libx264", sound=sound)
    encode(root / "films" / "silent.mp4", moving_square(40), "libx264")
    for builder in (builders.TinyActions, builders.TinyPushing, builders.TinyCaptions, builders.TinyFilms,
                    builders.TinyRates, builders.TinyTold, builders.TinyEpisodes, builders.TinyTables):  # fmt: skip
        for config in builder.BUILDER_CONFIGS or [None]:
            builder(data_dir=root, config=config).download_and_prepare()
    return root, builders
