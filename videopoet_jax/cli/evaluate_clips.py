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


def report(vp, folder: Path, out_dir: Path) -> dict[str, float]:
    """Scores the held-out windows of `folder`; writes sheet.png, scores.json and one mp4 a continuation."""
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
    scores, rows = [], []
    shown = set(picked[np.linspace(0, len(picked) - 1, min(SHEET_WINDOWS, len(picked))).round().astype(int)])
    for index in picked:
        example = source[int(index)]
        scored, versions, sound = _window(vp, example)
        scores.append(scored)
        if index in shown:
            caption = str(example["caption"])
            rows += [Row(f"{caption}: {n}" if n == "true" else n, v) for n, v in versions.items()]
            from videopoet_jax.data.media import write_video

            video = side_by_side({n: versions[n] for n in ("true", "continued", "repeated")}, height=128)
            write_video(out_dir / f"{len(rows):04d}.mp4", video, fps=s.fps, audio=sound, sample_rate=s.sample_rate)
    figures = {name: float(np.mean([score[name] for score in scores])) for name in scores[0]}
    figures |= {"windows": len(scores), "clips": len(source.clips), "left_out": len(source.skipped)}
    save_contact_sheet(out_dir / "sheet.png", rows)
    write_atomically(out_dir / "scores.json", lambda path: path.write_text(json.dumps(figures, indent=1) + "\n"))
    click.echo(table(figures))
    click.echo(f"wrote {out_dir}: sheet.png, scores.json, mp4s")
    return figures


def _window(vp, example: dict) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
    """One window's figures, its versions to look at, and the sound of its continuation."""
    from videopoet_jax.evaluate.quality import block_mean, psnr_clip, repeat_last, ssim_clip

    video = example["video"]
    copy = vp.video_tokenizer.decode(vp.video_tokenizer.encode(video).codes)
    blocks = block_mean(video)
    clip = vp.generate(video=video[:GIVEN], seed=0)
    future = len(video) - GIVEN
    shown = vp.video_tokenizer.decode(vp.video_tokenizer.encode(video[:GIVEN]).codes)
    repeated = np.concatenate([shown, repeat_last(shown, future)])
    truth = video[GIVEN:]
    figures = {
        "copy_psnr": float(psnr_clip(video, copy)),
        "copy_ssim": float(ssim_clip(video, copy)),
        "block_mean_psnr": float(psnr_clip(video, blocks)),
        "block_mean_ssim": float(ssim_clip(video, blocks)),
        "continued_psnr": float(psnr_clip(truth, clip.frames[GIVEN:])),
        "repeated_psnr": float(psnr_clip(truth, repeated[GIVEN:])),
        "copy_of_future_psnr": float(psnr_clip(truth, copy[GIVEN:])),
    }
    versions = {"true": video, "copy": copy, "8×8×4 means": blocks, "continued": clip.frames, "repeated": repeated}
    return figures, versions, clip.audio


def table(figures: dict[str, float]) -> str:
    """The figures as Markdown."""
    f = figures
    return "\n".join(
        [
            f"| held-out windows: {f['windows']} of {f['clips']} clips | PSNR dB | SSIM |",
            "|---|---|---|",
            f"| tokenizer's copy | {f['copy_psnr']:.2f} | {f['copy_ssim']:.3f} |",
            f"| 8×8×4 block means | {f['block_mean_psnr']:.2f} | {f['block_mean_ssim']:.3f} |",
            f"| future: language model's continuation | {f['continued_psnr']:.2f} | |",
            f"| future: last frame repeated (tokenized) | {f['repeated_psnr']:.2f} | |",
            f"| future: tokenizer's copy (ceiling) | {f['copy_of_future_psnr']:.2f} | |",
        ]
    )
