"""`videopoet checkpoint`: what there is, whether it is whole, and models of it without data or run."""

import functools
import json
import shutil
import subprocess
import sys

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables
from videopoet_jax.cli.configuration import load_config
from videopoet_jax.cli.main import main
from videopoet_jax.lm.language_model import LanguageModel
from videopoet_jax.lm.language_model import init_params as init_lm
from videopoet_jax.lm.transformer import PrefixLM
from videopoet_jax.parallel import abstract, make_mesh, param_shardings
from videopoet_jax.pretrained import load_params, resolve
from videopoet_jax.pretrained.files import flatten
from videopoet_jax.text.embed import TextEncoder
from videopoet_jax.text.embed import init_params as init_text
from videopoet_jax.training.checkpoint import Checkpoints
from videopoet_jax.training.state import create_state
from videopoet_jax.video.model import build
from videopoet_jax.video.model import init_params as init_video
from videopoet_jax.video.tokenizer import VideoTokenizer

TINY_LM = ("model.depth=3", "model.width=32", "model.heads=2", "model.kv_heads=2", "model.head_dim=16",
           "model.rotary_sections=(8,4,4)", "model.mlp=32", "model.chain_hidden=16")  # fmt: skip
TINY_VIDEO = ("model.encoder_widths=(8,8,8)", "model.decoder_widths=(8,8,8)", "model.groups=4",
              "model.decoder_blocks=(1,1,1)")  # fmt: skip
TINY_AUDIO = ("model.channels=2", "model.dim=8", "model.codebook_size=16")
DIGESTS = {"video_tokenizer": "sha256:7", "audio_tokenizer": "sha256:8", "text_encoder": "sha256:9"}


def fails(*arguments, capsys):
    """The one line on stderr of a command that must fail."""
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    assert leave.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def save(workdir, config, init, *, extra=None, ema=True, steps=(4,)):
    """Checkpoints as a run leaves them, the average unlike the last step. Drawn: an `init` compiles long."""
    mesh, rng, boxed = make_mesh(fsdp=2), np.random.default_rng(0), abstract(init)
    drawn = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), nn.meta.unbox(boxed))
    params = jax.device_put(drawn, param_shardings(boxed, mesh))
    state = create_state(params, optax.sgd(1e-3), mesh=mesh, key=jax.random.key(1), extra=extra, ema=ema)
    if ema:
        state = state.replace(ema_params=jax.tree.map(lambda x: x + 0.25, state.ema_params))
    with Checkpoints(workdir, max_to_keep=5) as checkpoints:
        for step in steps:
            checkpoints.save(step, state, loader_state=None, config=config)
    return state


def lm_config(*changes):
    return load_config("lm:nano", (*TINY_LM, *changes)).to_dict() | {"tokenizers": DIGESTS}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A language model's run with steps 4 and 8."""
    workdir, config = tmp_path_factory.mktemp("run"), lm_config()
    return workdir, save(workdir, config, functools.partial(init_lm, PrefixLM(**config["model"])), steps=(4, 8))


def assert_holds(directory, params, prefix="", rtol=0.0):
    held = {n: a for n, a in flatten(load_params(directory)).items() if n.startswith(prefix)}
    wanted = {prefix + name: np.asarray(value) for name, value in flatten(dict(params)).items()}
    assert held.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(held[name], value, rtol=rtol, atol=0, err_msg=name)


@pytest.mark.parametrize("which", ["ema", "raw", None])
def test_a_language_model_of_a_checkpoint(run, tmp_path, which, capsys):
    workdir, state = run
    choice = ("--params", which, "--dtype", "float32", "--max-shard-size", "40KB") if which else ("--step", "4")
    main(["checkpoint", "convert", str(workdir), "--out", str(tmp_path / "lm"), *choice])
    said = f"step {8 if which else 4}, {which or 'ema'} parameters"
    assert said in capsys.readouterr().out
    assert_holds(tmp_path / "lm", state.params if which == "raw" else state.ema_params, rtol=0 if which else 2**-8)
    lm = LanguageModel.from_pretrained(tmp_path / "lm", mesh=make_mesh(fsdp=2, tensor=2))
    assert lm.tokenizers == DIGESTS and lm.model.depth == 3
    assert (tmp_path / "lm" / "model.safetensors.index.json").exists() == (which is not None)


def test_the_other_models_of_checkpoints(tmp_path):
    config = load_config("video_tokenizer:nano", TINY_VIDEO).to_dict()
    state = save(tmp_path / "v", config, functools.partial(init_video, build(config["model"])))
    main(["checkpoint", "convert", str(tmp_path / "v"), "--out", str(tmp_path / "video"), "--dtype", "float32"])
    assert_holds(tmp_path / "video", state.ema_params)
    assert VideoTokenizer.from_pretrained(tmp_path / "video").stride == (4, 16, 16)

    config = load_config("audio_tokenizer:nano", TINY_AUDIO).to_dict()
    sounds = AudioTokenizer(config["model"], {}, {"embedding": np.random.rand(2, 16, 8)})
    init = lambda key: init_variables(sounds.model, key)["params"]  # noqa: E731
    state = save(tmp_path / "a", config, init, extra={"codebooks": sounds.codebooks}, ema=False)
    main(["checkpoint", "convert", str(tmp_path / "a"), "--out", str(tmp_path / "audio"), "--dtype", "float32"])
    assert_holds(tmp_path / "audio", state.params, "params.")
    books = AudioTokenizer.from_pretrained(tmp_path / "audio").codebooks
    np.testing.assert_array_equal(books["embedding"], sounds.codebooks["embedding"])

    config, shipped = load_config("text_encoder:nano").to_dict(), TextEncoder.from_pretrained("nano")
    state = save(tmp_path / "t", config, functools.partial(init_text, shipped.model))
    shutil.copy(resolve("nano") / "text_encoder" / "spiece.model", tmp_path / "t")
    main(["checkpoint", "convert", str(tmp_path / "t"), "--out", str(tmp_path / "text"), "--dtype", "float32"])
    assert_holds(tmp_path / "text", state.ema_params)
    assert TextEncoder.from_pretrained(tmp_path / "text").pieces.sha256 == shipped.pieces.sha256


@pytest.fixture
def damaged(run, tmp_path):
    """The run with a bit flipped in its step 8, and the flipped file."""
    shutil.copytree(run[0], tmp_path / "run")
    path = max((tmp_path / "run" / "checkpoints" / "00000008").rglob("d/*"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return tmp_path / "run", path


def test_what_there_is_is_listed(run, tmp_path, capsys):
    main(["checkpoint", "list", str(run[0])])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[-1]) for row in rows] == [("4", "complete"), ("8", "complete")]
    main(["checkpoint", "list", str(run[0]), "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [(row["step"], row["state"], row["problem"]) for row in rows] == [(4, "complete", ""), (8, "complete", "")]
    assert all(row["size"] > 1000 and row["age_seconds"] >= 0 for row in rows)
    main(["checkpoint", "list", str(tmp_path)])
    assert capsys.readouterr().out == f"no checkpoints in {tmp_path}\n"


def test_digests_are_verified_and_the_damaged_file_is_named(run, damaged, tmp_path, capsys):
    main(["checkpoint", "verify", str(run[0])])
    assert [line.split(",")[-1] for line in capsys.readouterr().out.splitlines()] == [" intact", " intact"]
    workdir, path = damaged
    main(["checkpoint", "verify", str(workdir), "--step", "4"])
    for choice in ((), ("--step", "8")):
        line = fails("checkpoint", "verify", workdir, *choice, capsys=capsys)
        assert line == f"error: {path}: its sha256 is not the one it was saved with; restore another step."
    line = fails("checkpoint", "convert", workdir, "--out", tmp_path / "lm", capsys=capsys)
    assert path.name in line and not (tmp_path / "lm").exists()
    main(["checkpoint", "convert", str(workdir), "--step", "4", "--out", str(tmp_path / "lm")])
    assert LanguageModel.from_pretrained(tmp_path / "lm").model.depth == 3


def test_a_lost_manifest_and_a_file_too_many_are_no_intact_step(run, tmp_path, capsys):
    shutil.copytree(run[0], tmp_path / "run")
    four, eight = (tmp_path / "run" / "checkpoints" / name for name in ("00000004", "00000008"))
    (four / "state" / "more").write_text("x")
    line = fails("checkpoint", "verify", tmp_path / "run", "--step", "4", capsys=capsys)
    assert line == f"error: {four}/state/more: not there when the step was saved; move it elsewhere."
    (four / "state" / "more").unlink()
    (eight / "manifest.json").unlink()
    with pytest.raises(SystemExit) as leave:
        main(["checkpoint", "verify", str(tmp_path / "run")])
    said = capsys.readouterr()
    assert leave.value.code == 2 and "step 8: no manifest.json\n" in said.out and "step 4: " in said.out
    assert said.err.startswith(f"error: {eight}: no manifest.json, so this step is not finished")


def test_mistakes_are_one_line(run, tmp_path, capsys):
    out = ("--out", tmp_path / "model")
    assert "no finished step" in fails("checkpoint", "convert", tmp_path, *out, capsys=capsys)
    assert "no finished step" in fails("checkpoint", "verify", tmp_path, capsys=capsys)
    assert "step 5" in fails("checkpoint", "verify", run[0], "--step", "5", capsys=capsys)
    assert "its steps are 4, 8" in fails("checkpoint", "convert", run[0], "--step", "5", *out, capsys=capsys)
    line = fails("checkpoint", "convert", run[0], *out, "--max-shard-size", "big", capsys=capsys)
    assert line.startswith("error: max_shard_size 'big': a number of bytes is needed")
    assert "does not exist" in fails("checkpoint", "list", tmp_path / "nowhere", capsys=capsys)
    strange = {"ema": lm_config(), "type": {"model_type": "mlp"}, "digests": lm_config()}
    strange["digests"].pop("tokenizers")
    strange["params"] = lm_config()
    strange["lora"] = lm_config("train.lora.rank=4")
    for name, config in strange.items():
        save(tmp_path / name, config, lambda key: {"w": jnp.ones(4)}, ema=False)
    said = {name: fails("checkpoint", "convert", tmp_path / name, *out, *(("--params", "ema") if name == "ema" else ()),
                        capsys=capsys) for name in strange}  # fmt: skip
    assert "keeps no moving average (train.ema_decay was 0); take --params raw." in said["ema"]
    assert "model_type 'mlp', which no model here has" in said["type"]
    assert "does not name the tokenizers" in said["digests"] and "--export" in said["digests"]
    assert "parameters do not fit the config, first input.audio: absent in the file" in said["params"]
    assert "holds adapters (train.lora)" in said["lora"] and "--export-adapters" in said["lora"]
    assert not (tmp_path / "model").exists()


LARGE = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from videopoet_jax.cli.main import main
import jax, orbax.checkpoint, safetensors, tensorstore, videopoet_jax.cli.saved_models, videopoet_jax.training.saved
import videopoet_jax.lm.language_model
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
main(["checkpoint", "convert", sys.argv[2], "--out", sys.argv[3], "--dtype", "float32", "--max-shard-size", "20MB"])
print(peak() - before)
"""


def test_a_large_checkpoint_is_converted_in_the_memory_of_a_shard(tmp_path):
    """A model of 250 MB, whose stacked matrices are of 60 MB, in shards of 20 MB."""
    config = lm_config("model.depth=14", "model.width=512", "model.mlp=2048", "model.heads=8", "model.kv_heads=8",
                       "model.head_dim=64", "model.rotary_sections=(32,16,16)")  # fmt: skip
    save(tmp_path / "run", config, functools.partial(init_lm, PrefixLM(**config["model"])), ema=False)
    command = [sys.executable, "-c", LARGE, ".", str(tmp_path / "run"), str(tmp_path / "lm")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    files = sorted((tmp_path / "lm").glob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) > 230e6 and max(path.stat().st_size for path in files) < 21e6
    peak = int(done.stdout.split()[-1])
    assert peak < 5 * 20e6, peak
