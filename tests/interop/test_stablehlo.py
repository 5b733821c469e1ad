"""A pipeline's programs make what the pipeline makes, in a process that has never seen our package.

They are compiled apart from ours, so sums may round otherwise on some processors. Of the 744 draws here one may then
fall between two ids as good as equal, and all that follows it in its row is another clip: one row of four may part.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from videopoet_jax.cli.main import main
from videopoet_jax.generate.pipeline import VideoPoet

CONSUMER = Path(__file__).with_name("run_programs.py")
PROMPTS, SEEDS = ["a red 3 moving left", "a blue 7 moving up", "a dog", ""], [1, 2, 3, 2**32 - 1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """nano in two shards, with programs. Made where types are not checked: a size that is unknown is no int."""
    out = tmp_path_factory.mktemp("exported") / "nano"
    command = [sys.executable, "-c", "from videopoet_jax.cli.main import main; main()", "export", "--models", "nano",
               "--out", str(out), "--stablehlo", "--max-shard-size", "5MB"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def programs(exported):
    return json.loads((exported / "stablehlo" / "programs.json").read_text())


def test_a_clip_is_made_and_read_without_our_package_as_with_it(exported, tmp_path):
    vp = VideoPoet.from_pretrained(exported, "float32")
    tokens = vp.text_encoder.tokenize([*PROMPTS, ""], vp.settings.text_length)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (2, 17, 8, 8, 3), np.uint8).repeat(8, axis=2).repeat(8, axis=3)
    sound = rng.normal(0, 0.1, (1, 33_920)).astype(np.float32)
    np.savez(tmp_path / "given.npz", ids=tokens.ids, mask=tokens.mask, seed=np.uint32(SEEDS), video=video, sound=sound)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, str(CONSUMER), str(exported), str(tmp_path / "given.npz"), str(tmp_path / "made.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {"videopoet_jax", "flax", "orbax", "safetensors"}.isdisjoint(json.loads(done.stdout.splitlines()[-1]))

    written = vp.lm.generate(vp.prepare(PROMPTS, seed=SEEDS))
    with np.load(tmp_path / "made.npz") as made:
        same = made["ids"] == written.ids
        assert same.all(axis=1).sum() >= len(PROMPTS) - 1, np.argmin(same, axis=1)  # each row's first id that differs
        clip = vp.decode(dataclasses.replace(written, ids=made["ids"][:1]))[0]
        np.testing.assert_allclose(made["video"][0], clip.frames, atol=1)
        np.testing.assert_allclose(made["audio"][0], clip.audio[:33_920], atol=1e-5)
        for ids, ours in (("again", vp.video_tokenizer.encode(video)), ("heard", vp.audio_tokenizer.encode(sound, 1))):
            assert np.mean(made[ids] != ours.codes) < 0.005, ids


def test_programs_say_what_they_take_and_give(exported, programs):
    assert set(programs["programs"]) == {
        "text_encoder.embed",
        "lm.text_to_video",
        *(f"{part}_tokenizer.{way}" for part in ("video", "audio") for way in ("encode", "decode")),
    }
    for name, about in programs["programs"].items():
        program = export.deserialize(bytearray((exported / "stablehlo" / about["file"]).read_bytes()))
        assert sorted(program.platforms) == ["cpu", "cuda", "tpu"] == programs["platforms"]
        (_, inputs), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
        for told, arrays in ((about["inputs"], inputs), (about["outputs"], outputs)):
            assert told.keys() == arrays.keys(), name
            for key, array in arrays.items():
                assert told[key]["shape"] == [size if isinstance(size, int) else "b" for size in array.shape]
                assert told[key]["dtype"] == str(array.dtype)
        assert all((exported / "stablehlo" / file).resolve().is_file() for file in about["weights"])
        assert (exported / "stablehlo" / about["file"]).stat().st_size < 500_000  # no weights in it
    assert len(programs["programs"]["lm.text_to_video"]["weights"]) == 2


def test_the_exported_pipeline_is_the_shipped_one(exported):
    ours, shipped = VideoPoet.from_pretrained(exported), VideoPoet.from_pretrained("nano")
    for one, other in zip(jax.tree.leaves(ours.lm.params), jax.tree.leaves(shipped.lm.params), strict=True):
        np.testing.assert_array_equal(one, other)
    assert ours.settings == shipped.settings


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--task", "text_to_video"), "text_to_video: asks for programs; add --stablehlo."),
        (("--stablehlo", "--task", "stylization"), "this model was not trained on it"),
        (("--set", "fps=4"), "--set fps=4: changes a setting of --config, which is not given"),
        (("--params", "raw"), "is no training run, its choice was made; leave it out."),
        (("--max-shard-size", "0"), "max_shard_size '0': a number of bytes is needed"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, words):
    with pytest.raises(SystemExit) as leave:
        main(["export", "--models", "nano", "--out", str(tmp_path / "out"), *options])
    assert leave.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line
    assert not (tmp_path / "out").exists()
