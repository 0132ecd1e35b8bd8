"""What cGML's latent space looks like as the search learns, and what the print leaves open (Sec. 2, App. 2.4, Fig. 21).

Every cell is one training of the toy with two branches. Codes are the latents of least cost on a fine grid, slopes are those of
the generator from one grid point to the next: both see the generator as it is, whatever the predictor has learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ndiv_lib._checks import require
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import two_branches
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.two_branches import MISSED, Models, l1_cost
from ndiv_lib.training.stacked import StackedDraws

FRAMES = (0, 10, 30, 60, 100, 150, 200, 300, 500, 800, 1200)  # of the film, in updates of the generator
LOOKS = tuple(range(50, 1201, 50))  # when it is looked at whether walks end well
RULES: tuple[Literal["plain", "momentum", "hybrid"], ...] = ("plain", "momentum", "hybrid")
INPUTS = torch.linspace(0.1, 1.0, 19)  # where codes are looked for
APART = 4  # the first of them above .3; below, the modes nearly meet and every output is near one
MAP_INPUTS, MAP_LATENTS = torch.linspace(0, 1, 26), torch.linspace(-2.2, 2.2, 56)  # of the film


@dataclass(frozen=True)
class Config(two_branches.Config):
    """A training of the toy, and what is kept of it."""

    num_walks: int = 2000  # of each rule
    watch_steps: tuple[int, ...] = ()  # frames of the film
    keep: bool = False  # cost maps and outputs of the first seed, for the pictures


# --- Codes and slopes -------------------------------------------------------------------------------------------------


def latent_grid(config: Config) -> Tensor:
    """Candidates for codes ``(m, dz)``: a line, a circle, or a coarse square; of all but the square, neighbors are in order."""
    if config.latent == "sphere" and config.latent_dim == 2:
        angle = 2 * math.pi * torch.arange(400) / 400
        return torch.stack([angle.cos(), angle.sin()], dim=1)
    if config.latent == "interval" and config.latent_dim == 1:
        return torch.linspace(-3, 3, 301)[:, None]
    if config.latent == "interval" and config.latent_dim == 2:
        return torch.cartesian_prod(*2 * [torch.linspace(-3, 3, 31)])
    raise ValueError(
        f"expected latents on a line, a square or a circle, got {config.latent} in {config.latent_dim} dimensions."
    )


@torch.no_grad()
def outputs_on(models: Models, num_seeds: int, inputs: Tensor, latents: Tensor) -> Tensor:
    """Outputs ``(k, n, m, 3)`` for all pairs of inputs ``(n,)`` and latents ``(m, dz)``."""
    n, (m, dz) = len(inputs), latents.shape
    x = inputs[:, None, None].expand(num_seeds, n, m, 1)
    z = latents.expand(num_seeds, n, m, dz)
    return models.answers(x.flatten(1, 2), z.flatten(1, 2)).unflatten(1, (n, m))


def costs_on(outputs: Tensor, inputs: Tensor) -> Tensor:
    """Distance to each of the two modes, ``(k, n, m, 2)``, for outputs ``(k, n, m, 3)``."""
    return l1_cost(outputs[..., None, :], branch_modes(inputs[:, None])[:, None])


def code_facts(config: Config, models: Models, num_seeds: int) -> dict[str, Tensor]:
    """Codes and what lies between them, one entry per seed and input ``(k, n)``."""
    grid = latent_grid(config)
    outputs = outputs_on(models, num_seeds, INPUTS, grid)
    least = costs_on(outputs, INPUTS).min(dim=2)
    half = branch_modes(INPUTS[:, None])[:, 0].abs().mean(-1)
    facts = {
        "relative_cost": least.values.mean(-1) / half,  # 1: no latent leads anywhere
        "reached": (least.values < MISSED * half[:, None]).all(-1).float(),  # both modes have a latent
        "gap": (grid[least.indices[..., 0]] - grid[least.indices[..., 1]]).norm(dim=-1),
    }
    if config.latent_dim == 1:
        first, last = least.indices.sort(dim=-1).values.unbind(-1)
        ends = [outputs.gather(2, i[..., None, None].expand(-1, -1, 1, 3)).squeeze(2) for i in (first, last)]
        steps = (outputs[:, :, 1:] - outputs[:, :, :-1]).norm(dim=-1)
        slopes = steps / (grid[1:] - grid[:-1]).norm(dim=-1)
        at = torch.arange(slopes.shape[2])
        between = (at >= first[..., None]) & (at < last[..., None])
        facts |= {
            "moved": (ends[1] - ends[0]).norm(dim=-1),
            "largest": slopes.amax(-1),
            "steepest": slopes.where(between, torch.tensor(0.0)).amax(-1),
            "flattest": slopes.where(between, torch.tensor(math.inf)).amin(-1),
            "at_codes": sum(
                slopes.gather(2, i[..., None].clamp_max(slopes.shape[2] - 1))[..., 0] for i in (first, last)
            )
            / 2,
        }
    return facts


def rank_correlation(values: Tensor) -> list[float]:
    """Spearman's correlation of values ``(k, n)`` with the inputs, one per seed; 0 where all values are the same."""
    spearmanr = require("scipy.stats", "metrics").spearmanr
    return [
        0.0 if float(row.min()) == float(row.max()) else float(spearmanr(row, INPUTS).statistic)
        for row in values
    ]


def space_facts(config: Config, models: Models, num_seeds: int) -> dict[str, list[float]]:
    """The latent space of every seed in numbers."""
    facts = code_facts(config, models, num_seeds)
    far = {name: table[:, APART:] for name, table in facts.items()}
    values = {
        "relative_cost": far["relative_cost"].mean(1).tolist(),
        "reached": far["reached"].mean(1).tolist(),
        "gap_order": rank_correlation(facts["gap"]),
        "gap_at_1": facts["gap"][:, -1].tolist(),
        "mean_gap": far["gap"].mean(1).tolist(),
    }
    if config.latent_dim == 1:
        moved, gap = far["moved"].clamp_min(1e-12), far["gap"]
        values |= {
            "lipschitz": far["largest"].amax(1).tolist(),  # in z, on the whole grid
            "slope_at_codes": far["at_codes"].mean(1).tolist(),
            "mean_slope": (moved / gap).mean(1).tolist(),  # from code to code
            "smallest_slope": far["flattest"].amin(1).tolist(),  # between the codes
            "flattest_share": (far["flattest"] / (moved / gap)).median(1).values.tolist(),
            "separation": (gap * far["steepest"] / moved).amin(1).tolist(),  # >= 1: the lower bound holds
            "separation_by_flattest": (gap * far["flattest"] / moved).amin(1).tolist(),
        }
    return values


# --- Walks ------------------------------------------------------------------------------------------------------------


def walk_facts(config: Config, models: Models, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Where walks end under each rule, at inputs above .3."""
    draws = StackedDraws(seeds, stream=3)
    inputs = 0.3 + 0.7 * draws.rand(config.num_walks, 1)
    starts = two_branches.draw_starts(config, draws, config.num_walks)
    values: dict[str, list[float]] = {}
    for rule in RULES:
        rates = two_branches.walk_rates(
            inputs, two_branches.walk(config, models, inputs, starts, rule=rule)[0]
        )
        values |= {
            f"{metric}_{rule}": rates[metric] for metric in ("phantom_rate", "median_error", "second_share")
        }
    return values


def estimate_facts(config: Config, models: Models, seeds: Sequence[int]) -> dict[str, list[float]]:
    """Eq. 2: how far walks end from the code of the mode they reach, and from that mode's least cost; in half gaps."""
    times, far = config.num_walks // 20, INPUTS[APART:]
    grid, draws = latent_grid(config), StackedDraws(seeds, stream=4)
    inputs = far.repeat_interleave(times).expand(len(seeds), -1)[..., None]
    starts = two_branches.draw_starts(config, draws, inputs.shape[1])
    outputs, trajectory = two_branches.walk(config, models, inputs, starts, rule="hybrid")
    ends = trajectory[-1].unflatten(1, (len(far), times))  # (k, n, times, 1)
    reached = l1_cost(outputs[..., None, :], branch_modes(inputs)).argmin(-1).unflatten(1, (len(far), times))
    least = costs_on(outputs_on(models, len(seeds), far, grid), far).min(dim=2)  # (k, n, 2)
    codes = grid[least.indices, 0].gather(2, reached)
    half_gap = (grid[least.indices[..., 0]] - grid[least.indices[..., 1]]).norm(dim=-1)[..., None] / 2
    return {
        "off_code": ((ends[..., 0] - codes).abs() / half_gap).flatten(1).median(1).values.tolist(),
        "off_least_cost": ((ends[..., 0] - least.values.gather(2, reached)).abs() / half_gap)
        .flatten(1)
        .median(1)
        .values.tolist(),
    }


# --- The recipe -------------------------------------------------------------------------------------------------------


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train all seeds, look at their latent space on the way and at the end, and walk."""
    early = [config.num_updates + 50] * len(seeds)  # never, unless seen
    film: list[dict[str, Any]] = []

    def watch(update: int, models: Models) -> None:
        if update in config.watch_steps:
            film.append(frame(config, models, len(seeds)))
        if update in LOOKS and update < min(config.num_updates + 1, max(early)):
            rates = walk_facts(replace(config, num_walks=400), models, seeds)["phantom_rate_hybrid"]
            early[:] = [min(e, update) if rate <= 0.05 else e for e, rate in zip(early, rates, strict=True)]

    models = two_branches.train(config, seeds, watch=watch)
    values = walk_facts(config, models, seeds) | {"first_good_update": early}
    if config.latent_dim <= 2:
        values |= space_facts(config, models, len(seeds))
    if config.latent_dim == 1:
        values |= estimate_facts(config, models, seeds)
    for update, picture in zip(config.watch_steps, film, strict=True):
        values[f"gap_order_at_{update}"] = rank_correlation(picture["gaps"])
        values[f"relative_cost_at_{update}"] = picture["relative_cost"]
    arrays = {}
    if config.keep:
        arrays["lines"] = outputs_on(models, len(seeds), MAP_INPUTS, torch.linspace(-2, 2, 11)[:, None])[0]
        if film:
            arrays["maps"] = torch.stack([picture["map"] for picture in film])  # (frame, mode, input, latent)
            arrays["gaps"] = torch.stack([picture["gaps"] for picture in film])  # (frame, seed, input)
    return Measured(
        values,
        n_real=0,
        n_generated=config.num_walks,
        arrays={name: array.numpy().astype(np.float16) for name, array in arrays.items()},
    )


def frame(config: Config, models: Models, num_seeds: int) -> dict[str, Any]:
    """The first seed's cost map ``(mode, input, latent)``; every seed's gaps ``(k, n)`` and relative costs."""
    facts = code_facts(config, models, num_seeds)
    picture = {"gaps": facts["gap"], "relative_cost": facts["relative_cost"][:, APART:].mean(1).tolist()}
    if config.keep:
        outputs = outputs_on(models, num_seeds, MAP_INPUTS, MAP_LATENTS[:, None])
        picture["map"] = costs_on(outputs, MAP_INPUTS)[0].permute(2, 0, 1)
    return picture


def smoke(config: Config) -> Config:
    """Three updates, few walks."""
    return replace(
        config,
        num_updates=3,
        num_walks=40,
        watch_steps=(0, 3)[: len(config.watch_steps)],
        num_inputs=min(64, config.num_inputs),
    )


SHORT: dict[str, Any] = {
    "steps": 5,
    "step_size": 0.2,
}  # reaches as far as 20 steps of .05, in a third of the time
WIDE: dict[str, Any] = {
    "steps": 5,
    "latent_dim": 8,
    "num_updates": 600,
}  # the paper's narrowest has 10; half as long
SPACES: dict[str, dict[str, Any]] = {  # where latents start
    "sphere": {"latent": "sphere"},
    "interval": {"latent": "interval"},
    "gaussian": {"latent": "interval", "gaussian_starts": True},
}
STEP_SIZES, DECAYS = (0.1, 0.2, 0.4, 0.8), (1.0, 0.8)
# Chosen by the least median error under the printed rule of inference (Eq. 4), mean of three seeds.
TUNED: dict[str, dict[str, Any]] = {
    "sphere": {"step_size": 0.4, "step_decay": 1.0},
    "interval": {"step_size": 0.2, "step_decay": 0.8},
    "gaussian": {"step_size": 0.8, "step_decay": 1.0},
}
PRESETS: dict[str, Config] = {
    "paper": Config(watch_steps=FRAMES, keep=True),
    "short": Config(**SHORT),
    "no_penalty": Config(penalty_weight=0.0, **SHORT),
    "strong_penalty": Config(penalty_weight=1.0, **SHORT),
    "printed_nesting": Config(generator_every_step=True, **SHORT),
    "kept": Config(num_inputs=512, keep_latents=True, **SHORT),
    "circle": Config(latent="sphere", latent_dim=2, steps=5, step_size=0.4),
    **{space: Config(**WIDE, **SPACES[space], **TUNED[space]) for space in SPACES},
}

SEEDS, TUNING_SEEDS = tuple(range(10)), (1000, 1001, 1002)
ENDS = (0, 1200)
VARIANTS: dict[str, Config] = {
    "paper": PRESETS["paper"],
    "untrained": Config(num_updates=0, **SHORT),
    **{
        f"penalty-{weight:g}": Config(penalty_weight=weight, keep=True, **SHORT) for weight in (0.0, 0.3, 1.0)
    },
    "penalty-0.1": Config(watch_steps=ENDS, keep=True, **SHORT),
    "noise-0.5": Config(noise_std=0.5, **SHORT),  # weight .1: the same product as weight 1 and noise .05
    "circle": replace(PRESETS["circle"], watch_steps=ENDS),
    "nesting-once": Config(**SHORT),
    "nesting-every_step": PRESETS["printed_nesting"],
    "nesting-every_step_fewer": replace(
        PRESETS["printed_nesting"], num_updates=240
    ),  # as many of the generator
    "pool-redrawn": Config(num_inputs=512, **SHORT),
    "pool-kept": PRESETS["kept"],
    "pool-untrained": Config(num_inputs=512, num_updates=0, **SHORT),
    **{f"start-{space}": PRESETS[space] for space in SPACES},
}
TUNING: dict[str, Config] = {
    f"tuning-{space}-{step_size:g}-{decay:g}": Config(
        step_size=step_size, step_decay=decay, **WIDE, **SPACES[space]
    )
    for space, step_size, decay in product(SPACES, STEP_SIZES, DECAYS)
}

CELLS = [  # tuning after what needs none, and what was tuned last
    Cell(name, config, SEEDS, stack=10, priority=10 if name.startswith("start") else 20)
    for name, config in VARIANTS.items()
]
CELLS += [Cell("film", PRESETS["paper"], (4,), priority=20)]  # pictures of a seed neither quick nor slow
CELLS += [Cell(name, config, TUNING_SEEDS, stack=3, priority=15) for name, config in TUNING.items()]
