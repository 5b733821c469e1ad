"""How many steps Adam needs to where Muon is after STEPS, on one of nano's recipes.

    python tests/benchmarks/optimizers.py [CONFIG] [STEPS]

Both train the same model from the same start on the same batches, at a constant rate after the warm-up, and Adam at the
two rates below. Prints one JSON line; a quarter of an hour on two cores for the image stage.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

VIDEOPOET = [sys.executable, "-c", "from videopoet_jax.cli.main import main; main()"]
MUON, ADAM = 5e-3, (2e-3, 5e-3)  # learning rates
PATIENCE = 4  # times STEPS that Adam may take


def losses(config: str, optimizer: str, rate: float, steps: int) -> list[tuple[int, float]]:
    """(step, mean loss of the 20 steps up to it) of a run of so many steps."""
    settings = {"optimizer": optimizer, "learning_rate": rate, "steps": steps, "schedule": "constant"}
    changes = [part for key, value in settings.items() for part in ("--set", f"train.{key}={value}")]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([*VIDEOPOET, "train", "--config", config, "--workdir", folder, *changes], check=True)
        records = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in records if "loss" in record]


def main(config: str = "video_tokenizer:nano_image", steps: str = "200") -> None:
    ours = int(steps)
    goal = losses(config, "muon", MUON, ours)[-1][1]
    runs = [losses(config, "adam", rate, PATIENCE * ours) for rate in ADAM]
    reached = [next((step for step, loss in run if loss <= goal), None) for run in runs]
    peer = min((step for step in reached if step), default=None)
    figures = {"name": f"optimizer, {config}", "ours": ours, "peer": peer, "unit": "steps to the same loss"}
    figures |= {"ratio": peer and peer / ours, "loss": goal, "adam": dict(zip(ADAM, reached, strict=True))}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
