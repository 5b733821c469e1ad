"""`videopoet data`: what the language model is trained on."""

import click

from videopoet_jax.cli import data_curate, data_prepare, data_show, data_stats


@click.group()
def command() -> None:
    """Prepare training data, and look at it."""


for module in (data_curate, data_prepare, data_show, data_stats):
    command.add_command(module.command)
