"""Opening and decoding a stranger's media file: limits first, then libav.

Only local regular files are opened, by Python, and libav is handed the open file. It cannot open anything else:
playlists (`concat:`, HLS, DASH), devices and network addresses are neither on its list of containers nor reachable for
it. What a header claims is checked against the limits below before anything of that size is allocated.
"""

import io
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av

from videopoet_jax.data.media_guard import MAX_SAMPLES, claimed_samples

# Ours, but the first: H.264 level 6.2 allows 139,264 macroblocks of 16×16 in a frame (8192×4352, more than "8K").
MAX_PIXELS = 139_264 * 256
MAX_SIDE = 16_384
MAX_FPS = 1_000
MAX_SECONDS = 24 * 3_600  # a later timestamp is taken for a damaged or hostile one
MAX_HELD = 600  # seconds that one frame is shown: a slide of a lecture; longer is taken for a damaged timestamp
MAX_CHANNELS = 64
MAX_STREAMS = 64
SAMPLE_RATES = (1_000, 768_000)
# Containers that hold all they need in the one file. `hls`, `concat`, `dash`, `image2`, `sdp`, `tty` … stay out.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,gif,ogg,flv,live_flv,asf,wav,w64,mp3,flac,aac,ac3,"
    "aiff,au,caf,h264,hevc,m4v,av1,obu,ivf,nut,rm,mxf,dv,swf,wtv,mjpeg,yuv4mpegpipe,apng,amr,tta"
)
Number = int | float | Fraction  # of seconds, or of frames a second
_READ_BYTES = 1 << 20
THREADED_PIXELS = 320 * 240  # threads that hand smaller frames over wait more than they work
_SEEK_AFTER, _SEEK_MARGIN = 4, 1  # seconds: nearer to the start, decoding all is as quick; codecs need a run-up
_PROTOCOLS = (
    "async:", "cache:", "concat:", "concatf:", "crypto:", "data:", "fd:", "file:", "ftp:", "gopher:", "hls:", "http:",
    "https:", "mmsh:", "mmst:", "pipe:", "rtmp:", "rtp:", "rtsp:", "sftp:", "srt:", "subfile:", "tcp:", "tee:", "tls:",
    "udp:", "unix:",
)  # fmt: skip
_LOG = logging.getLogger(__name__)


class MediaError(ValueError):
    """A picture, video or sound that cannot be read or written: value, rule, remedy in one line."""


class EmptyStream(MediaError):
    """A stream that holds nothing and claims nothing, such as the track of sound of a silent recording."""


class _LocalFile(io.FileIO):
    """A file whose name, as libav sees it, is only `media` and the suffix: enough to guess the container."""

    def __init__(self, descriptor: int, suffix: str):
        super().__init__(descriptor, "rb")
        self.name = f"media{suffix}"


def is_address(name: str) -> bool:
    """Whether a name is one of libav's protocols and no file's.  `http://a.b/c.mp4, concat:a|b, data:…  → True`"""
    return "://" in name or name.lower().startswith(_PROTOCOLS)


def open_local(path: str | os.PathLike) -> io.FileIO:
    """The open file, known to be a local, regular and non-empty one (a symbolic link to one will do).

    Raises:
        FileNotFoundError, PermissionError, MediaError: with the rule and the remedy.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        if is_address(path):
            raise MediaError(f"{path}: only local files are read; download it and give the path of the file.")
        raise FileNotFoundError(f"{path}: no such file; check the path.")
    # Non-blocking: opening a named pipe must not wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    status, problem = os.fstat(descriptor), None
    if not stat.S_ISREG(status.st_mode):
        problem = f"{path}: not a regular file; give a media file, not a directory, pipe or device."
    elif status.st_size == 0:
        problem = f"{path}: the file is empty; copy or download it again."
    if problem is not None:
        os.close(descriptor)
        raise MediaError(problem)
    return _LocalFile(descriptor, Path(path).suffix[:8])


def _refuse(url: str, *_: object) -> None:
    raise MediaError(f"{url}: a media file may not have another file or address opened; give the file itself.")


@contextmanager
def open_media(path: str | os.PathLike) -> Iterator["av.container.InputContainer"]:
    """The container, closed at the end; what libav cannot make sense of becomes a `MediaError`."""
    options = {
        "format_whitelist": CONTAINERS,
        "protocol_whitelist": "none",
        "max_streams": str(MAX_STREAMS),
        "max_pixels": str(MAX_PIXELS),
    }
    with open_local(path) as file:
        samples = claimed_samples(file)
        if samples is None or samples > MAX_SAMPLES:
            claim = "a compressed or endless header" if samples is None else f"{samples:,} samples claimed"
            raise MediaError(f"{os.fspath(path)}: {claim}; up to {MAX_SAMPLES:,} are read; cut or convert it.")
        try:
            container = av.open(
                file, "r", options=options, metadata_errors="replace", buffer_size=_READ_BYTES, io_open=_refuse
            )
        except MediaError:
            raise
        except (av.FFmpegError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(
                f"{os.fspath(path)}: not a video or sound that can be read, or cut off ({reason}); try to play it, "
                "or convert it to mp4."
            ) from error
        with container:
            yield container


def check_size(what: str | os.PathLike, height: int, width: int) -> None:
    """Refuses frames without area and frames beyond the limits."""
    if min(height, width) < 1 or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise MediaError(
            f"{os.fspath(what)}: frames of {height}×{width}; sides of 1 to {MAX_SIDE:,} and up to {MAX_PIXELS:,} "
            "pixels are taken; scale it."
        )


def check_sound(what: str | os.PathLike, sample_rate: int, channels: int) -> None:
    """Refuses sample rates and channel counts beyond the limits."""
    low, high = SAMPLE_RATES
    if not (low <= sample_rate <= high and 1 <= channels <= MAX_CHANNELS):
        raise MediaError(
            f"{os.fspath(what)}: sound at {sample_rate} Hz in {channels} channels; {low:,} to {high:,} Hz and 1 to "
            f"{MAX_CHANNELS} channels are taken; convert it."
        )


def video_stream(container: "av.container.InputContainer", path: str | os.PathLike) -> "av.VideoStream":
    """The first stream of moving pictures (a cover picture is none), its claims checked, ready to decode."""
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if s.codec_context is not None and not s.disposition & cover]
    if not streams:
        raise MediaError(f"{os.fspath(path)}: no picture that can be decoded in it; give a video.")
    stream = streams[0]
    if not (stream.codec_context.height and stream.codec_context.width):
        raise MediaError(f"{os.fspath(path)}: frames of no size, or of a size too large to be a video's; get it again.")
    check_size(path, stream.codec_context.height, stream.codec_context.width)
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    if stream.codec_context.height * stream.codec_context.width >= THREADED_PIXELS:
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = min(4, _cores())  # more threads hold more frames
    return stream


def _cores() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def audio_stream(container: "av.container.InputContainer", path: str | os.PathLike) -> "av.AudioStream":
    """The first stream of sound, its claims checked, ready to decode."""
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    if not streams:
        raise MediaError(f"{os.fspath(path)}: no sound that can be decoded in it; give a file with sound.")
    check_sound(path, streams[0].codec_context.sample_rate, streams[0].codec_context.channels)
    return streams[0]


def origin(container: "av.container.InputContainer") -> Fraction | None:
    """The timestamp that counts as second 0 for picture and sound alike: where the picture starts, if there is one."""
    for stream in (*container.streams.video, *container.streams.audio):
        if stream.start_time is not None:
            return stream.start_time * stream.time_base
    return None


def decoded(
    container: "av.container.InputContainer",
    stream: "av.VideoStream | av.AudioStream",
    path: str | os.PathLike,
    unshown: Callable[["av.Packet"], bool] | None = None,
) -> Iterator["av.VideoFrame | av.AudioFrame"]:
    """Every frame that can be decoded, in order; damaged packets are passed over, and counted in one logged line.

    What libav conceals inside a frame (a lost slice) is given as libav gives it. Behind the first frame, and before any
    damage, those that are `unshown` are left out where no other frame is made of them.

    Raises:
        EmptyStream: there is nothing to decode.
        MediaError: not a single frame could be decoded.
    """
    given, damaged, held, skips = 0, 0, 0, False
    for packet in _packets(container, stream):
        damaged += packet is None
        held += 0 if packet is None else packet.size
        if unshown is not None and packet is not None:
            needless = unshown(packet) and given > 0 and damaged == 0
            if needless != skips:
                stream.codec_context.skip_frame = "NONREF" if needless else "DEFAULT"
                skips = needless
        try:
            frames = stream.codec_context.decode(packet)
        except av.EOFError:
            frames = []
        except av.FFmpegError:
            frames, damaged = [], damaged + 1
        given, damaged = given + len(frames), damaged + sum(frame.is_corrupt for frame in frames)
        yield from frames
    if not (given or damaged or held or _claims(stream)):
        raise EmptyStream(f"{os.fspath(path)}: its stream of {stream.type} is empty; give another file.")
    if not given:
        parts = f" ({damaged} damaged parts)" if damaged else ""
        raise MediaError(f"{os.fspath(path)}: nothing could be decoded{parts}; get it again.")
    if damaged:
        _LOG.warning("%s: %d damaged parts passed over or patched up; the rest was read.", os.fspath(path), damaged)


def _claims(stream: "av.VideoStream | av.AudioStream") -> bool:
    """Whether the header says that the stream lasts, by Matroska's own tag where there is one.

    Without such a tag libav says of a stream in Matroska that it lasts as long as the others.
    """
    tag = stream.metadata.get("DURATION")  # such as 00:00:01.125000000
    return bool(stream.frames or (stream.duration if tag is None else tag.strip("0:.")))


def _packets(container, stream) -> Iterator["av.Packet | None"]:
    """The packets, then one that flushes the decoder; a container that breaks off ends with None, which flushes too."""
    try:
        yield from container.demux(stream)
    except (av.FFmpegError, IndexError):  # the latter is PyAV's answer to streams that appear in the middle
        yield None


def decoded_from(
    container: "av.container.InputContainer",
    stream: "av.VideoStream | av.AudioStream",
    path: str | os.PathLike,
    start: Fraction,
    unshown: Callable[["av.Packet"], bool] | None = None,
) -> Iterator["av.VideoFrame | av.AudioFrame"]:
    """Frames that begin at or before `start` where there are such, and all later ones. Seeks when that saves work.

    A seek that lands too late, or nowhere, is undone: the file is then decoded from its beginning.
    """
    zero = origin(container)
    if start > _SEEK_AFTER and zero is not None:
        try:
            container.seek(int((zero + start - _SEEK_MARGIN) / stream.time_base), stream=stream)
            frames = decoded(container, stream, path, unshown)
            first = next(frames)
            landed = first.pts is not None and first.pts * first.time_base - zero <= start
        except (av.FFmpegError, MediaError):
            landed = False
        if landed:
            yield from chain([first], frames)
            return
        with open_media(path) as again:
            choose = video_stream if stream.type == "video" else audio_stream
            yield from decoded(again, choose(again, path), path, unshown)
        return
    yield from decoded(container, stream, path, unshown)
