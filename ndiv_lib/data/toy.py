"""Two-dimensional distributions whose support is known exactly (NDiv, Fig. 1-2, Sec. 5.1, App. A.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# The paper draws a donut and prints neither radius: these are ours.
DONUT_INNER_RADIUS, DONUT_OUTER_RADIUS = 1.0, 2.0


def sample_donut(
    num_samples: int,
    *,
    inner_radius: float = DONUT_INNER_RADIUS,
    outer_radius: float = DONUT_OUTER_RADIUS,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw points uniformly by area from an annulus around the origin (NDiv, Fig. 1; the radii are our choice).

    Args:
        num_samples: number of points.
        inner_radius: >= 0, below ``outer_radius``.
        outer_radius: > 0.
        generator: source of randomness.

    Returns:
        ``(num_samples, 2)`` float32.

    Raises:
        ValueError: for radii in the wrong order.

    Example:
        >>> sample_donut(100).shape
        torch.Size([100, 2])
    """
    if not 0 <= inner_radius < outer_radius:
        raise ValueError(f"expected 0 <= inner_radius < outer_radius, got {inner_radius} and {outer_radius}.")
    uniform, turn = torch.rand(2, num_samples, generator=generator)
    radius = (inner_radius**2 + uniform * (outer_radius**2 - inner_radius**2)).sqrt()
    angle = 2 * math.pi * turn
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


def inside_donut(
    points: Tensor, *, inner_radius: float = DONUT_INNER_RADIUS, outer_radius: float = DONUT_OUTER_RADIUS
) -> Tensor:
    """Which points ``(*batch, 2)`` lie on the annulus, as booleans ``(*batch)``.

    Example:
        >>> import torch
        >>> inside_donut(torch.tensor([[0.0, 0.0], [1.5, 0.0]]))
        tensor([False,  True])
    """
    radius = points.norm(dim=-1)
    return (inner_radius <= radius) & (radius <= outer_radius)


def ring_centers(num_modes: int = 8, radius: float = 2.0) -> Tensor:
    """Centers of the Gaussian ring ``(num_modes, 2)`` (NDiv, App. A.1: eight modes, radius 2, standard deviation 0.05)."""
    angle = 2 * math.pi * torch.arange(num_modes) / num_modes
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def grid_centers(side: int = 5, spacing: float = 2.0) -> Tensor:
    """Centers of the Gaussian grid ``(side**2, 2)`` (NDiv, App. A.1: 25 modes in [-4, 4]^2, standard deviation 0.1).

    The spacing is not printed; 2 is the released code's.
    """
    axis = spacing * (torch.arange(side) - (side - 1) / 2)
    return torch.cartesian_prod(axis, axis)


def sample_gaussians(
    centers: Tensor, std: float, num_per_mode: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw ``num_per_mode`` points around every center ``(k, d)``, grouped by mode: ``(k * num_per_mode, d)``.

    Example:
        >>> sample_gaussians(ring_centers(), std=0.05, num_per_mode=250).shape
        torch.Size([2000, 2])
    """
    noise = torch.randn(len(centers), num_per_mode, centers.shape[-1], generator=generator)
    return (centers[:, None] + std * noise).flatten(0, 1)
