"""`videopoet train`: any model of the library, from its config, in the one training loop."""

import json
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from videopoet_jax.cli.targets import Place

POLICIES = ("abort", "skip", "roll-back")  # of training.nonfinite, which imports JAX
TRIALS = 3  # steps that are timed
LEAST_STEPS = 10
NEEDS = ("model_type", "model", "data", "train", "train.accumulate", "train.lora")


@click.command()
@click.option("--config", "spec", required=True, help="Such as video_tokenizer:nano, or a file: my.py:variant.")
@click.option(
    "--workdir", required=True, type=Place(), help="Checkpoints and logs: a directory, or gs://BUCKET/… (extra gcs)."
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a number of the config.")
@click.option("--init", "start", help="A shipped name or a directory of weights to start from; images are inflated.")
@click.option("--export", "directory", type=click.Path(path_type=Path), help="Write the weights here at the end.")
@click.option("--export-dtype", type=click.Choice(["bfloat16", "float32"]), default="bfloat16", show_default=True,
              help="What --export rounds the weights to; float32: not at all, for a next stage.")  # fmt: skip
@click.option("--export-adapters", "adapters", type=click.Path(path_type=Path),
              help="Write what train.lora trained here, alone; --export writes it merged.")  # fmt: skip
@click.option(
    "--minutes", type=float, help="As many steps as fit, by the speed of the first ones, instead of train.steps."
)
@click.option("--preview-every", type=click.IntRange(1), default=1000, show_default=True,
              help="Steps between pictures of held-out examples.")  # fmt: skip
@click.option("--profile", metavar="FIRST:END",
              help="Trace these steps into WORKDIR/profile; SIGUSR1 traces the next 5 of a process.")  # fmt: skip
@click.option("--non-finite", type=click.Choice(POLICIES), default=POLICIES[0], show_default=True,
              help="At a loss or gradient that is NaN or infinite: end; skip the step; or go on from the newest "
              "checkpoint, with later data. At most 10 times.")  # fmt: skip
@click.option("--distributed", is_flag=True, help="One of several processes, of a TPU pod or a Slurm job, say.")
@click.option("--dry-run", is_flag=True, help="Check the options and the config, and train nothing.")
@click.option("--checkpoint-every", type=click.IntRange(1), default=500, show_default=True)
@click.option("--log-every", type=click.IntRange(1), default=20, show_default=True)
@click.pass_obj
def command(
    invocation,
    spec,
    workdir,
    overrides,
    start,
    directory,
    export_dtype,
    adapters,
    minutes,
    profile,
    distributed,
    dry_run,
    **every,
) -> None:
    """Train a model; the same command goes on where a stopped run ended.

    On several machines run it on each, with --distributed and one workdir that all of them see; ./launch/train.sh does.
    """
    from videopoet_jax.cli.configuration import load_config
    from videopoet_jax.cli.shards import refuse_addresses
    from videopoet_jax.training.folders import is_address
    from videopoet_jax.training.profile import parse_steps

    if minutes is not None and not (math.isfinite(minutes) and minutes > 0):
        raise ValueError(f"--minutes {minutes:g}: a number above 0 is needed; leave it out to train train.steps.")
    if minutes is not None and distributed:
        raise ValueError("--minutes with --distributed: processes would plan apart; set train.steps instead.")
    every["profile"] = parse_steps(profile) if profile else range(0)
    refuse_addresses(*filter(None, (directory, adapters, start)), *(() if is_address(workdir) else (workdir,)))
    config = load_config(spec, overrides, needs=NEEDS)
    check_lora(config.train.lora, start, adapters)
    if dry_run:
        click.echo(f"{spec}: {config.train.steps} steps of {config.model_type}, kept in {workdir}")
        return

    from videopoet_jax.cli.recipes import recipe_for  # a dry run does without: machines that only launch need not wait
    from videopoet_jax.parallel.processes import joined
    from videopoet_jax.training.agreement import agree, code
    from videopoet_jax.training.compilation import use_compilation_cache
    from videopoet_jax.training.folders import Workdir

    with joined() if distributed else nullcontext(), Workdir(workdir) as here:
        agree(config=config, code=code())
        # Of several processes the first one alone writes programs: all must see where.
        use_compilation_cache(here.place / "compiled" if distributed else None)
        run = Run(config, recipe_for(config, here.local), start)
        agree(vocabulary=run.recipe.vocabulary, data=run.recipe.batches.get_state())
        if minutes is not None:
            config.train.steps = run.steps_within(minutes, here.local, invocation.started)
        run.write(run.train(here, **every), directory, export_dtype, adapters)


def check_lora(lora, start: str | None, adapters: Path | None) -> None:
    """Raises where adapters have nothing to adapt, or there are none to write."""
    if lora.rank and not start:
        raise ValueError(f"train.lora.rank {lora.rank}: adapters need weights to adapt; name them with --init.")
    if adapters and not lora.rank:
        raise ValueError(f"--export-adapters {adapters}: train.lora.rank is 0, so there are none; --set one above 0.")


def planned(note: Path, minutes: float) -> int:
    """The steps that an earlier call found to fit into as many minutes."""
    try:
        plan = json.loads(note.read_text())
        before, steps = float(plan["minutes"]), int(plan["steps"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{note}: not what `--minutes` wrote ({error}); delete it to plan anew.") from error
    if before != minutes:
        raise ValueError(
            f"--minutes {minutes:g}: the run in {note.parent} was planned for {before:g}; keep to that, or train in "
            f"another directory."
        )
    return steps


def averaged(state):
    """The parameters to keep: the moving average where there is one."""
    return state.params if state.ema_params is None else state.ema_params


def warmup_of(train) -> int:
    """A tenth of the steps at most: a short run must get to the peak and down again."""
    return min(train["warmup_steps"], train["steps"] // 10)


def optimizer_of(train):
    """The optimizer of a config's `train`, with its schedule.

    Raises:
        ValueError: numbers that nothing learns with.
    """
    from videopoet_jax.training.optimizer import make_optimizer
    from videopoet_jax.training.schedules import make_schedule

    if not train["learning_rate"] > 0:
        raise ValueError(f"learning_rate {train['learning_rate']:g}: a number above 0 is needed; give one.")
    schedule = make_schedule(
        name=train["schedule"],
        peak=train["learning_rate"],
        steps=train["steps"],
        warmup_steps=warmup_of(train),
        end=train["learning_rate_end"],
    )
    return make_optimizer(
        name=train["optimizer"],
        learning_rate=schedule,
        b1=train["b1"],
        b2=train["b2"],
        eps=train["eps"],
        weight_decay=train["weight_decay"],
        clip_norm=train["clip_norm"],
    )


def of_adversary(config) -> dict:
    """The numbers of a config's `adversary`; what that does not name is as in `train`, less the steps it sits out."""
    chosen, train = config.adversary, config.train
    numbers = {name: chosen.get(name, value) for name, value in train.items()}
    return {**numbers, "steps": train.steps - chosen.start}


def adversary_optimizer_of(config):
    """The optimizer of a config's `adversary`."""
    return optimizer_of(of_adversary(config))


def state_warmups(config, with_adversary: bool) -> None:
    """Writes the warm-ups that are used into the config, for its checkpoints to say, and tells of the shortened."""
    players = {"train": config.train, **({"adversary": of_adversary(config)} if with_adversary else {})}
    for name, numbers in players.items():
        before, used = numbers["warmup_steps"], warmup_of(numbers)
        if used < before:
            click.echo(f"{name}.warmup_steps {before} → {used}, a tenth of {numbers['steps']} steps")
            with config.unlocked():  # an adversary that had none of its own has one now
                config[name].warmup_steps = used


class Run:
    """A config and its recipe on this machine's devices."""

    def __init__(self, config, recipe, start: str | None) -> None:
        import jax

        from videopoet_jax.cli.adapted import adapted
        from videopoet_jax.parallel import make_mesh

        self.config, self.recipe, self.start = config, adapted(recipe, config.train.lora), start
        # On CPU as many devices as divide the batch; elsewhere all, and a batch that does not divide is refused.
        devices, processes = jax.devices(), jax.process_count()
        if jax.default_backend() == "cpu":
            each = math.gcd(config.train.batch_size // processes // config.train.accumulate, jax.local_device_count())
            devices = [device for number in range(processes) for device in jax.local_devices(number)[:each]]
        self.mesh = make_mesh(devices, **config.get("mesh", {}))

    def begin(self):
        """The state before the first step, and the step."""
        import jax
        import numpy as np

        from videopoet_jax.layers.objective import ADVERSARY
        from videopoet_jax.parallel import initialize, place
        from videopoet_jax.pretrained.tensors import Tensor
        from videopoet_jax.training.lora import init_adapters, with_base
        from videopoet_jax.training.state import create_state
        from videopoet_jax.training.step import make_train_step

        train, recipe, key = self.config.train, self.recipe, jax.random.key(self.config.seed)
        if train.steps < 1:
            raise ValueError(f"train.steps {train.steps}: at least 1 step is needed to train.")
        start = self.config.adversary.start if recipe.adversary else 0
        if start >= train.steps:
            raise ValueError(
                f"adversary.start {start}: the {train.steps} steps end before it; start earlier (--set "
                f"adversary.start={train.steps // 4}), train longer, or without it (--set adversary.weight=0)."
            )
        if self.start:
            params, extra = recipe.start(self.start)
            held = jax.tree.map(lambda x: x if isinstance(x, Tensor) else np.asarray(x), params)
            params = place(held, recipe.init, self.mesh, self.start)
        else:
            params, extra = initialize(recipe.init, self.mesh, key), recipe.extra
        extra = dict(extra)
        if train.lora.rank:
            numbers = dict(rank=train.lora.rank, match=train.lora.match)
            base, params = params, init_adapters(params, **numbers, key=jax.random.fold_in(key, 2))
            extra = with_base(extra, base)
        decay, optimizer, adversary = train.ema_decay or None, optimizer_of(train), None
        if recipe.adversary:
            adversary, extra[ADVERSARY] = self.begin_adversary(start)
        state = create_state(params, optimizer, mesh=self.mesh, key=key, extra=extra, ema=decay is not None)
        return state, make_train_step(
            recipe.loss_fn, optimizer, ema_decay=decay, adversary=adversary, accumulate=train.accumulate
        )

    def begin_adversary(self, start: int):
        """The second player and its state; it learns from step `start` on."""
        import jax

        from videopoet_jax.parallel import initialize
        from videopoet_jax.training.state import create_state
        from videopoet_jax.training.step import Adversary, make_train_step

        recipe, optimizer = self.recipe.adversary, adversary_optimizer_of(self.config)
        own, other = jax.random.split(jax.random.fold_in(jax.random.key(self.config.seed), 1))
        params = initialize(recipe.init, self.mesh, own)
        state = create_state(params, optimizer, mesh=self.mesh, key=other, extra=recipe.extra)
        step = make_train_step(recipe.loss_fn, optimizer, ema_decay=None, accumulate=self.config.train.accumulate)
        return Adversary(step, start), state

    def steps_within(self, minutes: float, workdir: Path, started: float) -> int:
        """How many steps end `minutes` after `started`; written down, so that a resumed run has the same."""
        import jax

        from videopoet_jax.pretrained.files import write_atomically
        from videopoet_jax.training.compilation import CompiledStep
        from videopoet_jax.training.loop import split_ids, to_devices

        note = workdir / "steps.json"
        if note.is_file():
            return planned(note, minutes)
        state, step = self.begin()
        if self.recipe.adversary:  # the dear steps are those with the adversary
            later = self.config.adversary.start
            state = state.replace(step=state.step + later, extra={**state.extra, "step": state.extra["step"] + later})
        compiled, times = CompiledStep(step, self.mesh, click.echo), [time.perf_counter()]
        with jax.set_mesh(self.mesh):
            for _ in range(1 + TRIALS):
                batch, _ = split_ids(self.recipe.batches[0])
                state, metrics = compiled(state, to_devices(batch, self.mesh))
                jax.block_until_ready(metrics)
                times.append(time.perf_counter())
        compiling, seconds = times[1] - times[0], (times[-1] - times[1]) / TRIALS
        # The schedule depends on the number of steps, so the run compiles anew: once for each part of its data at most.
        left = minutes * 60 - (times[-1] - started) - compiling * len(self.recipe.batches.get_state()["spec"])
        steps = max(LEAST_STEPS, int(left / seconds))
        click.echo(f"{seconds:.2f} s a step: {steps} steps fit into what is left of {minutes:g} minutes")
        plan = json.dumps({"minutes": minutes, "steps": steps})
        write_atomically(note, lambda path: path.write_text(plan + "\n"))
        return steps

    def train(
        self,
        workdir: Any,
        *,
        preview_every: int | None,
        checkpoint_every: int,
        log_every: int,
        profile: range = range(0),
        non_finite: str = POLICIES[0],
    ):
        """Runs the loop in `workdir` (a path or a `Workdir`); pictures of held-out examples go to its `pictures`."""
        import jax

        from videopoet_jax.cli.adapted import keep_base
        from videopoet_jax.parallel.processes import alone, own_copy
        from videopoet_jax.training.folders import Workdir
        from videopoet_jax.training.loop import fit

        state, step = self.begin()
        here = workdir.local if isinstance(workdir, Workdir) else workdir
        if self.config.train.lora.rank:
            keep_base(here, state, self.start)
        state_warmups(self.config, with_adversary=self.recipe.adversary is not None)
        pictures, first = here / "pictures", jax.process_index() == 0

        def preview(state):
            params, extra = averaged(state), state.extra
            if not self.recipe.together:
                params, extra = own_copy((params, extra))  # all of them: a split array comes from all
                if not first:
                    return {}
            if first:
                pictures.mkdir(parents=True, exist_ok=True)
            with nullcontext() if self.recipe.together else alone():
                return self.recipe.preview(params, extra, pictures if first else None, int(state.step))

        return fit(
            state=state,
            train_step=step,
            batches=self.recipe.batches,
            steps=self.config.train.steps,
            mesh=self.mesh,
            workdir=workdir,
            checkpoint_every=checkpoint_every,
            log_every=log_every,
            evaluate_every=preview_every,
            evaluate=preview if self.recipe.preview else None,
            work=self.recipe.work,
            profile=profile,
            non_finite=non_finite,
            config=self.config,
        )

    def write(self, state, directory: Path | None, dtype: str, adapters: Path | None) -> None:
        """The weights of a trained state, and what `train.lora` trained of them alone, where they are asked for."""
        import jax

        from videopoet_jax.parallel.processes import on_host

        if not directory and not adapters:
            return
        params, extra = on_host((averaged(state), state.extra))
        if jax.process_index() != 0:
            return
        if directory:
            self.recipe.trained(params, extra).save_pretrained(directory, dtype=dtype)
            click.echo(f"wrote {directory}")
        if adapters:
            from videopoet_jax.training.lora import base_of, fingerprint, save_adapters

            save_adapters(adapters, params, **self.config.train.lora, base=fingerprint(base_of(extra)))
            click.echo(f"wrote {adapters}")
