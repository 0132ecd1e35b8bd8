"""Is the map that NDiv learns a local isometry (NDiv, Sec. 3.1)? Singular values of generators' Jacobians, plane to plane.

An isometry has all of them equal to 1, a similarity has all equal to one number, its scale. Generators are trained by NDiv alone,
or as a GAN on the donut without and with NDiv.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.data.toy import sample_donut
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    adversarial: bool = True  # a discriminator on the donut; without it, NDiv is all there is
    diversity_weight: float = (
        80.0  # of NDiv in the reduction "sample"; the released code's 1e4 at its batch of 128
    )
    alpha: float = 0.5  # Sec. 5
    num_steps: int = 1500
    num_train: int = 256
    batch_size: int = 128  # released code
    hidden: int = 64
    learning_rate: float = 1e-3  # released code, Adam with betas (0.5, 0.999)
    num_probes: int = 500  # latents at which the Jacobian is measured


_ALONE = Config(adversarial=False)
PRESETS: dict[str, Config] = {
    "untrained": replace(_ALONE, num_steps=0),
    **{f"alone_{alpha}": replace(_ALONE, alpha=alpha) for alpha in (0.5, 0.8, 1.0)},
    "gan": Config(diversity_weight=0.0),
    **{f"donut_{alpha}": Config(alpha=alpha) for alpha in (0.5, 0.8)},
}


def train(config: Config, seeds: Sequence[int]) -> StackedMLP:
    """One generator per seed, from the unit square to the plane."""
    draws, n = StackedDraws(seeds, stream=1), config.batch_size
    data = torch.stack([sample_donut(config.num_train, generator=g) for g in StackedDraws(seeds).generators])
    generator = StackedMLP([2, config.hidden, config.hidden, 2], draws.generators)
    discriminator = StackedMLP([2, config.hidden, config.hidden, 1], draws.generators)
    adams = [
        torch.optim.Adam(net.parameters(), config.learning_rate, (0.5, 0.999), fused=True)
        for net in (generator, discriminator)
    ]

    def minimize(optimizer: torch.optim.Optimizer, losses: Tensor) -> None:
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()

    for _ in range(config.num_steps):
        if config.adversarial:
            fake, real = generator(draws.rand(n, 2)).detach(), draws.batch(data, n)
            loss = discriminator_loss(
                real_logits=discriminator(real), fake_logits=discriminator(fake), reduction="none"
            )
            minimize(adams[1], loss.mean((1, 2)))
        latents = draws.rand(n, 2)
        outputs = generator(latents)
        losses = outputs.new_zeros(len(seeds))
        if config.adversarial:
            losses = generator_loss(fake_logits=discriminator(outputs), reduction="none").mean((1, 2))
        if config.diversity_weight:
            value = ndiv_loss(latents, outputs, alpha=config.alpha, reduction="none")
            losses = losses + config.diversity_weight * (n - 1) * value
        minimize(adams[0], losses)
    return generator


def jacobian_singular_values(generator: StackedMLP, latents: Tensor) -> Tensor:
    """Singular values, largest first, of the Jacobian at every latent ``(k, n, 2)``: ``(k, n, 2)``."""
    latents = latents.detach().requires_grad_()
    outputs = generator(latents)
    rows = [
        torch.autograd.grad(outputs[..., i].sum(), latents, retain_graph=True)[0]
        for i in range(outputs.shape[-1])
    ]
    return torch.linalg.svdvals(torch.stack(rows, dim=-2))


def measure(singular_values: Tensor) -> dict[str, float]:
    """How far one seed's map is from a similarity and from an isometry; singular values ``(n, 2)``."""
    logs = singular_values.clamp_min(1e-12).log()
    scale = logs.mean(-1).median()

    def factor(departure: Tensor) -> float:
        """By which a length is stretched or shrunk at worst, at the median latent; 1 is not at all."""
        return math.exp(float(departure.abs().amax(-1).median()))

    return {
        "scale": math.exp(float(scale)),
        "anisotropy": math.exp(float((logs[:, 0] - logs[:, 1]).median())),
        "from_similarity": factor(logs - scale),  # one scale for the whole map is free
        "from_isometry": factor(logs),
    }


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure every seed; keeps the first seed's probes and singular values."""
    probes = StackedDraws(seeds, stream=2).rand(config.num_probes, 2)
    values = jacobian_singular_values(train(config, seeds), probes)
    rows = [measure(one) for one in values]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=config.num_train if config.adversarial else 0,
        n_generated=config.num_probes,
        arrays={"singular_values": values[0].half().numpy()},
    )


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_steps=min(config.num_steps, 3), num_probes=50)


CELLS = [Cell(preset, config, tuple(range(10)), stack=10) for preset, config in PRESETS.items()]
