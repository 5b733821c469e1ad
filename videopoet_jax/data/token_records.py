"""Examples that were tokenized before training, kept in ArrayRecord files and read by index.

    with TokenWriter("tokens/train", meta={"video_tokenizer": digest, "audio_tokenizer": digest}) as writer:
        writer.write({"video": codes, "audio": codes, "caption": "a red 3 moving left"})
    source = TokenSource("tokens/train", expect={"video_tokenizer": digest})
    source[0]["video"]

A directory holds `meta.json` (records, bytes and SHA-256 of each file, and `meta`), `00000.array_record`, … and
`index.npy`, a row of `FIELDS` for each record, so that nothing need be read to know which task it will do for. A record
is a dict of numpy arrays as safetensors bytes, never a pickle; a text is the array of its UTF-8 bytes, `.utf8`
behind its name. ArrayRecord carries hashes, so a damaged record is an error and never another example.
"""

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from safetensors import SafetensorError
from safetensors.numpy import load, save

from videopoet_jax.pretrained.files import write_atomically

VERSION, META, INDEX, TEXT = 2, "meta.json", "index.npy", ".utf8"
# Latents of `video`, frames of `audio` (0: none), and pieces of text (0: none; those of `text_mask`).
FIELDS = ("latents", "rows", "columns", "audio_frames", "pieces")
# Ours. One record a group reads one record at a time; token ids leave many bits unused, so compression pays.
_WRITER_OPTIONS, _READER_OPTIONS = "group_size:1,zstd:3", "readahead_buffer_size:0"
MAX_META_BYTES = 1 << 26


class RecordError(ValueError):
    """Records that cannot be read or written: value, rule, remedy in one line."""


def to_bytes(example: Mapping[str, Any]) -> bytes:
    """`{"video": ids, "caption": "hi"}` → safetensors with `video` and `caption.utf8`; arrays, numbers, texts."""
    arrays = {}
    for name, value in example.items():
        if name.endswith(TEXT):
            raise RecordError(f"{name!r}: names ending in {TEXT} stand for texts; take another name.")
        if isinstance(value, str):
            arrays[name + TEXT] = np.frombuffer(value.encode("utf-8", "replace"), np.uint8)
            continue
        value = np.asarray(value)
        if value.dtype.kind not in "biuf":
            raise RecordError(f"{name!r}: an array of {value.dtype}; numbers, booleans and texts can be stored.")
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)  # the former makes a scalar one-dimensional
    return save(arrays)


def from_bytes(data: bytes) -> dict[str, np.ndarray | str]:
    """The example that `to_bytes` was given."""
    example = {}
    for name, array in load(data).items():
        is_text = name.endswith(TEXT)
        example[name.removesuffix(TEXT)] = array.tobytes().decode("utf-8", "replace") if is_text else array
    return example


def index_of(example: Mapping[str, Any]) -> tuple[int, ...]:
    """A record's row of `FIELDS`: codes [5 4 4], sound [106 1], 6 pieces → 5 4 4 106 6"""
    latents = np.shape(example.get("video", ()))
    sound, pieces = np.shape(example.get("audio", ())), int(np.sum(example.get("text_mask", 0)))
    return (*(latents if len(latents) == 3 else (0, 0, 0)), sound[0] if sound else 0, pieces)


class RecordFile:
    """One ArrayRecord file while it is written: what `meta.json` says of it, and its rows of the index."""

    SUFFIX = "array_record"

    def __init__(self, path: Path) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter  # a native library

        self.path, self.index = path, []
        self._writer = ArrayRecordWriter(str(path), _WRITER_OPTIONS)

    def write(self, example: Mapping[str, Any]) -> None:
        """Appends one example."""
        self.append(example)
        self.index.append(index_of(example))

    def append(self, example: Mapping[str, Any]) -> None:
        """To the file alone."""
        if self._writer.write(to_bytes(example)) is False or not self._writer.ok():
            raise RecordError(f"{self.path.parent}: the record cannot be written; is the disk full?")

    def close(self, name: str) -> dict[str, Any]:
        """Ends the file, which will be called `name`; its entry in `meta.json`."""
        self._writer.close()
        with self.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"name": name, "records": len(self.index), "bytes": self.path.stat().st_size, "sha256": digest}


def write_meta(
    directory: Path, files: Sequence[Mapping[str, Any]], index: Int[np.ndarray, "n fields"], meta: Mapping[str, Any]
) -> None:
    """`index.npy`, and then `meta.json`, with which a directory is whole."""
    body = {"version": VERSION, "records": len(index), "files": list(files), "meta": meta}
    write_atomically(directory / INDEX, lambda path: save_rows(path, index))
    text = json.dumps(body, indent=1, ensure_ascii=False)
    write_atomically(directory / META, lambda path: path.write_text(text, encoding="utf-8"))


def save_rows(path: Path, rows: Int[np.ndarray, "n fields"]) -> None:
    """Writes rows of an index."""
    with path.open("wb") as file:
        np.save(file, rows)


class TokenWriter:
    """Writes a directory of records; it appears under its name when the block ends well, and not at all otherwise."""

    def __init__(self, directory: str | os.PathLike, meta: Mapping[str, Any], *, records_per_file: int = 10_000):
        self.directory = Path(directory)
        self.meta, self.records_per_file = json.loads(json.dumps(dict(meta))), records_per_file
        self.files: list[dict[str, Any]] = []
        self._file: RecordFile | None = None
        self._index: list[tuple[int, ...]] = []

    def __enter__(self) -> "TokenWriter":
        if self.directory.exists() and (not self.directory.is_dir() or any(self.directory.iterdir())):
            raise FileExistsError(f"{self.directory}: not an empty directory; choose another name or delete it.")
        self.directory.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = self.directory.with_name(f".{self.directory.name}.{os.getpid()}-{os.urandom(4).hex()}")
        self._temporary.mkdir()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: object) -> None:
        try:
            self._close_file()
            if kind is None:
                rows = np.asarray(self._index, np.int32).reshape(-1, len(FIELDS))
                write_meta(self._temporary, self.files, rows, self.meta)
                self._temporary.replace(self.directory)
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def write(self, example: Mapping[str, Any]) -> None:
        """Appends one example."""
        if self._file is not None and len(self._file.index) == self.records_per_file:
            self._close_file()
        if self._file is None:
            self._file = RecordFile(self._temporary / f"{len(self.files):05d}.array_record")
        self._file.write(example)

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            self.files.append(file.close(file.path.name))
            self._index += file.index


class TokenSource:
    """Random access to the records of a directory, from any number of threads.

    `expect` names what `meta` must say, the digests of the tokenizers above all. `index` [records fields] has a row of
    `FIELDS` for each record. Of TFRecords (`tfrecords`) there is no more than these and the digests: `by_number=False`.
    """

    def __init__(
        self, directory: str | os.PathLike, expect: Mapping[str, Any] | None = None, *, by_number: bool = True
    ):
        self.directory = Path(directory)
        body = read_meta(self.directory)
        self.meta, self.files = body["meta"], body["files"]
        if by_number and not all(file["name"].endswith(RecordFile.SUFFIX) for file in self.files):
            raise RecordError(
                f"{self.directory}: TFRecords, in which no record is found by its number, as training does and our "
                "tasks in SeqIO; make the directory with `videopoet data prepare --format array_record`."
            )
        for name, value in (expect or {}).items():
            if self.meta.get(name) != value:
                raise RecordError(
                    f"{self.directory}: made with {name} {self.meta.get(name)!r}, {value!r} is needed; make them anew."
                )
        self._starts = np.cumsum([0, *(file["records"] for file in self.files)])
        self._readers: dict[int, Any] = {}
        self._lock = threading.Lock()
        for file in self.files:
            self._check_size(file)
        self.index = _read_index(self.directory, len(self))

    def _check_size(self, file: Mapping[str, Any]) -> None:
        path = self.directory / file["name"]
        size = path.stat().st_size if path.is_file() else None
        if size != file["bytes"]:
            raise RecordError(
                f"{path}: {'missing' if size is None else f'{size:,} bytes'}, {META} says {file['bytes']:,} bytes; "
                "copy the directory again."
            )

    def check_digests(self) -> None:
        """Reads every file through.

        Raises:
            RecordError: a file is not the one that was written.
        """
        for file in self.files:
            path = self.directory / file["name"]
            with path.open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != file["sha256"]:
                    raise RecordError(f"{path}: its SHA-256 is not the one in {META}; copy or prepare it again.")

    @property
    def digest(self) -> str:
        """Of the files' digests, as they are written down: equal for equal records, wherever they lie."""
        return "sha256:" + hashlib.sha256(" ".join(file["sha256"] for file in self.files).encode()).hexdigest()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __repr__(self) -> str:
        return f"TokenSource({str(self.directory)!r}, {len(self)} records)"

    def __getstate__(self) -> dict[str, Any]:
        names = ("directory", "meta", "files", "index", "_starts")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _readers={}, _lock=threading.Lock())

    def __getitem__(self, index: int) -> dict[str, np.ndarray | str]:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index}: there are {len(self)}, numbered from 0.")
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        within, path = int(index - self._starts[number]), self.directory / self.files[number]["name"]
        with _damage(path, within):
            return from_bytes(self._reader(number).read([within])[0])

    def _reader(self, number: int) -> Any:
        from array_record.python.array_record_module import ArrayRecordReader  # a native library

        with self._lock:
            if number not in self._readers:
                file = self.files[number]
                reader = ArrayRecordReader(str(self.directory / file["name"]), _READER_OPTIONS)
                if reader.num_records() != file["records"]:
                    raise ValueError(f"{reader.num_records()} records where {META} says {file['records']}")
                self._readers[number] = reader
            return self._readers[number]


@contextmanager
def _damage(path: Path, index: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, KeyError, IndexError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RecordError(f"{path}: record {index} is damaged ({reason}); copy or prepare it again.") from error


def _read_index(directory: Path, records: int) -> Int[np.ndarray, "n fields"]:
    """Mapped from the disk: a corpus has many."""
    path = directory / INDEX
    try:
        index = np.load(path, mmap_mode="r", allow_pickle=False)
        if index.dtype != np.int32 or index.shape != (records, len(FIELDS)):
            raise ValueError(f"{index.dtype} {list(index.shape)}, int32 {[records, len(FIELDS)]} is needed")
    except (OSError, ValueError, EOFError) as error:
        raise RecordError(f"{path}: not the index of these records ({error}); prepare them again.") from error
    return index


def read_meta(directory: Path) -> dict[str, Any]:
    """A directory's `meta.json`, checked."""
    path = directory / META
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, so this is no finished directory of records; `videopoet data prepare` makes one."
        )
    try:
        if path.stat().st_size > MAX_META_BYTES:
            raise ValueError(f"longer than {MAX_META_BYTES:,} bytes")
        body = json.loads(path.read_text(encoding="utf-8"))
        if body["version"] != VERSION:
            raise ValueError(f"version {body['version']!r}, {VERSION} is read")
        for file in body["files"]:
            if Path(file["name"]).name != file["name"] or not int(file["records"]) > 0 or not int(file["bytes"]) > 0:
                raise ValueError(f"file {file!r}")
        if sum(file["records"] for file in body["files"]) != body["records"] or not isinstance(body["meta"], dict):
            raise ValueError("counts that do not add up")
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: not what TokenWriter wrote ({error}); prepare them again.") from error
    return body
