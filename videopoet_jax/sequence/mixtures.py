"""How often each task is trained on: named mixtures of rates, for `data.mixture` of a config and for SeqIO.

[VP] trains on pictures first (a quarter of the steps, nine tenths of them pictures) and on clips then (one tenth
pictures), and at last on the task that a model is for. How clips are shared among tasks it does not say: ours, but for
the ablation's parts (its Table 1), which give each of their tasks as much.
"""

from types import MappingProxyType

_CLIPS = {
    "text_to_video": 0.30,
    "unconditional": 0.05,
    "image_to_video": 0.06,
    "image_to_video_without_text": 0.05,
    "frame_prediction_5": 0.04,
    "frame_prediction_9": 0.04,
    "frame_prediction_13": 0.03,
    "frame_interpolation": 0.03,
    "inpainting": 0.07,
    "outpainting": 0.07,
    "editing": 0.04,
    "stylization": 0.04,
    "stylization_with_first_frame": 0.03,
    "video_to_audio": 0.04,
    "audio_to_video": 0.04,
    "audio_video_continuation": 0.03,
    "video_continuation": 0.03,
    "captioning": 0.01,
}
# [VP] Table 1: what needs no text; painting is one task of two
_SELF_SUPERVISED = {
    "unconditional": 2,
    "frame_prediction_5": 2,
    "inpainting": 1,
    "outpainting": 1,
    "audio_video_continuation": 2,
}


def _shared(weights: dict[str, int]) -> dict[str, float]:
    """Weights → rates that add up to 1."""
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _with_pictures(share: float) -> dict[str, float]:
    """So large a share of steps on pictures, the rest on clips."""
    return {"text_to_image": share} | {name: round((1 - share) * rate, 6) for name, rate in _CLIPS.items()}


MIXTURES = MappingProxyType(
    {
        "pictures_first": _with_pictures(0.9),  # [VP] the first quarter of the steps
        "clips_then": _with_pictures(0.1),  # [VP] the rest
        "clips": _CLIPS,
        "evenly": _shared(dict.fromkeys(("text_to_image", *_CLIPS), 1)),
        # [VP] Table 1, whose rows train equally long: each task of a row as often
        "ablation_text_to_video": {"text_to_video": 1.0},
        "ablation_self_supervised": _shared(_SELF_SUPERVISED),
        "ablation_without_pictures": _shared({"text_to_video": 2, **_SELF_SUPERVISED}),
        "ablation_all": _shared({"text_to_image": 2, "text_to_video": 2, **_SELF_SUPERVISED}),
        # [VP] task adaptation: text-to-video, and what it is chained with
        "adapt_to_text": {"text_to_video": 0.8, "text_to_image": 0.1, "image_to_video": 0.1},
        "adapt_to_sound": {"video_to_audio": 0.5, "audio_to_video": 0.25, "audio_video_continuation": 0.25},
        "adapt_to_style": {"stylization": 0.6, "stylization_with_first_frame": 0.4},
        "adapt_to_painting": {"inpainting": 0.4, "outpainting": 0.4, "editing": 0.2},
        "adapt_to_long_video": {"video_continuation": 0.8, "frame_prediction_9": 0.2},
    }
)


def get_mixture(name: str) -> dict[str, float]:
    """The rates of a mixture; raises with the list of names."""
    if name not in MIXTURES:
        raise ValueError(f"mixture {name!r}: unknown; use one of {', '.join(MIXTURES)}, or give rates in data.tasks.")
    return dict(MIXTURES[name])
