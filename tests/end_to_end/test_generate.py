"""The shipped weights, from the shell to the file and through the Python API."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from videopoet_jax.cli.main import main
from videopoet_jax.data.media import probe, read_audio, read_video

# An import of TensorFlow raises, as it does where TensorFlow is not installed.
WITHOUT_TENSORFLOW = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "seqio", "tensorflow_datasets", "t5x"):
            raise ModuleNotFoundError(f"no {name} here")
sys.meta_path.insert(0, Refuse())
from videopoet_jax.cli.main import main
main(sys.argv[1:])
"""


def videopoet(*arguments, **options):
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **options)


def difference(one, other):
    """The mean difference of two videos' pixels; 0 for equal ones."""
    return np.abs(one.astype(float) - other).mean()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Clips of a prompts file: two good prompts, one in another script, one of 10,000 characters."""
    folder = tmp_path_factory.mktemp("made")
    prompts = ["a red 3 moving left", "a white 7 moving up", "红色的三向左移动", "word " * 2000]
    (folder / "prompts.txt").write_text("\n".join(prompts), encoding="utf-8")
    result = videopoet("generate", "--prompts-file", folder / "prompts.txt", "--out-dir", folder, "--sheet",
                       folder / "sheet.png", "--json", folder / "figures.json", "--batch-size", 3)  # fmt: skip
    assert result.returncode == 0, result.stderr
    return folder, result


def test_every_clip_has_picture_and_sound(made):
    folder, _ = made
    for number in range(4):
        info = probe(folder / f"{number:04d}.mp4")
        assert (info.frames, info.height, info.width, float(info.fps)) == (17, 64, 64, 8.0)
        assert info.has_audio and (info.codec, info.audio_codec) == ("h264", "aac")
        assert read_video(folder / f"{number:04d}.mp4").max() > 100
        sound = read_audio(folder / f"{number:04d}.mp4")
        assert abs(len(sound) - 34_000) <= 2_048 and np.abs(sound).max() > 0.01
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["clips"] == 4 and figures["tokens"] == 4 * (80 + 106)


def test_strange_prompts_are_warned_of_with_the_grammar(made):
    _, result = made
    assert "moving {left|right|up|down}" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_same_seed_gives_the_same_clip_alone_and_in_company(made):
    folder, _ = made
    from videopoet_jax import VideoPoet

    vp = VideoPoet.from_pretrained("nano")
    alone = vp.generate("a white 7 moving up")
    together = vp.generate(["a red 3 moving left", "a white 7 moving up"])
    np.testing.assert_array_equal(alone.frames, together[1].frames)
    np.testing.assert_array_equal(alone.audio, together[1].audio)
    assert difference(read_video(folder / "0001.mp4"), alone.frames) < 4  # H.264 keeps no bits
    assert difference(read_video(folder / "0000.mp4"), alone.frames) > 8
    other = vp.generate("a white 7 moving up", seed=1)
    assert np.any(other.frames != alone.frames)


def test_copies_of_prompts_are_numbered_prompt_by_prompt_whatever_the_batch(made, tmp_path, capsys):
    folder, _ = made
    prompts = (folder / "prompts.txt").read_text().splitlines()[:2]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts))
    main(["generate", "--prompts-file", str(tmp_path / "prompts.txt"), "--out-dir", str(tmp_path),
          "--num-videos-per-prompt", "2", "--batch-size", "2"])  # fmt: skip
    here = [read_video(tmp_path / f"{i:04d}.mp4") for i in range(4)]
    there = [read_video(folder / f"{i:04d}.mp4") for i in range(2)]
    assert difference(here[0], there[0]) < 2 and difference(here[2], there[1]) < 2
    assert min(difference(here[0], here[1]), difference(here[2], here[3]), difference(here[0], here[2])) > 4
    with pytest.raises(SystemExit):
        main(["generate", "--prompts-file", str(tmp_path / "prompts.txt"), "--json", str(tmp_path / "prompts.txt")])
    assert "is the input itself" in capsys.readouterr().err


def test_three_steps_are_generate_and_frames_are_continued():
    from videopoet_jax import VideoPoet

    vp = VideoPoet.from_pretrained("nano")
    clip = vp.generate("a red 3 moving left")
    [same] = vp.decode(vp.lm.generate(vp.prepare("a red 3 moving left")))
    np.testing.assert_array_equal(clip.frames, same.frames)
    assert clip.frames.shape == (17, 64, 64, 3) and clip.audio.shape == (34_000,)
    assert "data:video/mp4" in clip._repr_html_()
    given = clip.frames[:9]
    continued = vp.generate(video=given)
    copy = vp.video_tokenizer.decode(vp.video_tokenizer.encode(given).codes)
    # causal: what is given is shown as the tokenizer shows it, whatever follows
    np.testing.assert_allclose(continued.frames[:9].astype(int), copy.astype(int), atol=2)


def test_prompts_may_have_seeds_of_their_own_and_what_reads_no_text_is_not_guided():
    from videopoet_jax import VideoPoet

    vp = VideoPoet.from_pretrained("nano")
    one, two = vp.generate(["a red 3 moving left"] * 2, seed=[0, 1])
    assert np.any(one.frames != two.frames)
    np.testing.assert_array_equal(one.frames, vp.generate("a red 3 moving left", seed=0).frames)
    assert vp.prepare("a red 3 moving left").sampling.guidance_scale is not None
    assert vp.prepare(None).sampling.guidance_scale is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(video=np.zeros((3, 64, 64, 3), np.uint8)), "3 frames given"),
        (dict(image=np.zeros((64, 64), np.uint8)), "give uint8"),
        (dict(prompt="a red 3 moving left", num_frames=16), "need 1 \\+ 4"),
        (dict(prompt="a red 3 moving left", num_frames=0), "0 frames"),
        (dict(prompt="a red 3 moving left", height=65), "multiple of the stride"),
        (dict(prompt=["a red 3 moving left"] * 2, seed=[1]), "1 seeds for 2 prompts"),
        (dict(negative_prompt="blue"), "unconditional reads no text"),
        (dict(prompt="a red 3 moving left", temperature=-1.0), "temperature -1.0"),
        (dict(prompt="a red 3 moving left", task="stylization"), "task 'stylization'"),
        (dict(audio=np.zeros(9)), "task .audio_to_video.: this model was not trained on it"),
        (dict(prompt=[]), "0 prompts"),
    ],
)
def test_bad_input_is_refused_with_a_remedy(arguments, words):
    from videopoet_jax import VideoPoet

    with pytest.raises(ValueError, match=words):
        VideoPoet.from_pretrained("nano").generate(**arguments)


def test_a_foreign_tokenizer_is_refused(tmp_path):
    import shutil

    from videopoet_jax import VideoPoet
    from videopoet_jax.pretrained import resolve

    copy = tmp_path / "nano"
    shutil.copytree(resolve("nano"), copy)
    path = copy / "video_tokenizer" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="the language model was trained with"):
        VideoPoet.from_pretrained(copy)


def test_a_saved_pipeline_makes_the_same_clip(tmp_path):
    from videopoet_jax import VideoPoet

    vp = VideoPoet.from_pretrained("nano")
    vp.save_pretrained(tmp_path / "copy")
    again = VideoPoet.from_pretrained(tmp_path / "copy")
    first, second = vp.generate("a green 7 moving up"), again.generate("a green 7 moving up")
    np.testing.assert_array_equal(first.frames, second.frames)


def test_a_full_disk_leaves_nothing(tmp_path):
    """A limit on the size of files stands in for a full disk: the write fails in the middle."""
    import resource

    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # noqa: E731
    environment = os.environ | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}  # nor halves of what it compiles
    result = videopoet(
        "generate", "a red 3 moving left", "--out", tmp_path / "x.mp4", preexec_fn=limit, env=environment
    )
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].startswith("error: ") and "x.mp4" in lines[0], lines
    assert list(tmp_path.iterdir()) == []
