"""Every model trains from its config through the one loop, goes on where it stopped, and can be loaded afterwards."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.cli.recipes import recipe_for
from videopoet_jax.cli.train import Run, averaged
from videopoet_jax.pretrained import files
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.loop import to_devices, without_frozen

TRAIN = ["train.steps=4", "train.warmup_steps=1", "train.batch_size=4"]
TINY = {
    "video_tokenizer:nano": ["model.encoder_widths=(8,8,8)", "model.decoder_widths=(8,8,8)", "model.groups=4",
                             "model.decoder_blocks=(1,1,1)", "model.quantizer.bits=6", "data.size=16"],
    "audio_tokenizer:nano": ["model.channels=2", "model.dim=8", "model.codebook_size=16", "data.size=16",
                             "data.crop=3200", "loss.windows=(256,512)"],
    "text_encoder:nano": ["data.captions=(1500,1500,1500)"],
}  # fmt: skip


def train(config, workdir, *changes, export=None):
    settings = [part for change in changes for part in ("--set", change)]
    export = ["--export", str(export)] if export else []
    main(["train", "--config", config, "--workdir", str(workdir), "--checkpoint-every", "2", *settings, *export])


@pytest.mark.slow  # minutes of compiling each; the loop's own resume is tested bit for bit in tests/training
@pytest.mark.parametrize("config", TINY)
def test_a_stopped_run_ends_as_an_uninterrupted_one(config, tmp_path):
    changes = [*TINY[config], *TRAIN]
    train(config, tmp_path / "whole", *changes, export=tmp_path / "a")
    # The schedule looks ahead to step 4 in both; the first half is stopped by removing what came after step 2.
    train(config, tmp_path / "halves", *changes, export=tmp_path / "b")
    checkpoints = sorted((tmp_path / "halves" / "checkpoints").glob("0*"))
    assert [p.name for p in checkpoints] == ["00000002", "00000004"]
    import shutil

    shutil.rmtree(checkpoints[-1])
    train(config, tmp_path / "halves", *changes, export=tmp_path / "c")
    first, *others = (files.flatten(files.load_params(tmp_path / name, None)) for name in "abc")
    assert any(np.any(value != 0) for value in first.values())
    for other in others:
        assert all(np.array_equal(first[name], other[name]) for name in first)


def test_a_dry_run_checks_the_config_and_leaves_nothing(tmp_path, capsys):
    words = ["train", "--config", "lm:nano", "--workdir", str(tmp_path / "run"), "--dry-run"]
    main([*words, "--set", "train.steps=7"])
    assert capsys.readouterr().out == f"lm:nano: 7 steps of videopoet_lm, kept in {tmp_path / 'run'}\n"
    for mistake, said in (("train.stepz=7", "no key 'train.stepz'"), ("train.steps=x", "train.steps")):
        with pytest.raises(SystemExit) as leave:
            main([*words, "--set", mistake])
        assert leave.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# One stage of stride 4×4×4, so that a compilation takes seconds.
SMALL = {
    "model.groups": 4, "model.decoder_middle_blocks": 1, "model.remat": False, "model.strides": "((4,4,4),)",
    **{f"model.{part}_widths": "(8,8)" for part in ("encoder", "decoder")},
    **{f"model.{part}_blocks": "(1,1)" for part in ("encoder", "decoder")},
    "data.source": "moving_digits", "data.size": 16, "data.height": 16, "data.width": 16, "loss.perceptual": 0,
    "loss.dtype": "float32", "adversary.weight": 0, "train.steps": 2, "train.batch_size": 2, "train.warmup_steps": 1,
}  # fmt: skip


def small(variant, **changes):
    settings = tuple(f"{name}={value}" for name, value in {**SMALL, **changes}.items())
    return load_config(f"video_tokenizer:{variant}", settings)


@pytest.mark.parametrize(
    ("variant", "changes"),
    [
        ("base", {"model.kernel_time": "(3,3)", "model.quantizer": '{"name": "fsq", "levels": (4, 3)}'}),
        ("magvit1", {"model.kernel_time": "(3,3)", "model.quantizer": '{"name": "vq", "size": 16, "channels": 4}'}),
        ("per_frame", {"model.kernel_time": "(1,1)", "model.strides": "((1,4,4),)"}),
    ],
)
def test_two_steps_of_every_kind_of_tokenizer_change_every_parameter(variant, changes, tmp_path):
    config = small(variant, **{**changes, "data.image_share": 0})
    run = Run(config, recipe_for(config, tmp_path), None)
    state, step = run.begin()
    before, compiled = state.params, jax.jit(step)
    with jax.set_mesh(run.mesh):
        for _ in range(2):
            state, metrics = compiled(state, to_devices({"video": next(run.recipe.batches)["video"]}, run.mesh))
    changed = jax.tree.map(lambda a, b: bool(np.all(np.isfinite(b)) and np.any(a != b)), before, state.params)
    assert all(jax.tree.leaves(changed)) and np.isfinite(metrics["loss"]), changed


def test_a_clip_stage_starts_as_the_exported_image_stage_bit_for_bit(tmp_path, monkeypatch):
    """Also where models compute in bfloat16, as on accelerators."""
    compute_dtype = "videopoet_jax.video.tokenizer.compute_dtype"
    monkeypatch.setattr(compute_dtype, lambda name=None: name or "bfloat16")
    taps = {"model.kernel_time": "(3,3)", "model.quantizer": '{"name": "lfq", "bits": 6}'}
    config = small("base_image", **{**taps, "model.kernel_time": "(1,1)"})
    run = Run(config, recipe_for(config, tmp_path), None)
    state, _ = run.begin()
    run.recipe.trained(averaged(state), state.extra).save_pretrained(tmp_path / "image", dtype="float32")
    params, _ = recipe_for(small("base", **taps), tmp_path).start(str(tmp_path / "image"))
    images, clips = files.flatten(averaged(state)), files.flatten(params)
    assert images.keys() == clips.keys()
    for name, value in images.items():
        present = clips[name][-1:] if value.ndim == 5 else clips[name]
        if "_up" not in name:  # whose channels are also copied
            np.testing.assert_array_equal(present, value, err_msg=name)


def test_pictures_come_between_the_clips(tmp_path):
    changes = (*TINY["video_tokenizer:nano"], *TRAIN, "data.image_share=0.5", "data.images_per_clip=2")
    recipe = recipe_for(load_config("video_tokenizer:nano", changes), tmp_path)
    shapes = {recipe.batches[number]["video"].shape for number in range(4)}
    assert shapes == {(4, 17, 64, 64, 3), (8, 1, 64, 64, 3)} and recipe.adversary is None


def test_missing_weights_of_the_perceptual_loss_are_named_before_anything_is_read(tmp_path):
    changes = ("loss.perceptual=0.1", f"loss.perceptual_network={tmp_path}/lpips", "data.root=nowhere")
    with pytest.raises(ValueError, match="lpips: no weights of LPIPS there; fetch them with ./launch/fetch_weights.sh"):
        recipe_for(load_config("video_tokenizer:base", changes), tmp_path)


def test_a_tokenizer_and_its_discriminator_train(tmp_path, capsys):
    """Adversarial training for a few steps: both players move from the start on, and the export loads."""
    from videopoet_jax.video.tokenizer import VideoTokenizer

    settings = ["weight=0.1", "start=2", "width=4", "multipliers=(2,2)", "learning_rate=1e-3"]
    changes = [*TINY["video_tokenizer:nano"], *TRAIN, "train.steps=6", "data.num_frames=5", "data.height=32",
               "data.width=32", "train.optimizer=adam", *(f"adversary.{field}" for field in settings)]  # fmt: skip
    settings = [part for change in changes for part in ("--set", change)]
    main(["train", "--config", "video_tokenizer:nano", "--workdir", str(tmp_path / "run"), "--log-every", "1",
          "--export", str(tmp_path / "model"), *settings])  # fmt: skip
    assert "train.warmup_steps 1 → 0, a tenth of 6 steps" in capsys.readouterr().out
    with Checkpoints(tmp_path / "run", max_to_keep=2) as checkpoints:
        kept = next((checkpoints.folder(6) / "config").glob("metadata")).read_text()
    assert json.loads(kept)["config"]["train"]["warmup_steps"] == 0
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    verdicts = {r["step"]: (r["adversarial"], r["adversary_loss"]) for r in records if "adversarial" in r}
    assert all((step > 2) == (both[0] > 0 and both[1] > 0) for step, both in verdicts.items()) and len(verdicts) == 6
    assert VideoTokenizer.from_pretrained(tmp_path / "model").stride == (4, 16, 16)


def test_soundstream_and_its_discriminators_train(tmp_path):
    """Both players move from the start on, noise is taken away on demand, and the export loads."""
    from videopoet_jax.audio.tokenizer import AudioTokenizer

    settings = ("weight=1.0", "start=2", "model.scales=1", "model.waveform_widths=(4,8)", "model.stft_window=64",
            "model.stft_widths=(2,4)", "model.stft_strides=((2,2),)")  # fmt: skip
    changes = (*TINY["audio_tokenizer:nano"], *TRAIN, "train.optimizer=adam", "model.denoise=True",
               "model.strides=(4,8)", "model.dilations=(1,)", "loss.windows=(256,)",
               *(f"adversary.{field}" for field in settings))  # fmt: skip
    settings = [part for change in changes for part in ("--set", change)]
    main(["train", "--config", "audio_tokenizer:nano", "--workdir", str(tmp_path), *settings,
          "--log-every", "1", "--export", str(tmp_path / "model")])  # fmt: skip
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    verdicts = {r["step"]: (r["adversarial"], r["adversary_loss"]) for r in records if "adversarial" in r}
    assert {step: min(pair) > 0 for step, pair in verdicts.items()} == {1: False, 2: False, 3: True, 4: True}
    sound = np.random.default_rng(0).normal(size=3200).astype(np.float32)
    assert AudioTokenizer.from_pretrained(tmp_path / "model").encode(sound, denoise=True).codes.shape == (100, 2)


@pytest.mark.slow
def test_minutes_become_steps_and_are_kept(tmp_path, capsys):
    arguments = ["train", "--config", "text_encoder:nano", "--workdir", str(tmp_path), "--minutes", "0.01",
                 "--set", "data.captions=(1500,1500,1500)", "--set", "train.batch_size=4"]  # fmt: skip
    main(arguments)
    steps = json.loads((tmp_path / "steps.json").read_text())["steps"]
    assert steps >= 10 and "steps fit into" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / f"{steps:08d}").is_dir()


def test_shortened_warmups_are_told_and_written_into_the_config(capsys):
    from videopoet_jax.cli.train import of_adversary, state_warmups

    config = load_config("video_tokenizer:base", ("train.steps=30_000",))
    assert (config.train.warmup_steps, config.adversary.start) == (5_000, 20_000)
    state_warmups(config, with_adversary=True)
    assert capsys.readouterr().out.splitlines() == [
        "train.warmup_steps 5000 → 3000, a tenth of 30000 steps",
        "adversary.warmup_steps 5000 → 1000, a tenth of 10000 steps",
    ]
    assert (config.train.warmup_steps, config.adversary.warmup_steps) == (3_000, 1_000)
    assert of_adversary(config)["warmup_steps"] == 1_000
    state_warmups(config, with_adversary=True)
    assert capsys.readouterr().out == ""
    whole = load_config("video_tokenizer:base")
    state_warmups(whole, with_adversary=True)
    assert capsys.readouterr().out == "" and "warmup_steps" not in whole.adversary


@pytest.mark.parametrize("rate", [0.0, -1e-3])
def test_a_rate_at_which_nothing_is_learned_is_refused(rate):
    from videopoet_jax.cli.train import optimizer_of

    train = load_config("video_tokenizer:nano", (f"train.learning_rate={rate}",)).train
    with pytest.raises(ValueError, match=f"learning_rate {rate:g}: a number above 0 is needed; give one."):
        optimizer_of(train)


def test_a_run_keeps_to_the_minutes_that_it_was_planned_for(tmp_path):
    from videopoet_jax.cli.train import planned

    note = tmp_path / "steps.json"
    note.write_text('{"minutes": 5, "steps": 70}')
    assert planned(note, 5.0) == 70
    with pytest.raises(ValueError, match="--minutes 60: .* was planned for 5; .*another directory"):
        planned(note, 60.0)
    note.write_text('{"minutes": 5, "st')
    with pytest.raises(ValueError, match="steps.json: not what `--minutes` wrote.*delete it"):
        planned(note, 5.0)


def test_the_language_model_trains_on_records_of_its_tokenizers(tmp_path):
    """From clips to token records to a language model that names the tokenizers it was trained with."""
    from videopoet_jax.lm.language_model import LanguageModel
    from videopoet_jax.pretrained import digest, resolve

    models, records = resolve("nano"), tmp_path / "records"
    main(["data", "prepare", "--config", "lm:nano", "--models", str(models), "--out", str(records), "--clips", "6"])
    tiny = ["model.depth=1", "model.width=32", "model.heads=2", "model.kv_heads=1", "model.head_dim=16",
            "model.rotary_sections=(8,4,4)", "model.mlp=32", "model.chain_hidden=16", "model.unroll=1",
            "train.optimizer=adamw"]  # fmt: skip
    one_task = 'data.tasks={"text_to_video": 1.0}'
    train("lm:nano", tmp_path / "run", *tiny, *TRAIN, f"data.records={records}", one_task, export=tmp_path / "lm")
    lm = LanguageModel.from_pretrained(tmp_path / "lm")
    assert lm.tokenizers["video_tokenizer"] == digest(models / "video_tokenizer")
    config = load_config("lm:nano", (*tiny, *TRAIN, f"data.records={records}", one_task))
    run = Run(config, recipe_for(config, tmp_path / "run"), None)
    start, _ = run.begin()
    initial = files.flatten(jax.tree.map(np.array, start.params))
    with Checkpoints(tmp_path / "run", max_to_keep=2) as checkpoints:
        state = checkpoints.restore(without_frozen(start)).state
    kept, last = (files.flatten(jax.tree.map(np.asarray, tree)) for tree in (averaged(state), state.params))
    for name, value in files.flatten(files.load_params(tmp_path / "lm")).items():
        np.testing.assert_allclose(value, kept[name], rtol=2**-8)  # bfloat16
    assert any(np.abs(kept[name] - last[name]).max() > 1e-5 for name in kept)  # the average, not the last step
    assert any(np.abs(kept[name] - initial[name]).max() > 1e-5 for name in kept)
    two_tasks = 'data.tasks={"text_to_video": 1.0, "text_to_image": 1.0}'
    packed = (f"data.held_out={records}", two_tasks, "data.packing=500")
    train("lm:nano", tmp_path / "packed", *tiny, *TRAIN, f"data.records={records}", *packed)
    for folder in ("run", "packed"):
        losses = [json.loads(line) for line in (tmp_path / folder / "metrics.jsonl").read_text().splitlines()]
        assert all(np.isfinite(record["loss"]) for record in losses if "loss" in record)
    assert {"eval/loss_text_to_video", "eval/loss_text_to_image"} <= set().union(*losses)  # each by itself, unpacked
    assert losses[0]["padding"] > 0
    with Image.open(tmp_path / "packed" / "pictures" / "00000004.png") as sheet:
        assert sheet.height > 8 * 96  # two tasks, two clips of each, true and written
