"""One condition, several right answers: which regularizer finds every mode of every class (NDiv, Sec. 3.3; the toy is ours).

Eight classes have four modes each, and four training points a mode. A generator gets a class and a latent. Every method adds
one term to the same generator loss, on a plain GAN and on a stabilized one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ndiv_lib.adversarial import Objective, discriminator_loss, generator_loss
from ndiv_lib.baselines import dsgan_loss
from ndiv_lib.data.toy import conditional_centers, sample_gaussians
from ndiv_lib.hmgan import mode_seeking_loss
from ndiv_lib.metrics.modes import mode_report
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.planar import Schedule, schedule
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

Method = Literal["none", "l1", "mode_seeking", "dsgan", "ndiv", "real"]
METHODS: tuple[Method, ...] = ("none", "l1", "mode_seeking", "dsgan", "ndiv")

STD = 0.05  # of every mode, as the ring's (App. A.1)
FOUND = 0.02  # share of a class's samples that makes a mode count as found; a quarter would be its due


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds. Nothing of it is printed: the comments give our reasons."""

    method: Method = "none"
    weight: float = 0.0  # of the method's term
    schedule: Schedule = "hold_then_fall"  # of that weight: constant to a third of the run, 0 from two thirds
    alpha: float = 0.5  # NDiv, Sec. 5
    bound: float = 5.0  # DSGAN's tau
    num_classes: int = 8
    num_modes: int = 4  # of each class
    per_mode: int = 4  # training points
    num_latents: int = 16  # of each class, each step: as many as it has training points
    num_samples: int = 500  # of each class, to be judged
    num_steps: int = 2000
    hidden: int = 64  # three layers of it, in both networks
    learning_rate: float = 1e-3  # Adam with betas (0.5, 0.999)
    decay: float = 0.0  # share of the run, at its end, over which the learning rate falls linearly to zero
    objective: Objective = "nonsaturating"
    r1_weight: float = 0.0
    r2_weight: float = 0.0
    discriminator_features: int = 0  # random Fourier features beside the coordinates
    feature_scale: float = 4.0  # their frequencies' standard deviation: modes are much smaller than the plane
    average_half_life: float = 0.0  # of the generator's weights, as a share of the run; 0: last weights
    keep: int = 0  # points of each class and seed that are recorded, for figures


class Discriminator(nn.Module):
    """Stacked network on coordinates, Fourier features of them, and the class as a one-hot vector.

    Rows ``(k, n, 2)`` are grouped by class, equally many each.
    """

    def __init__(self, config: Config, draws: StackedDraws) -> None:
        super().__init__()
        num, hidden = config.discriminator_features, config.hidden
        self.frequencies = nn.Buffer(config.feature_scale * draws.randn(2, num))
        self.classes = nn.Buffer(torch.eye(config.num_classes))
        inputs = 2 + 2 * num + config.num_classes
        self.network = StackedMLP([inputs, hidden, hidden, hidden, 1], draws.generators)

    def forward(self, points: Tensor) -> Tensor:
        """Logits ``(k, n)``."""
        return self.network(self._features(points)[0])[..., 0]

    def with_penalty(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(k, n)`` and half their squared gradients in the plane ``(k, n)``, for R1 and R2."""
        features, sine, cosine = self._features(points)
        logits, slope = self.network.with_input_gradient(features)
        num = self.frequencies.shape[-1]
        along, of_sine, of_cosine, _ = slope.split([2, num, num, len(self.classes)], dim=-1)
        gradient = along + (of_sine * cosine - of_cosine * sine) @ self.frequencies.mT
        return logits[..., 0], 0.5 * gradient.square().sum(-1)

    def _features(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        phase = points @ self.frequencies
        sine, cosine = phase.sin(), phase.cos()
        return torch.cat([points, sine, cosine, rows_of(self.classes, points)], dim=-1), sine, cosine


def rows_of(classes: Tensor, grouped: Tensor) -> Tensor:
    """The one-hot class of every row of ``grouped (k, n, ...)``: ``(k, n, num_classes)``."""
    k, n = grouped.shape[:2]
    return classes.repeat_interleave(n // len(classes), 0).expand(k, -1, -1)


class Generator(nn.Module):
    """Stacked network from latents ``(k, n, 2)``, grouped by class, to points ``(k, n, 2)``."""

    def __init__(self, config: Config, draws: StackedDraws) -> None:
        super().__init__()
        self.classes = nn.Buffer(torch.eye(config.num_classes))
        sizes = [2 + config.num_classes, *[config.hidden] * 3, 2]
        self.network = StackedMLP(sizes, draws.generators)

    def forward(self, latents: Tensor) -> Tensor:
        """Points of the latents' classes."""
        return self.network(torch.cat([latents, rows_of(self.classes, latents)], dim=-1))


def extra_loss(config: Config, latents: Tensor, outputs: Tensor, real: Tensor) -> Tensor:
    """The method's term, unweighted, as a mean over classes and models; all tensors ``(k, num_classes, n, 2)``."""
    if config.method == "ndiv":
        return ndiv_loss(latents, outputs, alpha=config.alpha, reduction="sample")
    if config.method == "l1":  # to any right answer: which one is meant, nobody knows
        return F.l1_loss(outputs, real)
    pairs = [
        half.flatten(0, 2) for tensor in (latents, outputs) for half in tensor.chunk(2, dim=2)
    ]  # within a class
    if config.method == "mode_seeking":
        return mode_seeking_loss(*pairs)
    return dsgan_loss(*pairs, bound=config.bound)


def train(config: Config, data: Tensor, seeds: Sequence[int]) -> nn.Module:
    """Train one generator per seed on its data ``(k, num_classes, n, 2)``."""
    draws, k, per_class = StackedDraws(seeds, stream=1), len(seeds), config.num_latents
    generator, discriminator = Generator(config, draws), Discriminator(config, draws)
    adam = partial(torch.optim.Adam, lr=config.learning_rate, betas=(0.5, 0.999), fused=True)
    generator_optimizer, discriminator_optimizer = (
        adam(generator.parameters()),
        adam(discriminator.parameters()),
    )
    averaged: nn.Module = generator
    if config.average_half_life:
        decay = 0.5 ** (1 / (config.average_half_life * config.num_steps))
        averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def grouped(tensor: Tensor) -> Tensor:
        return tensor.unflatten(1, (config.num_classes, -1))

    def real_batch() -> Tensor:
        index = draws.randint(data.shape[2], config.num_classes, per_class)
        return data.gather(2, index[..., None].expand(-1, -1, -1, 2)).flatten(1, 2)

    for step in range(config.num_steps):
        if config.decay:
            left = min(1.0, (1 - step / config.num_steps) / config.decay)
            for group in generator_optimizer.param_groups + discriminator_optimizer.param_groups:
                group["lr"] = left * config.learning_rate

        z, real = draw_latents(draws, config.num_classes * per_class), real_batch()
        fake = generator(z)

        discriminator.requires_grad_(True)
        both = torch.cat([grouped(real), grouped(fake.detach())], dim=2).flatten(1, 2)
        penalized = config.r1_weight or config.r2_weight
        logits, slope = discriminator.with_penalty(both) if penalized else (discriminator(both), None)
        real_logits, fake_logits = grouped(logits).chunk(2, dim=2)
        loss = discriminator_loss(
            real_logits=real_logits, fake_logits=fake_logits, objective=config.objective
        )
        if slope is not None:
            real_slope, fake_slope = grouped(slope).chunk(2, dim=2)
            loss = loss + config.r1_weight * real_slope.mean() + config.r2_weight * fake_slope.mean()
        _step(discriminator_optimizer, k * loss)  # a sum over models: none of them feels the others

        discriminator.requires_grad_(False)  # half of its backward pass is not needed here
        loss = generator_loss(
            fake_logits=discriminator(fake),
            real_logits=discriminator(real) if config.objective == "relativistic" else None,
            objective=config.objective,
        )
        strength = config.weight * schedule(config.schedule, step / config.num_steps)
        if strength:
            extra = extra_loss(config, grouped(z), grouped(fake), grouped(real))
            loss = loss + strength * extra
        _step(generator_optimizer, k * loss)
        if isinstance(averaged, AveragedModel):
            averaged.update_parameters(generator)
    return averaged


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def draw_latents(draws: StackedDraws, num_rows: int) -> Tensor:
    """Uniform on ``[-2, 2]^2``, the square that holds the modes: ``(k, num_rows, 2)``."""
    return 4 * draws.rand(num_rows, 2) - 2


def tasks(config: Config, seeds: Sequence[int], *, stream: int = 0) -> tuple[Tensor, Tensor]:
    """Every seed's own modes ``(k, classes, modes, 2)`` and its training points ``(k, classes, modes * per_mode, 2)``."""
    shape, centers, points = (config.num_classes, config.num_modes), [], []
    for generator in StackedDraws(seeds, stream=stream).generators:
        places = conditional_centers(*shape, generator=generator)
        centers.append(places)
        draw = partial(sample_gaussians, std=STD, num_per_mode=config.per_mode, generator=generator)
        points.append(torch.stack([draw(of_class) for of_class in places]))
    return torch.stack(centers), torch.stack(points)


def measure(samples: Tensor, centers: Tensor) -> dict[str, float]:
    """Every number reported for one seed: samples ``(classes, n, 2)`` beside the true modes ``(classes, modes, 2)``."""
    least = math.ceil(FOUND * samples.shape[1])
    rows = []
    for points, places in zip(samples, centers, strict=True):
        report = partial(mode_report, points, centers=places, std=STD, min_count=least)
        close, near, everything = report(within=3.0), report(within=6.0), report(within=math.inf)
        rows.append(
            {
                "found": close.num_modes / len(places),
                "precision3": 1 - close.fail_rate,
                "precision6": 1 - near.fail_rate,
                "kl": everything.kl_to_uniform,
                "complete": float(close.num_modes == len(places)),
            }
        )
    return {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]}


def generate(config: Config, data: Tensor, centers: Tensor, seeds: Sequence[int]) -> Tensor:
    """New points of every class ``(k, num_classes, num_samples, 2)``."""
    draws = StackedDraws(seeds, stream=2)
    if config.method == "real":
        per_mode = config.num_samples // config.num_modes
        pairs = zip(centers.flatten(1, 2), draws.generators, strict=True)
        points = torch.stack([sample_gaussians(places, STD, per_mode, generator=g) for places, g in pairs])
    else:
        generator = train(config, data, seeds)
        with torch.no_grad():
            points = generator(draw_latents(draws, config.num_classes * config.num_samples))
    return points.unflatten(1, (config.num_classes, -1))


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure every seed; keeps the modes and some points of all of them if asked."""
    centers, data = tasks(config, seeds)
    samples = generate(config, data, centers, seeds)
    rows = [measure(*pair) for pair in zip(samples, centers, strict=True)]
    arrays = {"centers": centers, "samples": samples[:, :, : config.keep]} if config.keep else {}
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=data[0].shape[:2].numel(),
        n_generated=samples[0].shape[:2].numel(),
        arrays={name: array.half().numpy() for name, array in arrays.items()},
    )


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_steps=3, num_samples=40)


# Each GAN's own rate and penalty are the winners of its tuning below; the frequencies, decay and average are of the first
# experiments on other seeds.
PLAIN = Config(learning_rate=4e-3, decay=0.5)
STABILIZED = Config(
    objective="relativistic",
    r1_weight=0.1,
    r2_weight=0.1,
    discriminator_features=32,
    learning_rate=4e-3,
    decay=0.5,
    average_half_life=0.02,
)


def _own_trials() -> dict[str, Config]:
    """Each GAN alone."""
    plain = {
        f"plain-none-lr{lr}-decay{decay}": replace(PLAIN, learning_rate=lr, decay=decay)
        for lr in (5e-4, 1e-3, 2e-3, 4e-3)
        for decay in (0.0, 0.5)
    }
    stabilized = {
        f"stabilized-none-r{r}-lr{lr}": replace(STABILIZED, r1_weight=r, r2_weight=r, learning_rate=lr)
        for r in (0.02, 0.05, 0.1, 0.2)
        for lr in (2e-3, 4e-3)
    }
    return plain | stabilized


def _trials(name: str, base: Config) -> dict[str, Config]:
    """The methods on one GAN."""
    unbounded: tuple[Method, ...] = ("l1", "mode_seeking")
    schedules: tuple[Schedule, ...] = ("hold_then_fall", "constant")
    weighted = {
        f"{name}-{method}-w{weight}-{schedule}": replace(
            base, method=method, weight=weight, schedule=schedule
        )
        for method in unbounded
        for weight in (0.03, 0.1, 0.3, 1.0)
        for schedule in schedules
    }
    bounded = {
        f"{name}-dsgan-w{weight}-bound{bound}": replace(base, method="dsgan", weight=weight, bound=bound)
        for weight in (0.1, 0.3, 1.0, 3.0)
        for bound in (1.0, 5.0)
    }
    slack = {
        f"{name}-ndiv-alpha{alpha}-w{weight}": replace(base, method="ndiv", alpha=alpha, weight=weight)
        for alpha in (0.5, 0.6, 0.7, 0.8)
        for weight in (2.0, 8.0)
    }
    return weighted | bounded | slack


# Eight settings for each method, in shorter runs on seeds that no report uses, scored by found + precision3, as fixed before
# the first of them ran. First each GAN alone; its winner is what the other methods add to, tuned on the stabilized GAN only.
# Mode seeking has three more, as its first eight were all too heavy.
TUNED = (
    _own_trials()
    | _trials("stabilized", STABILIZED)
    | {
        f"stabilized-mode_seeking-w{weight}-hold_then_fall": replace(
            STABILIZED, method="mode_seeking", weight=weight
        )
        for weight in (0.001, 0.003, 0.01)
    }
)
TUNING_SEEDS, SHORT = (1000, 1001, 1002), 1000

# The settings that won.
_TERMS: dict[str, Any] = {
    "none": {},
    "ndiv": {"method": "ndiv", "weight": 2.0, "alpha": 0.5},
    "dsgan": {"method": "dsgan", "weight": 0.3, "bound": 1.0},
    "l1": {"method": "l1", "weight": 0.1, "schedule": "constant"},
    "mode_seeking": {"method": "mode_seeking", "weight": 0.001},
}
PRESETS: dict[str, Config] = {
    "real": Config(method="real"),
    # the plain GAN takes the terms as they were tuned on the stabilized one
    **{f"plain-{name}": replace(PLAIN, **term) for name, term in _TERMS.items()},
    **{f"stabilized-{name}": replace(STABILIZED, **term) for name, term in _TERMS.items()},
}
SEEDS = tuple(range(10))
CELLS = [
    Cell(name, replace(config, keep=60), SEEDS, stack=10, priority=1) for name, config in PRESETS.items()
] + [
    Cell(f"tuning-{name}", replace(config, num_steps=SHORT), TUNING_SEEDS, priority=5)
    for name, config in TUNED.items()
]
