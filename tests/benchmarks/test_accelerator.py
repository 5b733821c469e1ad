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
    assert result["frames_per_second"] == 16 * 17 / 0.02 and result["tflops"] == 800 and result["mfu"] == 0.809
    accelerator.compare("base-step", "another chip", False)
    assert json.loads(capsys.readouterr().out)["mfu"] is None


def test_the_flops_of_a_step_are_those_of_its_passes():
    pytest.importorskip("torch")
    parts = [accelerator.flops(way, "base") for way in ("encode", "decode", "discriminate")]
    assert min(parts) > 1e11
    assert accelerator.flops("step", "base") == 3 * (parts[0] + parts[1]) + 8 * parts[2]
