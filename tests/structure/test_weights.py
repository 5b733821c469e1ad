"""Published weights: no tensor lost or made up, and nothing that a pickle names is run."""

import json
import pickle
import zipfile

import jax
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from safetensors.numpy import save_file
from twins.structure import foreign

from videopoet_jax.structure import Depth, Flow, configs, dpt, raft, weights

RAFT_RULES = {
    "ours": ("raft", weights.OURS),
    "torchvision": ("raft", weights.TORCHVISION),
    "torchvision, small": ("raft_small", weights.TORCHVISION),
    "princeton": ("raft", weights.PRINCETON),
    "princeton, small": ("raft_small", weights.PRINCETON_SMALL),
}


def raft_directory(drawn, folder, layout: str, **changes) -> tuple:
    """A directory in that layout, with a config of ours since the network is narrow; its parameters."""
    name, rules = RAFT_RULES[layout]
    fields, _, params = drawn[name]
    tensors = weights.files.flatten(params) if layout == "ours" else foreign(params, rules)
    tensors = {k: np.array(v) for k, v in tensors.items()} | changes
    save_file({k: v for k, v in tensors.items() if v is not None}, folder / "model.safetensors")
    weights.files.write_config(folder, configs.FLOW, fields)
    return folder, params


def same(ours, params):
    jax.tree.map(assert_array_equal, ours, params)


@pytest.mark.parametrize("layout", RAFT_RULES)
def test_raft_in_every_layout(drawn, tmp_path, layout):
    directory, params = raft_directory(drawn, tmp_path, layout)
    flow = Flow.from_pretrained(directory)
    same(flow.params, params)
    flow.save_pretrained(tmp_path / "again")
    same(Flow.from_pretrained(tmp_path / "again").params, params)


@pytest.mark.parametrize("name", ["dpt", "hybrid"])
def test_dpt_in_both_layouts(drawn, published, tmp_path, name):
    directory, params = published(name)
    depth = Depth.from_pretrained(directory)
    assert depth.config == drawn[name][0]
    same(depth.params, params)
    depth.save_pretrained(tmp_path / "again")
    same(Depth.from_pretrained(tmp_path / "again").params, params)


def names_of_raft_things() -> set[str]:
    """Written down from princeton-vl/RAFT's modules: extractor.BasicEncoder, update.BasicUpdateBlock."""
    norm = ("weight", "bias", "running_mean", "running_var")
    names = set()
    for net in ("fnet", "cnet"):
        convs, norms = ["conv1", "conv2"], ["norm1"]
        for block in (f"layer{level}.{i}" for level in (1, 2, 3) for i in (0, 1)):
            convs += [f"{block}.conv1", f"{block}.conv2"]
            norms += [f"{block}.norm1", f"{block}.norm2"]
        for block in ("layer2.0", "layer3.0"):
            convs.append(f"{block}.downsample.0")
            norms += [f"{block}.downsample.1", f"{block}.norm3"]
        names |= {f"{net}.{conv}.{part}" for conv in convs for part in ("weight", "bias")}
        if net == "cnet":  # instance norms own nothing
            names |= {f"{net}.{n}.{part}" for n in norms for part in (*norm, "num_batches_tracked")}
    parts = [f"encoder.{conv}" for conv in ("convc1", "convc2", "convf1", "convf2", "conv")]
    parts += [f"gru.conv{gate}{i}" for gate in "zrq" for i in (1, 2)]
    parts += ["flow_head.conv1", "flow_head.conv2", "mask.0", "mask.2"]
    return names | {f"update_block.{p}.{part}" for p in parts for part in ("weight", "bias")}


def test_raft_things_as_it_was_published(drawn, tmp_path):
    """Under DataParallel's prefix, with counters, and the norms of shortcuts twice."""
    fields, _, params = drawn["raft"]
    tensors = foreign(params, weights.PRINCETON)
    for name in [n for n in tensors if ".downsample.1." in n and n.startswith("cnet")]:
        tensors[name.replace("downsample.1", "norm3")] = tensors[name]
    for name in [n for n in tensors if n.endswith("running_mean")]:
        tensors[name.replace("running_mean", "num_batches_tracked")] = np.array(7)
    assert set(tensors) == names_of_raft_things()
    save_file({f"module.{name}": x.copy() for name, x in tensors.items()}, tmp_path / "model.safetensors")
    weights.files.write_config(tmp_path, configs.FLOW, fields)
    same(Flow.from_pretrained(tmp_path).params, params)
    tensors["cnet.layer3.0.norm3.bias"] = tensors["cnet.layer3.0.norm3.bias"] + 1
    save_file({name: x.copy() for name, x in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="norm3.bias and cnet.layer3.0.downsample.1.bias differ"):
        Flow.from_pretrained(tmp_path)


def test_a_directory_without_a_config_is_raft_large_or_small():
    assert configs.flow_fields("nowhere", {"update_block.mask.2.weight": np.zeros(1)}) == raft.LARGE
    assert configs.flow_fields("nowhere", {"mask_predictor.conv.weight": np.zeros(1)}) == raft.LARGE
    assert configs.flow_fields("nowhere", {"update_block.gru.convz.weight": np.zeros(1)}) == raft.SMALL


def test_every_tensor_is_accounted_for(drawn, tmp_path):
    name, bias = "feature_encoder.layer2.0.downsample.0.weight", "mask_predictor.conv.bias"
    raft_directory(drawn, tmp_path, "torchvision", **{bias: None})
    with pytest.raises(ValueError, match=f"missing: {bias}; unexpected: none"):
        Flow.from_pretrained(tmp_path)
    raft_directory(drawn, tmp_path, "torchvision", extra=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="missing: none; unexpected: extra"):
        Flow.from_pretrained(tmp_path)
    raft_directory(drawn, tmp_path, "torchvision", **{name: np.zeros((24, 17, 1, 1), np.float32)})
    with pytest.raises(ValueError, match=rf"{name} has shape \(24, 17, 1, 1\).*the network has \(1, 1, 16, 24\)"):
        Flow.from_pretrained(tmp_path)
    raft_directory(drawn, tmp_path, "torchvision", **{name: np.zeros((24, 16), np.float32)})
    with pytest.raises(ValueError, match=rf"{name} has shape \(24, 16\)"):
        Flow.from_pretrained(tmp_path)
    raft_directory(drawn, tmp_path, "torchvision", **{bias: np.zeros(576, np.int32)})
    with pytest.raises(ValueError, match=f"{bias} holds int32, not floats"):
        Flow.from_pretrained(tmp_path)


class Hostile:
    ran: list = []

    def __reduce__(self):
        return (Hostile.ran.append, ("it ran",))


def test_pickles_are_refused_and_do_not_run(tmp_path):
    plain, zipped = tmp_path / "raft-things.pth", tmp_path / "zipped.pth"
    plain.write_bytes(pickle.dumps(Hostile()))
    with zipfile.ZipFile(zipped, "w") as archive:  # as torch.save writes today
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile()))
    for path in (tmp_path, plain, zipped):
        with pytest.raises(ValueError, match="a pickle.*not read; convert it once.*save_file") as error:
            Flow.from_pretrained(path)
        assert "\n" not in str(error.value) and "weights_only=True" in str(error.value)
    for path in (plain, zipped):  # under another name
        (tmp_path / "model.safetensors").write_bytes(path.read_bytes())
        with pytest.raises(ValueError, match="not a valid safetensors file"):
            Flow.from_pretrained(tmp_path)
    assert not Hostile.ran


def test_damaged_and_foreign_files(drawn, published, tmp_path):
    directory, _ = published("dpt")
    with pytest.raises(ValueError, match="model_type is 'dpt', 'videopoet_flow' is needed"):
        Flow.from_pretrained(directory)
    whole = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a valid safetensors file"):
        Depth.from_pretrained(directory)
    save_file({"bert.weight": np.zeros(3, np.float32)}, directory / "model.safetensors")
    with pytest.raises(ValueError, match=r"weights of another network \(it has bert.weight\)"):
        Depth.from_pretrained(directory)
    (directory / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: not JSON"):
        Depth.from_pretrained(directory)
    (directory / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="config.json"):
        Depth.from_pretrained(directory)
    with pytest.raises(ValueError, match="weights of another network"):
        Flow.from_pretrained(directory)  # no config is needed, but RAFT's names are
    with pytest.raises(FileNotFoundError, match="no such directory"):
        Flow.from_pretrained(tmp_path / "nowhere")
    fields = {**drawn["raft"][0], "levels": "four"}
    directory, _ = raft_directory(drawn, tmp_path, "torchvision")
    weights.files.write_config(directory, configs.FLOW, fields)
    with pytest.raises(ValueError, match="its config describes no network"):
        Flow.from_pretrained(directory)


LARGE = {
    "model_type": "dpt", "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16,
    "intermediate_size": 4096, "backbone_out_indices": [5, 11, 17, 23], "neck_hidden_sizes": [256, 512, 1024, 1024],
    "image_size": 384, "patch_size": 16, "fusion_hidden_size": 256, "reassemble_factors": [4, 2, 1, 0.5],
    "readout_type": "project", "qkv_bias": True, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
}  # fmt: skip
HYBRID = {
    "model_type": "dpt", "is_hybrid": True, "hidden_size": 768, "neck_hidden_sizes": [256, 512, 768, 768],
    "reassemble_factors": [1, 1, 1, 0.5], "backbone_featmap_shape": [1, 1024, 24, 24], "neck_ignore_stages": [0, 1],
    "backbone_config": {
        "model_type": "bit", "depths": [3, 4, 9], "embedding_dynamic_padding": True, "global_padding": "same",
        "layer_type": "bottleneck", "out_features": ["stage1", "stage2", "stage3"],
    },
}  # fmt: skip


def test_configs_of_the_published_networks():
    assert configs.from_transformers(LARGE, "x") == dpt.LARGE
    assert configs.from_transformers(HYBRID, "x") == dpt.HYBRID
    for config, key, value in (
        (LARGE, "readout_type", "add"),
        (LARGE, "use_batch_norm_in_fusion_residual", True),
        (LARGE, "reassemble_factors", [1, 1, 1, 0.5]),
        (HYBRID, "reassemble_factors", [4, 2, 1, 0.5]),
        (HYBRID, "backbone_config", {"layer_type": "preactivation"}),
        (LARGE, "backbone_config", {"model_type": "beit"}),
    ):
        with pytest.raises(ValueError, match="take .*DPT-Large|take one of them") as error:
            configs.from_transformers({**config, key: value}, "x")
        assert "\n" not in str(error.value)


def test_names_of_transformers_as_published(drawn):
    """A few of Intel/dpt-large's and Intel/dpt-hybrid-midas' names, written down."""
    names = set(foreign(drawn["dpt"][2], weights.TRANSFORMERS, 16))
    assert names > {
        "dpt.embeddings.cls_token",
        "dpt.embeddings.position_embeddings",
        "dpt.embeddings.patch_embeddings.projection.weight",
        "dpt.encoder.layer.0.attention.attention.query.bias",
        "dpt.encoder.layer.3.attention.output.dense.weight",
        "dpt.encoder.layer.2.layernorm_after.weight",
        "neck.reassemble_stage.readout_projects.3.0.weight",
        "neck.reassemble_stage.layers.0.resize.weight",
        "neck.convs.2.weight",
        "neck.fusion_stage.layers.1.residual_layer1.convolution2.bias",
        "head.head.4.weight",
    }
    bit = "dpt.embeddings.backbone.bit"
    assert set(foreign(drawn["hybrid"][2], weights.TRANSFORMERS_HYBRID)) > {
        "dpt.embeddings.projection.weight",
        f"{bit}.embedder.convolution.weight",
        f"{bit}.embedder.norm.bias",
        f"{bit}.encoder.stages.1.layers.0.downsample.conv.weight",
        f"{bit}.encoder.stages.2.layers.1.norm3.weight",
    }


def test_unused_tensors_of_transformers_are_left_out(drawn, published):
    directory, params = published("dpt")
    tensors = foreign(params, weights.TRANSFORMERS, 16)
    unit = {k: v for k, v in tensors.items() if "layers.1.residual_layer1" in k}
    tensors |= {k.replace("layers.1", "layers.0"): v.copy() for k, v in unit.items()}
    tensors |= {"dpt.layernorm.weight": np.ones(48, np.float32), "dpt.layernorm.bias": np.ones(48, np.float32)}
    halves = sorted(tensors)[::2], sorted(tensors)[1::2]
    index = {}
    for i, half in enumerate(halves, start=1):
        save_file({k: tensors[k] for k in half}, directory / f"model-0000{i}-of-00002.safetensors")
        index |= {k: f"model-0000{i}-of-00002.safetensors" for k in half}
    (directory / "model.safetensors").unlink()
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    same(Depth.from_pretrained(directory).params, params)
