"""Anything that holds films and pictures → items, which workers decode one by one: nothing is decoded or held before.

items_of("clips")         clips/b/a.mp4          →  Item("b/a.mp4", "/home/me/clips/b/a.mp4", caption="a")
items_of("clips.csv")     a.mp4,a dog,12,14.125  →  Item("a.mp4@12.000-14.125", …, 12.0, 14.125, "a dog")
items_of("holiday.mp4")                          →  Item("holiday.mp4", …)
items_of("tfds:ucf101:test")                     →  Item("tfds:ucf101?split=test#0", …)  #1 …  (tfds_source)
items_of("vizdoom:basic?clips=9")                →  Item("vizdoom:basic?seed=0#0", …)  … #8    (vizdoom_play)

decode(item, fps=8, num_frames=17, …)            →  windows of a film of 40 frames: 0–16  17–33, six are left over
"""

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from videopoet_jax.data import clip_files, manifest, tfds_source, vizdoom_play
from videopoet_jax.data.film_windows import film_windows
from videopoet_jax.data.item_windows import check_windows, example, stretch
from videopoet_jax.data.media import MediaError, Number, is_still, read_image
from videopoet_jax.data.media_open import is_address

_SEEN_BITS = 1 << 27  # 16 MB. With ten million lines one in 250 gets a number that it could do without
_HASHES = 4
_TEXTS = frozenset((".tsv", ".json", ".txt", ".ndjson", ".xlsx"))  # what may be meant for a manifest
# What is no file, by the word before the colon: `addresses(name)` of its clips, `windows(address, …)` of one of them.
_NAMED = {"tfds": tfds_source, "vizdoom": vizdoom_play}


class Item(NamedTuple):
    """A film, a stretch of one, a picture, or a clip of a named source.

    `id` is stable, unique in its source and relative to it: `b/a.mp4`, or `b/a.mp4@12.000-14.125` for a stretch;
    `path` is absolute; `start` and `end` are seconds, `end` None is the end of the film. A clip of a named source has
    an address for both, and its caption comes with it. `root` is the folder that the film must lie in, "" where any
    place will do.
    """

    id: str
    path: str
    start: float = 0.0
    end: float | None = None
    caption: str = ""
    image: bool = False
    root: str = ""


def named(source: str | os.PathLike) -> Any | None:
    """The module that knows a source which is no file.  `tfds:ucf101 → tfds_source, films/a.mp4, tfds → None`"""
    world, colon, _ = os.fspath(source).partition(":")
    return _NAMED.get(world) if colon else None


def items_of(source: str | os.PathLike, on_skip: Callable[[int, str], None] | None = None) -> Iterator[Item]:
    """The items of a folder, of a manifest (`.jsonl`, `.csv`, `.parquet`), the one that a film or picture is, or those
    of a named source.

    A folder gives all films and pictures below it, folder by folder in the order of names, captions as `caption_of`
    finds them; last come files that only `captions.jsonl` names. A manifest's captions are its own, no caption is
    none; its bad lines are left out (`read_manifest`, which explains `on_skip`). Of lines with one id, all but the
    first get the number of their line behind it: a film that has three captions is

        a.mp4   a.mp4#3   a.mp4#4

    Raises:
        FileNotFoundError, MediaError: at once where there is no such source; while iterating, where it holds nothing,
            or `captions.jsonl` or the manifest as a whole is wrong.
    """
    if world := named(source):
        return (Item(address, address) for address in world.addresses(os.fspath(source)))
    path = Path(os.path.abspath(source))
    if not path.exists():
        if is_address(os.fspath(source)):
            raise MediaError(f"{source}: only local files are read; download it and give its path.")
        raise FileNotFoundError(f"{source}: no such file or folder; check the path.")
    if path.is_dir():
        return _of_folder(path)
    suffix = path.suffix.lower()
    if suffix in manifest.SUFFIXES:
        return _of_manifest(path, on_skip)
    if suffix in _TEXTS:
        raise MediaError(f"{source}: no film; a manifest is a .jsonl, .csv or .parquet: convert it to one of these.")
    item = _item(path.parent, path.name, caption=clip_files.caption_of(path.parent, path.name, {}))
    return iter([item._replace(root="")])


def _item(root: Path, name: str, start: float = 0.0, end: float | None = None, caption: str = "") -> Item:
    part = "" if start == 0 and end is None else stretch(start, end)
    image = Path(name).suffix.lower() in clip_files.PICTURE_SUFFIXES
    # A file's name may hold bytes that are no text; what is stored later must be.
    text = name.encode("utf-8", "backslashreplace").decode()
    caption = caption.encode("utf-8", "replace").decode()
    return Item(text + part, os.path.join(root, name), start, end, caption, image, os.fspath(root))


def _of_folder(root: Path) -> Iterator[Item]:
    captions, empty = clip_files.read_captions(root), True
    for name in clip_files.walk(root, clip_files.SUFFIXES | clip_files.PICTURE_SUFFIXES):
        empty = False
        yield _item(root, name, caption=clip_files.caption_of(root, name, captions))
        captions.pop(name, None)
    for name in sorted(captions):  # without a known suffix, or not there: decoding says so
        yield _item(root, name, caption=clip_files.caption_of(root, name, captions))
    if empty and not captions:
        raise MediaError(f"{root}: no videos and no pictures in it (mp4, mkv, webm, png, jpg …); put some there.")


def _of_manifest(path: Path, on_skip: Callable[[int, str], None] | None) -> Iterator[Item]:
    seen = _Seen()
    for entry in manifest.read_manifest(path, on_skip):
        item = _item(path.parent, entry.path, entry.start, entry.end, entry.caption)
        yield item._replace(id=f"{item.id}#{entry.line}") if seen(item.id) else item


class _Seen:
    """Whether a text was here before, in memory that does not grow: a Bloom filter.

    It never forgets one. Of a new one it may say that it was here: its id then carries a number without need.
    """

    def __init__(self) -> None:
        self._bits = np.zeros(_SEEN_BITS // 8, np.uint8)

    def __call__(self, text: str) -> bool:
        places = np.frombuffer(blake2b(text.encode(), digest_size=8 * _HASHES).digest(), "<u8") % _SEEN_BITS
        bytes_, bits = places // 8, np.left_shift(1, places % 8).astype(np.uint8)
        before = bool(np.all(self._bits[bytes_] & bits))
        np.bitwise_or.at(self._bits, bytes_, bits)
        return before


def decode(
    item: Item,
    *,
    fps: Number,
    height: int,
    width: int,
    num_frames: int,
    sample_rate: int,
    stride: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The windows of an item as examples, made while it is decoded: memory does not grow with its length.

    They are those of `sources.ClipFolder` ("video" uint8 [t h w 3], "audio" float32 [s], "has_audio", "caption") and
    "id", the item's with the window's time in the film (`b/a.mp4@2.125-4.250`), and "source", the item's id alone.
    A picture, or a GIF of one frame, is one frame, without sound. "has_audio" is the same for all windows of an item:
    whether anything is to be heard from its start to its end. Where the sound breaks off, silence follows.

    Frames of a stretch are those that decoding from the film's beginning gives at those moments. So is its sound, but
    that it may be resampled at other moments between the old samples: it is in its place to half a sample.

    Args:
        stride: frames between the starts of windows, by default `num_frames`; frames left over at the end are dropped.

    Raises:
        FileNotFoundError, MediaError: what cannot be read, leads out of its root by now, or is too short for a window;
            after the windows before it where a film is beyond the limits somewhere in the middle.
    """
    stride = check_windows(num_frames, stride)
    sizes = {"fps": fps, "height": height, "width": width, "num_frames": num_frames, "sample_rate": sample_rate,
             "stride": stride}  # fmt: skip
    if world := named(item.path):
        return world.windows(item.path, **sizes)
    check_place(item)
    if item.image or is_still(item.path):
        return _picture(item, fps, height, width, sample_rate)
    return film_windows(item.path, source=item.id, caption=item.caption, **sizes, start=item.start, end=item.end)


def check_place(item: Item) -> None:
    """Raises where a link has taken the place of what was listed, and leads out of the root."""
    if item.root and not clip_files.resolves_inside(Path(item.root), item.path):
        raise MediaError(f"{item.path}: leads out of {item.root}; put the file itself there.")


def _picture(item, fps, height, width, sample_rate) -> Iterator[dict[str, Any]]:
    video = read_image(item.path, height=height, width=width)[None]
    silence = round(sample_rate / fps)
    yield example(video, silence, has_audio=False, caption=item.caption, name=item.id, source=item.id)
