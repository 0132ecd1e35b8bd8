"""Generated images as one picture: a row for each condition, a column for each latent."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ndiv_lib._checks import require
from ndiv_lib.reporting.style import COLORS


def image_grid(images: Any, *, gap: int = 2) -> np.ndarray:
    """Images side by side, as dark ink on white paper.

    Args:
        images: ``(rows, columns, height, width)`` in [-1, 1], where 1 is ink.
        gap: white pixels below and to the right of each image.

    Returns:
        Bytes ``(rows (height + gap), columns (width + gap))``.

    Raises:
        ValueError: for another number of dimensions.

    Example:
        >>> image_grid(np.ones((2, 3, 8, 8))).shape
        (20, 30)
    """
    pixels = np.asarray(images, dtype=float)
    if pixels.ndim != 4:
        raise ValueError(f"expected images of shape (rows, columns, height, width), got {pixels.shape}.")
    ink = np.pad(pixels, ((0, 0), (0, 0), (0, gap), (0, gap)), constant_values=-1)
    rows, columns, height, width = ink.shape
    paper = np.clip(127.5 * (1 - ink), 0, 255).round().astype(np.uint8)
    return paper.transpose(0, 2, 1, 3).reshape(rows * height, columns * width)


def draw_image_grid(axes: Any, images: Any, *, method: str, title: str) -> None:
    """The grid in matplotlib axes, its title in the method's color."""
    axes.imshow(image_grid(images), cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, color=COLORS[method])
    axes.set_axis_off()


def encode_image_grid(images: Any, *, scale: int = 4) -> bytes:
    """The grid as a lossless WebP, each pixel a square of ``scale`` pixels; a frame for a slider."""
    pillow = require("PIL.Image", "book")
    picture, file = (
        pillow.fromarray(np.kron(image_grid(images), np.ones((scale, scale), np.uint8))),
        io.BytesIO(),
    )
    picture.save(file, format="webp", lossless=True)
    return file.getvalue()
