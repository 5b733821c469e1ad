"""`videopoet reconstruct`: any video through the tokenizer and back, in memory that does not grow with its length."""

import json
import math
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.films import check_sides, groups, working
from videopoet_jax.cli.targets import check_targets


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The mp4: original left, copy right.")
@click.option("--model", default="nano", show_default=True, help="A shipped name or a directory of weights.")
@working
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the figures that are printed.")
def command(source, out, model, height, width, fps, report) -> None:
    """Encode and decode SOURCE; prints PSNR, SSIM, bits per pixel and the working size."""
    from videopoet_jax.data.media import VideoWriter, iterate_frames, probe
    from videopoet_jax.evaluate.sheets import side_by_side
    from videopoet_jax.sequence.grid import working_size
    from videopoet_jax.training.compilation import use_compilation_cache
    from videopoet_jax.video.tokenizer import VideoTokenizer

    check_targets(out, report, inputs=(source,))
    use_compilation_cache()
    info = probe(source)
    tokenizer = VideoTokenizer.from_pretrained(model)
    shown = info.height, info.width
    height, width = working_size(shown, tokenizer.stride[1:], height=height, width=width)
    tall = max(128, height)  # of the two pictures side by side
    check_sides(source, shown, (height, width), (tall, 2 * math.ceil(width * tall / height)))
    frames = iterate_frames(source, fps=fps, height=height, width=width)
    total = Total(bits=math.log2(tokenizer.vocabulary_size))
    with VideoWriter(out, fps=fps) as writer:
        for piece in tokenizer.reconstruct_pieces(groups(frames, 16)):
            total.add(piece.truth, piece.video, piece.codes)
            for frame in side_by_side({"original": piece.truth, "tokenized": piece.video}, height=tall):
                writer.write(frame)
    figures = {"height": height, "width": width, "fps": fps, **total.figures()}
    psnr = "∞" if figures["psnr"] is None else f"{figures['psnr']:.2f}"
    click.echo(
        f"{figures['frames']} frames of {height}×{width}: PSNR {psnr} dB, SSIM {figures['ssim']:.4f}, "
        f"{figures['bits_per_pixel']:.4f} bits per pixel"
    )
    click.echo(f"wrote {out}")
    if report:
        from videopoet_jax.pretrained.files import write_atomically

        write_atomically(report, lambda path: path.write_text(json.dumps(figures, indent=1) + "\n"))


class Total:
    """Sums over the pieces of a film."""

    def __init__(self, bits: float) -> None:
        self.bits, self.frames, self.pixels, self.codes, self.error, self.ssim = bits, 0, 0, 0, 0.0, 0.0

    def add(self, truth: np.ndarray, copy: np.ndarray, codes: np.ndarray) -> None:
        from videopoet_jax.evaluate.quality import ssim

        self.frames += len(truth)
        self.pixels += truth[..., 0].size
        self.codes += codes.size
        self.error += float(np.sum((truth.astype(np.float64) - copy) ** 2)) / 3
        self.ssim += float(np.sum(ssim(truth, copy)))

    def figures(self) -> dict[str, int | float | None]:
        """PSNR of the whole film's error, the mean SSIM of its frames, bits of code for each pixel."""
        mean = self.error / self.pixels
        return {
            "frames": self.frames,
            "psnr": float(10 * np.log10(255**2 / mean)) if mean else None,  # None: an exact copy
            "ssim": self.ssim / self.frames,
            "bits_per_pixel": self.codes * self.bits / self.pixels,
        }
