"""Data sets of TFDS, made on the spot in the form of UCF-101, BAIR and WebVid: their names, clips and features."""

import logging
import os
import sys
from fractions import Fraction

import numpy as np
import pytest
from tiny_tfds.reading import SIZE, examples, levels

from videopoet_jax.data.items import decode, items_of
from videopoet_jax.data.media import MediaError
from videopoet_jax.data.tfds_features import as_words
from videopoet_jax.data.tfds_name import TfdsName, parse
from videopoet_jax.data.tfds_source import TfdsClips


def test_names():
    assert parse("tfds:ucf101") == TfdsName("ucf101", None, "train")
    rate = Fraction(30_000, 1001)
    whole = TfdsName("my_dataset/config.a:1.0.0", "/data dir/x", "train[:10%]+test", rate, "clip/frames", "c")
    options = "fps=30000/1001&video=clip/frames&caption=c"
    assert parse(f"tfds:my_dataset/config.a:1.0.0@/data dir/x?split=train[:10%]+test&{options}") == whole
    assert parse(f"tfds:my_dataset/config.a:1.0.0:train[:10%]+test@/data dir/x?{options}") == whole
    assert parse("tfds:ucf101:test").split == "test" and parse("tfds:ucf101/1:2.0.0:test").builder == "ucf101/1:2.0.0"
    for wrong in ("ucf101", "tfds:", "tfds:a?rate=3", "tfds:a:1", "tfds:../a", "tfds:a@", "tfds:a:b?split=c"):
        with pytest.raises(MediaError, match="no name of a data set"):
            parse(wrong)
    for wrong in ("0", "-8", "x", "1/0", "nan", "99999"):
        with pytest.raises(MediaError, match="frames a second are needed"):
            parse(f"tfds:a?fps={wrong}")
    assert [as_words(name) for name in ("ApplyEyeMakeup", "apply_eye-makeup", "Pushing [something] DOWN")] == [
        "apply eye makeup", "apply eye makeup", "Pushing [something] DOWN"
    ]  # fmt: skip


def test_without_tfds_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MediaError, match=r"pip install 'videopoet_jax\[data\]'"):
        items_of("tfds:ucf101")


def test_actions_are_windows_with_the_class_as_caption(tiny_sets):
    root, builders = tiny_sets
    name = f"tfds:tiny_actions/small:1.0.0:test@{root}?fps=25"
    source = TfdsClips(name)
    assert len(source) == 4 and (source.video, source.caption, source.rate) == ("video", "label", 25)
    found = list(examples(name))
    by_clip = {}
    for example in found:
        by_clip.setdefault(str(example["source"]), []).append(example)
    assert len({str(example["id"]) for example in found}) == len(found)
    lengths = []
    for clip, windows in by_clip.items():
        assert clip.startswith("tiny_actions-test.tfrecord-00000-of-00001__")
        number = levels(windows[0]["video"])[0] // 40
        frames = builders.LENGTHS[number]
        lengths.append(frames)
        at_eight = [40 * number + i * 25 // 8 for i in range(-(-frames * 8 // 25))]
        assert len(windows) == len(at_eight) // 5
        for i, example in enumerate(windows):
            assert levels(example["video"]) == at_eight[5 * i : 5 * i + 5]
            assert str(example["id"]) == f"{clip}@{i * 0.625:.3f}-{i * 0.625 + 0.625:.3f}"
            assert example["caption"] == ("apply eye makeup", "playing the cello")[number % 2]
            assert (example["video"].shape, example["video"].dtype) == ((5, 16, 16, 3), np.uint8)
            assert example["audio"].shape == (10_000,) and not example["audio"].any() and not example["has_audio"]
    assert sorted(lengths) == [40, 50, 75]  # that of 12 frames is too short at 8 a second


def test_a_clip_is_found_by_its_number_alone(tiny_sets):
    """In any order, by workers that share nothing, and from the split that the name means."""
    name = f"tfds:tiny_actions/small:train[1:]+test[:75%]@{tiny_sets[0]}?fps=8"
    items = list(items_of(name))
    assert [item.path.rpartition("#")[2] for item in items] == ["0", "1", "2", "3", "4", "5"]
    assert len({item.id for item in items}) == 6 and all(item.path.startswith("tfds:tiny_actions") for item in items)
    whole = [[str(e["id"]) for e in decode(item, **SIZE)] for item in items]
    assert [ids[0].split("-")[1].split(".")[0] for ids in whole] == ["train"] * 3 + ["test"] * 3
    for order in ([5, 0, 3], [2, 3, 4], [4, 4]):
        fresh = TfdsClips(name)
        assert [[str(e["id"]) for e in fresh.windows(number, **SIZE)] for number in order] == [whole[n] for n in order]
    for number in (-1, 6):
        with pytest.raises(MediaError, match=f"clip {number}: there are 6"):
            next(TfdsClips(name).windows(number, **SIZE))


def test_a_worker_reads_no_other_file_than_that_of_its_clips(tiny_sets, tmp_path):
    """And what is in a damaged one is said of each clip."""
    import tensorflow_datasets as tfds

    builder = tiny_sets[1].TinyPushing(data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=4))
    name = f"tfds:tiny_pushing@{tmp_path}?fps=8"
    whole = [[str(e["id"]) for e in decode(item, **{**SIZE, "num_frames": 3})] for item in items_of(name)]
    files = sorted(tmp_path.glob("tiny_pushing/1.0.0/*.tfrecord*"))
    assert len(files) == 4
    for file in (files[0], files[3]):
        file.write_bytes(b"damaged" * 100)
    fresh = TfdsClips(name)
    assert [str(e["id"]) for e in fresh.windows(1, **{**SIZE, "num_frames": 3})] == whole[1]
    assert [str(e["id"]) for e in fresh.windows(2, **{**SIZE, "num_frames": 3})] == whole[2]
    for number in (3, 0):
        with pytest.raises(MediaError, match=f"clip {number} is damaged .*prepare it again"):
            list(fresh.windows(number, **SIZE))
    assert [str(e["id"]) for e in fresh.windows(1, **{**SIZE, "num_frames": 3})] == whole[1]


def test_an_address_holds_wherever_one_stands(tiny_sets, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tiny_sets[0].parent))
    assert parse(f"tfds:a@~/{tiny_sets[0].name}?films=x") == parse(f"tfds:a@{tiny_sets[0]}?films={os.getcwd()}/x")
    monkeypatch.chdir(tiny_sets[0])
    (first, *_) = items_of("tfds:tiny_pushing@.?fps=8")
    monkeypatch.chdir(tmp_path)
    assert first.path == f"tfds:tiny_pushing@{tiny_sets[0]}?split=train&fps=8#0"
    assert len(list(decode(first, **{**SIZE, "num_frames": 3}))) > 1


def test_a_clip_that_is_too_short_is_an_error_and_rates_are_told(tiny_sets, caplog):
    name = f"tfds:tiny_actions/grey@{tiny_sets[0]}"
    with caplog.at_level(logging.WARNING):
        assert len(list(examples(name, num_frames=45, stride=1))) == (50 - 44) + (75 - 44)
        items_of(name)  # as `data prepare` does, which counts first
    assert caplog.text.count("frames count as being at the rate asked for") == 1
    with pytest.raises(MediaError, match=r"#\d \(tiny_actions-train.*at 8 frames a second\): 12 frames, a window has"):
        for item in items_of(name):
            list(decode(item, **{**SIZE, "num_frames": 17}))


def test_features_are_found_or_told(tiny_sets):
    root, _ = tiny_sets
    pushing = TfdsClips(f"tfds:tiny_pushing@{root}?fps=8")
    assert (pushing.video, pushing.caption) == ("image_main", None)
    main = next(examples(f"tfds:tiny_pushing@{root}?fps=8"))
    aside = next(examples(f"tfds:tiny_pushing@{root}?fps=8&video=image_aux1"))
    np.testing.assert_array_equal(main["video"], 255 - aside["video"])
    assert main["caption"] == ""
    captions = TfdsClips(f"tfds:tiny_captions@{root}?fps=8")
    assert (captions.video, captions.caption) == ("clip/frames", "captions/text")
    found = [e for e in examples(f"tfds:tiny_captions@{root}?fps=8") if "@0.000" in str(e["id"])]
    said = {levels(e["video"])[0] // 40: str(e["caption"]) for e in found}
    assert said == {0: "", 1: "clip 1 is shown", 2: "clip 2 is shown", 3: ""}
    told = next(examples(f"tfds:tiny_captions@{root}?fps=8&caption=narration"))
    assert told["caption"] == f"Now see {levels(told['video'])[0] // 40}."
    for option, words in (
        ("video=url", "it has clip/frames, clip/url, narration, video_id"),
        ("caption=frames", "it has captions/text, clip/url, narration, video_id"),
    ):
        with pytest.raises(MediaError, match=words):
            items_of(f"tfds:tiny_captions@{root}?{option}")
    with pytest.raises(MediaError, match="videos in it: none"):
        items_of(f"tfds:tiny_tables@{root}")


def test_what_is_not_there(tiny_sets, tmp_path):
    root, _ = tiny_sets
    (tmp_path / "nobodys_films").mkdir()
    for name, words in (
        (f"tfds:no_such_thing@{root}", "TFDS has no such data set"),
        (f"tfds:tiny_pushin@{root}", "did you mean tiny_pushing.*check its name, or say behind @"),
        (f"tfds:nobody_s_film@{tmp_path}", "did you mean nobodys_films.*check its name"),
        (f"tfds:tiny_actions/none@{root}", "none not found.*check its config and version"),
        (f"tfds:tiny_pushing:7.0.0@{root}", "only: 1.0.0.*check its config and version"),
        (f"tfds:tiny_pushing:train[:0]@{root}", r"split 'train\[:0\]': no clips in it; name a larger one of train"),
        (f"tfds:tiny_pushing:tset@{root}", "split 'tset': its splits are train; name one of them"),
        (f"tfds:tiny_pushing:train[:x]@{root}", "its splits are train"),
        (f"tfds:tiny_pushing@{tmp_path}", f"not prepared in .*tfds build tiny_pushing --data_dir {tmp_path}`"),
    ):
        with pytest.raises(MediaError, match=words) as caught:
            items_of(name)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert len(list(items_of(f"tfds:tiny_pushing@{root}?split=train[:50%]"))) == 2


def test_importing_it_does_not_import_tensorflow():
    import subprocess

    code = "import sys, videopoet_jax.data.items; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
