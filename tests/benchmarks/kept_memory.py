"""How much of one clip a video tokenizer's training keeps for the backward pass, counted from shapes alone.

    python tests/benchmarks/kept_memory.py [CONFIG …]

Prints JSON lines {config, GiB a clip} in bfloat16 at the config's own size: of the tokenizer as it is configured and
without rematerialisation, and of its discriminator with R1, whose gradient is differentiated again. A step needs the
larger of the first and the last at a time, for every clip on a device; weights, optimizer and LPIPS come on top.
"""

import functools
import json
import sys

import jax
import jax.numpy as jnp
from flax import linen as nn

from videopoet_jax.cli.configuration import load_config
from videopoet_jax.layers import gan
from videopoet_jax.video import losses
from videopoet_jax.video.model import build, init_params


def kept(function, init, clip: jax.ShapeDtypeStruct) -> float:
    """GiB between the two passes of `function(params, clip)`, the parameters not counted."""
    params = jax.eval_shape(lambda key: nn.meta.unbox(init(key)), jax.random.key(0))
    params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), params)
    residuals = jax.eval_shape(lambda *given: jax.vjp(function, *given)[1], params, clip)
    given = {(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves((params, clip))}
    return sum(r.size * r.dtype.itemsize for r in jax.tree.leaves(residuals) if (r.shape, r.dtype) not in given) / 2**30


def measure(variant: str) -> dict:
    config = load_config(f"video_tokenizer:{variant}", ())
    data, adversary = config.data, config.adversary.to_dict()
    clip = jax.ShapeDtypeStruct((1, data.num_frames, data.height, data.width, 3), jnp.bfloat16)

    def tokenizer(remat: bool) -> float:
        model = build({**config.model.to_dict(), "remat": remat})
        return kept(lambda p, x: model.apply({"params": p}, x).video, functools.partial(init_params, model), clip)

    def penalised(params, video: jax.Array) -> tuple[jax.Array, jax.Array]:
        def logits(v: jax.Array) -> jax.Array:
            return model.apply({"params": params}, v)

        return logits(jnp.concatenate([video, video])), gan.r1(logits, video)

    model = losses.discriminator(adversary)
    init = lambda key: model.init(key, jnp.zeros(clip.shape))["params"]  # noqa: E731
    figures = {
        "as_configured": tokenizer(config.model.remat),
        "without_remat": tokenizer(False),
        "discriminator": kept(penalised, init, clip),
    }
    return {"config": variant} | {name: round(value, 2) for name, value in figures.items()}


if __name__ == "__main__":
    for variant in sys.argv[1:] or ("base", "large"):
        print(json.dumps(measure(variant)), flush=True)
