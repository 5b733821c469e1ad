"""Narrow networks with random weights, and directories of them in the layouts of others."""

import json

import pytest
import structure_twins as twins
from safetensors.numpy import save_file
from twins.structure import foreign, transformers_json

from videopoet_jax.structure import dpt, raft, weights

RAFT = {**raft.LARGE, **twins.NARROW_RAFT}
RAFT_SMALL = {**raft.SMALL, **twins.NARROW_RAFT_SMALL}
DPT = {**dpt.LARGE, **twins.NARROW_DPT}
HYBRID = {**dpt.LARGE, **twins.NARROW_HYBRID}


@pytest.fixture(scope="session")
def drawn():
    """By the name of a network: its fields, what makes its parameters, random ones."""
    inits = {
        **{name: (f, twins.raft_init(f)) for name, f in {"raft": RAFT, "raft_small": RAFT_SMALL}.items()},
        **{name: (f, twins.dpt_init(f)) for name, f in {"dpt": DPT, "hybrid": HYBRID}.items()},
    }
    return {name: (fields, init, twins.drawn(init, 3)) for name, (fields, init) in inits.items()}


@pytest.fixture
def published(drawn, tmp_path):
    """`published("dpt")`: a directory as transformers writes it, and the parameters that lie there."""

    def write(name: str):
        fields, _, params = drawn[name]
        rules = weights.TRANSFORMERS_HYBRID if name == "hybrid" else weights.TRANSFORMERS
        patch = 1 if name == "hybrid" else fields["patch"]
        save_file(foreign(params, rules, patch), tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(transformers_json(fields)))
        return tmp_path, params

    return write
