"""Pictures: PNG, JPEG, WebP … ↔ uint8 [h w 3], and how one is brought to a size."""

import os
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from videopoet_jax.data.media_open import MediaError, check_size, open_local
from videopoet_jax.pretrained.files import write_atomically

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def fit(
    image: UInt8[np.ndarray, "h w 3"], height: int, width: int, pixel_aspect: int | float = 1
) -> UInt8[np.ndarray, "h2 w2 3"]:
    """Resized until it covers height × width, the middle cut out; bicubic, antialiased when it shrinks.

    720×1280 → 64×64: the middle 720×720 is shrunk.  `pixel_aspect` is the width of a pixel over its height.
    """
    h, w = image.shape[:2]
    if (h, w) == (height, width) and pixel_aspect == 1:
        return image
    scale = max(height / h, width / (w * pixel_aspect))
    crop_h, crop_w = min(h, height / scale), min(w, width / scale / pixel_aspect)
    top, left = (h - crop_h) / 2, (w - crop_w) / 2
    # A reducing gap of 3 first averages whole blocks: several times faster on large pictures, no visible difference.
    box, picture = (left, top, left + crop_w, top + crop_h), Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0))


def target_size(h: int, w: int, height: int | None, width: int | None) -> tuple[int, int]:
    """The size asked for; a side that is not given follows the other one.  `720 1280, 64 None → 64 114`"""
    if height is None and width is None:
        return h, w
    if height is None:
        return max(1, round(h * width / w)), width
    return height, max(1, round(w * height / h)) if width is None else width


def read_image(
    path: str | os.PathLike, *, height: int | None = None, width: int | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture, upright (EXIF), transparent parts black, brought to the size as `fit` does.

    Raises:
        FileNotFoundError, MediaError: not a picture of a known format, damaged, or beyond the limits.
    """
    with open_local(path) as file:
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(file, formats=FORMATS) as image:
                check_size(path, image.height, image.width)  # nothing is decoded yet
                upright = ImageOps.exif_transpose(image).convert("RGBA")
        except MediaError:
            raise
        except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
            raise MediaError(
                f"{os.fspath(path)}: not a picture that can be read, or damaged; give one of {', '.join(FORMATS)}."
            ) from error
    black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
    pixels = np.array(Image.alpha_composite(black, upright).convert("RGB"))
    if height is None and width is None:
        return pixels
    goal = target_size(*pixels.shape[:2], height, width)
    check_size(path, *goal)
    return fit(pixels, *goal)


def is_still(path: str | os.PathLike) -> bool:
    """Whether it is a GIF of a single frame, which is a picture and no film."""
    if Path(path).suffix.lower() != ".gif":
        return False
    try:
        with open_local(path) as file, Image.open(file, formats=("GIF",)) as image:
            return not image.is_animated
    except Exception:  # Pillow's readers raise whatever a damaged file leads them to: reading it as a film says why
        return False


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [h w 3] as PNG, JPEG or WebP, by the suffix; the file appears whole or not at all."""
    path, kind = Path(path), PICTURES.get(Path(path).suffix.lower())
    if kind is None:
        raise MediaError(f"{path}: pictures are written as {', '.join(PICTURES)}; name it {path.stem}.png.")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise MediaError(f"picture {image.dtype}{list(image.shape)}: uint8 [h w 3] is needed; convert it.")
    check_size(path, *image.shape[:2])
    write_atomically(path, lambda temporary: Image.fromarray(image).save(temporary, format=kind))
