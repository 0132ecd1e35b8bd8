"""Real logs for HMGAN's Proposition 1: a small GAN trained with L_d or with L_h, and when each regularizer crosses a threshold.

Nothing is stopped: every run goes on to the end, and a stop is read off its log. Both losses take ratios of batch means, so
that L_d is exactly the product of the ratios whose sum is L_h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.data.toy import ring_centers, sample_gaussians
from ndiv_lib.hmgan import HierarchicalDiversity, hierarchical_loss
from ndiv_lib.metrics.modes import mode_report
from ndiv_lib.models.mlp import MLP
from ndiv_lib.recipes.recording import Cell, Measured

THRESHOLDS = (
    7.0,
    6.0,
    5.0,
    4.0,
    3.0,
    2.0,
    1.0,
    0.5,
)  # H, a ladder around the constant of three ratios, 5.196


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    regularizer: Literal["none", "product", "sum"] = "sum"
    weight: float = 1.0  # beta, as printed
    std: float = 0.2  # of the ring's eight modes, broad enough for a short training to find them
    latent_dim: int = 2
    hidden: int = 32  # two layers: with the latent and the output n = 4, three ratios
    num_pairs: int = 64  # a step
    num_steps: int = 1000
    log_every: int = 5
    learning_rate: float = 2e-3  # Adam with betas (0.5, 0.999)
    num_watched: int = 256  # pairs that the log measures, the same all along
    num_samples: int = 1000  # for the share of samples outside three standard deviations of a mode


def regularizer(name: str, layers_a: Sequence[Tensor], layers_b: Sequence[Tensor]) -> Tensor:
    """L_d is L_h of the path that has only its ends."""
    if name == "product":
        return hierarchical_loss([layers_a[0], layers_a[-1]], [layers_b[0], layers_b[-1]])
    return hierarchical_loss(layers_a, layers_b)


def train(config: Config, seed: int) -> dict[str, np.ndarray]:
    """Logs of one run: steps, ratios ``(logs, 3)``, the share of samples outside the modes, and the generator's GAN loss."""
    random = torch.Generator().manual_seed(seed)
    generator = MLP([config.latent_dim, config.hidden, config.hidden, 2], generator=random)
    discriminator = MLP([2, config.hidden, config.hidden, 1], generator=random)
    adam, judge_adam = (
        torch.optim.Adam(model.parameters(), config.learning_rate, (0.5, 0.999), fused=True)
        for model in (generator, discriminator)
    )
    path = HierarchicalDiversity(["1", "3"])  # the rectifiers' outputs
    centers = ring_centers()
    data = sample_gaussians(centers, config.std, 64, generator=random)

    def latents(num_pairs: int) -> Tensor:
        return 2 * torch.rand(2, num_pairs, config.latent_dim, generator=random) - 1

    watched = latents(config.num_watched)
    fresh = latents(config.num_samples // 2).flatten(0, 1)
    logs: dict[str, list[float | list[float]]] = {"step": [], "ratios": [], "fail_rate": [], "gan_loss": []}
    for step in range(config.num_steps + 1):
        if step % config.log_every == 0:
            with torch.no_grad():
                layers = zip(*path.record(generator, *watched), strict=True)
                distances = torch.stack([(a - b).abs().mean() for a, b in layers])
                samples = generator(fresh)
                logs["step"].append(step)
                logs["ratios"].append((distances[:-1] / distances[1:]).tolist())
                logs["fail_rate"].append(mode_report(samples, centers=centers, std=config.std).fail_rate)
                logs["gan_loss"].append(float(generator_loss(fake_logits=discriminator(samples))))
        z = latents(config.num_pairs)
        real = data[torch.randint(len(data), (2 * config.num_pairs,), generator=random)]
        fake = generator(z.flatten(0, 1)).detach()
        _step(
            judge_adam,
            discriminator_loss(real_logits=discriminator(real), fake_logits=discriminator(fake)),
        )
        layers_a, layers_b = path.record(generator, *z)
        loss = generator_loss(fake_logits=discriminator(torch.cat([layers_a[-1], layers_b[-1]])))
        if config.regularizer != "none":
            loss = loss + config.weight * regularizer(config.regularizer, layers_a, layers_b)
        _step(adam, loss)
    return {name: np.array(values) for name, values in logs.items()}


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure(logs: dict[str, np.ndarray]) -> dict[str, float]:
    """Stops of both regularizers along one log (one log interval past the end: never), and what the run is like there."""
    steps, ratios = logs["step"], logs["ratios"]
    product, total = ratios.prod(1), ratios.sum(1)
    row = {
        "product_first": product[0],
        "product_lowest": product.min(),
        "product_last": product[-1],
        "sum_first": total[0],
        "sum_lowest": total.min(),
        "sum_last": total[-1],
        "fail_rate_last": logs["fail_rate"][-1],
        # How often each quantity that "l" could be goes up from one log to the next
        "product_rises": (np.diff(product) > 0).mean(),
        "sum_rises": (np.diff(total) > 0).mean(),
        "gan_loss_rises": (np.diff(logs["gan_loss"]) > 0).mean(),
        "fail_rate_rises": (np.diff(logs["fail_rate"]) > 0).mean(),
    }
    for name, curve in (("product", product), ("sum", total)):
        for threshold in THRESHOLDS:
            below = curve <= threshold
            at = int(below.argmax()) if below.any() else -1
            row[f"{name}_stop_{threshold:g}"] = steps[at] if at >= 0 else steps[-1] + steps[1]
            row[f"{name}_fail_rate_{threshold:g}"] = logs["fail_rate"][at]
    return {name: float(value) for name, value in row.items()}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train one run per seed and read its log."""
    logs = [train(config, seed) for seed in seeds]
    rows = [measure(log) for log in logs]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=512,
        n_generated=config.num_samples,
        arrays={
            "step": logs[0]["step"].astype("int32"),
            "ratios": np.stack([log["ratios"] for log in logs]).astype("float32"),
            "fail_rate": np.stack([log["fail_rate"] for log in logs]).astype("float16"),
        },
    )


def smoke(config: Config) -> Config:
    """Ten steps."""
    return replace(config, num_steps=10, num_samples=100)


PRESETS: dict[str, Config] = {
    "none": Config(regularizer="none"),
    "product": Config(regularizer="product"),
    "sum": Config(regularizer="sum"),
}

CELLS = [Cell(name, config, tuple(range(10)), stack=10, priority=10) for name, config in PRESETS.items()]
