"""`tiny_actions` is made like UCF-101, `tiny_pushing` like BAIR, `tiny_captions` like WebVid and MSR-VTT."""

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


class TinyTables(_Tiny):
    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def example(self, number, frames):
        return {"text": "no film"}
