"""What a pipeline says of itself beside its models: `nano` (ships) and `local` (your own clips)."""

from ml_collections import ConfigDict, config_dict

VARIANTS = ("nano", "local")


def get_config(arg: str = "nano") -> ConfigDict:
    """The settings of one variant; the fields are `generate.pipeline.Settings`'. All numbers are ours."""
    if arg not in VARIANTS:
        raise ValueError(f"pipeline {arg!r}: unknown; use one of {', '.join(VARIANTS)}.")
    c = ConfigDict()
    c.num_frames, c.height, c.width, c.fps = 17, 64, 64, 8.0
    c.sample_rate, c.audio_levels, c.audio_order = 16_000, 1, "levels"
    c.text_length = 16
    c.source = "video"
    c.tasks = (
        "text_to_video",
        "unconditional",
        "image_to_video",
        "frame_prediction_5",
        "frame_prediction_9",
        "frame_prediction_13",
    )
    c.guidance_scale = config_dict.placeholder(float)
    c.temperature = 1.0
    c.top_k = config_dict.placeholder(int)
    c.top_p = config_dict.placeholder(float)
    c.grammar, c.grammar_pattern = "", ""

    if arg == "nano":
        c.source = "moving_digits"
        c.guidance_scale = 1.5
        c.temperature = 0.8
        c.grammar = "a {red|green|blue|yellow|cyan|magenta|white} {0…9} moving {left|right|up|down}"
        c.grammar_pattern = (
            r"a (red|green|blue|yellow|cyan|magenta|white) [0-9] moving (left|right|up|down)"  # level 1's captions
        )
    return c
