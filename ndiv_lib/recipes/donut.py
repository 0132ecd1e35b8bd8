"""Covering a donut from sparse samples (NDiv, Fig. 1 and 3).

A few training points are drawn from an annulus; a generator of 2-D points is judged by how much of the annulus it covers and
by how many of its points fall outside. All seeds of a cell train as one stacked program.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ndiv_lib.adversarial import Objective, discriminator_loss, generator_loss
from ndiv_lib.baselines import bourgain_embedding, bourgan_loss, bourgan_scale, sample_kernel_density
from ndiv_lib.data.toy import DONUT_OUTER_RADIUS, inside_donut, sample_donut
from ndiv_lib.metrics.coverage import cover_rate, outlier_rate
from ndiv_lib.ndiv import Reduction, ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

CELL_SIZE = 0.1  # not printed; 5,000 real points then cover .99, so that the ceiling is near 1
NEAR = 0.1  # a training point is reached if a sample comes this close

Sampler = Callable[[int], Tensor]
Watch = Callable[[int, Sampler], None]
Method = Literal["gan", "bourgan", "kernel_density", "training_set", "real"]


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds. Where the paper prints nothing, the comment gives the reason."""

    method: Method = "gan"
    num_train: int = 256  # the paper shows "sparse" data and prints no count
    num_samples: int = 5000  # Sec. 1: "we generate 5k new samples"
    num_steps: int = 3000  # plain and `paper` runs no longer change much
    batch_size: int = 128  # released code
    hidden: int = 64  # half the released code's width: enough for an annulus
    discriminator_hidden: int = 0  # 0: as the generator; a smaller one draws a smoother boundary
    latent: Literal["square", "disc"] = "square"  # the paper's uniform latent
    latent_dim: int = 2  # Fig. 2 draws a 2-D latent; the released code's is 25-D
    learning_rate: float = 1e-3  # released code, Adam with betas (0.5, 0.999)
    decay: float = 0.0  # share of the run, at its end, over which the learning rate falls linearly to zero
    objective: Objective = "nonsaturating"  # released code
    r1_weight: float = 0.0
    r2_weight: float = 0.0
    discriminator_features: int = 0  # random Fourier features beside the coordinates
    num_generators: int = 1  # trained independently on the same points; what is sampled is their mixture
    average_half_life: float = 0.0  # of the generator's weights, as a share of the run; 0: last weights
    alpha: float = 0.5  # Sec. 5
    diversity_weight: float = 0.0  # of the NDiv loss, in the reduction below
    reduction: Reduction = "paper"
    detach_normalizer: bool = True  # Algorithm 1, line 6
    alternate: bool = False  # released code: 3 discriminator, 3 NDiv, 3 GAN steps, one Adam, instead of Eq. 5
    bourgan_width: float = 0.01  # released code
    bourgan_weight: float = 0.1  # released code
    bandwidth: float = 0.1
    watch_steps: tuple[int, ...] = ()  # steps at which the points are kept, for films


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


def draw_latents(config: Config, draws: StackedDraws, num_samples: int) -> Tensor:
    """Latents ``(k, num_samples, latent_dim)``: the unit cube, or a centered disc of radius 2."""
    if config.latent == "square":
        return draws.rand(num_samples, config.latent_dim)
    radius, turn = draws.rand(num_samples, 2).unbind(-1)
    angle = 2 * math.pi * turn
    return 2 * radius.sqrt()[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)


class Discriminator(nn.Module):
    """Stacked network on the coordinates, optionally with random Fourier features of them (Tancik et al. 2020)."""

    def __init__(self, config: Config, draws: StackedDraws) -> None:
        super().__init__()
        self.frequencies = nn.Buffer(draws.randn(2, config.discriminator_features))
        inputs, hidden = 2 + 2 * config.discriminator_features, config.discriminator_hidden or config.hidden
        self.network = StackedMLP([inputs, hidden, hidden, 1], draws.generators)

    def forward(self, points: Tensor) -> Tensor:
        """Logits ``(k, n)`` of points ``(k, n, 2)``."""
        return self.network(self._features(points)[0])[..., 0]

    def with_penalty(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(k, n)`` and half their squared gradients ``(k, n)``, for R1 and R2."""
        features, phase = self._features(points)
        logits, slope = self.network.with_input_gradient(features)
        along, sine, cosine = slope.split([2, phase.shape[-1], phase.shape[-1]], dim=-1)
        gradient = along + (sine * phase.cos() - cosine * phase.sin()) @ self.frequencies.mT
        return logits[..., 0], 0.5 * gradient.square().sum(-1)

    def _features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        phase = points @ self.frequencies
        return torch.cat([points, phase.sin(), phase.cos()], dim=-1), phase


def train(config: Config, data: Tensor, seeds: Sequence[int], *, watch: Watch | None = None) -> Sampler:
    """Train one generator per seed on its data ``(k, n, 2)``; return a sampler of ``(k, num_samples, 2)``.

    ``watch(step, sampler)`` is called before the first step and after every step, for films.
    """
    draws, evaluation = StackedDraws(seeds, stream=1), StackedDraws(seeds, stream=2)
    if config.method == "bourgan":
        embeddings = [
            bourgain_embedding(points, generator=g) for points, g in zip(data, draws.generators, strict=True)
        ]
        scales = torch.tensor(
            [bourgan_scale(points, emb) for points, emb in zip(data, embeddings, strict=True)]
        )

    def latents(draws: StackedDraws, num_samples: int) -> Tensor:
        if config.method != "bourgan":
            return draw_latents(config, draws, num_samples)
        pairs = zip(embeddings, draws.generators, strict=True)
        width = config.bourgan_width
        return torch.stack(
            [sample_kernel_density(e, num_samples, bandwidth=width, generator=g) for e, g in pairs]
        )

    latent_dim = embeddings[0].shape[1] if config.method == "bourgan" else config.latent_dim
    generator = StackedMLP([latent_dim, config.hidden, config.hidden, 2], draws.generators)
    discriminator = Discriminator(config, draws)
    adam = partial(torch.optim.Adam, lr=config.learning_rate, betas=(0.5, 0.999), fused=True)
    generator_optimizer, discriminator_optimizer = (
        adam(generator.parameters()),
        adam(discriminator.parameters()),
    )
    averaged: nn.Module = generator
    if config.average_half_life:
        decay = 0.5 ** (1 / (config.average_half_life * config.num_steps))
        averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def sample(num_samples: int) -> Tensor:
        with torch.no_grad():
            return averaged(latents(evaluation, num_samples))

    def discriminator_step() -> None:
        discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = generator(latents(draws, config.batch_size))
        both = torch.cat([draws.batch(data, config.batch_size), fake], dim=1)
        penalized = config.r1_weight or config.r2_weight
        logits, slope = discriminator.with_penalty(both) if penalized else (discriminator(both), None)
        real_logits, fake_logits = logits.chunk(2, dim=1)
        loss = discriminator_loss(
            real_logits=real_logits, fake_logits=fake_logits, objective=config.objective, reduction="none"
        )
        if slope is not None:
            real_slope, fake_slope = slope.chunk(2, dim=1)
            loss = loss + config.r1_weight * real_slope + config.r2_weight * fake_slope
        _step(discriminator_optimizer, loss.mean(-1).sum())

    def generator_step(*, adversarial: bool = True, diversity: bool = True) -> None:
        discriminator.requires_grad_(False)  # half of its backward pass is not needed here
        z = latents(draws, config.batch_size)
        outputs = generator(z)
        losses = []
        if adversarial:
            needs_real = config.objective == "relativistic"
            real_logits = discriminator(draws.batch(data, config.batch_size)) if needs_real else None
            fake_logits = discriminator(outputs)
            per_sample = generator_loss(
                fake_logits=fake_logits, real_logits=real_logits, objective=config.objective, reduction="none"
            )
            losses.append(per_sample.mean(-1))
        if diversity and config.method == "bourgan":
            losses.append(config.bourgan_weight * bourgan_loss(z * scales[:, None, None], outputs, scale=1.0))
        elif diversity and config.diversity_weight:
            per_model = config.batch_size - 1 if config.reduction == "sample" else 1
            loss = ndiv_loss(
                z, outputs, alpha=config.alpha, detach_normalizer=config.detach_normalizer, reduction="none"
            )
            losses.append(config.diversity_weight * per_model * loss)
        _step(generator_optimizer, torch.stack(losses).sum())

    if watch is not None:
        watch(0, sample)
    for step in range(config.num_steps):
        if config.decay:
            left = min(1.0, (1 - step / config.num_steps) / config.decay)
            for group in generator_optimizer.param_groups + discriminator_optimizer.param_groups:
                group["lr"] = left * config.learning_rate
        if config.alternate:
            for _ in range(3):
                discriminator_step()
            for _ in range(3):
                generator_step(adversarial=False)
            for _ in range(3):
                generator_step(diversity=False)
        else:
            discriminator_step()
            generator_step()
        if isinstance(averaged, AveragedModel):
            averaged.update_parameters(generator)
        if watch is not None:
            watch(step + 1, sample)
    return sample


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


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
