"""Data: toy distributions, and the real sets that `data_scripts/` prepares."""

from ndiv_lib.data.digits import DigitsSplit, load_digits_split
from ndiv_lib.data.images import ImageSet, Pairs, describe_images, load_bytes, load_images, load_pairs
from ndiv_lib.data.one_to_many import ModesFound, OneToMany, Samples
from ndiv_lib.data.toy import (
    branch_modes,
    conditional_centers,
    distance_to_donut,
    distance_to_hi,
    grid_centers,
    inside_donut,
    inside_hi,
    inside_uneven_ring,
    ring_centers,
    sample_donut,
    sample_gaussians,
    sample_hi,
    sample_uneven_ring,
)

__all__ = [
    "DigitsSplit",
    "ImageSet",
    "ModesFound",
    "OneToMany",
    "Pairs",
    "Samples",
    "branch_modes",
    "conditional_centers",
    "describe_images",
    "distance_to_donut",
    "distance_to_hi",
    "grid_centers",
    "inside_donut",
    "inside_hi",
    "inside_uneven_ring",
    "load_bytes",
    "load_digits_split",
    "load_images",
    "load_pairs",
    "ring_centers",
    "sample_donut",
    "sample_gaussians",
    "sample_hi",
    "sample_uneven_ring",
]
