"""Every trainer, stopped and started again, goes on as if nothing had been: every array of its state, bit for bit."""

import json
import shutil

import numpy as np
import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.pretrained import resolve
from videopoet_jax.training.saved import open_step

TRAIN = ("train.steps=4", "train.warmup_steps=1", "train.batch_size=4", "train.optimizer=adamw", "train.ema_decay=0.9")
LM = ("model.depth=1", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16",
      "model.rotary_sections=(8,4,4)", "model.mlp=32", "model.chain_hidden=16",
      'data.tasks={"text_to_video": 1.0, "image_to_video": 1.0}')  # fmt: skip
TRAINERS = {
    "video tokenizer and its discriminator": ("video_tokenizer:nano",
        "model.encoder_widths=(8,8,8)", "model.decoder_widths=(8,8,8)", "model.groups=4",
        "model.decoder_blocks=(1,1,1)", "model.quantizer.bits=6", "data.size=16", "data.num_frames=5", "data.height=32",
        "data.width=32", "data.image_share=0.5", "data.images_per_clip=2", "adversary.weight=0.1", "adversary.start=1",
        "adversary.width=4", "adversary.multipliers=(2,2)"),
    "audio tokenizer and its discriminators": ("audio_tokenizer:nano",
        "model.channels=2", "model.dim=8", "model.codebook_size=16", "data.size=16", "data.crop=3200",
        "model.strides=(4,8)", "model.dilations=(1,)", "loss.windows=(256,)", "adversary.weight=1.0",
        "adversary.start=1", "model.scales=1", "model.waveform_widths=(4,8)", "model.stft_window=64",
        "model.stft_widths=(2,4)", "model.stft_strides=((2,2),)"),
    "text encoder": ("text_encoder:nano", "data.captions=(1500,1500,1500)"),
    "language model, in groups": ("lm:nano", *LM),
    "language model, packed": ("lm:nano", *LM, "data.packing=500"),
}  # fmt: skip


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "records"
    models = str(resolve("nano"))
    main(["data", "prepare", "--config", "lm:nano", "--models", models, "--out", str(folder), "--clips", "12"])
    return folder


@pytest.mark.slow  # minutes of compiling
@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_stopped_run_ends_in_the_state_of_an_uninterrupted_one(trainer, records, tmp_path):
    config, *changes = TRAINERS[trainer]
    changes += [*TRAIN, *((f"data.records={records}",) if config == "lm:nano" else ())]
    settings = [part for change in changes for part in ("--set", change)]

    def train(workdir):
        main(["train", "--config", config, "--workdir", str(workdir), "--checkpoint-every", "2", *settings])
        return open_step(workdir)

    whole = train(tmp_path / "whole")
    train(tmp_path / "halves")
    # The schedule looks ahead to step 4 in both; a stop after step 2 is what is left without the last checkpoint.
    shutil.rmtree(tmp_path / "halves" / "checkpoints" / "00000004")
    halves = train(tmp_path / "halves")
    assert (whole.step, halves.step) == (4, 4) and whole.arrays.keys() == halves.arrays.keys()
    assert {name.split(".")[0] for name in whole.arrays} >= {"step", "params", "opt_state", "ema_params"}
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(halves.arrays[name]), err_msg=name)
    data = [json.loads((one.folder / "loader" / "metadata").read_text()) for one in (whole, halves)]
    assert data[0] == data[1]
