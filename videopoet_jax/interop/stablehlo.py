"""A pipeline's models as StableHLO: programs that run with jax alone, on the weights beside them.

    stablehlo/programs.json                       what there is: inputs, outputs, weights
    stablehlo/text_encoder.embed.stablehlo        ids, mask → embeddings
    stablehlo/lm.text_to_video.stablehlo          a prefix and its text → ids, the whole decoding in one program
    stablehlo/video_tokenizer.decode.stablehlo    codes → frames; also .encode, and audio_tokenizer's both

    from jax import export
    program = export.deserialize(open("stablehlo/video_tokenizer.decode.stablehlo", "rb").read())
    frames = program.call(weights, {"codes": codes})["video"]

Weights are an argument, not part of a program: {name: array} of the safetensors files of the model, as they are (layers
apart, in the dtype of the file). So a program is small however large its model, and serves every training of it. The
batch is of any size, clips are of one; each platform's code is in the file.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct, export

from videopoet_jax.audio.chunks import CHUNK_FRAMES
from videopoet_jax.audio.soundstream import SoundStream
from videopoet_jax.audio.tokenizer import AudioTokenizer, apply_chunk, complete_codebooks, first_past
from videopoet_jax.layers.precision import cast_network
from videopoet_jax.layers.sampling import Sampling
from videopoet_jax.lm.decode import generate
from videopoet_jax.lm.language_model import LanguageModel
from videopoet_jax.pretrained.files import unflatten, weight_files, write_atomically
from videopoet_jax.pretrained.tensors import open_file, stacked
from videopoet_jax.sequence.grid import AUDIO_CODES
from videopoet_jax.sequence.layout import Layout, Segment
from videopoet_jax.sequence.vocabulary import AUDIO_OFFSET, TEXT_OFFSET, VISUAL_OFFSET
from videopoet_jax.text.embed import TextEncoder, apply_encoder
from videopoet_jax.video.streaming import Stream
from videopoet_jax.video.tokenizer import VideoTokenizer

PLATFORMS = ("cpu", "cuda", "tpu")
FOLDER, INDEX, SUFFIX = "stablehlo", "programs.json", ".stablehlo"
(BATCH,) = export.symbolic_shape("b")  # any number of rows

Arrays = Mapping[str, Array]
Tree = Mapping[str, Any]


class Program(NamedTuple):
    """A function to be written.

    Attributes:
        part: the folder of the model whose weights it takes.
        inputs: shapes and dtypes by name, rows first.
        run: (the model's parameters, inputs) → outputs by name.
        about: what else `programs.json` says of it.
    """

    name: str
    part: str
    inputs: dict[str, ShapeDtypeStruct]
    run: Callable[[Tree, Arrays], dict[str, Array]]
    about: dict[str, Any]


def write(root: str | Path, programs: Sequence[Program], platforms: Sequence[str] = PLATFORMS) -> Path:
    """Writes the programs of a pipeline's directory into its folder `stablehlo`, and returns that.

    Only names, shapes and dtypes of the weights are looked at.

    Raises:
        FileNotFoundError, ValueError: no weights where a program's model should be.
    """
    folder, index = Path(root) / FOLDER, {}
    for program in programs:
        files = weight_files(Path(root) / program.part)
        held = {name: tensor for file in files for name, tensor in open_file(file, None).items()}
        weights = {name: ShapeDtypeStruct(tensor.shape, tensor.dtype) for name, tensor in held.items()}

        def run(weights: Arrays, inputs: Arrays, program: Program = program) -> dict[str, Array]:
            return program.run(params_of(weights), inputs)

        exported = export.export(jax.jit(run), platforms=platforms)(weights, program.inputs)
        data = exported.serialize()
        write_atomically(folder / f"{program.name}{SUFFIX}", lambda path, data=data: path.write_bytes(data))
        index[program.name] = {
            "file": f"{program.name}{SUFFIX}",
            "weights": [str(Path("..") / file.relative_to(root)) for file in files],
            "inputs": _described(program.inputs),
            "outputs": _described(jax.tree.unflatten(exported.out_tree, exported.out_avals)),
            **program.about,
        }
    body = {"format": "jax.export", "jax": jax.__version__, "platforms": list(platforms), "programs": index}
    write_atomically(folder / INDEX, lambda path: path.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8"))
    return folder


def params_of(weights: Arrays) -> dict[str, Any]:
    """A file's arrays as `from_pretrained` would hold them: nested, layers stacked, floats in float32."""
    tree = unflatten(stacked(weights, "weights", jnp.stack))
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def _described(arrays: Mapping[str, Any]) -> dict[str, dict]:
    def size(n: Any) -> int | str:
        return n if isinstance(n, int) else str(n)

    return {name: {"shape": [size(n) for n in x.shape], "dtype": str(x.dtype)} for name, x in arrays.items()}


def video_programs(tokenizer: VideoTokenizer, size: tuple[int, int, int], part: str) -> list[Program]:
    """Clips of `size` (frames, height, width) → codes, and back."""
    stream, size = Stream(tokenizer.model, tokenizer.dtype), (tokenizer.filled_frames(size[0]), *size[1:])

    def encode(params: Tree, x: Arrays) -> dict[str, Array]:
        network = cast_network(params, tokenizer.dtype)
        return {"codes": stream.encode_chunk(network, {}, x["video"], chunk="whole")[0]}

    def decode(params: Tree, x: Arrays) -> dict[str, Array]:
        network = cast_network(params, tokenizer.dtype)
        return {"video": stream.decode_chunk(network, {}, x["codes"], chunk="whole")[0]}

    clip = {"video": ShapeDtypeStruct((BATCH, *size, 3), jnp.uint8)}
    codes = {"codes": ShapeDtypeStruct((BATCH, *tokenizer.grid(*size)), jnp.int32)}
    return [
        Program(f"{part}.encode", part, clip, encode, {}),
        Program(f"{part}.decode", part, codes, decode, {}),
    ]


def audio_programs(tokenizer: AudioTokenizer, frames: int, levels: int, part: str) -> list[Program]:
    """Sounds of so many frames → codes of the first `levels` levels, and back; in the chunks that the tokenizer has."""
    model, step = tokenizer.model, tokenizer.samples_per_frame

    def chunked(method: Callable, params: Tree, x: Array, flat: bool, *rest: Array) -> Array:
        books, past, done = complete_codebooks(params["codebooks"]), None, []
        for start in range(0, frames, CHUNK_FRAMES):
            part = x[:, start : start + CHUNK_FRAMES]
            part = jnp.pad(part, ((0, 0), (0, CHUNK_FRAMES - part.shape[1]), (0, 0)))
            part = part.reshape(part.shape[0], -1) if flat else part
            past = first_past(model, method, params["params"], books, part, *rest) if past is None else past
            y, past = apply_chunk(model, method, params["params"], books, past, part, *rest)
            done.append(y.reshape(y.shape[0], CHUNK_FRAMES, -1))
        return jnp.concatenate(done, axis=1)[:, :frames]

    def encode(params: Tree, x: Arrays) -> dict[str, Array]:
        rows = x["sound"].shape[0]
        sound = x["sound"].reshape(rows, frames, step)
        codes = chunked(SoundStream.encode, params, sound, True, jnp.zeros((rows,), bool))  # noise is left in
        return {"codes": codes[:, :, :levels]}

    def decode(params: Tree, x: Arrays) -> dict[str, Array]:
        sound = chunked(SoundStream.decode, params, x["codes"], False)
        return {"sound": jnp.clip(sound.reshape(sound.shape[0], -1), -1.0, 1.0)}

    sound = {"sound": ShapeDtypeStruct((BATCH, frames * step), jnp.float32)}
    codes = {"codes": ShapeDtypeStruct((BATCH, frames, levels), jnp.int32)}
    about = {"sample_rate": tokenizer.sample_rate}
    return [
        Program(f"{part}.encode", part, sound, encode, about),
        Program(f"{part}.decode", part, codes, decode, about),
    ]


def text_program(encoder: TextEncoder, length: int, part: str) -> Program:
    """Prompts of so many pieces (ids of the vocabulary beside the weights) → embeddings, zero where the mask is."""

    def embed(params: Tree, x: Arrays) -> dict[str, Array]:
        network = jax.tree.map(lambda leaf: leaf.astype(encoder.model.dtype), params)
        embeddings = apply_encoder(encoder.model, network, x["ids"], x["mask"])
        return {"embeddings": embeddings.astype(jnp.float32)}

    slots = (BATCH, length)
    inputs = {"ids": ShapeDtypeStruct(slots, jnp.int32), "mask": ShapeDtypeStruct(slots, jnp.bool_)}
    return Program(f"{part}.embed", part, inputs, embed, {})


def lm_program(lm: LanguageModel, layout: Layout, sampling: Sampling, part: str) -> Program:
    """The decoding of one layout, from the prefix to the last id.

    Inputs beside `ids` (the prefix; `programs.json` has it, with zeros where codes go, and says which positions are
    codes of what): the text and its twin for guidance, a seed and the number of the copy for each row, and those
    numbers of `sampling` that are not None.
    """
    slots, numbers = (BATCH, layout.text_length), {n: x for n, x in vars(sampling).items() if x is not None}
    guided = sampling.guidance_scale is not None
    inputs = {"ids": ShapeDtypeStruct((BATCH, layout.length), jnp.int32)}
    for side in ("text", "empty_text")[: (1 + guided) * bool(layout.task.text)]:
        inputs[side] = ShapeDtypeStruct((*slots, lm.model.text_dim), jnp.float32)
        inputs[f"{side}_mask"] = ShapeDtypeStruct(slots, jnp.bool_)
    inputs |= {name: ShapeDtypeStruct((BATCH,), jnp.uint32) for name in ("seed", "copy")}
    inputs |= {name: ShapeDtypeStruct((), jnp.int32 if name == "top_k" else jnp.float32) for name in numbers}

    def decode(params: Tree, x: Arrays) -> dict[str, Array]:
        rows = x["ids"].shape[0]
        no_text = {
            "text": jnp.zeros((rows, *slots[1:], lm.model.text_dim)),
            "text_mask": jnp.zeros((rows, *slots[1:]), bool),
        }
        fixed = {"table": layout.tables, "positions": layout.positions, "prefix_length": np.int32(layout.prefix_length)}
        fixed["valid"] = np.ones(layout.length, bool)
        batch = {name: jnp.broadcast_to(value, (rows, *value.shape)) for name, value in fixed.items()}
        keys = jax.vmap(lambda seed, copy: jax.random.fold_in(jax.random.key(seed), copy))(x["seed"], x["copy"])
        traced = Sampling(**{name: x.get(name) for name in vars(sampling)})
        return {"ids": generate(lm.model, params, no_text | batch | dict(x), layout, keys, traced)}

    codes = [_codes(layout, segment) for segment in layout.segments if segment.key]
    about = {"prefix": layout.ids.tolist(), "codes": codes, "sampling": numbers}
    return Program(f"{part}.{layout.task.name}", part, inputs, decode, about)


def _codes(layout: Layout, segment: Segment) -> dict[str, Any]:
    """Where codes stand: `ids[start:stop].reshape(shape) - offset` are those from frame or latent `first` on."""
    shape, offset = [segment.length], TEXT_OFFSET
    if segment.kind == "video":
        shape, offset = [-1, *layout.grid.latents[1:]], VISUAL_OFFSET
    elif segment.kind == "audio":
        levels = range(segment.level, segment.level + segment.levels)
        shape, offset = [-1, segment.levels], [AUDIO_OFFSET + AUDIO_CODES * level for level in levels]
    place = {"start": segment.start, "stop": segment.stop, "shape": shape, "offset": offset}
    return {"of": segment.key, "written": segment.output, "first": segment.first, "level": segment.level, **place}
