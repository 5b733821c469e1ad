"""What data sets of TFDS may hold: films with sound, clips that have rates, episodes of steps; in files of any form."""

import contextlib
from fractions import Fraction

import numpy as np
import pytest
from tiny_tfds.reading import SIZE, examples, levels

from videopoet_jax.data.items import Item, decode, items_of
from videopoet_jax.data.media import MediaError
from videopoet_jax.data.tfds_features import film_file
from videopoet_jax.data.tfds_source import TfdsClips


@pytest.mark.parametrize("form", ["bytes", "paths"])
def test_films_have_their_own_rate_and_sound(tiny_sets, form):
    """As the same files have in a folder; the third is damaged, or is none of the data set's."""
    root, _ = tiny_sets
    items = list(items_of(f"tfds:tiny_films/{form}@{root}"))
    sizes = {**SIZE, "sample_rate": 8_000}
    number = {0: "heard.mp4", 1: "silent.mp4"}
    captions, heard = set(), []
    for item in items:
        try:
            got = list(decode(item, **sizes))
        except MediaError as error:
            assert str(error).startswith(item.path)
            assert ("not a video" if form == "bytes" else f"no file in {root}; say with ?films=/FOLDER") in str(error)
            continue
        captions.add(str(got[0]["caption"]))
        film = root / "films" / number[int(str(got[0]["caption"])[-1])]
        for one, other in zip(got, decode(Item("", str(film)), **sizes), strict=True):
            for key in ("video", "audio", "has_audio"):
                np.testing.assert_array_equal(one[key], other[key])
            assert str(one["id"]) == str(one["source"]) + str(other["id"])
        heard.append(bool(got[0]["has_audio"]))
    assert captions == {"film 0", "film 1"} and sorted(heard) == [False, True]
    with pytest.raises(MediaError, match="its films have rates of their own; leave it out"):
        items_of(f"tfds:tiny_films/{form}@{root}?fps=25")


def test_films_may_lie_in_another_folder(tiny_sets, tmp_path):
    """Relative paths are looked for there, absolute ones must lie within; nothing out of it is ever read."""
    root, _ = tiny_sets
    films = tmp_path / "films"
    films.mkdir()
    (films / "silent.mp4").symlink_to(root / "films" / "silent.mp4")
    for folder, can in ((root, {0, 1}), (root.parent, {0}), (films, set()), (tmp_path, set())):
        read = set()
        for item in items_of(f"tfds:tiny_films/paths@{root}?films={folder}"):
            with contextlib.suppress(MediaError):
                read |= {int(str(example["caption"])[-1]) for example in decode(item, **SIZE)}
        assert read == can
    (films / "silent.mp4").unlink()
    (films / "silent.mp4").write_bytes((root / "films" / "silent.mp4").read_bytes())
    found = list(examples(f"tfds:tiny_films/paths@{root}?films={tmp_path}"))
    assert {str(example["caption"]) for example in found} == {"film 1"}


def test_films_may_lie_where_tfds_has_downloads(tmp_path):
    folders = [str(tmp_path), str(tmp_path / "downloads" / "manual")]
    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "a.mp4").touch()
    with film_file(b"a.mp4", folders, "here") as path:
        assert path == str(tmp_path / "downloads" / "manual" / "a.mp4")
    for wrong in (b"b.mp4", b"", b"/etc/hostname", b"../a.mp4", b"http://127.0.0.1:9/a.mp4"):
        with pytest.raises(MediaError, match="^here: "), film_file(wrong, folders, "here"):
            pass


def test_a_clip_may_have_its_own_rate(tiny_sets, caplog):
    name = f"tfds:tiny_rates@{tiny_sets[0]}"
    source = TfdsClips(name)
    assert (source.video, source.caption, source.rates, source.rate) == ("clip", "class", "fps", None)
    rates = {0: 8, 1: 16, 3: 12.5}
    for item in items_of(name):
        try:
            first = next(decode(item, **SIZE))
        except MediaError as error:
            assert "fps=0" in str(error) and str(error).startswith(item.path)
            continue
        clip = levels(first["video"])[0] // 40
        assert levels(first["video"]) == [40 * clip + int(i * rates[clip] / 8) for i in range(5)]
        assert first["caption"] == ("apply eye makeup", "playing the cello")[clip % 2]
    assert not caplog.records


@pytest.mark.parametrize(
    ("config", "rate"), [("r", 24), ("vf", Fraction(30_000, 1001)), ("metadata", 12.5), ("config", 10)]
)
def test_a_data_set_may_tell_its_rate(tiny_sets, config, rate, caplog):
    assert TfdsClips(f"tfds:tiny_told/{config}@{tiny_sets[0]}").rate == rate
    assert TfdsClips(f"tfds:tiny_told/{config}@{tiny_sets[0]}?fps=8").rate == 8
    addresses = list(items_of(f"tfds:tiny_told/{config}@{tiny_sets[0]}"))
    assert len(addresses) == 4 and "count as being at the rate asked for" not in caplog.text


def test_a_rate_that_is_none_is_told(tiny_sets):
    with pytest.raises(MediaError, match="fps=many: above 0 .* are needed"):
        items_of(f"tfds:tiny_told/wrong@{tiny_sets[0]}")
    assert len(list(items_of(f"tfds:tiny_told/wrong@{tiny_sets[0]}?fps=8"))) == 4


def test_steps_of_an_episode_are_frames(tiny_sets):
    name = f"tfds:tiny_episodes@{tiny_sets[0]}?fps=8"
    source = TfdsClips(name)
    assert (source.video, source.caption) == ("steps/observation/image", "steps/language_instruction")
    by_clip = {}
    for example in examples(name):
        by_clip.setdefault(str(example["source"]), []).append(example)
    assert len(by_clip) == 4
    for windows in by_clip.values():
        number = levels(windows[0]["video"])[0] // 40
        shown = [level for window in windows for level in levels(window["video"])]
        assert shown == [40 * number + i for i in range(tiny_sets[1].LENGTHS[number] // 5 * 5)]
        assert {str(window["caption"]) for window in windows} == {f"push {number}"}


@pytest.mark.parametrize(
    ("form", "builder"),
    [("array_record", "TinyPushing"), ("array_record", "TinyEpisodes"), ("parquet", "TinyCaptions")],
)
def test_other_forms_of_files_hold_the_same(tiny_sets, tmp_path, builder, form):
    import tensorflow_datasets as tfds

    root, builders = tiny_sets
    made_so = getattr(builders, builder)(data_dir=tmp_path, file_format=form)
    made_so.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    assert made_so.info.file_format.value == form
    same = {}
    for where in (root, tmp_path):
        for example in examples(f"tfds:{made_so.name}@{where}?fps=8", num_frames=12):
            same.setdefault((levels(example["video"])[0], str(example["caption"])), []).append(example["video"])
    assert len(same) == 4 + 3 + 1 + 6
    for one, other in same.values():
        np.testing.assert_array_equal(one, other)


def test_array_records_are_read_from_anywhere(tiny_sets, tmp_path):
    """By number alone, from several files and splits; ids are as of TFRecords; damage is said of its clips."""
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(num_shards=3)
    for form in ("tfrecord", "array_record"):
        actions = tiny_sets[1].TinyActions(config="small", data_dir=tmp_path / form, file_format=form)
        actions.download_and_prepare(download_config=config)
    ids = {}
    for form in ("tfrecord", "array_record"):
        name = f"tfds:tiny_actions/small:train[1:]+test[:75%]@{tmp_path / form}?fps=8"
        whole = [[str(e["id"]) for e in decode(item, **SIZE)] for item in items_of(name)]
        ids[form] = [[i.replace(form, "FORM") for i in clip] for clip in whole]
    assert ids["tfrecord"] == ids["array_record"] and [len(clip) > 0 for clip in whole] == [True] * 6
    for order in ([5, 0, 3], [2, 3, 4], [4, 4]):
        fresh = TfdsClips(name)
        assert [[str(e["id"]) for e in fresh.windows(number, **SIZE)] for number in order] == [whole[n] for n in order]
    damaged = whole[-1][0].partition("__")[0]
    (file,) = tmp_path.glob(f"array_record/tiny_actions/small/1.0.0/{damaged}")
    file.write_bytes(b"damaged" * 100)
    for number, clip in enumerate(whole):
        if clip[0].startswith(damaged):
            with pytest.raises(MediaError, match=f"clip {number} is damaged .*prepare it again") as caught:
                next(fresh.windows(number, **SIZE))
            assert "Traceback" not in str(caught.value)
        else:
            assert [str(e["id"]) for e in fresh.windows(number, **SIZE)] == clip


def test_a_damaged_step_is_said_of_its_episode(tiny_sets, tmp_path):
    """Its frames are decoded when they are asked for."""
    episodes = tiny_sets[1].TinyEpisodes(data_dir=tmp_path)
    episodes.download_and_prepare()
    (file,) = tmp_path.glob("tiny_episodes/1.0.0/*.tfrecord*")
    import tensorflow as tf

    records = [tf.train.Example.FromString(bytes(r)) for r in tf.data.TFRecordDataset(str(file)).as_numpy_iterator()]
    images = records[1].features.feature["steps/observation/image"].bytes_list.value
    images[5] = images[5][:20]
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record.SerializeToString())
    clips = TfdsClips(f"tfds:tiny_episodes@{tmp_path}?fps=8")
    got = []
    with pytest.raises(MediaError, match="clip 1 is damaged .*prepare it again"):
        got.extend(clips.windows(1, **SIZE))
    assert len(got) <= 1 and list(clips.windows(2, **SIZE))
