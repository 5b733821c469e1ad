"""`videopoet evaluate audio-tokenizer`: a row for each bit rate, beside silence; files without sound left out."""

import json
import wave

import numpy as np
import pytest

from videopoet_jax.cli.evaluate_audio_tokenizer import mean, score, table
from videopoet_jax.cli.main import main


def write_wav(path, sound):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((sound * 32_767).astype(np.int16).tobytes())


@pytest.fixture
def sounds(tmp_path):
    folder = tmp_path / "sounds" / "deeper"
    folder.mkdir(parents=True)
    time = np.arange(16_000) / 16_000
    for hertz in (262, 440):
        write_wav(folder / f"{hertz}.wav", 0.2 * np.sin(2 * np.pi * hertz * time))
    write_wav(folder / "silent.wav", np.zeros(16_000))
    write_wav(folder / "short.wav", 0.2 * np.ones(500))
    write_wav(folder / "short_in_frames.wav", 0.2 * np.sin(np.arange(1_279)))  # 3 whole frames: 960 samples
    (folder / "broken.flac").write_bytes(b"no sound")
    (folder / "notes.txt").write_text("no sound either")
    return tmp_path / "sounds"


def test_every_bit_rate_of_nano_beside_silence(sounds, tmp_path, capsys):
    report = tmp_path / "figures.json"
    main(["evaluate", "audio-tokenizer", str(sounds), "--model", "nano", "--json", str(report)])
    figures, printed = json.loads(report.read_text()), capsys.readouterr()
    assert [row["levels"] for row in figures["rows"]] == [0, 1, 2]
    assert [row["bits_per_second"] for row in figures["rows"]] == [0, 500, 1000]
    assert figures["sounds"] == 2 and [p.rsplit("/")[-1] for p in figures["left_out"]] == [
        "broken.flac", "short.wav", "short_in_frames.wav", "silent.wav"
    ]  # fmt: skip
    silence, *copies = figures["rows"]
    assert silence["si_sdr"] is None and silence["spectral_distance"] > 0
    assert all(np.isfinite(c["si_sdr"]) and c["spectral_distance"] > 0 for c in copies)
    assert "| nano | clean | 2 | 1.00 |" in printed.out and printed.err.count("warning: left out") == 4


class Exact:
    """Codes are the samples in 2 steps: the first level is coarse, both together are exact.

    Asked to denoise it gives nothing but silence.
    """

    sample_rate, samples_per_frame, levels, vocabulary_size, denoises = 1000, 1, 2, 256, True

    def encode(self, sound, denoise):
        codes = np.round(sound * 128 * (not denoise)).astype(int)
        return type("Encoded", (), {"codes": np.stack([codes // 16 * 16, codes % 16], axis=-1)})

    def decode(self, codes):
        return codes.sum(axis=-1) / 128


def test_figures_are_those_of_the_copies():
    sound = np.round(np.sin(np.arange(2000)) * 100) / 128
    rows = score("exact", Exact(), [sound])
    coarse = np.round(sound * 128) // 16 * 16
    a, b = sound - sound.mean(), (coarse - coarse.mean()) / 128
    along = (a @ b) / (a @ a) * a
    assert rows[1]["si_sdr"] == pytest.approx(10 * np.log10((along @ along) / ((b - along) @ (b - along))))
    assert rows[2]["si_sdr"] is None and rows[2]["spectral_distance"] == 0  # an exact copy: infinite
    assert [row["bits_per_second"] for row in rows] == [0, 8000, 16000]
    assert table(rows[1:2]).endswith(f"| exact | clean | 1 | 8.00 | {rows[1]['si_sdr']:.2f} | "
                                     f"{rows[1]['spectral_distance']:.2f} |")  # fmt: skip
    assert table(rows).count("–") == 2  # silence, and what is exact
    assert mean([1.0, 3.0]) == 2 and mean([1.0, -np.inf]) is None


def test_under_noise_copies_are_scored_against_the_clean_sound():
    sounds = [np.sin(np.arange(2048) * hertz) for hertz in (0.1, 0.3)]
    rows = {(row["model"], row["heard"], row["levels"]): row for row in score("exact", Exact(), sounds, [5.0, 20.0])}
    assert len(rows) == 3 + 2 * (1 + 2 + 2)
    assert rows["no copy", "noise at 5 dB", 0]["bits_per_second"] is None
    near, far = (rows["no copy", f"noise at {snr} dB", 0] for snr in (20, 5))
    assert near["si_sdr"] == pytest.approx(20, abs=1.5) and far["si_sdr"] == pytest.approx(5, abs=1.5)
    assert far["spectral_distance"] > near["spectral_distance"] > 0
    copied = rows["exact", "noise at 20 dB", 2]
    assert copied["si_sdr"] == pytest.approx(near["si_sdr"], abs=0.3)  # a true copy keeps the noise
    silent = rows["exact", "noise at 20 dB, denoised", 2]
    loud = rows["silence, at 1000 Hz", "clean", 0]
    assert silent["si_sdr"] is None and silent["spectral_distance"] == pytest.approx(loud["spectral_distance"], rel=0.1)


@pytest.mark.parametrize("ratio", ["nan", "inf", "200"])
def test_a_ratio_that_is_none_is_an_error_before_any_work(ratio, sounds, capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "audio-tokenizer", str(sounds), "--model", "nano", "--noise", ratio])
    assert capsys.readouterr().err.startswith("error: ")


def test_nothing_to_score_is_an_error(tmp_path, capsys):
    write_wav(tmp_path / "silent.wav", np.zeros(16_000))
    with pytest.raises(SystemExit):
        main(["evaluate", "audio-tokenizer", str(tmp_path), "--model", "nano"])
    assert "1 files: none has sound to score" in capsys.readouterr().err
