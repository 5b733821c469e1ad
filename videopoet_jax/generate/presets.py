"""Words that say how a clip is shot and how it looks, put behind its prompt: `a red 3 moving left, camera pans right`.

[VP] steers the camera by short texts (its Figure 11), in clips from text and from images, and for comparisons gives all
prompts one suffix. A model follows words that its training texts had: `nano` none of these.
"""

from collections.abc import Mapping

CAMERAS = {
    "pan_left": "camera pans left",
    "pan_right": "camera pans right",
    "tilt_up": "camera tilts up",
    "tilt_down": "camera tilts down",
    "zoom_in": "camera zooms in",
    "zoom_out": "camera zooms out",
    "arc": "arc shot",
    "crane": "crane shot",
    "drone": "drone shot",
    "dolly_zoom": "dolly zoom",
}
STYLES = {
    "oil": "oil painting",
    "watercolor": "watercolor painting",
    "ink": "ink wash painting",
    "sketch": "pencil sketch",
    "pixel": "pixel art",
    "anime": "anime style",
    "noir": "black and white film noir",
    "cinematic": "highly detailed, cinematic, arc shot, high contrast, soft lighting, 8k",  # [VP]'s suffix
}


def extended(prompt: str, *, camera: str | None = None, style: str | None = None, suffix: str | None = None) -> str:
    """`a red 3, camera="pan_left", style="oil", suffix="8k" → a red 3, camera pans left, oil painting, 8k`

    Raises:
        ValueError: an unknown preset, or nothing that it could be put behind.
    """
    said = [_words("camera", camera, CAMERAS), _words("style", style, STYLES), suffix]
    words = [word for word in said if word]
    if words and not prompt.strip():
        raise ValueError(f"{words[0]!r}: says how a prompt is shown, and there is none; give a prompt.")
    return ", ".join([prompt, *words])


def _words(kind: str, name: str | None, presets: Mapping[str, str]) -> str:
    if name is not None and name not in presets:
        raise ValueError(f"{kind} {name!r}: unknown; use one of {', '.join(presets)}.")
    return presets[name] if name else ""
