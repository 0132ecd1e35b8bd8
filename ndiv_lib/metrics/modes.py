"""Which of the known modes a generator reaches, and in what proportion (NDiv, Table 1, with every choice an argument)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, check_positive, check_same_device

_MAD_OF_NORMAL = 1.4826  # a normal distribution's std is 1.4826 times its median absolute deviation


@dataclass(frozen=True)
class ModeReport:
    """What :func:`mode_report` finds.

    Args:
        num_modes: modes with at least ``min_count`` captured samples.
        fail_rate: share of samples that no mode captures, in [0, 1].
        shares: each mode's part of the captured samples, ``(k,)``, summing to 1.
        kl_to_uniform: Kullback-Leibler divergence of the shares from equal ones, in nats: 0 if all modes are drawn equally
            often, ``log(k)`` if only one is.
        std_ratio: the samples' robust standard deviation within their mode, divided by the true one; 1 is right, below 1 the
            modes have shrunk.
    """

    num_modes: int
    fail_rate: float
    shares: Tensor
    kl_to_uniform: float
    std_ratio: float


def mode_report(
    samples: Tensor,
    *,
    centers: Tensor,
    std: float,
    within: float = 3.0,
    min_count: int = 20,
    shape: Literal["disc", "square"] = "disc",
) -> ModeReport:
    """Count the modes of a mixture of equal round Gaussians that samples reach, and the samples that reach none.

    A sample belongs to the nearest center, which captures it if it is close enough. Real samples fail too: of a 2-D Gaussian, a
    disc of 3 standard deviations leaves out 1.11 %, a square of that half width 0.54 %. Radius, shape and least count are not
    printed in the paper: state them wherever the numbers stand.

    Args:
        samples: ``(n, d)``, floating point.
        centers: ``(k, d)``, the true modes, k >= 2.
        std: standard deviation of every mode, > 0, in the samples' units.
        within: how far a center captures, > 0, in standard deviations.
        min_count: captured samples that make a mode count as reached, >= 1. A random sample now and then is not a mode.
        shape: ``"disc"`` captures by Euclidean distance, ``"square"`` by the largest coordinate.

    Returns:
        A :class:`ModeReport`. Without any captured sample, shares and divergence are NaN; without a mode that ``min_count``
        samples are nearest to, the ratio of standard deviations is.

    Raises:
        TypeError: if samples or centers are not floating point.
        ValueError: for shapes or devices that do not match, samples that are not finite, an unknown shape, or numbers out of
            their range.

    Example:
        >>> import torch
        >>> centers = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
        >>> report = mode_report(centers[[0, 0, 0, 1]], centers=centers, std=0.1, min_count=2)
        >>> report.num_modes, report.shares.tolist()
        (1, [0.75, 0.25])
    """
    _check_inputs(samples, centers)
    check_positive(std, "std")
    check_positive(within, "within")
    check_positive(min_count, "min_count")
    check_choice(shape, "shape", ("disc", "square"))

    exact = "donot_use_mm_for_euclid_dist"
    nearest = torch.cdist(samples, centers.to(samples.dtype), compute_mode=exact).argmin(-1)
    offsets = (samples - centers[nearest]).abs()
    reach = offsets.norm(dim=-1) if shape == "disc" else offsets.amax(-1)
    captured = reach <= within * std
    counts = nearest[captured].bincount(minlength=len(centers))
    shares = counts / counts.sum()
    return ModeReport(
        num_modes=int((counts >= min_count).sum()),
        fail_rate=float((~captured).float().mean()),
        shares=shares,
        kl_to_uniform=float(torch.xlogy(shares, shares * len(centers)).sum()),
        std_ratio=_robust_std(samples, nearest, min_count) / std,
    )


def _robust_std(samples: Tensor, nearest: Tensor, min_count: int) -> float:
    """Mean over modes and axes of the median absolute deviation, as a standard deviation."""
    groups = [samples[nearest == mode] for mode in nearest.unique()]
    spreads = [
        (group - group.median(0).values).abs().median(0).values.mean()
        for group in groups
        if len(group) >= min_count
    ]
    return _MAD_OF_NORMAL * float(torch.stack(spreads).mean()) if spreads else math.nan


def _check_inputs(samples: Tensor, centers: Tensor) -> None:
    check_floating(samples, "samples")
    check_floating(centers, "centers")
    if samples.ndim != 2 or len(samples) == 0:
        raise ValueError(f"expected samples of shape (n, d) with n >= 1, got {tuple(samples.shape)}.")
    if centers.ndim != 2 or len(centers) < 2 or centers.shape[1] != samples.shape[1]:
        raise ValueError(
            f"expected centers of shape (k, {samples.shape[1]}) with k >= 2, like the samples, got {tuple(centers.shape)}."
        )
    check_same_device(samples=samples, centers=centers)
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("expected finite samples, got NaN or infinity; the generator may have diverged.")
