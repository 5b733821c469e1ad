"""The command line: quick to start, and every bad input is one line that says value, rule and remedy."""

import os
import platform
import subprocess
import sys

import click
import pytest

from videopoet_jax.cli.main import COMMANDS, in_one_line, main, nothing_but_cpu, tune_xla, videopoet

STARTS = (
    "import sys; import videopoet_jax; from videopoet_jax.cli.main import main\n"
    "try: main(['--help'])\n"
    "except SystemExit as leave: assert leave.code == 0, leave.code\n"
    "print(sorted(m for m in ('jax', 'tensorflow', 'numpy') if m in sys.modules))"
)

# Muon's iteration, three times, on operands whose memory is given away; the distance from float64's answer.
ORTHOGONALISE = """
from videopoet_jax.cli.main import tune_xla
tune_xla("train")
import jax, numpy as np
def iterate(x):
    a = x @ x.T
    return 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
for shape in ((48, 864), (32, 1728), (16, 4000)):
    x = np.random.default_rng(0).normal(size=shape)
    x /= np.linalg.norm(x)
    step = jax.jit(jax.vmap(lambda x: iterate(iterate(iterate(x)))), donate_argnums=0)
    found, wanted = np.asarray(step(jax.numpy.asarray(x[None], "float32")))[0], iterate(iterate(iterate(x)))
    print(np.abs(found - wanted).max() / np.abs(wanted).max())
"""


def fails(arguments, capsys):
    """The one line on stderr of a command that must fail."""
    with pytest.raises(SystemExit) as leave:
        main([str(a) for a in arguments])
    assert leave.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


def test_help_imports_neither_jax_nor_numpy_nor_tensorflow():
    result = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_help_lists_has_help(name, capsys):
    main([name, "--help"])
    assert f"Usage: videopoet {name} [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "a red 3", "--model", "nowhere"], "'nowhere': neither a shipped model"),
        (["generate", "a red 3", "--out", "clip.avi"], "clips are written as mp4"),
        (["generate", "a red 3", "--out", "/dev/null/clip.mp4"], "/dev/null"),
        (["generate", "a red 3", "--model", "nowhere", "--out", "new/deep/clip.mp4"], "neither a shipped model"),
        (["generate", "--prompts-file", "missing.txt"], "missing.txt: no such file"),
        (["generate", "one", "--prompts-file", "missing.txt"], "both were given"),
        (["generate", "--seed", "three"], "'three' is not a valid integer"),
        (["reconstruct", "missing.mp4", "--out", "x.mp4"], "missing.mp4"),
        (["reconstruct", "missing.mp4", "--out", "x.mp4", "--json", "/dev/null/x"], "/dev/null"),
        (["tokenize", "missing.mp4", "--out", "x.npz"], "missing.mp4: no such file or folder"),
        (["reconstruct", "missing.mp4", "--out", "new/x.mp4", "--json", "other/x.json"], "missing.mp4"),
        (["tokenize", ".", "--out", "x"], "no files in it"),
        (["tokenize", ".", "--out", "q.mkv"], "--out q.mkv: a file that is no .npz; name it q.npz, or name a folder."),
        (["tokenize", ".", "--out", "x.npz"], "x.npz: names one file"),
        (["tokenize", ".", "--out", "x", "--fps", "0"], "0.0 is not in the range"),
        (["detokenize", "missing.npz", "--out", "x.mp4"], "missing.npz: no such file or folder"),
        (
            ["detokenize", ".", "--out", "x.mkv"],
            "--out x.mkv: a file that is no .mp4; name it x.mp4, or name a folder.",
        ),
        (["evaluate", "nano", "--json", "/dev/null/x"], "/dev/null"),
        (["evaluate", "nano", "--clips", "c", "--sheet", "s.png"], "--sheet with --clips"),
        (["train", "--config", "lm:nano", "--workdir", "w", "--minutes", "nan"], "--minutes nan: a number above 0"),
        (["train", "--config", "lm:giant", "--workdir", "w"], "lm size 'giant': unknown; use one of nano"),
        (["train", "--config", "wrong:nano", "--workdir", "w"], "config 'wrong': unknown; use one of"),
        (["train", "--config", "lm:nano", "--workdir", "w", "--set", "train.stepz=3"], "no key 'train.stepz'"),
        (["train", "--config", "lm:nano", "--workdir", "w", "--set", "train.steps=many"], "train.steps is a int"),
        (["train", "--config", "lm:nano", "--workdir", "w", "--set", "train"], "write KEY=VALUE"),
        (["train", "--config", "pipeline:nano", "--workdir", "w"], "config 'pipeline:nano': has no 'model_type'"),
        (["train", "--config", "text_encoder:xl", "--workdir", "w"], "config 'text_encoder:xl': has no 'data'"),
        (["train", "--config", "lm:nano", "--workdir", "w", "--set", "data.records=r"], "r/meta.json: no such file"),
        (["data", "prepare", "--config", "video_tokenizer:nano", "--models", "m", "--out", "o"], "'data.audio_levels'"),
        (["export", "--config", "lm:nano", "--models", "m", "--out", "o"], "has no 'grammar'"),
        (["info", "nowhere"], "neither a shipped model"),
        (["frobnicate"], "No such command 'frobnicate'"),
    ],
)
def test_a_mistake_is_one_line(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in fails(arguments, capsys)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_videos_are_one_line(tmp_path, capsys):
    empty, text = tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.touch()
    text.write_text("not a video")
    for path in (empty, text, tmp_path):
        assert path.name in fails(["reconstruct", path, "--out", tmp_path / "new" / "x.mp4"], capsys)
    assert not (tmp_path / "new").exists()


def test_films_of_which_none_is_made_leave_no_folder(tmp_path, capsys):
    (tmp_path / "films" / "b").mkdir(parents=True)
    for name in ("a.mp4", "b/c.mp4"):
        (tmp_path / "films" / name).write_text("not a video")
    with pytest.raises(SystemExit):
        main(["tokenize", str(tmp_path / "films"), "--out", str(tmp_path / "new" / "codes")])
    first, second = capsys.readouterr().err.splitlines()
    assert "a.mp4" in first and "b/c.mp4" in second
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


def test_a_prompts_file_must_hold_prompts_in_utf8(tmp_path, capsys):
    blank, latin = tmp_path / "blank.txt", tmp_path / "latin.txt"
    blank.write_text("\n  \n")
    latin.write_bytes("un carré".encode("latin-1"))
    assert "no prompt in it" in fails(["generate", "--prompts-file", blank], capsys)
    assert "not UTF-8" in fails(["generate", "--prompts-file", latin], capsys)


def test_debug_shows_the_traceback():
    with pytest.raises(FileNotFoundError):
        main(["generate", "a red 3", "--model", "nowhere", "--debug"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("side 3:\n  too small"), "side 3: too small"),
        (RuntimeError("RESOURCE_EXHAUSTED"), "RESOURCE_EXHAUSTED"),
        (EOFError("end of file"), "end of file"),
        (OSError(28, "No space left on device"), "no space left on device; check the path, its permissions"),
        (PermissionError(13, "Permission denied", "a.npz"), "a.npz: permission denied; check the path"),
        (MemoryError(), "out of memory (MemoryError); end other programs"),
        (ModuleNotFoundError("No module named 'tensorflow'"), "No module named 'tensorflow'; a package is missing"),
        (click.BadParameter("not a number"), "Invalid value: not a number"),
        (NotImplementedError("later"), "NotImplementedError: later; this is a bug of videopoet_jax"),
        (RecursionError("too deep"), "RecursionError: too deep; this is a bug of videopoet_jax"),
        (KeyError("bits"), "KeyError: 'bits'; this is a bug of videopoet_jax, --debug shows where."),
    ],
)
def test_an_error_says_what_to_do_or_that_it_is_ours(error, words):
    assert in_one_line(error).startswith(words)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("", "--xla_disable_hlo_passes=cse_barrier_expander"),
        ("--xla_disable_hlo_passes=dce", "--xla_disable_hlo_passes=cse_barrier_expander,dce"),
        ("--xla_force_host_platform_device_count=3", "--xla_force_host_platform_device_count=3"),
    ],
)
def test_the_users_own_options_of_xla_stay(given, kept, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_FLAGS", given)
    tune_xla("train")
    once = os.environ["XLA_FLAGS"]
    assert kept in once.split()
    assert once.count("device_count") == once.count("disable_hlo_passes") == 1
    tune_xla("train")
    assert os.environ["XLA_FLAGS"] == once


@pytest.mark.parametrize(
    ("platforms", "plugin", "alone"),
    [("cpu", True, True), (" CPU,", True, True), ("cuda,cpu", False, False), ("", False, True), ("", True, False)],
)
def test_an_accelerator_is_known_by_its_plugin_unless_jax_is_told(platforms, plugin, alone, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: ["one"] if plugin else [])
    assert nothing_but_cpu() is alone


# Pages that the system had to clear for 64 MiB that are asked for, written and freed, a second time.
FREED = """
import ctypes, resource
from videopoet_jax.cli.main import keep_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    memory = libc.malloc(64 << 20)
    ctypes.memset(memory, 1, 64 << 20)
    libc.free(memory)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
KEEP
faults()
print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_memory_that_is_freed_is_kept_for_the_next_step():
    def faults(program, **told):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        environment |= {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": ""} | told
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        return int(done.stdout)

    assert faults(FREED.replace("KEEP", "")) > 1_000
    assert faults(FREED.replace("KEEP", "keep_memory()")) < 10
    assert faults(FREED.replace("KEEP", "keep_memory()"), MALLOC_ARENA_MAX="2") > 1_000  # the user's own stays


@pytest.mark.parametrize("plugin", ["jax_cuda12_plugin", "jax_cuda13_plugin"])
def test_xla_is_told_channels_last_where_a_cuda_plugin_is_unless_the_user_says_otherwise(plugin, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    tune_xla("tokenize")
    assert "conv_nhwc" not in os.environ["XLA_FLAGS"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name == plugin else None)
    tune_xla("tokenize")
    assert "--xla_gpu_force_conv_nhwc=true" in os.environ["XLA_FLAGS"].split()
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_force_conv_nhwc=false")
    tune_xla("tokenize")
    assert os.environ["XLA_FLAGS"].count("conv_nhwc") == 1


def test_commands_are_listed_in_the_order_of_use():
    assert list(COMMANDS)[:6] == ["generate", "chain", "reconstruct", "tokenize", "detokenize", "train"]
    assert videopoet.list_commands(click.Context(videopoet)) == list(COMMANDS)


def test_the_options_of_xla_leave_donated_products_right():
    """With products fused into what follows them, jaxlib 0.10.2 was a fifth off on the first of these shapes."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    run = subprocess.run(
        [sys.executable, "-c", ORTHOGONALISE], capture_output=True, text=True, check=True, env=environment
    )
    errors = [float(line) for line in run.stdout.split()]
    assert len(errors) == 3 and max(errors) < 1e-5, errors
