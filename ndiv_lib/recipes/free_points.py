"""What the NDiv loss does to points that nothing holds: no generator, no data, no adversarial loss (NDiv, Sec. 3 and 3.1).

Outputs start in a few tight clusters, that is, collapsed, and each of them follows the gradient on its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ndiv_lib.distances import normalized_distances, pairwise_distances
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    loss: Literal["distances", "one_sided", "two_sided"] = (
        "one_sided"  # minus the mean distance, Eq. 4, or its |.|
    )
    detach_normalizer: bool = True  # Algorithm 1, line 6
    alpha: float = 0.5  # Sec. 5
    num_samples: int = 64  # half of the released code's batch, so that each point can be seen
    latent_dim: int = 2  # Fig. 2
    num_clusters: int = 3  # which latent falls into which is a matter of chance, as in mode collapse
    center_std: float = 0.5  # all starts lie well inside the picture
    cluster_spread: float = 0.02  # a part of the distance between clusters
    step_size: float = (
        0.3  # of plain gradient descent on (n - 1) times Eq. 4: no optimizer rescales the gradient
    )
    watch_steps: tuple[int, ...] = (0, 10, 30, 100, 300, 1000, 3000)  # the last one ends the run


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "not_detached": Config(detach_normalizer=False),
    "distances": Config(loss="distances"),
    "two_sided": Config(loss="two_sided"),
    "alpha_1": Config(alpha=1.0),
    "alpha_1_not_detached": Config(alpha=1.0, detach_normalizer=False),
}


def start(config: Config, seed: int) -> tuple[Tensor, Tensor]:
    """Latents uniform on the unit square, outputs in tight clusters that know nothing of them: ``(n, 2)`` each."""
    random = torch.Generator().manual_seed(seed)
    latents = torch.rand(config.num_samples, config.latent_dim, generator=random)
    centers = config.center_std * torch.randn(config.num_clusters, 2, generator=random)
    member = torch.randint(config.num_clusters, (config.num_samples,), generator=random)
    noise = config.cluster_spread * torch.randn(config.num_samples, 2, generator=random)
    return latents, centers[member] + noise


def objective(config: Config, latents: Tensor, outputs: Tensor) -> Tensor:
    """What each batch descends on, about 1 in size: ``(b, n, d)`` to ``(b,)``."""
    n, detach = config.num_samples, config.detach_normalizer
    if config.loss == "distances":
        return -pairwise_distances(outputs).sum((-2, -1)) / (n * n - n)
    if config.loss == "one_sided":
        loss = ndiv_loss(latents, outputs, alpha=config.alpha, detach_normalizer=detach, reduction="none")
        return (n - 1) * loss
    y = normalized_distances(outputs, detach_normalizer=detach)
    return (config.alpha * normalized_distances(latents) - y).abs().sum((-2, -1)) / n


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Follow the gradient; watch how far the points lie apart and what is left of the loss."""
    latents, outputs = (torch.stack(part) for part in zip(*(start(config, s) for s in seeds), strict=True))
    outputs.requires_grad_()
    film = []
    for step in range(config.watch_steps[-1] + 1):
        if step in config.watch_steps:
            film.append(outputs.detach().clone())
        (slope,) = torch.autograd.grad(objective(config, latents, outputs).sum(), outputs)
        with torch.no_grad():
            outputs -= config.step_size * slope

    n = config.num_samples
    spread = torch.stack([pairwise_distances(points).sum((-2, -1)) / (n * n - n) for points in film])
    left = torch.stack([ndiv_loss(latents, y, alpha=config.alpha, reduction="none") for y in film])
    growth, left = spread / spread[0], left * (n - 1) / config.alpha
    return Measured(
        values={
            "growth": growth[-1].tolist(),  # mean distance at the end, as a multiple of the first
            "least_growth": growth.min(0).values.tolist(),  # and at the watched step where it is smallest
            "loss_over_bound_before": left[0].tolist(),
            "loss_over_bound": left[-1].tolist(),
        },
        n_real=0,
        n_generated=n,
        arrays={
            "frames": torch.stack(film)[:, 0].numpy().astype(np.float32),  # of the first seed
            "growth": growth.numpy().astype(np.float32),
            "loss_over_bound": left.numpy().astype(np.float32),
        },
    )


def smoke(config: Config) -> Config:
    """Eight points, ten steps."""
    return replace(config, num_samples=8, watch_steps=(0, 10))


CELLS = [Cell(name, config, tuple(range(10)), stack=10, priority=20) for name, config in PRESETS.items()]
