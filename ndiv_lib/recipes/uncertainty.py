"""How sure is an answer? Five measures on y = +-4 (x, x^2, x^3), trained to x = 0.5, asked to 1.5 (cGML, App. 2.5, Fig. 22).

The measures are in :mod:`ndiv_lib.recipes.uncertainty_measures`. All get the same walks, and intervals scaled on the same
held-out answers. A second task checks Eq. 24 itself against models whose covariance is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import require
from ndiv_lib.cgml import interval_factor, output_covariance
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.models.mlp import MLP
from ndiv_lib.recipes import two_branches, uncertainty_measures
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.uncertainty_measures import (
    APART,
    LAST_TRAINED,
    MEASURES,
    answers_of_the_mode,
    find,
    prepare,
)

LAST_ASKED = 1.5  # Fig. 22
ASKED = torch.linspace(-1, LAST_ASKED, 51)  # Fig. 22 from 0 on; to the left there were no data either
GROWTH, HELD, RANKED = 3.0, (0.85, 0.95), 0.8  # the three numbers that a measure should reach
SCORE = "how many of the three numbers a seed reaches, plus a tenth of the rank correlation"  # before the first trial


@dataclass(frozen=True)
class Config(uncertainty_measures.Config):
    """Everything that decides the numbers, except the seeds."""

    task: Literal["toy", "covariance"] = "toy"
    other_noise: bool = False  # covariance: compare with a model of three times the noise
    num_tested: int = 2000
    keep: bool = False  # the answers and intervals of the first seed


# --- The toy ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def toy(config: Config, seeds: Sequence[int]) -> Measured:
    """One measure on one toy; see :func:`judge` for the numbers."""
    bench = prepare(config, seeds)
    measure, draws = MEASURES[config.measure](bench), bench.draws
    outputs, variance = measure(bench.held_out)
    errors = answers_of_the_mode(config, bench.held_out, outputs, draws) - outputs
    factor = interval_factor(errors, variance.sqrt())[:, None, None]

    inputs = two_branches.draw_inputs(config.training(), draws, config.num_tested)
    tested = find(config, bench.models, inputs, draws)
    outputs, variance = measure(tested)
    errors = answers_of_the_mode(config, tested, outputs, draws) - outputs
    half = branch_modes(inputs)[..., 0, :].abs().mean(-1)
    values = {
        "coverage": (errors.abs() <= factor * variance.sqrt()).float().mean((1, 2)),
        "coverage_unscaled": (errors.abs() <= 1.645 * variance.sqrt()).float().mean((1, 2)),
        "factor": factor[:, 0, 0],
        "error": errors.abs().mean((1, 2)),
        "miss_rate": (errors.abs().mean(-1) > two_branches.MISSED * half).float().mean(1),
        "epoch_std": bench.epoch_std,
    }

    repeats = 32  # walks from each input of the grid
    asked = ASKED.repeat_interleave(repeats)[None, :, None].expand(len(seeds), -1, -1)
    found = find(config, bench.models, asked, draws)
    outputs, variance = measure(found)
    errors = answers_of_the_mode(replace(config, answer_std=0.0), found, outputs, draws) - outputs
    std = factor * variance.sqrt()
    values |= judge(variance, errors, std)
    reached = [
        values["ratio"] >= GROWTH,
        (values["coverage"] >= HELD[0]) & (values["coverage"] <= HELD[1]),
        values["spearman"] >= RANKED,
    ]
    values["reached"] = torch.stack(reached).float().sum(0)
    values["score"] = values["reached"] + values["spearman"] / 10
    of_inputs = (variance.sum(-1), errors.abs().mean(-1))
    profiles = [tensor.unflatten(1, (-1, repeats)).mean(-1).float().numpy() for tensor in of_inputs]
    arrays = {"variance": profiles[0], "error": profiles[1]}
    if config.keep:
        few = torch.stack([outputs[0, :, 0], std[0, :, 0]]).unflatten(1, (-1, repeats))[..., :16]
        arrays["answers"] = few.half().numpy()  # first entry of y, and half its interval: (2, inputs, walks)
    return Measured(
        {name: value.tolist() for name, value in values.items()},
        n_real=config.num_held_out,
        n_generated=config.num_tested,
        arrays=arrays,
    )


def judge(variance: Tensor, errors: Tensor, half_widths: Tensor) -> dict[str, Tensor]:
    """Variances, errors and halves of intervals ``(k, 51 * walks, 3)`` on the grid of inputs, as numbers of each seed.

    ``ratio``: var(1.5) / var(0.5), means over walks; ``left``: var(-1) / var(0); ``spearman``: rank correlation of the
    variance with the absolute error, over all walks from inputs above 0.5, and ``growth`` with the input; ``coverage_off``:
    share of those answers inside the interval. Variances are sums and errors means over the three outputs.
    """
    stats = require("scipy.stats", "metrics")
    walks = variance.shape[1] // len(ASKED)
    total, error = variance.sum(-1), errors.abs().mean(-1)
    by_input = total.unflatten(1, (len(ASKED), walks)).mean(-1)

    def at(x: float) -> Tensor:
        return by_input[:, int((ASKED - x).abs().argmin())]

    inputs = ASKED.repeat_interleave(walks)
    off = inputs > LAST_TRAINED + 1e-6
    inside = (errors.abs() <= half_widths).float().mean(-1)

    def ranks(against: Tensor) -> Tensor:
        rows = zip(total[:, off], against, strict=True)
        return torch.tensor([float(stats.spearmanr(a.numpy(), b.numpy()).statistic) for a, b in rows])

    return {
        "ratio": at(LAST_ASKED) / at(LAST_TRAINED),
        "left": at(-1.0) / at(0.0),
        "spearman": ranks(error[:, off]),
        "growth": ranks(inputs[off].expand(len(total), -1)),
        "coverage_off": inside[:, off].mean(1),
        "error_off": error[:, off].mean(1),
    }


# --- Eq. 24 itself ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def covariance_facts(config: Config, seed: int) -> dict[str, float]:
    """Eq. 24 against a linear model, whose covariance is known, and answers drawn from a network's; relative errors.

    Also what the derivation takes for granted: the mass of its density 1 / (pi delta^2) in a ball of one, two and three
    dimensions, and how much smaller the variance is in a ball of radius delta than with normal noise of that standard deviation.
    """
    random = torch.Generator().manual_seed(seed)
    dim, num_outputs, alpha, std = 3, 4, 0.3, 0.5
    delta = std * math.sqrt(dim + 2)
    matrix = torch.randn(dim, num_outputs, generator=random, dtype=torch.float64)
    network = MLP([dim, 16, num_outputs], generator=random).double()
    latents = torch.randn(1, dim, generator=random, dtype=torch.float64)
    options: dict[str, Any] = {
        "noise_std": std,
        "num_draws": config.num_draws,
        "noise": "ball",
        "latent": "interval",
        "random": random,
        "data_variance": alpha if config.alpha == "kept" else 0.0,
    }
    copies = latents.expand(500, -1)  # one after the other would take minutes
    linear = output_covariance(lambda _, z: z @ matrix, None, copies, **options).mean(0)
    curved = output_covariance(lambda _, z: network(z), None, copies, **options).mean(0)

    size = 3.0 if config.other_noise else 1.0  # of the model to compare with
    eye = torch.eye(num_outputs, dtype=torch.float64)
    known = (size * std) ** 2 * matrix.T @ matrix + size**2 * alpha * eye
    num = 400_000
    direction = F.normalize(torch.randn(num, dim, generator=random, dtype=torch.float64), dim=-1)
    radius = torch.rand(num, 1, generator=random, dtype=torch.float64) ** (1 / dim)
    means = network(latents + size * delta * radius * direction)
    noise = torch.randn(means.shape, generator=random, dtype=torch.float64)
    drawn = (means + size * math.sqrt(alpha) * noise).T.cov()
    balls = {d: math.pi ** (d / 2) * delta**d / math.gamma(d / 2 + 1) for d in (1, 2, 3)}
    return {
        "linear_error": float((linear - known).norm() / known.norm()),
        "network_error": float((curved - drawn).norm() / drawn.norm()),
        **{f"mass_{d}": ball / (math.pi * delta**2) for d, ball in balls.items()},
        "ball_over_gaussian": float((radius * direction).var(0).mean()),
        "alpha_share": alpha * num_outputs / float(known.trace()),
    }


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    if config.task == "toy":
        return toy(config, seeds)
    rows = [covariance_facts(config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values, n_real=0, n_generated=config.num_draws)


def smoke(config: Config) -> Config:
    """As few updates as two checkpoints need, and few walks."""
    num_updates = min(APART + 1, config.num_updates)
    return replace(
        config, num_updates=num_updates, num_held_out=60, num_tested=60, num_draws=3, num_members=2
    )


# --- Cells ------------------------------------------------------------------------------------------------------------

SEEDS, TUNING_SEEDS = tuple(range(10)), (1000, 1001, 1002)
PENALTIES, NOISES = (0.0, 0.1, 0.3), (0.02, 0.05, 0.1, 0.2)

# Eight settings of each measure: two penalties, and four values of its own.
OWN: dict[str, dict[str, Config]] = {
    "printed": {f"n{noise:g}": Config(noise_std=noise) for noise in NOISES},
    "encoder": {
        f"{perturbed}{noise:g}": Config(measure="encoder", perturbed=perturbed, noise_std=noise)
        for perturbed in ("features", "weights")
        for noise in (0.05, 0.2)
    },
    "ensemble": {
        f"{center}{starts}": Config(measure="ensemble", center=center, num_starts=starts)
        for center in ("first", "mean")
        for starts in (2, 8)
    },
    "heads": {f"r{ridge:g}": Config(measure="heads", ridge=ridge) for ridge in (1e-6, 1e-4, 1e-2, 1.0)},
    "process": {f"l{length:g}": Config(measure="process", length=length) for length in (0.5, 1.0, 2.0, 4.0)},
}
TUNED: dict[str, Config] = {
    f"{measure}-{name}-w{penalty:g}": replace(config, penalty_weight=penalty)
    for measure, settings in OWN.items()
    for name, config in settings.items()
    for penalty in (0.0, 0.1)
}

# The winner of each measure's trials.
WINNERS: dict[str, Config] = {
    "printed": TUNED["printed-n0.02-w0.1"],
    "encoder": TUNED["encoder-weights0.05-w0.1"],
    "ensemble": TUNED["ensemble-mean8-w0"],
    "heads": TUNED["heads-r0.0001-w0.1"],
    "process": TUNED["process-l4-w0.1"],
}

TRAININGS: dict[str, Config] = {
    "half": Config(),
    "untrained": Config(num_updates=0),  # no data, and so nothing to be away from
    "whole": Config(last_input=LAST_ASKED),  # the data go as far as the questions
}


def with_training(training: Config, config: Config) -> Config:
    """A measure of one configuration on the training of another."""
    return replace(config, num_updates=training.num_updates, last_input=training.last_input)


VARIANTS: dict[str, Config] = {
    **{
        f"printed-{data}-n{noise:g}-w{penalty:g}": with_training(
            TRAININGS[data], Config(noise_std=noise, penalty_weight=penalty)
        )
        for data in ("half", "untrained")
        for noise in NOISES
        for penalty in PENALTIES
    },
    "printed-ball": Config(noise="ball"),
    "printed-epochs": Config(noise="epochs"),
    "printed-alpha": Config(alpha="kept"),
    **{
        f"whole-{measure}": with_training(TRAININGS["whole"], WINNERS[measure])
        for measure in ("printed", "heads", "process")
    },
    **{
        f"noisy-{measure}": replace(config, answer_std=0.1)
        for measure, config in {
            "printed": WINNERS["printed"],
            "alpha": replace(WINNERS["printed"], alpha="kept"),
            "heads": WINNERS["heads"],
        }.items()
    },
}
COVARIANCES: dict[str, Config] = {
    f"covariance-{compared}-{alpha}": Config(
        task="covariance", alpha=alpha, other_noise=compared == "other", num_draws=400
    )
    for compared in ("same", "other")
    for alpha in ("kept", "dropped")
}
PRESETS: dict[str, Config] = {
    "paper": Config(),
    **{measure: WINNERS[measure] for measure in ("encoder", "ensemble", "heads", "process")},
    "epochs": Config(noise="epochs"),
    "alpha": Config(alpha="kept"),
    "noisy": VARIANTS["noisy-heads"],
    "covariance": COVARIANCES["covariance-same-kept"],
}
CELLS = [
    *(Cell(f"tuning-{name}", config, TUNING_SEEDS, stack=3, priority=100) for name, config in TUNED.items()),
    *(
        Cell(measure, replace(config, keep=True), SEEDS, stack=10, priority=90)
        for measure, config in WINNERS.items()
    ),
    *(Cell(name, config, SEEDS, stack=10, priority=80) for name, config in VARIANTS.items()),
    *(Cell(name, config, SEEDS, stack=10, priority=70) for name, config in COVARIANCES.items()),
]
