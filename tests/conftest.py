"""Eight fake CPU devices, and every public signature's shapes checked while the tests run."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("videopoet_jax", "beartype.beartype")
