"""Do published T5 checkpoints mean to us what they mean to Hugging Face? Compares the encoders' embeddings.

    ./launch/benchmark.sh t5_twins [NAME …]

transformers makes a model of T5-small's shape (512 wide, 6 layers, 8 heads, 1,024 inside) with random weights, norms
and relative biases too, and writes it as it would be published: config.json and safetensors. `TextEncoder` loads that
directory, and both embed the same ids under the same padding masks, in float32. Prints a JSON line for each,
{name, error, scale}: the greatest absolute difference where the mask is True, and the greatest absolute value there.
Exits 1 if an error is above 1e-4.

    t5-v1_1           32,128 rows, with the decoder, in shards
    t5-v1_1-bfloat16  the same as bfloat16 files, which float32 holds exactly
    mt5               250,112 rows, the encoder alone

No vocabulary of theirs is needed: one of as many pieces is made, nearly all of them symbols that no prompt can spell.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# transformers imports a package that is called tokenizers, as a file beside this one is.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != Path(__file__).resolve().parent]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from videopoet_jax.text.corpus import PROMPTS  # noqa: E402
from videopoet_jax.text.embed import TextEncoder  # noqa: E402
from videopoet_jax.text.vocabulary import FILE, train_vocabulary  # noqa: E402

BOUND = 1e-4
SHAPE = dict(d_model=512, d_kv=64, d_ff=1024, num_layers=6, num_heads=8, feed_forward_proj="gated-gelu")
SLOTS = 64
# Class, config, rows and pieces of the published vocabulary, and how the files are written.
CASES = {
    "t5-v1_1": ("T5ForConditionalGeneration", "T5Config", 32_128, 32_100, dict(max_shard_size="100MB")),
    "t5-v1_1-bfloat16": ("T5ForConditionalGeneration", "T5Config", 32_128, 32_100, {}),
    "mt5": ("MT5EncoderModel", "MT5Config", 250_112, 250_100, {}),
}


def random_model(name: str) -> "transformers.PreTrainedModel":
    kind, config, rows, _, _ = CASES[name]
    torch.manual_seed(0)
    model = getattr(transformers, kind)(getattr(transformers, config)(vocab_size=rows, **SHAPE)).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if value.ndim == 1:  # norms start at 1, which would hide one that is taken for another
                value.uniform_(0.5, 1.5)
            if "relative_attention_bias" in key:
                value.normal_(0, 2)
    return model.to(torch.bfloat16) if name.endswith("bfloat16") else model


def batch(encoder: TextEncoder) -> tuple[np.ndarray, np.ndarray]:
    """Real prompts and drawn ids, of 1 to all slots: [b l] each."""
    tokens = encoder.tokenize(PROMPTS[:6], SLOTS)
    drawn = np.random.default_rng(0).integers(3, encoder.model.vocabulary, (4, SLOTS)).astype(np.int32)
    masks = np.arange(SLOTS)[None] < np.array([[SLOTS], [SLOTS - 1], [17], [1]])
    return np.concatenate([tokens.ids, drawn]), np.concatenate([tokens.mask, masks])


def compare(name: str, folder: Path) -> dict[str, float | str]:
    model, (*_, pieces, how) = random_model(name), CASES[name]
    model.save_pretrained(folder, **how)
    train_vocabulary(PROMPTS, folder / FILE, size=pieces, sentinels=pieces - 500, normalization="nmt_nfkc", required=())
    encoder = TextEncoder.from_pretrained(folder, "float32")
    ids, mask = batch(encoder)
    with torch.inference_mode():
        twin = model.float().get_encoder()
        theirs = twin(torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long()).last_hidden_state
    theirs, ours = theirs.numpy()[mask], np.asarray(encoder.embed(ids, mask))[mask]
    error = float(np.abs(ours.astype(np.float64) - theirs).max())
    return {"name": name, "error": error, "scale": float(np.abs(theirs).max())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all unless named")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(CASES)}.")
    transformers.utils.logging.disable_progress_bar()
    good = True
    for name in arguments.names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            result = compare(name, Path(folder))
        print(json.dumps(result), flush=True)
        good &= result["error"] <= BOUND < result["scale"]
    sys.exit(not good)


if __name__ == "__main__":
    main()
