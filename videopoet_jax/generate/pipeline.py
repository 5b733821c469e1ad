"""`VideoPoet`: the four models as one, from a prompt to a clip.

vp = VideoPoet.from_pretrained("nano")
clip = vp.generate("a red 3 moving left", seed=1)          # a list of prompts → a list of clips

prepared = vp.prepare("a red 3 moving left", seed=1)       # the same in three steps
written = vp.lm.generate(prepared)
[clip] = vp.decode(written)
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.generate.clip import Clip
from videopoet_jax.generate.given import Given, check_given, default_task, heard, shown, writes
from videopoet_jax.generate.inputs import Settings, warn_of_strangers
from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.language_model import LanguageModel, Prepared, Written
from videopoet_jax.pretrained import SHARD_SIZE, check_digests, digest, read_config, resolve, write_config
from videopoet_jax.sequence import Layouts, assemble, disassemble, get_task
from videopoet_jax.sequence.layout import Layout
from videopoet_jax.sequence.words import bits_of
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.video.tokenizer import VideoTokenizer

MODEL_TYPE = "videopoet"
PARTS = ("video_tokenizer", "audio_tokenizer", "text_encoder")


def read_settings(root: str | os.PathLike) -> Settings:
    """The settings of a pipeline's directory.

    Raises:
        ValueError: a config that is none, or another model's.
    """
    config = read_config(root, MODEL_TYPE, [f.name for f in dataclasses.fields(Settings)])
    return Settings(**{**config, "tasks": tuple(config["tasks"])})


class VideoPoet:
    """Tokenizers, text encoder and language model of one training."""

    def __init__(
        self,
        settings: Settings,
        video_tokenizer: VideoTokenizer,
        audio_tokenizer: AudioTokenizer,
        text_encoder: TextEncoder,
        lm: LanguageModel,
    ) -> None:
        self.settings, self.lm = settings, lm
        self.video_tokenizer, self.audio_tokenizer, self.text_encoder = video_tokenizer, audio_tokenizer, text_encoder

    @classmethod
    def from_pretrained(
        cls, name_or_dir: str | os.PathLike, dtype: str | None = None, mesh: Mesh | None = None
    ) -> "VideoPoet":
        """A shipped name ("nano") or a directory of `save_pretrained`.

        Raises:
            FileNotFoundError: no such name or directory, or a part is missing.
            ValueError: a damaged or foreign part, or a tokenizer that is not the one the language model was trained on.
        """
        root = resolve(name_or_dir)
        settings = read_settings(root)
        lm = LanguageModel.from_pretrained(root / "lm", dtype, mesh)
        check_digests(root, lm.tokenizers, "the language model was trained with")
        return cls(
            settings,
            VideoTokenizer.from_pretrained(root / "video_tokenizer", dtype, mesh),
            AudioTokenizer.from_pretrained(root / "audio_tokenizer", mesh=mesh),
            TextEncoder.from_pretrained(root / "text_encoder", dtype, mesh),
            lm,
        )

    def save_pretrained(
        self, directory: str | os.PathLike, dtype: str = "bfloat16", max_shard_size: int | str = SHARD_SIZE
    ) -> None:
        """Writes a folder for each model and the settings; the language model names the tokenizers beside it."""
        root = Path(directory)
        for part in PARTS:
            getattr(self, part).save_pretrained(root / part, dtype, max_shard_size)
        self.lm.tokenizers = {part: digest(root / part) for part in PARTS}
        self.lm.save_pretrained(root / "lm", dtype, max_shard_size)
        write_config(root, MODEL_TYPE, dataclasses.asdict(self.settings))

    def generate(
        self,
        prompt: str | Sequence[str] | None = None,
        task: str | None = None,
        image: Any = None,
        video: Any = None,
        audio: Any = None,
        mask: Any = None,
        structure: Any = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_videos_per_prompt: int = 1,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
        output_type: str = "np",
        callback_on_step_end: Callable[[int, int], None] | None = None,
    ) -> Clip | list[Clip]:
        """Clips for a prompt, from frames, sound, or a clip with a hole. A string gives a `Clip` (or, with several
        videos per prompt, a list), a list of strings a list, prompt by prompt.

        Args:
            task: a name of `videopoet_jax.sequence.TASKS`; by default the one that the inputs make plain
                (`generate.given`).
            prompt: refused where the task reads no text.
            image: uint8 [h w 3], the first frame, or [2 h w 3], the first and the last.
            video: uint8 [t h w 3], as many frames as the task reads.
            audio: float32 [s] at the model's sample rate, of which the task reads as much as it needs. A clip of a task
                that neither reads nor writes sound keeps it.
            mask: bool [h w] or [t h w] in the size of the video, True where to write; or the name of a region, which
                outpainting keeps and others write.
            structure: uint8 [t h w 3], flow and depth (`data.structure.to_picture`); by default the video's flow.
            num_frames, height, width: None is what the model was trained on.
            guidance_scale, temperature, top_k, top_p: None is the model's own setting; `guidance_scale=1` is none.
            negative_prompt: what guidance leads away from; None is the empty prompt.
            seed: one for all prompts, or one for each; copies of a prompt differ by themselves.
            output_type: "np" for `Clip`s, "tokens" for `Written` (ids before the tokenizers decode them).
            callback_on_step_end: called with (segments written, segments in all).

        Raises:
            ValueError: an input that is missing, of the wrong shape or not of this model.
        """
        if output_type not in ("np", "tokens"):
            raise ValueError(f"output_type {output_type!r}: unknown; use np or tokens.")
        prepared = self.prepare(
            prompt,
            task=task,
            image=image,
            video=video,
            audio=audio,
            mask=mask,
            structure=structure,
            num_frames=num_frames,
            height=height,
            width=width,
            num_videos_per_prompt=num_videos_per_prompt,
            guidance_scale=guidance_scale,
            negative_prompt=negative_prompt,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
        )
        written = self.lm.generate(prepared, callback=callback_on_step_end)
        if output_type == "tokens":
            return written
        clips = self.decode(written)
        alone = (prompt is None or isinstance(prompt, str)) and num_videos_per_prompt == 1
        return clips[0] if alone else clips

    def prepare(
        self,
        prompt: str | Sequence[str] | None = None,
        *,
        task: str | None = None,
        image: Any = None,
        video: Any = None,
        audio: Any = None,
        mask: Any = None,
        structure: Any = None,
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_videos_per_prompt: int = 1,
        guidance_scale: float | None = None,
        negative_prompt: str | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
    ) -> Prepared:
        """The prefixes that `lm.generate` continues; arguments as in `generate`."""
        s = self.settings
        alone = prompt is None or isinstance(prompt, str)
        if not alone and not (isinstance(prompt, Sequence) and all(isinstance(p, str) for p in prompt)):
            raise ValueError(f"prompt {prompt!r}: a text or a list of texts is needed.")
        prompts = [prompt or ""] if alone else list(prompt)
        if not prompts or num_videos_per_prompt < 1:
            raise ValueError(f"{len(prompts)} prompts × {num_videos_per_prompt} videos: need at least one of each.")
        seeds = [int(seed)] * len(prompts) if isinstance(seed, int | np.integer) else list(seed)
        if len(seeds) != len(prompts):
            raise ValueError(f"{len(seeds)} seeds for {len(prompts)} prompts: give one for all or one for each.")
        given = check_given(image, video, audio, mask, structure)
        name = task or default_task(given, has_prompt=prompt is not None)
        chosen = self.trained_task(name)
        for what, texts in (("prompt", prompts), ("negative_prompt", [negative_prompt])):
            if not chosen.text and any(texts):
                raise ValueError(f"{what}: task {name} reads no text; leave it out or use a task that does.")
        if chosen.frames and num_frames not in (None, chosen.frames):
            raise ValueError(f"num_frames {num_frames}: task {name} makes pictures of 1 frame; leave it out.")
        sampling = self.sampling(guidance_scale if chosen.text else 1.0, temperature, top_k, top_p)
        asked, trained = (num_frames, height, width), (chosen.frames or s.num_frames, *s.size[1:])
        size = [own if a is None else a for a, own in zip(asked, trained, strict=True)]
        layout = self.layouts.layout(chosen, self.layouts.grid(*size))
        told = [p for p in prompts if p]
        cut = self.text_encoder.tokenize(told, s.text_length).truncated.tolist() if told else []
        warn_of_strangers(s, told, cut, size if chosen.frames is None else (s.num_frames, *size[1:]))
        codes = self._prefix_codes(layout, given)
        records = [codes | self.text_entries(p) for p in prompts for _ in range(num_videos_per_prompt)]
        pairs = [(own, copy) for own in seeds for copy in range(num_videos_per_prompt)]
        prepared = self.prepare_records(
            layout, records, seeds=pairs, sampling=sampling, negative_prompt=negative_prompt
        )
        return dataclasses.replace(prepared, given=given)

    def prepare_records(
        self,
        layout: Layout,
        records: Sequence[Mapping[str, np.ndarray]],
        *,
        seeds: Sequence[tuple[int, int]],
        sampling: Sampling,
        negative_prompt: str | None = None,
    ) -> Prepared:
        """The prefixes of records, a row each, whatever the task: `prepare` makes such records itself.

        Args:
            records: codes of what the task reads, and `text_ids`, `text_mask` (`text_entries`) where it has a text;
                what else they hold is left out.
            seeds: (seed, number of the copy) of each.
        """
        read = {"text_ids", "text_mask", *(segment.key for segment in layout.segments if not segment.output)}
        known = [{key: value for key, value in record.items() if key in read} for record in records]
        rows = [assemble(layout, record, outputs=False) for record in known]
        batch = {key: np.stack([row[key] for row in rows]) for key in rows[0]}
        return Prepared(layout, batch | self._texts(batch, negative_prompt or ""), tuple(seeds), sampling)

    @property
    def layouts(self) -> Layouts:
        """How this model lays out sequences."""
        s, codebook = self.settings, self.video_tokenizer.vocabulary_size
        return Layouts(
            vocabulary=self.lm.model.vocabulary,
            spatial_stride=self.video_tokenizer.stride[1],
            audio_levels=s.audio_levels,
            audio_order=s.audio_order,
            source=s.source,
            text_lengths=(s.text_length,),
            code_bits=bits_of(codebook) if codebook > self.lm.model.visual_codes else 0,
        )

    def decode(self, written: Written) -> list[Clip]:
        """Ids → clips. One clip at a time, so that it does not depend on its company; sound is padded to the end.

        What `prepare` was given and the task does not write is shown as it was, not as the tokenizers make it again.
        """
        records, task, given = disassemble(written.layout, written.ids), written.layout.task, written.given
        kept = given.frames if given and not writes(task, "video") else None
        sound = given.audio if given and not writes(task, "audio") else None
        rows = range(len(written.ids))
        return [self._decoded({key: codes[row] for key, codes in records.items()}, kept, sound) for row in rows]

    def _decoded(self, record: Mapping[str, np.ndarray], frames: np.ndarray | None, sound: np.ndarray | None) -> Clip:
        """A clip of a record's codes, but for frames and sound that are there."""
        s, caption = self.settings, None
        if frames is None:
            frames = self.video_tokenizer.decode(record["video"])
        if sound is None and "audio" in record:
            sound = self.audio_tokenizer.decode(record["audio"])
        if sound is not None:
            samples = round(len(frames) * s.sample_rate / s.fps)
            sound = np.pad(sound[:samples], (0, max(0, samples - len(sound)))).astype(np.float32)
        if "text_ids" in record:
            caption = self.text_encoder.pieces.decode(record["text_ids"])
        return Clip(frames, s.fps, sound, None if sound is None else s.sample_rate, caption)

    def trained_task(self, name: str):
        """The task called `name`, if this model was trained on it."""
        task = get_task(name)
        if name not in self.settings.tasks:
            raise ValueError(f"task {name!r}: this model was not trained on it; use {', '.join(self.settings.tasks)}.")
        return task

    def sampling(
        self, guidance_scale: float | None, temperature: float | None, top_k: int | None, top_p: float | None
    ) -> Sampling:
        """The model's own sampling, with what is given in place of it."""
        s = self.settings
        scale = s.guidance_scale if guidance_scale is None else guidance_scale
        return Sampling(
            temperature=s.temperature if temperature is None else temperature,
            top_k=s.top_k if top_k is None else top_k,
            top_p=s.top_p if top_p is None else top_p,
            guidance_scale=None if scale == 1 else scale,  # a scale of 1 needs no second row
        ).checked()

    def _prefix_codes(self, layout: Layout, given: Given) -> dict[str, np.ndarray]:
        """Codes of what the task reads, on the grid of the whole clip."""
        grid, alone, codes = layout.grid, {span.key for span in layout.task.reads if span.alone}, {}
        for key, frames in shown(layout, given).items():
            known = np.asarray(self.video_tokenizer.encode(frames).codes, np.int32)
            codes[key] = known if key in alone else _on_grid(known, grid.latents)
        sound = heard(layout, given, fps=self.settings.fps, sample_rate=self.settings.sample_rate)
        if sound is not None:
            known = np.asarray(self.audio_tokenizer.encode(sound, grid.audio_levels).codes, np.int32)
            codes["audio"] = _on_grid(known, (grid.audio_frames, grid.audio_levels))
        return codes

    def text_entries(self, prompt: str) -> dict[str, np.ndarray]:
        """`text_ids` and `text_mask` [l] of a record."""
        tokens = self.text_encoder.tokenize([prompt], self.settings.text_length)
        return {"text_ids": tokens.ids[0], "text_mask": tokens.mask[0]}

    def _texts(self, batch: dict[str, np.ndarray], negative_prompt: str) -> dict[str, np.ndarray]:
        """Embeddings of the prompts and of what guidance leads away from."""
        rows = len(batch["text_ids"])
        other = self.text_encoder.tokenize([negative_prompt], self.settings.text_length)
        empty = np.asarray(self.text_encoder.embed(other.ids, other.mask), np.float32)
        return {
            "text": np.asarray(self.text_encoder.embed(batch["text_ids"], batch["text_mask"]), np.float32),
            "empty_text": np.repeat(empty, rows, axis=0),
            "empty_text_mask": np.repeat(other.mask, rows, axis=0),
        }


def _on_grid(codes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Codes of the first frames on the grid of the whole clip, 0 behind them."""
    whole = np.zeros(shape, np.int32)
    whole[: len(codes)] = codes
    return whole
