"""Rules keep what they say, give every reason, and refuse what cannot be meant."""

import math

import pytest

from videopoet_jax.data import curation, curation_filter
from videopoet_jax.data.curation import Annotations, Letterbox, annotate
from videopoet_jax.data.curation_filter import DEFAULT_RULES, Reason, Verdict, verdict
from videopoet_jax.data.moving_digits import render

CLIP = Annotations(
    frames=17, duration=2.125, motion=0.01, static=0.0, black=0.0, letterbox=Letterbox(0.1, 0.1, 0.0, 0.0),
    sharpness=500.0, brightness=0.5, colourfulness=40.0, has_audio=True, loudness=-20.0, silence=0.1, caption=False,
    caption_words=0, first_hash=1, middle_hash=2, scores={"beauty": 5.0},
)  # fmt: skip


@pytest.fixture(autouse=True)
def beauty(monkeypatch):
    for module in (curation, curation_filter):
        monkeypatch.setattr(module, "ANNOTATORS", {"beauty": max})


@pytest.mark.parametrize(
    ("rules", "reasons"),
    [
        ({}, ()),
        ({"motion": (0.01, 0.01), "duration": (None, None)}, ()),  # both bounds are within
        ({"motion": (0.02, None)}, (Reason("motion", 0.01, 0.02),)),
        ({"motion": (None, 0.009), "sharpness": (400, 600)}, (Reason("motion", 0.01, 0.009),)),
        ({"letterbox": (None, 0.05)}, (Reason("letterbox", pytest.approx(0.2), 0.05),)),
        ({"caption": True, "has_audio": True}, (Reason("caption", False, True),)),
        ({"has_audio": False, "duplicate": False}, (Reason("has_audio", True, False),)),
        ({"beauty": [6, None], "frames": (18, None)}, (Reason("beauty", 5.0, 6), Reason("frames", 17, 18))),
    ],
)
def test_reasons_are_all_that_is_broken_in_the_order_of_the_rules(rules, reasons):
    assert verdict(CLIP, rules) == Verdict(not reasons, reasons)


def test_reasons_read_well():
    assert str(Reason("motion", 0.0001234, 0.0005)) == "motion below 0.0005: 0.000123"
    assert str(Reason("black", 1.0, 0.1)) == "black above 0.1: 1"
    assert str(Reason("caption", False, True)) == "no caption"
    assert str(Reason("duplicate", True, False)) == "duplicate"


def test_what_is_no_number_is_outside():
    odd = CLIP._replace(scores={"beauty": math.nan})
    for rule in ((0, None), (None, 9)):
        assert not verdict(odd, {"beauty": rule}).kept


def test_the_defaults_keep_moving_digits_over_photographs_and_drop_a_still(monkeypatch):
    monkeypatch.setattr(curation, "ANNOTATORS", {})
    clip = render("train", 2, 0, height=128, width=128)
    found = annotate(clip.frames, fps=8)
    assert verdict(found, DEFAULT_RULES) == Verdict(True, ())
    still = annotate([clip.frames[0]] * 17, fps=8)
    assert [reason.field for reason in verdict(still, DEFAULT_RULES).reasons] == ["motion", "static"]
    repeated = verdict(found._replace(duplicate="x"), DEFAULT_RULES)
    assert [reason.field for reason in repeated.reasons] == ["duplicate"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"moton": (0, 1)}, "rule 'moton': no such field; use one of frames, duration, motion, .*, duplicate, beauty"),
        ({"first_hash": (0, 1)}, "rule 'first_hash': no such field"),
        ({"caption": (0, 1)}, "rule caption: .*: it is a yes or no; give True or False"),
        ({"motion": True}, "rule motion: True: it is a number; give .low, high."),
        ({"motion": (1,)}, "rule motion: .*: it is a number"),
        ({"motion": ("0", "1")}, "rule motion: .*: it is a number"),
        ({"motion": (0.2, 0.1)}, "rule motion: .*: nothing is between; give low ≤ high"),
        ({"motion": (math.nan, 0.1)}, "rule motion: .*: nothing is between"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules, message):
    with pytest.raises(ValueError, match=message):
        curation_filter.check_rules(rules)


def test_a_clip_that_lacks_a_score_is_refused():
    with pytest.raises(ValueError, match="rule 'beauty': the clip was annotated without it; annotate it anew"):
        verdict(CLIP._replace(scores={}), {"beauty": (0, None)})
