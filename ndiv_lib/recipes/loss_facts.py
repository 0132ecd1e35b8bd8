"""What the NDiv loss is, without training: statements about its values and gradients as numbers (NDiv, Eq. 1-5, Algorithm 1).

Each seed draws latents and unrelated outputs; each metric compares the library with a double loop written from the paper, or
measures a law. The presets that break a law on purpose (not detached, not normalized, shuffled ...) are the ledger's nulls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib.distances import normalized_distances, pairwise_distances
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured

SCALE = 10.0  # by which outputs are stretched where a law of scaling is measured
NUM_SAMPLES = (4, 8, 16, 32, 64, 128, 256)
NUM_CLUSTERS = (2, 4, 8, 16, 32)
OUTLIER_DISTANCES = (10.0, 100.0, 1000.0)
NOISES = (1e-1, 1e-3, 1e-6, 1e-9)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    num_samples: int = 64  # half of the released code's batch: a double loop in Python takes its time
    latent_dim: int = 2  # Fig. 2
    output_dim: int = 3  # another than the latent's, so that nothing holds by coincidence
    outputs: Literal["spread", "identical", "clusters"] = (
        "spread"  # standard normal, total collapse, or tight clusters
    )
    num_clusters: int = 1  # which latent falls into which is a matter of chance, as in mode collapse
    cluster_spread: float = 1e-3  # standard deviation within a cluster; centers are standard normal
    outlier_distance: float = 0.0  # above 0: the first output is moved that far from the origin
    alpha: float = 0.5  # Sec. 5
    p: Literal[1, 2] = 2  # Eq. 1-2
    weight: float = 1.0  # Eq. 5 prints none
    detach_normalizer: bool = True  # Algorithm 1, line 6
    normalize: bool = True  # Eq. 3
    shuffle: bool = False  # compare with the loop on other pairs


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "weight_1": Config(weight=1.0),
    "weight_10000": Config(weight=1e4),  # released code
    "alpha_1": Config(alpha=1.0),
    "identical_outputs": Config(outputs="identical"),
    "not_detached": Config(detach_normalizer=False),
    "not_normalized": Config(normalize=False),
    "shuffled": Config(shuffle=True),
    "l1": Config(p=1),
}


def loop_distances(points: Tensor) -> Tensor:
    """Eq. 1 and 2, pair by pair: ``(n, d)`` to ``(n, n)``."""
    return torch.stack(
        [torch.stack([(a - b).square().sum().sqrt() for b in points]) for a in points.detach()]
    )


def loop_loss(latents: Tensor, outputs: Tensor, alpha: float) -> Tensor:
    """Eq. 4 with Algorithm 1, lines 3-10, sample by sample: row sums are constants, the diagonal is left out."""
    n, total = len(latents), torch.zeros((), dtype=latents.dtype)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        to_latents = torch.stack([(latents[i] - latents[j]).norm() for j in others])
        to_outputs = torch.stack([(outputs[i] - outputs[j]).norm() for j in others])
        total = (
            total
            + (alpha * to_latents / to_latents.sum() - to_outputs / to_outputs.sum().detach()).relu().sum()
        )
    return total / (n**2 - n)


def facts(config: Config, seed: int) -> dict[str, float]:
    """All numbers of one draw, in float64."""
    random = torch.Generator().manual_seed(seed)
    n, alpha = config.num_samples, config.alpha
    latents = torch.rand(n, config.latent_dim, generator=random, dtype=torch.float64)
    outputs = torch.randn(n, config.output_dim, generator=random, dtype=torch.float64)
    rotation = torch.linalg.qr(
        torch.randn(config.output_dim, config.output_dim, generator=random, dtype=torch.float64)
    ).Q
    shift = torch.randn(config.output_dim, generator=random, dtype=torch.float64)
    if config.outputs == "identical":
        outputs = outputs[:1].repeat(n, 1)
    if config.outputs == "clusters":
        centers = torch.randn(config.num_clusters, config.output_dim, generator=random, dtype=torch.float64)
        member = torch.randint(config.num_clusters, (n,), generator=random)
        noise = torch.randn(n, config.output_dim, generator=random, dtype=torch.float64)
        outputs = centers[member] + config.cluster_spread * noise
    if config.outlier_distance:
        outputs[0] = config.outlier_distance * outputs[0] / outputs[0].norm()
    compared = outputs[torch.randperm(n, generator=random)] if config.shuffle else outputs

    def matrix(points: Tensor) -> Tensor:
        if not config.normalize:
            return pairwise_distances(points, p=config.p)
        return normalized_distances(points, p=config.p, detach_normalizer=config.detach_normalizer)

    def loss(outputs: Tensor) -> Tensor:
        if config.normalize:
            return ndiv_loss(
                latents, outputs, alpha=alpha, p=config.p, detach_normalizer=config.detach_normalizer
            )
        return (alpha * matrix(latents) - matrix(outputs)).relu().sum() / (n**2 - n)

    z, y = matrix(latents), matrix(outputs)
    value, slope = loss(outputs), gradient(loss, outputs)
    stretched = gradient(loss, SCALE * outputs)
    two_sided = gradient(lambda outputs: (alpha * z - matrix(outputs)).abs().sum() / (n**2 - n), outputs)
    reference = loop_loss(latents, compared, alpha)
    reference_slope = gradient(lambda outputs: loop_loss(latents, outputs, alpha), compared)
    adversarial = 1 / math.sqrt(
        n
    )  # norm of a mean over the batch whose samples are each pulled with strength 1
    push = config.weight * float(slope.norm())
    return {
        "distance_error": relative(pairwise_distances(outputs, p=config.p), loop_distances(compared)),
        "row_sum_error": float((torch.cat([z, y]).sum(-1) - 1).abs().max()),
        "diagonal": float(torch.cat([z.diagonal(), y.diagonal()]).abs().max()),
        "asymmetry": relative(y, y.mT),
        "loss_error": relative(value, reference),
        "gradient_error": relative(slope, reference_slope),
        "loss": float(value),
        "loss_over_bound": float(value) * (n - 1) / alpha,
        "collapse_over_bound": float(loss(torch.zeros_like(outputs))) * (n - 1) / alpha,
        "collapse_gradient": float(gradient(loss, torch.zeros_like(outputs)).norm()),
        "gradient_norm": float(slope.norm()),
        "first_share": float(y[1:, 0].mean()),  # of the other samples' row sums: 1 / (n - 1) on average
        "value_change_scale": relative(loss(SCALE * outputs), value),
        "value_change_motion": relative(loss(outputs @ rotation + shift), value),
        "distance_change_scale": relative(matrix(SCALE * outputs), y),
        "gradient_times_scale": SCALE * ratio(stretched, slope),  # 1: the gradient goes with 1 / scale
        "radial_derivative": along(slope, outputs),
        # with constant row sums, <grad, y> is minus the mean of the active entries of D^Y
        "radial_error": abs(float((slope * outputs).sum() + y[alpha * z > y].sum() / (n**2 - n))),
        "two_sided_radial_derivative": along(two_sided, outputs),
        "gradient_share": push / (push + adversarial),
        "total_variation_error": abs(float(value) * (n - 1) - float((z - y).abs().sum(-1).mean() / 2)),
        "two_samples": float(loop_loss(latents[:2], outputs[:2], alpha).nan_to_num()),
        "loop_fails": float(not bool(reference.isfinite())),
    }


def gradient(function: Callable[[Tensor], Tensor], point: Tensor) -> Tensor:
    """Gradient of a scalar function at a point."""
    point = point.detach().clone().requires_grad_()
    return torch.autograd.grad(function(point), point)[0]


def along(slope: Tensor, outputs: Tensor) -> float:
    """Cosine between a gradient and the outputs: below 0, a descent step expands them."""
    return float((slope * outputs).sum() / (slope.norm() * outputs.norm()).clamp_min(1e-300))


def ratio(part: Tensor, whole: Tensor) -> float:
    """Size of one tensor as a part of another's: 0 for nothing of nothing, 1 where either is undefined."""
    return float((part.norm() / whole.norm().clamp_min(1e-300)).nan_to_num(1.0))


def relative(value: Tensor, reference: Tensor) -> float:
    """Size of the difference as a part of the reference's size."""
    return ratio(value - reference, reference)


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Every fact for every seed."""
    rows = [facts(config, seed) for seed in seeds]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=0,
        n_generated=config.num_samples,
    )


def smoke(config: Config) -> Config:
    """Eight samples."""
    return replace(config, num_samples=8)


# What the value sees, and what it does not: batch size, clusters, one outlier, noise about total collapse.
VARIANTS: dict[str, Config] = {
    **{f"n-{n}": Config(num_samples=n) for n in NUM_SAMPLES},
    **{f"clusters-{k}": Config(outputs="clusters", num_clusters=k) for k in NUM_CLUSTERS},
    **{f"outlier-{r:g}": Config(outlier_distance=r) for r in OUTLIER_DISTANCES},
    **{f"noise-{s:g}": Config(outputs="clusters", cluster_spread=s) for s in NOISES},
}

CELLS = [
    Cell(name, config, tuple(range(10)), stack=10, priority=20)
    for name, config in {**PRESETS, **VARIANTS}.items()
]
