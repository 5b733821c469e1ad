"""Every row of the study is a tokenizer with a loss of the clips that it is given."""

import jax
import jax.numpy as jnp
import pytest
import tokenizer_study

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.video import losses
from videopoet_jax.video.model import build, init_params

ROWS = {**tokenizer_study.ROWS, **tokenizer_study.FURTHER}


def config_of(name):
    return load_config("video_tokenizer:study", tuple(f"{key}={value}" for key, value in ROWS[name].items()))


@pytest.mark.parametrize("name", ROWS)
def test_a_row_has_a_loss(name):
    config = config_of(name)
    model, data = build(config.model), config.data
    params = jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0))
    clips = jax.ShapeDtypeStruct((4, data.num_frames, data.height, data.width, 3), jnp.uint8)
    loss_fn = losses.make_loss(model, config.loss)
    loss = jax.eval_shape(
        lambda p, v: loss_fn(p, losses.initial_extra(), {"video": v}, lambda name: jax.random.key(0))[0], params, clips
    )
    assert loss.shape == () and model.filled_frames(data.num_frames) == data.num_frames


def test_three_rows_cost_equal_bits():
    """16 frames: 5 grids of 8 bits and 4 of 10."""
    bits = {}
    for name in ("lfq_2^8", "not_causal_2^10", "magvit1_2^10"):
        model = build(config_of(name).model)
        time, height, width = model.grid(16, 64, 64)
        size = {"lfq": lambda q: q["bits"], "vq": lambda q: q["size"].bit_length() - 1}[model.quantizer["name"]]
        bits[name] = time * height * width * size(model.quantizer)
    assert set(bits.values()) == {2560}
