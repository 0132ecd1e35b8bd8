"""Which weight NDiv wants with 8 to 256 latents (NDiv, Eq. 4 and 5 print none): the donut, with the weight swept at each n.

Networks, training and measures are the donut's; n is the batch, of latents and of real points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ndiv_lib.recipes import donut
from ndiv_lib.recipes.donut import Config
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.reporting.results import load

NUM_LATENTS = (8, 16, 32, 64, 128, 256)
WEIGHTS = (0.5, 2.0, 8.0, 32.0, 128.0)  # in the "sample" reduction
_BASE = Config(latent="disc", alpha=0.6, reduction="sample", num_steps=500, average_half_life=0.1)

PRESETS: dict[str, Config] = {
    f"n{n}-w{weight:g}": replace(_BASE, batch_size=n, diversity_weight=weight)
    for n in NUM_LATENTS
    for weight in WEIGHTS
}
CELLS = [Cell(name, config, tuple(range(5)), priority=2) for name, config in PRESETS.items()]


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The donut's run, without its points."""
    return replace(donut.run(config, seeds), arrays={})


smoke = donut.smoke


def recorded_scores() -> np.ndarray:
    """Cover minus outliers, the donut's score, of every recorded run: ``(latents, weights, seeds)``."""
    values = [[load("weight_law", f"n{n}-w{weight:g}").values for weight in WEIGHTS] for n in NUM_LATENTS]
    return np.array([[np.subtract(v["cover"], v["outlier"]) for v in row] for row in values])


def best_weight(scores: np.ndarray) -> np.ndarray:
    """log2 of the weight where the score is highest, ``(..., weights)`` to ``(...)``.

    The top of the parabola through the best weight and its two neighbors; the best weight itself at either end.
    """
    place, last = scores.argmax(-1), scores.shape[-1] - 1

    def beside(shift: int) -> np.ndarray:
        return np.take_along_axis(scores, np.clip(place + shift, 0, last)[..., None], -1)[..., 0]

    left, top, right = beside(-1), beside(0), beside(1)
    bend = np.where((place == 0) | (place == last), np.inf, left - 2 * top + right)
    step = np.log2(WEIGHTS[1] / WEIGHTS[0])
    return np.log2(np.array(WEIGHTS))[place] + step * 0.5 * (left - right) / np.where(bend == 0, np.inf, bend)


def slope_over_latents(log_weights: np.ndarray) -> np.ndarray:
    """Least-squares slope of log2(best weight) against log2(n), ``(..., latents)`` to ``(...)``: 0 if n does not matter."""
    x = np.log2(np.array(NUM_LATENTS))
    x = x - x.mean()
    return (log_weights * x).sum(-1) / (x**2).sum()


def resampled(scores: np.ndarray, num_resamples: int = 4000) -> np.ndarray:
    """Mean scores ``(num_resamples, latents, weights)`` of bootstrap samples of the seeds; fixed seed."""
    seeds = scores.shape[-1]
    index = np.random.default_rng(0).integers(seeds, size=(num_resamples, seeds))
    return np.moveaxis(scores[..., index].mean(-1), -1, 0)
