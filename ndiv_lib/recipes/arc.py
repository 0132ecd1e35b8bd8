"""Three points on a curved line (NDiv, Sec. 3.2): what holds of their distances, and what the loss asks of a curve.

No training. Each seed draws an arc of a circle and three points on it; the null is a straight line.
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


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    curve: Literal["arc", "line"] = "arc"
    least_share: float = 0.25  # of the circle; a shorter arc is nearly straight
    largest_share: float = 0.95  # of the circle; nearly closed
    num_points: int = 5  # P1 to P5 of Fig. 2
    alpha: float = 1.0  # Sec. 3: "alpha about 1"


PRESETS: dict[str, Config] = {"arc": Config(), "line": Config(curve="line")}


def arc(places: Tensor, turn: float) -> Tensor:
    """Points ``(n, 2)`` on an arc of a circle, at places ``(n,)`` in [0, 1] of its length; the arc has length 1.

    A turn of 0 is a straight line.
    """
    if turn == 0:
        return torch.stack([places, torch.zeros_like(places)], dim=-1)
    angle = turn * places
    return torch.stack([angle.cos(), angle.sin()], dim=-1) / turn


def free_slack(num_points: int, turn: float) -> float:
    """The largest slack at which evenly spaced points of a latent line lie on an arc at no loss: ``min D^Y / D^Z``."""
    places = torch.linspace(0, 1, num_points, dtype=torch.float64)
    ratio = normalized_distances(arc(places, turn)) / normalized_distances(places[:, None])
    return float(ratio[~torch.eye(num_points, dtype=torch.bool)].min())


def facts(config: Config, seed: int) -> dict[str, float]:
    """All numbers of one draw, in float64."""
    random = torch.Generator().manual_seed(seed)
    place = float(torch.rand((), generator=random, dtype=torch.float64))
    share = config.least_share + place * (config.largest_share - config.least_share)
    turn = 2 * math.pi * share if config.curve == "arc" else 0.0
    a, b, c = torch.rand(3, generator=random, dtype=torch.float64).sort().values
    ab, bc, ac = _legs(arc(torch.stack([a, b, c]), turn))
    places = torch.linspace(0, 1, config.num_points, dtype=torch.float64)
    on_curve = ndiv_loss(places[:, None], arc(places, turn), alpha=config.alpha, reduction="sample")
    on_chord = ndiv_loss(places[:, None], arc(places, 0.0), alpha=config.alpha, reduction="sample")
    return {
        "breach": ac - ab - bc,  # above 0, the triangle inequality would be violated
        "detour": (ab + bc) / ac - 1,  # how much longer the way over B is than the straight one
        "detour_along": float((b - a) + (c - b)) / float(c - a) - 1,  # the same, measured along the curve
        "curve_loss": float(on_curve),
        "chord_loss": float(on_chord),
        "free_slack": free_slack(config.num_points, turn),
    }


def _legs(points: Tensor) -> tuple[float, float, float]:
    distances = pairwise_distances(points)
    return float(distances[0, 1]), float(distances[1, 2]), float(distances[0, 2])


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Every fact for every seed."""
    rows = [facts(config, seed) for seed in seeds]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=0,
        n_generated=config.num_points,
    )


def smoke(config: Config) -> Config:
    """Three points."""
    return replace(config, num_points=3)


CELLS = [Cell(name, config, tuple(range(10)), stack=10, priority=20) for name, config in PRESETS.items()]
