"""What `videopoet evaluate MODEL --clips FOLDER` measures: copies and continuations of the held-out part of real clips.

Every figure stands beside what costs nothing: a mean over 8×8×4 blocks for the copies, for the continuations the last
given frame, as the tokenizer shows it, repeated, and for the sound silence and its own mean spectrum, held.
"""

import json
from pathlib import Path

import click
import numpy as np

GIVEN = 9  # frames that a continuation starts from
MOST_WINDOWS, SHEET_WINDOWS = 64, 6


def report(vp, folder: Path, out_dir: Path, sampling: dict) -> dict[str, float | None]:
    """Scores the held-out windows of `folder`; writes sheet.png, scores.json and one mp4 a continuation.

    Raises:
        ValueError: `out_dir` lies in the folder, whose clips the mp4s would join.
    """
    if out_dir.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"--out-dir {out_dir}: lies in {folder}, whose clips it would join; name another directory.")
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
        figures, versions, sounds = _window(vp, example, sampling)
        measured.append(figures)
        if index in shown:
            caption = str(example["caption"])
            rows += [
                Row(f"{caption}: {n}" if n == "true" else n, v, sounds.get(n), s.sample_rate)
                for n, v in versions.items()
            ]
            beside = side_by_side({n: versions[n] for n in ("true", "copy", "continued", "repeated")}, height=128)
            name = f"window_{len(rows) // len(versions):04d}.mp4"
            write_video(out_dir / name, beside, fps=s.fps, audio=sounds["continued"], sample_rate=s.sample_rate)
    loud = sum("sound_copy_distance" in figures for figures in measured)
    figures = summary(measured) | {
        "windows": len(picked),
        "windows_with_sound": loud,
        "clips": len({source.locate(int(index))[0] for index in picked}),
        "left_out": len(source.skipped),
    }
    save_contact_sheet(out_dir / "sheet.png", rows)
    data = json.dumps(figures, indent=1, allow_nan=False)
    write_atomically(out_dir / "scores.json", lambda path: path.write_text(data + "\n"))
    click.echo(table(figures))
    click.echo(f"wrote {out_dir}: sheet.png, scores.json, mp4s")
    return figures


def clear(out_dir: Path) -> None:
    """Takes away the clips of an evaluation before, which would stand beside these."""
    for old in out_dir.glob("window_[0-9][0-9][0-9][0-9].mp4"):
        old.unlink()


def summary(measured: list[dict[str, float]]) -> dict[str, float | None]:
    """`…_error` (mean squares) → `…_psnr` of all windows together, None for exact copies; the rest: means.

    The mean is of errors, not of decibels: one black window, copied exactly, would make a mean of decibels infinite.
    A figure that only some windows have (of sound) is a mean over those.
    """
    out = {}
    for name in dict.fromkeys(name for figures in measured for name in figures):
        mean = float(np.mean([figures[name] for figures in measured if name in figures]))
        if name.endswith("_error"):
            out[name.removesuffix("_error") + "_psnr"] = float(10 * np.log10(255**2 / mean)) if mean else None
        else:
            out[name] = mean
    return out


def _window(vp, example: dict, sampling: dict) -> tuple[dict[str, float], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """One window's figures, and its versions to look at and to hear."""
    from videopoet_jax.evaluate.quality import block_mean, repeat_last, ssim_clip

    def error(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.mean((one.astype(np.float64) - other) ** 2))

    video = example["video"]
    copy = vp.video_tokenizer.decode(vp.video_tokenizer.encode(video).codes)
    blocks = block_mean(video)
    clip = vp.generate(video=video[:GIVEN], seed=0, **sampling)
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
    sounds = {"continued": clip.audio}
    if example["audio"].any():
        true = example["audio"]
        copy = vp.audio_tokenizer.decode(vp.audio_tokenizer.encode(true, vp.settings.audio_levels).codes)[: len(true)]
        copy = np.pad(copy, (0, len(true) - len(copy)))  # codes are of whole frames; the clip goes on to its end
        sounds |= {"true": true, "copy": copy}
        figures |= sound_distances(true, copy)
    return figures, versions, sounds


def sound_distances(true: np.ndarray, copy: np.ndarray) -> dict[str, float]:
    """Log-spectral distances in dB from the true sound: of its copy, and of what costs nothing."""
    from videopoet_jax.evaluate.quality import log_spectrum, spectral_distance

    wanted = log_spectrum(true)
    others = {
        "copy": log_spectrum(copy),
        "mean_spectrum": np.broadcast_to(wanted.mean(axis=0), wanted.shape),
        "silence": log_spectrum(np.zeros_like(true)),
    }
    return {f"sound_{name}_distance": spectral_distance(wanted, other) for name, other in others.items()}


def decibels(psnr: float | None) -> str:
    return "exact" if psnr is None else f"{psnr:.2f}"


def table(figures: dict[str, float | None]) -> str:
    """The figures as Markdown."""
    f = figures
    sound = []
    if "sound_copy_distance" in f:
        sound = [
            "",
            f"| sound of {f['windows_with_sound']} of them, log-spectral distance | dB |",
            "|---|---|",
            f"| tokenizer's copy | {f['sound_copy_distance']:.2f} |",
            f"| its own mean spectrum | {f['sound_mean_spectrum_distance']:.2f} |",
            f"| silence | {f['sound_silence_distance']:.2f} |",
        ]
    return "\n".join(
        [
            f"| {f['windows']} held-out windows of {f['clips']} clips | PSNR dB | SSIM |",
            "|---|---|---|",
            f"| tokenizer's copy | {decibels(f['copy_psnr'])} | {f['copy_ssim']:.3f} |",
            f"| 8×8×4 block means | {decibels(f['block_mean_psnr'])} | {f['block_mean_ssim']:.3f} |",
            f"| future: language model's continuation | {decibels(f['continued_psnr'])} | |",
            f"| future: last frame repeated (tokenized) | {decibels(f['repeated_psnr'])} | |",
            f"| future: tokenizer's copy (ceiling) | {decibels(f['copy_of_future_psnr'])} | |",
            *sound,
        ]
    )
