"""Multilayer perceptrons, the networks of all two-dimensional experiments."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn


class MLP(nn.Sequential):
    """Linear layers with leaky rectifiers between them (NDiv's released 2-D networks use slope 0.1).

    Args:
        sizes: widths from input to output, at least two.
        negative_slope: slope of the rectifier below zero.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for fewer than two sizes.

    Example:
        >>> import torch
        >>> MLP([2, 64, 64, 1])(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self, sizes: Sequence[int], *, negative_slope: float = 0.1, generator: torch.Generator | None = None
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"expected at least an input and an output size, got {list(sizes)}.")
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(negative_slope)]
            for parameter in layers[-2].parameters():  # torch's default law, drawn from the given generator
                nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5, generator=generator)
        super().__init__(*layers[:-1])
