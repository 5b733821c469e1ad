"""Folders, films and manifests as items: captions, stable ids, bad and hostile lines, and nothing read whole."""

import csv
import itertools
import json
import logging
import os
import re
import sys

import numpy as np
import pytest
from PIL import Image

from videopoet_jax.data import items, manifest
from videopoet_jax.data.clip_files import MAX_LINE, find_clips
from videopoet_jax.data.items import Item, decode, items_of
from videopoet_jax.data.media import MediaError


@pytest.fixture
def root(tmp_path):
    """Nothing of it can be decoded: listing must not try to."""
    root = tmp_path / "root"
    (root / "b").mkdir(parents=True)
    for name in ("b/a.mp4", "b/red_boat.jpg", "c.png", "d-e.webm", "f.mov"):
        (root / name).write_bytes(b"no film")
    return root


def manifested(root, lines, name="m.jsonl"):
    path = root / name
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def skipping(path):
    """The items, and why lines were left out."""
    said = []
    return list(items_of(path, lambda line, why: said.append(why))), said


def test_a_folder_of_films_and_pictures(root):
    (root / "c.txt").write_text("a cat,\n  asleep\n")
    (root / "f.txt").write_text("   \n")
    manifested(
        root, [{"path": "b/a.mp4", "caption": "二 dogs"}, {"path": "gone.mp4", "caption": "x"}], "captions.jsonl"
    )
    found = list(items_of(root))
    assert {item.id: item.caption for item in found} == {
        "c.png": "a cat, asleep", "d-e.webm": "d e", "f.mov": "f", "b/a.mp4": "二 dogs", "b/red_boat.jpg": "red boat",
        "gone.mp4": "x",
    }  # fmt: skip
    assert {item.id for item in found if item.image} == {"c.png", "b/red_boat.jpg"}
    assert all(item.path == str(root / item.id) and item[2:4] == (0.0, None) for item in found)
    assert {clip.path: clip.caption for clip in find_clips(root)} == {
        root / item.id: item.caption for item in found if not item.image
    }
    assert list(items_of(root)) == found


def test_a_relative_path_gives_the_same_items_to_a_worker_elsewhere(root, monkeypatch):
    monkeypatch.chdir(root)
    assert list(items_of("b")) == list(items_of(root / "b"))
    assert list(items_of("b/a.mp4")) == [Item("a.mp4", str(root / "b/a.mp4"), caption="a")]
    assert list(items_of("c.png")) == [Item("c.png", str(root / "c.png"), caption="c", image=True)]


def test_a_caption_beside_is_not_read_from_outside(root, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (root / "c.txt").symlink_to(tmp_path / "secret.txt")
    (root / "b/a.txt").write_text("word " * MAX_LINE)
    captions = {item.id: item.caption for item in items_of(root)}
    assert captions["c.png"] == "c" and len(captions["b/a.mp4"]) <= MAX_LINE


def test_what_is_no_source(tmp_path):
    for address in ("http://127.0.0.1/a.csv", "concat:a.mp4|b.mp4", "data:video/mp4;base64,AAAA", "RTMP:x"):
        with pytest.raises(MediaError, match="only local files are read"):
            items_of(address)
    with pytest.raises(FileNotFoundError, match="check the path"):
        items_of(tmp_path / "none")
    with pytest.raises(MediaError, match="no videos and no pictures"):
        list(items_of(tmp_path))


def test_a_stretch_is_named_by_its_time(root):
    lines = [
        {"path": "b/a.mp4", "caption": "one", "start": 12, "end": 14.125, "label": [3]},
        {"path": "b/a.mp4", "start": "60.5", "end": None},
        {"path": "./f.mov", "caption": None, "start": 0, "end": 2},
        {"path": "c.png", "caption": " a cat "},
    ]
    found, said = skipping(manifested(root, lines))
    assert [item.id for item in found] == ["b/a.mp4@12.000-14.125", "b/a.mp4@60.500-", "f.mov@0.000-2.000", "c.png"]
    where = {"root": str(root)}
    assert found[0] == Item("b/a.mp4@12.000-14.125", str(root / "b/a.mp4"), 12.0, 14.125, "one", **where)
    assert found[1][2:4] == (60.5, None) and found[2].caption == ""
    assert found[3].caption == "a cat" and found[3].image and not said


def test_csv_is_read_as_it_is_written_elsewhere(root):
    rows = [["b/a.mp4", 'a "dog", running\nand more', "1", ""], ["f.mov", '5" disc', "", "2e0"], ["c.png", "", "", ""]]
    with open(root / "m.csv", "w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([["path", "caption", "start", "end"], *rows])
    with open(root / "m.csv", "a") as file:
        file.write('\nd-e.webm,a 7" record,,\nf.mov,the end,,\n')  # an inch is no quote
    found, said = skipping(root / "m.csv")
    assert [item.id for item in found] == ["b/a.mp4@1.000-", "f.mov@0.000-2.000", "c.png", "d-e.webm", "f.mov"]
    assert found[0].caption == 'a "dog", running\nand more'
    assert found[3].caption == 'a 7" record' and not said


BAD = {
    "{": "one JSON object", "[]": "one JSON object", "[" * 5_000: "one JSON object", '{"path": "c.png"} x': "one JSON",
    '{"caption": "x"}': "path None: text is needed", '{"path": 3}': "path 3: text is needed",
    '{"path": "none.mp4"}': "no such file", '{"path": "b"}': "no such file",
    '{"path": "' + "x" * 999 + '"}': "leads|no such",
    '{"path": "f.mov", "start": NaN}': "start 'nan'", '{"path": "f.mov", "end": Infinity}': "end 'inf'",
    '{"path": "f.mov", "start": -1}': "start '-1': seconds from 0",
    '{"path": "f.mov", "start": "0:12"}': "start '0:12'",
    '{"path": "f.mov", "start": true}': "start 'True'", '{"path": "f.mov", "end": 0}': "end must be later than start",
    '{"path": "f.mov", "start": 2, "end": 2}': "from 2 s to 2 s",
    '{"path": "f.mov", "end": 1' + "0" * 400 + "}": "end '10",
    '{"path": "f.mov", "caption": ["a", "b"]}': "one text",
    '{"path": "f.mov", "x": "' + "x" * MAX_LINE + '"}': "one JSON",
    '{"path": "f.mov", "end": 1' + "0" * 5000 + "}": "one JSON|end '", '{"path": "\\ud800.mp4"}': "leads out|no such",
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_bad_line_costs_that_line_alone_and_is_said(root, bad, caplog):
    path = manifested(root, [{"path": "c.png"}, "", bad, {"path": "f.mov"}])
    with caplog.at_level(logging.WARNING):
        found, said = skipping(path)
    assert [item.id for item in found] == ["c.png", "f.mov"]
    assert len(said) == 1 and said[0].startswith(f"{path}, line 3: ") and "\n" not in said[0]
    assert re.search(BAD[bad], said[0])
    assert "1 of 3 lines left out" in caplog.text


HOSTILE = ["../secret.mp4", "/etc/passwd", "b/../../secret.mp4", "out/secret.mp4", "link.mp4", "", ".", "b\\..\\a.mp4",
           "http://127.0.0.1:9/a.mp4", "file:///etc/passwd", "concat:b/a.mp4|../secret.mp4", "subfile:,,start,0:c.png",
           "data:video/mp4;base64,AAAA", "pipe:0", "a\0.mp4", "loop.mp4"]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_no_line_leads_out_of_the_folder(root, tmp_path, path, kind, monkeypatch):
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    (root / "out").symlink_to(tmp_path)
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    (root / "in.mp4").symlink_to(root / "f.mov")
    name, number = f"m.{kind}", {"jsonl": 2, "csv": 3, "parquet": 2}[kind]
    paths = ["f.mov", path, "in.mp4"]
    if kind == "parquet":
        pa = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pa.table({"path": paths}), root / name)
    elif kind == "csv":
        manifested(root, ["path,caption", *(f'"{p}",x' for p in paths)], name)
    else:
        manifested(root, [{"path": p} for p in paths], name)
    found, said = skipping(root / name)
    assert [item.id for item in found] == ["f.mov", "in.mp4"]  # a link that stays inside is a file like others
    assert len(said) == 1
    assert said[0].startswith(f"{root / name}, line {number}: path ") and "give paths relative to it" in said[0]


def test_lines_of_csv_that_have_other_fields_or_open_quotes(root):
    lines = [
        "path,caption",
        "c.png,a, b",
        "f.mov",
        'c.png,"a" b',
        "b/a.mp4,good",
        "f.mov," + "x" * MAX_LINE,
        "f.mov,good",
    ]
    found, said = skipping(manifested(root, lines + ["c.png,good"] * 2, "m.csv"))
    assert [item.caption for item in found] == ["good"] * 4
    assert [text.split(": ")[0].rsplit(" ")[-1] for text in said] == ["2", "3", "4", "6"]
    endless = ["path,caption", "f.mov,good", 'c.png,"never closed', *["f.mov,x" * 10] * 900, *["f.mov,good"] * 3_000]
    found, said = skipping(manifested(root, endless, "n.csv"))
    assert len(said) == 1 and "line 3" in said[0] and len(found) > 2_000


def test_a_manifest_that_is_wrong_as_a_whole(root):
    with pytest.raises(MediaError, match="columns file, text: one named 'path'"):
        list(items_of(manifested(root, ["file,text", "a.mp4,x"], "m.csv")))
    with pytest.raises(MediaError, match="2 of 3 lines are bad, .*line 1: path 'x.mp4': no such file"):
        list(items_of(manifested(root, [{"path": "x.mp4"}, {"path": "y.mp4"}, {"path": "c.png"}])))
    with pytest.raises(MediaError, match="1,000 of 1,000 lines"):  # and not after a million
        list(items_of(manifested(root, [{"path": "x.mp4"}] * 3_000)))
    for text, words in (
        ("", "e.csv: empty, there is no film in it"),
        ("path,caption\n", "e.csv: no entry, there is no"),
    ):
        (root / "e.csv").write_text(text)
        with pytest.raises(MediaError, match=words):
            list(items_of(root / "e.csv"))
    with pytest.raises(MediaError, match="2 columns are named 'path'; rename all but one"):
        list(items_of(manifested(root, ["path,path", "c.png,f.mov"], "t.csv")))
    with pytest.raises(MediaError, match="t.tsv: no film; a manifest is a .jsonl, .csv or .parquet: convert it"):
        items_of(manifested(root, ["path\tcaption"], "t.tsv"))


def test_links_to_folders_outside_are_told(root, tmp_path, caplog):
    (tmp_path / "disk3").mkdir()
    (tmp_path / "disk3" / "z.mp4").write_bytes(b"no film")
    (root / "part2").symlink_to(tmp_path / "disk3")
    (root / "again").symlink_to(root / "b")  # what is there is found in its own place
    with caplog.at_level(logging.WARNING):
        found = [item.id for item in items_of(root)]
    assert len(found) == len(set(found)) == 5
    assert [r.getMessage() for r in caplog.records] == [
        f"left out: {root / 'part2'}: a link to a folder outside of {root}; name that folder as well."
    ]


def test_a_link_that_takes_the_place_of_a_file_is_not_followed_out(root, tmp_path):
    """Between the listing and the decoding, hours later and on another machine."""
    (tmp_path / "secret.mp4").write_bytes(b"secret")
    listed = {item.id: item for item in [*items_of(root), *items_of(manifested(root, [{"path": "f.mov"}]))]}
    for name in ("f.mov", "c.png", "b/a.mp4"):
        (root / name).unlink()
        (root / name).symlink_to(tmp_path / "secret.mp4")
        with pytest.raises(MediaError, match=f"{name}: leads out of {root}; put the file itself there"):
            decode(listed[name], fps=8, height=32, width=32, num_frames=17, sample_rate=16_000)
    (item,) = items_of(root / "f.mov")  # which is named itself
    with pytest.raises(MediaError, match="not a video"):
        list(decode(item, fps=8, height=32, width=32, num_frames=17, sample_rate=16_000))


def test_a_gif_of_one_frame_is_a_picture(tmp_path):
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue") * 8]
    frames[0].save(tmp_path / "still.gif")
    frames[0].save(tmp_path / "moves.gif", save_all=True, append_images=frames[1:], duration=125)
    (tmp_path / "torn.gif").write_bytes((tmp_path / "moves.gif").read_bytes()[:60])
    sizes = dict(fps=8, height=32, width=32, num_frames=17, sample_rate=16_000)
    moves, still, torn = sorted(items_of(tmp_path), key=lambda item: item.id)
    (example,) = decode(still, **sizes)
    assert example["video"].shape == (1, 32, 32, 3) and example["video"][0, 9, 9].tolist() == [255, 0, 0]
    assert [e["video"].shape[0] for e in decode(moves, **sizes)] == [17]
    with pytest.raises(MediaError):
        list(decode(torn, **sizes))


def test_ids_are_unique_and_stable(root):
    lines = [{"path": "f.mov", "caption": str(i)} for i in range(3)] + [{"path": "f.mov", "start": 1, "end": 2}] * 2
    found = list(items_of(manifested(root, lines)))
    assert [item.id for item in found] == ["f.mov", "f.mov#2", "f.mov#3", "f.mov@1.000-2.000", "f.mov@1.000-2.000#5"]
    assert list(items_of(root / "m.jsonl")) == found


def test_names_and_captions_that_are_no_text(root):
    """Bytes of another alphabet in a file's name, half a character in JSON: ids and captions can be stored anyway."""
    name = os.fsdecode(b"caf\xe9.mp4")
    (root / name).write_bytes(b"no film")
    lines = [{"path": name}, {"path": "f.mov", "caption": "half \ud83d"}]
    found, said = skipping(manifested(root, lines))
    assert [item.id for item in found] == ["caf\\udce9.mp4", "f.mov"] and not said
    assert found[0].path == str(root / name) and found[1].caption == "half ?"
    (listed,) = [item for item in items_of(root) if item.id.startswith("caf")]
    assert listed.id == found[0].id and listed.caption == "caf?"


def test_the_filter_forgets_nothing_when_it_is_full(monkeypatch):
    monkeypatch.setattr(items, "_SEEN_BITS", 1 << 12)
    seen = items._Seen()
    new = [seen(str(i)) for i in range(4_000)]
    assert not any(new[:50]) and sum(new) > 1_000  # full: it says "here before" of new ones
    assert all(seen(str(i)) for i in range(4_000))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_manifest_is_never_read_whole(root, kind, monkeypatch):
    """The first items come while all but the first part of the file is unread."""
    rows, path = 200_000, root / f"m.{kind}"
    if kind == "parquet":
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        captions = [f"{i} {i**3}" for i in range(rows)]
        pq.write_table(pa.table({"path": ["f.mov"] * rows, "caption": captions}), path, row_group_size=2_000)
    else:
        line = '{"path": "f.mov", "caption": "x"}\n' if kind == "jsonl" else "f.mov,x\n"
        path.write_text(("path,caption\n" if kind == "csv" else "") + line * rows)
    read = []
    real = manifest.open_local

    def opened(name):
        file = real(name)
        file.__class__ = type("Counted", (file.__class__,), {"readinto": lambda self, b: _count(self, b, read)})
        return file

    monkeypatch.setattr(manifest, "open_local", opened)
    assert len(list(itertools.islice(items_of(path), 1_500))) == 1_500
    assert 0 < sum(read) < path.stat().st_size / 4


def _count(file, buffer, read):
    size = super(type(file), file).readinto(buffer)
    read.append(size)
    return size


def test_parquet_gives_what_jsonl_gives(root):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    lines = [
        {"path": "b/a.mp4", "caption": "a", "start": 1.5, "end": 3.0, "label": 1},
        {"path": "c.png", "caption": None, "start": None, "end": None, "label": 2},
        {"path": "f.mov", "caption": "late", "start": 9.0, "end": 8.0, "label": 3},
        {"path": "f.mov", "caption": "二", "start": np.nan, "end": 8.0, "label": 3},
        {"path": "f.mov", "caption": "b", "start": 0.0, "end": 8.0, "label": 3},
    ]
    pq.write_table(pa.Table.from_pylist(lines), root / "m.parquet", row_group_size=2)
    found, said = skipping(root / "m.parquet")
    assert found == list(items_of(manifested(root, lines))) and len(found) == 3
    assert [text.split(": ")[0].rsplit(" ")[-1] for text in said] == ["3", "4"]
    data = (root / "m.parquet").read_bytes()
    (root / "n.parquet").write_bytes(data[:40] + b"x" * (len(data) - 40))
    with pytest.raises(MediaError, match="no parquet file, or damaged"):
        list(items_of(root / "n.parquet"))
    text = pa.array([b"f.mov", b"\xff\xfe", b"f.mov"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"path": text}), root / "u.parquet")
    assert [item.id for item in skipping(root / "u.parquet")[0]] == ["f.mov", "f.mov#3"]


def test_parquet_without_pyarrow_says_what_to_install(root, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (root / "m.parquet").write_bytes(b"PAR1")
    with pytest.raises(MediaError, match=r"pip install 'videopoet_jax\[data\]', or give a .jsonl or .csv"):
        list(items_of(root / "m.parquet"))


def test_a_picture_has_no_time(root):
    Image.new("RGB", (4, 4)).save(root / "c.png")
    found, said = skipping(manifested(root, [{"path": "c.png", "start": 1, "end": 2}, {"path": "c.png", "start": 0}]))
    assert [item.id for item in found] == ["c.png"] and "a picture has no start and no end" in said[0]
