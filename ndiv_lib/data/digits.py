"""Real images that every reader has: the 1,797 handwritten digits of scikit-learn, 8x8."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ndiv_lib._checks import require


class DigitsSplit(NamedTuple):
    """Images float32 (n, 1, 8, 8) in [-1, 1] and labels int64 (n,), of a training and of a held-out part."""

    train_images: Tensor
    train_labels: Tensor
    held_out_images: Tensor
    held_out_labels: Tensor


def load_digits_split(*, held_out: float = 0.5, seed: int) -> DigitsSplit:
    """Split scikit-learn's 1,797 digits into training and held-out images, class by class.

    Images are float32 (n, 1, 8, 8) in [-1, 1] (the stored 0 to 16 over 8, minus 1), labels int64 (n,).
    ``held_out`` is the fraction of every class that is held out, strictly between 0 and 1, rounded to whole
    images and leaving at least one on either side. The same seed gives the same split; both parts keep the
    order of the set.

    Raises ``ValueError`` for a fraction out of range, ``ImportError`` naming the extra without scikit-learn.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998, test part, CC BY 4.0.

    >>> split = load_digits_split(seed=0)
    >>> tuple(split.train_images.shape), len(split.held_out_labels)
    ((899, 1, 8, 8), 898)
    """
    if not 0 < held_out < 1:
        raise ValueError(f"expected held_out to be a fraction strictly between 0 and 1, got {held_out}.")
    digits = require("sklearn.datasets", "metrics").load_digits()
    images = torch.from_numpy(digits.images).float()[:, None] / 8 - 1
    labels = torch.from_numpy(digits.target).long()

    generator = torch.Generator().manual_seed(seed)
    is_held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        members = members[torch.randperm(len(members), generator=generator)]
        count = min(max(round(held_out * len(members)), 1), len(members) - 1)
        is_held_out[members[:count]] = True
    return DigitsSplit(images[~is_held_out], labels[~is_held_out], images[is_held_out], labels[is_held_out])
