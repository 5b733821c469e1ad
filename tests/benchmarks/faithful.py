"""Does our code compute what the papers' figures say? Compares it with the PyTorch twins, weights copied over.

    python tests/benchmarks/faithful.py [NAME …]

Prints a JSON line for each comparison, {name, error, scale}: the greatest absolute difference and the greatest absolute
value of the twin's output; for codes, how far from a tie the worst differing one was (0: all are equal). Exits 1 if an
error is above 1e-4. All is float32, the weights random, every bias, norm, AdaGN map and codebook too. The full-sized
tokenizers run on small clips; how many parameters they have is checked as well.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from flax import linen as nn  # noqa: E402

from videopoet_jax.audio import rvq  # noqa: E402
from videopoet_jax.audio.discriminators import Discriminators  # noqa: E402
from videopoet_jax.audio.soundstream import SoundStream  # noqa: E402
from videopoet_jax.cli.configuration import load_config  # noqa: E402
from videopoet_jax.video import lfq  # noqa: E402
from videopoet_jax.video.losses import discriminator  # noqa: E402
from videopoet_jax.video.model import build  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from twins import magvit2, soundstream, weights  # noqa: E402

CONFIGS = Path(__file__).parents[2] / "configs"
BOUND = 1e-4
PARAMETERS = {"base": 92.7, "large": 370.6}  # millions, of MAGVIT-v2 at widths 64 and 128


class Compared(NamedTuple):
    name: str
    error: float
    scale: float


def compared(name: str, ours: jax.Array, twin: torch.Tensor) -> Compared:
    ours, theirs = np.asarray(ours, np.float64), twin.detach().double().numpy()
    if ours.shape != theirs.shape:
        raise ValueError(f"{name}: ours {ours.shape}, the twin's {theirs.shape}; they must be of one shape.")
    return Compared(name, float(np.abs(ours - theirs).max()), float(np.abs(theirs).max()))


def randomized(shapes: dict, seed: int, gain: float = 1.0) -> dict:
    """Random values for a tree of shapes: kernels of that gain, scales about 1, biases and all else about 0.1."""
    rng = np.random.default_rng(seed)

    def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> jax.Array:
        kind = path[-1].key
        spread = gain / np.sqrt(np.prod(leaf.shape[:-1])) if kind == "kernel" else 0.1
        values = rng.standard_normal(leaf.shape, np.float32) * np.float32(spread)
        return jnp.asarray(values + (kind == "scale"))

    return jax.tree_util.tree_map_with_path(draw, nn.meta.unbox(shapes))


def millions(params: dict) -> float:
    return sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6


def channels_first(clip: np.ndarray | jax.Array) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(np.array(clip, np.float32), -1, 1).copy())


def channels_last(clip: torch.Tensor) -> torch.Tensor:
    return clip.movedim(1, -1)


def flipped(name: str, ours: jax.Array, twin: torch.Tensor, z: jax.Array) -> Compared:
    """Indices of the same clip: the greatest |z| among the bits that differ."""
    bits = np.asarray(ours)[..., None] ^ twin.numpy()[..., None]
    differ = (bits >> np.arange(z.shape[-1])) & 1
    return Compared(name, float(np.max(np.abs(np.asarray(z)) * differ)), float(twin.max()))


def magvit2_pair(variant: str, narrow: int | None = None) -> tuple[nn.Module, dict, magvit2.Tokenizer]:
    """Our model, its random parameters, and the twin that holds the same; `narrow` replaces the width."""
    config = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").model
    if narrow:
        widths = tuple(w * narrow // config.encoder_widths[0] for w in config.encoder_widths)
        config.encoder_widths = config.decoder_widths = widths
        config.groups = narrow // 2
    model = build(config)
    params = randomized(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 16, 16, 3)))["params"], 0)
    if not narrow and abs(millions(params) - PARAMETERS[variant]) > 0.1:
        raise ValueError(f"{variant}: {millions(params):.2f} M parameters, the figure has {PARAMETERS[variant]} M.")
    twin = magvit2.Tokenizer(config.encoder_widths[0], config.quantizer.bits, config.groups).eval()
    weights.load(twin, weights.magvit2_tokenizer(params))
    return model, params, twin


def compare_magvit2(variant: str, narrow: int | None, clips: list[tuple[int, int, int]]) -> Iterator[Compared]:
    model, params, twin = magvit2_pair(variant, narrow)
    name = f"magvit2 {variant}" + (f" structure, width {narrow}" if narrow else "")
    encode = jax.jit(lambda params, video: model.apply({"params": params}, video, method="encode"))
    decode = jax.jit(lambda params, codes: model.apply({"params": params}, codes, method="decode"))
    for size in clips:
        video = np.random.default_rng(1).uniform(-1, 1, (1, *size, 3)).astype(np.float32)
        label = f"{name}, {'×'.join(map(str, size))}"
        z, z_twin = encode(params, jnp.asarray(video)), twin.encoder(channels_first(video))
        yield compared(f"{label}: latents", z, channels_last(z_twin))
        index = lfq.indices(z)
        yield flipped(f"{label}: indices", index, magvit2.indices(z_twin), z)
        codes = lfq.codes_from_indices(index, z.shape[-1])
        yield compared(f"{label}: video", decode(params, codes), channels_last(twin.decoder(channels_first(codes))))


def compare_discriminator(variant: str, width: int | None, clip: tuple[int, int, int]) -> Iterator[Compared]:
    """MAGVIT-v2's discriminator."""
    adversary = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").adversary.to_dict()
    adversary["width"] = width or adversary["width"]
    model = discriminator(adversary)
    video = np.random.default_rng(1).uniform(-1, 1, (2, *clip, 3)).astype(np.float32)
    params = randomized(jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(video))["params"], 0, gain=2.0)
    positions = params["linear1"]["kernel"].shape[0] // (4 * adversary["width"])
    twin = magvit2.Discriminator(adversary["width"], positions).eval()
    weights.load(twin, weights.magvit2_discriminator(params))
    name = f"magvit2 discriminator, width {adversary['width']}, {'×'.join(map(str, clip))}: logits"
    yield compared(name, model.apply({"params": params}, jnp.asarray(video)), twin(channels_first(video)))


def soundstream_pair(channels: int | None = None) -> tuple[SoundStream, dict, soundstream.Tokenizer]:
    config = load_config(f"{CONFIGS / 'audio_tokenizer.py'}:soundstream").model
    config.channels = channels or config.channels
    model = SoundStream(**{k: tuple(v) if isinstance(v, list | tuple) else v for k, v in config.items()})
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 320)), jnp.ones((1,), int))
    variables = {"params": randomized(shapes["params"], 0), "codebooks": randomized(shapes["codebooks"], 1)}
    variables["codebooks"]["embedding"] *= 5  # of the size of the latents
    twin = soundstream.Tokenizer(config.channels, config.dim, config.levels, config.codebook_size).eval()
    embedding = variables["codebooks"]["embedding"]
    weights.load(twin, weights.soundstream_tokenizer(twin, variables["params"], embedding))
    return model, variables, twin


def tie(name: str, z: np.ndarray, tables: np.ndarray, ours: np.ndarray, twin: np.ndarray) -> Compared:
    """Codes [n q] of the same latents: how much farther than the twin's the first differing entry of a frame lies."""
    rest, open_, worst = z.astype(np.float64), np.ones(len(z), bool), 0.0
    for table, a, b in zip(tables.astype(np.float64), ours.T, twin.T, strict=True):
        gap = np.linalg.norm(rest - table[a], axis=1) - np.linalg.norm(rest - table[b], axis=1)
        worst = max(worst, float(np.max(np.abs(gap) * (open_ & (a != b)), initial=0.0)))
        open_ &= a == b
        rest = rest - table[a]
    return Compared(name, worst, float(twin.max()))


def compare_soundstream(channels: int | None) -> Iterator[Compared]:
    model, variables, twin = soundstream_pair(channels)
    name = f"soundstream C={model.channels}, 1 s"
    sound = np.random.default_rng(1).normal(scale=0.3, size=(1, 16_000)).astype(np.float32)
    z = model.apply(variables, jnp.asarray(sound), method="latents")
    yield compared(f"{name}: latents", z, twin.encoder(torch.from_numpy(sound)[:, None]).transpose(1, 2))
    tables = variables["codebooks"]["embedding"]
    codes = rvq.quantize(z, tables, jnp.full((1,), model.levels)).codes
    codes_twin = twin.quantizer.encode(torch.from_numpy(np.array(z[0])))
    yield tie(f"{name}: codes", *map(np.asarray, (z[0], tables, codes[0])), codes_twin.numpy())
    wave = model.apply(variables, codes, method="decode")
    yield compared(f"{name}: waveform", wave, twin.decode(torch.from_numpy(np.array(codes)).long()))


def compare_sound_discriminators(samples: int) -> Iterator[Compared]:
    """SoundStream's discriminators: logits, and of each net the last feature."""
    fields = load_config(f"{CONFIGS / 'audio_tokenizer.py'}:soundstream").adversary.model.to_dict()
    model = Discriminators(**fields)
    sound = jnp.asarray(np.random.default_rng(1).normal(scale=0.3, size=(2, samples)), jnp.float32)
    params = randomized(jax.eval_shape(model.init, jax.random.key(0), sound)["params"], 0, gain=1.4)
    twin = soundstream.Discriminators().eval()
    weights.load(twin, weights.soundstream_discriminators(params))
    ours, theirs = model.apply({"params": params}, sound), twin(torch.from_numpy(np.array(sound)))
    for net, mine, seen in zip(["waveform", "½ rate", "¼ rate", "STFT"], ours, theirs, strict=True):
        name = f"soundstream discriminator, {net}, {samples} samples"
        yield compared(f"{name}: logits", mine.logits, seen[-1][:, 0])
        yield compared(f"{name}: features", mine.features[-1], channels_last(seen[-2]))


CASES: dict[str, Callable[[], Iterator[Compared]]] = {
    "magvit2-narrow": lambda: compare_magvit2("base", 8, [(17, 64, 64), (5, 48, 80)]),
    "magvit2-base": lambda: compare_magvit2("base", None, [(17, 64, 64), (5, 48, 80)]),
    "magvit2-large": lambda: compare_magvit2("large", None, [(5, 16, 24)]),
    "discriminator-narrow": lambda: compare_discriminator("base", 8, (17, 64, 64)),
    "discriminator": lambda: compare_discriminator("base", None, (17, 64, 64)),
    "soundstream-narrow": lambda: compare_soundstream(4),
    "soundstream": lambda: compare_soundstream(None),
    "sound-discriminators": lambda: compare_sound_discriminators(16_001),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all unless named")
    names = parser.parse_args().names
    if unknown := set(names) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(CASES)}.")
    good = True
    with torch.inference_mode():
        for name in names or CASES:
            for result in CASES[name]():
                print(json.dumps(result._asdict(), ensure_ascii=False), flush=True)
                good &= result.error <= BOUND
    sys.exit(not good)


if __name__ == "__main__":
    main()
