"""Do our RAFT and DPT compute what torchvision's and transformers' do? Random weights, the same in both.

    ./launch/benchmark.sh structure_twins [--golden FILE.npz] [NAME …]

Prints a JSON line for each comparison, {name, error, scale}: the greatest absolute difference and the greatest absolute
value of the twin's output; and {name, parameters, peer} for each full-sized network. Exits 1 if an error is above 1e-4
of the scale, or two counts differ. The weights reach us through the loader of published files: ours in the twin's
names, and back. `--golden` keeps some values of the twins' outputs; PyTorch is imported only when a twin is asked.
"""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from faithful import Output, channels_first, channels_last, randomized, tensor  # noqa: E402
from twins.structure import foreign  # noqa: E402

from videopoet_jax.pretrained.files import flatten  # noqa: E402
from videopoet_jax.structure import dpt, raft, weights  # noqa: E402

if TYPE_CHECKING:
    import torch

BOUND = 1e-4  # of the scale
NARROW_RAFT = {
    "feature_widths": (16, 16, 24, 32, 32), "context_widths": (16, 16, 24, 32, 48), "hidden_width": 16,
    "correlation_widths": (24, 16), "flow_widths": (16, 8), "motion_width": 24, "head_width": 16,
}  # fmt: skip
NARROW_RAFT_SMALL = {
    "feature_widths": (8, 8, 16, 24, 16), "context_widths": (8, 8, 16, 24, 24), "hidden_width": 16,
    "correlation_widths": (16,), "flow_widths": (16, 8), "motion_width": 18, "head_width": 16,
}  # fmt: skip
NARROW_DPT = {
    "side": 4, "width": 48, "depth": 4, "heads": 3, "mlp_width": 96, "taps": (0, 1, 2, 3),
    "neck_widths": (8, 16, 24, 32), "fusion_width": 16,
}  # fmt: skip
NARROW_HYBRID = {
    **NARROW_DPT, "taps": (1, 3), "neck_widths": (32, 64, 24, 32),
    "resnet_stem": 16, "resnet_widths": (32, 64, 128), "resnet_depths": (1, 2, 2), "resnet_groups": 8,
}  # fmt: skip


def drawn(init: Callable, seed: int) -> dict[str, Any]:
    """Random parameters of the network that `init` makes; variances are above zero, as is most that DPT gives."""
    params = randomized(jax.eval_shape(init, jax.random.key(0))["params"], seed)

    def fit(path: tuple, x: jax.Array) -> jax.Array:
        if path[-1].key == "variance" or path[0].key == "head3":
            return 1 + x
        return x * 10 / np.sqrt(len(x)) if path[-1].key == "spread" else x

    return jax.tree_util.tree_map_with_path(fit, params)


def pictures(h: int, w: int) -> np.ndarray:
    """Two of them: smooth noise, and the same moved by (3, −5) pixels."""
    rng = np.random.default_rng(1)
    coarse = rng.uniform(-1, 1, (1, h // 8 + 2, w // 8 + 2, 3))
    noise = np.asarray(jax.image.resize(coarse, (1, h + 16, w + 16, 3), "cubic"), np.float32)
    return np.concatenate([noise[:, 8 : 8 + h, 8 : 8 + w], noise[:, 13 : 13 + h, 5 : 5 + w]]).clip(-1, 1)


def raft_init(fields: Mapping[str, Any]) -> Callable:
    picture = jnp.zeros((1, 64, 64, 3))
    return lambda key: raft.RAFT(**fields).init(key, picture, picture, 1)


def dpt_init(fields: Mapping[str, Any]) -> Callable:
    return lambda key: dpt.DPT(**fields).init(key, jnp.zeros((1, 2 * fields["patch"], 2 * fields["patch"], 3)))


def through_the_loader(init: Callable, rules: weights.Rules, patch: int = 1) -> tuple[dict, dict[str, np.ndarray]]:
    """Random weights as the loader reads them, and the tensors that it read them from."""
    params = drawn(init, 0)
    tensors = foreign(params, rules, patch)
    read = weights.tree(tensors, weights.shapes_of(init, "drawn"), rules, "drawn")
    jax.tree.map(np.testing.assert_array_equal, read, params)
    return read, tensors


def torch_raft(fields: Mapping[str, Any]) -> "torch.nn.Module":
    """torchvision's RAFT of those fields."""
    from torch.nn import BatchNorm2d, InstanceNorm2d
    from torchvision.models.optical_flow import raft as peer

    block = peer.BottleneckBlock if fields["bottleneck"] else peer.ResidualBlock
    kernels = fields["gru_kernels"]
    return peer._raft(
        feature_encoder_layers=fields["feature_widths"],
        feature_encoder_block=block,
        feature_encoder_norm_layer=InstanceNorm2d,
        context_encoder_layers=fields["context_widths"],
        context_encoder_block=block,
        context_encoder_norm_layer=BatchNorm2d if fields["context_norm"] == "batch" else None,
        corr_block_num_levels=fields["levels"],
        corr_block_radius=fields["radius"],
        motion_encoder_corr_layers=fields["correlation_widths"],
        motion_encoder_flow_layers=fields["flow_widths"],
        motion_encoder_out_channels=fields["motion_width"],
        recurrent_block_hidden_state_size=fields["hidden_width"],
        recurrent_block_kernel_size=kernels,
        recurrent_block_padding=tuple((a // 2, b // 2) for a, b in kernels),
        flow_head_hidden_size=fields["head_width"],
        use_mask_predictor=fields["mask_width"] > 0,
    )


def flow(name: str, fields: Mapping[str, Any], size: tuple[int, int], updates: list[int]) -> Iterator[Output]:
    """RAFT's flow after some numbers of updates."""
    params, tensors = through_the_loader(raft_init(fields), weights.TORCHVISION)
    first, second = np.split(pictures(*size), 2)

    @functools.cache
    def twin() -> list["torch.Tensor"]:
        network = torch_raft(fields).eval()
        load(network, tensors)
        return network(channels_first(first), channels_first(second), num_flow_updates=max(updates))

    run = jax.jit(raft.RAFT(**fields).apply, static_argnums=3)
    for n in updates:
        ours = run({"params": params}, first, second, n)
        yield Output(f"{name}, {size[0]}×{size[1]}, {n} updates", ours, lambda n=n: channels_last(twin()[n - 1]))


def depth(name: str, fields: Mapping[str, Any], side: int) -> Iterator[Output]:
    """DPT's inverse depth of a square picture; `side` another one than positions were learnt on interpolates them."""
    rules = weights.TRANSFORMERS_HYBRID if fields["resnet_stem"] else weights.TRANSFORMERS
    params, tensors = through_the_loader(dpt_init(fields), rules, 1 if fields["resnet_stem"] else fields["patch"])
    both = pictures(side, side)

    def twin() -> "torch.Tensor":
        network = transformers().DPTForDepthEstimation(transformers_config(fields)).eval()
        load(network, tensors)
        return network(channels_first(both)).predicted_depth

    yield Output(f"{name}, {side}×{side}", jax.jit(dpt.DPT(**fields).apply)({"params": params}, both), twin)


@functools.cache
def transformers() -> Any:
    """The library, its DPT imported; it wants a package `tokenizers`, and a file of that name lies beside this one."""
    import importlib

    kept = sys.path[:]
    sys.path[:] = [folder for folder in kept if Path(folder).resolve() != Path(__file__).parent.resolve()]
    try:
        importlib.import_module("transformers.models.dpt.modeling_dpt")
        return importlib.import_module("transformers")
    finally:
        sys.path[:] = kept


def transformers_config(fields: Mapping[str, Any]) -> Any:
    hybrid: dict[str, Any] = {}
    if fields["resnet_stem"]:
        widths = fields["resnet_widths"]
        backbone = transformers().BitConfig(
            embedding_size=fields["resnet_stem"],
            hidden_sizes=[*widths, 2 * widths[-1]],
            depths=fields["resnet_depths"],
            num_groups=fields["resnet_groups"],
            layer_type="bottleneck",
            global_padding="same",
            embedding_dynamic_padding=True,
            out_features=["stage1", "stage2", "stage3"],
        )
        featmap = [1, widths[-1], fields["side"], fields["side"]]
        hybrid = {"is_hybrid": True, "backbone_config": backbone, "backbone_featmap_shape": featmap}
    return transformers().DPTConfig(
        hidden_size=fields["width"],
        num_hidden_layers=fields["depth"],
        num_attention_heads=fields["heads"],
        intermediate_size=fields["mlp_width"],
        layer_norm_eps=fields["epsilon"],
        image_size=fields["side"] * fields["patch"],
        patch_size=fields["patch"],
        backbone_out_indices=[0, 0, *fields["taps"]] if hybrid else list(fields["taps"]),
        neck_hidden_sizes=list(fields["neck_widths"]),
        fusion_hidden_size=fields["fusion_width"],
        reassemble_factors=[1, 1, 1, 0.5] if hybrid else [4, 2, 1, 0.5],
        **hybrid,
    )


def load(network: "torch.nn.Module", tensors: Mapping[str, np.ndarray]) -> None:
    """All tensors must fit, and only those that the loader calls unused may be missing."""
    missing, unexpected = network.load_state_dict({k: tensor(v) for k, v in tensors.items()}, strict=False)
    left = [name for name in missing if not any(weights.re.search(pattern, name) for pattern in weights.UNUSED)]
    if left or unexpected:
        raise ValueError(f"missing {left}, unexpected {unexpected}: the twin is another network.")


def count(init: Callable) -> int:
    """Trained numbers; a batch norm's statistics are not trained."""
    flat = flatten(weights.shapes_of(init, "counted"))
    return sum(int(np.prod(x.shape)) for name, x in flat.items() if not name.endswith((".mean", ".variance")))


def counts() -> Iterator[tuple[str, int, int]]:
    """name, ours, the peer's of the published sizes; without what the peer has and does not use."""
    import torch

    twin = transformers().DPTForDepthEstimation
    with torch.device("meta"):
        peers = {
            "raft large": (raft_init(raft.LARGE), torch_raft(raft.LARGE)),
            "raft small": (raft_init(raft.SMALL), torch_raft(raft.SMALL)),
            "dpt large": (dpt_init(dpt.LARGE), twin(transformers_config(dpt.LARGE))),
            "dpt hybrid": (dpt_init(dpt.HYBRID), twin(transformers_config(dpt.HYBRID))),
        }
    for name, (init, peer) in peers.items():
        used = [
            p.numel()
            for n, p in peer.named_parameters()
            if not any(weights.re.search(pattern, n) for pattern in weights.UNUSED)
        ]
        yield name, count(init), sum(used)


CASES: dict[str, Callable[[], Iterator[Output]]] = {
    "raft-narrow": lambda: flow("raft-large structure, narrow", {**raft.LARGE, **NARROW_RAFT}, (128, 136), [1, 4]),
    "raft-small-narrow": lambda: flow(
        "raft-small structure, narrow", {**raft.SMALL, **NARROW_RAFT_SMALL}, (136, 128), [1, 4]
    ),
    "dpt-narrow": lambda: depth("dpt structure, narrow", {**dpt.LARGE, **NARROW_DPT}, 64),
    "dpt-interpolated": lambda: depth("dpt structure, narrow", {**dpt.LARGE, **NARROW_DPT}, 96),
    "dpt-hybrid-narrow": lambda: depth("dpt-hybrid structure, narrow", {**dpt.LARGE, **NARROW_HYBRID}, 64),
    "raft-large": lambda: flow("raft large", raft.LARGE, (128, 160), [1, 2, 12]),
    "raft-small": lambda: flow("raft small", raft.SMALL, (128, 160), [1, 2, 12]),
    "dpt-large": lambda: depth("dpt large", dpt.LARGE, 384),
    "dpt-hybrid": lambda: depth("dpt hybrid", dpt.HYBRID, 384),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASES)}; all, and the counts, unless")
    parser.add_argument("--golden", type=Path, help="keep some values of the twins' outputs in this npz file")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(CASES):
        parser.error(f"{', '.join(sorted(unknown))}: unknown; use {', '.join(CASES)}.")
    import torch

    good, golden = True, {}
    for name, ours, peer in () if arguments.names else counts():
        print(json.dumps({"name": name, "parameters": ours, "peer": peer}), flush=True)
        good &= ours == peer
    with torch.inference_mode():
        for name in arguments.names or CASES:
            for output in CASES[name]():
                result = output.compare()
                print(json.dumps(result._asdict(), ensure_ascii=False), flush=True)
                good &= result.scale > 0 and result.error <= BOUND * result.scale
                golden[output.name] = output.kept(output.twin().numpy())
    if arguments.golden and good:
        np.savez_compressed(arguments.golden, **golden)
    sys.exit(not good)


if __name__ == "__main__":
    main()
