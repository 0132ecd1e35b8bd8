"""NDiv without an adversarial loss: does it stop by itself, or do the outputs grow without end?

Outputs are free points under gradient descent (the latents then stay the same), or a network's under Adam (with fresh
latents at each step). Measured is their size, the mean pairwise distance, over the steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ndiv_lib.distances import normalized_distances, pairwise_distances
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

Normalizer = Literal["blocked", "differentiated", "frozen"]
LATE = 0.1  # the exponent is fitted from this part of the run to its end


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    outputs: Literal["points", "network"] = "points"
    latent_dim: int = 2  # Fig. 2; the released code's is 25
    alpha: float = 0.5  # Sec. 5
    normalizer: Normalizer = "blocked"  # Algorithm 1, line 6; frozen: the first one, never updated
    bounded: bool = False  # tanh after the last layer
    num_samples: int = 128  # released code
    num_steps: int = 1000  # points have forgotten their start by 100
    hidden: int = 64  # the donut's
    learning_rate: float = 1e-3  # of Adam, for the network: released code, with betas (0.5, 0.999)
    step_size: float = 0.1  # of gradient descent on the sum over pairs, for points
    spread: float = 0.3  # of the points at the start; then a step moves them by a tenth of that
    num_records: int = 31  # of the size, at steps that grow by a constant factor


_POINTS = Config()
_NETWORK = Config(outputs="network", num_steps=3000)  # the donut's length

PRESETS: dict[str, Config] = {
    "points": _POINTS,
    "network": _NETWORK,
    "released_latent": replace(_NETWORK, latent_dim=25),
    "without_slack": replace(_NETWORK, alpha=1.0),
    "differentiated": replace(_NETWORK, alpha=1.0, normalizer="differentiated"),
    "frozen": replace(_NETWORK, alpha=1.0, normalizer="frozen"),
    "bounded": replace(_NETWORK, alpha=1.0, bounded=True),
}


def pair_sum(config: Config, latents: Tensor, outputs: Tensor, first_sum: Tensor | None = None) -> Tensor:
    """Eq. 4 times ``n^2 - n``, per model ``(k)``; ``first_sum (k)`` is the frozen normalizer."""
    if config.normalizer == "frozen":
        assert first_sum is not None
        found = pairwise_distances(outputs) / first_sum[:, None, None]
        return (config.alpha * normalized_distances(latents) - found).relu().sum((-2, -1))
    loss = ndiv_loss(
        latents,
        outputs,
        alpha=config.alpha,
        detach_normalizer=config.normalizer == "blocked",
        reduction="none",
        check_values=False,
    )
    return (latents.shape[-2] ** 2 - latents.shape[-2]) * loss


def record_steps(config: Config) -> list[int]:
    """Step 0 and steps that grow by a constant factor, up to the last."""
    return [0, *sorted({int(step) for step in np.geomspace(1, config.num_steps, config.num_records).round()})]


class Points(nn.Module):
    """Free points, which start where a random linear map puts the latents, as an untrained network would."""

    def __init__(self, latents: Tensor, spread: float, draws: StackedDraws) -> None:
        super().__init__()
        mapped = (latents - latents.mean(1, keepdim=True)) @ draws.randn(latents.shape[-1], 2)
        self.places = nn.Parameter(spread * mapped / mapped.square().mean((1, 2), keepdim=True).sqrt())

    def forward(self, latents: Tensor) -> Tensor:
        """The points ``(k, n, 2)``, whatever the latents."""
        return self.places


def mean_distance(outputs: Tensor) -> Tensor:
    """Mean pairwise distance of every model ``(k)``."""
    n = outputs.shape[-2]
    return pairwise_distances(outputs, check_values=False).sum((-2, -1)) / (n * n - n)


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Minimize NDiv alone; how large the outputs get, how fast they grow at the end, and what is left of the loss."""
    draws, n = StackedDraws(seeds), config.num_samples
    latents = draws.rand(n, config.latent_dim)
    if config.outputs == "points":
        model: nn.Module = Points(latents, config.spread, draws)
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=config.step_size)
    else:
        model = StackedMLP([config.latent_dim, config.hidden, config.hidden, 2], draws.generators)
        optimizer = torch.optim.Adam(
            model.parameters(), lr=config.learning_rate, betas=(0.5, 0.999), fused=True
        )
    steps, sizes = record_steps(config), []
    first_sum = (n - 1) * mean_distance(model(latents).detach())
    for step in range(config.num_steps + 1):
        if config.outputs == "network":
            latents = draws.rand(n, config.latent_dim)
        outputs = model(latents).tanh() if config.bounded else model(latents)
        if step in steps:
            sizes.append(mean_distance(outputs.detach()))
        if step < config.num_steps:
            optimizer.zero_grad()
            # Adam divides by the gradient's size, so that only the points' step feels the sum over pairs.
            pair_sum(config, latents, outputs, first_sum).sum().backward()
            optimizer.step()

    size, late = torch.stack(sizes), [i for i, step in enumerate(steps) if step >= LATE * config.num_steps]
    time = torch.tensor([steps[i] for i in late]).log()
    slope = ((time - time.mean())[:, None] * size[late].log()).sum(0) / (time - time.mean()).square().sum()
    value = ndiv_loss(latents, outputs.detach(), alpha=config.alpha, reduction="none")
    return Measured(
        values={
            "exponent": slope.tolist(),
            "growth": (size[-1] / size[0]).tolist(),
            "late_growth": (size[-1] / size[late[0]]).tolist(),
            "size": size[-1].tolist(),
            "loss_over_bound": (value * (n - 1) / config.alpha).tolist(),
        },
        n_real=0,
        n_generated=n,
        arrays={
            "steps": np.array(steps),
            "sizes": size.numpy(),
            "outputs": outputs[0].detach().numpy(),
            "latent": latents[0, :, 0].numpy(),
        },
    )


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_samples=8, num_steps=20)


SEEDS = tuple(range(10))
ALPHAS = (0.1, 0.2, 0.3, 0.5, 0.8)  # of the explorer
LATENT_DIMS = (2, 3, 8, 25)


def _name(config: Config) -> str:
    bounded = "-bounded" if config.bounded else ""
    return f"{config.outputs}-{config.latent_dim}-a{config.alpha}-{config.normalizer}{bounded}"


_CONFIGS = [
    *(replace(_POINTS, latent_dim=dim, alpha=alpha) for dim in LATENT_DIMS for alpha in ALPHAS),
    replace(_POINTS, alpha=1.0),
    *(replace(_NETWORK, alpha=alpha) for alpha in (0.1, 0.5, 0.8, 1.0)),
    *(replace(_NETWORK, latent_dim=25, alpha=alpha) for alpha in (0.1, 0.2, 0.5)),
    replace(_NETWORK, alpha=1.0, bounded=True),
]
# What Algorithm 1 does not do: differentiate the normalizer, or never update it.
_OTHERWISE = [
    replace(base, latent_dim=25, normalizer=normalizer)
    for base in (_POINTS, _NETWORK)
    for normalizer in ("differentiated", "frozen")
]
CELLS = [Cell(_name(config), config, SEEDS, stack=10, priority=3) for config in _CONFIGS]
CELLS += [Cell(_name(config), config, SEEDS, stack=10, priority=10) for config in _OTHERWISE]
