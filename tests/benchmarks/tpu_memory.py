"""What a training step of a video tokenizer needs on a TPU, compiled ahead of time for it; no TPU is used.

    pip install -e '.[tpu]'
    python tests/benchmarks/tpu_memory.py [--topology v5p:2x2x1] [--set KEY=VALUE …] CONFIG:CLIPS_A_CHIP …

The step is that of `videopoet train` with LPIPS and the discriminator playing. Prints JSON lines {config, topology,
clips_per_chip, hbm_gib, gib_per_chip, tflop_per_clip, compile_seconds}; FLOPs are XLA's count for the program it made,
recomputation included. A batch that does not fit has XLA's words instead.
"""

import argparse
import functools
import json
import os
import time

os.environ |= {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from flax import linen as nn  # noqa: E402
from jax.experimental import topologies  # noqa: E402

from videopoet_jax.cli.configuration import load_config  # noqa: E402
from videopoet_jax.cli.recipes_of_tokenizers import video_adversary  # noqa: E402
from videopoet_jax.cli.train import adversary_optimizer_of, optimizer_of  # noqa: E402
from videopoet_jax.layers.lpips import LPIPS  # noqa: E402
from videopoet_jax.layers.objective import ADVERSARY, FROZEN  # noqa: E402
from videopoet_jax.parallel import batch_sharding, make_mesh, replicated  # noqa: E402
from videopoet_jax.training.state import TrainState  # noqa: E402
from videopoet_jax.training.step import Adversary, make_train_step  # noqa: E402
from videopoet_jax.video import losses  # noqa: E402
from videopoet_jax.video.model import build, init_params  # noqa: E402

GIB = 2**30
HBM_GIB = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}  # cloud.google.com/tpu/docs, system architecture


def begun(init, optimizer, extra, ema: bool) -> TrainState:
    """The shapes of `create_state`."""

    def make(key: jax.Array) -> TrainState:
        params = nn.meta.unbox(init(key))
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), params if ema else None, extra, key)

    return jax.eval_shape(make, jax.random.key(0))


def lowered(config, clips_per_chip: int, mesh: jax.sharding.Mesh):
    """The step for the shapes of a run's state and batch, laid out as the command does: the batch is split."""
    model, data, adversary = build(config.model), config.data, config.adversary.to_dict()
    frames = jax.ShapeDtypeStruct((1, data.height, data.width, 3), jnp.float32)
    network = LPIPS("vgg16")
    looks = jax.eval_shape(network.init, jax.random.key(0), frames, frames)["params"]
    perceptual = losses.perceptual_of(network, looks, config.loss.perceptual_frames)
    optimizer, second = optimizer_of(config.train), video_adversary(config, adversary)
    its_optimizer = adversary_optimizer_of(config)
    its_state = begun(second.init, its_optimizer, second.extra, ema=False)
    state = begun(functools.partial(init_params, model), optimizer, None, ema=True)
    extra = {"step": jax.ShapeDtypeStruct((), jnp.int32), FROZEN: {"perceptual": looks}, ADVERSARY: its_state}
    state = state.replace(extra=extra)
    step = make_train_step(
        losses.make_loss(model, config.loss.to_dict(), adversary=adversary, perceptual=perceptual),
        optimizer,
        ema_decay=config.train.ema_decay,
        adversary=Adversary(make_train_step(second.loss_fn, its_optimizer, ema_decay=None), config.adversary.start),
    )
    clips = (clips_per_chip * mesh.size, data.num_frames, data.height, data.width, 3)
    whole = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=replicated(mesh)), state)
    batch = {"video": jax.ShapeDtypeStruct(clips, jnp.uint8, sharding=batch_sharding(mesh))}
    with jax.set_mesh(mesh):
        return jax.jit(step, donate_argnums=0).trace(whole, batch).lower(lowering_platforms=("tpu",))


def measure(config, clips_per_chip: int, mesh: jax.sharding.Mesh) -> dict:
    start = time.perf_counter()
    try:
        compiled = lowered(config, clips_per_chip, mesh).compile()
    except jax.errors.JaxRuntimeError as error:
        return {"does_not_fit": str(error).splitlines()[0]}
    memory = compiled.memory_analysis()
    used = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "gib_per_chip": round((used + memory.temp_size_in_bytes) / GIB, 1),
        "tflop_per_clip": round(compiled.cost_analysis()["flops"] / clips_per_chip / 1e12, 2),
        "compile_seconds": round(time.perf_counter() - start),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="CONFIG:CLIPS_A_CHIP")
    parser.add_argument("--topology", default="v5p:2x2x1")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    options = parser.parse_args()
    chips = topologies.get_topology_desc(options.topology, "tpu").devices
    mesh = make_mesh(chips)
    for run in options.runs:
        variant, clips = run.rsplit(":", 1)
        config = load_config(f"video_tokenizer:{variant}", tuple(options.settings))
        found = {"config": variant, "topology": options.topology, "clips_per_chip": int(clips)}
        found |= {"hbm_gib": HBM_GIB[options.topology.split(":")[0]]} | measure(config, int(clips), mesh)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
