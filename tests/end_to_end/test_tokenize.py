"""`videopoet tokenize` and `detokenize`: films to codes and back, the same codes wherever and however they are made."""

import functools
import json
import os
import subprocess
import sys

import av
import flax.linen as nn
import jax
import numpy as np
import pytest
from encoded import encode, moving_square, tone
from numpy.testing import assert_array_equal

from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables
from videopoet_jax.cli.main import main
from videopoet_jax.data.media import VideoWriter, probe, read_audio, read_video, write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.evaluate.quality import psnr
from videopoet_jax.video.model import build, init_params
from videopoet_jax.video.tokenizer import VideoTokenizer

VIDEO = dict(
    patch=(1, 2, 2), strides=((4, 4, 4),), quantizer=dict(name="lfq", bits=10), causal=True, pooled=False,
    adaptive=True, groups=4, kernel_time=(1, 3), encoder_widths=(8, 8),
    encoder_blocks=(0, 1), decoder_widths=(8, 8), decoder_middle_blocks=0, decoder_blocks=(0, 1), upsample_kernel=1,
    remat=False,
)  # fmt: skip
AUDIO = dict(
    sample_rate=16_000, channels=2, dim=4, strides=(8, 40), dilations=(1,), kernel_size=3, levels=2, codebook_size=16,
    ema_decay=0.99, dead_usage=0.1, kmeans_iterations=4, denoise=False,
)  # fmt: skip
SQUARE = ["--height", "32", "--width", "32"]  # one shape to compile


def drawn(init, seed):
    """Parameters of a module, drawn by NumPy, so that nothing is compiled for them."""
    rng = np.random.default_rng(seed)

    def draw(leaf):
        fan_in = np.prod(leaf.shape[:-1]) if len(leaf.shape) > 1 else 100
        return (rng.normal(size=leaf.shape) / np.sqrt(fan_in)).astype(np.float32)

    return jax.tree.map(draw, nn.meta.unbox(jax.eval_shape(init, jax.random.key(0))))


def save_models(directory, seed, with_sound=True, denoise=False):
    params = drawn(functools.partial(init_params, build(VIDEO)), seed)
    VideoTokenizer(VIDEO, params).save_pretrained(directory / "video_tokenizer")
    if with_sound:
        config = {**AUDIO, "denoise": denoise}
        params = drawn(lambda key: init_variables(SoundStream(**config), key)["params"], seed)
        books = {"embedding": np.random.default_rng(seed).normal(size=(2, 16, 4)).astype(np.float32)}
        AudioTokenizer(config, params, books).save_pretrained(directory / "audio_tokenizer")
    return directory


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return save_models(tmp_path_factory.mktemp("models"), 0)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    (folder / "b").mkdir()
    sound = ("aac", 44_100, "stereo", np.tile(tone(3, 300, 44_100), (2, 1)))
    encode(folder / "a.mkv", moving_square(40, 48, 72), "libx264", fps=24, sound=sound)
    write_video(folder / "b/a.mp4", moving_square(43, 64, 64), fps=8, audio=tone(9), sample_rate=16_000)
    encode(folder / "b/silent.avi", moving_square(9, 40, 36), "mpeg4", fps=8)
    return folder


@pytest.fixture(scope="module")
def codes(films, models, tmp_path_factory):
    out = tmp_path_factory.mktemp("codes")
    main(["tokenize", str(films), "--out", str(out), "--model", str(models), *SQUARE])
    return out


def arrays(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def test_a_folder_keeps_its_names(codes):
    names = sorted(str(p.relative_to(codes)) for p in codes.rglob("*") if p.is_file())
    assert names == ["a.mkv.npz", "b/a.mp4.npz", "b/silent.avi.npz"]


def test_the_codes_are_those_of_the_tokenizers(films, models, codes):
    """14 frames in 5/3 s: 1 + 13 are 5 latents, the last of them filled up; 83 frames of sound."""
    got = arrays(codes / "a.mkv.npz")
    frames = read_video(films / "a.mkv", fps=8, height=32, width=32)
    assert len(frames) == got["frames"] == 14 and (got["height"], got["width"], got["fps"]) == (32, 32, 8)
    expected = np.asarray(VideoTokenizer.from_pretrained(models).encode(frames).codes)
    assert got["video"].shape == expected.shape == (5, 4, 4) and got["video"].dtype == np.int32
    assert_array_equal(got["video"], expected)
    sound = read_audio(films / "a.mkv", end=14 / 8)
    assert_array_equal(got["audio"], AudioTokenizer.from_pretrained(models).encode(sound).codes)
    assert got["audio"].dtype == np.int32 and got["sample_rate"] == 16_000
    assert "audio" not in arrays(codes / "b/silent.avi.npz")


ALONE = """
import sys, jax
from videopoet_jax.cli.main import main
assert jax.device_count() == 1
for chunk_frames, film, target in zip(*[iter(sys.argv[2:])] * 3):
    main(["tokenize", film, "--out", target, "--model", sys.argv[1], "--chunk-frames", chunk_frames,
          "--height", "32", "--width", "32"])
"""


def test_codes_depend_neither_on_devices_nor_on_company_nor_on_chunks(films, models, codes, tmp_path):
    """Made above by several of eight devices, 16 frames at a time; here one film after another, by one device."""
    assert jax.device_count() == 8
    todo = [("1", "a.mkv"), ("1000", "b/a.mp4"), ("7", "b/silent.avi"), ("7", "b/a.mp4")]
    arguments = [str(a) for i, (chunk, film) in enumerate(todo) for a in (chunk, films / film, tmp_path / f"{i}.npz")]
    flags = os.environ["XLA_FLAGS"].replace("--xla_force_host_platform_device_count=8", "")
    environment = {**os.environ, "XLA_FLAGS": flags}
    subprocess.run([sys.executable, "-c", ALONE, str(models), *arguments], check=True, env=environment)
    for i, (_, film) in enumerate(todo):
        here, there = arrays(tmp_path / f"{i}.npz"), arrays(codes / f"{film}.npz")
        assert here.keys() == there.keys()
        for name in here:
            assert_array_equal(here[name], there[name])


def test_films_come_back(films, models, codes, tmp_path):
    main(["detokenize", str(codes), "--out", str(tmp_path), "--model", str(models)])
    names = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
    assert names == ["a.mkv.mp4", "b/a.mp4", "b/silent.avi.mp4"]
    for name, source, frames in (("a.mkv.mp4", "a.mkv", 14), ("b/a.mp4", "b/a.mp4", 43)):
        assert (probe(tmp_path / name).frames, probe(tmp_path / name).fps) == (frames, 8)
        sound = arrays(codes / f"{source}.npz")["audio"]
        expected = np.zeros(frames * 2_000, np.float32)
        decoded = AudioTokenizer.from_pretrained(models).decode(sound)[: expected.size]
        expected[: decoded.size] = decoded
        heard = read_audio(tmp_path / name)
        assert heard.shape == expected.shape and np.corrcoef(heard, expected)[0, 1] > 0.9
    assert (probe(tmp_path / "b/silent.avi.mp4").frames, probe(tmp_path / "b/silent.avi.mp4").has_audio) == (9, False)


def test_nano_brings_a_clip_of_the_world_back(tmp_path):
    clip = render("test", 1, 0, num_frames=22)
    write_video(tmp_path / "in.mp4", clip.frames, fps=8, audio=clip.audio, sample_rate=16_000)
    main(["tokenize", str(tmp_path / "in.mp4"), "--out", str(tmp_path / "codes.npz")])
    main(["detokenize", str(tmp_path / "codes.npz"), "--out", str(tmp_path / "out.mp4")])
    back, true = read_video(tmp_path / "out.mp4"), read_video(tmp_path / "in.mp4")
    assert back.shape == true.shape == (22, 64, 64, 3) and np.mean(psnr(back, true)) > 20
    heard, sound = read_audio(tmp_path / "out.mp4"), read_audio(tmp_path / "in.mp4")
    spectra = [np.abs(np.fft.rfft(s[8_000:40_000] * np.hanning(32_000))) for s in (heard, sound)]
    assert len(heard) == len(sound) and abs(int(spectra[0].argmax()) - int(spectra[1].argmax())) <= 2  # 1 Hz


def leaves(arguments):
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    return leave.value.code


def test_a_second_run_makes_only_what_has_changed(models, tmp_path, capsys):
    films, codes = tmp_path / "films", tmp_path / "codes"
    films.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_video(films / name, moving_square(3, 32, 32), fps=8)

    def tokenize(*options):
        main(["tokenize", str(films), "--out", str(codes), "--model", str(models), *SQUARE, *options])
        return [str(w) for w in capsys.readouterr().out.splitlines()]

    assert tokenize()[-1] == "3 films: 3 written, 0 unchanged, 0 failed."
    before = {path: path.stat().st_mtime_ns for path in codes.iterdir()}
    assert tokenize() == ["3 films: 0 written, 3 unchanged, 0 failed."]
    assert before == {path: path.stat().st_mtime_ns for path in codes.iterdir()}

    os.utime(films / "a.mp4", ns=(5, 5))  # another time, another film
    damaged = (codes / "b.mp4.npz").read_bytes()[:-30]
    (codes / "b.mp4.npz").write_bytes(damaged)
    said = tokenize()
    assert said[-1] == "3 films: 2 written, 1 unchanged, 0 failed." and not any("c.mp4" in line for line in said)
    assert tokenize("--fps", "4")[-1] == "3 films: 3 written, 0 unchanged, 0 failed."
    assert sorted(path.name for path in codes.iterdir()) == ["a.mp4.npz", "b.mp4.npz", "c.mp4.npz"]

    def detokenize():
        main(["detokenize", str(codes), "--out", str(tmp_path / "back"), "--model", str(models)])
        return capsys.readouterr().out.splitlines()[-1]

    assert detokenize() == "3 films: 3 written, 0 unchanged, 0 failed."
    (codes / "a.mp4.npz").touch()  # the same codes
    assert detokenize() == "3 films: 0 written, 3 unchanged, 0 failed."
    write_video(films / "c.mp4", moving_square(5, 32, 32), fps=8)
    tokenize("--fps", "4")
    assert detokenize() == "3 films: 1 written, 2 unchanged, 0 failed."


def test_a_film_that_is_not_made_of_codes_is_never_written_over(models, tmp_path, capsys):
    films, codes, original = tmp_path / "films", tmp_path / "codes", tmp_path / "films" / "a.mp4"
    films.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_video(films / name, moving_square(3, 32, 32), fps=8)
    before = original.read_bytes()
    main(["tokenize", str(films), "--out", str(codes), "--model", str(models), *SQUARE])
    (films / "b.mp4").unlink()
    assert leaves(["detokenize", codes, "--out", films, "--model", models]) == 2
    out, err = capsys.readouterr()
    assert "a.mp4: a film that detokenize has not made" in err and len(err.splitlines()) == 1
    assert out.splitlines()[-1] == "2 films: 1 written, 0 unchanged, 1 failed."
    assert original.read_bytes() == before and probe(films / "b.mp4").comment.startswith("videopoet_jax: from codes ")


def test_a_bad_film_is_reported_and_skipped(films, models, tmp_path, capsys):
    folder = tmp_path / "films"
    folder.mkdir()
    (folder / "bad.mp4").write_text("no film")
    write_video(folder / "good.mp4", moving_square(3, 32, 32), fps=8)
    options = ["--model", models, "--json", tmp_path / "f.json", *SQUARE]
    assert leaves(["tokenize", folder, "--out", tmp_path / "codes", *options]) == 2
    out, err = capsys.readouterr()
    assert len(err.splitlines()) == 1 and err.startswith("error: ") and "bad.mp4" in err
    assert out.splitlines()[-1] == "2 films: 1 written, 0 unchanged, 1 failed."
    assert os.listdir(tmp_path / "codes") == ["good.mp4.npz"]
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures == dict(
        films=2, written=1, unchanged=0, failed=1, frames=3, video_codes=2 * 16, audio_codes=0, sound_lost=0
    )


def test_a_film_whose_sound_is_damaged_is_made_without_it_and_tried_again(models, tmp_path, capsys):
    """The bytes of its sound come back with the old size and time: only what the codes say tells the run to retry."""
    film, codes = tmp_path / "films" / "a.mp4", tmp_path / "codes" / "a.mp4.npz"
    film.parent.mkdir()
    write_video(film, moving_square(9, 32, 32), fps=8, audio=tone(1), sample_rate=16_000)
    whole, time = film.read_bytes(), film.stat().st_mtime_ns
    with av.open(str(film)) as container:
        packets = [(p.pos, p.size) for p in container.demux(container.streams.audio[0]) if p.size]
    damaged = bytearray(whole)
    for place, size in packets:
        damaged[place : place + size] = b"\xff" * size
    film.write_bytes(damaged)
    os.utime(film, ns=(time, time))
    tokenize = ["tokenize", film.parent, "--out", codes.parent, "--model", models, "--json", tmp_path / "f.json"]

    for _ in range(2):
        assert leaves([*tokenize, *SQUARE]) == 2
        out, err = capsys.readouterr()
        line, summary = out.splitlines()
        assert line == f"wrote {codes}: 9 frames of 32×32 as codes [3, 4, 4], without its sound, which cannot be read"
        assert summary == "1 film: 1 written (1 without sound that could not be read), 0 unchanged, 0 failed."
        assert err.splitlines() == [
            f"error: {film}: made without its sound: nothing could be decoded ({len(packets)} damaged parts); get it "
            "again."
        ]
        figures = json.loads((tmp_path / "f.json").read_text())
        assert figures["sound_lost"] == figures["written"] == 1 and figures["unchanged"] == figures["failed"] == 0
        assert "audio" not in arrays(codes)
    main(["detokenize", str(codes), "--out", str(tmp_path / "back.mp4"), "--model", str(models)])
    assert probe(tmp_path / "back.mp4").frames == 9
    capsys.readouterr()

    film.write_bytes(whole)
    os.utime(film, ns=(time, time))
    for summary in ("1 film: 1 written, 0 unchanged, 0 failed.", "1 film: 0 written, 1 unchanged, 0 failed."):
        main([str(a) for a in [*tokenize, *SQUARE]])
        assert capsys.readouterr().out.splitlines()[-1] == summary
    assert arrays(codes)["audio"].shape == (50, 2)


def test_a_film_with_an_empty_track_of_sound_has_no_sound(models, tmp_path, capsys):
    film, codes = tmp_path / "a.mkv", tmp_path / "a.npz"
    with av.open(str(film), "w") as container:
        picture, _ = container.add_stream("libx264", rate=8), container.add_stream("aac", rate=16_000, layout="mono")
        picture.height = picture.width = 32
        picture.pix_fmt = "yuv420p"
        for pixels in moving_square(9, 32, 32):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(picture.encode(None))
    assert probe(film).has_audio
    command = ["tokenize", str(film), "--out", str(codes), "--model", str(models), *SQUARE]
    main(command)
    said = capsys.readouterr()
    assert said.out.startswith(f"wrote {codes}: 9 frames of 32×32 as codes [3, 4, 4], no sound\n") and not said.err
    assert "audio" not in arrays(codes)
    main(command)
    assert "0 written, 1 unchanged, 0 failed" in capsys.readouterr().out


def test_codes_of_another_model_are_refused(codes, models, tmp_path, capsys):
    other = save_models(tmp_path / "other", 1)
    assert leaves(["detokenize", codes / "a.mkv.npz", "--out", tmp_path / "a.mp4", "--model", other]) == 2
    assert "made with video_tokenizer sha256:" in capsys.readouterr().err
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "video_tokenizer").symlink_to(models / "video_tokenizer")
    assert leaves(["detokenize", codes / "a.mkv.npz", "--out", tmp_path / "a.mp4", "--model", silent]) == 2
    assert "is missing; give the --model" in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()
    main(["detokenize", str(codes / "b/silent.avi.npz"), "--out", str(tmp_path / "a.mp4"), "--model", str(silent)])


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(frames=18), "for 18 frames of 32×32, which have"),
        (dict(height=64), "for 14 frames of 64×32"),
        (dict(video=np.full((5, 4, 4), 1024, np.int32)), "codes 1024 … 1024: must lie in 0 … 1023"),
        (dict(video=np.full((5, 4, 4), -1, np.int32)), "codes -1 … -1"),
        (dict(audio=np.full((9, 2), 16, np.int32)), "codes from 16 to 16"),
        (dict(sample_rate=8_000), "sound of 8000 Hz, its tokenizer's is 16000"),
        (
            dict(audio=np.zeros((89, 2), np.int32)),
            "1.78 s of sound, 1.75 s of picture, which must last as long; make it",
        ),
        (dict(fps=np.nan), "14 frames at nan a second"),
        (dict(frames=-4), "-4 frames at"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, models, tmp_path, capsys, change, words):
    np.savez(tmp_path / "bad.npz", **arrays(codes / "a.mkv.npz") | change)
    assert leaves(["detokenize", tmp_path / "bad.npz", "--out", tmp_path / "a.mp4", "--model", models]) == 2
    assert words in capsys.readouterr().err and os.listdir(tmp_path) == ["bad.npz"]


def test_sound_may_fill_the_frame_in_which_the_picture_ends(codes, models, tmp_path):
    """14 frames at 8 a second are 87.5 frames of sound."""
    np.savez(tmp_path / "a.npz", **arrays(codes / "a.mkv.npz") | dict(audio=np.zeros((88, 2), np.int32)))
    main(["detokenize", str(tmp_path / "a.npz"), "--out", str(tmp_path / "a.mp4"), "--model", str(models)])
    assert probe(tmp_path / "a.mp4").frames == 14 and len(read_audio(tmp_path / "a.mp4")) == 28_000


def test_a_model_without_sound_leaves_it_out(films, tmp_path):
    models = save_models(tmp_path / "models", 0, with_sound=False)
    main(["tokenize", str(films / "b/a.mp4"), "--out", str(tmp_path / "a.npz"), "--model", str(models), *SQUARE])
    assert "audio" not in arrays(tmp_path / "a.npz")


def test_a_model_that_is_not_causal_takes_a_film_clip_by_clip(tmp_path):
    """19 frames are clips of 16 and 3: 4 latents and 1, and 19 frames again; each clip is by itself."""
    config = {**VIDEO, "causal": False, "pooled": True, "adaptive": False}
    params = drawn(functools.partial(init_params, build(config)), 0)
    VideoTokenizer(config, params).save_pretrained(tmp_path / "video_tokenizer")
    write_video(tmp_path / "in.mp4", moving_square(19, 32, 32), fps=8)
    model = ["--model", str(tmp_path)]
    main(["tokenize", str(tmp_path / "in.mp4"), "--out", str(tmp_path / "a.npz"), *model, *SQUARE])
    tokenizer, frames = VideoTokenizer.from_pretrained(tmp_path), read_video(tmp_path / "in.mp4")
    expected = [np.asarray(tokenizer.encode(clip).codes) for clip in (frames[:16], frames[16:])]
    assert_array_equal(arrays(tmp_path / "a.npz")["video"], np.concatenate(expected))
    main(["detokenize", str(tmp_path / "a.npz"), "--out", str(tmp_path / "out.mp4"), *model])
    assert probe(tmp_path / "out.mp4").frames == 19
    main(["reconstruct", str(tmp_path / "in.mp4"), "--out", str(tmp_path / "both.mp4"), *model, *SQUARE])
    assert probe(tmp_path / "both.mp4").frames == 19


def test_sound_at_fewer_bits_and_without_its_noise(films, tmp_path, capsys):
    """One model, three files of one film; a second run with other values makes the codes anew."""
    models = save_models(tmp_path / "models", 0, denoise=True)
    tokenizer, sound = AudioTokenizer.from_pretrained(models), read_audio(films / "b/a.mp4", end=43 / 8)
    film, made = (
        ["tokenize", str(films / "b/a.mp4"), "--out", str(tmp_path / "a.npz"), "--model", str(models), *SQUARE],
        [],
    )
    for options in (
        [],
        ["--audio-levels", "1"],
        ["--audio-levels", "1", "--denoise"],
        ["--audio-levels", "1", "--denoise"],
    ):
        main(film + options)
        made.append(arrays(tmp_path / "a.npz")["audio"])
    said = [line for line in capsys.readouterr().out.splitlines() if "film:" in line]
    assert [line.split()[2] for line in said] == ["1", "1", "1", "0"]
    assert_array_equal(made[0], tokenizer.encode(sound).codes)
    assert_array_equal(made[1], made[0][:, :1])
    assert_array_equal(made[2], tokenizer.encode(sound, 1, denoise=True).codes)
    assert np.mean(made[1] != made[2]) > 0.1

    main(["detokenize", str(tmp_path / "a.npz"), "--out", str(tmp_path / "a.mp4"), "--model", str(models)])
    heard, expected = read_audio(tmp_path / "a.mp4"), np.zeros(43 * 2_000, np.float32)
    decoded = tokenizer.decode(made[2])[: expected.size]
    expected[: decoded.size] = decoded
    assert heard.shape == expected.shape and np.corrcoef(heard, expected)[0, 1] > 0.9


@pytest.mark.parametrize(
    ("with_sound", "options", "words"),
    [
        (True, ["--denoise"], "denoise: this tokenizer has not learned it"),
        (True, ["--audio-levels", "3"], "3 levels: this tokenizer has 2; ask for a whole number from 1 to 2."),
        (True, ["--audio-levels", "0"], "0 is not in the range x>=1"),
        (False, ["--denoise"], "--denoise: "),
        (False, ["--audio-levels", "1"], "has no audio tokenizer; leave it out"),
    ],
)
def test_what_a_model_cannot_do_with_sound_is_said_once(films, tmp_path, capsys, with_sound, options, words):
    models = save_models(tmp_path / "models", 0, with_sound=with_sound)
    assert leaves(["tokenize", films, "--out", tmp_path / "codes", "--model", models, *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and words in line and not list(tmp_path.rglob("*.npz"))


MEMORY = """
import resource, sys
from videopoet_jax.cli.main import main
main(["tokenize", sys.argv[1], "--out", sys.argv[2] + ".npz", "--height", "128"])
main(["detokenize", sys.argv[2] + ".npz", "--out", sys.argv[2] + ".mp4"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for seconds in (10, 400):
        path = tmp_path / f"{seconds}.mp4"
        with VideoWriter(path, fps=8, sample_rate=16_000) as writer:
            for second in range(seconds):
                writer.write(render("train", 2, second, num_frames=8, height=128, width=128).frames)
                writer.write_audio(tone(1, 200 + second))
        out = subprocess.run([sys.executable, "-c", MEMORY, path, tmp_path / "out"], capture_output=True, text=True)
        peaks.append(int(out.stdout.splitlines()[-1]))
    assert peaks[1] < 1.1 * peaks[0]
