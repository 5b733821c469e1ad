"""Every config, resolved, as it was last looked at: a change of any number shows in review.

After a change that is meant: python tests/golden/test_configs.py
"""

import importlib.util
import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(p for p in (HERE.parents[1] / "configs").glob("[a-z]*.py"))


def module_of(path: Path):
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variants(path: Path) -> tuple[str, ...]:
    module = module_of(path)
    return module.SIZES if hasattr(module, "SIZES") else module.VARIANTS


def resolved(path: Path) -> dict[str, dict]:
    """variant → key → value, the keys of nested configs joined by dots."""
    return {name: flat(module_of(path).get_config(name).to_dict()) for name in variants(path)}


def flat(tree: dict, prefix: str = "") -> dict:
    leaves = {}
    for key, value in tree.items():
        leaves.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return json.loads(json.dumps(leaves))  # tuples become lists, as in the file


CASES = [(path, name) for path in FILES for name in variants(path)]


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{p.stem}:{n}" for p, n in CASES])
def test_resolved_config_is_the_golden_one(path, name):
    now = flat(module_of(path).get_config(name).to_dict())
    golden = json.loads((HERE / f"{path.stem}.json").read_text())[name]
    changed = {k: (golden.get(k), now.get(k)) for k in golden.keys() | now.keys() if golden.get(k) != now.get(k)}
    assert now.keys() == golden.keys() and not changed, f"key: (golden, now) = {changed}; see {Path(__file__).name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_goldens_cover_exactly_the_variants(path):
    assert list(json.loads((HERE / f"{path.stem}.json").read_text())) == list(variants(path))
    assert "nano" in variants(path)  # what CI can run
    assert {p.stem for p in HERE.glob("*.json")} == {p.stem for p in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_an_unknown_variant_names_the_known_ones(path):
    with pytest.raises(ValueError, match=f"'giant'.*{', '.join(variants(path))}"):
        module_of(path).get_config("giant")


def module_class(model_type: str):
    """The Flax module whose fields a config's `model` must give, all of them and no others."""
    from videopoet_jax.audio.soundstream import SoundStream
    from videopoet_jax.lm.transformer import PrefixLM
    from videopoet_jax.text.t5 import T5Encoder
    from videopoet_jax.video.model import VideoTokenizerModel

    return {
        "videopoet_audio_tokenizer": SoundStream,
        "videopoet_lm": PrefixLM,
        "videopoet_text_encoder": T5Encoder,
        "videopoet_video_tokenizer": VideoTokenizerModel,
    }[model_type]


MODELS = [(path, name) for path, name in CASES if path.stem != "pipeline"]


@pytest.mark.parametrize(("path", "name"), MODELS, ids=[f"{p.stem}:{n}" for p, n in MODELS])
def test_a_model_has_no_number_of_its_own(path, name):
    config = module_of(path).get_config(name)
    fields = module_class(config.model_type).__dataclass_fields__
    assert set(config.model) == set(fields) - {"parent", "name"}


if __name__ == "__main__":
    for path in FILES:
        (HERE / f"{path.stem}.json").write_text(json.dumps(resolved(path), indent=1, ensure_ascii=False) + "\n")
        print(HERE / f"{path.stem}.json")
