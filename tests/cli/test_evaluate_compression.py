"""`videopoet evaluate compression`: pieces of clips, its files and tables, and its mistakes."""

import dataclasses
import json

import flax.linen as nn
import jax
import numpy as np
import pytest
from PIL import Image

from videopoet_jax.cli.compression_copies import Coder, batches
from videopoet_jax.cli.evaluate_compression import names
from videopoet_jax.cli.main import main
from videopoet_jax.data.media import write_video
from videopoet_jax.data.moving_digits import render
from videopoet_jax.evaluate import codecs
from videopoet_jax.video.model import build, init_params
from videopoet_jax.video.tokenizer import VideoTokenizer


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    film = render("train", 2, 3, num_frames=40, height=32, width=32).frames
    write_video(folder / "a.mp4", film, fps=8)
    write_video(folder / "b.mp4", film[:9], fps=8)
    (folder / "text.mp4").write_text("not a video")
    return folder


def fails(arguments, capsys):
    with pytest.raises(SystemExit) as leave:
        main(["evaluate", "compression", *map(str, arguments)])
    assert leave.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_files_of_one_name_are_told_apart(tmp_path):
    x, y, other = tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4", tmp_path / "b.mp4"
    assert list(names([x, y, other]).values()) == [str(x), str(y), "b.mp4"]


def test_tables_pictures_and_figures(clips, tmp_path, capsys, monkeypatch):
    few = tuple(dataclasses.replace(c, qualities=c.qualities[::4][:3]) for c in (codecs.H265, codecs.H266))
    monkeypatch.setattr(codecs, "CODECS", few)
    size = ["--height", "32", "--width", "32", "--num-frames", "17", "--pieces", "1"]
    main(["evaluate", "compression", str(clips), "--model", "tiny=nano", "--out-dir", str(tmp_path / "out"), *size])
    told = capsys.readouterr()
    assert "1 clip of 17 frames, 32×32 at 8 fps" in told.out and "| tiny | 0.0207 |" in told.out
    assert told.err.count("warning: left out: ") == 2 and "b.mp4" in told.err and "text.mp4" in told.err
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert list(figures["pieces"]) == ["a.mp4 0–16"]
    assert figures["ms_ssim_scales"] == 2  # 32 and 16 pixels; 8 are fewer than a window
    assert told.out.count("| MS-SSIM (2 scales) |") == 2 == told.out.count("MS-SSIM") - 1  # and once, its delta
    for piece in figures["pieces"].values():
        assert [len(made) for made in piece.values()] == [1, len(piece["H.265"]), len(piece["H.266"])]
        assert piece["tiny"][0]["rate"] == pytest.approx(5 * 2 * 2 * 18 / (17 * 32 * 32))
        for codec in ("H.265", "H.266"):
            rates, psnr = ([made[name] for made in piece[codec]] for name in ("rate", "psnr"))
            assert rates == sorted(rates) and psnr == sorted(psnr) and "lpips" not in piece[codec][0]
    assert figures["tables"]["tiny"][0]["codec"] == "H.265" and 0 < figures["static_bits"]["tiny"] <= 18
    for name in ("rate_distortion.png", "sheet.png"):
        with Image.open(tmp_path / "out" / name) as image:
            image.verify()


def test_mistakes(clips, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = clips / "b.mp4"
    assert "1 files: none gives 17 frames at 8 a second" in fails([short, "--height", 32, "--width", 32], capsys)
    assert "height 40: needs a multiple of 16" in fails([clips, "--height", 40], capsys)
    assert "a second 'nano'" in fails([clips, "--model", "nano", "--model", "nano=nano"], capsys)
    assert "missing.mp4" in fails(["missing.mp4"], capsys)
    assert "/dev/null" in fails([clips, "--out-dir", "/dev/null/x"], capsys)
    assert "nowhere: no lpips_alexnet in it; fetch it" in fails([clips, "--weights", "nowhere"], capsys)
    assert "Missing argument 'CLIPS...'" in fails([], capsys)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "videopoet_jax[compression]" in fails([clips], capsys)


def test_help_of_both(capsys):
    main(["evaluate", "compression", "--help"])
    assert "Usage: videopoet evaluate compression [OPTIONS] CLIPS..." in capsys.readouterr().out
    main(["evaluate", "--help"])
    assert "compression" in capsys.readouterr().out.split("Other evaluations:")[1]


NOT_CAUSAL = {
    "patch": (1, 2, 2),
    "strides": ((4, 4, 4),),
    "quantizer": {"name": "lfq", "bits": 10},
    "causal": False,
    "pooled": True,
    "adaptive": False,
    "groups": 4,
    "kernel_time": (1, 3),
    "encoder_widths": (8, 8),
    "encoder_blocks": (1, 1),
    "decoder_widths": (8, 8),
    "decoder_middle_blocks": 0,
    "decoder_blocks": (1, 1),
    "upsample_kernel": 1,
    "remat": False,
}


def test_a_tokenizer_that_is_not_causal_takes_clips_of_16_frames():
    model, rng = build(NOT_CAUSAL), np.random.default_rng(0)
    shapes = nn.meta.unbox(jax.eval_shape(lambda key: init_params(model, key), jax.random.key(0)))
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32), shapes)
    tokenizer = VideoTokenizer(NOT_CAUSAL, params, dtype="float32")
    video = rng.integers(0, 256, (21, 16, 16, 3), np.uint8)
    codes = Coder(tokenizer).encode(video)
    clips = [video[:16], np.concatenate([video[16:], video[-1:].repeat(3, 0)])]
    assert len(np.unique(codes)) > 4
    np.testing.assert_array_equal(codes, np.concatenate([np.asarray(tokenizer.encode(clip).codes) for clip in clips]))
    copies = [tokenizer.decode(codes[:4]), tokenizer.decode(codes[4:])]
    np.testing.assert_array_equal(Coder(tokenizer).decode(codes), np.concatenate(copies))


def test_what_measures_gets_few_frames_at_a_time():
    one, other = np.zeros((2, 21, 8, 8, 3), np.uint8)
    assert [(len(a), len(b)) for a, b in batches(one, other)] == [(16, 16), (5, 5)]
