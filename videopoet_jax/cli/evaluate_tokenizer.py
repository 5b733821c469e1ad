"""`videopoet evaluate tokenizer`: any of our video tokenizers on real clips, beside what costs nothing."""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import click
import numpy as np

from videopoet_jax.cli.targets import check_targets


@click.command()
@click.argument("sources", metavar="CLIPS...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", "models", multiple=True, required=True,
              help="A shipped name or a directory; give it once for each tokenizer.")  # fmt: skip
@click.option("--weights", type=click.Path(path_type=Path), required=True,
              help="The folder that ./launch/fetch_weights.sh wrote.")  # fmt: skip
@click.option("--height", type=click.IntRange(32), default=128, show_default=True)
@click.option("--width", type=click.IntRange(32), default=128, show_default=True)
@click.option("--fps", type=float, default=8.0, show_default=True)
@click.option("--num-frames", type=click.IntRange(9), default=17, show_default=True, help="Frames of a clip.")
@click.option("--held-out", is_flag=True, help="Only the end of each video that training on its folder leaves out.")
@click.option("--limit", type=click.IntRange(4), help="Only the first so many clips.")
@click.option("--batch-size", type=click.IntRange(1), default=4, show_default=True)
@click.option("--json", "report", type=click.Path(path_type=Path), help="Write the table's figures.")
def command(sources, models, weights, height, width, fps, num_frames, held_out, limit, batch_size, report) -> None:
    """Score copies of CLIPS (videos, or folders of them), cut into pieces that follow one another.

    PSNR, SSIM, LPIPS, I3D-FVD with its interval and its floor, bits a pixel, the share of codes used, and the size of
    the motion against the truth.
    """
    check_targets(report)
    from videopoet_jax.evaluate.reconstruction import PLAIN, evaluate, load_judges, to_json, to_markdown
    from videopoet_jax.training.compilation import use_compilation_cache

    use_compilation_cache()
    judges = load_judges(weights)
    systems = {name: tokenizer(name, num_frames, height, width) for name in dict.fromkeys(models)} | PLAIN
    videos = Videos(sources, num_frames, fps, height, width, held_out)
    result = evaluate(
        batches(videos, batch_size, limit),
        systems,
        judges,
        on_batch=lambda clips: click.echo(f"\r{clips} clips", nl=False, err=True),
    )
    click.echo(err=True)
    click.echo(to_markdown(result))
    click.echo(f"\nVideos: {videos.used}, at {fps:g} frames a second; left out: {len(videos.left_out)}.")
    if report:
        from videopoet_jax.pretrained.files import write_atomically

        figures = to_json(result) | {
            "fps": fps,
            "held_out": held_out,
            "videos": videos.used,
            "left_out": [str(path) for path in videos.left_out],
        }
        data = json.dumps(figures, indent=1, allow_nan=False)
        write_atomically(report, lambda path: path.write_text(data + "\n"))


def tokenizer(name: str, frames: int, height: int, width: int) -> Callable:
    """Copies by a tokenizer; one that cannot take clips of this shape says so now, not after the others."""
    from videopoet_jax.evaluate.reconstruction import Copies
    from videopoet_jax.video.tokenizer import VideoTokenizer

    model = VideoTokenizer.from_pretrained(name)
    model.grid(frames, height, width)

    def copy(clips: np.ndarray) -> Copies:
        codes = model.encode(clips).codes
        return Copies(np.asarray(model.decode(codes, clips.shape[1])), np.asarray(codes), model.vocabulary_size)

    return copy


class Videos:
    """Iterates over clips and the films that they are of; counts the films `used`, names those `left_out` (or cut off).

    A warning says why.
    """

    def __init__(self, sources, num_frames: int, fps: float, height: int, width: int, held_out: bool) -> None:
        from videopoet_jax.data.clip_files import find_clips

        self.size = {"fps": fps, "height": height, "width": width}
        self.num_frames, self.held_out, self.used, self.left_out = num_frames, held_out, 0, []
        self.paths = [p for s in sources for p in ([c.path for c in find_clips(s)] if s.is_dir() else [s])]

    def __iter__(self) -> Iterator[tuple[np.ndarray, str]]:
        from videopoet_jax.data.media import MediaError

        for path in self.paths:
            count = 0
            try:
                for count, clip in enumerate(self._cut(path), start=1):
                    self.used += count == 1
                    yield clip, str(path)
                if not count:
                    raise MediaError(f"{path}: shorter than a clip of {self.num_frames} frames.")
            except (MediaError, OSError) as error:
                click.echo(f"warning: left out: {error}", err=True)
                self.left_out.append(path)

    def _cut(self, path: Path) -> Iterator[np.ndarray]:
        from videopoet_jax.cli.reconstruct import groups
        from videopoet_jax.data.media import iterate_frames
        from videopoet_jax.data.sources import held_out_from

        first = 0
        if self.held_out:
            first = held_out_from(sum(1 for _ in iterate_frames(path, **{**self.size, "height": 16, "width": 16})))
        frames = (frame for i, frame in enumerate(iterate_frames(path, **self.size)) if i >= first)
        yield from (clip for clip in groups(frames, self.num_frames) if len(clip) == self.num_frames)


def batches(
    clips: Iterable[tuple[np.ndarray, str]], size: int, limit: int | None
) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Clips [t h w 3] and their films → [b t h w 3] and a list, the last batch as small as is left."""
    clips = islice(clips, limit)
    while batch := list(islice(clips, size)):
        yield np.stack([clip for clip, _ in batch]), [film for _, film in batch]
