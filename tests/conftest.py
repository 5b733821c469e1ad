"""Eight fake CPU devices, and every public signature's shapes checked while the tests run."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# What a test compiles runs a few times: LLVM's optimizations take a third of all processor time and give none back.
os.environ["XLA_FLAGS"] = " ".join(
    (os.environ.get("XLA_FLAGS", ""), "--xla_force_host_platform_device_count=8", "--xla_backend_optimization_level=0")
)

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("videopoet_jax", "beartype.beartype")
