"""The `videopoet` command: a group whose commands are imported when they are called."""

import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import time
from typing import NamedTuple

import click

from videopoet_jax import __version__

# command → (module in this package, one line of help): `videopoet --help` imports none of them.
COMMANDS = {
    "generate": "Text (or the first frames of a clip) to an mp4 with sound.",
    "chain": "Tasks one after another, each on what the one before it made.",
    "reconstruct": "A video through the tokenizer and back, side by side, with PSNR, SSIM and bits per pixel.",
    "tokenize": "Videos, or folders of them, to files of codes.",
    "detokenize": "Files of codes back to videos with sound.",
    "train": "Train a tokenizer, the text encoder or the language model; resumes by itself.",
    "tasks": "What each task reads and writes, as sequences of tokens.",
    "data": "Clips as token records, for training the language model.",
    "plan": "A training step on TPUs that are not here: does it fit, how fast will it be.",
    "evaluate": "Score a model on held-out prompts, beside ceilings and cheats.",
    "curves": "The logs of training runs as a picture.",
    "checkpoint": "The steps that a training run has saved: list, verify, convert to a model.",
    "export": "Trained models as one directory for from_pretrained.",
    "info": "What a model or this machine is.",
}


BARRIERS = "cse_barrier_expander"  # XLA's pass that removes optimization barriers
ACCELERATORS = "jax_plugins"  # the package, and the entry points, by which JAX finds them
CUDA = ("jax_cuda12_plugin", "jax_cuda13_plugin")
MALLOPT = {-8: 1, -4: 0, -1: -1}  # glibc's malloc.h: M_ARENA_MAX, M_MMAP_MAX, M_TRIM_THRESHOLD (-1: never)
CHANNELS_LAST = "--xla_gpu_force_conv_nhwc"


class Invocation(NamedTuple):
    """What a command gets as its `click.Context.obj`."""

    started: float  # by time.perf_counter
    debug: bool


class LazyGroup(click.Group):
    """Lists commands from a table, imports a command's module on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"videopoet_jax.cli.{name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="videopoet")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")  # see `main`
def videopoet() -> None:
    """VideoPoet in JAX: video with sound from text, and the training of every model behind it."""


def tune_xla(command: str) -> None:
    """Options of XLA that must be set before JAX starts.

    On a CPU: matrix products through YNNPACK, measured 1.3 to 4 times faster convolutions, forward and backward
    (jaxlib 0.10.2, the only version that is known to have the option). Each product by itself: fused with what follows
    it, it may write over a donated operand that it has yet to read, and a step of Muon then goes astray, without a
    word. Barriers last (`conv_forms.materialized`), which is only for machines that have nothing but a CPU: what stands
    on either side of one is not fused, and a training step of `base` takes a quarter less time. While training, every
    core is a device of its own with a share of the batch: 2.8 times faster on 2 cores than one device with two threads.

    On NVIDIA's GPUs: channels last in every convolution, which XLA does not choose for clips by itself. `base` encodes
    1.8 times faster in bfloat16 on an H100 (jaxlib 0.11.2); nothing else was measured.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if importlib.metadata.version("jaxlib") == "0.10.2" and "ynn_fusion_type" not in flags:
        flags += " --xla_cpu_experimental_ynn_fusion_type=LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"
    if nothing_but_cpu() and BARRIERS not in flags:
        option = "--xla_disable_hlo_passes="  # the user's own stay
        flags = flags.replace(option, f"{option}{BARRIERS},") if option in flags else f"{flags} {option}{BARRIERS}"
    if command == "train" and "host_platform_device_count" not in flags:
        flags += f" --xla_force_host_platform_device_count={cores()}"
    if CHANNELS_LAST not in flags and any(importlib.util.find_spec(name) for name in CUDA):
        flags += f" {CHANNELS_LAST}=true"
    os.environ["XLA_FLAGS"] = flags.strip()


def keep_memory() -> None:
    """Lets glibc's allocator keep what is freed, in one arena that only grows, where training runs on a CPU.

    XLA asks for all memory of a step when the step starts and frees it when it ends. By default that goes back to the
    system each time, which then clears every page anew: a fifth of the time of a step of the language model `nano`.
    What the user has set of it in the environment stays.
    """
    told = os.environ.get("GLIBC_TUNABLES", "")
    told = any(f"glibc.malloc.{name}" in told for name in ("arena_max", "mmap_max", "mmap_threshold", "trim_threshold"))
    told = told or any(name.startswith("MALLOC_") for name in os.environ)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt and nothing_but_cpu() and not told:
        for option, value in MALLOPT.items():
            mallopt(option, value)


def nothing_but_cpu() -> bool:
    """Whether JAX will find no accelerator, for want of a plugin or because it shall not look for any."""
    named = {name.strip() for name in os.environ.get("JAX_PLATFORMS", "").lower().split(",")} - {""}
    packages = any(importlib.util.find_spec(name) for name in (ACCELERATORS, "libtpu"))
    return named == {"cpu"} if named else not (packages or importlib.metadata.entry_points(group=ACCELERATORS))


def cores() -> int:
    """Cores that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; an error becomes one line on stderr and exit code 2 (a traceback with `--debug`)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    invocation = Invocation(time.perf_counter(), "--debug" in arguments)
    arguments = [a for a in arguments if a != "--debug"]  # the flag may stand before or after the command
    tune_xla(arguments[0] if arguments else "")
    if arguments[:1] == ["train"]:
        keep_memory()
    try:
        videopoet(arguments, prog_name="videopoet", standalone_mode=False, obj=invocation)
    except click.exceptions.Exit as leave:
        sys.exit(leave.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped by the user", err=True)
        sys.exit(130)
    except Exception as error:
        if invocation.debug and not isinstance(error, click.ClickException):
            raise
        click.echo(f"error: {in_one_line(error)}", err=True)
        sys.exit(2)


# What input, machine and libraries may bring about.
EXPECTED = (ValueError, OSError, EOFError, RuntimeError, ImportError)
BUGS = (NotImplementedError, RecursionError)  # though they are `RuntimeError`s


def in_one_line(error: Exception) -> str:
    """The error in one line, with a remedy where the error itself names none; a mistake of ours is owned to."""
    if isinstance(error, click.ClickException):
        return error.format_message()
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        file = f"{error.filename}: " if error.filename else ""
        return f"{file}{error.strerror.lower()}; check the path, its permissions and the free space."
    if isinstance(error, MemoryError):
        return f"out of memory ({words}); end other programs, or ask for fewer or smaller clips at a time."
    if isinstance(error, ImportError) and "pip install" not in words:  # ours say what is missing, and how to get it
        return f"{words}; a package is missing or broken: install videopoet_jax, with the extra in question, again."
    if isinstance(error, EXPECTED) and not isinstance(error, BUGS):
        return words
    return f"{type(error).__name__}: {words}; this is a bug of videopoet_jax, --debug shows where."
