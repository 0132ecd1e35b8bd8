"""Handwritten digits, one class at a time: a generator that ignores its noise, and what cures it.

A class-conditional generator draws 8x8 digits. A reconstruction term pulls it to the median of each class, so that ten
samples of a class look alike; NDiv or mode seeking, within each class, brings the differences back. The papers have no such
experiment. Every seed has its own split of the digits; all seeds of a cell train as one stacked program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.data.digits import DigitsSplit, load_digits_split
from ndiv_lib.hmgan import mode_seeking_loss
from ndiv_lib.metrics.precision_recall import mean_pairwise_distance, precision_recall_density_coverage
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

NUM_CLASSES = 10
NUM_PIXELS = 64
SHOWN = 10  # samples a class in the pictures
SCORE = "coverage"  # what tuning maximizes, named before any of it: the mean over classes


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    source: Literal["generator", "training_set"] = "generator"  # the training digits are the ceiling
    reconstruction_weight: float = 100.0  # pix2pix's; of the L1 distance to a random digit of the class
    diversity: Literal["none", "ndiv", "mode_seeking"] = "none"
    diversity_weight: float = 0.0  # of NDiv in the reduction "sample", or of mode seeking
    alpha: float = 1.0  # NDiv's slack
    mode_seeking_p: Literal[1, 2] = 1  # mode seeking's distance
    samples_per_class: int = 10  # latents of a class in a step: NDiv compares them with each other
    latent_dim: int = 8  # with 4, both cures kept less variety in trial runs
    hidden: int = 128
    num_steps: int = 1500  # coverage still grew at 1,000
    learning_rate: float = 2e-3  # Adam with betas (0.5, 0.999)
    r1_weight: float = 0.2  # 0.05 was worse without reconstruction, in trial runs
    average_half_life: float = 0.05  # of the generator's weights, as a share of the run
    film_steps: tuple[int, ...] = ()  # pictures of the first seed are kept after these steps


def _tried(base: Config, **choices: Sequence[object]) -> list[Config]:
    """All combinations of the choices."""
    grid = [base]
    for field, values in choices.items():
        grid = [replace(config, **{field: value}) for config in grid for value in values]  # type: ignore[arg-type]
    return grid


_RECONSTRUCTION = Config()
_NDIV = replace(_RECONSTRUCTION, diversity="ndiv", alpha=1.0, diversity_weight=12.0)
_MODE_SEEKING = replace(_RECONSTRUCTION, diversity="mode_seeking", mode_seeking_p=1, diversity_weight=2.0)

_FILM_STEPS = (50, 100, 200, 400, 800, 1500)
PRESETS: dict[str, Config] = {
    name: replace(config, film_steps=_FILM_STEPS)
    for name, config in {
        "reconstruction": _RECONSTRUCTION,
        "ndiv": _NDIV,
        "mode_seeking": _MODE_SEEKING,
        "light": replace(_RECONSTRUCTION, reconstruction_weight=5.0),
        "gan": replace(_RECONSTRUCTION, reconstruction_weight=0.0),
    }.items()
} | {"real": Config(source="training_set")}

# Eight settings for each method, three seeds each; the best by SCORE is the preset of that name.
TRIED: dict[str, list[Config]] = {
    "light": _tried(_RECONSTRUCTION, reconstruction_weight=(0.0, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0)),
    "ndiv": _tried(_NDIV, alpha=(0.9, 1.0), diversity_weight=(3.0, 6.0, 12.0, 24.0)),
    "mode_seeking": _tried(_MODE_SEEKING, mode_seeking_p=(1, 2), diversity_weight=(0.5, 1.0, 2.0, 4.0)),
}


class Digits:
    """The training digits of every seed, class by class.

    Args:
        splits: one split per seed.
    """

    def __init__(self, splits: Sequence[DigitsSplit]) -> None:
        self.counts = torch.stack([split.train_labels.bincount(minlength=NUM_CLASSES) for split in splits])
        self.images = torch.zeros(len(splits), NUM_CLASSES, int(self.counts.max()), NUM_PIXELS)
        for images, split in zip(self.images, splits, strict=True):
            for digit in range(NUM_CLASSES):
                members = split.train_images[split.train_labels == digit].flatten(1)
                images[digit, : len(members)] = members

    def draw(self, draws: StackedDraws, num_samples: int) -> Tensor:
        """Random digits of every class: ``(k, 10, num_samples, 64)``."""
        place = draws.rand(NUM_CLASSES, num_samples)
        index = (place * self.counts[..., None]).long()
        return self.images.gather(2, index[..., None].expand(-1, -1, -1, NUM_PIXELS))


def labeled(values: Tensor) -> Tensor:
    """Values ``(k, 10, n, d)`` with their class as ten more features, as rows of a network's input: ``(k, 10 n, d + 10)``."""
    models, classes, n, _ = values.shape
    labels = torch.eye(classes)[:, None].expand(models, classes, n, classes)
    return torch.cat([values, labels], dim=-1).flatten(1, 2)


def diversity_loss(config: Config, latents: Tensor, images: Tensor) -> Tensor:
    """The cure, within each class: latents ``(k, 10, n, dz)`` and images ``(k, 10, n, 64)`` to a scalar, the mean."""
    if config.diversity == "ndiv":
        return ndiv_loss(latents, images, alpha=config.alpha, reduction="sample")
    if config.diversity == "mode_seeking":
        halves = (*latents.chunk(2, dim=2), *images.chunk(2, dim=2))
        return mode_seeking_loss(*(half.flatten(0, 2) for half in halves), p=config.mode_seeking_p)
    return images.new_zeros(())


def train(
    config: Config,
    splits: Sequence[DigitsSplit],
    seeds: Sequence[int],
    *,
    watch: Callable[[int, Callable[[Tensor], Tensor]], None] | None = None,
) -> Callable[[Tensor], Tensor]:
    """Train one generator per seed; return it as a function of latents ``(k, 10, n, dz)`` to images ``(k, 10, n, 64)``.

    ``watch(step, sampler)`` is called after every step, for films.
    """
    digits, draws = Digits(splits), StackedDraws(seeds, stream=1)
    num_models, hidden, n = len(seeds), config.hidden, config.samples_per_class
    generator = StackedMLP([config.latent_dim + NUM_CLASSES, hidden, hidden, NUM_PIXELS], draws.generators)
    discriminator = StackedMLP([NUM_PIXELS + NUM_CLASSES, hidden, hidden, 1], draws.generators)
    adam = partial(torch.optim.Adam, lr=config.learning_rate, betas=(0.5, 0.999), fused=True)
    generator_optimizer, discriminator_optimizer = (
        adam(generator.parameters()),
        adam(discriminator.parameters()),
    )
    decay = 0.5 ** (1 / (config.average_half_life * config.num_steps))
    averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def draw(network: torch.nn.Module, latents: Tensor) -> Tensor:
        return network(labeled(latents)).tanh().unflatten(1, (NUM_CLASSES, -1))

    def sample(latents: Tensor) -> Tensor:
        with torch.no_grad():
            return draw(averaged, latents)

    def minimize(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        (
            num_models * loss
        ).backward()  # every loss is a mean over the models, which do not know of each other
        optimizer.step()

    for step in range(1, config.num_steps + 1):
        real = digits.draw(draws, n)
        latents = draw_latents(config, draws, n)
        images = draw(generator, latents)

        real_logits, slope = discriminator.with_input_gradient(labeled(real))
        fake_logits = discriminator(labeled(images.detach()))
        r1_penalty = 0.5 * slope[..., :NUM_PIXELS].square().sum(-1).mean()
        loss = discriminator_loss(real_logits=real_logits, fake_logits=fake_logits)
        minimize(discriminator_optimizer, loss + config.r1_weight * r1_penalty)

        loss = generator_loss(fake_logits=discriminator(labeled(images)))
        loss = loss + config.reconstruction_weight * F.l1_loss(images, real)
        loss = loss + config.diversity_weight * diversity_loss(config, latents, images)
        minimize(generator_optimizer, loss)

        averaged.update_parameters(generator)
        if watch is not None:
            watch(step, sample)
    return sample


def draw_latents(config: Config, draws: StackedDraws, num_samples: int) -> Tensor:
    """Latents for every class, uniform in a cube: ``(k, 10, num_samples, latent_dim)`` in [-1, 1]."""
    return 2 * draws.rand(NUM_CLASSES, num_samples, config.latent_dim) - 1


def measure(images: Sequence[Tensor], split: DigitsSplit) -> dict[str, float]:
    """Every number reported for one seed: a class's images ``(n, 64)`` against its held-out digits, and the mean over classes."""
    rows = []
    for digit, generated in enumerate(images):
        train, held_out = (
            images[labels == digit].flatten(1)
            for images, labels in (
                (split.train_images, split.train_labels),
                (split.held_out_images, split.held_out_labels),
            )
        )
        generated = generated[: len(held_out)]
        scores = precision_recall_density_coverage(real=held_out, generated=generated)
        nearest = torch.cdist(generated, train).amin(1).mean() / torch.cdist(held_out, train).amin(1).mean()
        rows.append(
            {
                **vars(scores),
                "diversity": mean_pairwise_distance(generated) / mean_pairwise_distance(held_out),
                "distance_to_training": float(nearest),  # 1 as far as held-out digits are, 0 a copy
            }
        )
    means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
    by_class = {
        f"{name}_of_{digit}": row[name]
        for name in ("coverage", "diversity")
        for digit, row in enumerate(rows)
    }
    return means | by_class


def generate(
    config: Config, splits: Sequence[DigitsSplit], seeds: Sequence[int]
) -> tuple[list[list[Tensor]], list[np.ndarray]]:
    """For each seed and class, as many images as are held out (at least); and the film of the first seed."""
    if config.source == "training_set":
        return [
            [s.train_images[s.train_labels == digit].flatten(1) for digit in range(NUM_CLASSES)]
            for s in splits
        ], []
    evaluation = StackedDraws(seeds, stream=2)
    shown = draw_latents(config, evaluation, SHOWN)
    most = max(int(split.held_out_labels.bincount().max()) for split in splits)
    latents = draw_latents(config, evaluation, most)
    film: list[np.ndarray] = []

    def watch(step: int, sampler: Callable[[Tensor], Tensor]) -> None:
        if step in config.film_steps:
            film.append(to_gray(sampler(shown)[0]))

    sampler = train(config, splits, seeds, watch=watch)
    return [list(images) for images in sampler(latents)], film


def to_gray(images: Tensor) -> np.ndarray:
    """Images in [-1, 1] as bytes from 0 to 16, the gray values of the data."""
    return ((images + 1) * 8).round().to(torch.uint8).numpy()


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure for every seed; keeps the first seed's film ``(frames, 10, 10, 64)``, if there is one."""
    splits = [load_digits_split(seed=seed) for seed in seeds]
    images, film = generate(config, splits, seeds)
    rows = [measure(*pair) for pair in zip(images, splits, strict=True)]
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=len(splits[0].train_labels),
        n_generated=len(splits[0].held_out_labels),
        arrays={"film": np.stack(film)} if film else {},
    )


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_steps=3, hidden=16, film_steps=(3,) if config.film_steps else ())


def _cell_name(method: str, config: Config) -> str:
    knobs = {
        "none": f"r{config.reconstruction_weight:g}",
        "ndiv": f"a{config.alpha:g}-w{config.diversity_weight:g}",
        "mode_seeking": f"p{config.mode_seeking_p}-w{config.diversity_weight:g}",
    }
    return f"tuning-{method}-{knobs[config.diversity]}"


TUNING = [
    Cell(_cell_name(method, config), config, seeds=(1000, 1001, 1002))
    for method, tried in TRIED.items()
    for config in tried
]
SEEDS = tuple(range(10))
CELLS = [*(Cell(name, config, SEEDS, priority=5) for name, config in PRESETS.items()), *TUNING]
