"""Data: toy distributions, and the real sets that `data_scripts/` prepares."""

from ndiv_lib.data.digits import DigitsSplit, load_digits_split
from ndiv_lib.data.images import ImageSet, describe_images, load_images

__all__ = [
    "DigitsSplit",
    "ImageSet",
    "describe_images",
    "load_digits_split",
    "load_images",
]
