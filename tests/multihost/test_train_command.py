"""`videopoet train --distributed` in two processes is `videopoet train` in one with as many devices."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from videopoet_jax.pretrained.files import flatten, load_params

ROOT = Path(__file__).parents[2]
VIDEOPOET = [sys.executable, "-c", "from videopoet_jax.cli.main import main; main()"]
TINY = {
    "model.strides": "((4,2,2),)",
    "model.encoder_widths": "(8,8)",
    "model.decoder_widths": "(8,8)",
    "model.encoder_blocks": "(1,1)",
    "model.decoder_blocks": "(1,1)",
    "model.kernel_time": "(1,3)",
    "model.groups": "4",
    "model.quantizer.bits": "6",
    "data.size": "16",
    "data.num_frames": "5",
    "data.height": "32",
    "data.width": "32",
    "train.batch_size": "4",
    "train.optimizer": "adam",  # the quickest to compile
}
ADVERSARIAL = {  # all that `base` has: pictures between the clips, a discriminator that starts late, averaged weights
    "data.image_share": "0.5",
    "adversary.weight": "0.1",
    "adversary.start": "1",
    "adversary.width": "4",
    "adversary.multipliers": "(1,2)",
    "train.ema_decay": "0.9",
    "train.steps": "4",
}
PICTURES = {"model.kernel_time": "(1,1)", "train.steps": "1", "data.num_frames": "1"}
PATIENCE = 900  # seconds
ALONE = {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "1"}


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def begin(folder, devices, *options, config="nano", settings=ADVERSARIAL, **environment):
    settings = [part for key, value in (TINY | settings).items() for part in ("--set", f"{key}={value}")]
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"  # the last counts
    command = [
        *VIDEOPOET,
        "train",
        "--config",
        f"video_tokenizer:{config}",
        "--workdir",
        str(folder / "run"),
        *settings,
    ]
    return subprocess.Popen(
        [*command, "--export", str(folder / "model"), *options],
        env={**os.environ, "XLA_FLAGS": flags, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def end(*processes):
    try:
        said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


def test_two_processes_train_draw_and_export_what_one_does(tmp_path):
    one, two, images = tmp_path / "one", tmp_path / "two", tmp_path / "images"
    end(begin(images, 1, config="nano_image", settings=PICTURES))
    start = ("--init", str(images / "model"))
    known = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": "2"}
    both = [begin(two, 1, "--distributed", *start, **known, JAX_PROCESS_ID=str(number)) for number in range(2)]
    said = end(*both)
    end(begin(one, 2, *start))
    a, b = (flatten(load_params(folder / "model", None)) for folder in (one, two))
    assert a.keys() == b.keys()
    for name in a:  # written in bfloat16
        np.testing.assert_allclose(np.float32(a[name]), np.float32(b[name]), rtol=0.02, atol=2e-3, err_msg=name)
    assert "step 4/4" in said[0] and "step 4/4" not in said[1]
    logs = [[json.loads(row) for row in (f / "run" / "metrics.jsonl").read_text().splitlines()] for f in (one, two)]
    assert all(rows[-2]["adversary_loss"] > 0 for rows in logs)
    scores = [rows[-1] for rows in logs]
    assert scores[0].keys() == scores[1].keys() and "eval/psnr" in scores[0]
    assert scores[1]["eval/psnr"] == pytest.approx(scores[0]["eval/psnr"], abs=0.1)


@pytest.mark.parametrize(
    "environment, words",
    [
        ({}, "no cluster that JAX knows"),
        ({"JAX_NUM_PROCESSES": "two"}, "JAX_NUM_PROCESSES=two: a whole number, 0 or more, is needed"),
        (ALONE | {"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID=2"),
        (ALONE | {"JAX_COORDINATOR_ADDRESS": "somewhere"}, "JAX_COORDINATOR_ADDRESS=somewhere: HOST:PORT is needed"),
        (ALONE | {"VIDEOPOET_JOIN_SECONDS": "2"}, "error: nobody answers at 127.0.0.1:1, where process 0"),
    ],
)  # fmt: skip
def test_a_process_without_others_is_told_what_to_set(tmp_path, environment, words):
    process = begin(tmp_path, 1, "--distributed", **environment)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2 and words in said and "Traceback" not in said


def test_the_first_process_does_not_wait_for_long_and_needs_its_port(tmp_path):
    first = ALONE | {"JAX_PROCESS_ID": "0", "JAX_COORDINATOR_ADDRESS": free_address(), "VIDEOPOET_JOIN_SECONDS": "2"}
    process = begin(tmp_path, 1, "--distributed", **first)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2 and said.count("\n") == 1
    assert said.startswith(f"error: not all 2 have come to {first['JAX_COORDINATOR_ADDRESS']}, in 2 s; start those")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = begin(tmp_path, 1, "--distributed", **first | {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"})
        said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 2 and said.count("\n") == 1
    assert f"port {port} cannot be had here (address already in use)" in said


@pytest.mark.slow
@pytest.mark.parametrize("difference", ["config", "code"])
def test_processes_of_another_config_or_code_do_not_begin(tmp_path, difference):
    known = {"JAX_COORDINATOR_ADDRESS": free_address(), "JAX_NUM_PROCESSES": "2"}
    options = [[], []]
    paths = [str(ROOT), str(ROOT)]
    if difference == "config":
        options[1] = ["--set", "train.steps=5"]
    else:
        copy = shutil.copytree(
            ROOT / "videopoet_jax", tmp_path / "videopoet_jax", ignore=shutil.ignore_patterns("nano")
        )
        with open(copy / "training" / "loop.py", "a") as file:
            file.write("# another line\n")
        paths[1] = str(tmp_path)
    both = [
        begin(tmp_path, 1, "--distributed", *options[n], **known, JAX_PROCESS_ID=str(n), PYTHONPATH=paths[n])
        for n in range(2)
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in both]
    assert all(process.returncode for process in both)
    what = "config.train.steps: 4 → 5" if difference == "config" else "code.videopoet_jax: "
    assert f"process 1 is not as process 0: {what}" in said[0], said
    assert not (tmp_path / "run").exists()
