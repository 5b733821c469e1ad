"""launch/train.sh: what it would run in every place, and what it says to options that cannot be."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "ENVIRONMENT": sys.prefix, "PYTHONPATH": str(ROOT)}
SHARE = ["--share", "10.0.0.2:/vol1"]
POD = ["tpu_pod", "lm:8b", "/vol1/run", *SHARE, "--zone", "us-east5-a"]
GKE = ["gke", "lm:1b", "/vol1/run", *SHARE, "--image", "IMAGE"]


def launch(*words, cwd=ROOT):
    command = [str(ROOT / "launch/train.sh"), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT)


def shown(*words, cwd=ROOT):
    """The commands that a dry run shows, as lists of words."""
    done = launch(*words, "--dry-run", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line)[1:] for line in done.stdout.splitlines() if line.startswith("+ ")], done.stdout


def test_local_shows_every_process_and_leaves_nothing(tmp_path):
    commands, _ = shown("local", "lm:nano", "run", "--processes=3", "--set", "train.steps=3", cwd=tmp_path)
    for number, command in enumerate(commands):
        assert {"JAX_NUM_PROCESSES=3", f"JAX_PROCESS_ID={number}", "JAX_PLATFORMS=cpu"} < set(command)
        assert any("host_platform_device_count=4" in word for word in command)
        train = ["train", "--config", "lm:nano", "--workdir", f"{tmp_path}/run", "--distributed"]
        assert command[command.index("train") :] == [*train, "--set", "train.steps=3"]
    assert len(commands) == 3
    assert not list(tmp_path.iterdir())


def test_slurm_has_a_process_for_each_gpu_and_hands_its_options_on(tmp_path):
    options = ["--nodes", 4, "--gpus", "h100:8", "--time", "1-00:00:00", "--grace=120", "--sbatch", "--partition=big"]
    ((*words,),), _ = shown("slurm", "lm:1b", "run", *options, "--sbatch=--account=lab", cwd=tmp_path)
    job = words.index(str(ROOT / "launch/slurm/job.sbatch"))
    assert words[0] == "sbatch" and words[job + 1] == f"{sys.prefix}/bin/videopoet"
    assert {
        "--nodes=4",
        "--ntasks-per-node=8",
        "--gpus-per-node=h100:8",
        "--time=1-00:00:00",
        "--signal=TERM@120",
        f"--output={tmp_path}/run/slurm-%j.log",
        f"--chdir={tmp_path}",
        "--partition=big",
        "--account=lab",
    } == set(words[1:job])
    assert not list(tmp_path.iterdir())


def test_gke_shows_the_manifest():
    commands, said = shown(*GKE, "--topology", "v5p:2x2x4", "--spot", "--restarts=0", "--kubectl", "--context=lab")
    assert commands == [["kubectl", "--context=lab", "apply", "--filename", "-"]]
    made = yaml.safe_load(said[said.index("apiVersion") :])
    assert made["metadata"]["name"].startswith("lm-1b-") and made["spec"]["failurePolicy"]["maxRestarts"] == 0
    pod = made["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"] == ["train", "--config", "lm:1b", "--workdir", "/vol1/run", "--distributed"]


def test_a_run_in_a_bucket_is_launched_like_any(capfd):
    pytest.importorskip("gcsfs")
    commands, said = shown("local", "lm:nano", "gs://bucket/runs/lm", "--processes", "1")
    assert "kept in gs://bucket/runs/lm" in said and "gs://bucket/runs/lm" in commands[0]


def test_tpu_pod_shows_the_way_from_nothing_to_the_end():
    options = ["--topology", "v5p:4x4x4", "--slices=2", "--spot", "--delete", "--name", "big", "--gcloud=--network=lab"]
    commands, _ = shown(*POD, *options, "--set", "data.records=/vol1/a b")
    assert {tuple(words[:4]) for words in commands} == {("gcloud", "compute", "tpus", "queued-resources")}
    assert [words[4] for words in commands] == ["create", "scp", "ssh", "ssh", "ssh", "ssh", "delete"]
    create = {"--accelerator-type=v5p-128", "--runtime-version=v2-alpha-tpuv5", "--node-count=2", "--spot"}
    assert create < set(commands[0]) and "--network=lab" in commands[0]
    assert all("--zone=us-east5-a" in words for words in commands)
    start = [word for words in commands for word in words if " start " in word][0].removeprefix("--command=")
    assert shlex.split(start)[-2:] == ["--set", "data.records=/vol1/a b"]  # through two shells
    assert all({"--node=all", "--worker=all"} < set(words) for words in commands[1:5])


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "place '': unknown; use local, slurm, gke or tpu_pod"),
        (["ray"], "place 'ray': unknown"),
        (["local", "lm:nano"], "'': no CONFIG or WORKDIR"),
        (["local", "lm:nano", "--processes", "2"], "'--processes': no CONFIG or WORKDIR"),
        (["local", "lm:nano", "run", "--processes", "0"], "--processes 0: a whole number, 1 or more"),
        (["local", "lm:nano", "run", "--devices"], "--devices: of what value?"),
        (["local", "lm:nano", "run", "--workdir=else"], "--workdir=else: said before the options"),
        (["local", "lm:nano", "run", "--nodes", "2", "--dry-run"], "No such option '--nodes'"),  # of another place
        (["local", "lm:nano", "run", "--set", "train.stepz=2", "--dry-run"], "no key 'train.stepz'"),
        (["local", "lm:nano", "s3://bucket/run", "--dry-run"], "s3://bucket/run: an address"),
        (["local", "lm:nano", "run", "--export", "gs://bucket/lm", "--dry-run"], "gs://bucket/lm: an address"),
        (["slurm", "lm:1b", "run", "--gpus", "h100"], "--gpus h100: [TYPE:]N, those of one node"),
        (["slurm", "lm:1b", "run", "--time", "a day"], "--time a day: minutes, [DAYS-]HOURS"),
        (["slurm", "lm:1b", "run", "--grace", "5"], "--grace 5: a whole number, 60 or more"),
        (["gke", "lm:1b", "/vol1/run", "--image", "i"], "--share '': SERVER:/PATH of an NFS share is needed"),
        ([*GKE[:3], *SHARE], "--image: missing; build launch/Dockerfile"),
        (["gke", "lm:1b", "/vol2/run", *SHARE, "--image", "i"], "/vol2/run: not in the share, which all workers"),
        (["gke", "my.py:big", "/vol1/run", *SHARE], "my.py:big: a file of this machine; put it into configs/"),
        (["gke", "lm:1b", "/usr/run", "--share", "h:/usr"], "/usr would hide the workers' own"),
        (["gke", "lm:1b", "/usr/local/run", "--share", "h:/usr/local"], "/usr/local would hide the workers' own"),
        (["gke", "lm:1b", "/lib64/run", "--share", "h:/lib64"], "/lib64 would hide the workers' own"),
        (["gke", "lm:1b", "/vol1/../usr/run", "--share", "h:/vol1/../usr"], "--share /vol1/../usr: parts . and .."),
        (["gke", "lm:1b", "/./run", "--share", "h:/."], "--share /.: parts . and .."),
        (["gke", "lm:1b", "/vol1/../etc/run", *SHARE], "WORKDIR /vol1/../etc/run: parts . and .."),
        ([*GKE, "--name", "Big"], "name Big: need a-z"),
        ([*GKE, "--topology", "v6e:4x5", "--dry-run"], "topology 'v6e:4x5': not one that v6e has"),
        (POD, "--topology: missing"),
        ([*POD, "--topology", "v5p:4x4"], "topology 'v5p:4x4': not one that v5p has"),
        ([*POD, "--topology", "v5p:4x4x4", "--spot", "--reserved"], "--spot --reserved: one of the two"),
        (["tpu_pod", "lm:8b", "s3://b/run", *SHARE, "--zone=z", "--topology=v6e:4x4"], "s3://b/run: an address"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(words, said):
    done = launch(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1
