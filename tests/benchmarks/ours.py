"""Our side of `tokenizers.py`: each function prepares its model and data and returns the work that is timed.

Weights are random: they cost what trained ones do. JAX runs with the options that the command line gives it.
"""

import functools
from collections.abc import Callable
from pathlib import Path

CONFIGS = Path(__file__).parents[2] / "configs"


def jax_as_the_command_line(command: str):
    """JAX with the options that `videopoet COMMAND` sets before it starts."""
    from videopoet_jax.cli.main import keep_memory, tune_xla

    tune_xla(command)
    if command == "train":
        keep_memory()
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


def video_tokenizer(variant: str, dtype: str):
    """A tokenizer with random weights, and NumPy."""
    jax_as_the_command_line("tokenize")
    import numpy as np

    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.video.model import build
    from videopoet_jax.video.tokenizer import VideoTokenizer

    config = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").model
    params = random_params(build(config), np.zeros((1, 1, 16, 16, 3), np.float32))
    return VideoTokenizer(config.to_dict(), params, dtype=dtype), np


def random_params(model, *inputs):
    """Drawn by NumPy: JAX would compile a program for every shape."""
    import jax
    import numpy as np
    from flax import linen as nn

    params = nn.meta.unbox(jax.eval_shape(model.init, jax.random.key(0), *inputs))["params"]
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        drawn = rng.standard_normal(leaf.shape, np.float32) * leaf.shape[-1] ** -0.5 * 0.2
        return drawn + np.float32(path[-1].key == "scale")

    return jax.tree_util.tree_map_with_path(draw, params)


def video_encode(variant: str, size: tuple[int, ...], dtype: str = "float32") -> Callable[[], object]:
    """A clip [t h w], or several [b t h w]."""
    tokenizer, np = video_tokenizer(variant, dtype)
    video = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    return lambda: np.asarray(tokenizer.encode(video).codes)


def video_decode(variant: str, size: tuple[int, ...], dtype: str = "float32") -> Callable[[], object]:
    tokenizer, np = video_tokenizer(variant, dtype)
    codes = np.random.default_rng(0).integers(0, 2**18, (*size[:-3], *tokenizer.grid(*size[-3:])), np.int32)
    return lambda: tokenizer.decode(codes)


def video_step(variant: str, clips: int, size: tuple[int, int, int], gan: bool) -> Callable[[], object]:
    """A training step as `videopoet train` takes it, in float32 and without LPIPS, rematerialisation and R1.

    As the twin's. With `gan` the discriminator learns too; R1 belongs to one of its steps in `r1_every`, and its count
    is set behind the first of them.
    """
    changes = {"loss": {"perceptual": 0.0, "dtype": "float32"}, "model": {"remat": False}}  # the twin keeps all too
    return _video_step(variant, clips, size, gan, changes)


def recipe_step(variant: str, clips: int, size: tuple[int, int, int]) -> Callable[[], object]:
    """A training step of so many clips with LPIPS and the discriminator, between two of the steps that have R1."""
    return _video_step(variant, clips, size, True, {})


def _video_step(
    variant: str, clips: int, size: tuple[int, int, int], gan: bool, changes: dict[str, dict]
) -> Callable[[], object]:
    jax = jax_as_the_command_line("train")
    from types import SimpleNamespace

    import numpy as np

    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes_of_tokenizers import video_adversary
    from videopoet_jax.cli.train import Run
    from videopoet_jax.layers.lpips import LPIPS
    from videopoet_jax.layers.objective import ADVERSARY
    from videopoet_jax.training.compilation import CompiledStep
    from videopoet_jax.training.loop import to_devices
    from videopoet_jax.video import losses
    from videopoet_jax.video.model import build, init_params

    config = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}")
    config.update(changes)
    config.adversary.start = 1  # as everywhere after the start: in a branch
    config.data.num_frames, config.data.height, config.data.width = size
    config.train.batch_size = clips
    model, adversary = build(config.model), config.adversary.to_dict() if gan else None
    perceptual = None
    if config.loss.perceptual:
        network, frames = LPIPS("vgg16"), np.zeros((1, *size[1:], 3), np.float32)
        looks = random_params(network, frames, frames)
        perceptual = losses.perceptual_of(network, looks, config.loss.perceptual_frames)
    recipe = SimpleNamespace(
        init=functools.partial(init_params, model),
        loss_fn=losses.make_loss(model, config.loss.to_dict(), adversary=adversary, perceptual=perceptual),
        extra=losses.initial_extra(perceptual),
        adversary=adversary and video_adversary(config, adversary),
    )
    run = Run(config, recipe, None)
    state, step = run.begin()
    if gan:
        player = state.extra[ADVERSARY]
        player = player.replace(extra={**player.extra, "step": player.extra["step"] + 1})
        state = state.replace(extra={**state.extra, ADVERSARY: player})
    compiled = CompiledStep(step, run.mesh, lambda words: None)
    video = np.random.default_rng(0).integers(0, 256, (clips, *size, 3), np.uint8)
    held = [state]

    def work() -> None:
        with jax.set_mesh(run.mesh):
            held[0], metrics = compiled(held[0], to_devices({"video": video}, run.mesh))
            jax.block_until_ready((held[0].params, metrics))

    return work


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


def stream(variant: str, frames: int, side: int) -> Callable[[], object]:
    """A film through the streaming tokenizer and back, a chunk at a time; no frame is kept."""
    tokenizer, np = video_tokenizer(variant, "float32")
    chunk = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), np.uint8)

    def work() -> None:
        for _ in tokenizer.reconstruct_pieces(chunk for _ in range(frames)):
            pass

    return work
