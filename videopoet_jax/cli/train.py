"""`videopoet train`: any model of the library, from its config, in the one training loop."""

import math
from pathlib import Path

import click


@click.command()
@click.option("--config", "spec", required=True, help="Such as video_tokenizer:nano, or a file: my.py:variant.")
@click.option(
    "--workdir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Checkpoints and logs."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--init", "start", help="A shipped name or a directory of weights to start from; images are inflated.")
@click.option(
    "--export", "directory", type=click.Path(path_type=Path), help="Write the weights here at the end."
)
@click.option("--preview-every", type=click.IntRange(1), help="Steps between pictures of held-out examples.")
@click.option("--checkpoint-every", type=click.IntRange(1), default=500, show_default=True)
@click.option("--log-every", type=click.IntRange(1), default=20, show_default=True)
def command(spec, workdir, overrides, start, directory, preview_every, checkpoint_every, log_every) -> None:
    """Train a model; the same command goes on where a stopped run ended."""
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.recipes import recipe_for
    from videopoet_jax.training.compilation import use_compilation_cache

    config = load_config(spec, overrides)
    use_compilation_cache()
    recipe = recipe_for(config, workdir)
    state = _train(config, recipe, workdir, start, preview_every, checkpoint_every, log_every)
    if directory:
        params = state.params if state.ema_params is None else state.ema_params
        recipe.export(params, state.extra, directory)
        click.echo(f"wrote {directory}")


def _train(config, recipe, workdir, start, preview_every, checkpoint_every, log_every):
    import jax

    from videopoet_jax.parallel import initialize, make_mesh
    from videopoet_jax.training.loop import fit
    from videopoet_jax.training.optimizer import make_optimizer
    from videopoet_jax.training.schedules import make_schedule
    from videopoet_jax.training.state import create_state
    from videopoet_jax.training.step import make_train_step

    train = config.train
    # On CPU as many cores as divide the batch; elsewhere all devices, and a batch that does not divide is refused.
    devices = jax.devices()
    if jax.default_backend() == "cpu":
        devices = devices[: math.gcd(train.batch_size, len(devices))]
    mesh = make_mesh(devices)
    key = jax.random.key(config.seed)
    params, extra = recipe.start(start) if start else (initialize(recipe.init, mesh, key), recipe.extra)
    schedule = make_schedule(
        name=train.schedule,
        peak=train.learning_rate,
        steps=train.steps,
        warmup_steps=train.warmup_steps,
        end=train.learning_rate_end,
    )
    optimizer = make_optimizer(
        name=train.optimizer,
        learning_rate=schedule,
        b1=train.b1,
        b2=train.b2,
        eps=train.eps,
        weight_decay=train.weight_decay,
        clip_norm=train.clip_norm,
    )
    decay = train.ema_decay or None
    state = create_state(params, optimizer, mesh=mesh, key=key, extra=extra, ema=decay is not None)
    pictures = workdir / "pictures"

    def preview(state):
        pictures.mkdir(parents=True, exist_ok=True)
        params = state.params if state.ema_params is None else state.ema_params
        return recipe.preview(params, state.extra, pictures, int(state.step))

    return fit(
        state=state,
        train_step=make_train_step(recipe.loss_fn, optimizer, ema_decay=decay),
        batches=recipe.batches,
        steps=train.steps,
        mesh=mesh,
        workdir=workdir,
        checkpoint_every=checkpoint_every,
        log_every=log_every,
        evaluate_every=preview_every,
        evaluate=preview if recipe.preview else None,
        config=config,
    )
