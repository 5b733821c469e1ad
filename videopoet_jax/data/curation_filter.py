"""Which clips a model learns from: one table of rules, and for every clip the verdict with its reasons.

{"motion": (0.0005, 0.1), "black": (None, 0.1), "duplicate": False, "caption": True}

a number's field   (low, high): kept when low ≤ value ≤ high; None is no bound
a yes or no        True: it must be so; False: it must not
a score of yours   by the name that it was registered with
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from videopoet_jax.data.curation import ANNOTATORS, NOT_FIGURES, Annotations, Figure, figures, load_plugins

Rule = bool | Sequence[float | int | None]
SWITCHES = {"has_audio", "caption", "duplicate"}  # fields that are a yes or no

# Not in the papers, which give no numbers; ours, for clips at 8 frames a second.
DEFAULT_RULES: Mapping[str, Rule] = {
    "duration": (2.125, None),  # [VP] 17 frames, the shortest clip that it trains on
    # A talking head has 0.001, a camera that is carried about 0.03. Above 0.1 the flow cannot follow (it finds at most
    # 0.12), and an eye can no more: a shaken camera, or cuts.
    "motion": (0.0005, 0.1),
    "static": (None, 0.9),  # slides and stills, with a change now and then that `motion` counts
    "black": (None, 0.1),  # at most a tenth of a fade
    "letterbox": (None, 0.05),  # of the area, so that 17 frames of it give no more than a line of tokens to bars
    "sharpness": (15.0, None),  # a photograph has 300 to 3,000, blurred with a σ of 2 pixels of 128 3 to 30; fog 40
    "brightness": (0.03, 0.97),  # nearly all black or white; the earth before black space has 0.04
    "duplicate": False,
}


class Reason(NamedTuple):
    """Why a clip is dropped: a field, its value, and the bound that it breaks (the low, the high, or a bool)."""

    field: str
    value: Figure
    bound: Figure

    def __str__(self) -> str:
        return self.rule() if isinstance(self.bound, bool) else f"{self.rule()}: {self.value:.3g}"

    def rule(self) -> str:
        """What all clips have in common that are dropped for it.  `motion below 0.0005`, `no caption`"""
        if isinstance(self.bound, bool):
            return f"no {self.field}" if self.bound else self.field
        side = "below" if self.value < self.bound else "above" if self.value > self.bound else "not a number, bound"
        return f"{self.field} {side} {self.bound:g}"


class Verdict(NamedTuple):
    """`kept`, or all the reasons why not, in the order of the rules."""

    kept: bool
    reasons: tuple[Reason, ...]


def verdict(annotations: Annotations, rules: Mapping[str, Rule]) -> Verdict:
    """Whether the clip is kept by all rules.

        motion 0.0001, {"motion": (0.0005, 0.1)}  →  Verdict(False, (Reason("motion", 0.0001, 0.0005),))

    A value that is no number (a score of a user's own) is outside all bounds.

    Raises:
        ValueError: see `check_rules`.
    """
    check_rules(rules)
    values = figures(annotations)
    reasons = [_broken(field, values, rule) for field, rule in rules.items()]
    reasons = tuple(reason for reason in reasons if reason)
    return Verdict(not reasons, reasons)


def _broken(field: str, values: Mapping[str, Figure], rule: Rule) -> Reason | None:
    if field not in values:
        raise ValueError(f"rule {field!r}: the clip was annotated without it; annotate it anew.")
    value = values[field]
    if isinstance(rule, bool):
        return None if value == rule else Reason(field, value, rule)
    low, high = rule
    if low is not None and not value >= low:
        return Reason(field, value, low)
    return Reason(field, value, high) if high is not None and not value <= high else None


def fields() -> list[str]:
    """What there may be rules for, a user's own annotators too."""
    load_plugins()
    return [field for field in Annotations._fields if field not in NOT_FIGURES] + list(ANNOTATORS)


def check_rules(rules: Mapping[str, object]) -> None:
    """Refuses a table that cannot be meant.

    Raises:
        ValueError: an unknown field, a range for a yes or no, or the reverse, or low above high.
    """
    known = fields()
    for field, rule in rules.items():
        if field not in known:
            raise ValueError(f"rule {field!r}: no such field; use one of {', '.join(known)}.")
        if field in SWITCHES:
            if not isinstance(rule, bool):
                raise ValueError(f"rule {field}: {rule!r}: it is a yes or no; give True or False.")
        elif not _is_range(rule):
            raise ValueError(f"rule {field}: {rule!r}: it is a number; give (low, high), None for no bound.")
        elif not _ordered(*rule):
            raise ValueError(f"rule {field}: {rule!r}: nothing is between; give low ≤ high, None for no bound.")


def _is_range(rule: object) -> bool:
    pair = not isinstance(rule, str) and isinstance(rule, Sequence) and len(rule) == 2
    return pair and all(isinstance(x, float | int | None) and not isinstance(x, bool) for x in rule)


def _ordered(low: float | int | None, high: float | int | None) -> bool:
    return (-math.inf if low is None else low) <= (math.inf if high is None else high)
