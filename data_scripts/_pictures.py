"""JPEG and PNG files decoded, cropped and resized by Pillow."""

from __future__ import annotations

import io

import numpy as np
from _checks import Array, DataError, refuse_web_page


def decode(data: bytes, what: str, size: tuple[int, int] | None = None) -> Array:
    """An RGB picture (height, width, 3), of `size` (width, height) where one is expected."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("photographs need Pillow: pip install pillow") from error
    refuse_web_page(what, data[:64])
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "PNG"]) as image:
            if size is not None and image.size != size:
                raise DataError(
                    f"{what}: expected {size[0]}x{size[1]} pixels, got {image.size[0]}x{image.size[1]}. "
                    "Fetch the file again."
                )
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{what}: not a readable JPEG or PNG ({error}). Fetch the file again.") from error


def resize(picture: Array, side: int, box: tuple[int, int, int, int] | None = None) -> Array:
    """`picture`, or the `box` (left, top, right, bottom) of it, as side x side pixels: bicubic, antialiased."""
    from PIL import Image

    if box is None and picture.shape[:2] == (side, side):
        return picture
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box))
