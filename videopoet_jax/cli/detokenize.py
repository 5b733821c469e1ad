"""`videopoet detokenize`: npz files of codes → mp4 films with sound, in constant memory.

What was filled up for the last latent is cut off, and sound shorter than the picture ends in silence: the film has as
many frames as were read. Longer sound is refused. A film carries the digest of the codes it was made from. By that a
second run knows it; and a film without one, such as the original, is never written over.
"""

import hashlib
import math
from fractions import Fraction
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.films import Job, Made, Models, Tally, conclude, digests, load, plan, work_through
from videopoet_jax.cli.targets import check_targets

LATENTS_READ, SOUND_READ = 64, 1_024  # ours: codes are small, so seconds of them at a time
MARK = "videopoet_jax: from codes "


@click.command()
@click.argument("inputs", metavar="IN…", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="FILE.mp4 for one film, else a folder.")
@click.option("--model", default="nano", show_default=True, help="The model that the codes were made with.")
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
@click.pass_obj
def command(invocation, inputs, out, model, report) -> None:
    """Turn codes back into videos. IN are npz files of `videopoet tokenize`, or folders with everything below them.

    A film is made again only if its codes have changed. Codes that cannot be read or are another model's, and those
    whose film would be written over one that is not made of codes, are reported and left out; the exit code is then 2.
    """
    from videopoet_jax.training.compilation import use_compilation_cache

    jobs = plan(inputs, out, (".npz",), film_name)
    check_targets(report)
    speaks = digests(model)
    fresh = [job for job in jobs if comment_of(job.target) != mark(job.source)]
    tally = Tally(0, 0)
    if fresh:
        use_compilation_cache()
        tally = work_through(fresh, lambda: load(model, speaks), Detokenize(model, speaks), invocation.debug)
    conclude(len(jobs), tally, report)


def film_name(name: str) -> str:
    """`a.mp4.npz → a.mp4, a.mkv.npz → a.mkv.mp4, a.npz → a.mp4`"""
    stem = name.removesuffix(".npz")
    return stem if stem != name and stem.lower().endswith(".mp4") else f"{stem}.mp4"


def mark(codes: Path) -> str:
    """What a film keeps of the codes that it was made from."""
    with codes.open("rb") as file:
        return MARK + hashlib.file_digest(file, "sha256").hexdigest()


def comment_of(film: Path) -> str | None:
    """What a film keeps beside its picture; None where there is no film, and nothing if it cannot be read."""
    from videopoet_jax.data.media import MediaError, probe

    try:
        return probe(film).comment
    except FileNotFoundError:
        return None
    except (MediaError, OSError):
        return ""


class Detokenize:
    """One file of codes → its film."""

    def __init__(self, model: str, speaks: dict[str, str]) -> None:
        self.model, self.speaks = model, speaks

    def __call__(self, job: Job, models: Models, until_stopped) -> Made:
        from videopoet_jax.data.code_files import CodeFile
        from videopoet_jax.data.media import VideoWriter

        before = comment_of(job.target)
        if before is not None and not before.startswith(MARK):
            raise ValueError(
                f"{job.target}: a film that detokenize has not made; name another folder with --out, or move it away."
            )
        with CodeFile(job.source) as file:
            film, made_from = file.film, mark(job.source)
            writer = VideoWriter(job.target, fps=film.fps, sample_rate=film.sample_rate, comment=made_from)
            self._check(file, models, writer.fps)
            with writer:
                codes = until_stopped(file.video(LATENTS_READ))
                sound = models.audio.decode_pieces(file.audio(SOUND_READ)) if film.sample_rate else iter(())
                for video in models.video.decode_pieces(codes):
                    writer.write(video[: film.frames - writer.frames_written])
                    if film.sample_rate:
                        _write_sound(writer, sound, film.frames)
        return Made(f"wrote {job.target}: {film.frames} frames of {film.height}×{film.width}")

    def _check(self, file, models: Models, fps: Fraction) -> None:
        """Refuses the codes of other models, a picture that is not what its codes stand for, sound beyond its end."""
        film = file.film
        for part in ("video_tokenizer", "audio_tokenizer"):
            wanted, have = getattr(film, part), self.speaks.get(part)
            if wanted is not None and wanted != have:
                found = f"is {have[:19]}…" if have else "is missing"
                raise ValueError(
                    f"{file.path}: made with {part} {wanted[:19]}…, that of {self.model} {found}; give the --model it "
                    "was made with."
                )
        expected = models.video.grid(film.frames, film.height, film.width)
        if expected != file.video_shape:
            raise ValueError(
                f"{file.path}: codes {list(file.video_shape)} for {film.frames} frames of {film.height}×{film.width}, "
                f"which have {list(expected)}; make it anew with `videopoet tokenize`."
            )
        if film.sample_rate is None:
            return
        if film.sample_rate != models.audio.sample_rate:
            raise ValueError(
                f"{file.path}: sound of {film.sample_rate} Hz, its tokenizer's is {models.audio.sample_rate}; make it "
                "anew with `videopoet tokenize`."
            )
        picture = film.frames / fps  # seconds
        one = Fraction(models.audio.samples_per_frame, film.sample_rate)
        if file.audio_shape[0] > math.ceil(picture / one):
            raise ValueError(
                f"{file.path}: {file.audio_shape[0] * float(one):.2f} s of sound, {float(picture):.2f} s of picture, "
                "which must last as long; make it anew with `videopoet tokenize`."
            )


def _write_sound(writer, sound, frames: int) -> None:
    """The sound of the frames written so far, silence where it has ended, and nothing beyond the film's last frame."""
    due, last = (int(count * writer.sample_rate / writer.fps) for count in (writer.frames_written, frames))
    while writer.samples_written < due:
        piece = next(sound, None)
        silence = np.zeros(due - writer.samples_written, np.float32)
        writer.write_audio(silence if piece is None else piece[: last - writer.samples_written])
