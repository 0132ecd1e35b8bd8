"""Ring and grid of Gaussians (NDiv, Sec. 5.1, Table 1, App. A.1): every method of the table under one protocol.

The same data, networks and number of generator updates for all. Table 1 prints "modes" and "fail" without saying how close a
sample must come and how many make a mode; all the rules that its sources use are measured side by side.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ndiv_lib.data.toy import grid_centers, ring_centers, sample_gaussians
from ndiv_lib.metrics.modes import mode_report
from ndiv_lib.recipes import planar
from ndiv_lib.recipes.planar import Sampler, generator_updates, train
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws

Task = Literal["ring", "grid"]
TASKS: tuple[Task, ...] = ("ring", "grid")
CENTERS = {"ring": ring_centers(), "grid": grid_centers()}
STD = {"ring": 0.05, "grid": 0.1}  # App. A.1
NUM_TRAIN = {"ring": 2000, "grid": 1250}  # not printed; 250 and 50 a mode in the released code
NUM_UPDATES = 10_000  # of the generator: the budget of every method
SHAPES: tuple[Literal["disc", "square"], ...] = ("disc", "square")
WITHIN = (1, 2, 3)


@dataclass(frozen=True)
class Config(planar.Config):
    """A configuration of the planar loop, and the task."""

    task: Task = "ring"
    num_samples: int = 25_000  # released code: 100 batches of 250
    central_steps: int = 0  # iterations that show the grid's nine central modes only
    keep: int = 0  # generated points of the first seed that the record keeps, for figures


def presets(task: Task) -> dict[str, Config]:
    """Every method of the table on one task, with the budget of the generator spent."""
    base = Config(task=task, num_train=NUM_TRAIN[task], keep=1200)
    late = tuple(range(NUM_UPDATES // 2, NUM_UPDATES + 1, NUM_UPDATES // 10))
    ndiv = replace(base, diversity_weight=1e4, latent_dim=25)  # neither is printed: released code
    authors = replace(ndiv, hidden=128, alternate=True)
    methods = {
        "gan": replace(base, watch_steps=late),
        "unrolled": replace(base, unroll_steps=5),  # Metz et al. 2017
        "veegan": replace(
            base, method="veegan", latent="normal"
        ),  # its reconstructor aims at a normal latent
        **{f"pacgan_{m}": replace(base, num_packed=m) for m in (2, 3, 4)},
        **{f"bourgan_{w}": replace(base, method="bourgan", bourgan_width=w) for w in BOURGAN_WIDTHS},
        "vae": replace(base, method="vae", latent="normal"),
        "literal": replace(ndiv, diversity_weight=1.0, repeats=3),  # Eq. 5 as printed
        "paper": replace(ndiv, repeats=3),  # Sec. 5.1: lines 16 and 18 three times
        "authors": authors,
        "ours": replace(base, **OURS[task]),
        "ours_without_ndiv": replace(base, **OURS[task] | {"diversity_weight": 0.0}),
    }
    tuned = {name: replace(config, **TUNED[task].get(_family(name), {})) for name, config in methods.items()}
    return {"real": replace(base, method="real")} | {
        name: config if name.startswith("ours") else within_budget(config) for name, config in tuned.items()
    }


def within_budget(config: Config, num_updates: int = NUM_UPDATES) -> Config:
    """The configuration with as many iterations as the budget of generator updates holds."""
    return replace(config, num_steps=round(num_updates / (generator_updates(config) / config.num_steps)))


def _family(name: str) -> str:
    return name.split("_")[0]


BOURGAN_WIDTHS = (0.01, 0.1, 0.3, 1.0)
# The best of eight settings each, by modes / number of modes - fail rate on the tuning seeds (cells `tuning-...`; a test
# compares). VEEGAN, PacGAN and BourGAN print settings for other data only.
TUNED: dict[Task, dict[str, dict[str, Any]]] = {
    "ring": {
        "gan": {"learning_rate": 2e-3, "latent_dim": 2},
        "pacgan": {"learning_rate": 2e-3, "latent_dim": 2},
        "veegan": {"learning_rate": 1e-3, "latent_dim": 2},
        "unrolled": {"learning_rate": 1e-3, "latent_dim": 2},
        "bourgan": {"learning_rate": 1e-3},
        "vae": {"learning_rate": 2e-3, "vae_std": 0.1},
    },
    "grid": {
        "gan": {"learning_rate": 1e-3, "latent_dim": 2},
        "pacgan": {"learning_rate": 5e-4, "latent_dim": 2},
        "veegan": {"learning_rate": 2e-3, "latent_dim": 2},
        "unrolled": {"learning_rate": 2e-3, "latent_dim": 2},
        "bourgan": {"learning_rate": 5e-4},
        "vae": {"learning_rate": 2e-3, "vae_std": 0.4},
    },
}
# What worked best here; the chapter tells how it was found. The latent square is as wide as the data's.
_STABLE: dict[str, Any] = {
    "num_steps": 7000,
    "num_hidden": 3,
    "latent": "codebook",
    "residual": True,
    "learning_rate": 2e-3,
    "decay": 0.5,
    "objective": "relativistic",
    "discriminator_features": 48,
    "feature_draw": "even",
    "instance_noise": 1.0,
    "average_half_life": 0.01,
    "reduction": "sample",
    "diversity_weight": 8.0,
    "diversity_schedule": "cosine",
}
OURS: dict[Task, dict[str, Any]] = {
    "ring": _STABLE | {"latent_scale": 4.0, "feature_scale": 4.0, "r1_weight": 0.02, "r2_weight": 0.02},
    "grid": _STABLE
    | {"latent_scale": 8.0, "feature_scale": 3.0, "r1_weight": 0.06, "r2_weight": 0.06}
    | {"num_steps": 6000, "num_generators": 3},  # a mode that one run misses is covered by another
}


def tuning(task: Task) -> dict[str, Config]:
    """Eight settings of every baseline, at a third of the budget (the unrolled GAN, ten times dearer, at a tenth)."""
    methods = presets(task)
    rates, dims = (2e-4, 5e-4, 1e-3, 2e-3), (2, 25)
    trials = {
        f"{name}-lr{rate:g}-z{dim}": replace(methods[preset], learning_rate=rate, latent_dim=dim)
        for name, preset in (
            ("gan", "gan"),
            ("pacgan", "pacgan_2"),
            ("veegan", "veegan"),
            ("unrolled", "unrolled"),
        )
        for rate, dim in itertools.product(rates, dims)
    }
    trials |= {
        f"bourgan-lr{rate:g}-w{width}": replace(methods[f"bourgan_{width}"], learning_rate=rate)
        for rate, width in itertools.product((5e-4, 1e-3), BOURGAN_WIDTHS)
    }
    trials |= {
        f"vae-lr{rate:g}-s{std}": replace(methods["vae"], learning_rate=rate, vae_std=std)
        for rate, std in itertools.product((1e-3, 2e-3), (0.05, 0.1, 0.2, 0.4))
    }
    return {
        name: within_budget(
            replace(config, keep=0, watch_steps=()), NUM_UPDATES // (10 if "unrolled" in name else 3)
        )
        for name, config in trials.items()
    }


def ablations(task: Task) -> dict[str, Config]:
    """What nobody printed: one field at a time of `paper`, and NDiv beside other cures; at 4,000 generator updates."""
    methods = presets(task)
    paper = replace(methods["paper"], keep=0)
    stable = replace(methods["gan"], keep=0, watch_steps=(), r1_weight=0.02, average_half_life=0.05)
    packed = replace(methods["pacgan_2"], keep=0)
    joined: dict[str, Any] = {"diversity_weight": 1e4}
    cells = {
        "paper": paper,
        "latent_2": replace(paper, latent_dim=2),
        "alpha_0.3": replace(paper, alpha=0.3),
        "alpha_0.8": replace(paper, alpha=0.8),
        "weight_100": replace(paper, diversity_weight=1e2),
        "weight_1000": replace(paper, diversity_weight=1e3),
        "cosine": replace(paper, diversity_schedule="cosine"),
        "hold_then_fall": replace(paper, diversity_schedule="hold_then_fall"),
        "repeats_1": replace(paper, repeats=1),
        "alternate": replace(paper, alternate=True),
        "alternate_two_adams": replace(paper, alternate=True, shared_adam=False),
        "not_detached": replace(paper, detach_normalizer=False),
        "hidden_128": replace(paper, hidden=128),
        "pacgan": packed,
        "pacgan_ndiv": replace(packed, **joined),
        "stable": stable,
        "stable_ndiv": replace(stable, **joined),
    }
    return {name: within_budget(config, 4000) for name, config in cells.items()}


def outer_modes() -> dict[str, Config]:
    """A generator that has settled on the grid's central modes is then shown all of them."""
    ndiv = replace(presets("grid")["paper"], repeats=1, num_steps=4000, central_steps=1500, keep=0)
    return {
        "gan": replace(ndiv, diversity_weight=0.0),
        "detached": ndiv,
        "not_detached": replace(ndiv, detach_normalizer=False),
    }


def central(data: Tensor) -> Tensor:
    """The points of the grid's nine central modes, equally many for every model: ``(k, n, 2)`` to ``(k, m, 2)``."""
    per_mode = data.shape[1] // len(CENTERS["grid"])
    inner = CENTERS["grid"].abs().amax(-1) < 3
    return data.unflatten(1, (-1, per_mode))[:, inner].flatten(1, 2)


def training_data(config: Config, seeds: Sequence[int], *, stream: int = 0) -> Tensor:
    """Points of every seed, equally many a mode: ``(k, num_train, 2)``, or ``num_samples`` of them for the real sampler."""
    count = config.num_samples if stream else config.num_train
    centers = CENTERS[config.task]
    generators = StackedDraws(seeds, stream=stream).generators
    per_mode = count // len(centers)
    return torch.stack(
        [sample_gaussians(centers, STD[config.task], per_mode, generator=g) for g in generators]
    )


def measure(samples: Tensor, task: Task) -> dict[str, float]:
    """Every number of one seed's samples ``(n, 2)``. Without a captured sample the divergence is that of a single mode."""
    centers, values = CENTERS[task], {}
    for shape, within in itertools.product(SHAPES, WITHIN):
        report = mode_report(samples, centers=centers, std=STD[task], within=within, shape=shape)
        values[f"fail_{shape}_{within}"] = report.fail_rate
        values[f"modes_{shape}_{within}"] = report.num_modes  # at least 20 samples
        values[f"any_{shape}_{within}"] = int((report.shares.nan_to_num() > 0).sum())  # at least one
        if (shape, within) == ("disc", 3):
            captured = report.fail_rate < 1
            values["kl"] = report.kl_to_uniform if captured else math.log(len(centers))
            values["smallest_share"] = float(report.shares.nan_to_num().min()) * len(centers)
            values["std_ratio"] = report.std_ratio
            outer = (
                centers.abs().amax(-1) > 3 if task == "grid" else torch.ones(len(centers), dtype=torch.bool)
            )
            counts = report.shares.nan_to_num() * (1 - report.fail_rate) * len(samples)
            values["outer_modes"] = int((counts[outer].round() >= 20).sum())
    return values


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure every seed; watched iterations give the fewest modes in the run's second half."""
    over_time: dict[int, list[Mapping[str, float]]] = {}

    def watch(step: int, sample: Sampler) -> None:
        if step in config.watch_steps:
            over_time[step] = [measure(points, config.task) for points in sample(config.num_samples)]

    started = time.process_time()
    data = training_data(config, seeds)
    if config.method == "real":
        samples = training_data(config, seeds, stream=2)
    else:
        early = (config.central_steps, central(data)) if config.central_steps else None
        share = config.num_samples // config.num_generators
        samplers = [
            train(
                config,
                data,
                [s + 100_000 * number for s in seeds],
                watch=watch if config.watch_steps else None,
                early=early,
            )
            for number in range(config.num_generators)
        ]
        seconds = (time.process_time() - started) / len(seeds)
        samples = torch.cat([sample(share) for sample in samplers], dim=1)
    rows = [measure(points, config.task) for points in samples]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    kept = samples[
        0, :: max(1, samples.shape[1] // max(1, config.keep))
    ]  # from every mode, or every generator
    arrays = {"samples": kept[: config.keep].half().numpy()} if config.keep else {}
    if config.method != "real":
        values["seconds"] = [seconds] * len(seeds)
    if over_time:
        half = [row for step, row in over_time.items() if step >= config.num_steps / 2]
        values["fewest_late_modes"] = [min(row[i]["modes_disc_3"] for row in half) for i in range(len(seeds))]
        for name in ("modes_disc_3", "fail_disc_3"):
            arrays[name] = (
                torch.tensor([[seed[name] for seed in row] for row in over_time.values()]).half().numpy()
            )
    return Measured(values=values, n_real=config.num_train, n_generated=samples.shape[1], arrays=arrays)


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    watch_steps = (3,) if config.watch_steps else ()
    return replace(
        config,
        num_steps=3,
        num_samples=800,
        num_train=100 * len(CENTERS[config.task]) // 5,
        watch_steps=watch_steps,
        central_steps=min(1, config.central_steps),
        unroll_steps=min(1, config.unroll_steps),
    )


SEEDS = tuple(range(10))  # never used in tuning, which had seeds from 1000 on
TUNING_SEEDS = (1000, 1001, 1002)
PRESETS: dict[str, Config] = {
    f"{task}-{name}": config for task in TASKS for name, config in presets(task).items()
}
LONG = {"ring": 10_000, "grid": 50_000}  # iterations of the released code; the text says 50,000


def _long(task: Task) -> Config:
    steps = LONG[task]
    return replace(
        PRESETS[f"{task}-authors"],
        num_steps=steps,
        watch_steps=tuple(steps * part // 20 for part in range(1, 21)),
    )


CELLS = [
    Cell(f"tuning-{task}-{name}", config, TUNING_SEEDS, priority=30)
    for task in TASKS
    for name, config in tuning(task).items()
]
CELLS += [
    Cell(
        name,
        config,
        SEEDS[:5] if "unrolled" in name else SEEDS,
        stack=3 if "unrolled" in name else 10,
        priority=20,
    )
    for name, config in PRESETS.items()
]
LONG_SEEDS = {"ring": SEEDS[:3], "grid": SEEDS[:1]}  # a seed of the grid is seven processor minutes
CELLS += [Cell(f"{task}-authors_long", _long(task), LONG_SEEDS[task], stack=1, priority=5) for task in TASKS]
CLAIMED = (
    "paper",
    "repeats_1",
    "pacgan",
    "pacgan_ndiv",
    "stable",
    "stable_ndiv",
)  # a verdict needs all ten seeds
CELLS += [
    Cell(f"ablation-{task}-{name}", config, SEEDS if name in CLAIMED else SEEDS[:5], stack=10, priority=10)
    for task in TASKS
    for name, config in ablations(task).items()
]
CELLS += [
    Cell(f"outer-{name}", config, SEEDS, stack=10, priority=10) for name, config in outer_modes().items()
]
