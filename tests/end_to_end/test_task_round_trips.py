"""Every task, from a clip to a sequence and back to pixels and sound: what the tokenizers make of it, to the bit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from videopoet_jax.audio.tokenizer import AudioTokenizer
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.recipes_of_language import layouts_of
from videopoet_jax.cli.tokenize_clips import TokenizeClips
from videopoet_jax.data.sources import MovingDigits
from videopoet_jax.data.structure import from_picture, to_picture
from videopoet_jax.data.task_batches import example_of, kinds_of
from videopoet_jax.data.token_records import index_of
from videopoet_jax.data.views import VIEWS, views_of
from videopoet_jax.pretrained import resolve
from videopoet_jax.sequence import TASKS, disassemble, get_task
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.video.tokenizer import VideoTokenizer

SEED = 5


@pytest.fixture(scope="module")
def config():
    return load_config("lm:nano", ("model.text_pieces=1024", "data.levels=(1,2)"))


@pytest.fixture(scope="module")
def clip():
    source = MovingDigits("train", levels=(2,), size=4, num_frames=17, height=64, width=64, structure=True)
    return source[3] | {"number": 3}


@pytest.fixture(scope="module")
def record(config, clip):
    keys = sorted(VIEWS)
    return TokenizeClips(resolve("nano"), 2, config.data, keys, SEED, {})([clip])[0]


@pytest.fixture(scope="module")
def tokenizers():
    return VideoTokenizer.from_pretrained("nano"), AudioTokenizer.from_pretrained("nano")


@pytest.mark.parametrize("name", TASKS)
def test_clip_to_sequence_to_clip(name, config, clip, record, tokenizers):
    video, audio = tokenizers
    (kind,) = kinds_of(np.array([index_of(record)], np.int32), list(VIEWS), {name: 1.0}, layouts_of(config))
    text_length = config.data.text_length
    example = example_of(kind.layout, kind.layout.length + 3, text_length, {})(record)
    back = disassemble(kind.layout, example["ids"][: kind.layout.length])
    shown = views_of(clip, list(VIEWS), (SEED, 3))
    for key, codes in back.items():
        if key == "audio":
            whole = audio.decode(audio.encode(clip["audio"], config.data.audio_levels).codes)
            assert_array_equal(audio.decode(codes), whole)
        elif key == "text_ids":
            pieces = TextEncoder.from_pretrained("nano").pieces
            assert pieces.processor.decode(codes.tolist()) == str(clip["caption"])
        else:
            frames = 1 if get_task(name).frames == 1 else len(shown[key])
            # As many in a batch as `TokenizeClips` had: another size may round a latent to the other side.
            batch = np.asarray(video.encode(np.stack([shown[key]] * 2)).codes)[0]
            assert_array_equal(video.decode(codes), video.decode(batch[: len(codes)])[:frames])
    written = {span.key for span in get_task(name).writes}
    assert written <= set(back)


def test_what_is_shown_as_structure_is_the_truth(clip):
    flow, depth = from_picture(to_picture(clip["flow"], clip["depth"]))
    assert np.abs(flow - clip["flow"]).max() <= 0.5 * 8 / 127 + 1e-6
    assert np.abs(depth - clip["depth"]).max() <= 0.5 / 255 + 1e-6
