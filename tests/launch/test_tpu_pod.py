"""launch/train.sh tpu_pod, from nothing through preemption and failure to the end.

There is no TPU here: gcloud_here.py stands in for Google Cloud and PROGRAM for training. All between them is real: the
checkout is packed, copied and unpacked, and launch/tpu_pod/worker.sh starts, watches and ends processes.
"""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# `videopoet train` on a worker: what it does the first time, the second, …; two workers count by themselves.
PROGRAM = """#!/usr/bin/env bash
number=$(basename "$HOME")
echo "$number $*" >>"$CLOUD/started"
times=$(grep -c "^$number " "$CLOUD/started")
doing=$(cut -d' ' -f"$times" <<<"$STORY")
echo "worker $number: $doing"
case $doing in
    preempted)
        [ "$number" = 0 ] || exec sleep 60
        sleep 0.3
        echo -n SUSPENDED >"$CLOUD/state"
        kill -KILL $(cat "$CLOUD"/slice/*/videopoet_run/pid)
        exec sleep 60 ;;
    waits) until [ -e "$CLOUD/go" ]; do sleep 0.1; done ;;
    hangs) [ "$number" = 0 ] && exit 1; exec sleep 60 ;;
    *) exit "$doing" ;;
esac
"""


@pytest.fixture
def pod(tmp_path):
    """Runs the script against a cloud in tmp_path, where training does as in the story."""
    tools, checkout = tmp_path / "tools", tmp_path / "checkout"
    tools.mkdir()
    shutil.copytree(ROOT / "launch", checkout / "launch")  # what of the checkout does a part in this
    shutil.copy(ROOT / "setup.py", checkout)
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    for name, words in {
        "gcloud": f'exec {sys.executable} -I -S {ROOT}/tests/launch/gcloud_here.py "$@"',
        "sudo": "exit 0",  # neither packages nor mounts
        "mount.nfs": "",
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{words}\n")
        (tools / name).chmod(0o755)

    def begin(story, *options):
        words = ["tpu_pod", "lm:nano", "/vol1/run", "--share", "server:/vol1", "--zone", "z", "--name", "run"]
        environment = {"CLOUD": tmp_path, "STORY": story, "PROGRAM": program, "POLL": "0.1", "PYTHONPATH": ROOT}
        environment |= {"ENVIRONMENT": sys.prefix, "PYTHON": sys.executable, "PATH": f"{tools}:{os.environ['PATH']}"}
        return subprocess.Popen(
            [str(checkout / "launch/train.sh"), *map(str, words), "--topology", "v5e:2x4", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **{key: str(value) for key, value in environment.items()}},
            start_new_session=True,
        )

    def launch(story, *options):
        process = begin(story, *options)
        said = process.communicate(timeout=120)
        return subprocess.CompletedProcess([], process.returncode, *said)

    launch.begin = begin
    yield launch
    for pid in tmp_path.glob("slice/*/videopoet_run/pid"):
        subprocess.run(["pkill", "-KILL", "--session", pid.read_text().strip()])
    shutil.rmtree(tmp_path / "slice", ignore_errors=True)


def calls(folder):
    return [line.split()[0] for line in (folder / "calls").read_text().splitlines()]


def test_a_run_outlives_its_slice_and_ends(pod, tmp_path):
    done = pod("preempted hangs 0", "--delete")
    assert done.returncode == 0, done.stdout + done.stderr
    for words in (
        "run: WAITING_FOR_RESOURCES\n",
        "worker 0: preempted\n",
        "run: preempted (SUSPENDED); asking for another slice",
        "run: ended 1; starting again, 1 of 3 times",
        "worker 0: 0\n",
        "run: the run has ended; its checkpoints are in /vol1/run",
    ):
        assert words in done.stdout
        done.stdout = done.stdout.partition(words)[2]  # in this order
    started = sorted((tmp_path / "started").read_text().splitlines())
    train = "train --config lm:nano --workdir /vol1/run --distributed"
    assert started == [f"0 {train}"] * 3 + [f"1 {train}"] * 3
    assert [action for action in calls(tmp_path) if action in ("create", "delete")] == ["create", "delete"] * 2
    assert not (tmp_path / "slice").exists()


def test_a_run_that_fails_too_often_is_given_up_and_its_slice_kept(pod, tmp_path):
    done = pod("75 1", "--restarts", "0")
    assert done.returncode == 2
    assert "run: stopped from outside; going on" in done.stdout  # no failure
    assert "error: run: ended 1, after 0 new starts" in done.stderr
    assert len((tmp_path / "started").read_text().splitlines()) == 4 and "delete" not in calls(tmp_path)


def test_ctrl_c_leaves_the_run_alone_and_the_same_command_follows_it(pod, tmp_path):
    first = pod.begin("waits")
    assert any("worker 0: waits" in line for line in first.stdout)
    os.killpg(first.pid, signal.SIGINT)
    assert "The run goes on, and costs; the same command follows it again" in first.communicate()[0]
    assert first.returncode == 130
    second = pod.begin("waits")
    assert any("worker 0: waits" in line for line in second.stdout)  # from the log's beginning
    (tmp_path / "go").touch()
    assert "It still costs" in second.communicate()[0] and second.returncode == 0
    assert calls(tmp_path).count("create") == calls(tmp_path).count("scp") == 1
    assert len((tmp_path / "started").read_text().splitlines()) == 2  # one for each worker


@pytest.mark.parametrize("failures", [1, 5])
def test_a_connection_that_fails_harms_no_run(pod, tmp_path, failures):
    first = pod.begin("waits")
    assert any("worker 0: waits" in line for line in first.stdout)
    os.killpg(first.pid, signal.SIGINT)
    first.communicate()
    (tmp_path / "deaf").write_text(str(failures))
    second = pod.begin("waits")
    said = ""
    for line in second.stdout:
        said += line
        if line == "worker 0: waits\n":
            (tmp_path / "go").touch()  # only now, that it does not end before it is followed
    assert said.count("run: the first worker does not answer; asking again\n") == failures
    assert "It still costs" in said and second.wait(timeout=60) == 0
    assert calls(tmp_path).count("create") == calls(tmp_path).count("scp") == 1
    assert len((tmp_path / "started").read_text().splitlines()) == 2  # one for each worker


def test_a_worker_that_never_answers_is_left_as_it_is(pod, tmp_path):
    first = pod.begin("waits")
    assert any("worker 0: waits" in line for line in first.stdout)
    os.killpg(first.pid, signal.SIGINT)
    first.communicate()
    (tmp_path / "deaf").write_text("99")
    done = pod("waits")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "error: run: asked 6 times, the first worker does not answer; the run is left as it is" in done.stderr
    assert calls(tmp_path).count("scp") == 1 and "delete" not in calls(tmp_path)
    for pid in tmp_path.glob("slice/*/videopoet_run/pid"):
        os.kill(int(pid.read_text()), 0)  # still there
