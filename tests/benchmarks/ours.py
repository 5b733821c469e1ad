"""Our side of `tokenizers.py`: each function prepares its model and data and returns the work that is timed.

Weights are random: they cost what trained ones do. JAX runs with the options that the command line gives it.
"""

from collections.abc import Callable
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"


def jax_as_the_command_line(command: str):
    """JAX with the options that `videopoet COMMAND` sets before it starts."""
    from videopoet_jax.cli.main import tune_xla

    tune_xla(command)
    import jax

    return jax


# ---- video


def lfq_entropy(tokens: int) -> Callable[[], object]:
    jax = jax_as_the_command_line("evaluate")
    from videopoet_jax.video import lfq

    def loss(z):
        entropy = lfq.entropy(z, 1.0)
        return entropy.per_sample - entropy.of_mean

    step = jax.jit(jax.value_and_grad(loss))
    z = jax.random.normal(jax.random.key(0), (tokens, 18))
    return lambda: jax.block_until_ready(step(z))


def video_tokenizer(variant: str):
    """A tokenizer with random weights (which cost what trained ones do) and a clip."""
    jax_as_the_command_line("tokenize")
    import numpy as np

    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.video.tokenizer import VideoTokenizer, build

    config = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").model
    return VideoTokenizer(config.to_dict(), random_params(build(config), (1, 1, 16, 16, 3)), dtype="float32"), np


def random_params(model, shape):
    import jax
    import jax.numpy as jnp
    from flax import linen as nn

    params = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape)))["params"]
    keys = iter(jax.random.split(jax.random.key(0), len(jax.tree.leaves(params))))

    def draw(path, leaf):
        return jax.random.normal(next(keys), leaf.shape) * leaf.shape[-1] ** -0.5 * 0.2 + (path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(draw, params)


def video_encode(variant: str, size: tuple[int, int, int]) -> Callable[[], object]:
    tokenizer, np = video_tokenizer(variant)
    video = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return lambda: np.asarray(tokenizer.encode(video).codes)


def video_decode(variant: str, size: tuple[int, int, int]) -> Callable[[], object]:
    tokenizer, np = video_tokenizer(variant)
    codes = np.random.default_rng(0).integers(0, 2**18, tokenizer.grid(*size), np.int32)
    return lambda: tokenizer.decode(codes)


def video_step(variant: str, clips: int, size: tuple[int, int, int]) -> Callable[[], object]:
    """Forward, backward and Adam of the squared error, the clips spread over the cores as `videopoet train` does."""
    jax = jax_as_the_command_line("train")
    import jax.numpy as jnp
    import optax
    from jax.sharding import NamedSharding, PartitionSpec

    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.parallel import make_mesh
    from videopoet_jax.video.tokenizer import build

    model = build(load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").model)
    optimizer = optax.adam(1e-4, b1=0.0, b2=0.99)
    mesh = make_mesh()
    everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec(mesh.axis_names[0]))

    def step(params, moments, video):
        def loss(params):
            return jnp.mean(jnp.square(model.apply({"params": params}, video).video - video))

        gradient = jax.grad(loss)(params)
        updates, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(params, updates), moments

    with jax.set_mesh(mesh):
        params = jax.device_put(random_params(model, (1, 1, 16, 16, 3)), everywhere)
        state = [params, jax.device_put(optimizer.init(params), everywhere)]
        video = jax.device_put(jax.random.uniform(jax.random.key(1), (clips, *size, 3), minval=-1.0), split)
        compiled = jax.jit(step, donate_argnums=(0, 1), out_shardings=(everywhere, everywhere))

        def work() -> None:
            state[:] = jax.block_until_ready(compiled(*state, video))

    def run() -> None:
        with jax.set_mesh(mesh):
            work()

    return run


# ---- sound


def audio_tokenizer(seconds: int):
    """SoundStream with random weights, and a sound."""
    jax = jax_as_the_command_line("tokenize")
    import numpy as np
    from flax import linen as nn

    from videopoet_jax.audio.soundstream import SoundStream
    from videopoet_jax.audio.tokenizer import AudioTokenizer, init_variables
    from videopoet_jax.cli.configuration import load_config

    c = load_config(f"{CONFIGS / 'audio_tokenizer.py'}:soundstream").model
    fields = {name: tuple(v) if isinstance(v, list | tuple) else v for name, v in c.items()}
    params = nn.meta.unbox(init_variables(SoundStream(**fields), jax.random.key(0)))["params"]
    books = {"embedding": jax.random.normal(jax.random.key(1), (c.levels, c.codebook_size, c.dim))}
    sound = np.random.default_rng(0).normal(scale=0.3, size=seconds * c.sample_rate).clip(-1, 1)
    return AudioTokenizer(fields, params, books), sound.astype(np.float32)


def audio_encode(seconds: int) -> Callable[[], object]:
    tokenizer, sound = audio_tokenizer(seconds)
    return lambda: tokenizer.encode(sound)


def audio_decode(seconds: int) -> Callable[[], object]:
    tokenizer, sound = audio_tokenizer(seconds)
    codes = tokenizer.encode(sound).codes
    return lambda: tokenizer.decode(codes)


def rvq(frames: int) -> Callable[[], object]:
    jax = jax_as_the_command_line("tokenize")
    import jax.numpy as jnp

    from videopoet_jax.audio import rvq

    z = jax.random.normal(jax.random.key(0), (1, frames, 64))
    tables = jax.random.normal(jax.random.key(1), (4, 1024, 64))
    every = jnp.full((1,), 4)
    quantize = jax.jit(lambda z, tables: rvq.quantize(z, tables, every).codes)
    return lambda: jax.block_until_ready(quantize(z, tables))


# ---- length and size


def stream(frames: int, side: int) -> Callable[[], object]:
    """A film through the streaming tokenizer and back, a chunk at a time; no frame is kept."""
    jax_as_the_command_line("tokenize")
    import numpy as np

    from videopoet_jax.video.streaming import Stream
    from videopoet_jax.video.tokenizer import VideoTokenizer

    film = Stream(VideoTokenizer.from_pretrained("nano", dtype="float32"))
    chunk = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)

    def work() -> None:
        for _ in film.reconstruct(chunk for _ in range(frames)):
            pass

    return work
