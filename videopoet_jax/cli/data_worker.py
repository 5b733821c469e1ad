"""What makes shards of token records, on this machine or on any of a cluster."""

import functools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def view_keys(rates) -> list[str]:
    """The views of a clip that these tasks read or write."""
    from videopoet_jax.sequence import get_task

    keys = {key for name, rate in rates.items() if rate > 0 for key in get_task(name).keys(sound=False)}
    return sorted(keys | {"video"})


def own_clips(job: dict, config: Any) -> Any:
    """The clips of the config's data, by number: every window and view, or `count` of them from everywhere."""
    from videopoet_jax.cli.recipes_of_language import rates_of
    from videopoet_jax.cli.sources import augmentation, clips
    from videopoet_jax.data.loader import make_loader

    # Flow and depth are known of whole pictures alone, not of parts of them.
    known = "structure" in view_keys(rates_of(config)) and augmentation(config) is None
    source = clips(config, job["split"], size=job["count"], structure=known)
    views, view = 1, None
    if job["split"] == "train":
        views, view = config.data.views, augmentation(config)
        if views < 1 or (views > 1 and view is None):
            raise ValueError(f"data.views {views}: at least 1, and more only where data.zoom makes them differ.")
    total = min(job["count"] or len(source) * views, len(source) * views)
    shuffle = total < len(source) * views  # a part of the records: of windows from everywhere
    loader = make_loader(
        source, batch_size=1, seed=config.seed, shuffle=shuffle, num_epochs=views, random_transform=view, num_threads=0
    )
    return Clips(loader, total)


class Clips:
    """The first examples of a loader of single ones, by number."""

    def __init__(self, loader: Any, count: int) -> None:
        self._loader, self._count = loader, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> dict:
        return {name: value[0] for name, value in self._loader[number].items()} | {"number": number}


class Worker:
    """Writes shards. Made where the work is done: nothing of a model travels."""

    def __init__(self, job: dict) -> None:
        from videopoet_jax.cli.configuration import load_config
        from videopoet_jax.cli.recipes_of_language import rates_of
        from videopoet_jax.cli.tokenize_clips import TokenizeClips
        from videopoet_jax.data.token_shards import begun
        from videopoet_jax.training.compilation import use_compilation_cache

        if not begun(Path(job["out"])):
            raise FileNotFoundError(f"{job['out']}: not seen by this worker; mount the share where the caller has it.")
        use_compilation_cache()
        self.job, self.config = job, load_config(job["config"], tuple(job["overrides"]))
        keys = view_keys(rates_of(self.config))
        self.tokenize = TokenizeClips(
            Path(job["models"]), job["batch_size"], self.config.data, keys, self.config.seed, job["structure"]
        )
        self.clips = own_clips(job, self.config) if job["source"] is None else None

    def __call__(self, number: int) -> dict:
        """Writes shard `number`, unless it is there, and returns its report."""
        from videopoet_jax.data.token_shards import report_of, write_shard

        out = Path(self.job["out"])
        return report_of(out, number) or write_shard(out, number, self._records(number), self.job["form"])

    def _records(self, number: int) -> Iterator[Any]:
        """Examples of one shape wait until there are as many as a batch has; their views are made by then."""
        from videopoet_jax.data.token_shards import Failure

        held: dict[tuple, list[dict]] = {}
        for example in self._of_source(number) if self.clips is None else self._of_config(number):
            if isinstance(example, Failure):
                yield example
                continue
            same = held.setdefault(example["video"].shape, [])
            same.append(example)
            if len(same) == self.tokenize.batch_size:
                yield from self.tokenize(same)
                same.clear()
        for same in held.values():
            yield from self.tokenize(same) if same else ()

    def _of_config(self, number: int) -> Iterator[dict]:
        size = self.job["shard_size"]
        for clip in range(number * size, min(len(self.clips), (number + 1) * size)):
            yield self.tokenize.shown(self.clips[clip])

    def _of_source(self, number: int) -> Iterator[Any]:
        from videopoet_jax.cli.listing import attempted, listed_in

        for listed in listed_in(Path(self.job["out"]), number):
            yield from attempted(listed, self._decoded)

    def _decoded(self, item: Any) -> Iterator[dict]:
        from videopoet_jax.data.items import decode

        data = self.config.data
        sizes = {name: data[name] for name in ("fps", "height", "width", "num_frames", "sample_rate")}
        for example in decode(item, **sizes):
            yield self.tokenize.shown({**example, "number": zlib.crc32(str(example["id"]).encode())})


@functools.lru_cache(maxsize=1)
def _worker(job: str) -> Worker:
    return Worker(json.loads(job))


def make_worker(job: dict) -> Worker:
    """A worker for a job; one a process is enough."""
    return _worker(json.dumps(job, sort_keys=True))
