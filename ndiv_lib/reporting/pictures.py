"""Generated images as one picture: a row for each condition, a column for each latent."""

from __future__ import annotations

import io
from collections.abc import Mapping
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


def draw_bins(
    pictures: Mapping[str, np.ndarray],
    shares: Mapping[str, Any],
    *,
    labels: Mapping[str, str],
    colors: Mapping[str, str],
    title: str,
) -> None:
    """A figure with a column for each bin: some images of each set that fell into it, and below them the sets' shares.

    Args:
        pictures: set to its images, bytes ``(bins, images, height, width, 3)``; where all is 0 there is none.
        shares: set to its shares ``(bins,)``.
        labels: set to its name.
        colors: set to its color.
        title: above the figure.

    Raises:
        ImportError: without matplotlib (extra ``book``).
    """
    plt = require("matplotlib.pyplot", "book")
    heights = [members.shape[1] for members in pictures.values()]
    _, axes = plt.subplots(
        len(heights) + 1, 1, figsize=(7.6, 0.84 * sum(heights) + 1.8), height_ratios=[*heights, 1.8]
    )
    k = len(next(iter(shares.values())))
    for panel, (name, members) in zip(axes, pictures.items(), strict=False):
        shown = np.where(members.max((2, 3, 4), keepdims=True) == 0, np.uint8(235), members)
        framed = np.pad(shown, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
        columns = [np.concatenate(list(of_bin)) for of_bin in framed]
        panel.imshow(np.concatenate(columns, 1), extent=(-0.5, k - 0.5, 0, 1), aspect="auto")
        panel.set(xticks=[], yticks=[])
        panel.set_ylabel(labels[name], color=colors[name], rotation=0, ha="right", va="center", labelpad=8)
        panel.spines[:].set_visible(False)
    for i, (name, of_set) in enumerate(shares.items()):
        places = np.arange(k) + (i - (len(shares) - 1) / 2) * 0.8 / len(shares)
        axes[-1].bar(places, 100 * np.asarray(of_set), 0.8 / len(shares), color=colors[name])
    axes[-1].set(xlim=(-0.5, k - 0.5), xticks=[], xlabel="bins of similar real images")
    axes[-1].set_ylabel("share of\nimages, %")
    axes[0].set_title(title, loc="left")


def encode_image_grid(images: Any, *, scale: int = 4) -> bytes:
    """The grid as a lossless WebP, each pixel a square of ``scale`` pixels; a frame for a slider."""
    pillow = require("PIL.Image", "book")
    picture, file = (
        pillow.fromarray(np.kron(image_grid(images), np.ones((scale, scale), np.uint8))),
        io.BytesIO(),
    )
    picture.save(file, format="webp", lossless=True)
    return file.getvalue()
