"""One scale does not fit all conditions (NDiv, Sec. 3.3): y = (x + z)^3, whose range grows 47 times from x = 1 to x = 10.

A conditional generator knows, through walls, which outputs are valid for its condition, and a diversity term is to spread
them over all that is valid. The term measures distances at one scale for all conditions, or normalizes within each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib.baselines import bourgan_loss
from ndiv_lib.distances import normalized_distances, pairwise_distances
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

CONDITIONS = torch.arange(1.0, 11.0)  # x in [1, 10]
NUM_BINS = 20  # of each condition's range, for the cover rate
SCORE = (
    "worst"  # what tuning maximizes, named before any of it: the least cover minus outliers of any condition
)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    diversity: Literal["none", "ndiv", "hinge", "bourgan"] = (
        "ndiv"  # the last two have one scale for all conditions
    )
    normalizer: Literal["condition", "batch"] = (
        "condition"  # of NDiv: row sums within a condition, or over all
    )
    alpha: float = 1.0  # slack of NDiv and of the hinge
    weight: float = 0.1  # of the diversity term; NDiv's in the reduction "sample"
    scale: float = 0.3  # of latent distances, for the hinge and BourGAN; outputs have standard deviation 1
    own_scale: bool = (
        False  # give each condition its own scale, the length of its range, which nobody knows in general
    )
    walls: Literal["relative", "absolute"] = (
        "relative"  # violations in units of the condition's range, or of y
    )
    latent_low: float = 0.0  # latents are uniform on [latent_low, 1]; the paper prints no range
    hidden: int = 64
    num_latents: int = 32  # per condition and step
    num_steps: int = 1000
    learning_rate: float = 3e-3  # Adam, falling to 0
    num_samples: int = 200  # per condition, measured


_BOURGAN = Config(diversity="bourgan", scale=1.0, weight=0.03)
_HINGE = Config(diversity="hinge", scale=1.0, weight=0.1)
PRESETS: dict[str, Config] = {
    **{f"ndiv_{alpha}": Config(alpha=alpha) for alpha in (0.5, 0.8, 1.0)},
    "mixed": Config(normalizer="batch"),
    "none": Config(diversity="none"),
    "hinge": _HINGE,
    "bourgan": _BOURGAN,
    "bourgan_own_scale": replace(_BOURGAN, own_scale=True),
    "symmetric": Config(latent_low=-1.0),
    "symmetric_mixed": Config(latent_low=-1.0, normalizer="batch"),
    "symmetric_hinge": replace(_HINGE, latent_low=-1.0),
}
_WALLED = ("ndiv_0.5", "ndiv_0.8", "ndiv_1.0", "mixed", "none", "hinge", "bourgan", "bourgan_own_scale")


class Range:
    """What is valid for each condition, ``low`` to ``high``, shaped to be compared with ``(k, conditions, n, 1)``.

    Outputs are standardized over all conditions together, as one does with data.
    """

    def __init__(self, latent_low: float) -> None:
        low, high = (CONDITIONS + latent_low) ** 3, (CONDITIONS + 1) ** 3
        evenly = torch.lerp(low, high, torch.linspace(0, 1, 101)[:, None])
        self.mean, self.std = evenly.mean(), evenly.std()
        self.low, self.high = (((end - self.mean) / self.std)[:, None, None] for end in (low, high))

    def violation(self, outputs: Tensor) -> Tensor:
        """How far outside, in standardized units."""
        return (self.low - outputs).relu() + (outputs - self.high).relu()

    @property
    def length(self) -> Tensor:
        """Of every condition's range."""
        return self.high - self.low


def diversity(config: Config, valid: Range, latents: Tensor, outputs: Tensor) -> Tensor:
    """The term to be minimized, of latents and outputs ``(k, conditions, n, 1)``: ``(k,)``."""
    n = latents.shape[-2]
    if config.diversity == "ndiv":
        if config.normalizer == "batch":
            latents, outputs = latents.flatten(1, 2)[:, None], outputs.flatten(1, 2)[:, None]
        per_group = ndiv_loss(latents, outputs, alpha=config.alpha, reduction="none")
        return (latents.shape[-2] - 1) * per_group.mean(-1)
    scaled = latents * (valid.length if config.own_scale else config.scale)
    if config.diversity == "bourgan":
        return bourgan_loss(scaled, outputs, scale=1.0).mean(-1)
    if config.diversity == "hinge":
        gap = config.alpha * pairwise_distances(scaled) - pairwise_distances(outputs)
        return gap.relu().sum((-2, -1)).mean(-1) / (n * n - n)
    return outputs.new_zeros(len(outputs))


def draw_latents(config: Config, draws: StackedDraws, num_samples: int) -> Tensor:
    """Latents of every condition: ``(k, conditions, num_samples, 1)``."""
    return torch.lerp(
        torch.tensor(config.latent_low), torch.tensor(1.0), draws.rand(len(CONDITIONS), num_samples, 1)
    )


def train(config: Config, seeds: Sequence[int]) -> Tensor:
    """Train one generator per seed and return its standardized outputs ``(k, conditions, num_samples)``."""
    draws, valid = StackedDraws(seeds, stream=1), Range(config.latent_low)
    network = StackedMLP([1 + len(CONDITIONS), config.hidden, config.hidden, 1], draws.generators)
    adam = torch.optim.Adam(network.parameters(), config.learning_rate, (0.5, 0.999), fused=True)
    unit = valid.length if config.walls == "relative" else torch.ones(())

    def generate(latents: Tensor) -> Tensor:
        labels = torch.eye(len(CONDITIONS))[:, None].expand(*latents.shape[:3], -1)
        rows = torch.cat([latents, labels], dim=-1).flatten(1, 2)
        return network(rows).unflatten(1, latents.shape[1:3])

    for step in range(config.num_steps):
        adam.param_groups[0]["lr"] = config.learning_rate * (1 - step / config.num_steps)
        latents = draw_latents(config, draws, config.num_latents)
        outputs = generate(latents)
        invalid = (valid.violation(outputs) / unit).mean((1, 2, 3))
        adam.zero_grad()
        (invalid + config.weight * diversity(config, valid, latents, outputs)).sum().backward()
        adam.step()
    with torch.no_grad():
        fresh = StackedDraws(seeds, stream=2)
        return generate(draw_latents(config, fresh, config.num_samples))[..., 0]


def measure(config: Config, outputs: Tensor) -> dict[str, float]:
    """Cover and outlier rates of one seed's outputs ``(conditions, n)``, condition by condition."""
    valid = Range(config.latent_low)
    place = (outputs - valid.low[..., 0]) / valid.length[..., 0]  # 0 to 1 is valid
    inside = (place >= 0) & (place < 1)
    bins = [(row[ok] * NUM_BINS).long().unique() for row, ok in zip(place, inside, strict=True)]
    cover = torch.tensor([len(hit) / NUM_BINS for hit in bins])
    outlier = 1 - inside.float().mean(-1)
    each = {
        f"{name}_at_{x:.0f}": float(value)
        for name, values in (("cover", cover), ("outlier", outlier))
        for x, value in zip(CONDITIONS, values, strict=True)
    }
    return {
        "worst": float((cover - outlier).min()),
        "worst_cover": float(cover.min()),
        "worst_outlier": float(outlier.max()),
        **each,
    }


def slope_facts(config: Config, seed: int) -> dict[str, float]:
    """The true function's slopes in z, and how far its distances, measured as the loss does, depart from the latents'."""
    draws = StackedDraws([seed], stream=3)
    latents = draw_latents(config, draws, config.num_latents)[0]
    outputs = (CONDITIONS[:, None, None] + latents) ** 3
    if config.diversity == "ndiv" and config.normalizer == "batch":
        latents, outputs = latents.flatten(0, 1)[None], outputs.flatten(0, 1)[None]
    matrix = normalized_distances if config.diversity == "ndiv" else pairwise_distances
    off_diagonal = ~torch.eye(latents.shape[-2], dtype=torch.bool)
    ratio = (matrix(outputs) / matrix(latents))[:, off_diagonal].flatten()
    low, high = ratio.quantile(torch.tensor([0.05, 0.95])).tolist()
    # x + z is never negative here, so the slope 3 (x + z)^2 is least and greatest at the ends.
    ends = [3 * float(CONDITIONS[i] + z) ** 2 for i, z in ((0, config.latent_low), (-1, 1.0))]
    return {"slope_min": ends[0], "slope_max": ends[1], "ratio_low": low, "ratio_high": high} | {
        "ratio_spread": high / low
    }


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure every seed; keeps the first seed's outputs as places in their range, 0 to 1 valid."""
    outputs = train(config, seeds)
    rows = [measure(config, y) | slope_facts(config, s) for y, s in zip(outputs, seeds, strict=True)]
    valid = Range(config.latent_low)
    place = (outputs[0] - valid.low[..., 0]) / valid.length[..., 0]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=0,
        n_generated=outputs[0].numel(),
        arrays={"place": place.half().numpy()},
    )


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_steps=3, num_latents=8, hidden=16)


SEEDS = tuple(range(10))  # never used in tuning, which had seeds from 1000 on
CELLS = [Cell(preset, config, SEEDS, stack=10, priority=5) for preset, config in PRESETS.items()]
CELLS += [
    Cell(f"{preset}-absolute", replace(PRESETS[preset], walls="absolute"), SEEDS, stack=10, priority=5)
    for preset in _WALLED
]
# Nine settings for each of three methods, three seeds each; BourGAN and the hinge as presets are the best by SCORE.
TUNED: dict[str, Config] = {
    **{f"ndiv-a{a}-w{w}": Config(alpha=a, weight=w) for a in (0.5, 0.8, 1.0) for w in (0.03, 0.1, 0.3)},
    **{
        f"{base.diversity}-s{scale}-w{weight}": replace(base, scale=scale, weight=weight)
        for base, weights in ((_BOURGAN, (0.01, 0.03, 0.1)), (_HINGE, (0.1, 1.0, 10.0)))
        for scale in (0.1, 0.3, 1.0)
        for weight in weights
    },
}
CELLS += [Cell(f"tuning-{name}", config, (1000, 1001, 1002), priority=9) for name, config in TUNED.items()]
