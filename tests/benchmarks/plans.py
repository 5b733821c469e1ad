"""What `videopoet plan` predicts, beside what was published. Run by `./launch/benchmark.sh plans [NAME …] [--out DIR]`.

Every program is compiled for a slice of TPUs that is not there, 4 to 10 minutes each on two cores. Prints JSON lines
{name, ours, peer, unit, ratio, goal, memory, …}: for training the MFU, whose peer is the chip, for the writing of clips
seconds against those that the paper reports, and for MaxText's 16 B model, by our own step at its shape and tokens a
chip, the MFU that its authors measured on 256 chips of v5e (MaxText, configs/v5e/README.md: 61.1 %).

All figures of a plan are left in DIR.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

VIDEOPOET = (sys.executable, "-c", "from videopoet_jax.cli.main import main; main()")
PAPER_SECONDS, MAXTEXT_MFU = 34.0, 0.611
MAXTEXT = ("model.depth=32", "model.width=4096", "model.heads=64", "model.kv_heads=64", "model.mlp=28672",
           "model.visual_codes=32768", "model.qk_norm=False", "train.batch_size=1792", "data.tokens=0")  # fmt: skip
# name → (config, topology, overrides, least MFU)
TRAINING = {
    "300m": ("lm:300m", "v5e:4x4", (), None),
    "1b": ("lm:1b", "v5e:8x8", (), 0.55),
    "1b_v5p": ("lm:1b", "v5p:2x2x4", (), 0.55),
    "8b": ("lm:8b", "v5p:4x4x4", (), 0.55),
    "8b_v6e": ("lm:8b", "v6e:16x16", ("model.remat=mlp",), 0.55),
    "1b_long": ("lm:1b_long", "v5p:4x4x8", (), None),
    "maxtext_16b": ("lm:8b", "v5e:16x16", MAXTEXT, None),
}
DECODING = {"8b_clips": ("lm:8b", "v5p:2x2x1", 4)}


def planned(out: Path, name: str, config: str, topology: str, *options: str) -> dict:
    """The figures of one plan, made in a process of its own: a compiler keeps gigabytes."""
    report = out / f"{name}.json"
    command = [*VIDEOPOET, "plan", "--config", config, "--topology", topology, *options, "--json", str(report)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads(report.read_text())


def training(out: Path, name: str) -> dict:
    """A line of one of `TRAINING`."""
    config, topology, overrides, goal = TRAINING[name]
    n = planned(out, name, config, topology, *(word for value in overrides for word in ("--set", value)))
    peer, ours = (MAXTEXT_MFU if name.startswith("maxtext") else 1.0), n["mfu"]
    memory = n["peak_bytes_per_chip"] / n["hbm_bytes_per_chip"]
    more = {"topology": topology, "set": overrides, "rows": n["rows"], "seconds": n["step_seconds"], "memory": memory}
    if name.startswith("maxtext"):
        more["off_by"] = abs(ours - peer)  # goal: 0.1 at most
    return {"name": name, "ours": ours, "peer": peer, "unit": "MFU", "ratio": ours / peer, "goal": goal, **more}


def decoding(out: Path, name: str) -> dict:
    """A line of one of `DECODING`."""
    config, topology, clips = DECODING[name]
    n = planned(out, name, config, topology, "--decode", str(clips))
    more = {key: n[key] for key in ("bytes_per_token_per_chip", "seconds_per_token", "tokens_of_a_clip")}
    more["memory"] = n["peak_bytes_per_chip"] / n["hbm_bytes_per_chip"]
    line = {"name": name, "ours": n["seconds"], "peer": PAPER_SECONDS, "unit": f"seconds for {clips} clips"}
    return {**line, "ratio": PAPER_SECONDS / n["seconds"], "goal": 1.0, "topology": topology, **more}


def main() -> None:
    """Prints a line for each plan."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = (*TRAINING, *DECODING)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; all unless told")
    parser.add_argument("--out", type=Path, help="where the plans are left; a temporary folder unless told")
    given = parser.parse_args()
    if unknown := set(given.names) - set(names):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(names)}")
    with tempfile.TemporaryDirectory() as temporary:
        out = given.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        for name in given.names or names:
            print(json.dumps(training(out, name) if name in TRAINING else decoding(out, name)), flush=True)


if __name__ == "__main__":
    main()
