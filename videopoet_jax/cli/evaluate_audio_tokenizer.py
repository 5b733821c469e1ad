"""`videopoet evaluate audio-tokenizer`: copies of real sounds by any of our audio tokenizers, at every bit rate."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from videopoet_jax.cli.targets import check_targets

LEAST_SAMPLES = 1024  # a window of the spectra


class Truth(NamedTuple):
    """What a copy shall be like."""

    sound: np.ndarray
    spectrum: np.ndarray


class Hearing(NamedTuple):
    """What a tokenizer is given, and what its copies shall be like."""

    name: str
    heard: Sequence[np.ndarray]
    wanted: Sequence[Truth]
    denoise: bool


@click.command()
@click.argument("sources", metavar="SOUNDS...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, required=True,
              help="A shipped name or a directory; give it once for each tokenizer.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True,
              help="Of each sound, from its start.")  # fmt: skip
@click.option("--noise", "ratios", multiple=True, type=click.FloatRange(-60, 120), metavar="DB",
              help="Also under noise so many dB below the sound; give it once for each ratio.")  # fmt: skip
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the table's figures.")
def command(sources, models, seconds, ratios, report) -> None:
    """Score copies of SOUNDS (sound or video files, or folders of them) made from the first 1, 2, … levels.

    SI-SDR, which hears phase, and log-spectral distance, which does not: means over the sounds, each with its peak at
    1. Silence beside them: where most of a spectrum is empty, as a tone's, its distance is small.
    Name sounds that the tokenizers were not trained on.

    With --noise, copies of sounds under coloured noise (its power falls with frequency as 1/f to 1/f²; white too), with
    the tokenizer asked to leave the noise out if it has learned to; all figures are against the sound without noise.
    """
    check_targets(report)
    if any(map(math.isnan, ratios)):
        raise ValueError("--noise nan: not a ratio; give decibels between -60 and 120.")
    from videopoet_jax.audio.tokenizer import AudioTokenizer
    from videopoet_jax.training.compilation import use_compilation_cache

    use_compilation_cache()
    paths, rows, left_out = list(files_of(sources)), [], {}
    for name in dict.fromkeys(models):
        tokenizer = AudioTokenizer.from_pretrained(name)
        sounds = list(read(paths, tokenizer, seconds, left_out))
        if not sounds:
            raise ValueError(
                f"{len(paths)} files: none has sound to score; {next(iter(left_out.values()), 'name some')}"
            )
        rows += score(name, tokenizer, sounds, ratios)
    for reason in left_out.values():
        click.echo(f"warning: left out: {reason}", err=True)
    click.echo(table(rows))
    click.echo(f"\n{len(paths) - len(left_out)} sounds, {len(left_out)} left out.")
    if report:
        from videopoet_jax.pretrained.files import write_atomically

        figures = {"rows": rows, "sounds": len(paths) - len(left_out), "left_out": [str(path) for path in left_out]}
        data = json.dumps(figures, indent=1, allow_nan=False)
        write_atomically(report, lambda path: path.write_text(data + "\n"))


def files_of(sources: Sequence[Path]) -> Iterator[Path]:
    """Files as they are, folders as the sounds and videos below them in the order of their names."""
    from videopoet_jax.data.clip_files import SOUND_SUFFIXES, walk

    for source in sources:
        if source.is_dir():
            yield from (source / name for name in sorted(walk(source, SOUND_SUFFIXES)))
        else:
            yield source


def read(paths: Sequence[Path], tokenizer, seconds: float, left_out: dict[Path, str]) -> Iterator[np.ndarray]:
    """The start of every sound in whole frames, its peak at 1; why a file has none goes into `left_out`."""
    from videopoet_jax.data.media import MediaError, read_audio

    for path in paths:
        try:
            sound = read_audio(path, sample_rate=tokenizer.sample_rate, end=seconds)
            sound = sound[: tokenizer.frames(len(sound)) * tokenizer.samples_per_frame]
            peak = np.abs(sound).max(initial=0.0)
            if len(sound) < LEAST_SAMPLES or peak < 0.5 / 32_767:
                raise MediaError(
                    f"{path}: silent, or shorter than {LEAST_SAMPLES:,} samples in whole frames of "
                    f"{tokenizer.samples_per_frame} at {tokenizer.sample_rate:,} Hz."
                )
            yield sound / peak
        except (MediaError, OSError) as error:
            left_out[path] = str(error)


def score(name: str, tokenizer, sounds: Sequence[np.ndarray], ratios: Sequence[float] = ()) -> list[dict]:
    """A row for each number of levels, and one of silence; under noise the same, and one of the noisy sounds.

    Sounds are in whole frames.
    """
    from videopoet_jax.audio.denoising import noisy

    hearings = [Hearing("clean", sounds, truths(sounds), denoise=False)]
    silence = [np.zeros_like(sound) for sound in sounds]
    rows = [row(f"silence, at {tokenizer.sample_rate} Hz", hearings[0], 0, 0.0, silence)]
    for snr in ratios:
        pairs = [noisy(i, sound, snr) for i, sound in enumerate(sounds)]
        heard, wanted = [pair.heard for pair in pairs], truths([pair.wanted for pair in pairs])
        plain = Hearing(f"noise at {snr:g} dB", heard, wanted, denoise=False)
        rows.append(row("no copy", plain, 0, None, heard))
        hearings.append(plain)
        if tokenizer.denoises:
            hearings.append(plain._replace(name=f"{plain.name}, denoised", denoise=True))
    bits = tokenizer.sample_rate / tokenizer.samples_per_frame * math.log2(tokenizer.vocabulary_size)
    for hearing in hearings:
        codes = [tokenizer.encode(sound, denoise=hearing.denoise).codes for sound in hearing.heard]
        for levels in range(1, 1 + tokenizer.levels):
            copies = [tokenizer.decode(c[:, :levels]) for c in codes]
            rows.append(row(name, hearing, levels, bits * levels, copies))
    return rows


def truths(sounds: Sequence[np.ndarray]) -> list[Truth]:
    from videopoet_jax.evaluate.quality import log_spectrum

    return [Truth(sound, log_spectrum(sound)) for sound in sounds]


def row(name: str, hearing: Hearing, levels: int, bits: float | None, copies: Sequence[np.ndarray]) -> dict:
    """The means over the copies, each against its truth; `bits` a second, None of what is not coded."""
    from videopoet_jax.evaluate.quality import log_spectrum, spectral_distance
    from videopoet_jax.layers.distortion import si_sdr

    pairs = list(zip(hearing.wanted, copies, strict=True))
    return {
        "model": name,
        "heard": hearing.name,
        "levels": levels,
        "bits_per_second": bits,
        "si_sdr": mean([float(si_sdr(truth.sound, copy)) for truth, copy in pairs]),
        "spectral_distance": mean([spectral_distance(truth.spectrum, log_spectrum(copy)) for truth, copy in pairs]),
    }


def mean(values: Sequence[float]) -> float | None:
    """The mean; None where one is infinite (silence has no ratio to a sound)."""
    return float(np.mean(values)) if np.isfinite(values).all() else None


def table(rows: Sequence[dict]) -> str:
    """The rows in Markdown; what has no number is a dash."""

    def told(number: float | None) -> str:
        return "–" if number is None else f"{number:.2f}"

    lines = ["| model | heard | levels | kbit/s | SI-SDR dB | log-spectral distance dB |", "|---|---|---|---|---|---|"]
    for r in rows:
        rate = None if r["bits_per_second"] is None else r["bits_per_second"] / 1000
        figures = map(told, (rate, r["si_sdr"], r["spectral_distance"]))
        lines.append(f"| {r['model']} | {r['heard']} | {r['levels']} | {' | '.join(figures)} |")
    return "\n".join(lines)
