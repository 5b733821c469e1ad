"""Records of five sizes, the loader of all tasks on them, and a process that reads it.

    python many_tasks.py RECORDS PORT NUMBER STEPS STOP OUT

is one of two that read STEPS batches together, the first STOP of them with another loader than the rest; it writes a
line for each to OUT, the digests of its own rows.
"""

import functools
import hashlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np

from videopoet_jax.data.task_batches import task_batches
from videopoet_jax.data.token_records import TokenSource, TokenWriter
from videopoet_jax.sequence import TASKS, Layouts, Vocabulary

VOCABULARY = Vocabulary(visual_codes=2**18, audio_levels=4, text_pieces=100)
VIEWS = ("video", "last_frame", "inpainting", "outpainting", "editing", "structure")
#        latents rows columns sound pieces
INDEX = np.array([(5, 2, 1, 106, 3), (5, 2, 1, 106, 7), (5, 2, 1, 0, 0), (2, 2, 1, 31, 4), (5, 1, 1, 0, 5)], np.int32)


def layouts(levels=1, text_lengths=(4, 8), stride=16):
    return Layouts(VOCABULARY, stride, levels, "levels", "video", text_lengths)


def record(number):
    rng, (latents, rows, columns, frames, pieces) = np.random.default_rng(number), INDEX[number % len(INDEX)]
    sizes = {key: (1 if key == "last_frame" else latents, rows, columns) for key in VIEWS}
    codes = {key: rng.integers(0, 2**18, size, np.int32) for key, size in sizes.items()}
    codes |= {"audio": rng.integers(0, 1024, (frames, 1), np.int32)} if frames else {}
    text = {"text_ids": rng.integers(2, 100, 8) * (np.arange(8) < pieces), "text_mask": np.arange(8) < pieces}
    return codes | (text | {"caption": f"record {number}"} if pieces else {})


def written(directory, first=0):
    """Forty records; those from another multiple of five on are others of the same sizes."""
    with TokenWriter(directory, {"keys": list(VIEWS)}) as writer:
        for number in range(first, first + 40):
            writer.write(record(number))
    return TokenSource(directory)


def blank(slots):
    return {"empty_text_ids": np.arange(slots) == 0, "empty_text_mask": np.arange(slots) == 0}


def batches(source, rates=None, most_groups=6, tokens=2_000, rows=None, **options):
    """Of so many tokens, or of always as many rows."""
    rates = dict.fromkeys(TASKS, 1.0) if rates is None else rates
    options = {"most_groups": most_groups, "constants": blank, "seed": 0, **options}
    return task_batches(source, rates, layouts(), rows=lambda length: rows or tokens // length // 2 * 2, **options)


def digests(loader, count):
    """Of each row of the next batches."""
    for batch in itertools.islice(loader, count):
        rows = [b"".join(batch[name][row].tobytes() for name in sorted(batch)) for row in range(len(batch["part"]))]
        yield [hashlib.sha256(row).hexdigest() for row in rows]


def main(records, port, number, steps, stop, out):
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(number))
    made = functools.partial(batches, TokenSource(records), rows=2)
    with Path(out).open("w") as file:
        for packing in (0, 400):
            first, rest = made(packing=packing), made(packing=packing)
            rows = list(digests(first, int(stop)))
            rest.set_state(json.loads(json.dumps(first.get_state())))
            for line in [*rows, *digests(rest, int(steps) - int(stop))]:
                file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
