"""Small distributions whose support is known exactly (NDiv, Fig. 1-2, Sec. 5.1, App. A.1; cGML, Sec. 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ndiv_lib._checks import check_floating, check_integer

# The paper draws a donut and prints neither radius: these are ours.
DONUT_INNER_RADIUS, DONUT_OUTER_RADIUS = 1.0, 2.0
# Fig. 2 shows "HI" and a ring of uneven density, and prints neither shape nor density: these are ours, too.
# The strokes (x from, x to, y from, y to) of an H and an I, 0.6 apart; they touch and do not overlap, whole cells of 0.1.
HI_STROKES = (
    (-1.6, -1.0, -1.5, 1.5),
    (-1.0, -0.2, -0.3, 0.3),
    (-0.2, 0.4, -1.5, 1.5),
    (1.0, 1.6, -1.5, 1.5),
)
HI_GAP = (0.4, 1.0)  # the strip between the letters: whoever goes from one to the other crosses it
UNEVEN_RING_INNER_RADIUS, UNEVEN_RING_OUTER_RADIUS = 1.4, 2.0  # thinner than the donut
UNEVENNESS = 0.8  # nine times denser on the right than on the left


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
        TypeError: for a number of points that is not an integer.
        ValueError: for fewer than one point, or radii in the wrong order.

    Example:
        >>> sample_donut(100).shape
        torch.Size([100, 2])
    """
    check_integer(num_samples, "num_samples", least=1)
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


def distance_to_donut(
    points: Tensor, *, inner_radius: float = DONUT_INNER_RADIUS, outer_radius: float = DONUT_OUTER_RADIUS
) -> Tensor:
    """How far points ``(*batch, 2)`` are from the annulus, ``(*batch)``; 0 on it.

    Example:
        >>> import torch
        >>> distance_to_donut(torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, -2.5]]))
        tensor([1.0000, 0.0000, 0.5000])
    """
    radius = points.norm(dim=-1)
    return (inner_radius - radius).relu() + (radius - outer_radius).relu()


def sample_uneven_ring(
    num_samples: int, *, unevenness: float = UNEVENNESS, generator: torch.Generator | None = None
) -> Tensor:
    """Draw points from an annulus whose density varies with the angle (NDiv, Fig. 2; shape and density are our choice).

    The density is proportional to ``1 + unevenness * cos(angle)``, and uniform by area along a radius.

    Args:
        num_samples: number of points.
        unevenness: in [0, 1]; 0 is an even ring.
        generator: source of randomness.

    Returns:
        ``(num_samples, 2)`` float32, dense on the right and sparse on the left.

    Raises:
        TypeError: for a number of points that is not an integer.
        ValueError: for fewer than one point, or an unevenness outside [0, 1].

    Example:
        >>> sample_uneven_ring(100).shape
        torch.Size([100, 2])
    """
    if not 0 <= unevenness <= 1:
        raise ValueError(f"expected unevenness in [0, 1], got {unevenness}.")
    even = sample_donut(
        num_samples,
        inner_radius=UNEVEN_RING_INNER_RADIUS,
        outer_radius=UNEVEN_RING_OUTER_RADIUS,
        generator=generator,
    )
    # The densities of a point and its opposite sum to 2, so one of the two can always be kept: nothing is rejected.
    kept = 2 * torch.rand(num_samples, generator=generator) < 1 + unevenness * even[:, 0] / even.norm(dim=1)
    return torch.where(kept[:, None], even, -even)


def inside_uneven_ring(points: Tensor) -> Tensor:
    """Which points ``(*batch, 2)`` lie on the uneven ring, as booleans ``(*batch)``.

    Example:
        >>> import torch
        >>> inside_uneven_ring(torch.tensor([[1.2, 0.0], [1.5, 0.0]]))
        tensor([False,  True])
    """
    return inside_donut(points, inner_radius=UNEVEN_RING_INNER_RADIUS, outer_radius=UNEVEN_RING_OUTER_RADIUS)


def sample_hi(num_samples: int, *, generator: torch.Generator | None = None) -> Tensor:
    """Draw points uniformly by area from the letters H and I (NDiv, Fig. 2; the strokes are our choice).

    The letters do not touch: the support has two components.

    Args:
        num_samples: number of points.
        generator: source of randomness.

    Returns:
        ``(num_samples, 2)`` float32.

    Raises:
        TypeError: for a number of points that is not an integer.
        ValueError: for fewer than one point.

    Example:
        >>> sample_hi(100).shape
        torch.Size([100, 2])
    """
    check_integer(num_samples, "num_samples", least=1)
    left, right, low, high = torch.tensor(HI_STROKES).unbind(1)
    area = (right - left) * (high - low)
    stroke = torch.multinomial(area, num_samples, replacement=True, generator=generator)
    x, y = torch.rand(2, num_samples, generator=generator)
    across, along = x * (right - left)[stroke] + left[stroke], y * (high - low)[stroke] + low[stroke]
    return torch.stack([across, along], dim=-1)


def inside_hi(points: Tensor) -> Tensor:
    """Which points ``(*batch, 2)`` lie on a letter, as booleans ``(*batch)``.

    Example:
        >>> import torch
        >>> inside_hi(torch.tensor([[-0.6, 0.0], [-0.6, 1.0], [1.3, 1.0]]))
        tensor([ True, False,  True])
    """
    return distance_to_hi(points) == 0


def distance_to_hi(points: Tensor) -> Tensor:
    """How far points ``(*batch, 2)`` are from the nearest letter, ``(*batch)``; 0 on it.

    Example:
        >>> import torch
        >>> distance_to_hi(torch.tensor([[0.7, 0.0], [1.3, 2.0]]))
        tensor([0.3000, 0.5000])
    """
    strokes = points.new_tensor(HI_STROKES)
    low, high = strokes[:, ::2], strokes[:, 1::2]
    beyond = (low - points[..., None, :]).relu() + (points[..., None, :] - high).relu()
    return beyond.norm(dim=-1).amin(-1)


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
    check_integer(num_per_mode, "num_per_mode", least=1)
    noise = torch.randn(len(centers), num_per_mode, centers.shape[-1], generator=generator)
    return (centers[:, None] + std * noise).flatten(0, 1)


def conditional_centers(
    num_classes: int = 8,
    num_modes: int = 4,
    *,
    reach: float = 2.0,
    apart: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Centers of a one-to-many task: every class has its own modes at random places (ours; no paper has this task).

    Args:
        num_classes: conditions.
        num_modes: modes of each class.
        reach: places are uniform in ``[-reach, reach]^2``.
        apart: least distance between two modes of a class, >= 0. Modes of different classes overlap freely.
        generator: source of randomness.

    Returns:
        ``(num_classes, num_modes, 2)``.

    Raises:
        ValueError: if so many modes do not fit so far apart.

    Example:
        >>> conditional_centers().shape
        torch.Size([8, 4, 2])
    """
    classes: list[Tensor] = []
    for _ in range(1000 * num_classes):
        if len(classes) == num_classes:
            return torch.stack(classes)
        places = reach * (2 * torch.rand(num_modes, 2, generator=generator) - 1)
        if bool((torch.pdist(places) > apart).all()):
            classes.append(places)
    raise ValueError(
        f"expected {num_modes} modes to fit {apart} apart in a square of half width {reach}, found no such places; "
        "ask for fewer modes, less distance or more room."
    )


def branch_modes(inputs: Tensor) -> Tensor:
    """Both answers to every input, y = +-4 (x, x^2, x^3) (cGML, Sec. 4, Fig. 3).

    Args:
        inputs: ``(*batch, 1)`` x, in [0, 1] in the paper.

    Returns:
        ``(*batch, 2, 3)``: the positive branch, then the negative one.

    Raises:
        TypeError: for inputs that are not floating point.
        ValueError: for a last dimension other than 1.

    Example:
        >>> import torch
        >>> branch_modes(torch.tensor([0.5]))
        tensor([[ 2.0000,  1.0000,  0.5000],
                [-2.0000, -1.0000, -0.5000]])
    """
    check_floating(inputs, "inputs")
    if inputs.shape[-1] != 1:
        raise ValueError(f"expected inputs of shape (*batch, 1), got {tuple(inputs.shape)}.")
    branch = 4 * inputs ** torch.arange(1, 4, device=inputs.device)
    return torch.stack([branch, -branch], dim=-2)
