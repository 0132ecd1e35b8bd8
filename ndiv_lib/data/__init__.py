"""Data: toy distributions, and the real sets that `data_scripts/` prepares."""

from ndiv_lib.data.digits import DigitsSplit, load_digits_split
from ndiv_lib.data.images import ImageSet, describe_images, load_images
from ndiv_lib.data.toy import grid_centers, inside_donut, ring_centers, sample_donut, sample_gaussians

__all__ = [
    "DigitsSplit",
    "ImageSet",
    "describe_images",
    "grid_centers",
    "inside_donut",
    "load_digits_split",
    "load_images",
    "ring_centers",
    "sample_donut",
    "sample_gaussians",
]
