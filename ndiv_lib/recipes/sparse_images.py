"""A modern baseline with and without NDiv at all, 5 % and 1 % of CIFAR-10: does diversity help where data are sparse?

On the donut it does. The baseline is that of Huang et al. (2024): relativistic pairing, gradient penalties R1 and R2, a plain
residual network, and no tricks (:mod:`ndiv_lib.models.plain_residual`). Few images can be learned by heart, so that every run
is also asked whether its samples are nearer to the images it was trained on than to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from ndiv_lib.recipes import image_gan
from ndiv_lib.recipes.image_gan import Config, smoke, train
from ndiv_lib.recipes.recording import Cell, Measured, joined

__all__ = ["CELLS", "PRESETS", "Config", "copying", "evaluate", "run", "smoke", "train"]


def copying(samples: Tensor, *, trained: Tensor, held_out: Tensor) -> dict[str, float]:
    """Whether samples are nearer to training images than to as many images that were never seen, in pixels.

    Args:
        samples: ``(n, ...)``.
        trained: ``(m, ...)`` training images.
        held_out: ``(m, ...)`` images from the same source.

    Returns:
        ``copied``: the share of samples whose nearest image is a training image. Without memory it is 0.5, for copies 1.
        ``nearest_ratio``: the median ratio of the distances to the nearest training and the nearest held-out image.

    Example:
        >>> images = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        >>> copying(images[:10], trained=images[:10], held_out=images[10:])
        {'copied': 1.0, 'nearest_ratio': 0.0}
    """
    exact = "donot_use_mm_for_euclid_dist"  # else a copy would not be at distance 0
    nearest = [
        torch.cdist(samples.flatten(1), images.flatten(1), compute_mode=exact).amin(1)
        for images in (trained, held_out)
    ]
    return {
        "copied": float((nearest[0] < nearest[1]).float().mean()),
        "nearest_ratio": float((nearest[0] / nearest[1].clamp(min=1e-9)).median()),
    }


def evaluate(config: Config, folder: str | Path, seed: int) -> Measured:
    """The scores of :func:`ndiv_lib.recipes.image_gan.evaluate`, and those of :func:`copying` against all images there are.

    Of tuning no sheet is kept.
    """
    measured = image_gan.evaluate(config, folder, seed)
    trained, held_out = (
        image_gan.training_bytes(config, seed)[0],
        image_gan.stored_bytes(config, "test")[0],
    )
    count = min(len(trained), len(held_out))
    random = torch.Generator().manual_seed(7_000_003 + seed)
    picked = [
        images[torch.randperm(len(images), generator=random)[:count]].float() / 127.5 - 1
        for images in (trained, held_out)
    ]
    generator, _ = image_gan.trained_generator(config, folder)
    latents = image_gan.draw_latents(config, measured.n_generated, random)
    samples = image_gan.draw(config, generator, latents, torch.zeros(len(latents)))
    copied = copying(samples, trained=picked[0], held_out=picked[1])
    return replace(
        measured,
        values={**measured.values, **{name: [value] for name, value in copied.items()}},
        arrays=measured.arrays if seed < TUNING_SEEDS[0] else {},
    )


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure one model per seed, in folders that do not stay."""
    found = []
    for seed in seeds:
        with TemporaryDirectory() as folder:
            train(config, seed, Path(folder) / "run", report=lambda line: None)
            found.append(evaluate(config, Path(folder) / "run", seed))
    return joined(found)


# --- Cells ------------------------------------------------------------------------------------------------------------

SEEDS = (0, 1, 2)
TUNING_SEEDS = (1000, 1001, 1002)
SCORE = "frechet_efficientnet, against held-out images; the mean of the seeds, lowest"  # named before the first trial
FRACTIONS = {"all": 1.0, "5_percent": 0.05, "1_percent": 0.01}

BASELINE = Config(
    architecture="plain_resnet",
    generator_width=64,
    discriminator_width=64,
    latent="normal",
    latent_dim=64,
    objective="relativistic",
    penalty="r1_r2",
    penalty_weight=0.05,
    discriminator_steps=1,
    num_steps=50_000,
    beta1=0.0,  # as there
    beta2=0.99,
    average_decay=0.999,
)
# 8 x 8 pixels (means of 4 x 4), narrow networks, 1,000 steps: half a minute on a CPU. It asks the question of thumbnails;
# the answer need not be that of whole images.
SMALL: dict[str, Any] = {
    "image_size": 8,
    "generator_width": 12,
    "discriminator_width": 12,
    "latent_dim": 16,
    "batch_size": 32,
    "num_steps": 1_000,
    "average_decay": 0.99,
    "num_samples": 300,
}
# Eight settings of the baseline, at 5 %, in short runs: strength of R1 and R2, and length of a step.
SHORT: dict[str, Any] = {"fraction": FRACTIONS["5_percent"], "num_steps": 200, "num_samples": 150}
OF_BASELINE: dict[str, dict[str, Any]] = {
    f"penalty{weight:g}-rate{rate:g}": {"penalty_weight": weight, "learning_rate": rate}
    for weight in (0.003, 0.03, 0.3, 3.0)
    for rate in (1e-3, 3e-3)
}
BEST = "penalty0.3-rate0.003"  # of these trials
# Eight settings of the term on top of the baseline's best.
OF_NDIV: dict[str, dict[str, Any]] = {
    f"ndiv-weight{weight:g}-alpha{alpha:g}": {
        "diversity": "ndiv",
        "diversity_weight": weight,
        "alpha": alpha,
    }
    for weight in (2.0, 8.0, 32.0, 128.0)
    for alpha in (0.5, 0.8)
}
BEST_NDIV = "ndiv-weight8-alpha0.8"  # of these trials

SMALL_BASELINE = replace(BASELINE, **(SMALL | OF_BASELINE[BEST]))


def at_fractions(config: Config, ndiv: dict[str, Any]) -> dict[str, Config]:
    """The configuration at every fraction of the data, without and with the term."""
    cells = {}
    for name, fraction in FRACTIONS.items():
        cells[name] = replace(config, fraction=fraction)
        cells[f"{name}-ndiv"] = replace(config, fraction=fraction, **ndiv)
    return cells


LARGE_CELLS = at_fractions(BASELINE, OF_NDIV[BEST_NDIV])
SMALL_CELLS = {
    f"small-{name}": config for name, config in at_fractions(SMALL_BASELINE, OF_NDIV[BEST_NDIV]).items()
}
# Twice the length where data are sparsest: whether the term only hurries, and whether images are learned by heart after all.
LONG_CELLS = {
    name.replace("small", "long"): replace(config, num_steps=2_000)
    for name, config in SMALL_CELLS.items()
    if "1_percent" in name
}
PRESETS: dict[str, Config] = LARGE_CELLS | SMALL_CELLS | LONG_CELLS

TRIALS = {name: replace(BASELINE, **(SMALL | changes | SHORT)) for name, changes in OF_BASELINE.items()}
TRIALS_NDIV = {name: replace(SMALL_BASELINE, **(changes | SHORT)) for name, changes in OF_NDIV.items()}

CELLS = (
    [Cell(name, config, SEEDS, stack=1, full_scale=True) for name, config in LARGE_CELLS.items()]
    + [
        Cell(f"tuning-{name}", config, TUNING_SEEDS, stack=3, priority=priority)
        for priority, trials in ((100, TRIALS), (90, TRIALS_NDIV))
        for name, config in trials.items()
    ]
    + [
        Cell(name, config, SEEDS, stack=1, priority=priority)
        for priority, configs in ((70, SMALL_CELLS), (60, LONG_CELLS))
        for name, config in configs.items()
    ]
)
