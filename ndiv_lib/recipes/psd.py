"""Does the positive part keep a learned metric positive semidefinite (PSD)? The counterexample of NDiv, Sec. 3.3 and Eq. 6.

The metric is a quadratic form, d(y, y') = (y - y')^T Phi (y - y') with Phi = U^T diag[-beta, 100 beta, 0 ...] U, where the
eigenvectors are the rows of U. Three tasks: plug in the printed pair, scale beta for a whole batch, and learn Phi.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib.distances import normalized_distances
from ndiv_lib.recipes.recording import Cell, Measured

WATCH_STEPS = (0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 1500, 2000)


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["pair", "scale", "learn"] = "pair"
    beta: float = 1.0  # Eq. 6; only its sign is printed
    dim: int = 2  # D, not printed; the null directions of Eq. 6 add nothing to any distance
    pair: Literal["printed", "sum", "first"] = "printed"  # sum_d U_d / D, sum_d U_d, or U_1
    hinge: bool = True  # the positive part of Eq. 4
    normalizer: Literal["held", "own"] = "own"  # scale: row sums of beta = 1, or those of this beta (Eq. 3)
    alpha: float = 0.5  # Sec. 5
    num_samples: int = 64  # half of the released code's batch
    optimizer: Literal["descent", "adam"] = "descent"  # learn; not printed
    step_size: float = 30.0  # of descent: a few steps to cross zero, so that the crossing is seen
    watch_steps: tuple[int, ...] = WATCH_STEPS  # the last one ends the run


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "scale": Config(task="scale", normalizer="held"),
    "learn": Config(task="learn"),
    "learn_no_hinge": Config(task="learn", hinge=False),
    "learn_adam": Config(task="learn", optimizer="adam", step_size=0.1),
    "learn_adam_no_hinge": Config(task="learn", optimizer="adam", step_size=0.1, hinge=False),
}


def rotation(dim: int, random: torch.Generator) -> Tensor:
    """A random orthogonal U."""
    return torch.linalg.qr(torch.randn(dim, dim, generator=random, dtype=torch.float64)).Q


def form(rotation: Tensor, beta: float) -> Tensor:
    """Eq. 6: Phi = U^T diag[-beta, 100 beta, 0 ...] U."""
    eigenvalues = torch.zeros(rotation.shape[-1], dtype=rotation.dtype)
    eigenvalues[:2] = torch.tensor([-beta, 100 * beta])
    return rotation.mT @ torch.diag(eigenvalues) @ rotation


def form_distances(points: Tensor, form: Tensor) -> Tensor:
    """All pairs of the quadratic form: ``(*batch, n, d)`` and ``(*batch, d, d)`` to ``(*batch, n, n)``, of any sign."""
    differences = points[..., :, None, :] - points[..., None, :, :]
    return torch.einsum("...ijk,...kl,...ijl->...ij", differences, form, differences)


def mean_gap(latent: Tensor, output: Tensor, config: Config) -> Tensor:
    """Eq. 4 of two normalized matrices in units of its bound, with or without the positive part."""
    gap = config.alpha * latent - output
    gap = gap.relu() if config.hinge else gap
    off_diagonal = gap - torch.diag_embed(gap.diagonal(dim1=-2, dim2=-1))
    return off_diagonal.sum((-2, -1)) / (config.num_samples * config.alpha)


def plug_in(config: Config, seed: int) -> dict[str, float]:
    """The pair's distance, and by how much it changes the pair's term: all divided by beta, at a normalizer of 1."""
    u = rotation(config.dim, torch.Generator().manual_seed(seed))
    difference = {"printed": u.sum(0) / config.dim, "sum": u.sum(0), "first": u[0]}[config.pair]
    wrong = u.sum(1) / config.dim  # U_d read as columns, which are no eigenvectors of U^T diag U
    phi = form(u, config.beta)
    distance, of_columns = (float(v @ phi @ v) for v in (difference, wrong))
    share = config.alpha / (config.num_samples - 1)  # alpha D^Z_ij of an average pair
    return {
        "distance": distance / config.beta,
        "distance_of_columns": of_columns / config.beta,
        "variation_without": abs(distance) / config.beta,
        "variation_with": abs(max(share - distance, 0.0) - share) / config.beta,
    }


def scale(config: Config, seed: int) -> dict[str, float]:
    """The loss of a batch of Gaussian outputs at beta and at ten times beta."""
    random = torch.Generator().manual_seed(seed)
    u = rotation(config.dim, random)
    latents = torch.rand(config.num_samples, 2, generator=random, dtype=torch.float64)
    outputs = torch.randn(config.num_samples, config.dim, generator=random, dtype=torch.float64)
    unit = form_distances(outputs, form(u, 1.0))
    latent = normalized_distances(latents)

    def loss(beta: float) -> float:
        distances = form_distances(outputs, form(u, beta))
        row_sums = (unit if config.normalizer == "held" else distances).sum(-1, keepdim=True)
        return float(mean_gap(latent, distances / row_sums, config))

    return {
        "loss_over_bound": loss(config.beta),
        "negative_share": float((unit < 0).sum()) / (config.num_samples**2 - config.num_samples),
        "psd_margin": loss(10 * config.beta) - loss(config.beta),  # above 0: growing beta is penalized
    }


def learn(config: Config, seeds: Sequence[int]) -> Measured:
    """Learn a form without any restriction from Eq. 6, its row sums held constant as in Algorithm 1; outputs are latents."""
    randoms = [torch.Generator().manual_seed(seed) for seed in seeds]
    phi = torch.stack([form(rotation(config.dim, random), config.beta) for random in randoms])
    size = (config.num_samples, config.dim)
    outputs = torch.stack([torch.randn(size, generator=random, dtype=torch.float64) for random in randoms])
    latent = normalized_distances(outputs)
    phi.requires_grad_()
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.SGD
    optimizer = kind([phi], lr=config.step_size)
    film, first_psd = [], [float("inf")] * len(seeds)
    for step in range(config.watch_steps[-1] + 1):
        eigenvalues = torch.linalg.eigvalsh((phi + phi.mT).detach() / 2)
        first_psd = [min(f, step) if e[0] >= 0 else f for f, e in zip(first_psd, eigenvalues, strict=True)]
        if step in config.watch_steps:
            film.append(eigenvalues)
        distances = form_distances(outputs, phi)
        loss = mean_gap(latent, distances / distances.detach().sum(-1, keepdim=True), config)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return Measured(
        values={
            "smallest": eigenvalues[:, 0].tolist(),
            "largest": eigenvalues[:, -1].tolist(),
            "psd_margin": (
                eigenvalues[:, 0] / eigenvalues[:, -1]
            ).tolist(),  # 1 / condition number, or negative
            "first_psd_step": [min(step, config.watch_steps[-1] + 1) for step in first_psd],  # + 1: never
            "loss_over_bound": loss.tolist(),
        },
        n_real=0,
        n_generated=config.num_samples,
        arrays={
            "eigenvalues": torch.stack(film).numpy().astype("float32")
        },  # (watched step, seed, eigenvalue)
    )


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    if config.task == "learn":
        return learn(config, seeds)
    rows = [(plug_in if config.task == "pair" else scale)(config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values=values, n_real=0, n_generated=config.num_samples)


def smoke(config: Config) -> Config:
    """Eight samples, three steps."""
    return replace(config, num_samples=8, watch_steps=(0, 3))


SEEDS = tuple(range(10))
DIMS = (2, 5, 10)
PAIR_BETAS = (0.001, 1.0)  # the positive part lets the printed pair through, and cuts it off
BETAS = (0.1, 1.0, 10.0, 100.0, 1000.0)
HINGES = {"hinge": True, "no_hinge": False}

VARIANTS: dict[str, Config] = {
    **{
        f"{pair}-d{dim}-beta{beta:g}": Config(pair=pair, dim=dim, beta=beta)
        for pair in ("printed", "sum", "first")
        for dim in DIMS
        for beta in PAIR_BETAS
    },
    **{
        f"scale_{beta:g}-{name}": Config(task="scale", normalizer="held", beta=beta, hinge=hinge)
        for beta in BETAS
        for name, hinge in HINGES.items()
    },
    **{f"own_normalizer-{name}": Config(task="scale", hinge=hinge) for name, hinge in HINGES.items()},
    **{f"learn-{name}": Config(task="learn", hinge=hinge) for name, hinge in HINGES.items()},
    **{
        f"learn_adam-{name}": Config(task="learn", optimizer="adam", step_size=0.1, hinge=hinge)
        for name, hinge in HINGES.items()
    },
}

CELLS = [Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()]
