"""Which parts of a video tokenizer earn their keep: the same data, steps, batches and optimizer for all of them.

    python tests/benchmarks/tokenizer_study.py CLIPS RUNS WEIGHTS [STEPS [ROW …]]

CLIPS is what launch/fetch_clips.sh DIR large wrote, RUNS where the models go, WEIGHTS what launch/fetch_weights.sh
wrote. Every row of ROWS is trained on parts of 64×64 pixels of all videos but HELD_OUT, on a core of its own beside
others; those of FURTHER go on from FROM with a quarter of the steps. All are scored on whole frames of the videos held
out by `videopoet evaluate tokenizer`, in clips of 16×128×128: MAGVIT's own length; a causal tokenizer fills them up to
17 frames and pays for it in bits. RUNS/study.json holds the scores, sheet.png copies, curves.png how the rows learned.
The same command goes on where it was stopped. Rows that are named are trained and scored alone, beside FROM.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

MAIN = "from videopoet_jax.cli.main import main; main()"
VIDEOPOET = [sys.executable, "-c", MAIN]
# Whole films that no row is trained on, all filmed, 317 s; none shows a scene of the others.
HELD_OUT = (
    *("bikes.mp4", "cup.mp4", "jump_in_a_park.mp4", "man_makes_faces.mp4", "man_moves_head.mp4"),
    *("man_shows_a_card.mp4", "pedestrians.avi", "pianist.avi", "president_speaks.mp4", "toy_robot.mp4"),
)
DECODED = 160  # pixels a side, of which `study` takes parts
SHOWN = ("pedestrians.avi", "man_makes_faces.mp4", "pianist.avi")
CLIPS_ALONE = {"model.causal": False, "data.num_frames": 16, "data.image_share": 0.0}  # a picture is no clip
# What MAGVIT had: 3-D, but not causal, without AdaGN, means and nearest neighbours between the stages, 1,024 entries.
# It mixes time in every stage, for its means between them mix none. 8 channels and a soft assignment are ours: with 64
# channels and MAGVIT's temperature most entries fall out of use. So is one tap after the nearest neighbours, as in
# `study`: three did no better.
MAGVIT1 = {
    **CLIPS_ALONE,
    "model.quantizer": {"name": "vq", "size": 1024, "channels": 8},
    "loss.codebook": 1.0,
    "model.pooled": True,
    "model.adaptive": False,
    "model.kernel_time": (3, 3, 3),
}
PICTURES = {"model.kernel_time": (1, 1, 1), "model.strides": ((1, 2, 2), (1, 1, 1))}


def unfolded(stages: int) -> dict:
    """So many stages more before `study`'s own three, which fold 4×4 pixels into channels first, as `fast` does.

    One stage at half of full resolution leaves 2×2 pixels to fold, two leave none: MAGVIT-v2's way.
    """
    wide, own = (16,) * stages, (32, 64, 128)
    blocks = (1,) * stages
    return {
        "model.patch": (1, 4 >> stages, 4 >> stages),
        "model.strides": (*((1, 2, 2),) * stages, (2, 2, 2), (2, 1, 1)),
        "model.kernel_time": (*(1,) * stages, 1, 3, 1),
        "model.encoder_widths": (*wide, *own),
        "model.decoder_widths": (*wide, *own),
        "model.encoder_blocks": (*blocks, 1, 2, 2),
        "model.decoder_blocks": (*blocks, 1, 2, 2),
    }


def width(*widths: int) -> dict:
    return {"model.encoder_widths": widths, "model.decoder_widths": widths}


ROWS: dict[str, dict] = {  # the dearest ones first, so that the cores are done together
    "magvit1_2^10": MAGVIT1,
    "per_frame_2^5": {**PICTURES, "model.quantizer.bits": 5},  # 17 grids of tokens for 5: as many bits, nearly
    "half_as_wide_again": width(48, 96, 192),
    "2x2_folded": unfolded(1),
    "none_folded": unfolded(2),
    "lfq_2^18": {},
    # Two rows of as many bits as magvit1, 4 grids of 10: one differs by causality alone from the other, 5 grids of 8.
    "not_causal_2^10": {**CLIPS_ALONE, "model.quantizer.bits": 10},
    "lfq_2^8": {"model.quantizer.bits": 8},
    "lfq_2^10": {"model.quantizer.bits": 10},
    "fsq_8^6": {"model.quantizer": {"name": "fsq", "levels": (8,) * 6}},
    "half_as_wide": width(16, 32, 64),
}
FROM = "lfq_2^18"
SLOW = {"train.learning_rate": 1e-3, "train.warmup_steps": 20}
FURTHER: dict[str, dict] = {  # what MAGVIT-v2's other losses do, beside as many steps without them
    "lfq_2^18_longer": SLOW,
    "lfq_2^18_adversarial": {
        **SLOW,
        "loss.perceptual": 0.1,
        "loss.perceptual_frames": 1,  # VGG of four costs five times the step of the tokenizer
        "adversary.weight": 0.1,
        "adversary.start": 50,
        "adversary.width": 8,
        "adversary.learning_rate": 5e-4,
    },
}


def split(clips: Path) -> tuple[list[Path], list[Path]]:
    """The films to train on, and those to score."""
    missing = [name for name in HELD_OUT if not (clips / name).exists()]
    if missing:
        raise SystemExit(
            f"{clips}: without {', '.join(missing)}; fetch them with ./launch/fetch_clips.sh {clips} large."
        )
    others = [film for film in sorted(clips.iterdir()) if film.name not in (*HELD_OUT, "captions.jsonl")]
    return others, [clips / name for name in HELD_OUT]


def shrink(films: list[Path], folder: Path) -> Path:
    """The films as `study` decodes them, once for all rows."""
    from videopoet_jax.data.media import iterate_frames, write_video

    folder.mkdir(parents=True, exist_ok=True)
    for film in films:
        small, begun = folder / f"{film.name}.mp4", folder / f".{film.name}.mp4"  # hidden until it is whole
        if not small.exists():
            write_video(begun, iterate_frames(film, fps=8, height=DECODED, width=DECODED), fps=8)
            begun.rename(small)
    return folder


def train(name: str, changes: dict, runs: Path, core: int) -> bool:
    """Trains row `name` on one core, unless it is trained: RUNS/name gets a `model`, and a `log.txt`. Is it there?"""
    folder = runs / name
    if (folder / "model" / "config.json").exists():
        return True
    settings = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
    run = ["train", "--config", "video_tokenizer:study", "--workdir", folder, "--checkpoint-every", "100"]
    run += ["--init", runs / FROM / "model"] if name in FURTHER else []
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}}); {MAIN}"]
    with (folder / "log.txt").open("a") as log:
        done = subprocess.run([*command, *run, "--export", folder / "model", *settings], stdout=log, stderr=log)
    print(f"{name}: " + (f"ended with {done.returncode}" if done.returncode else "trained"), flush=True)
    return done.returncode == 0


def train_all(rows: dict[str, dict], shared: dict, runs: Path) -> None:
    """The rows that are left, as many at a time as there are cores: two on a core each take less than two in turns."""
    cores = SimpleQueue()
    for core in os.sched_getaffinity(0):
        cores.put(core)

    def one(name: str) -> bool:
        core = cores.get()
        try:
            return train(name, {**shared, **rows[name]}, runs, core)
        finally:
            cores.put(core)

    with ThreadPoolExecutor(cores.qsize()) as pool:
        trained = list(pool.map(one, rows))
    if failed := [name for name, done in zip(rows, trained, strict=True) if not done]:
        raise SystemExit(f"{', '.join(failed)}: not trained, see log.txt there; the same command tries again.")


def draw(names: Sequence[str], runs: Path, films: list[Path]) -> None:
    """RUNS/sheet.png: the start of some films that were held out, and each row's copy."""
    from videopoet_jax.data.media import read_video
    from videopoet_jax.evaluate.sheets import Row, save_contact_sheet
    from videopoet_jax.video.tokenizer import VideoTokenizer

    models = {name: VideoTokenizer.from_pretrained(runs / name / "model") for name in names}
    rows = []
    for film in films:
        clip = read_video(film, fps=8, height=128, width=128, end=2)[:16]
        rows.append(Row(f"{film.name}: true", clip))
        rows += [Row(name, model.decode(model.encode(clip).codes, 16)) for name, model in models.items()]
    save_contact_sheet(runs / "sheet.png", rows)


def main(clips: str, runs: str, weights: str, steps: str = "1000", *chosen: str) -> None:
    if unknown := set(chosen) - {*ROWS, *FURTHER}:
        raise SystemExit(f"{', '.join(sorted(unknown))}: unknown rows; choose of {', '.join((*ROWS, *FURTHER))}.")
    rows, further = ({n: c for n, c in some.items() if n in chosen or not chosen} for some in (ROWS, FURTHER))
    rows[FROM] = ROWS[FROM]
    films, held_out = split(Path(clips))
    folder = shrink(films, Path(runs) / "clips")
    shared = {"data.root": folder, "loss.perceptual_network": Path(weights) / "lpips_vgg16"}
    train_all(rows, {**shared, "train.steps": int(steps)}, Path(runs))
    train_all(further, {**shared, "train.steps": max(100, int(steps) // 4)}, Path(runs))
    names = (FROM, *(name for name in (*rows, *further) if name != FROM))  # the others' differences from it are told
    named = [part for name in names for part in ("--model", f"{name}={Path(runs) / name / 'model'}")]
    scored = ["evaluate", "tokenizer", *held_out, "--num-frames", "16", "--height", "128", "--width", "128"]
    subprocess.run([*VIDEOPOET, *scored, "--weights", weights, *named, "--json", Path(runs) / "study.json"], check=True)
    drawn = ["curves", *(Path(runs) / name for name in names), "--only", "psnr", "--only", "code_usage"]
    subprocess.run([*VIDEOPOET, *drawn, "--out", Path(runs) / "curves.png"], check=True)
    draw(names, Path(runs), [Path(clips) / name for name in SHOWN])


if __name__ == "__main__":
    main(*sys.argv[1:])
