"""Builders in the form of known ones, a few clips each.

`tiny_actions` is made like UCF-101, `tiny_pushing` like BAIR, `tiny_captions` like WebVid, `tiny_films` like MSR-VTT
and Kinetics, where films are bytes or paths; `tiny_rates` tells a rate for each clip, `tiny_told` one for all; the
episodes of `tiny_episodes` are made of steps, as RLDS has them.
"""

import dataclasses
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

LENGTHS = (50, 40, 12, 75)


def clip(number, frames, height=24, width=36, channels=3):
    """uint8 [t h w c]: frame t of clip n is all 40 n + t."""
    level = (40 * number + np.arange(frames)).astype(np.uint8)
    return np.broadcast_to(level[:, None, None, None], (frames, height, width, channels)).copy()


class _Tiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    SPLITS = ("train",)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.SPLITS}

    def _generate_examples(self, split):
        for number, frames in enumerate(LENGTHS):
            yield number, self.example(number, frames)


@dataclasses.dataclass
class RatedConfig(tfds.core.BuilderConfig):
    fps: int = 10


class TinyActions(_Tiny):
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("small", "grey")]
    SPLITS = ("train", "test")

    def _info(self):
        channels = 1 if self.builder_config.name == "grey" else 3
        video = tfds.features.Video((None, 24, 36, channels), encoding_format="png")
        label = tfds.features.ClassLabel(names=["ApplyEyeMakeup", "playing_the-cello"])
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"video": video, "label": label}))

    def example(self, number, frames):
        channels = 1 if self.builder_config.name == "grey" else 3
        return {"video": clip(number, frames, channels=channels), "label": number % 2}


class TinyPushing(_Tiny):
    def _info(self):
        images = {name: tfds.features.Image(shape=(24, 36, 3)) for name in ("image_aux1", "image_main")}
        action = tfds.features.Tensor(shape=(4,), dtype=np.float32)
        return self.dataset_info_from_configs(features=tfds.features.Sequence({**images, "action": action}))

    def example(self, number, frames):
        video = clip(number, frames)
        return {"image_main": video, "image_aux1": 255 - video, "action": np.zeros((frames, 4), np.float32)}


class TinyCaptions(_Tiny):
    def _info(self):
        features = {
            "clip": {
                "frames": tfds.features.Sequence(tfds.features.Image(shape=(24, 36, 3))),
                "url": tfds.features.Text(),
            },
            "captions": tfds.features.Sequence({"text": np.str_, "id": np.int64}),
            "video_id": tfds.features.Text(),
            "narration": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def example(self, number, frames):
        said = [f"clip {number} is shown", "it is shown again"][: number % 3]
        return {
            "clip": {"frames": clip(number, frames), "url": "http://127.0.0.1:9/"},
            "captions": {"text": said, "id": np.arange(len(said))},
            "video_id": f"video{number}",
            "narration": f"Now see {number}.",
        }


class TinyFilms(_Tiny):
    """Films as bytes, the third of them damaged; or as paths, absolute, relative, and out of the folder."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("bytes", "paths")]

    def _info(self):
        film = "video" if self.builder_config.name == "bytes" else "video_path"
        features = {
            film: tfds.features.Tensor(shape=(), dtype=np.str_),
            "captions": tfds.features.Sequence(tfds.features.Text()),
            "category": tfds.features.ClassLabel(names=["music", "people"]),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, split):
        root = Path(self._data_dir_root)
        films = [root / "films" / name for name in ("heard.mp4", "silent.mp4")]
        if self.builder_config.name == "bytes":
            held = [film.read_bytes() for film in films]
            name, values = "video", [*held, held[0][: len(held[0]) // 3]]
        else:
            name, values = "video_path", [str(films[0]), "films/silent.mp4", str(root.parent / "outside.mp4")]
        for number, value in enumerate(values):
            yield number, {name: value, "captions": [f"film {number}", "the same"], "category": number % 2}


class TinyRates(_Tiny):
    """Each clip has a rate; that of the third is none."""

    RATES = (8, 16, 0, 12.5)

    def _info(self):
        features = {
            "clip": tfds.features.Tensor(shape=(None, 24, 36, 3), dtype=np.uint8),
            "fps": np.float32,
            "class": tfds.features.ClassLabel(names=["ApplyEyeMakeup", "playing_the-cello"]),
        }
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def example(self, number, frames):
        return {"clip": clip(number, frames), "fps": self.RATES[number], "class": number % 2}


class TinyEpisodes(_Tiny):
    """As RLDS has it."""

    def _info(self):
        step = {
            "observation": {"image": tfds.features.Image(shape=(24, 36, 3)), "state": np.float32},
            "language_instruction": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"steps": tfds.features.Dataset(step)})
        )

    def example(self, number, frames):
        return {
            "steps": [
                {"observation": {"image": frame, "state": 0.0}, "language_instruction": f"push {number}"}
                for frame in clip(number, frames)
            ]
        }


class TinyTold(_Tiny):
    """The rate of all clips is told by what ffmpeg was given, by metadata, or by the config."""

    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("r", "vf", "metadata", "wrong")]
    BUILDER_CONFIGS.append(RatedConfig(name="config", version="1.0.0"))
    ARGUMENTS = {"r": ["-r", "24"], "vf": ["-vf", "scale=36x24,fps=30000/1001"]}
    METADATA = {"metadata": {"frame_rate": 12.5}, "wrong": {"fps": "many"}}

    def _info(self):
        name = self.builder_config.name
        video = tfds.features.Video((None, 24, 36, 3), ffmpeg_extra_args=self.ARGUMENTS.get(name, ()))
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict({"video": video}),
            metadata=tfds.core.MetadataDict(self.METADATA.get(name, {})),
        )

    def example(self, number, frames):
        return {"video": clip(number, frames)}


class TinyTables(_Tiny):
    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def example(self, number, frames):
        return {"text": "no film"}
