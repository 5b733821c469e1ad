"""What `videopoet evaluate MODEL --clips FOLDER` measures: copies and continuations of the held-out part of real clips.

Every figure stands beside what costs nothing: a mean over 8×8×4 blocks for the copies, and for the continuations the
last given frame, as the tokenizer shows it, repeated.
"""

import json
from pathlib import Path

import click
import numpy as np

GIVEN = 9  # frames that a continuation starts from
MOST_WINDOWS, SHEET_WINDOWS = 64, 6


def report(vp, folder: Path, out_dir: Path) -> dict[str, float | None]:
    """Scores the held-out windows of `folder`; writes sheet.png, scores.json and one mp4 a continuation."""
    from videopoet_jax.data.media import write_video
    from videopoet_jax.data.sources import ClipFolder
    from videopoet_jax.evaluate.sheets import Row, save_contact_sheet, side_by_side
    from videopoet_jax.pretrained.files import write_atomically

    s = vp.settings
    source = ClipFolder(
        folder,
        num_frames=s.num_frames,
        fps=s.fps,
        height=s.height,
        width=s.width,
        sample_rate=s.sample_rate,
        split="held_out",
    )
    picked = np.unique(np.linspace(0, len(source) - 1, min(MOST_WINDOWS, len(source))).round().astype(int))
    shown = set(picked[np.linspace(0, len(picked) - 1, min(SHEET_WINDOWS, len(picked))).round().astype(int)])
    clear(out_dir)
    measured, rows = [], []
    for index in picked:
        example = source[int(index)]
        figures, versions, sound = _window(vp, example)
        measured.append(figures)
        if index in shown:
            caption = str(example["caption"])
            rows += [Row(f"{caption}: {n}" if n == "true" else n, v) for n, v in versions.items()]
            beside = side_by_side({n: versions[n] for n in ("true", "copy", "continued", "repeated")}, height=128)
            name = f"{len(rows) // len(versions):04d}.mp4"
            write_video(out_dir / name, beside, fps=s.fps, audio=sound, sample_rate=s.sample_rate)
    figures = summary(measured) | {"windows": len(picked), "clips": len(source.clips), "left_out": len(source.skipped)}
    save_contact_sheet(out_dir / "sheet.png", rows)
    data = json.dumps(figures, indent=1, allow_nan=False)
    write_atomically(out_dir / "scores.json", lambda path: path.write_text(data + "\n"))
    click.echo(table(figures))
    click.echo(f"wrote {out_dir}: sheet.png, scores.json, mp4s")
    return figures


def clear(out_dir: Path) -> None:
    """Takes away the clips of an evaluation before, which would stand beside these."""
    for old in out_dir.glob("[0-9][0-9][0-9][0-9].mp4"):
        old.unlink()


def summary(measured: list[dict[str, float]]) -> dict[str, float | None]:
    """`…_error` (mean squares) → `…_psnr` of all windows together, None for exact copies; the rest: means.

    The mean is of errors, not of decibels: one black window, copied exactly, would make a mean of decibels infinite.
    """
    out = {}
    for name in measured[0]:
        mean = float(np.mean([figures[name] for figures in measured]))
        if name.endswith("_error"):
            out[name.removesuffix("_error") + "_psnr"] = float(10 * np.log10(255**2 / mean)) if mean else None
        else:
            out[name] = mean
    return out


def _window(vp, example: dict) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
    """One window's figures, its versions to look at, and the sound of its continuation."""
    from videopoet_jax.evaluate.quality import block_mean, repeat_last, ssim_clip

    def error(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean((one.astype(np.float64) - other) ** 2))

    video = example["video"]
    copy = vp.video_tokenizer.decode(vp.video_tokenizer.encode(video).codes)
    blocks = block_mean(video)
    clip = vp.generate(video=video[:GIVEN], seed=0)
    future = len(video) - GIVEN
    shown = vp.video_tokenizer.decode(vp.video_tokenizer.encode(video[:GIVEN]).codes)
    repeated = np.concatenate([shown, repeat_last(shown, future)])
    truth = video[GIVEN:]
    figures = {
        "copy_error": error(video, copy),
        "copy_ssim": float(ssim_clip(video, copy)),
        "block_mean_error": error(video, blocks),
        "block_mean_ssim": float(ssim_clip(video, blocks)),
        "continued_error": error(truth, clip.frames[GIVEN:]),
        "repeated_error": error(truth, repeated[GIVEN:]),
        "copy_of_future_error": error(truth, copy[GIVEN:]),
    }
    versions = {"true": video, "copy": copy, "8×8×4 means": blocks, "continued": clip.frames, "repeated": repeated}
    return figures, versions, clip.audio


def decibels(psnr: float | None) -> str:
    return "exact" if psnr is None else f"{psnr:.2f}"


def table(figures: dict[str, float | None]) -> str:
    """The figures as Markdown."""
    f = figures
    return "\n".join(
        [
            f"| {f['windows']} held-out windows of {f['clips']} clips | PSNR dB | SSIM |",
            "|---|---|---|",
            f"| tokenizer's copy | {decibels(f['copy_psnr'])} | {f['copy_ssim']:.3f} |",
            f"| 8×8×4 block means | {decibels(f['block_mean_psnr'])} | {f['block_mean_ssim']:.3f} |",
            f"| future: language model's continuation | {decibels(f['continued_psnr'])} | |",
            f"| future: last frame repeated (tokenized) | {decibels(f['repeated_psnr'])} | |",
            f"| future: tokenizer's copy (ceiling) | {decibels(f['copy_of_future_psnr'])} | |",
        ]
    )
