"""Clips → token records: all views of the pictures, the sound, the pieces of the caption."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class TokenizeClips:
    """Always `batch_size` clips of one size at a time, so that a clip's codes do not depend on its place.

    Clips have the entries of `data.sources`, a `number`, which decides what their views draw, and these views where
    `shown` has made them; an `id` goes into the record. `structure` names directories of weights,
    `{"flow": "raft", "depth": ""}`; what a network finds goes before what is known.
    """

    def __init__(
        self, models: Path, batch_size: int, data: Any, keys: list[str], seed: int, structure: Mapping[str, str]
    ) -> None:
        from videopoet_jax.audio.tokenizer import AudioTokenizer
        from videopoet_jax.structure import ESTIMATORS
        from videopoet_jax.text.embed import TextEncoder
        from videopoet_jax.video.tokenizer import VideoTokenizer

        self.video = VideoTokenizer.from_pretrained(models / "video_tokenizer")
        self.audio = AudioTokenizer.from_pretrained(models / "audio_tokenizer", rows=batch_size)
        self.text = TextEncoder.from_pretrained(models / "text_encoder")
        self.structure = {name: ESTIMATORS[name].from_pretrained(path) for name, path in structure.items() if path}
        self.batch_size, self.data, self.keys, self.seed = batch_size, data, keys, seed

    def __call__(self, examples: list[dict]) -> list[dict]:
        examples = [e if "views" in e else self.shown(e) for e in examples]
        codes = {key: self._codes([e["views"][key] for e in examples]) for key in self.keys}
        heard = [bool(e.get("has_audio", False)) or (self.data.silence and len(e["video"]) > 1) for e in examples]
        sound = self._sound(examples) if any(heard) else None
        captions = [str(e["caption"]) for e in examples]
        tokens = self.text.tokenize(captions, self.data.text_length)
        texts = {"text_ids": tokens.ids, "text_mask": tokens.mask}
        if self.data.embeddings:
            texts["text_embedding"] = self._embeddings(tokens)
        records = []
        for i, example in enumerate(examples):
            record = {key: codes[key][i] for key in self.keys}
            if heard[i]:
                record["audio"] = np.asarray(sound[i], np.int32)
            if captions[i]:
                record |= {name: values[i] for name, values in texts.items()} | {"caption": captions[i]}
            records.append(record | ({"id": str(example["id"])} if "id" in example else {}))
        return records

    def shown(self, example: dict) -> dict:
        """The clip with its `views`."""
        from videopoet_jax.data.views import views_of

        found = {name: estimate(example["video"]) for name, estimate in self.structure.items()}
        return {**example, "views": views_of({**example, **found}, self.keys, (self.seed, example["number"]))}

    def _embeddings(self, tokens: Any) -> list[np.ndarray]:
        """Of each caption [l c], its empty slots left out."""
        found = np.asarray(self.text.embed(tokens.ids, tokens.mask, rows=self.batch_size))
        return [slots[mask].astype(self.data.embeddings) for slots, mask in zip(found, tokens.mask, strict=True)]

    def _sound(self, examples: list[dict]) -> np.ndarray:
        return self.audio.encode(np.stack([e["audio"] for e in examples]), self.data.audio_levels).codes

    def _codes(self, clips: list[np.ndarray]) -> np.ndarray:
        filled = np.stack([*clips, *clips[-1:] * (self.batch_size - len(clips))])
        return np.asarray(self.video.encode(filled).codes, np.int32)[: len(clips)]
