"""Video, sound and picture files of any kind ↔ numpy arrays: the one door through which media come in and go out.

    mp4, mov, mkv, webm, avi, mpg, gif …  → iterate_frames, read_video    uint8 [t h w 3]
    their sound, wav, mp3, flac …         → iterate_audio, read_audio     float32 [s], one channel
    png, jpg, webp …                      → read_image                    uint8 [h w 3]
    VideoWriter, write_video → mp4 (H.264, AAC)    write_wav → wav    write_image → png, jpg, webp

Files come from strangers: `media_open` says what is refused, and why. libav's own messages stay silent, as PyAV has it.
"""

from videopoet_jax.data.media_frames import MAX_VIDEO_BYTES, VideoInfo, iterate_frames, probe, read_video
from videopoet_jax.data.media_image import PICTURES, fit, is_still, read_image, write_image
from videopoet_jax.data.media_moments import retime
from videopoet_jax.data.media_open import (
    MAX_CHANNELS,
    MAX_FPS,
    MAX_PIXELS,
    MAX_SECONDS,
    MAX_SIDE,
    SAMPLE_RATES,
    EmptyStream,
    MediaError,
    Number,
)
from videopoet_jax.data.media_sound import MAX_AUDIO_BYTES, is_silent, iterate_audio, read_audio
from videopoet_jax.data.media_write import VideoWriter, write_video, write_wav

__all__ = [
    "MAX_AUDIO_BYTES", "MAX_CHANNELS", "MAX_FPS", "MAX_PIXELS", "MAX_SECONDS", "MAX_SIDE", "MAX_VIDEO_BYTES",
    "PICTURES", "SAMPLE_RATES", "EmptyStream", "MediaError", "Number", "VideoInfo", "VideoWriter", "fit", "is_silent",
    "is_still", "iterate_audio", "iterate_frames", "probe", "read_audio", "read_image", "read_video", "retime",
    "write_image", "write_video", "write_wav",
]  # fmt: skip
