"""HMGAN's smaller claims, one experiment each: equilibria, the cost of a search, a ratio's direction, the print itself.

What a training step costs is a recipe of its own, ``step_cost``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndiv_lib.hmgan import hierarchical_loss
from ndiv_lib.models.mlp import MLP
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.reporting.ledger import load_claims


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds; a field that another experiment uses is left alone."""

    experiment: Literal["nash", "search", "direction", "print"] = "nash"
    # nash: min over x, max over y
    game: Literal["bilinear", "distributions", "sine"] = "bilinear"
    at_solution: bool = True  # or at a random point
    num_deviations: int = 2000
    # search: what is tried, and how
    searched: Literal["weight", "targets", "layer_weights"] = (
        "weight"  # of L_h; and its targets; or one weight of L_d for each layer
    )
    search: Literal["grid", "one_by_one"] = "grid"
    num_values: int = 4  # tried of every number
    num_layers: int = 15  # Fig. 3
    # direction: what happens to d(z, z') / d(y, y')
    ratio: Literal["maximized", "minimized", "left_alone"] = "minimized"
    num_steps: int = 300
    learning_rate: float = 2e-3  # Adam


# --- Neither player gains ---------------------------------------------------------------------------------------------


def nash(config: Config, seed: int) -> dict[str, float]:
    """The most that a player gains by changing alone, out of many tries, at a solution of min max (or elsewhere)."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def simplex(*shape: int) -> Tensor:
        return normal(*shape, 6).softmax(-1)

    n = config.num_deviations
    if config.game == "bilinear":
        matrix, b, c = normal(3, 3), normal(3), normal(3)
        x, y = torch.linalg.solve(matrix.T, -c), torch.linalg.solve(matrix, -b)
        tries = x + normal(n, 3), y + normal(n, 3)

        def value(x: Tensor, y: Tensor) -> Tensor:
            return ((x @ matrix) * y).sum(-1) + x @ b + y @ c

    elif config.game == "distributions":  # a GAN whose generator can be any distribution of six outcomes
        real = simplex()
        x, y = real, torch.full_like(real, 0.5)
        tries = simplex(n), normal(n, 6).sigmoid()

        def value(x: Tensor, y: Tensor) -> Tensor:
            return (real * y.log() + x * (1 - y).log()).sum(-1)

    else:  # max over y is 1 whatever x is, so that every x is a solution
        x = normal(1)
        y = math.pi / 2 - x
        tries = x + 4 * normal(n, 1), y + 4 * normal(n, 1)

        def value(x: Tensor, y: Tensor) -> Tensor:
            return (x + y).sin().sum(-1)

    if not config.at_solution:
        x, y = x + normal(*x.shape), y + normal(*y.shape)
    here = value(x, y)
    gains = (here - value(tries[0], y)).max(), (value(x, tries[1]) - here).max()
    return {"gain": max(float(gain) for gain in gains), "growth": _circling(seed)}


def _circling(seed: int, num_steps: int = 1000, step_size: float = 0.05) -> float:
    """How much farther from the solution of x y simultaneous descent and ascent end than they began."""
    start = torch.randn(2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    x, y = start
    for _ in range(num_steps):
        x, y = x - step_size * y, y + step_size * x
    return float(torch.hypot(x, y) / start.norm())


# --- What a search costs ----------------------------------------------------------------------------------------------


def num_trials(config: Config, num_layers: int) -> int:
    """Trainings that a search takes, for a generator of n layers with n - 1 ratios."""
    unknown = {"weight": 1, "targets": num_layers, "layer_weights": num_layers - 1}[config.searched]
    return config.num_values**unknown if config.search == "grid" else config.num_values * unknown


def search(config: Config, seed: int) -> dict[str, float]:
    """Trainings for this depth, and how many times as many one layer more takes."""
    trials = [num_trials(config, config.num_layers + more) for more in (0, 1)]
    return {"trials": float(trials[0]), "growth": trials[1] / trials[0]}


# --- Which way the ratio should go ------------------------------------------------------------------------------------


def direction(config: Config, seed: int) -> dict[str, float]:
    """A small generator whose ratio of latent to output distance is made large, or small: what becomes of its outputs?"""
    random = torch.Generator().manual_seed(seed)
    generator = nn.Sequential(MLP([2, 32, 32, 2], generator=random), nn.Tanh())
    adam = torch.optim.Adam(generator.parameters(), config.learning_rate)
    sign = {"maximized": -1.0, "minimized": 1.0, "left_alone": 0.0}[config.ratio]
    watched = torch.randn(2, 200, 2, generator=random)

    def spread() -> float:
        with torch.no_grad():
            return float((generator(watched[0]) - generator(watched[1])).abs().mean())

    before = spread()
    for _ in range(config.num_steps):
        a, b = torch.randn(2, 64, 2, generator=random)
        loss = sign * hierarchical_loss([a, generator(a)], [b, generator(b)])  # of two layers: the one ratio
        adam.zero_grad()
        loss.backward()
        adam.step()
    return {"spread_growth": spread() / before}


# --- What the printed numbers say about the printed sentences ---------------------------------------------------------

_HIGHER = {"LPIPS"}  # of FID, NDB, JSD lower is better


def _gain(metric: str, base: Any, ours: Any) -> tuple[float, float]:
    """By how much the mean is better, and the two printed spreads together."""
    difference = ours["mean"] - base["mean"] if metric in _HIGHER else base["mean"] - ours["mean"]
    return round(difference, 6), round(
        ours["std"] + base["std"], 6
    )  # printed decimals, so that ties stay ties


def _pair_up(table: Any, base: str, ours: str) -> list[tuple[float, float]]:
    return [_gain(metric, table[base][metric], table[ours][metric]) for metric in table[base]]


def printed(config: Config, seed: int) -> dict[str, float]:
    """Counts over the cells of HMGAN's tables; "beyond" is a difference above both printed spreads together."""
    claims = {claim.id: claim.numbers for claim in load_claims()}
    ndb = claims["hmgan-table1-ndb"]
    class_gains = [_gain("NDB", ndb["DCGAN"][name], ndb["HMGAN1"][name]) for name in ndb["DCGAN"]]
    second_gains = [_gain("NDB", ndb["DCGAN"][name], ndb["HMGAN2"][name]) for name in ndb["DCGAN"]]
    cifar = {
        metric: _gain(metric, *(claims["hmgan-table2"][m][metric] for m in ("DCGAN", "HMGAN")))
        for metric in ("FID", "LPIPS")
    }
    paired = [claims[f"hmgan-table3-{name}"] for name in ("facades", "maps")]
    unpaired = list(claims["hmgan-table4"].values())
    text = claims["hmgan-table5"]
    zero, one = (
        [gain for t in paired for gain in _pair_up(t, "Pix2Pix", ours)] for ours in ("HMGAN1", "HMGAN2")
    )
    drit = [gain for t in unpaired for gain in _pair_up(t, "DRIT", "HMGAN1")]
    birds = {name: _pair_up(text, "StackGAN++", name) for name in ("HMGAN1", "HMGAN2", "HMGAN3")}
    half = _pair_up(text, "HMGAN3", "HMGAN1")
    facts: dict[str, float] = {"table2_lpips_gain_in_spreads": 2 * cifar["LPIPS"][0] / cifar["LPIPS"][1]}
    facts["table2_fid_gain_in_spreads"] = 2 * cifar["FID"][0] / cifar["FID"][1]
    distances = [row["LPIPS"]["mean"] for table in (*paired, *unpaired, text) for row in table.values()]
    facts |= {"lpips_least": min(distances), "lpips_most": max(distances)}
    facts["lpips_most_in_a_sum_of_ten"] = max(distances) / (
        10 * 9
    )  # each pair's, were it Eq. 10 of ten images
    groups = {
        "table1_zero": class_gains,
        "table1_one": second_gains,
        "table3_zero": zero,
        "table3_one": one,
        "table4_zero": drit,
        "table5_zero": birds["HMGAN1"],
        "table5_one": birds["HMGAN2"],
        "table5_half": birds["HMGAN3"],
        "table5_zero_over_half": half,
    }
    for name, gains in groups.items():
        facts[f"{name}_cells"] = len(gains)
        facts[f"{name}_better"] = sum(gain > 0 for gain, _ in gains)
        facts[f"{name}_beyond"] = sum(gain > both for gain, both in gains)
        facts[f"{name}_worse_beyond"] = sum(-gain > both for gain, both in gains)
    for task, cells in (
        ("categorical", 20),
        ("categorical", 22),
        ("paired", 8),
        ("unpaired", 16),
        ("text_to_image", 4),
    ):
        percent = claims["hmgan-supplementary"][task]
        count = round(percent / 100 * cells)
        facts[f"{task}_{cells}_count"] = count
        facts[f"{task}_{cells}_fits"] = abs(100 * count / cells - percent) <= 0.5
        facts[f"{task}_{cells}_coin"] = coin(count, cells)
    return {name: float(value) for name, value in facts.items()}


def coin(count: int, cells: int) -> float:
    """Chance that a fair coin gives at least so many heads (cells of a table are not independent, so it is a lower bound)."""
    return sum(math.comb(cells, k) for k in range(count, cells + 1)) / 2**cells


# --- The recipe -------------------------------------------------------------------------------------------------------

_EXPERIMENTS: dict[str, Callable[[Config, int], dict[str, float]]] = {
    "nash": nash,
    "search": search,
    "direction": direction,
    "print": printed,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The experiment's numbers for every seed."""
    rows = [_EXPERIMENTS[config.experiment](config, seed) for seed in seeds]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]}, n_real=0, n_generated=0
    )


def smoke(config: Config) -> Config:
    """Few tries and steps."""
    return replace(config, num_deviations=50, num_steps=3)


PRESETS: dict[str, Config] = {
    **{game: Config(game=game) for game in ("bilinear", "distributions", "sine")},
    "random_point": Config(at_solution=False),
    **{
        f"search-{searched}-{how}": Config(experiment="search", searched=searched, search=how)
        for searched in ("weight", "targets", "layer_weights")
        for how in ("grid", "one_by_one")
    },
    **{
        f"ratio-{ratio}": Config(experiment="direction", ratio=ratio)
        for ratio in ("maximized", "minimized", "left_alone")
    },
    "print": Config(experiment="print"),
}

_ONCE = ("search", "print")  # nothing random in them
CELLS = [
    Cell(name, config, (0,) if config.experiment in _ONCE else tuple(range(10)), stack=10)
    for name, config in PRESETS.items()
]
