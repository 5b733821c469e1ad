"""Scripts and container files, by the linters that their authors trust, and Slurm's header, by Slurm's rules."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("launch/**/*.sh"), *ROOT.glob("launch/**/*.sbatch"), ROOT / ".ci/run"])
IMAGES = sorted(ROOT.glob("launch/**/Dockerfile"))
JOB = ROOT / "launch/slurm/job.sbatch"
# Of sbatch's manual page (Slurm 22.05), those that do not depend on the cluster.
HEADER = {
    "job-name": r"\w+",
    "requeue": "",
    "open-mode": "append|truncate",
    "signal": r"(\[?[RB]{1,2}\]?:)?(TERM|USR1|USR2)(@\d{1,5})?",
}


def linter(name):
    found = shutil.which(name, path=f"{sys.prefix}/bin") or shutil.which(name)
    return found or pytest.skip(f"{name}: not installed; it is of the extra `test`")


def test_shellcheck_finds_nothing():
    assert JOB in SCRIPTS and ROOT / "launch/tpu_pod/worker.sh" in SCRIPTS
    done = subprocess.run([linter("shellcheck"), "-x", *SCRIPTS], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_hadolint_finds_nothing():
    done = subprocess.run([linter("hadolint"), *IMAGES], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("image", IMAGES, ids=lambda path: path.parent.name)
def test_an_image_copies_what_setup_py_reads_and_no_more_than_the_checkout_has(image):
    copied = [line.split()[1:-1] for line in image.read_text().splitlines() if line.startswith("COPY ")]
    names = {name for words in copied for name in words}
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "configs", "videopoet_jax"} == names
    assert all((ROOT / name).exists() for name in names)
    ignored = image.with_name("Dockerfile.dockerignore")
    if ignored.exists():
        kept = {line[1:] for line in ignored.read_text().splitlines() if line.startswith("!")}
        assert kept == names


def test_slurm_reads_the_header_before_the_first_command():
    lines = JOB.read_text().splitlines()
    header = [line for line in lines if line.startswith("#SBATCH")]
    assert lines[0] == "#!/usr/bin/env bash" and lines[1 : 1 + len(header)] == header
    for line in header:
        option = re.fullmatch(r"#SBATCH --([a-z-]+)=?(\S*)", line)
        assert option and re.fullmatch(HEADER[option[1]], option[2]), line


def test_what_is_no_part_of_a_script_can_be_run():
    for path in SCRIPTS:
        sourced = path.read_text().startswith("# Sourced by")
        assert sourced or path == JOB or path.stat().st_mode & 0o100, path  # sbatch runs copies of the job
