"""`videopoet reconstruct`: any video through the shipped tokenizer, whatever its length."""

import json
import subprocess
import sys

import numpy as np
import pytest

from videopoet_jax.cli.films import groups
from videopoet_jax.cli.main import main
from videopoet_jax.data.media import VideoWriter, probe, write_video
from videopoet_jax.data.moving_digits import render


def test_a_clip_of_the_world_comes_back_recognisable(tmp_path):
    clip = render("test", 1, 0, num_frames=22)
    write_video(tmp_path / "in.mp4", clip.frames, fps=8)
    main(["reconstruct", str(tmp_path / "in.mp4"), "--out", str(tmp_path / "out.mp4"),
          "--json", str(tmp_path / "figures.json")])  # fmt: skip
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["frames"], figures["height"], figures["width"]) == (22, 64, 64)
    assert figures["psnr"] > 20 and 0.5 < figures["ssim"] <= 1
    # 22 frames are 1 + 21: 7 latents of 16 tokens of 18 bits
    assert figures["bits_per_pixel"] == pytest.approx(7 * 16 * 18 / (22 * 64 * 64))
    assert probe(tmp_path / "out.mp4").frames == 22


def test_sizes_are_told_height_first_and_a_half_multiple_goes_up(tmp_path, capsys):
    write_video(tmp_path / "in.mp4", render("test", 1, 0, num_frames=2).frames, fps=8)
    main(["reconstruct", str(tmp_path / "in.mp4"), "--out", str(tmp_path / "out.mp4"), "--height", "24",
          "--width", "40"])  # fmt: skip
    assert capsys.readouterr().out.startswith("2 frames of 32×48: PSNR ")


def test_a_film_too_wide_for_its_copy_beside_it_is_refused_before_it_is_decoded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("videopoet_jax.data.media.iterate_frames", None)
    write_video(tmp_path / "in.mp4", np.zeros((1, 16, 1920, 3), np.uint8), fps=8)
    with pytest.raises(SystemExit):
        main(["reconstruct", str(tmp_path / "in.mp4"), "--out", str(tmp_path / "out" / "out.mp4")])
    assert "16×1920 (height × width), worked on at 64×7680, gives frames of 128×30720" in capsys.readouterr().err


def test_frames_are_grouped_to_the_last():
    pieces = list(groups(np.zeros((5, 2, 2, 3), np.uint8), 2))
    assert [len(p) for p in pieces] == [2, 2, 1]


MEMORY = """
import resource, sys
from videopoet_jax.cli.main import main
main(["reconstruct", sys.argv[1], "--out", sys.argv[2]])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for seconds in (10, 200):
        path = tmp_path / f"{seconds}.mp4"
        with VideoWriter(path, fps=8) as writer:
            for second in range(seconds):
                for frame in render("train", 2, second, num_frames=8, height=128, width=128).frames:
                    writer.write(frame)
        out = subprocess.run([sys.executable, "-c", MEMORY, path, tmp_path / "out.mp4"], capture_output=True, text=True)
        peaks.append(int(out.stdout.splitlines()[-1]))
    assert peaks[1] < 1.1 * peaks[0]
