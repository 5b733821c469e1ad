"""What the benchmark of a GPU prints of times that are given to it; no GPU is used."""

import json
from types import SimpleNamespace

import accelerator
import contest
import pytest


@pytest.mark.parametrize(("alone", "ratio"), [(False, 1.5), (True, None)])
def test_a_line_has_speed_and_its_share_of_the_chips(alone, ratio, monkeypatch, capsys):
    sides = {"ours": SimpleNamespace(median=0.02, peak_mb=2048.0), "compiled twin": SimpleNamespace(median=0.03)}

    def raced(script, case, names, rounds, settings):
        return {name: sides[name] for name in names}

    monkeypatch.setattr(contest, "contest", raced)
    monkeypatch.setattr(accelerator, "flops", lambda way, variant: 1e12)
    accelerator.compare("base-encode", "NVIDIA H100 80GB HBM3", alone)
    result = json.loads(capsys.readouterr().out)
    assert (result["ours"], result["ratio"], result["clips"], result["gib"]) == (0.02, ratio, 16, 2)
    assert result["frames_per_second"] == 16 * 17 / 0.02 and result["tflops"] == 800 and result["mfu"] == 0.808
    accelerator.compare("base-step", "another chip", False)
    assert json.loads(capsys.readouterr().out)["mfu"] is None


def test_the_flops_of_a_clip_are_those_of_its_convolutions():
    """Against the figures' shapes: `base` at 17×128×128, of which the first stage alone is nine convolutions of 64."""
    pytest.importorskip("torch")
    encode, decode, large = (accelerator.flops(*case) for case in (("encode", "base"), ("decode", "base"),
                                                                   ("encode", "large")))  # fmt: skip
    first_stage = 8 * 2 * 17 * 128 * 128 * 27 * 64 * 64  # four residual blocks of two
    assert 2 * first_stage < encode < 3 * first_stage
    assert encode == pytest.approx(1.12e12, rel=0.01) and decode == pytest.approx(1.55e12, rel=0.01)
    assert large == pytest.approx(4 * encode, rel=0.01)  # twice as wide
    assert accelerator.flops("step", "base") > 3 * (encode + decode)
