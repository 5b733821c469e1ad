"""The one place where a few header bytes make libav allocate gigabytes: the sample tables of mp4 and mov.

A table may claim samples that the file is far too small to hold, and libav makes an index entry for each when it opens
the file. So the boxes are walked first, which reads headers only, and the claims are added up.

    moov ▸ trak ▸ mdia ▸ minf ▸ stbl ▸ stsz {size, count}          moof ▸ traf ▸ trun {count}
"""

import io
import struct
from dataclasses import dataclass

# Ours: 24 hours at 60 frames a second are 5.2 million, of AAC at 48 kHz 4 million. An entry costs libav about 36 bytes.
MAX_SAMPLES = 16_000_000
MAX_BOXES = 4_000_000
_INSIDE = frozenset(b"moov trak mdia minf stbl moof traf mvex edts dinf udta tref wave".split())
_COMPRESSED = b"cmov"  # a zlib-compressed header of old QuickTime files: its claims cannot be walked


@dataclass
class _Track:
    """What decides whether libav indexes the samples of a track one by one."""

    sound: bool = False
    ticks: bool = False  # one entry, each sample one tick long: libav indexes chunks of plain PCM, not samples
    samples: int = 0

    def indexed(self) -> int:
        return 0 if self.sound and self.ticks else self.samples


def claimed_samples(file: io.RawIOBase) -> int | None:
    """Samples that an mp4's tables claim, 0 for any other file, None if the header cannot be walked to its end."""
    size = file.seek(0, io.SEEK_END)
    tracks, pending, boxes = [_Track()], [(0, size)], 0
    while pending:
        start, stop = pending.pop()
        while start + 8 <= stop:
            box = _box(file, start, stop)
            if box is None:
                break
            kind, inside, end = box
            boxes += 1
            if boxes > MAX_BOXES or kind == _COMPRESSED:
                return None
            if kind == b"trak":
                tracks.append(_Track())
            if kind in _INSIDE:  # its boxes first, so that they belong to the newest track
                pending.append((end, stop))
                start, stop = inside, end
                continue
            _note(file, kind, inside, tracks[-1])
            start = end
    file.seek(0)
    return sum(track.indexed() for track in tracks)


def _box(file: io.RawIOBase, start: int, stop: int) -> tuple[bytes, int, int] | None:
    """Type, first byte inside and end of the box at `start`; None where there is none."""
    file.seek(start)
    head = file.read(16)
    size, kind, inside = int.from_bytes(head[:4]), head[4:8], start + 8
    if size == 1 and len(head) == 16:
        size, inside = int.from_bytes(head[8:]), start + 16
    elif size == 0:
        size = stop - start
    if start + size < inside or len(kind) < 4:
        return None
    return kind, inside, min(start + size, stop)  # a box may claim more than there is of the file


def _note(file: io.RawIOBase, kind: bytes, inside: int, track: _Track) -> None:
    if kind not in (b"stsz", b"stz2", b"trun", b"stts", b"hdlr"):
        return
    file.seek(inside)
    head = file.read(16).ljust(16, b"\0")
    if kind == b"trun":
        track.samples += int.from_bytes(head[4:8])
    elif kind in (b"stsz", b"stz2"):
        track.samples += int.from_bytes(head[8:12])
    elif kind == b"stts":
        entries, _, ticks = struct.unpack(">III", head[4:16])
        track.ticks = entries == 1 and ticks == 1
    elif kind == b"hdlr":
        track.sound = track.sound or head[8:12] == b"soun"
