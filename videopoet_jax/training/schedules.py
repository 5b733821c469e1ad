"""Learning rates as functions of the step.

constant        peak after the warm-up, to the end
cosine          warm-up, then half a cosine down to `end`
linear          warm-up, then a straight line down to `end`
"""

import optax


def make_schedule(*, name: str, peak: float, steps: int, warmup_steps: int, end: float) -> optax.Schedule:
    """The schedule `name`: from 0 to `peak` over `warmup_steps`, then to `end` at `steps` (`constant` stays at `peak`).

    Raises:
        ValueError: an unknown name, or a warm-up that leaves no step to train.
    """
    if not 0 <= warmup_steps < max(1, steps):
        raise ValueError(
            f"warmup_steps {warmup_steps} of {steps} steps: must lie in [0, {steps}); shorten the warm-up."
        )
    rest = steps - warmup_steps
    if name == "constant":
        after = optax.constant_schedule(peak)
    elif name == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, alpha=end / peak)
    elif name == "linear":
        after = optax.linear_schedule(peak, end, rest)
    else:
        raise ValueError(f"schedule {name!r}: unknown; choose constant, cosine or linear.")
    if warmup_steps == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), after], [warmup_steps])
