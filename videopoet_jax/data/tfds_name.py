"""The name of a data set of TensorFlow Datasets → its parts, and TFDS's builder, whose files must be there.

    tfds:ucf101    tfds:ucf101:test    tfds:my_dataset/config:1.0.0:test@/data_dir
    tfds:my_dataset@/data_dir?split=train[:10%]&fps=25&video=clip/frames&caption=narration&films=/films

TensorFlow is imported when a data set is opened (extra `data`); nothing is ever downloaded.
"""

import contextlib
import difflib
import os
import re
from fractions import Fraction
from typing import Any, NamedTuple

from videopoet_jax.data.media import MAX_FPS, MediaError

_NAME = re.compile(
    r"tfds:(?P<builder>\w+(/[\w.\-]+)?(:\d+\.\d+\.\d+)?)(:(?P<split>[a-zA-Z_][^@?]*))?(@(?P<data_dir>[^?]+))?"
    r"(\?(?P<options>.*))?"
)
_FORMATS = ("tfrecord", "array_record", "parquet")  # riegeli has readers in no package of its own
_OPTIONS = ("split", "fps", "video", "caption", "films")


class TfdsName(NamedTuple):
    """A data set's name in parts; None is what it does not say. Folders are absolute."""

    builder: str
    data_dir: str | None
    split: str
    fps: Fraction | None = None
    video: str | None = None
    caption: str | None = None
    films: str | None = None

    def __str__(self) -> str:
        """The name that means the same wherever one stands."""
        where = "" if self.data_dir is None else f"@{self.data_dir}"
        told = [f"{key}={value}" for key in _OPTIONS if (value := getattr(self, key)) is not None]
        return f"tfds:{self.builder}{where}?{'&'.join(told)}"


def parse(name: str) -> TfdsName:
    """`tfds:a/b:test@/c?fps=25, tfds:a/b@/c?split=test&fps=25  →  TfdsName("a/b", "/c", "test", 25)`

    Raises:
        MediaError: not such a name.
    """
    found = _NAME.fullmatch(name)
    # no decoding of % and +: they are TFDS's own, as in split=train[:10%]+test
    pairs = found["options"].split("&") if found and found["options"] else []
    options = {key: value for key, _, value in (pair.partition("=") for pair in pairs)}
    if not found or not set(options) <= set(_OPTIONS) or (found["split"] and "split" in options):
        raise MediaError(
            f"{name}: no name of a data set; tfds:NAME/CONFIG:1.0.0:SPLIT@/data_dir is one, with any of "
            f"{', '.join(_OPTIONS)} behind a question mark: ?fps=25&video=frames."
        )
    return TfdsName(
        builder=found["builder"],
        data_dir=_absolute(found["data_dir"]),
        split=found["split"] or options.get("split", "train"),
        fps=rate_of(options["fps"], name) if "fps" in options else None,
        video=options.get("video"),
        caption=options.get("caption"),
        films=_absolute(options.get("films")),
    )


def _absolute(folder: str | None) -> str | None:
    return folder if folder is None or "://" in folder else os.path.abspath(os.path.expanduser(folder))


def rate_of(value: Any, where: str) -> Fraction:
    """Frames a second, exactly.  `25, "30000/1001" → 25, 30000/1001`

    Raises:
        MediaError: none, or none that a film has.
    """
    with contextlib.suppress(ValueError, OverflowError, ZeroDivisionError):  # of NaN, infinity and 1/0
        if 0 < (rate := Fraction(str(value))) <= MAX_FPS:
            return rate
    raise MediaError(f"{where}: fps={value}: above 0 and at most {MAX_FPS} frames a second are needed.")


def builder_of(name: str, parts: TfdsName) -> Any:
    """TFDS's builder of a data set that is prepared.

    Raises:
        MediaError: TFDS is not installed, knows no such data set, or has not prepared it so that it can be read.
    """
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise MediaError(f"{name}: TFDS is not installed; pip install 'videopoet_jax[data]'.") from error
    with contextlib.suppress(RuntimeError):  # of a TensorFlow that is in use already
        tf.config.set_visible_devices([], "GPU")  # it would take the memory that JAX needs
    try:
        builder = tfds.builder(parts.builder, data_dir=parts.data_dir)
    except tfds.core.DatasetNotFoundError as error:
        known = {*tfds.list_builders(with_community_datasets=False), *_folders(parts.data_dir)}
        near = difflib.get_close_matches(re.split("[/:]", parts.builder)[0], known, n=3)
        like = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise MediaError(
            f"{name}: TFDS has no such data set{like}; check its name, or say behind @ in which folder it is prepared."
        ) from error
    except (ValueError, AssertionError, ImportError) as error:
        reason = " ".join(str(error).split())[:300]
        raise MediaError(f"{name}: {reason}; check its config and version.") from error
    if not builder.info.splits:
        where = "" if parts.data_dir is None else f" --data_dir {parts.data_dir}"
        raise MediaError(
            f"{name}: not prepared in {builder.data_dir}; run `tfds build {parts.builder}{where}`, or say behind @ in "
            "which folder it is."
        )
    if (form := builder.info.file_format.value) not in _FORMATS:
        raise MediaError(f"{name}: its files are {form}: {', '.join(_FORMATS)} can be read; `tfds convert_format` it.")
    return builder


def _folders(root: str | None) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(root)) if root else []
    return []


class Part(NamedTuple):
    """Clips `first` to before `stop` of a split."""

    split: str
    first: int
    stop: int


def parts_of(name: str, builder: Any, split: str) -> list[Part]:
    """`train[:50%]+test → Part("train", 0, 2) Part("test", 0, 4)`, of four clips each

    Raises:
        MediaError: no such split, or nothing in it.
    """
    import tensorflow_datasets as tfds

    splits = builder.info.splits
    try:
        told = tfds.core.ReadInstruction.from_spec(split).to_absolute(splits)
        parts = [
            Part(p.splitname, p.from_ or 0, splits[p.splitname].num_examples if p.to is None else p.to) for p in told
        ]
    except (KeyError, ValueError, NotImplementedError) as error:
        raise MediaError(f"{name}: split {split!r}: its splits are {', '.join(splits)}; name one of them.") from error
    if not any(part.first < part.stop for part in parts):
        raise MediaError(f"{name}: split {split!r}: no clips in it; name a larger one of {', '.join(splits)}.")
    return parts
