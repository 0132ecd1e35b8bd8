"""Cover rate, outlier rate and modes: diversity where the truth is known (NDiv, Fig. 3 and Table 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ndiv_lib._checks import check_floating, check_positive

Inside = Callable[[Tensor], Tensor]
Bounds = tuple[float, float] | Sequence[tuple[float, float]]


def cover_rate(samples: Tensor, *, inside: Inside, cell_size: float, bounds: Bounds) -> float:
    """Share of the region's grid cells that hold at least one sample (NDiv, Fig. 3).

    A cell belongs to the region if its center is inside, and is covered if a sample falls in it. Cell size and bounds
    are not printed in the paper: state them wherever the number stands. The rate grows with the number of samples, so compare
    equal numbers only.

    Args:
        samples: ``(n, d)``, floating point.
        inside: tells for points ``(m, d)`` which lie in the region, as booleans ``(m,)``.
        cell_size: side of the square cells, > 0, in the samples' units.
        bounds: ``(low, high)`` for every axis, or one pair per axis; whole cells from ``low`` on.

    Returns:
        A fraction in [0, 1].

    Raises:
        TypeError: if samples are not floating point.
        ValueError: for samples that are not finite, a cell size that is not positive, bounds in the wrong order, or a
            region without a cell.

    Example:
        >>> import torch
        >>> everywhere = lambda points: torch.ones(len(points), dtype=torch.bool)
        >>> cover_rate(torch.tensor([[0.1, 0.1], [0.9, 0.9]]), inside=everywhere, cell_size=0.5, bounds=(0, 1))
        0.5
    """
    _check_samples(samples)
    check_positive(cell_size, "cell_size")
    dims = samples.shape[-1]
    axes = (
        samples.new_tensor(bounds).expand(dims, 2)
        if isinstance(bounds[0], int | float)
        else samples.new_tensor(bounds)
    )
    if axes.shape != (dims, 2) or not bool((axes[:, 0] < axes[:, 1]).all()):
        raise ValueError(
            f"expected bounds (low, high) with low < high for each of {dims} axes, got {bounds}."
        )
    low, high = axes.unbind(1)
    shape = ((high - low) / cell_size - 1e-6).ceil().long()

    grid = torch.cartesian_prod(*(torch.arange(int(size), device=samples.device) for size in shape)).reshape(
        -1, dims
    )
    belongs = inside(low + (grid + 0.5) * cell_size)
    if not bool(belongs.any()):
        raise ValueError(
            "expected at least one cell center inside the region, got none; use smaller cells or wider bounds."
        )
    cell = ((samples - low) / cell_size).floor().long()
    within = ((cell >= 0) & (cell < shape)).all(-1)
    stride = torch.cat([shape.flip(0).cumprod(0).flip(0)[1:], shape.new_ones(1)])
    covered = torch.zeros(len(grid), dtype=torch.bool, device=samples.device)
    covered[(cell[within] * stride).sum(-1)] = True
    return float((covered & belongs).sum() / belongs.sum())


def outlier_rate(samples: Tensor, *, inside: Inside) -> float:
    """Share of samples outside the region (NDiv, Fig. 3).

    Args:
        samples: ``(n, d)``, floating point.
        inside: tells for points ``(m, d)`` which lie in the region, as booleans ``(m,)``.

    Returns:
        A fraction in [0, 1].

    Raises:
        TypeError: if samples are not floating point.
        ValueError: for samples that are not finite.

    Example:
        >>> import torch
        >>> outlier_rate(torch.tensor([[0.5], [2.0]]), inside=lambda points: points[:, 0].abs() < 1)
        0.5
    """
    _check_samples(samples)
    return float((~inside(samples)).float().mean())


def _check_samples(samples: Tensor) -> None:
    check_floating(samples, "samples", min_dims=2)
    if samples.ndim != 2 or len(samples) == 0:
        raise ValueError(f"expected samples of shape (n, d) with n >= 1, got {tuple(samples.shape)}.")
    if not bool(torch.isfinite(samples).all()):
        raise ValueError("expected finite samples, got NaN or infinity; the generator may have diverged.")
