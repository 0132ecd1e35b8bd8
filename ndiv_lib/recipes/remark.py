"""Can an adversarial and a reconstruction loss agree? The Remark of cGML (Sec. 4, App. 2.3), solved exactly.

One input has truths with probabilities p. With the best discriminator, the law q of the generator's outputs minimizes

    F(q) = E_p log(p / (p + q)) + E_q log(q / (p + q)) + lambda <c, q>,   c(y) = E_i |y_i - y|^power,

whose first part is 2 JSD(p, q) - log 4. F is convex, and its conditions of optimality leave one number to be found. Four tasks:
this game, the reconstruction loss alone, the discriminator alone, and the family of costs of Sec. 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ndiv_lib.recipes.recording import Cell, Measured

Array = NDArray[np.float64]

MODES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # places and probabilities
    "two_equal": ((-1, 1), (1 / 2, 1 / 2)),
    "two_uneven": ((-1, 1), (0.3, 0.7)),
    "three_equal": ((-1, 0, 1), (1 / 3, 1 / 3, 1 / 3)),
    "four_equal": ((-1, -1 / 3, 1 / 3, 1), (1 / 4, 1 / 4, 1 / 4, 1 / 4)),
}
LARGEST_WEIGHT, SMALLEST_WEIGHT = 100.0, 1e-3  # pix2pix has 100 in print
REPORTED_WEIGHTS = (0.01, 0.1, 0.5, 1.0, 10.0, 100.0)
SAME = 1e-9  # total variation below which two laws are called equal
NUM_CANDIDATES = 9  # of the minimizers' task: laws of one mean, or points of a box


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["game", "minimizers", "discriminator", "costs"] = "game"
    modes: Literal["two_equal", "two_uneven", "three_equal", "four_equal", "branches", "random"] = "two_equal"
    power: int = 1  # 1: the L1 loss of Eq. 20; 2: the L2 loss of Eq. 22; above: "high order L losses"
    sign: Literal[1, -1] = 1  # of lambda; the Remark says every lambda but 0
    reach: float = 2.0  # outputs lie in [-reach, reach]; a law for lambda < 0 needs an end
    spacing: float = 0.05  # of the places where the generator may put its outputs, besides the modes
    num_draws: int = 50  # random weights of a game, or random sets of truths
    num_modes: int = 2  # N, of the minimizers and costs
    dim: int = 1  # entries of an output; the toy has 3
    capacity: Literal["free", "linear", "exchanged"] = (
        "free"  # of the discriminator; exchanged: labels swapped
    )
    shuffle: bool = False  # costs: compare with the truths of other inputs


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "l2": Config(power=2),
    "minimizers": Config(task="minimizers"),
    "discriminator": Config(task="discriminator"),
    "costs": Config(task="costs"),
}

# --- Formulas ---------------------------------------------------------------------------------------------------------


def mode_costs(outputs: Array, modes: Array, power: int = 1) -> Array:
    """The family of Sec. 2, d(y_i, G): outputs ``(*batch, dim)``, modes ``(N, dim)`` to ``(*batch, N)``."""
    difference: Array = np.abs(outputs[..., None, :] - modes) ** power
    total: Array = difference.sum(-1)
    return total


def best_law(p: Array, costs: Array, weight: float) -> Array:
    """The law q that minimizes F among all laws on the same places, ``(m,)``.

    Where p > 0 the derivative of F is log(q / (p + q)) + lambda c, elsewhere it is lambda c. At the optimum it has one value, the
    level, wherever q > 0, and nowhere a smaller one. So q = p t / (1 - t) with t = exp(level - lambda c); the level is
    where these masses sum to 1, or the smallest lambda c off the modes, which then takes what is left.
    """
    price, on = weight * costs, p > 0
    ceiling = price[~on].min(initial=math.inf)

    def at(level: float) -> Array:
        above = np.where(on, price - level, 1.0)
        return p * np.exp(-above) / -np.expm1(-above)

    low, high = price[on].min() - math.log(2), (price - np.log1p(p))[on].min()
    for _ in range(100):
        level = (low + high) / 2
        low, high = (level, high) if at(level).sum() < 1 else (low, level)
    q = at(min(high, ceiling))
    if ceiling < high:
        cheapest = ~on & (price <= ceiling + 1e-12)
        q += np.where(cheapest, (1 - q.sum()) / cheapest.sum(), 0)
    law: Array = q / q.sum()
    return law


def objective(q: Array, p: Array, costs: Array, weight: float) -> float:
    """F(q), with 0 log 0 = 0."""
    both = np.where(p + q > 0, p + q, 1)
    logs = p * np.log(np.where(p > 0, p / both, 1)) + q * np.log(np.where(q > 0, q / both, 1))
    return float(logs.sum() + weight * costs @ q)


def duality_gap(q: Array, p: Array, costs: Array, weight: float) -> float:
    """At most so much lies F(q) above its minimum, for F is convex. Masses that underflow are left out."""
    seen = (q > 1e-290) | (p == 0)
    both = np.where(p > 0, q, 1) / np.where(
        p > 0, p + q, 1
    )  # off the modes log(q / q) = 0, also as q falls to 0
    gradient = weight * costs[seen] + np.log(both[seen])
    return float(gradient @ q[seen] - gradient.min())


def total_variation(p: Array, q: Array) -> float:
    """Half the sum of differences: the share of outputs that would have to move."""
    return float(np.abs(p - q).sum() / 2)


def threshold(p: Array, costs: Array, *, sign: int = 1) -> float:
    """The largest |lambda| up to which the data's law is optimal, by bisection up to ``LARGEST_WEIGHT``; 0 if there is none."""

    def biased(weight: float) -> bool:
        return total_variation(p, best_law(p, costs, sign * weight)) > SAME

    if not biased(LARGEST_WEIGHT):
        return LARGEST_WEIGHT
    low, high = 0.0, LARGEST_WEIGHT
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if biased(middle) else (middle, high)
    return low if low > 1e-6 else 0.0


def corrected_threshold(p: Array, costs: Array, *, sign: int = 1) -> float:
    """The corrected Remark: log 2 / (c on the modes - least c), if c is the same on all modes; else 0."""
    on = sign * costs[p > 0]
    if np.ptp(on) > 1e-12:
        return 0.0
    gain = float(on[0] - (sign * costs).min())
    return min(LARGEST_WEIGHT, math.log(2) / gain) if gain > 1e-12 else LARGEST_WEIGHT


# --- Tasks ------------------------------------------------------------------------------------------------------------


def game(config: Config, random: np.random.Generator) -> tuple[Array, Array, Array]:
    """Places ``(m, dim)``, the data's law on them ``(m,)`` and their expected cost ``(m,)``."""
    grid = np.arange(-config.reach, config.reach + 1e-9, config.spacing)[:, None]
    if config.modes == "branches":  # y = +-4 (x, x^2, x^3) at a random x
        mode = 4 * random.uniform(0.2, 1) ** np.arange(1, 4)
        modes, probabilities = np.stack([-mode, mode]), np.full(2, 0.5)
        around = config.reach * random.uniform(-1, 1, (200, 3)) * mode
        grid = np.concatenate([grid * mode, around])
    elif config.modes == "random":
        number = int(random.integers(3, 6))
        modes, probabilities = random.uniform(-1, 1, (number, 1)), random.dirichlet(np.full(number, 3.0))
    else:
        named = MODES[config.modes]
        modes, probabilities = np.array(named[0], dtype=float)[:, None], np.array(named[1])
    away = mode_costs(grid, modes).min(1) > 1e-9
    places = np.concatenate([modes, grid[away]])
    p = np.concatenate([probabilities, np.zeros(int(away.sum()))])
    return places, p, mode_costs(places, modes, config.power) @ probabilities


def game_facts(config: Config, seed: int) -> dict[str, float]:
    """How far the optimum is from the data, at the reported weights and at random ones."""
    random = np.random.default_rng(seed)
    _, p, costs = game(config, random)
    drawn = np.exp(random.uniform(math.log(SMALLEST_WEIGHT), math.log(LARGEST_WEIGHT), config.num_draws))
    laws = {
        weight: best_law(p, costs, config.sign * weight) for weight in (*REPORTED_WEIGHTS, *drawn.tolist())
    }
    gaps = [duality_gap(q, p, costs, config.sign * weight) / (1 + weight) for weight, q in laws.items()]
    biased = [total_variation(p, laws[weight]) > SAME for weight in drawn.tolist()]
    found, corrected = (f(p, costs, sign=config.sign) for f in (threshold, corrected_threshold))
    return {
        "differs": float(np.mean(biased)),
        "threshold": found,
        "corrected_threshold": corrected,
        "threshold_error": abs(found - corrected),
        "largest_gap": max(gaps),
        **{f"tv_{weight:g}": total_variation(p, laws[weight]) for weight in REPORTED_WEIGHTS},
    }


def minimizer(modes: Array, power: int) -> Array:
    """The output that minimizes the mean |y_i - y|^power, entry by entry: ``(..., N, dim)`` to ``(..., dim)``."""
    if power == 1:
        median: Array = np.median(modes, axis=-2)  # of an even number: the middle of the two in the middle
        return median
    low, high = modes.min(-2), modes.max(-2)
    for _ in range(100):
        middle = (low + high) / 2
        difference = middle[..., None, :] - modes
        rises = (np.sign(difference) * np.abs(difference) ** (power - 1)).sum(-2) > 0
        low, high = np.where(rises, low, middle), np.where(rises, middle, high)
    found: Array = (low + high) / 2
    return found


def risk(output: Array, modes: Array, power: int) -> Array:
    """Eq. 20 and 22: the mean over truths of the cost, ``(draws, dim)`` and ``(draws, N, dim)`` to ``(draws)``."""
    mean: Array = (np.abs(modes - output[:, None]) ** power).sum(-1).mean(-1)
    return mean


def minimizer_facts(config: Config, seed: int) -> dict[str, float]:
    """Where the reconstruction loss of random truths is smallest, and whether a truth is there."""
    random = np.random.default_rng(seed)
    modes = random.standard_normal((config.num_draws, config.num_modes, config.dim))
    best = minimizer(modes, config.power)
    least = risk(best, modes, config.power)
    at_truths = np.stack([risk(modes[:, i], modes, config.power) for i in range(config.num_modes)])
    ordered, half = np.sort(modes, axis=1), (config.num_modes - 1) // 2
    low, high = ordered[:, half], ordered[:, config.num_modes // 2]  # any point between is a median
    between = [
        risk(low + random.uniform(size=low.shape) * (high - low), modes, config.power)
        for _ in range(NUM_CANDIDATES)
    ]
    median = np.median(modes, axis=1)
    slope = np.sign(modes - median[:, None]).sum(1)  # Eq. 21 at the median, without the network's part
    return {
        "truth_attains": float((at_truths.min(0) <= least * (1 + 1e-12)).mean()),
        "zero_slope_at_median": float((slope == 0).all(-1).mean()),
        "least_loss": float(least.min()),
        "distance_to_mean": float(np.abs(best - modes.mean(1)).max()),
        "distance_to_truth": float(mode_distance(best, modes).min()),
        "rise_between": float((np.stack(between).max(0) / least - 1).max()),
        "width_between": float((high - low).mean()),
    }


def mode_distance(outputs: Array, modes: Array) -> Array:
    """Largest entry of the difference to the nearest truth: ``(draws, dim)``, ``(draws, N, dim)`` to ``(draws)``."""
    nearest: Array = np.abs(modes - outputs[:, None]).max(-1).min(-1)
    return nearest


def best_discriminator(p: Array, q: Array, features: Array) -> Array:
    """D that maximizes E_p log D + E_q log(1 - D), with logits linear in the features ``(m, k)``: Newton's method, ``(m,)``."""
    weights = np.zeros(features.shape[1])
    for _ in range(50):
        d = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (p * (1 - d) - q * d)
        curvature = (features * ((p + q) * d * (1 - d))[:, None]).T @ features
        weights += np.linalg.solve(curvature, slope)
    found: Array = 1 / (1 + np.exp(-features @ weights))
    return found


def discriminator_facts(config: Config, seed: int) -> dict[str, float]:
    """Eq. 16-19 on ten places: the best discriminator, and which generators reach the value -log 4."""
    random = np.random.default_rng(seed)
    places = np.linspace(-1, 1, 10)
    p, q = (law / law.sum() for law in random.uniform(0.2, 1, (2, 10)))
    line = np.stack([np.ones(10), places], 1)
    features = line if config.capacity == "linear" else np.eye(10)

    def criterion(law: Array) -> tuple[Array, float]:
        """The best discriminator against this law of the generator, and the game's value."""
        real, fake = (law, p) if config.capacity == "exchanged" else (p, law)
        d = best_discriminator(real, fake, features)
        return d, float(p @ np.log(d) + law @ np.log(1 - d))

    # another law of the same mean: take from it what a line can see, and keep it positive
    shift = random.standard_normal(10)
    shift -= line @ np.linalg.lstsq(line, shift, rcond=None)[0]
    other = p + 0.9 * shift / np.abs(shift / p).max()
    d, value = criterion(q)
    of_other = criterion(other)[1]
    return {
        "discriminator_error": float(np.abs(d - p / (p + q)).max()),
        "value_at_data": criterion(p)[1],
        "value_error": abs(criterion(p)[1] + math.log(4)),
        "value_above": value + math.log(4),
        "other_distance": total_variation(p, other),
        "other_above": of_other + math.log(4),
    }


def cost_facts(config: Config, seed: int) -> dict[str, float]:
    """The family of costs against loops written from Sec. 2, and that no single output makes all of them zero."""
    random = np.random.default_rng(seed)
    shape = (config.num_draws, config.num_modes, config.dim)
    truths, outputs = random.standard_normal(shape), random.standard_normal((config.num_draws, config.dim))
    compared = truths[random.permutation(config.num_draws)] if config.shuffle else truths
    family = np.stack([mode_costs(y, t, config.power) for y, t in zip(outputs, compared, strict=True)])
    loop = [
        [
            sum(abs(a - b) ** config.power for a, b in zip(truth.tolist(), y.tolist(), strict=True))
            for truth in of_input
        ]
        for y, of_input in zip(outputs, truths, strict=True)
    ]
    middles = truths.mean(1)
    largest = np.stack([mode_costs(y, t, config.power).max() for y, t in zip(middles, truths, strict=True)])
    own = np.stack([np.diagonal(mode_costs(t, t, config.power)) for t in truths])  # a latent for every mode
    return {
        "family_error": float(np.abs(family - np.array(loop)).max()),
        "largest_cost_of_one_output": float(largest.min()),
        "largest_cost_of_one_each": float(own.max()),
    }


TASKS = {
    "game": game_facts,
    "minimizers": minimizer_facts,
    "discriminator": discriminator_facts,
    "costs": cost_facts,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    rows = [TASKS[config.task](config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values, n_real=0, n_generated=config.num_draws)


def smoke(config: Config) -> Config:
    """Three draws on a coarse grid."""
    return replace(config, num_draws=3, spacing=0.5)


SEEDS = tuple(range(10))
POWERS = (1, 2, 3, 4)
NUM_MODES = (2, 3, 5)
SETS: tuple[Literal["two_equal", "two_uneven", "three_equal", "four_equal", "branches", "random"], ...]
SETS = ("two_equal", "two_uneven", "three_equal", "four_equal", "branches", "random")

VARIANTS: dict[str, Config] = {
    **{f"{modes}-l{power}": Config(modes=modes, power=power) for modes in SETS for power in POWERS},
    **{f"two_equal-l{power}-negative": Config(power=power, sign=-1) for power in (1, 2)},
    **{
        f"minimizer-n{n}-d{dim}-l{power}": Config(task="minimizers", num_modes=n, dim=dim, power=power)
        for n in NUM_MODES
        for dim in (1, 3)
        for power in POWERS
    },
    "discriminator-free": Config(task="discriminator"),
    "discriminator-linear": Config(task="discriminator", capacity="linear"),
    "discriminator-exchanged": Config(task="discriminator", capacity="exchanged"),
    "costs-own": Config(task="costs", num_modes=3, dim=3),
    "costs-shuffled": Config(task="costs", num_modes=3, dim=3, shuffle=True),
}

CELLS = [Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()]
