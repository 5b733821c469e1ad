"""What a language model's training is looked at by: the loss of each task on held-out records, and clips of some.

    look = HeldOut(config, held_out, models, embed, …)
    look(params, extra, folder, step)   →   {"loss_text_to_video": 2.93, …}, and folder/00001000.png

        text_to_video: true                      ▣ ▣ ▣ ▣ ▣ ▣ ▣ ▣ ▣  ▒▒▒▒     what the tokenizers make of the record
        text_to_video: a red 3 moving left       ▣ ▣ ▣ ▣ ▣ ▣ ▣ ▣ ▣  ▒▒▒▒     what the model writes, drawn as it is

All processes measure and write together, on parameters that stay split as they train; the first one draws.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from videopoet_jax.data.task_batches import Kind, kinds_of, one_task_each, taken
from videopoet_jax.parallel import spread
from videopoet_jax.parallel.processes import alone

MEASURED = 32  # records of each task whose loss is taken
DRAWN, CLIPS = 3, 2  # tasks of which clips are drawn, those trained most often, and clips of each


class HeldOut:
    """The preview of a language model.

    Args:
        source: held-out token records.
        models: directory of the tokenizers and the text encoder that they were made with.
        loss_fn: of `lm.loss.make_loss`, with every text told.
        batching: how `task_batches` lays records out: most_groups, stretches, constants.
    """

    def __init__(
        self,
        config: ConfigDict,
        source: Any,
        models: Path,
        rates: Mapping[str, float],
        layouts: Any,
        loss_fn: Callable,
        batching: Mapping[str, Any],
    ) -> None:
        self._config, self._source, self._models = config, source, models
        self._batches = one_task_each(source, rates, layouts, rows=MEASURED, **batching)
        self._kinds = drawn_kinds(kinds_of(source.index, source.meta["keys"], rates, layouts))
        self._loss = jax.jit(lambda params, extra, batch: loss_fn(params, extra, batch, lambda _: jax.random.key(0))[0])

    def __call__(self, params: Any, extra: Any, folder: Path | None, step: int) -> dict[str, float]:
        """The losses; draws into `folder`, which is None on other processes than the first."""
        mesh = jax.sharding.get_mesh()
        losses = {
            f"loss_{task}": float(self._loss(params, extra, spread(batch, mesh)))
            for task, batch in self._batches.items()
        }
        written = [(kind, self._written(params, mesh, kind)) for kind in self._kinds]
        if folder is not None and written:
            with alone():
                self._draw(written, folder / f"{step:08d}.png")
        return losses

    @functools.cached_property
    def _pipeline(self) -> Any:
        """Tokenizers and text encoder, which every process has whole; the language model is another at each preview."""
        from videopoet_jax.audio.tokenizer import AudioTokenizer
        from videopoet_jax.generate.inputs import Settings
        from videopoet_jax.generate.pipeline import VideoPoet
        from videopoet_jax.lm.language_model import LanguageModel
        from videopoet_jax.text.embed import TextEncoder
        from videopoet_jax.video.tokenizer import VideoTokenizer

        names = ("num_frames", "height", "width", "fps", "sample_rate", "audio_levels", "audio_order", "text_length")
        told = {name: self._config.data[name] for name in (*names, "source")}
        sampling = dict(guidance_scale=None, temperature=1.0, top_k=None, top_p=None)
        settings = Settings(**told, **sampling, tasks=(), grammar="", grammar_pattern="")
        parts = (VideoTokenizer, AudioTokenizer, TextEncoder)
        untrained = LanguageModel(self._config.model.to_dict(), {}, {})
        return VideoPoet(settings, *(part.from_pretrained(self._models) for part in parts), untrained)

    def _records(self, kind: Kind) -> list[dict]:
        return [taken(kind.layout, self._source[int(n)]) for n in np.resize(kind.records, CLIPS)]

    def _written(self, params: Any, mesh: Mesh, kind: Kind) -> np.ndarray:
        """What the model writes for records of a kind, ids [clips n]: without guidance, at temperature 1."""
        from videopoet_jax.lm.language_model import LanguageModel

        seeds = [(0, copy) for copy in range(CLIPS)]  # the same at every preview
        with alone():
            sampling = self._pipeline.sampling(None, None, None, None)
            prepared = self._pipeline.prepare_records(kind.layout, self._records(kind), seeds=seeds, sampling=sampling)
        lm = LanguageModel(self._config.model.to_dict(), params, {}, mesh=None if mesh.empty else mesh, bucket=CLIPS)
        return lm.generate(prepared).ids

    def _draw(self, written: list[tuple[Kind, np.ndarray]], path: Path) -> None:
        from videopoet_jax.evaluate.sheets import Row, save_contact_sheet
        from videopoet_jax.lm.language_model import Written
        from videopoet_jax.sequence import assemble

        rows = []
        for kind, ids in written:
            truth = np.stack([assemble(kind.layout, record)["ids"] for record in self._records(kind)])
            clips = [self._pipeline.decode(Written(kind.layout, each)) for each in (truth, ids)]
            task = kind.layout.task
            for number, true, clip in zip(np.resize(kind.records, CLIPS), *clips, strict=True):
                caption = self._source[int(number)].get("caption", "") if task.text else ""
                for words, shown in (("true", true), (caption or "written", clip)):
                    rows.append(Row(f"{task.name}: {words}", shown.frames, shown.audio, shown.sample_rate))
        save_contact_sheet(path, rows)


def drawn_kinds(kinds: list[Kind]) -> list[Kind]:
    """Of the tasks that write pictures and are trained most often, each one's commonest kind."""
    commonest: dict[str, Kind] = {}
    shares: dict[str, float] = {}
    for kind in kinds:
        name = kind.layout.task.name
        if any(span.modality == "video" for span in kind.layout.task.writes):
            shares[name] = shares.get(name, 0.0) + kind.rate
            commonest[name] = max(commonest.get(name, kind), kind, key=lambda k: k.rate)
    return [commonest[name] for name in sorted(shares, key=shares.get, reverse=True)[:DRAWN]]
