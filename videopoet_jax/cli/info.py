"""`videopoet info`: what a model is, or what this machine is."""

import click


@click.command()
@click.argument("model", required=False)
def command(model: str | None) -> None:
    """Describe MODEL (a shipped name or a directory); without one, this machine and the models that ship."""
    if model is None:
        _machine()
    else:
        _model(model)


def _machine() -> None:
    import importlib.metadata

    import jax

    from videopoet_jax.pretrained import shipped

    for package in ("videopoet_jax", "jax", "flax", "optax", "orbax-checkpoint", "av"):
        click.echo(f"{package:18s}{importlib.metadata.version(package)}")
    devices = jax.devices()
    click.echo(f"{'devices':18s}{len(devices)} × {devices[0].device_kind} ({jax.default_backend()})")
    click.echo(f"{'shipped models':18s}{', '.join(shipped()) or 'none'}")


def _model(model: str) -> None:
    import json
    import math

    from videopoet_jax.pretrained import digest, open_tree, resolve
    from videopoet_jax.pretrained.files import CONFIG, flatten, weight_files

    root = resolve(model)
    click.echo(f"{root}")
    for path in sorted({root, *(p.parent for p in root.glob(f"*/{CONFIG}"))}):
        try:
            config = json.loads((path / CONFIG).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path / CONFIG}: not JSON ({error}); copy the model again.") from error
        click.echo(f"\n{path.name}: {config.pop('model_type', '?')} version {config.pop('version', '?')}")
        click.echo("  " + ", ".join(f"{k} {v}" for k, v in config.items()))
        if path == root and not any(root.glob("*.safetensors*")):
            continue
        arrays = flatten(open_tree(path, dtype=None))
        count = sum(math.prod(array.shape) for array in arrays.values())
        size = sum(file.stat().st_size for file in weight_files(path))
        click.echo(f"  {count / 1e6:.2f} M numbers in {len(arrays)} arrays, {size / 1e6:.2f} MB, {digest(path)[:19]}…")
