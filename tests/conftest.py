"""Eight fake CPU devices, one store of what is compiled, and every public signature's shapes checked in all tests."""

import functools
import inspect
import os
import tempfile
import typing

os.environ.setdefault("JAX_PLATFORMS", "cpu")
FLAGS = (
    "--xla_force_host_platform_device_count=8",
    # What a test compiles runs a few times: neither LLVM's optimizations nor MLIR's fusions give their time back, nor
    # modules split for many cores, of which a worker has one. A training step compiles in a quarter of the time.
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)
# Each once, in pytest's workers too, which inherit them: programs are kept under their text.
os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys((*os.environ.get("XLA_FLAGS", "").split(), *FLAGS)))
# The same tiny models are compiled by many tests, by both workers and by the processes that tests start: each once.
# Gone with the session that made it; to keep it for the next, set JAX_COMPILATION_CACHE_DIR yourself.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    COMPILED = tempfile.TemporaryDirectory(prefix="videopoet_compiled_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = COMPILED.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jaxtyping  # noqa: E402
import pytest  # noqa: E402


def jaxtyped(function=None, *, typechecker, shaped=jaxtyping.jaxtyped):
    """What the hook below puts on every function and class. Where no array has a shape to agree with another's,
    `typechecker` alone checks the same in a tenth of the time, and where nothing is said of types there is nothing to.
    """
    if function is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    try:
        hints = typing.get_type_hints(function) if inspect.isfunction(function) else None
    except NameError:  # of what comes later in the module, or is imported for type checkers only
        hints = None
    if hints is None or "jaxtyping." in repr(hints):
        return shaped(function, typechecker=typechecker)
    checked = typechecker(function) if hints else function

    @functools.wraps(function)
    def unless_disabled(*arguments, **options):
        return (function if jaxtyping.config.jaxtyping_disable else checked)(*arguments, **options)

    return unless_disabled if hints else function


jaxtyping.jaxtyped = jaxtyped
jaxtyping.install_import_hook("videopoet_jax", "beartype.beartype")


@pytest.fixture(autouse=True, scope="session")
def options_of_xla_stay():
    """JAX has started, so what a command sets could only reach other tests' processes and part the programs kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("videopoet_jax.cli.main.tune_xla", lambda command: None)
        yield
