"""Covering a donut from sparse samples (NDiv, Fig. 1 and 3).

A few training points are drawn from an annulus; a generator of 2-D points is judged by how much of the annulus it covers and
by how many of its points fall outside. All seeds of a cell train as one stacked program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ndiv_lib.baselines import sample_kernel_density
from ndiv_lib.data.toy import DONUT_OUTER_RADIUS, inside_donut, sample_donut
from ndiv_lib.metrics.coverage import cover_rate, outlier_rate
from ndiv_lib.recipes.planar import Config, Sampler, Watch, train
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws

CELL_SIZE = 0.1  # not printed; 5,000 real points then cover .99, so that the ceiling is near 1
NEAR = 0.1  # a training point is reached if a sample comes this close

_NDIV = Config(diversity_weight=1e4)  # the weight is not printed: released code
# The stabilizers that tuning kept: a gradient penalty, a small discriminator on smooth features, steps that end small,
# averaged weights, and a mixture of three, whose gaps differ. They serve every method; the cells `tuning-...` have the knobs.
_STABLE = Config(
    r1_weight=0.015,
    discriminator_features=16,
    discriminator_hidden=32,
    decay=0.5,
    average_half_life=0.05,
    num_generators=3,
)
# A disc of latents has no corners to bring into the donut's round edge; 8 is the library's default weight.
_OURS = replace(_STABLE, latent="disc", reduction="sample", diversity_weight=8.0, alpha=0.6)

PRESETS: dict[str, Config] = {
    "gan": Config(),
    "literal": replace(_NDIV, diversity_weight=1.0),  # Eq. 5 as printed
    "paper": _NDIV,
    # 1,000 of its iterations have as many discriminator steps as 3,000 of the others', and twice the generator steps.
    "authors": replace(_NDIV, latent_dim=25, hidden=128, alternate=True, num_steps=1000),
    "not_detached": replace(_NDIV, detach_normalizer=False),
    **{f"paper_alpha_{alpha}": replace(_NDIV, alpha=alpha) for alpha in (0.1, 0.3, 0.8, 1.0)},
    "ours": _OURS,
    "ours_without_ndiv": replace(_OURS, diversity_weight=0.0),
    **{f"bourgan_{width}": Config(method="bourgan", bourgan_width=width) for width in (0.01, 0.1, 0.3, 1.0)},
    "bourgan_stabilized": replace(_STABLE, method="bourgan", bourgan_width=1.0),  # the best of its tuning
    **{
        f"kernel_density_{width}": Config(method="kernel_density", bandwidth=width)
        for width in (0.05, 0.07, 0.1, 0.115, 0.15)
    },
    "training_set": Config(method="training_set"),
    "real": Config(method="real"),
}


def training_data(config: Config, seeds: Sequence[int]) -> Tensor:
    """The donut points of every seed: ``(k, num_train, 2)``."""
    return torch.stack([sample_donut(config.num_train, generator=g) for g in StackedDraws(seeds).generators])


def generate(config: Config, seeds: Sequence[int], *, watch: Watch | None = None) -> Tensor:
    """Train on the donut and return ``(k, num_samples, 2)`` new points."""
    data = training_data(config, seeds)
    fresh = StackedDraws(seeds, stream=2).generators
    if config.method == "training_set":
        return data
    if config.method == "real":
        return torch.stack([sample_donut(config.num_samples, generator=g) for g in fresh])
    if config.method == "kernel_density":
        width = config.bandwidth
        pairs = zip(data, fresh, strict=True)
        return torch.stack(
            [sample_kernel_density(d, config.num_samples, bandwidth=width, generator=g) for d, g in pairs]
        )
    share, rest = divmod(config.num_samples, config.num_generators)
    mixture = []
    for number in range(config.num_generators):
        sample = train(config, data, [seed + 100_000 * number for seed in seeds], watch=watch)
        mixture.append(sample(share + (number < rest)))
    return torch.cat(mixture, dim=1)


def measure(samples: Tensor, data: Tensor) -> dict[str, float]:
    """Every number reported for one seed: samples ``(m, 2)`` beside the training points ``(n, 2)``."""
    bound = DONUT_OUTER_RADIUS + CELL_SIZE
    radius = samples.norm(dim=-1)
    nearest = torch.cdist(data, samples)
    return {
        "cover": cover_rate(samples, inside=inside_donut, cell_size=CELL_SIZE, bounds=(-bound, bound)),
        "outlier": outlier_rate(samples, inside=inside_donut),
        "hole": float((radius < 1).float().mean()),
        "reached": float((nearest.amin(1) < NEAR).float().mean()),
        "distance_to_data": float(nearest.amin(0).mean()),
    }


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Generate and measure for every seed; keeps the first seed's points, for figures."""
    frames: list[Tensor] = []

    def watch(step: int, sample: Sampler) -> None:
        if step in config.watch_steps:
            frames.append(sample(config.num_samples)[0])

    data = training_data(config, seeds)
    samples = generate(config, seeds, watch=watch if config.watch_steps else None)
    rows = [measure(*pair) for pair in zip(samples, data, strict=True)]
    arrays = {"data": data[0], "samples": samples[0]} | ({"frames": torch.stack(frames)} if frames else {})
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=config.num_train,
        n_generated=samples.shape[1],
        arrays={name: array.half().numpy() for name, array in arrays.items()},
    )


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_steps=3, num_samples=500, num_train=32)


NUM_TRAIN = (64, 128, 256, 512, 1024, 2048)
FILM_STEPS = (0, 50, 100, 200, 300, 450, 600, 800, 1000, 1300, 1600, 2000, 2500, 3000)
FILMS = ("gan", "bourgan_0.01", "paper")
FILM_SEED = 6  # where the plain GAN has its median cover: neither its luckiest seed nor its worst
SEEDS = tuple(range(10))  # never used in tuning, which had seeds from 1000 on
# Two earlier settings of ours missed one of the two rates (cells `tuning-first-choice`, on seeds 0 to 9, and
# `tuning-second-choice`, on 10 to 19). The present one is reported on ten seeds that no choice has seen.
OUR_SEEDS = tuple(range(20, 30))
CELLS = [
    Cell(
        f"{preset}-n{n}",
        replace(config, num_train=n),
        OUR_SEEDS if preset.startswith("ours") else SEEDS,
        priority=10 if n == 256 else 0,
    )
    for n in NUM_TRAIN
    for preset, config in PRESETS.items()
    if n == 256 or not preset.startswith(("paper_alpha", "bourgan_stabilized"))  # swept at one sparsity
]
CELLS += [
    Cell(
        f"film-{preset}",
        replace(PRESETS[preset], num_samples=1500, watch_steps=FILM_STEPS),
        (FILM_SEED,),
        priority=9,
    )
    for preset in FILMS
]
# Nine settings for each method at n = 256, on seeds that no report uses, scored by cover - outlier. Ours had been explored
# by hand over some fifty unrecorded settings before, on the same seeds; the baselines had not.
TUNED: dict[str, Config] = {
    **{
        f"ours-alpha{alpha}-r1_{r1}": replace(_OURS, alpha=alpha, r1_weight=r1, num_generators=1)
        for alpha in (0.5, 0.6, 0.7)
        for r1 in (0.005, 0.015, 0.03)
    },
    **{f"bourgan-{w}": Config(method="bourgan", bourgan_width=w) for w in (0.01, 0.1, 0.3, 1.0)},
    **{
        f"bourgan-stabilized-{w}": replace(_STABLE, method="bourgan", bourgan_width=w, num_generators=1)
        for w in (0.03, 0.1, 0.3, 0.6, 1.0)
    },
    **{
        f"kernel_density-{w}": Config(method="kernel_density", bandwidth=w)
        for w in (0.03, 0.05, 0.07, 0.085, 0.1, 0.115, 0.13, 0.15, 0.2)
    },
}
_EARLIER = replace(_OURS, num_generators=1, average_half_life=0.1)
CELLS += [
    Cell("tuning-first-choice", replace(_EARLIER, alpha=0.68, r1_weight=0.007), SEEDS, priority=5),
    Cell(
        "tuning-second-choice", replace(_EARLIER, alpha=0.7, r1_weight=0.01), tuple(range(10, 20)), priority=5
    ),
]
CELLS += [Cell(f"tuning-{name}", config, (1000, 1001, 1002), priority=5) for name, config in TUNED.items()]
