"""Does our code compute what the papers' figures say? Compares it with the PyTorch twins, weights copied over.

    python tests/benchmarks/faithful.py [--golden FILE.npz] [NAME …]

Prints a JSON line for each comparison, {name, error, scale}: the greatest absolute difference and the greatest absolute
value of the twin's output; for codes, how far from a tie the worst differing one was (0: all are equal). Exits 1 if an
error is above 1e-4. All is float32, the weights random, every bias, norm, AdaGN map and codebook too. The full-sized
tokenizers run on small clips; how many parameters they have is checked as well.

`--golden` keeps some values of what the twins computed, so that our code can be checked where PyTorch is not: it is
imported only when a twin is asked.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from flax import linen as nn  # noqa: E402

from videopoet_jax.audio import rvq  # noqa: E402
from videopoet_jax.audio.discriminators import Discriminators  # noqa: E402
from videopoet_jax.audio.soundstream import SoundStream  # noqa: E402
from videopoet_jax.cli.configuration import load_config  # noqa: E402
from videopoet_jax.video import lfq  # noqa: E402
from videopoet_jax.video.losses import discriminator  # noqa: E402
from videopoet_jax.video.model import build  # noqa: E402

if TYPE_CHECKING:
    import torch
    from twins import magvit2, soundstream

CONFIGS = Path(__file__).parents[2] / "configs"
BOUND = 1e-4
PARAMETERS = {"base": 92.7, "large": 370.6}  # millions, of MAGVIT-v2 at widths 64 and 128


KEPT = 512  # values of an output that `--golden` keeps


class Compared(NamedTuple):
    name: str
    error: float
    scale: float


class Output(NamedTuple):
    """What our code has computed; `twin` computes the same in PyTorch, when it is called."""

    name: str
    ours: jax.Array
    twin: Callable[[], "torch.Tensor"]
    # Of codes, whose numbers mean nothing: (ours, the twin's) → how far from a tie the worst differing one is.
    distance: Callable[[np.ndarray, np.ndarray], float] | None = None

    def compare(self) -> Compared:
        ours, theirs = np.asarray(self.ours), self.twin().detach().numpy()
        if ours.shape != theirs.shape:
            raise ValueError(f"{self.name}: ours {ours.shape}, the twin's {theirs.shape}; they must be of one shape.")
        return Compared(self.name, (self.distance or apart)(ours, theirs), float(np.abs(theirs).max()))

    def kept(self, values: np.ndarray | jax.Array) -> np.ndarray:
        """Some of the values of this output, or of its twin's: evenly, the last one too."""
        flat = np.asarray(values).reshape(-1)
        return flat[np.linspace(0, flat.size - 1, min(KEPT, flat.size)).astype(int)]


def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float(np.abs(ours.astype(np.float64) - theirs).max())


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


def tensor(values: np.ndarray | jax.Array) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.array(values))


def channels_first(clip: np.ndarray | jax.Array) -> "torch.Tensor":
    return tensor(np.moveaxis(np.array(clip, np.float32), -1, 1))


def channels_last(clip: "torch.Tensor") -> "torch.Tensor":
    return clip.movedim(1, -1)


def greatest_flip(z: jax.Array) -> Callable[[np.ndarray, np.ndarray], float]:
    """For indices of the same latents: the greatest |z| among the bits that differ."""

    def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
        differ = ((ours ^ theirs)[..., None] >> np.arange(z.shape[-1])) & 1
        return float(np.max(np.abs(np.asarray(z)) * differ))

    return distance


def magvit2_pair(variant: str, narrow: int | None) -> tuple[nn.Module, dict, Callable[[], "magvit2.Tokenizer"]]:
    """Our model, its random parameters, and how to make the twin that holds the same; `narrow` replaces the width."""
    config = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").model
    if narrow:
        widths = tuple(w * narrow // config.encoder_widths[0] for w in config.encoder_widths)
        config.encoder_widths = config.decoder_widths = widths
        config.groups = narrow // 2
    model = build(config)
    params = randomized(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1, 16, 16, 3)))["params"], 0)
    if not narrow and abs(millions(params) - PARAMETERS[variant]) > 0.1:
        raise ValueError(f"{variant}: {millions(params):.2f} M parameters, the figure has {PARAMETERS[variant]} M.")

    @functools.cache
    def twin() -> "magvit2.Tokenizer":
        from twins import magvit2, weights

        made = magvit2.Tokenizer(config.encoder_widths[0], config.quantizer.bits, config.groups).eval()
        weights.load(made, weights.magvit2_tokenizer(params))
        return made

    return model, params, twin


def video_tokenizer(variant: str, narrow: int | None, clips: list[tuple[int, int, int]]) -> Iterator[Output]:
    """MAGVIT-v2's encoder, its indices, and its decoder of random codes."""
    model, params, twin = magvit2_pair(variant, narrow)
    name = f"magvit2 {variant}" + (f" structure, width {narrow}" if narrow else "")
    encode = jax.jit(lambda params, video: model.apply({"params": params}, video, method="encode"))
    decode = jax.jit(lambda params, codes: model.apply({"params": params}, codes, method="decode"))
    for size in clips:
        rng = np.random.default_rng(1)
        video, label = rng.uniform(-1, 1, (1, *size, 3)).astype(np.float32), f"{name}, {'×'.join(map(str, size))}"
        z = encode(params, jnp.asarray(video))
        yield Output(f"{label}: latents", z, lambda v=video: channels_last(twin().encoder(channels_first(v))))
        yield Output(
            f"{label}: indices", lfq.indices(z), lambda v=video: twin_indices(twin(), v), distance=greatest_flip(z)
        )
        codes = rng.choice([-1.0, 1.0], z.shape).astype(np.float32)
        copy = decode(params, jnp.asarray(codes))
        yield Output(f"{label}: video", copy, lambda c=codes: channels_last(twin().decoder(channels_first(c))))


def twin_indices(twin: "magvit2.Tokenizer", video: np.ndarray) -> "torch.Tensor":
    from twins import magvit2

    return magvit2.indices(twin.encoder(channels_first(video)))


def video_discriminator(variant: str, width: int | None, clip: tuple[int, int, int]) -> Iterator[Output]:
    """MAGVIT-v2's discriminator."""
    adversary = load_config(f"{CONFIGS / 'video_tokenizer.py'}:{variant}").adversary.to_dict()
    adversary["width"] = width or adversary["width"]
    model = discriminator(adversary)
    video = np.random.default_rng(1).uniform(-1, 1, (2, *clip, 3)).astype(np.float32)
    params = randomized(jax.eval_shape(model.init, jax.random.key(0), jnp.asarray(video))["params"], 0, gain=2.0)

    def twin() -> "torch.Tensor":
        from twins import magvit2, weights

        positions = params["linear1"]["kernel"].shape[0] // (4 * adversary["width"])
        made = magvit2.Discriminator(adversary["width"], positions).eval()
        weights.load(made, weights.magvit2_discriminator(params))
        return made(channels_first(video))

    name = f"magvit2 discriminator, width {adversary['width']}, {'×'.join(map(str, clip))}: logits"
    yield Output(name, model.apply({"params": params}, jnp.asarray(video)), twin)


def soundstream_pair(channels: int | None) -> tuple[SoundStream, dict, Callable[[], "soundstream.Tokenizer"]]:
    config = load_config(f"{CONFIGS / 'audio_tokenizer.py'}:soundstream").model
    config.channels = channels or config.channels
    model = SoundStream(**{k: tuple(v) if isinstance(v, list | tuple) else v for k, v in config.items()})
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 320)), jnp.ones((1,), int))
    variables = {"params": randomized(shapes["params"], 0), "codebooks": randomized(shapes["codebooks"], 1)}
    variables["codebooks"]["embedding"] *= 5  # of the size of the latents

    @functools.cache
    def twin() -> "soundstream.Tokenizer":
        from twins import soundstream, weights

        made = soundstream.Tokenizer(config.channels, config.dim, config.levels, config.codebook_size).eval()
        embedding = variables["codebooks"]["embedding"]
        weights.load(made, weights.soundstream_tokenizer(made, variables["params"], embedding))
        return made

    return model, variables, twin


def greatest_gap(z: jax.Array, tables: jax.Array) -> Callable[[np.ndarray, np.ndarray], float]:
    """For codes [n q] of latents [n d]: how much farther than the twin's the first differing entry of a frame lies."""

    def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
        rest, open_, worst = np.asarray(z, np.float64), np.ones(len(z), bool), 0.0
        for table, a, b in zip(np.asarray(tables, np.float64), ours.T, theirs.T, strict=True):
            gap = np.linalg.norm(rest - table[a], axis=1) - np.linalg.norm(rest - table[b], axis=1)
            worst = max(worst, float(np.max(np.abs(gap) * (open_ & (a != b)), initial=0.0)))
            open_ &= a == b
            rest = rest - table[a]
        return worst

    return distance


def sound_tokenizer(channels: int | None) -> Iterator[Output]:
    """SoundStream's encoder, the codes of its latents, and its decoder of random codes."""
    model, variables, twin = soundstream_pair(channels)
    name, rng = f"soundstream C={model.channels}, 1 s", np.random.default_rng(1)
    sound = rng.normal(scale=0.3, size=(1, 16_000)).astype(np.float32)
    z = model.apply(variables, jnp.asarray(sound), method="latents")
    yield Output(f"{name}: latents", z, lambda: twin().encoder(tensor(sound)[:, None]).transpose(1, 2))
    tables = variables["codebooks"]["embedding"]
    codes = rvq.quantize(z, tables, jnp.full((1,), model.levels)).codes[0]
    theirs = lambda: twin().quantizer.encode(tensor(z[0]))  # noqa: E731
    yield Output(f"{name}: codes", codes, theirs, distance=greatest_gap(z[0], tables))
    drawn = rng.integers(0, model.codebook_size, (1, *codes.shape))
    wave = model.apply(variables, jnp.asarray(drawn), method="decode")
    yield Output(f"{name}: waveform", wave, lambda: twin().decode(tensor(drawn)))


def sound_discriminators(samples: int) -> Iterator[Output]:
    """SoundStream's discriminators: logits, and of each net the last feature."""
    fields = load_config(f"{CONFIGS / 'audio_tokenizer.py'}:soundstream").adversary.model.to_dict()
    model = Discriminators(**fields)
    sound = jnp.asarray(np.random.default_rng(1).normal(scale=0.3, size=(2, samples)), jnp.float32)
    params = randomized(jax.eval_shape(model.init, jax.random.key(0), sound)["params"], 0, gain=1.4)

    @functools.cache
    def twin() -> list[list["torch.Tensor"]]:
        from twins import soundstream, weights

        made = soundstream.Discriminators().eval()
        weights.load(made, weights.soundstream_discriminators(params))
        return made(tensor(sound))

    for i, (net, seen) in enumerate(
        zip(["waveform", "½ rate", "¼ rate", "STFT"], model.apply({"params": params}, sound), strict=True)
    ):
        name = f"soundstream discriminator, {net}, {samples} samples"
        yield Output(f"{name}: logits", seen.logits, lambda i=i: twin()[i][-1][:, 0])
        yield Output(f"{name}: features", seen.features[-1], lambda i=i: channels_last(twin()[i][-2]))


CASES: dict[str, Callable[[], Iterator[Output]]] = {
    "magvit2-narrow": lambda: video_tokenizer("base", 8, [(9, 32, 48)]),
    "magvit2-base": lambda: video_tokenizer("base", None, [(17, 64, 64), (5, 48, 80)]),
    "magvit2-large": lambda: video_tokenizer("large", None, [(5, 16, 24)]),
    "discriminator-narrow": lambda: video_discriminator("base", 8, (17, 64, 64)),
    "discriminator": lambda: video_discriminator("base", None, (17, 64, 64)),
    "soundstream-narrow": lambda: sound_tokenizer(4),
    "soundstream": lambda: sound_tokenizer(None),
    "sound-discriminators": lambda: sound_discriminators(4_001),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all unless named")
    parser.add_argument("--golden", type=Path, help="keep some values of the twins' outputs in this npz file")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(CASES)}.")
    import torch

    good, golden = True, {}
    with torch.inference_mode():
        for name in arguments.names or CASES:
            for output in CASES[name]():
                result = output.compare()
                print(json.dumps(result._asdict(), ensure_ascii=False), flush=True)
                good &= result.error <= BOUND
                if output.distance is None:
                    golden[output.name] = output.kept(output.twin().numpy())
    if arguments.golden and good:
        np.savez_compressed(arguments.golden, **golden)
    sys.exit(not good)


if __name__ == "__main__":
    main()
