"""`videopoet evaluate tokenizer`: any of our video tokenizers on real clips, beside what costs nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.named import named
from videopoet_jax.cli.pieces import Pieces, batches, film_paths
from videopoet_jax.cli.targets import check_targets


@click.command()
@click.argument("sources", metavar="CLIPS...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, required=True,
              help="A shipped name, a directory or NAME=DIR; give it once for each tokenizer.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path), required=True,
              help="The folder that ./launch/fetch_weights.sh wrote.")  # fmt: skip
@click.option("--height", type=click.IntRange(32), default=128, show_default=True)
@click.option("--width", type=click.IntRange(32), default=128, show_default=True)
@click.option("--fps", type=float, default=8.0, show_default=True)
@click.option("--num-frames", type=click.IntRange(9), default=17, show_default=True, help="Frames of a clip.")
@click.option("--held-out", is_flag=True, help="Only the end of each video that training on its folder leaves out.")
@click.option("--limit", type=click.IntRange(4), help="Only the first so many clips, so those of the first videos.")
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the table's figures.")
def command(sources, models, weights, height, width, fps, num_frames, held_out, limit, batch_size, report) -> None:
    """Score copies of CLIPS (videos, or folders of them), cut into pieces that follow one another.

    PSNR, SSIM, LPIPS, I3D-FVD with its interval and its floor, bits a pixel, the share of codes used, and the size of
    the motion against the truth.
    """
    check_targets(report)
    paths = film_paths(sources)
    from videopoet_jax.evaluate.reconstruction import PLAIN, evaluate, load_judges, to_json, to_markdown
    from videopoet_jax.training.compilation import use_compilation_cache

    use_compilation_cache()
    judges = load_judges(weights)
    systems = {n: tokenizer(m, num_frames, height, width) for n, m in named(models).items()} | PLAIN
    shape = dict(frames=num_frames, least=num_frames, fps=fps, height=height, width=width)
    videos = Pieces(paths, **shape, held_out=held_out)
    try:
        result = evaluate(
            batches(videos, batch_size, limit),
            systems,
            judges,
            on_batch=lambda clips: click.echo(f"\r{clips} clips", nl=False, err=True),
        )
    finally:
        click.echo(err=True)
    click.echo(to_markdown(result))
    rest = len(paths) - videos.used - len(videos.left_out)
    unread = f"; not read, for --limit {limit}: {rest}" if limit else ""
    about = f"{videos.used} of {len(paths)}, at {fps:g} frames a second; left out: {len(videos.left_out)}{unread}."
    click.echo(f"\nVideos: {about}")
    if report:
        from videopoet_jax.pretrained.files import write_atomically

        figures = to_json(result) | {
            "fps": fps,
            "held_out": held_out,
            "videos": videos.used,
            "videos_given": len(paths),
            "limit": limit,
            "left_out": [str(path) for path in videos.left_out],
        }
        data = json.dumps(figures, indent=1, allow_nan=False)
        write_atomically(report, lambda path: path.write_text(data + "\n"))


def tokenizer(model: str, frames: int, height: int, width: int) -> Callable:
    """Copies by a tokenizer; one that cannot take clips of this shape says so now, not after the others."""
    from videopoet_jax.evaluate.reconstruction import Copies
    from videopoet_jax.video.tokenizer import VideoTokenizer

    loaded = VideoTokenizer.from_pretrained(model)
    loaded.grid(frames, height, width)

    def copy(clips: np.ndarray) -> Copies:
        codes = loaded.encode(clips).codes
        return Copies(np.asarray(loaded.decode(codes, clips.shape[1])), np.asarray(codes), loaded.vocabulary_size)

    return copy
