"""Folders → their files in a fixed order, none of them outside: clips with captions (`captions.jsonl`), or sounds.

clips/a/7.mkv, captions.jsonl: {"path": "a/7.mkv", "caption": "…"}  →  "…"
clips/8.jpg, 8.txt beside it: a red boat                            →  "a red boat"
clips/dog_runs.mp4                                                  →  "dog runs"
"""

import json
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from videopoet_jax.data.media_open import MediaError, is_address

_LOG = logging.getLogger(__name__)
CAPTIONS = "captions.jsonl"
_SUFFIX_LIST = """
    .mp4 .m4v .mov .mkv .webm .avi .mpg .mpeg .m2v .ts .mts .m2ts .vob .wmv .asf .flv .ogv .ogg .3gp .3g2 .gif .mxf .dv
    .mjpeg .y4m .h264 .264 .hevc .ivf .nut .rm .swf .apng
"""
SUFFIXES = frozenset(_SUFFIX_LIST.split())
SOUND_SUFFIXES = SUFFIXES | frozenset((".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"))  # videos have sound
PICTURE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"))
MAX_FILES = 1_000_000  # of a list; `walk` by itself holds none
MAX_CAPTIONS_BYTES = 1 << 28
MAX_LINE = 1 << 16  # characters


@dataclass(frozen=True)
class ClipFile:
    """A file that may be a clip, and what it shows."""

    path: Path
    caption: str


def find_clips(root: str | os.PathLike) -> list[ClipFile]:
    """Every video file below `root`, sorted by path, with its caption (see `caption_of`).

    Raises:
        FileNotFoundError, NotADirectoryError, MediaError: no folder, no videos in it, a bad line in `captions.jsonl`.
    """
    root = existing_folder(root, "videos")
    captions = read_captions(root)
    found = sorted({*_listed(root, SUFFIXES), *captions})
    if not found:
        raise MediaError(f"{root}: no videos in it (mp4, mkv, webm, avi, mov …); put some there.")
    return [ClipFile(root / name, caption_of(root, name, captions)) for name in found]


def find_sounds(root: str | os.PathLike) -> list[Path]:
    """Every sound and video file below `root`, sorted by path.

    Raises:
        FileNotFoundError, NotADirectoryError, MediaError: no folder, nothing that could have sound in it.
    """
    root = existing_folder(root, "sounds")
    found = sorted(_listed(root, SOUND_SUFFIXES))
    if not found:
        raise MediaError(f"{root}: no sounds in it (wav, flac, mp3, ogg …) and no videos; put some there.")
    return [root / name for name in found]


def existing_folder(root: str | os.PathLike, what: str) -> Path:
    """The folder, known to be one.

    Raises:
        FileNotFoundError, NotADirectoryError: with the remedy.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder; give the folder that holds your {what}.")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a folder; give the folder that holds your {what}.")
    return root


def words(name: str) -> str:
    """`a/dog_runs-fast.mp4 → dog runs fast`"""
    return re.sub(r"[\s_\-]+", " ", Path(name).stem).strip()


def caption_of(root: Path, name: str, captions: Mapping[str, str]) -> str:
    """What a file shows: by `captions`, else by a `.txt` of the same stem beside it, else by the words of its name.

    A `.txt` that is a link out of the root is not read; of a long one, the first `MAX_LINE` characters are.
    """
    if captions.get(name):
        return captions[name]
    beside = Path(name).with_suffix(".txt")
    if os.path.isfile(root / beside) and resolves_inside(root, beside.as_posix()):
        with open(root / beside, encoding="utf-8-sig", errors="replace") as file:
            text = " ".join(file.read(MAX_LINE).split())
        if text:
            return text
    return words(name)


def _listed(root: Path, suffixes: Collection[str]) -> list[str]:
    found = list(islice(walk(root, suffixes), MAX_FILES + 1))
    if len(found) > MAX_FILES:
        raise MediaError(f"{root}: more than {MAX_FILES:,} files; take them in several folders.")
    return found


def walk(root: Path, suffixes: Collection[str] = SUFFIXES) -> Iterator[str]:
    """Names of the files with these suffixes, relative to the root, folder by folder, each in the order of names.

    Links that lead out of it are not followed, and said to be left out; those to folders within it are passed over,
    for what is there is found in its own place. Hidden files are not looked at.
    """
    inside = root.resolve()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for path in (Path(folder) / f for f in folders):
            if path.is_symlink() and not _is_below(path, inside):
                _LOG.warning("left out: %s: a link to a folder outside of %s; name that folder as well.", path, root)
        for file in sorted(files):
            path = Path(folder) / file
            if file.startswith(".") or path.suffix.lower() not in suffixes:
                continue
            if path.is_symlink() and not _is_below(path, inside):
                _LOG.warning(
                    "left out: %s: a link out of %s; copy the file, or name the folder that has it.", path, root
                )
                continue
            yield path.relative_to(root).as_posix()


def _is_below(link: Path, folder: Path) -> bool:
    try:
        return link.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # links in a circle
        return False


def read_captions(root: Path) -> dict[str, str]:
    """`captions.jsonl`, if there is one: relative path → caption. A later line for the same path wins.

    Raises:
        MediaError: not JSON lines of {"path", "caption"}, or a path that leads out of the folder.
    """
    file = root / CAPTIONS
    if not file.is_file():
        return {}
    if file.stat().st_size > MAX_CAPTIONS_BYTES:
        raise MediaError(f"{file}: longer than {MAX_CAPTIONS_BYTES:,} bytes; split the folder.")
    captions = {}
    with open(file, encoding="utf-8-sig", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                name, caption = _entry(f"{file}, line {number}", line)
                captions[inside(root, name, f"{file}, line {number}")] = caption
    return captions


def _entry(where: str, line: str) -> tuple[str, str]:
    try:
        entry = json.loads(line) if len(line) <= MAX_LINE else None
    except (json.JSONDecodeError, RecursionError):
        entry = None
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("path", "caption")):
        raise MediaError(f'{where}: one JSON object {{"path": "a.mp4", "caption": "…"}} a line is needed; correct it.')
    return entry["path"], entry["caption"].strip()


def inside(root: Path, name: str, where: str) -> str:
    """The relative path, tidied; it exists or not, but neither it nor what it links to lies outside of the root.

    Raises:
        MediaError: an absolute path, `..`, an address, or a link out of the folder.
    """
    parts = Path(name).parts
    bad = not name or "\0" in name or "\\" in name or is_address(name) or Path(name).is_absolute() or ".." in parts
    if bad or not parts or not resolves_inside(root, name):
        raise MediaError(f"{where}: path {name[:200]!r} leads out of {root}; give paths relative to it, without '..'.")
    return Path(name).as_posix()


def resolves_inside(root: Path, name: str) -> bool:
    """Whether what has the name, relative to the root or absolute, lies in it, and so does what it links to."""
    try:
        return (root / name).resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, UnicodeError):  # a name that is too long, links in a circle, half a character
        return False
