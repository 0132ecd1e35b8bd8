"""What it takes to know whether half a point of a Fréchet distance is a gain: samples, seeds, and cells that agree.

Five tasks. `seeds`: how many trained models a t-test needs, exactly and by simulation. `signs`: how often all eight cells of a
table improve by chance. `gaussians`: the bias of the distance where the truth is known. `floor`: real images against other
real images. `half_point`: two sets that are known to differ, because five of ten classes are a little rarer in one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ndiv_lib._checks import require
from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.data.images import load_images
from ndiv_lib.metrics.features import extract_features
from ndiv_lib.metrics.frechet import frechet_distance
from ndiv_lib.recipes.recording import Cell, Measured

# Inception's FID of two rows of NDiv's Table 2 on CIFAR-10, without and with the term: as printed, in the comments of the code
# released with the paper, and in those of the library that it starts from, compare_gan, whose tasks have no such term.
PUBLISHED: tuple[tuple[str, str, float, float | None], ...] = (
    ("GAN+SN", "the paper", 23.7, 22.9),
    ("GAN+SN", "its released code", 23.84, 23.71),
    ("GAN+SN", "compare_gan", 22.91, None),
    ("GAN+SN", "compare_gan, again", 23.22, None),
    ("GAN+SN+GP", "the paper", 22.9, 22.0),
    ("GAN+SN+GP", "its released code", 25.96, 22.76),
    ("GAN+SN+GP", "its code, as “WGAN”", 25.65, 23.92),  # that task takes the same loss
    ("GAN+SN+GP", "compare_gan", 22.73, None),
)

CIFAR_POOL = 20_000  # training images that stand for a generator's output; their features take three minutes
FREQUENT = 5  # classes, of ten; the others are rare


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["seeds", "signs", "gaussians", "floor", "half_point"] = "seeds"
    gain: float = 0.5  # in points of the score, as a typical row of NDiv's Table 2
    spread: float = 0.5  # standard deviation of one model's score over training seeds, in the same points
    correlation: float = 0.0  # seeds: of the two scores of a pair; signs: of the gains of two cells
    significance: float = 0.05  # two-sided
    power: float = 0.8  # the usual choice
    num_cells: int = 8  # signs: of Table 2
    best_of: int = 1  # signs: settings of the new method, of which the best is printed beside one baseline
    num_trials: int = 20_000  # simulated tables or comparisons
    data: Literal["cifar10", "digits"] = "digits"  # EfficientNet's features of CIFAR-10, or pixels of 8 x 8
    n: int = 200  # real samples, and as many generated
    dims: int = 64  # gaussians
    distance: float = 1.0  # gaussians: the true Fréchet distance, a shift of the mean
    rare: float = (
        0.1  # half_point: share of the five rare classes in the first set; in the real one it is a half
    )
    restored: float = (
        0.006  # half_point: how much more the better set has; about 2 % of the score, as half a point of 23
    )


# --- Seeds and signs --------------------------------------------------------------------------------------------------


def power_of_t_test(
    gain: float, spread: float, n: int, *, correlation: float | None = None, significance: float = 0.05
) -> float:
    """Chance that a two-sided t-test of n models each finds a true gain; exact for normal scores (noncentral t).

    ``correlation`` is that of a pair's two scores in the paired test; ``None`` is the test of two independent groups.

    >>> round(power_of_t_test(1.0, 1.0, 17), 3)  # Cohen's table: 17 each for a power of .8
    0.807
    """
    stats: Any = require("scipy.stats", "metrics")
    paired = correlation is not None
    freedom = n - 1 if paired else 2 * (n - 1)
    shift = gain / (spread * (2 * (1 - (correlation or 0.0)) / n) ** 0.5)
    limit = stats.t.ppf(1 - significance / 2, freedom)
    # the lower tail as the upper one of the mirrored t: scipy's cdf has no number where it vanishes
    return float(stats.nct.sf(limit, freedom, shift) + stats.nct.sf(limit, freedom, -shift))


def models_needed(
    gain: float,
    spread: float,
    *,
    correlation: float | None = None,
    power: float = 0.8,
    significance: float = 0.05,
) -> int:
    """Fewest models of each kind with which the t-test of :func:`power_of_t_test` has that power; at least two."""
    n = 2
    while power_of_t_test(gain, spread, n, correlation=correlation, significance=significance) < power:
        n += 1
    return n


def simulated_power(config: Config, n: int, *, paired: bool, seed: int) -> float:
    """Share of simulated comparisons of n models each in which the t-test finds the gain."""
    stats: Any = require("scipy.stats", "metrics")
    random = np.random.default_rng(seed)
    shared, *own = random.standard_normal((3, config.num_trials, n))
    if paired:
        rho = config.correlation
        own = [rho**0.5 * shared + (1 - rho) ** 0.5 * one for one in own]
    without, with_term = config.spread * own[0], config.spread * own[1] - config.gain
    test = stats.ttest_rel if paired else stats.ttest_ind
    return float((test(without, with_term, axis=1).pvalue < config.significance).mean())


def seeds_row(config: Config, seed: int) -> dict[str, float]:
    """Models of each kind that it takes, the exact power with them, and the simulated one."""
    row: dict[str, float] = {}
    for name, correlation in (("unpaired", None), ("paired", config.correlation)):
        options: dict[str, Any] = {"correlation": correlation, "significance": config.significance}
        n = models_needed(config.gain, config.spread, power=config.power, **options)
        row[f"{name}_models"] = float(n)
        row[f"{name}_power"] = power_of_t_test(config.gain, config.spread, n, **options)
        row[f"{name}_simulated"] = simulated_power(config, n, paired=name == "paired", seed=seed)
    return row


def chance_of_all(num_cells: int, *, correlation: float = 0.0, best_of: int = 1) -> float:
    """Chance that every cell of a table improves although nothing helps.

    Independent cells: ``(best_of / (best_of + 1)) ** num_cells``, as the best of m equal settings beats one more of the kind with
    chance m / (m + 1). Normal gains with one correlation: the mean over what they share.

    >>> round(1 / chance_of_all(8)), round(1 / chance_of_all(8, correlation=0.5))
    (256, 9)
    """
    if not correlation:
        return float((best_of / (best_of + 1)) ** num_cells)
    if best_of > 1:
        raise ValueError(
            "expected a correlation, or the best of several; got both, which has no closed form."
        )
    stats, integrate = require("scipy.stats", "metrics"), require("scipy.integrate", "metrics")
    slope = (correlation / (1 - correlation)) ** 0.5
    return float(
        integrate.quad(lambda u: stats.norm.pdf(u) * stats.norm.cdf(slope * u) ** num_cells, -9, 9)[0]
    )


def signs_row(config: Config, seed: int) -> dict[str, float]:
    """How often all cells improve in simulated tables without any effect, and by the formula."""
    random = np.random.default_rng(seed)
    shape = (config.num_trials, config.num_cells)
    rho = config.correlation
    if rho:
        gains = rho**0.5 * random.standard_normal((config.num_trials, 1))
        gains = gains + (1 - rho) ** 0.5 * random.standard_normal(shape)
    else:
        best = random.standard_normal((config.best_of, *shape)).min(0)  # the lowest score is printed
        gains = random.standard_normal(shape) - best
    exact = chance_of_all(config.num_cells, correlation=rho, best_of=config.best_of)
    return {"all_improve": exact, "all_improve_simulated": float((gains > 0).all(1).mean())}


# --- Samples ----------------------------------------------------------------------------------------------------------


def gaussians_row(config: Config, seed: int) -> dict[str, float]:
    """The distance of two normal samples whose true distance is known."""
    random = torch.Generator().manual_seed(seed)
    real, generated = torch.randn(2, config.n, config.dims, generator=random, dtype=torch.float64)
    generated[:, 0] += config.distance**0.5
    return {"frechet": _frechet(real, generated)}


@lru_cache(maxsize=2)
def feature_sets(data: str) -> tuple[Tensor, Tensor, Tensor]:
    """Features of real samples to compare with, of others that stand for a generator's, and the labels of the latter."""
    if data == "digits":
        split = load_digits_split(seed=0, held_out=1 / 3)
        return split.held_out_images.flatten(1), split.train_images.flatten(1), split.train_labels
    real = load_images("cifar10", "test")[0]
    images, labels = (part[:CIFAR_POOL] for part in load_images("cifar10", "train"))
    return extract_features(real, "efficientnet"), extract_features(images, "efficientnet"), labels


def floor_row(config: Config, seed: int) -> dict[str, float]:
    """The distance of real samples from other real samples."""
    real, pool, _ = feature_sets(config.data)
    random = torch.Generator().manual_seed(seed)
    return {"frechet": _frechet(_some(real, config.n, random), _some(pool, config.n, random))}


def half_point_row(config: Config, seed: int) -> dict[str, float]:
    """Scores of two draws of one set, ``first`` and ``again``, and of a set that is known to be ``better``.

    All draws come from one pool. With n near its size they share images and differ too little: of a pool of N by about
    ``(1 - n / N) ** 0.5``. Of CIFAR-10 the frequent classes have 10,000 images, so that only spreads up to n = 2,500 are used.
    """
    real, pool, labels = feature_sets(config.data)
    random = torch.Generator().manual_seed(seed)
    reference = _some(real, config.n, random)

    def score(rare: float) -> float:
        few = round(rare * config.n)
        drawn = (
            _some(pool[labels >= FREQUENT], few, random),
            _some(pool[labels < FREQUENT], config.n - few, random),
        )
        return _frechet(reference, torch.cat(drawn))

    row = {
        "first": score(config.rare),
        "again": score(config.rare),
        "better": score(config.rare + config.restored),
    }
    return row | {"no_gain": row["first"] - row["again"], "gain": row["first"] - row["better"]}


def _some(rows: Tensor, n: int, random: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=random)[:n]]


def _frechet(real: Tensor, generated: Tensor) -> float:
    return frechet_distance(real=real, generated=generated, features="pixels")  # of vectors, as they are


def extrapolated(sizes: Sequence[int], scores: Sequence[float]) -> tuple[float, float]:
    """Intercept and slope of scores against 1/n: what is left at infinitely many samples (Chong and Forsyth 2020).

    >>> [round(number, 6) for number in extrapolated([10, 20, 40], [3.0, 2.0, 1.5])]
    [1.0, 20.0]
    """
    slope, intercept = np.polyfit(1 / np.asarray(sizes, dtype=float), np.asarray(scores, dtype=float), 1)
    return float(intercept), float(slope)


TASKS = {
    "seeds": seeds_row,
    "signs": signs_row,
    "gaussians": gaussians_row,
    "floor": floor_row,
    "half_point": half_point_row,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    rows = [TASKS[config.task](config, seed) for seed in seeds]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=config.n,
        n_generated=config.n,
    )


def smoke(config: Config) -> Config:
    """Few trials, and digits in place of photographs."""
    return replace(config, num_trials=200, data="digits", n=min(config.n, 100))


# --- What is recorded -------------------------------------------------------------------------------------------------

SPREADS = (0.1, 0.25, 0.5, 1.0)
CORRELATIONS = (0.0, 0.5, 0.9)
BEST_OF = (1, 2, 3)
GAUSSIAN_SIZES = (250, 500, 1000, 2000, 4000)
SIZES = {500: 40, 1000: 30, 2500: 20, 5000: 10, 10_000: 6}  # samples, and how often they are drawn
DIGIT_SIZES = {100: 40, 200: 40, 400: 40}

PRESETS: dict[str, Config] = {
    "seeds": Config(),
    "signs": Config(task="signs"),
    "gaussians": Config(task="gaussians"),
    "digits-floor": Config(task="floor"),
    "digits-half_point": Config(task="half_point", restored=0.1),
    "floor": Config(task="floor", data="cifar10", n=10_000),
    "half_point": Config(task="half_point", data="cifar10", n=10_000),
}

CELLS = [
    *(
        Cell(
            f"seeds-spread{spread:g}-r{r:g}",
            Config(spread=spread, correlation=r),
            tuple(range(5)),
            priority=90,
        )
        for spread in SPREADS
        for r in CORRELATIONS
    ),
    *(
        Cell(f"signs-r{r:g}", Config(task="signs", correlation=r), tuple(range(5)), priority=80)
        for r in CORRELATIONS
    ),
    *(
        Cell(f"signs-best{m}", Config(task="signs", best_of=m), tuple(range(5)), priority=80)
        for m in BEST_OF[1:]
    ),
    *(
        Cell(f"gaussians-n{n}", Config(task="gaussians", n=n), tuple(range(10)), stack=10, priority=70)
        for n in GAUSSIAN_SIZES
    ),
    *(
        Cell(
            f"digits-{task}-n{n}",
            replace(PRESETS[f"digits-{task}"], n=n),
            tuple(range(num)),
            stack=num,
            priority=60,
        )
        for n, num in DIGIT_SIZES.items()
        for task in ("floor", "half_point")
    ),
    *(
        Cell(f"{task}-n{n}", replace(PRESETS[task], n=n), tuple(range(num)), stack=num, priority=50)
        for n, num in SIZES.items()
        for task in ("floor", "half_point")
    ),
]
