"""How fast does the language model write, against Hugging Face's Llama? `./launch/benchmark.sh generate [CASE …]`

A case is `nano:8`, eight clips at once, or `nano:8:guided`, with classifier-free guidance: text to video with sound,
186 codes each, in float32. The peer is transformers' `LlamaForCausalLM` of the same depth, width, heads and
feed-forward with a static cache and its forward pass compiled by PyTorch. It reads a prefix as long, draws as many
tokens, and for guidance takes twice the rows. Its vocabulary is that of our largest head, 1,024: it has one head where
ours has the two factors of a visual code, drawn one after the other, and the codes of sound. Weights of both are drawn
at random; what they cost does not depend on them.

Both sides run in turns, two threads each; the ratio is the median of the turns' ratios. Prints JSON lines {name, ours,
peer, unit, ratio (above 1: ours is better), goal, load, rows, prefix, tokens, tokens_per_second, versions}.
"""

import argparse
import functools
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import contest

HERE = Path(__file__)
PEER = "Hugging Face's Llama"
CASES = tuple(f"nano:{rows}{guided}" for rows in (1, 8, 32) for guided in ("", ":guided"))
ROUNDS, GOAL = 7, 2.0
HEAD = 1024


class Case(NamedTuple):
    """A shape, clips at once, and whether with guidance."""

    shape: str
    rows: int
    guided: bool

    @classmethod
    def parse(cls, text: str) -> "Case":
        match = re.fullmatch(r"(\w+):([1-9]\d*)(:guided)?", text)
        if match is None:
            raise ValueError(f"{text}: unknown; write SHAPE:ROWS or SHAPE:ROWS:guided, such as {CASES[1]}.")
        return cls(match[1], int(match[2]), bool(match[3]))


def lengths(case: Case) -> tuple[int, int]:
    """Tokens of the prefix, and tokens that are drawn, of a row."""
    from train_task import Task, config_of, layout_of

    from videopoet_jax.lm.decode import written

    layout = layout_of(config_of(Task(case.shape, case.rows, "none", "float32")))
    return layout.prefix_length, sum(segment.length for segment, *_ in written(layout))


def ours(case: Case) -> Callable[[], None]:
    from ours import jax_as_the_command_line

    jax = jax_as_the_command_line("generate")
    import numpy as np
    from flax import linen as nn
    from train_task import Task, batch_of, config_of, draw, layout_of

    from videopoet_jax.layers.sampling import Sampling
    from videopoet_jax.lm.language_model import LanguageModel, Prepared, init_params
    from videopoet_jax.lm.transformer import PrefixLM

    config = config_of(Task(case.shape, case.rows, "none", "float32"))
    layout, model = layout_of(config), PrefixLM(**config.model)
    shapes = nn.meta.unbox(jax.eval_shape(functools.partial(init_params, model), jax.random.key(0)))
    name_of = functools.partial(jax.tree_util.keystr, simple=True, separator=".")
    params = jax.tree_util.tree_map_with_path(lambda path, x: jax.numpy.asarray(draw(name_of(path), x.shape)), shapes)
    lm = LanguageModel(config.model.to_dict(), params, {}, bucket=case.rows)
    batch = batch_of(config, layout, case.rows, captions=(layout.text_length,) * 2)
    text = np.asarray(batch["text_embedding"], np.float32)
    batch = batch | {"text": text, "empty_text": text * 0, "empty_text_mask": batch["text_mask"]}
    sampling = Sampling(temperature=1.0, top_k=None, top_p=None, guidance_scale=4.0 if case.guided else None)
    prepared = Prepared(layout, batch, tuple((0, row) for row in range(case.rows)), sampling)
    return lambda: lm.generate(prepared) and None


def peer(case: Case) -> Callable[[], None]:
    import torch
    from train_task import Task, config_of

    model = config_of(Task(case.shape, case.rows, "none", "float32")).model
    prefix, drawn = lengths(case)
    # transformers imports a package that is called tokenizers, as a file beside this one is.
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != HERE.resolve().parent]
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(contest.THREADS)
    config = LlamaConfig(
        vocab_size=HEAD, hidden_size=model.width, intermediate_size=model.mlp, num_hidden_layers=model.depth,
        num_attention_heads=model.heads, num_key_value_heads=model.kv_heads, head_dim=model.head_dim,
        max_position_embeddings=prefix + drawn, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    llama = LlamaForCausalLM(config).eval()
    llama.forward = torch.compile(llama.forward)
    ids = torch.randint(1, HEAD, (case.rows * (2 if case.guided else 1), prefix))

    @torch.inference_mode()
    def work() -> None:
        found = llama.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
            min_new_tokens=drawn, max_new_tokens=drawn, cache_implementation="static",
        )  # fmt: skip
        assert found.shape[1] == prefix + drawn

    return work


def compare(text: str) -> None:
    """Times both sides and prints the line of a case."""
    case = Case.parse(text)
    sides = contest.contest(HERE, text, ["ours", PEER], ROUNDS)
    mine, other = sides["ours"], sides[PEER]
    ratios = [b / a for a, b in zip(mine.seconds, other.seconds, strict=True)]
    prefix, drawn = lengths(case)
    contest.line(
        f"{case.shape} writes {case.rows} clips of {drawn} tokens{', guided' if case.guided else ''}, against {PEER}",
        mine.median, other.median, "s", GOAL, ratio=statistics.median(ratios),
        ratios=[round(min(ratios), 3), round(max(ratios), 3)], cpu={s.side: s.cpu_median for s in (mine, other)},
        rows=case.rows, prefix=prefix, tokens=case.rows * drawn,
        tokens_per_second=round(case.rows * drawn / mine.median),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"such as {', '.join(CASES)}, which is the default")
    parser.add_argument("--serve", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        case, side = options.serve
        return contest.serve(functools.partial(ours if side == "ours" else peer, Case.parse(case)))
    try:
        for case in options.cases:
            Case.parse(case)
    except ValueError as error:
        parser.error(str(error))
    _, failed = contest.each(options.cases or CASES, compare)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
