"""`python run_programs.py PIPELINE GIVEN.npz MADE.npz`: the programs of an exported pipeline, without our package.

Nothing but jax and numpy is imported, not even safetensors: its files are a header in JSON, and the arrays.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax import export

PROGRAMS, GIVEN, MADE = Path(sys.argv[1]) / "stablehlo", np.load(sys.argv[2]), sys.argv[3]
INDEX = json.loads((PROGRAMS / "programs.json").read_text())["programs"]
DTYPES = {"BF16": jax.dtypes.bfloat16, "F32": np.float32, "U8": np.uint8}


def tensors(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__")
    for name, entry in header.items():
        start, stop = entry["data_offsets"]
        part = data[8 + size + start : 8 + size + stop]
        yield name, np.frombuffer(part, DTYPES[entry["dtype"]]).reshape(entry["shape"])


def run(name, **inputs):
    about = INDEX[name]
    program = export.deserialize(bytearray((PROGRAMS / about["file"]).read_bytes()))
    weights = {name: array for file in about["weights"] for name, array in tensors(PROGRAMS / file)}
    return {name: np.asarray(array) for name, array in program.call(weights, inputs).items()}


def codes(name, ids, of):
    """What a decoded sequence says of a picture or a sound; of one level here."""
    [place] = [place for place in INDEX[name]["codes"] if place["of"] == of and place["written"]]
    return ids[:, place["start"] : place["stop"]].reshape(len(ids), *place["shape"]) - np.array(place["offset"])


rows = len(GIVEN["ids"])
embed = [
    run("text_encoder.embed", ids=i[None], mask=m[None])["embeddings"]
    for i, m in zip(GIVEN["ids"], GIVEN["mask"], strict=True)
]
*texts, empty = embed
numbers = {name: np.float32(value) for name, value in INDEX["lm.text_to_video"]["sampling"].items()}
ids = run(
    "lm.text_to_video",
    ids=np.tile(np.int32(INDEX["lm.text_to_video"]["prefix"]), (rows - 1, 1)),
    text=np.concatenate(texts),
    text_mask=GIVEN["mask"][:-1],
    empty_text=np.repeat(empty, rows - 1, axis=0),
    empty_text_mask=np.repeat(GIVEN["mask"][-1:], rows - 1, axis=0),
    seed=GIVEN["seed"],
    copy=np.zeros(rows - 1, np.uint32),
    **numbers,
)["ids"]
picture, sound = (codes("lm.text_to_video", ids, of)[:1].astype(np.int32) for of in ("video", "audio"))
video = run("video_tokenizer.decode", codes=picture)["video"]
audio = run("audio_tokenizer.decode", codes=sound)["sound"]
again = run("video_tokenizer.encode", video=GIVEN["video"])["codes"]
heard = run("audio_tokenizer.encode", sound=GIVEN["sound"])["codes"]
np.savez(MADE, ids=ids, video=video, audio=audio, again=again, heard=heard)
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
