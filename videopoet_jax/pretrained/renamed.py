"""Tensors of a published checkpoint under our names, nothing left over, nothing missing; one is read at a time.

ours                     theirs (an entry with {i} stands once for each layer)
layers.attention.query   model.layers.{i}.self_attn.q_proj.weight     →  [layers d m e]
norm.scale               model.norm.weight                            →  [d]
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from videopoet_jax.pretrained.files import Stored


def renamed(
    stored: Stored,
    names: Mapping[str, str],
    depth: int,
    shapes: Mapping[str, tuple[int, ...]],
    convert: Mapping[str, Callable[[np.ndarray], np.ndarray]],
    whole: str,
) -> dict[str, np.ndarray]:
    """{our name: array}, layers stacked.

    Args:
        names: ours → theirs.
        shapes: of each tensor in the file (of one layer), by our name.
        convert: what turns a tensor of the file into ours; names not listed stay as they are.
        whole: what to take if tensors are missing or too many, "a whole checkpoint of …".

    Raises:
        ValueError: a tensor missing, one that has no name in `names`, or one of another shape.
    """
    all_names = {o: [t.format(i=i) for i in range(depth)] if "{i}" in t else [t] for o, t in names.items()}
    wanted, found = {name for each in all_names.values() for name in each}, set(stored.shapes)
    if wanted != found:
        raise ValueError(
            f"{stored.source}: tensors missing: {_few(wanted - found)}; unexpected: {_few(found - wanted)}; "
            f"take {whole}."
        )
    for ours, each in all_names.items():
        for name in each:
            if stored.shapes[name] != shapes[ours]:
                raise ValueError(
                    f"{stored.source}: {name}: shape {stored.shapes[name]}, the other sizes ask for {shapes[ours]}; "
                    f"take all files from one checkpoint."
                )

    def leaves(ours: str) -> Iterator[np.ndarray]:
        return (convert.get(ours, lambda x: x)(stored.read(name)) for name in all_names[ours])

    return {ours: _stack(leaves(ours), depth) if "{i}" in names[ours] else next(leaves(ours)) for ours in names}


def _stack(leaves: Iterator[np.ndarray], count: int) -> np.ndarray:
    """[count, …]; unlike np.stack, it holds one layer beside the whole, not all of them."""
    first = next(leaves)
    whole = np.empty((count, *first.shape), first.dtype)
    whole[0] = first
    for i, leaf in enumerate(leaves, 1):
        whole[i] = leaf
    return whole


def _few(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if shown else "none"
