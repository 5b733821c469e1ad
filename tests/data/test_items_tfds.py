"""Data sets of TFDS, made on the spot in the form of UCF-101, BAIR and WebVid, as examples."""

import logging
from fractions import Fraction

import numpy as np
import pytest

from videopoet_jax.data.media import MediaError
from videopoet_jax.data.tfds_source import TfdsName, TfdsSource, as_words, parse

SIZE = dict(fps=8, height=16, width=16, num_frames=5, sample_rate=16_000)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of the prepared data sets, and the module that made them."""
    pytest.importorskip("tensorflow_datasets")
    from tiny_tfds import builders

    root = tmp_path_factory.mktemp("tfds")
    for builder in (builders.TinyActions, builders.TinyPushing, builders.TinyCaptions, builders.TinyTables):
        for config in builder.BUILDER_CONFIGS or [None]:
            builder(data_dir=root, config=config).download_and_prepare()
    return root, builders


def levels(video):
    """What number each frame shows."""
    assert (video == video[:, :1, :1, :1]).all()
    return video[:, 0, 0, 0].astype(int).tolist()


def test_names():
    assert parse("tfds:ucf101") == TfdsName("ucf101", None, "train", None, None, None)
    whole = (
        "tfds:my_dataset/config.a:1.0.0@/data dir/x?split=train[:10%]+test&fps=30000/1001&video=clip/frames&caption=c"
    )
    rate = Fraction(30_000, 1001)
    assert parse(whole) == TfdsName(
        "my_dataset/config.a:1.0.0", "/data dir/x", "train[:10%]+test", rate, "clip/frames", "c"
    )
    for wrong in ("ucf101", "tfds:", "tfds:a?rate=3", "tfds:a:1", "tfds:huggingface:x", "tfds:../a", "tfds:a@"):
        with pytest.raises(MediaError, match="no name of a data set"):
            parse(wrong)
    for wrong in ("0", "-8", "x", "1/0", "nan", "99999"):
        with pytest.raises(MediaError, match="frames a second are needed"):
            parse(f"tfds:a?fps={wrong}")
    assert [as_words(name) for name in ("ApplyEyeMakeup", "apply_eye-makeup", "Pushing [something] DOWN")] == [
        "apply eye makeup", "apply eye makeup", "Pushing [something] DOWN"
    ]  # fmt: skip


def test_without_tfds_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MediaError, match=r"pip install 'videopoet_jax\[data\]'"):
        TfdsSource("tfds:ucf101", **SIZE)


def test_actions_are_windows_with_the_class_as_caption(made):
    root, builders = made
    source = TfdsSource(f"tfds:tiny_actions/small:1.0.0@{root}?split=test&fps=25", **SIZE)
    assert len(source) == 4 and (source.video, source.caption, source.stored_fps) == ("video", "label", 25)
    examples = list(source.examples())
    by_clip = {}
    for example in examples:
        by_clip.setdefault(str(example["source"]), []).append(example)
    assert len({str(example["id"]) for example in examples}) == len(examples)
    lengths = []
    for name, windows in by_clip.items():
        assert name.startswith("tiny_actions-test.tfrecord-00000-of-00001__")
        number = levels(windows[0]["video"])[0] // 40
        frames = builders.LENGTHS[number]
        lengths.append(frames)
        at_eight = [40 * number + i * 25 // 8 for i in range(-(-frames * 8 // 25))]
        assert len(windows) == len(at_eight) // 5
        for i, example in enumerate(windows):
            assert levels(example["video"]) == at_eight[5 * i : 5 * i + 5]
            assert str(example["id"]) == f"{name}@{i * 0.625:.3f}-{i * 0.625 + 0.625:.3f}"
            assert example["caption"] == ("apply eye makeup", "playing the cello")[number % 2]
            assert (example["video"].shape, example["video"].dtype) == ((5, 16, 16, 3), np.uint8)
            assert example["audio"].shape == (10_000,) and not example["audio"].any() and not example["has_audio"]
    assert sorted(lengths) == [40, 50, 75]  # that of 12 frames is too short at 8 a second
    again = list(source.examples())
    assert [str(example["id"]) for example in again] == [str(example["id"]) for example in examples]
    assert all(np.array_equal(a["video"], b["video"]) for a, b in zip(again, examples, strict=True))


def test_short_clips_are_counted_and_rates_are_told(made, caplog):
    with caplog.at_level(logging.WARNING):
        source = TfdsSource(f"tfds:tiny_actions/grey@{made[0]}", **{**SIZE, "num_frames": 45, "stride": 1})
        assert len(list(source.examples())) == (50 - 44) + (75 - 44)
    assert "frames count as 8 a second" in caplog.text and "left out: 2 clips" in caplog.text


def test_pieces_give_every_clip_once(made):
    source = TfdsSource(f"tfds:tiny_pushing@{made[0]}?fps=8", **SIZE)
    whole = [str(example["id"]) for example in source.examples()]
    for pieces in (1, 2, 3, 9):
        parts = [[str(e["id"]) for e in source.examples(piece, pieces)] for piece in range(pieces)]
        assert sum(parts, []) == whole and (pieces == 9 or all(parts))
    with pytest.raises(MediaError, match="piece 2 of 2"):
        next(source.examples(2, 2))


def test_features_are_found_or_told(made):
    root, _ = made
    pushing = TfdsSource(f"tfds:tiny_pushing@{root}?fps=8", **SIZE)
    assert (pushing.video, pushing.caption) == ("image_main", None)
    main = next(pushing.examples())
    aside = next(TfdsSource(f"tfds:tiny_pushing@{root}?fps=8&video=image_aux1", **SIZE).examples())
    np.testing.assert_array_equal(main["video"], 255 - aside["video"])
    assert main["caption"] == ""
    captions = TfdsSource(f"tfds:tiny_captions@{root}?fps=8", **SIZE)
    assert (captions.video, captions.caption) == ("clip/frames", "captions/text")
    said = {levels(e["video"])[0] // 40: str(e["caption"]) for e in captions.examples() if "@0.000" in str(e["id"])}
    assert said == {0: "", 1: "clip 1 is shown", 2: "clip 2 is shown", 3: ""}
    told = next(TfdsSource(f"tfds:tiny_captions@{root}?fps=8&caption=narration", **SIZE).examples())
    assert told["caption"] == f"Now see {levels(told['video'])[0] // 40}."
    for option, words in (
        ("video=url", "it has clip/frames"),
        ("caption=frames", "it has captions/text, clip/url, narration, video_id"),
    ):
        with pytest.raises(MediaError, match=words):
            TfdsSource(f"tfds:tiny_captions@{root}?{option}", **SIZE)
    with pytest.raises(MediaError, match="videos in it: none"):
        TfdsSource(f"tfds:tiny_tables@{root}", **SIZE)


def test_what_is_not_there(made, tmp_path):
    root, _ = made
    for name, words in (
        (f"tfds:no_such_thing@{root}", "TFDS has no such data set"),
        (f"tfds:tiny_actions/none@{root}", "TFDS has no such data set"),
        (f"tfds:tiny_pushing:7.0.0@{root}", "TFDS has no such data set"),
        (f"tfds:tiny_pushing@{root}?split=tset", "its splits are train"),
        (f"tfds:tiny_pushing@{tmp_path}", "not prepared in .*tfds build tiny_pushing"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            TfdsSource(name, **SIZE)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert len(TfdsSource(f"tfds:tiny_pushing@{root}?split=train[:50%]", **SIZE)) == 2


def test_importing_it_does_not_import_tensorflow():
    import subprocess
    import sys

    code = "import sys, videopoet_jax.data.tfds_source; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
