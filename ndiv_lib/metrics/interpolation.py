"""Safe interpolation: whether the way between two samples stays on the support (NDiv, Sec. 3.1, Fig. 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ndiv_lib._checks import check_floating, check_positive

Distance = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class InterpolationReport:
    """What :func:`interpolation_report` returns.

    Args:
        safe_points: share of all path points that are near the support, in [0, 1].
        safe_paths: share of paths whose points are all near the support, in [0, 1]; never above ``safe_points``.
        jump: largest step of a path divided by its mean step, median over paths; 1 is an even walk, and the number of steps is
            one leap.
    """

    safe_points: float
    safe_paths: float
    jump: float


def straight_paths(starts: Tensor, ends: Tensor, num_points: int) -> Tensor:
    """Evenly spaced points on the straight lines between pairs, both ends included.

    Between latents they are what a generator maps to its interpolations; between samples they are the reference that needs no
    generator.

    Args:
        starts: ``(*batch, d)``.
        ends: ``(*batch, d)``.
        num_points: at least 2.

    Returns:
        ``(*batch, num_points, d)``.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for shapes that do not match, or fewer than two points.

    Example:
        >>> import torch
        >>> straight_paths(torch.tensor([0.0, 0.0]), torch.tensor([1.0, 2.0]), 3).tolist()
        [[0.0, 0.0], [0.5, 1.0], [1.0, 2.0]]
    """
    check_floating(starts, "starts")
    if starts.shape != ends.shape or num_points < 2:
        raise ValueError(
            f"expected starts and ends of one shape and num_points >= 2, got {tuple(starts.shape)}, "
            f"{tuple(ends.shape)} and {num_points}."
        )
    share = torch.linspace(0, 1, num_points, dtype=starts.dtype, device=starts.device)[:, None]
    return starts[..., None, :] + share * (ends - starts)[..., None, :]


def interpolation_report(paths: Tensor, *, distance: Distance, tau: float) -> InterpolationReport:
    """How safe paths are: how many of their points, and how many of them entirely, are near the support.

    The paper calls interpolation safe where it generates valid points, and prints no measure. Read the numbers beside
    :func:`cover_rate`: a generator that has collapsed to one valid point is perfectly safe.

    Args:
        paths: ``(k, num_points, d)``, each the images of points along a segment in latent space.
        distance: maps points ``(*batch, d)`` to their distances from the support, ``(*batch)``. Where only real samples
            tell of the support, the distance to the nearest of them.
        tau: > 0, a point nearer than this is safe, in the units of the distance.

    Returns:
        An :class:`InterpolationReport`.

    Raises:
        TypeError: for paths that are not floating point.
        ValueError: for another shape, fewer than two points a path, values that are not finite, or a ``tau`` that is not
            positive.

    Example:
        >>> import torch
        >>> real = torch.tensor([[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]])
        >>> along = straight_paths(real[:1], real[2:], 5)
        >>> interpolation_report(along, distance=lambda x: torch.cdist(x, real).amin(-1), tau=0.1)
        InterpolationReport(safe_points=0.6, safe_paths=0.0, jump=1.0)
    """
    check_floating(paths, "paths", min_dims=3)
    check_positive(tau, "tau")
    if paths.ndim != 3 or len(paths) == 0 or paths.shape[1] < 2:
        raise ValueError(
            f"expected paths (k, num_points, d) with k >= 1 and num_points >= 2, got shape {tuple(paths.shape)}."
        )
    if not bool(torch.isfinite(paths).all()):
        raise ValueError("expected finite paths, got NaN or infinity; the generator may have diverged.")
    safe = distance(paths) < tau
    steps = paths.diff(dim=1).norm(dim=-1)
    still = steps.sum(1) == 0  # a path that never moves has no leap either
    jump = torch.where(still, 1.0, steps.amax(1) / steps.mean(1))
    return InterpolationReport(
        safe_points=float(safe.double().mean()),
        safe_paths=float(safe.all(1).double().mean()),
        jump=float(jump.median()),
    )


def turns_around(path: Tensor, *, center: Tensor | None = None) -> int:
    """How often a closed path in the plane goes around a point, counterclockwise (its winding number).

    For the image of the border of a latent square under a continuous generator, any number but 0 means that the generator
    hits the point: a hole around it is not avoided but covered. A generator that avoids the hole winds zero times.

    Args:
        path: ``(num_points, 2)``, in order, the last point next to the first; neighbors less than half a turn apart.
        center: the point, ``(2,)``; the origin if not given. The path must not meet it.

    Returns:
        The number of turns.

    Raises:
        TypeError: for a path that is not floating point.
        ValueError: for another shape, or a path through the center.

    Example:
        >>> import torch
        >>> angle = 2 * torch.pi * torch.arange(12) / 12
        >>> turns_around(torch.stack([angle.cos(), angle.sin()], dim=-1))
        1
    """
    check_floating(path, "path", min_dims=2)
    around = path if center is None else path - center
    if around.ndim != 2 or around.shape[1] != 2 or not bool(around.norm(dim=1).gt(0).all()):
        raise ValueError(
            f"expected a path (num_points, 2) that does not meet the center, got shape {tuple(path.shape)}."
        )
    following = around.roll(-1, 0)
    cross = around[:, 0] * following[:, 1] - around[:, 1] * following[:, 0]
    angle = torch.atan2(cross, (around * following).sum(1))
    return round(float(angle.double().sum()) / (2 * torch.pi))
