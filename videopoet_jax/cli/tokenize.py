"""`videopoet tokenize`: films of any length and size → npz files of codes.

A film is read at a frame rate and at a working size (`sequence.grid.working_size`), which are kept beside the codes.
Any number of frames will do: what the last latent lacks is filled up by repeating the last frame, and `detokenize`
cuts it off again. Sound is taken from where the picture begins to where it ends; the first levels of its codes are the
same sound at fewer bits. Frames and sound go through in constant memory; the codes too, beyond `CODES_IN_MEMORY` in an
unnamed file. All that codes depend on is kept beside them (`made_from`), for a second run to know them by. Codes whose
sound was lost are not known again, so that a second run tries once more.
"""

import json
import threading
from fractions import Fraction
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.films import (
    Job,
    Made,
    Models,
    Tally,
    check_sides,
    conclude,
    digests,
    groups,
    load,
    plan,
    work_through,
    working,
)
from videopoet_jax.cli.main import in_one_line
from videopoet_jax.cli.targets import check_targets

CODES_IN_MEMORY = 1 << 26  # ours, bytes for each film: nearly ten hours of 128×128 at 8 frames a second, stride 8


@click.command()
@click.argument("inputs", metavar="IN…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="FILE.npz for one film, else a folder.")
@click.option("--model", default="nano", show_default=True, help="A shipped name or a directory of weights.")
@working
@click.option("--chunk-frames", type=click.IntRange(1), default=16, show_default=True,
              help="Frames read at a time; the codes do not depend on it.")  # fmt: skip
@click.option("--audio-levels", type=click.IntRange(1), help="Only the first so many levels of sound: fewer bits.")
@click.option("--denoise", is_flag=True, help="Leave noise out of the sound; the model must have learned it.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
@click.pass_obj
def command(invocation, inputs, out, model, chunk_frames, report, **options) -> None:
    """Turn videos, with their sound, into codes. IN are files, or folders with everything below them.

    What is already there is made again only if the film (its size or time), the model or an option has changed. A film
    that cannot be read is reported and left out; one whose sound cannot be read is reported and made without it, and
    the next run tries again. The exit code is then 2.
    """
    from videopoet_jax.data.clip_files import SUFFIXES
    from videopoet_jax.layers.precision import compute_dtype
    from videopoet_jax.training.compilation import use_compilation_cache

    jobs = plan(inputs, out, SUFFIXES, "{}.npz".format)
    check_targets(report)
    speaks = digests(model)
    options |= {"dtype": compute_dtype(None)}  # codes depend on it, by rounding
    fresh = [job for job in jobs if not is_current(job, speaks, options)]
    tally, total = Tally(0, 0), Totals()
    if fresh:
        use_compilation_cache()
        work = Tokenize(speaks, options, chunk_frames, total)
        tally = work_through(fresh, lambda: load_for(model, speaks, options), work, invocation.debug)
    conclude(len(jobs), tally, report, **total.figures())


def load_for(model: str, speaks: dict[str, str], options: dict) -> Models:
    """The tokenizers.

    Raises:
        ValueError: they cannot do what the options ask of the sound.
    """
    models = load(model, speaks)
    if models.audio is not None:
        for _ in models.audio.encode_pieces((), options["audio_levels"], denoise=options["denoise"]):
            pass
    elif options["audio_levels"] or options["denoise"]:
        option = "--denoise" if options["denoise"] else "--audio-levels"
        raise ValueError(f"{option}: {model} has no audio tokenizer; leave it out, or give a --model that has one.")
    return models


def made_from(source: Path, speaks: dict[str, str], options: dict) -> str:
    """All that the codes depend on, as text. The film's content is not read: its size and time stand for it."""
    status = source.stat()
    return json.dumps({"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, **options, **speaks}, sort_keys=True)


def is_current(job: Job, speaks: dict[str, str], options: dict) -> bool:
    """Whether the codes are there, of this film, and whole to the last byte."""
    from videopoet_jax.data.code_files import CodeFile

    try:
        with CodeFile(job.target) as file:
            if file.film.made_from != made_from(job.source, speaks, options):
                return False
            file.check()
            return True
    except (ValueError, OSError):
        return False


class Totals:
    """Frames and codes of all films together, and how many lost their sound; threads may add to it at once."""

    def __init__(self) -> None:
        self.frames = self.video_codes = self.audio_codes = self.sound_lost = 0
        self._lock = threading.Lock()

    def add(self, frames: int, video: np.ndarray, audio: np.ndarray | None, sound_lost: bool) -> None:
        with self._lock:
            self.frames += frames
            self.sound_lost += sound_lost
            self.video_codes += video.size
            self.audio_codes += 0 if audio is None else audio.size

    def figures(self) -> dict[str, int]:
        names = ("frames", "video_codes", "audio_codes", "sound_lost")
        return {name: getattr(self, name) for name in names}


class Tokenize:
    """One film → its file of codes."""

    def __init__(self, speaks: dict[str, str], options: dict, chunk_frames: int, total: Totals) -> None:
        self.speaks, self.options, self.chunk_frames, self.total = speaks, options, chunk_frames, total

    def __call__(self, job: Job, models: Models, until_stopped) -> Made:
        from videopoet_jax.data.clip_store import ArrayStore
        from videopoet_jax.data.code_files import Film, write_codes
        from videopoet_jax.data.media import EmptyStream, iterate_frames, probe
        from videopoet_jax.sequence.grid import working_size

        origin, fps = made_from(job.source, self.speaks, self.options), self.options["fps"]
        info, tokenizer, store = probe(job.source), models.video, ArrayStore(CODES_IN_MEMORY)
        shown, asked = (info.height, info.width), {side: self.options[side] for side in ("height", "width")}
        height, width = working_size(shown, tokenizer.stride[1:], **asked)
        check_sides(job.source, shown, (height, width), (height, width))
        frames = Counted(until_stopped(iterate_frames(job.source, fps=fps, height=height, width=width)))
        shape = tokenizer.grid(1, height, width)[1:]
        video = store.collect(models.video.encode_pieces(groups(frames, self.chunk_frames)), shape, np.int32)
        audio, lost = None, None
        if models.audio is not None and info.has_audio:
            try:
                audio = self._sound(job.source, models.audio, frames.count, until_stopped, store)
            except EmptyStream:
                audio = None  # a track with nothing in it: the film has no sound
            except ValueError as error:  # damage, or values that are no sound: the picture is not lost with it
                lost = f"made without its sound: {in_one_line(error).removeprefix(f'{job.source}: ')}"
        film = Film(
            frames=frames.count,
            height=height,
            width=width,
            fps=fps,
            sample_rate=None if audio is None else models.audio.sample_rate,
            video_tokenizer=self.speaks["video_tokenizer"],
            audio_tokenizer=None if audio is None else self.speaks["audio_tokenizer"],
            made_from=origin if lost is None else f"{origin} without its sound",
        )
        write_codes(job.target, film, video, audio)
        self.total.add(frames.count, video, audio, lost is not None)
        if audio is not None:
            sound = f"sound {list(audio.shape)}"
        elif lost is not None:
            sound = "without its sound, which cannot be read"
        else:
            left_out = info.has_audio and models.audio is None
            sound = "its sound left out, the model has none" if left_out else "no sound"
        size = f"{frames.count} frames of {height}×{width}"
        return Made(f"wrote {job.target}: {size} as codes {list(video.shape)}, {sound}", lost)

    def _sound(self, source: Path, tokenizer, frames: int, until_stopped, store) -> np.ndarray | None:
        """The codes of the sound beside the picture; what lasts less than a frame is none.

        Raises:
            EmptyStream: there is nothing in it.
            ValueError: nothing of it can be decoded, or what is decoded is no sound.
        """
        from videopoet_jax.data.media import iterate_audio

        end = frames / Fraction(self.options["fps"]).limit_denominator(1001)
        sound = iterate_audio(source, sample_rate=tokenizer.sample_rate, end=end)
        levels, denoise = self.options["audio_levels"] or tokenizer.levels, self.options["denoise"]
        pieces = tokenizer.encode_pieces(until_stopped(sound), levels, denoise=denoise)
        codes = store.collect(pieces, (levels,), np.int32)
        return codes if len(codes) else None


class Counted:
    """An iterator that knows how many items it has given."""

    def __init__(self, items) -> None:
        self.items, self.count = items, 0

    def __iter__(self):
        for item in self.items:
            self.count += 1
            yield item
