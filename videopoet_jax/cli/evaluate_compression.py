"""`videopoet evaluate compression`: tokenizers' codes against H.265 and H.266 at equal bits, on real clips.

A code costs log2 of the vocabulary, nothing is coded further; `evaluate.codecs` says how the others are set and which
of their bits count. All see the same frames, of the working size and rate. Files:

    rate_distortion.png   figures against bits per pixel
    sheet.png             the first pieces: true, by the tokenizers, by the codecs at the nearest rate
    figures.json          every point of every piece, and what the tables show
"""

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.pieces import Pieces, film_paths
from videopoet_jax.cli.targets import check_targets

MIN_FRAMES, SHEET_PIECES = 17, 3
AROUND = 4.0  # codecs are measured from a quarter of the fewest bits of a tokenizer to four times the most
FILES = ("rate_distortion.png", "sheet.png", "figures.json")


@click.command()
@click.argument("clips", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, default=["nano"], show_default=True,
              help="A tokenizer: a shipped name, DIR or NAME=DIR; may be given several times.")  # fmt: skip
@click.option("--out-dir", type=click.Path(path_type=Path), default="compression", show_default=True)
@click.option(
    "--weights", type=click.Path(path_type=Path), help="With lpips_alexnet in it; without, LPIPS is left out."
)
@click.option("--height", type=click.IntRange(1), default=128, show_default=True)
@click.option("--width", type=click.IntRange(1), default=128, show_default=True)
@click.option("--fps", type=float, default=8.0, show_default=True)
@click.option("--num-frames", "frames", type=click.IntRange(MIN_FRAMES), default=257, show_default=True,
              help="Files are cut into pieces of so many frames; the last may be shorter.")  # fmt: skip
@click.option("--pieces", type=click.IntRange(1), help="At most so many of a file, evenly spread.")
@click.option("--held-out", is_flag=True, help="Only the end of each file, which training on its folder leaves out.")
def command(clips, models, out_dir, weights, height, width, fps, frames, pieces, held_out) -> None:
    """Rate and distortion of tokenizers, H.265 and H.266 on CLIPS (files or folders).

    Prints, for each tokenizer, what the codecs show at equal bits and the bits that they need for equal quality (≤ and
    ≥: some clips lie beyond the qualities measured).
    """
    from videopoet_jax.cli.compression_copies import Copy, Likeness, coded, load_tokenizers, tokenized
    from videopoet_jax.evaluate.codecs import CODECS, ffmpeg
    from videopoet_jax.evaluate.sheets import save_contact_sheet
    from videopoet_jax.training.compilation import use_compilation_cache

    ffmpeg()  # before minutes of other work
    files = names(film_paths(clips))
    check_targets(*(out_dir / name for name in FILES), inputs=tuple(files))
    use_compilation_cache()
    tokenizers = load_tokenizers(models, height, width)
    likeness = Likeness(fps, weights)
    measured: dict[str, dict[str, list[Copy]]] = {}
    lengths, rows = [], []
    shape = dict(frames=frames, least=MIN_FRAMES, fps=fps, height=height, width=width)
    for path, first, video in Pieces(list(files), **shape, limit=pieces, held_out=held_out):
        name = f"{files[path]} {first}–{first + len(video) - 1}"
        copies = {label: [tokenized(coder, video, likeness)] for label, coder in tokenizers.items()}
        rates = [copy.point.rate for (copy,) in copies.values()]
        for codec in CODECS:
            copies[codec.name] = coded(codec, video, likeness, min(rates) / AROUND, max(rates) * AROUND)
        if len(measured) < SHEET_PIECES:
            rows += sheet_rows(name, video, copies, rates[0])
        lengths.append(len(video))
        measured[name] = {label: [c._replace(frames=c.frames[:0]) for c in made] for label, made in copies.items()}
        click.echo(f"measured: {name}, {len(video)} frames", err=True)
    if not measured:
        raise ValueError(f"{len(files)} files: none gives {MIN_FRAMES} frames at {fps:g} a second; give longer clips.")
    span = f"{lengths[0]}" if len(set(lengths)) == 1 else f"{min(lengths)} to {max(lengths)}"
    about = f"{len(lengths)} clip{'s' * (len(lengths) > 1)} of {span} frames, {height}×{width} at {fps:g} fps"
    report(out_dir, about, (height, width), measured, tokenizers, [codec.name for codec in CODECS])
    save_contact_sheet(out_dir / "sheet.png", rows)
    click.echo(f"\nwrote {out_dir}: {', '.join(FILES)}")


def names(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each file, with its folder if two share one."""
    alone = Counter(path.name for path in paths)
    return {path: path.name if alone[path.name] == 1 else str(path) for path in paths}


def sheet_rows(name: str, video: np.ndarray, copies: Mapping[str, Sequence], rate: float) -> list:
    """The original, and of every system the copy whose rate is nearest to `rate`."""
    from videopoet_jax.evaluate.sheets import Row

    rows = [Row(f"{name}: true", video)]
    for label, made in copies.items():
        nearest = min(made, key=lambda c: abs(np.log(c.point.rate / rate)))
        rows.append(Row(f"{label}: {nearest.point.rate:.4f} bits per pixel", nearest.frames))
    return rows


def report(
    out_dir: Path,
    about: str,
    size: tuple[int, int],
    measured: Mapping[str, Mapping[str, Sequence]],
    tokenizers: Mapping,
    codecs: list[str],
) -> None:
    """Prints the tables, draws the curves, writes figures.json; `size` is the pictures' height and width."""
    from videopoet_jax.evaluate.quality import ms_ssim_scales
    from videopoet_jax.evaluate.rate_distortion import compare, labels, static_bits, to_markdown
    from videopoet_jax.evaluate.rate_figure import save_rate_figure
    from videopoet_jax.pretrained.files import write_atomically

    pieces = list(measured.values())
    points = {label: [[copy.point for copy in piece[label]] for piece in pieces] for label in (*tokenizers, *codecs)}
    single = {name: [point for (point,) in points[name]] for name in tokenizers}
    compared = {name: [compare(c, single[name], points[c]) for c in codecs] for name in tokenizers}
    static = {}
    for name, coder in tokenizers.items():
        codes = np.concatenate([piece[name][0].codes.ravel() for piece in pieces])
        static[name] = static_bits(codes, coder.tokenizer.vocabulary_size)
    deltas = {codec: mean_deltas(points[codecs[0]], points[codec]) for codec in codecs[1:]}
    called = labels(*size)
    click.echo(about)
    for name in tokenizers:
        click.echo(f"\n{to_markdown(name, single[name], compared[name], called)}")
        click.echo(
            f"\n{name}: an ideal static code of each bit of its codes would take {static[name]:.2f} bits a code, "
            f"{static[name] / np.log2(tokenizers[name].tokenizer.vocabulary_size):.1%} of what is counted."
        )
    for codec, delta in deltas.items():
        words = ", ".join(f"{called[n]} –" if d is None else f"{called[n]} {d:+.0%}" for n, d in delta.items())
        click.echo(f"{codec} against {codecs[0]}, bits at equal quality (Bjøntegaard): {words}")
    save_rate_figure(out_dir / FILES[0], {c: points[c] for c in codecs}, single, title=about, labels=called)
    figures = {
        "about": about,
        "ms_ssim_scales": ms_ssim_scales(*size),
        "load": os.getloadavg()[0],
        "tables": {name: [dataclasses.asdict(c) for c in rows] for name, rows in compared.items()},
        "static_bits": static,
        "bd_rate": deltas,
        "pieces": {name: {label: [{"quality": c.quality, "rate": c.point.rate, **c.point.figures} for c in made]
                          for label, made in piece.items()} for name, piece in measured.items()},
    }  # fmt: skip
    data = json.dumps(figures, indent=1, allow_nan=False)
    write_atomically(out_dir / FILES[2], lambda path: path.write_text(data + "\n"))


def mean_deltas(anchor: Sequence, other: Sequence) -> dict[str, float | None]:
    """Bjøntegaard's delta rate of two codecs for every figure of quality, the mean of the clips that have one."""
    from videopoet_jax.evaluate.rate_distortion import QUALITY, bd_rate

    means = {}
    for name in (name for name in QUALITY if name in anchor[0][0].figures):
        deltas = [bd_rate(a, b, name) for a, b in zip(anchor, other, strict=True)]
        known = [delta for delta in deltas if delta is not None]
        means[name] = float(np.mean(known)) if known else None
    return means
