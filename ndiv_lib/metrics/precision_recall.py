"""Precision, recall, density, coverage: quality and diversity as two numbers, from nearest neighbors.

Around every real sample lies a ball that reaches to its k-th nearest real neighbor; together the balls are the real
manifold. Generated samples should fall into the balls (quality), and into as many of them as possible (diversity).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ndiv_lib._checks import check_floating, check_two_sets
from ndiv_lib.distances import pairwise_distances


@dataclass(frozen=True)
class PrecisionRecall:
    """Two pairs of quality and diversity: ``precision`` and ``recall``, ``density`` and ``coverage``."""

    precision: float
    recall: float
    density: float
    coverage: float


def precision_recall_density_coverage(*, real: Tensor, generated: Tensor, k: int = 5) -> PrecisionRecall:
    r"""Compare two sets of samples by the balls of their k nearest neighbors.

    * precision: share of generated samples inside at least one real ball (Kynkäänniemi et al. 2019),
    * recall: share of real samples inside at least one ball of a generated sample (same),
    * density: mean number of real balls around a generated sample, over k; about 1 for real samples, and above 1 where
      samples crowd at the data's densest places (Naeem et al. 2020),
    * coverage: share of real balls that hold at least one generated sample (same).

    Coverage and recall grow with the number of generated samples, so compare equal numbers only, and print the score of
    other real samples beside them. Takes O((n + m)^2) memory. Balls are closed.

    Args:
        real: ``(n, ...)``, n > k; trailing dimensions count as one vector, of pixels or of a network's features.
        generated: ``(m, ...)``, m > k.
        k: number of neighbors that a ball reaches to, >= 1.

    Returns:
        Fractions in [0, 1], except for density, which is >= 0 without a bound.

    Raises:
        TypeError: for samples that are not floating point.
        ValueError: for k < 1, too few samples, shapes or devices that do not match, or values that are not finite.

    Example:
        >>> import torch
        >>> real = torch.arange(8.0)[:, None]
        >>> precision_recall_density_coverage(real=real, generated=real[:3] + 0.1, k=1)
        PrecisionRecall(precision=1.0, recall=0.5, density=2.0, coverage=0.5)
    """
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}.")
    check_two_sets(
        real, generated, fewest=k + 1, reason=f"it takes more than k = {k}; pass more, or a smaller k"
    )
    both = torch.cat([real.flatten(1), generated.flatten(1)]).detach()
    distances = pairwise_distances(both)  # exact also where samples nearly coincide, as collapsed ones do
    n = len(real)
    real_radius = _radius(distances[:n, :n], k)
    generated_radius = _radius(distances[n:, n:], k)
    across = distances[:n, n:]

    in_real_ball = across <= real_radius[:, None]
    in_generated_ball = across <= generated_radius
    return PrecisionRecall(
        precision=float(in_real_ball.any(0).float().mean()),
        recall=float(in_generated_ball.any(1).float().mean()),
        density=float(in_real_ball.float().sum(0).mean() / k),
        coverage=float(in_real_ball.any(1).float().mean()),
    )


def mean_pairwise_distance(samples: Tensor) -> float:
    """Mean Euclidean distance between two different samples of a set: 0 under collapse; compare it with the real set's.

    Args:
        samples: ``(n, ...)``, n >= 2; trailing dimensions count as one vector.

    Returns:
        A number >= 0 in the samples' units.

    Raises:
        TypeError: for samples that are not floating point.
        ValueError: for fewer than two samples, or values that are not finite.

    Example:
        >>> import torch
        >>> mean_pairwise_distance(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        5.0
    """
    check_floating(samples, "samples", min_dims=2)
    n = len(samples)
    if n < 2:
        raise ValueError(f"expected at least 2 samples to compare, got {n}.")
    return float(pairwise_distances(samples.detach().flatten(1)).sum() / (n * (n - 1)))


def _radius(distances: Tensor, k: int) -> Tensor:
    """Distance of every point to its k-th nearest other point; its distance 0 to itself comes first."""
    return distances.kthvalue(k + 1, dim=-1).values
