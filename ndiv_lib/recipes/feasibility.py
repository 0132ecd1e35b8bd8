"""How much diversity fits: the largest slack alpha at which free points can bring the NDiv loss (Eq. 4) to zero.

There is no network. For n latents, n points of the output space are moved directly until ``D^Y >= alpha D^Z`` for every pair.
Each of many starts climbs: whenever it meets the criterion at its alpha, alpha goes up by one step of the resolution. The
highest alpha of all starts is a lower bound on what fits; packing discs around the points gives an upper one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib.distances import normalized_distances, pairwise_distances
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws

FEW = 5  # starts: enough if the best of these is the best of all


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds (one draw of latents each)."""

    latent_dim: int = 25  # released code
    output_dim: int = 2  # the ring, the grid, the donut
    num_samples: int = 128  # released code's batch
    latent: Literal["uniform", "gaussian", "equidistant"] = (
        "uniform"  # Sec. 4.1; the last has no geometry at all
    )
    tolerance: float = 1e-4  # of the loss as a part of its bound: L (n - 1) / alpha
    resolution: float = 0.01  # of alpha
    num_starts: int = 20
    start: Literal["projection", "cloud"] = "projection"  # a cloud forgets which latents are neighbors
    num_steps: int = 1500  # few starts still climb then, see the cell `...-more`
    step_size: float = 0.03  # as a part of the points' spread: the problem has no scale
    final_step: float = 0.1  # part of the step size at the end, reached linearly: settles what jitters
    momentum: float = 0.9
    memory: float = 0.99  # of the gradient's size, as in Adam, but one number a start: no axis is special


PRESETS: dict[str, Config] = {
    "released": Config(),
    "dim_8": Config(latent_dim=8),
    "equal": Config(latent_dim=2),
    "gaussian": Config(latent="gaussian"),
    "equidistant": Config(latent="equidistant"),
}


def draw_latents(config: Config, draws: StackedDraws) -> Tensor:
    """Latents of every seed, ``(k, n, latent_dim)``; equidistant ones are the corners of a simplex, ``(k, n, n)``."""
    n = config.num_samples
    if config.latent == "equidistant":
        return torch.eye(n).expand(len(draws.generators), n, n)
    sample = draws.rand if config.latent == "uniform" else draws.randn
    return sample(n, config.latent_dim)


def starting_points(config: Config, latents: Tensor, draws: StackedDraws) -> Tensor:
    """Where the points start, ``(k, num_starts, n, output_dim)``: principal components first, then random projections."""
    n, starts = config.num_samples, config.num_starts
    if config.start == "cloud":
        return draws.randn(starts, n, config.output_dim)
    centered = latents - latents.mean(1, keepdim=True)
    axes = torch.linalg.svd(centered, full_matrices=False).Vh[:, : config.output_dim].mT
    maps = draws.randn(starts, latents.shape[-1], config.output_dim)
    maps[:, 0] = axes
    return centered[:, None] @ maps


def climb(config: Config, latents: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Highest alpha of every start, ``(k, starts)``, and the points that met it.

    The objective is the squared hinge with the normalizer differentiated: smooth, and without a scale. The criterion is
    Eq. 4's own hinge.
    """
    n, wanted = config.num_samples, normalized_distances(latents)[:, None]
    points = _unit(points)
    best, level = points.clone(), torch.ones(points.shape[:2])  # alpha in steps of the resolution
    velocity, size = torch.zeros_like(points), torch.zeros(*points.shape[:2], 1, 1)
    for step in range(config.num_steps):
        moving = points.requires_grad_()
        found = normalized_distances(moving, detach_normalizer=False, check_values=False)
        alpha = level * config.resolution
        hinge = (alpha[..., None, None] * wanted - found).relu()
        (gradient,) = torch.autograd.grad(hinge.square().sum(), moving)
        with torch.no_grad():
            met = hinge.sum((-2, -1)) / n < config.tolerance * alpha
            best[met] = moving[met]
            level += met
            velocity.lerp_(gradient, 1 - config.momentum)
            size.lerp_(gradient.square().mean((-2, -1), keepdim=True), 1 - config.memory)
            unbiased = velocity / (1 - config.momentum ** (step + 1))
            scale = (size / (1 - config.memory ** (step + 1))).sqrt().clamp_min(1e-20)
            shrink = 1 - (1 - config.final_step) * step / config.num_steps
            points = _unit(moving - config.step_size * shrink * unbiased / scale)
    return (level - 1) * config.resolution, best


def _unit(points: Tensor) -> Tensor:
    """Centered, with spread one: the loss does not change."""
    centered = points.detach() - points.detach().mean(-2, keepdim=True)
    return centered / centered.square().mean((-2, -1), keepdim=True).sqrt()


def upper_bound(latents: Tensor, output_dim: int = 2) -> float:
    """An alpha above which no points at all meet ``D^Y >= alpha D^Z``, for one draw of latents ``(n, dz)``.

    Let point i have the least mean distance s to the others. Keep m points whose pairs all have (n - 1) D^Z >= theta
    (in one of the two rows). These pairs are at least r = alpha theta s apart, so only so many of them fit near i, and its
    distances sum to at least r (rho_1 + ... + rho_{m-1}). That sum is at most (n - 1) s: alpha <= (n - 1) / (theta sum rho).
    The best m is taken. In the plane, rho is from Oler's inequality, elsewhere from volumes. At most 1, as rows sum to 1.
    """
    n = len(latents)
    share = normalized_distances(latents.double()) * (n - 1)
    share = torch.maximum(share, share.mT).fill_diagonal_(torch.inf)
    radii = _packing_radii(n - 1, output_dim).cumsum(0)
    best, kept = 1.0, list(range(n))
    while len(kept) > 2:
        pairs = share[kept][:, kept]
        theta, closest = pairs.min(), divmod(int(pairs.argmin()), len(kept))
        best = min(best, float((n - 1) / (theta * radii[len(kept) - 2])))
        # of the closest pair, drop the point that is close to others as well
        second = [pairs[one].topk(2, largest=False).values[1] for one in closest]
        del kept[closest[int(second[1] < second[0])]]
    return best


def _packing_radii(count: int, dim: int) -> Tensor:
    """Radii rho_k of balls that can hold k + 1 points one apart, k = 1 to count; smaller ones cannot."""
    k = torch.arange(1, count + 1, dtype=torch.float64)
    if dim != 2:
        return ((k + 1) ** (1 / dim) - 1) / 2  # balls of radius 1/2 inside a ball of radius rho + 1/2
    # Oler (1961): at most area 2 / sqrt(3) + perimeter / 2 + 1 points one apart in a convex region
    area = 2 * math.pi / math.sqrt(3)
    return (-math.pi + (math.pi**2 + 4 * area * k).sqrt()) / (2 * area)


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Largest alpha, its upper bound and how the latents' distances spread, for every draw of latents."""
    draws = StackedDraws(seeds)
    latents = draw_latents(config, draws)
    alphas, points = climb(config, latents, starting_points(config, latents, draws))
    alpha, winner = alphas.max(1)
    chosen = points[torch.arange(len(seeds)), winner]
    n = config.num_samples
    apart = ~torch.eye(n, dtype=torch.bool)
    distances = pairwise_distances(latents)[:, apart]
    shares = normalized_distances(latents)[:, apart] * (n - 1)
    residual = [
        float(ndiv_loss(z, y, alpha=max(a, config.resolution), reduction="sample"))
        / max(a, config.resolution)
        for z, y, a in zip(latents, chosen, alpha.tolist(), strict=True)
    ]
    return Measured(
        values={
            "alpha": alpha.tolist(),
            "alpha_few": alphas[:, :FEW].amax(1).tolist(),
            "alpha_median_start": alphas.median(1).values.tolist(),
            "upper_bound": [upper_bound(z, config.output_dim) for z in latents],
            "residual": residual,
            "variation": (distances.std(1) / distances.mean(1)).tolist(),
            "smallest_share": shares.amin(1).tolist(),
        },
        n_real=0,
        n_generated=n,
        arrays={"outputs": chosen[0].half().numpy(), "latent": latents[0, :, 0].half().numpy()},
    )


def smoke(config: Config) -> Config:
    """Eight points, a few steps."""
    return replace(config, num_samples=8, num_starts=2, num_steps=5)


# Trials had seeds from 1000 on. Many points have fewer draws: these hardly differ, and take long.
SEEDS = tuple(range(10))
SIZES = (16, 32, 64, 128, 256)
LATENT_DIMS = (2, 3, 5, 8, 25, 100)


def _cell(name: str, config: Config, seeds: tuple[int, ...] = SEEDS, priority: int = 0) -> Cell:
    seeds = seeds[: {128: 5, 256: 3}.get(config.num_samples, len(seeds))]
    return Cell(name, config, seeds, stack=1 if config.num_samples == 256 else 10, priority=priority)


# From 128 points on fewer starts: the time goes with the square of the number of points, and the spread over starts falls.
# `8-to-2-n128` has all of them, so that its metric `alpha_few` shows what that costs.
_LARGE = Config(num_starts=FEW)
CELLS = [
    _cell(f"{dim}-to-2-n{n}", Config(latent_dim=dim, num_samples=n), priority=9)
    for dim in (25, 8)
    for n in (16, 32, 64)
]
CELLS += [_cell("8-to-2-n128", Config(latent_dim=8), priority=9)]
CELLS += [_cell(f"{dim}-to-2-n256", replace(_LARGE, latent_dim=dim, num_samples=256)) for dim in (25, 8)]
CELLS += [
    _cell("2-to-2-n16", Config(latent_dim=2, num_samples=16, num_starts=1), priority=8)
]  # it is the answer
CELLS += [
    _cell(f"{dim}-to-2-n128", replace(_LARGE, latent_dim=dim), priority=8) for dim in (2, 25, 3, 5, 100)
]
CELLS += [_cell(f"25-to-{dim}-n128", replace(_LARGE, output_dim=dim), priority=5) for dim in (3, 8)]
CELLS += [
    _cell(f"gaussian-{dim}-to-2-n128", replace(_LARGE, latent="gaussian", latent_dim=dim), priority=7)
    for dim in (2, 8, 25)
]
CELLS += [_cell("equidistant-to-2-n128", replace(_LARGE, latent="equidistant"), priority=7)]
# Do more starts and more steps find more? The same draws, three times the starts, four times the steps.
_MORE = Config(num_samples=32, num_starts=60, num_steps=6000)
CELLS += [_cell("25-to-2-n32-more", _MORE, seeds=SEEDS[:3], priority=6)]
# Trials: each way of moving the points, at one size.
_TRIAL = Config(num_samples=32)
TUNED: dict[str, Config] = {
    **{f"step-{size}": replace(_TRIAL, step_size=size) for size in (0.01, 0.03, 0.1)},
    "cloud": replace(_TRIAL, start="cloud"),
    "steps-500": replace(_TRIAL, num_steps=500),
    "cloud-8": replace(_TRIAL, start="cloud", latent_dim=8),
    "projection-8": replace(_TRIAL, latent_dim=8),
}
CELLS += [_cell(f"tuning-{name}", config, (1000, 1001, 1002), 6) for name, config in TUNED.items()]
