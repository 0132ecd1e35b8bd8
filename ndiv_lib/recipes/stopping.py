"""When do L_d and L_h cross a common threshold? HMGAN's Proposition 1 as arithmetic of ratios, over random trajectories.

A generator of n layers (layer 1 is the latent) has n - 1 ratios. L_d is their product (Eq. 4), L_h with all targets zero is their
sum (Eq. 5); each training stops when its own regularizer has fallen to H. No network is trained here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ndiv_lib.recipes.recording import Cell, Measured

Array = np.ndarray


@dataclass(frozen=True)
class Config:
    """Which trajectories and thresholds are drawn: ratio_j(t) = start_j exp(-rate_j t), in the one training and in the other."""

    curves: Literal["exponential", "wavy"] = "exponential"  # wavy: one common trajectory that also rises
    num_layers: tuple[int, ...] = (3, 4, 5, 8, 15)  # n of the print; drawn in equal parts
    starts: tuple[float, float] = (1.0, 1.0)  # ratio(0), the range of its draw; the proof assumes 1
    equal_starts: bool = False  # of all layers
    rates: tuple[float, float] = (0.1, 10.0)  # of the other layers, the range of their draw
    equal_others: bool = False  # the other layers share one rate, as the proof assumes
    dominance: float = 10.0  # ">>": the fast layer's rate over the largest other; no layer is set apart at 1
    fast_layer: Literal["same", "faster", "slower", "free"] = (
        "same"  # its rate under L_d against that under L_h
    )
    other_layers: Literal["same", "free"] = "same"  # their rates under L_d and L_h
    threshold: Literal["proof", "below_constant", "above_constant"] = "proof"  # H; the proof takes (n - 2) a
    exchanged: bool = False  # product and sum change places: does L_h stop first?
    num_draws: int = 2000  # a seed; ten seeds are 20,000


# --- The mathematics --------------------------------------------------------------------------------------------------


def sharp_constant(num_layers: int) -> float:
    """(n - 1)^((n - 1) / (n - 2)): where the sum of n - 1 equal ratios equals their product; infinite for n = 2."""
    return math.inf if num_layers == 2 else (num_layers - 1) ** ((num_layers - 1) / (num_layers - 2))


def log_product(starts: Array, rates: Array, times: Array) -> Array:
    """log L_d of exponential ratios: ``(draws, n - 1)`` and times ``(draws, ...)`` to ``(draws, ...)``."""
    return _column(np.log(starts).sum(1), times) - _column(rates.sum(1), times) * times


def log_sum(starts: Array, rates: Array, times: Array) -> Array:
    """log L_h of exponential ratios at targets zero, likewise; safe where all ratios underflow."""
    layers = [
        _column(np.log(s), times) - _column(r, times) * times for s, r in zip(starts.T, rates.T, strict=True)
    ]
    return np.logaddexp.reduce(layers)


def product_stop(starts: Array, rates: Array, thresholds: Array) -> Array:
    """First time at which L_d <= H: a logarithm, or 0 if training starts there."""
    return np.maximum((np.log(starts).sum(1) - np.log(thresholds)) / rates.sum(1), 0)


def sum_stop(starts: Array, rates: Array, thresholds: Array) -> Array:
    """First time at which L_h <= H, by bisection: no ratio is above H / (n - 1) at the upper end."""
    high = np.maximum((np.log(starts.shape[1] * starts / thresholds[:, None]) / rates).max(1), 0)
    low = np.zeros_like(high)
    for _ in range(100):
        middle = (low + high) / 2
        above = log_sum(starts, rates, middle) > np.log(thresholds)
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(log_sum(starts, rates, np.zeros_like(high)) <= np.log(thresholds), 0, high)


def some_threshold(upper: tuple[Array, Array], lower: tuple[Array, Array], exchanged: bool = False) -> Array:
    """Whether any H > 0 stops L_d (of ``lower``) before L_h (of ``upper``): starts and rates of either training.

    Both fall without a break, so such an H exists just if L_h(t) > L_d(t) at some time t, be it 0 or far out. ``exchanged`` asks
    for an H that stops L_h first.
    """
    slow, total = upper[1].min(1), lower[1].sum(1)
    scale = 1 / np.concatenate([upper[1], lower[1]], 1)
    steps = np.linspace(0, 1, 300)
    early, late = 1e-3 * scale.min(1)[:, None], 1e3 * scale.max(1)[:, None]
    times = np.concatenate([np.zeros((len(slow), 1)), early * (late / early) ** steps], 1)
    gap = log_sum(*upper, times) - log_product(*lower, times)
    if exchanged:
        return (gap < 0).any(1) | (slow > total)
    return (gap > 0).any(1) | (slow < total)


# --- Random draws -----------------------------------------------------------------------------------------------------


def draw(config: Config, num_layers: int, count: int, random: np.random.Generator) -> dict[str, Array]:
    """Starts, and the rates of the training with L_d and of the one with L_h, the fast layer first: ``(count, n - 1)``."""

    def spread(low: float, high: float, *shape: int) -> Array:
        return np.exp(random.uniform(math.log(low), math.log(high), shape))

    def others() -> Array:
        if config.equal_others:
            return np.tile(spread(*config.rates, count, 1), num_layers - 2)
        return spread(*config.rates, count, num_layers - 2)

    def with_fast_layer(other: Array) -> Array:
        least = config.dominance * other.max(1, initial=config.rates[0], keepdims=True)
        return np.concatenate([least * spread(1, config.rates[1] / config.rates[0], count, 1), other], 1)

    slow = others()
    of_sum = with_fast_layer(slow)
    of_product = with_fast_layer(slow if config.other_layers == "same" else others())
    if config.fast_layer == "same" and config.other_layers == "same":
        of_product = of_sum
    if config.fast_layer in ("faster", "slower"):  # both are drawn alike, so they may change places
        swap = (of_product[:, :1] < of_sum[:, :1]) == (config.fast_layer == "faster")
        of_product, of_sum = np.where(swap, of_sum, of_product), np.where(swap, of_product, of_sum)
    starts = np.tile(spread(*config.starts, count, 1), num_layers - 1)
    if not config.equal_starts:
        starts = spread(*config.starts, count, num_layers - 1)
    return {"starts": starts, "of_product": of_product, "of_sum": of_sum}


def thresholds(
    config: Config, num_layers: int, drawn: dict[str, Array], random: np.random.Generator
) -> tuple[Array, Array]:
    """H for every draw, and the proof's time t-bar (0 where H is not chosen by it)."""
    starts, rates = drawn["starts"], drawn["of_sum"]
    uniform = random.uniform(0, 1, len(starts))
    if (
        config.threshold == "proof"
    ):  # e^(-r t) is 0.05 to 0.00005 at t-bar, and the others' ratio more than twice that
        bar = (3 + 7 * uniform) / rates[:, 0]
        return (num_layers - 2) * _excess(rates, bar), bar
    constant = sharp_constant(num_layers)
    if (
        config.threshold == "above_constant"
    ):  # up to where L_h begins, so that its training does not stop at once
        return constant * (starts.sum(1) / constant) ** (0.001 + 0.998 * uniform), np.zeros_like(uniform)
    highest = np.minimum(constant, starts.prod(1))  # the theorem asks that L_d begins above H
    return highest * np.exp(-0.001 - 7 * uniform), np.zeros_like(uniform)


def _excess(rates: Array, bar: Array) -> Array:
    """The proof's a: how far the other layers' ratio is above the fast one's at t-bar; it assumes that they share a rate."""
    return np.exp(-rates[:, 1:].min(1, initial=np.inf) * bar) - np.exp(-rates[:, 0] * bar)


def _column(values: Array, times: Array) -> Array:
    return values.reshape(-1, *[1] * (times.ndim - 1))


# --- What is measured -------------------------------------------------------------------------------------------------


def compare(config: Config, num_layers: int, count: int, random: np.random.Generator) -> dict[str, Array]:
    """Stopping times of both trainings for every draw, and the steps of the printed proof."""
    drawn = draw(config, num_layers, count, random)
    product, total = (drawn["starts"], drawn["of_product"]), (drawn["starts"], drawn["of_sum"])
    threshold, bar = thresholds(config, num_layers, drawn, random)
    proper = threshold > 0  # H = (n - 2) a is not at n = 2, nor if the "fast" layer is slower
    held = np.where(proper, threshold, np.nan)
    with np.errstate(invalid="ignore"):
        product_time, sum_time = product_stop(*product, held), sum_stop(*total, held)
        first = sum_time < product_time if config.exchanged else product_time < sum_time
    facts = {
        "proper_threshold": proper,
        "order": proper & first,
        "reversed": proper & (sum_time < product_time),
        "some_threshold": some_threshold(total, product, config.exchanged),
        "stops_at_once": proper & (product_time == 0),  # L_d begins below H
    }
    if (
        config.threshold == "below_constant"
    ):  # part B of the theorem: enough if both trainings begin at ratio 1
        enough = drawn["of_product"].sum(1) > drawn["of_sum"].min(1)
        facts |= {"enough": enough, "order_if_enough": first | ~enough}
    if not config.exchanged:  # if l is the regularizer itself, both trainings stop at the same l
        stopped = np.nan_to_num(sum_time * product_time, nan=0) > 0
        both = log_sum(*total, np.nan_to_num(sum_time)) - log_product(*product, np.nan_to_num(product_time))
        facts["loss_gap"] = np.where(stopped, abs(np.expm1(both)), 0)
    if config.threshold == "proof":
        fast = np.exp(-drawn["of_sum"][:, 0] * bar)
        facts["sum_exceeds"] = proper & (np.exp(log_sum(*total, bar)) > threshold)
        facts["product_over_fast"] = (
            np.exp(log_product(*total, bar)) / fast
        )  # Eq. 4 says they are about equal
        # The second case of the proof: t_d of the common rates, times the quotient of the fast rates.
        printed = (
            drawn["of_sum"][:, 0]
            / drawn["of_product"][:, 0]
            * product_stop(*total, np.where(proper, threshold, 1))
        )
        exact = product_stop(*product, np.where(proper, threshold, 1))
        facts["printed_time_error"] = abs(printed / np.where(exact > 0, exact, np.inf) - 1) * (exact > 0)
    return facts


def compare_wavy(
    config: Config, num_layers: int, count: int, random: np.random.Generator
) -> dict[str, Array]:
    """One common trajectory of any shape: log-ratios with three waves on a slope, both regularizers followed on a grid."""
    size = (count, num_layers - 1, 1)
    times = np.linspace(0, 12, 1200)
    logs = np.log(config.starts[0]) + random.uniform(0, 1, size) * np.log(config.starts[1] / config.starts[0])
    logs = logs - random.uniform(0.5, 2, size) * times
    for _ in range(3):
        frequency, phase = random.uniform(0.3, 5, size), random.uniform(0, 2 * np.pi, size)
        logs = logs + random.uniform(0, 1, size) * (np.sin(frequency * times + phase) - np.sin(phase))
    product, total = logs.sum(1), np.logaddexp.reduce(logs, axis=1)
    highest = np.minimum(math.log(sharp_constant(num_layers)), product[:, 0])
    level = (highest - 0.001 - 7 * random.uniform(0, 1, count))[:, None]
    reached = (total <= level).any(1)
    at = (total <= level).argmax(1)  # the sum's stop, on the grid
    before = np.take_along_axis(product, at[:, None], 1) < level
    return {
        "order": np.where(reached, before[:, 0], True),  # below H there, so it crossed H earlier
        "rises": (np.diff(total) > 0).any(1),
        "inequality": (product <= (num_layers - 1) * (total - math.log(num_layers - 1)) + 1e-9).all(1),
    }


SUMMARY: dict[str, Callable[[Array], Any]] = {
    "loss_gap": np.max,
    "printed_time_error": np.max,
    "product_over_fast": np.median,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Shares of the draws for which each statement is true, errors at their largest (``product_over_fast``: the median)."""
    rows = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        count = config.num_draws // len(config.num_layers)
        kind = compare if config.curves == "exponential" else compare_wavy
        parts = [kind(config, n, count, random) for n in config.num_layers]
        facts = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        rows.append({name: float(SUMMARY.get(name, np.mean)(fact)) for name, fact in facts.items()})
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=0,
        n_generated=config.num_draws // len(config.num_layers) * len(config.num_layers),
    )


def smoke(config: Config) -> Config:
    """Forty draws of each depth."""
    return replace(config, num_draws=40 * len(config.num_layers))


# --- The recipe -------------------------------------------------------------------------------------------------------

_ANY_START = (0.2, 20.0)  # below 1 a layer expands from the beginning, above 1 it contracts
_PROOF = Config(equal_others=True)  # all that the proof assumes
_THEOREM = Config(dominance=1.0, starts=_ANY_START, threshold="below_constant")  # one common trajectory
_PREMISE = Config(  # all that the proposition asks for: one layer ten times faster in both trainings
    num_layers=(2, 3, 4, 5, 8),
    starts=_ANY_START,
    fast_layer="free",
    other_layers="free",
    threshold="below_constant",
)

PRESETS: dict[str, Config] = {
    "paper": _PROOF,
    "theorem": _THEOREM,
    "wavy": replace(_THEOREM, curves="wavy"),
}

VARIANTS: dict[str, Config] = {
    "proof": _PROOF,
    "proof-exchanged": replace(_PROOF, exchanged=True),
    "two_layers": replace(_PROOF, num_layers=(2,)),
    "slow_layer": replace(_PROOF, dominance=0.005),  # null: the layer set apart is slower than every other
    "premise": _PREMISE,
    "premise-exchanged": replace(_PREMISE, exchanged=True),
    "premise-deep": replace(_PREMISE, num_layers=(3, 4, 5, 8), starts=(2.0, 20.0), rates=(0.01, 10.0)),
    "two_trainings": replace(_PREMISE, num_layers=(3, 4, 5, 8), starts=(1.0, 1.0), dominance=1.0),
    **{
        f"{case}-{others}": replace(_PROOF, fast_layer=case, other_layers=others)
        for case in ("faster", "slower")
        for others in ("same", "free")
    },
    "faster-same-exchanged": replace(_PROOF, fast_layer="faster", exchanged=True),
    "slower-same-exchanged": replace(_PROOF, fast_layer="slower", exchanged=True),
    "theorem": _THEOREM,
    "wavy": PRESETS["wavy"],
    "theorem-from_one": replace(_THEOREM, starts=(1.0, 1.0)),
    "theorem-expanding": replace(_THEOREM, starts=(0.05, 1.0)),
    "above_constant": replace(  # equal ratios, contracting at first: the constant is sharp
        _THEOREM, starts=(5.0, 20.0), equal_starts=True, rates=(1.0, 1.0), threshold="above_constant"
    ),
}

CELLS = [Cell(name, config, tuple(range(10)), stack=10, priority=10) for name, config in VARIANTS.items()]
