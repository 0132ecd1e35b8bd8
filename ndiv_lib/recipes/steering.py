"""Steer the diversity of one generator layer after another by its expected ratio (HMGAN, Eq. 3, Fig. 1 and 3-5).

A small convolutional generator gets a condition and a latent. On :class:`~ndiv_lib.data.OneToMany` all valid
outputs of a condition are known, so that the modes found, at the high and at the low level, are counted and not estimated. On
scikit-learn's digits they are not known: recall and coverage stand in. Every method adds one term to the same generator loss.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import require
from ndiv_lib.activations import record_activations
from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.baselines import dsgan_loss
from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.hmgan import expansion_ratios, hierarchical_loss, mean_distance, mode_seeking_loss
from ndiv_lib.metrics.features import imagenet_input
from ndiv_lib.metrics.perceptual import feature_diversity, load_backbone
from ndiv_lib.metrics.precision_recall import precision_recall_density_coverage
from ndiv_lib.models import ConvDiscriminator, TransposedGenerator
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured

Method = Literal["none", "mode_seeking", "dsgan", "ndiv", "hierarchical"]
FEATURE_LEVELS = (1, 4, 7, 9, 10, 11, 12)  # where LPIPS looks into SqueezeNet
FEATURE_SAMPLES = 40  # of each class


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    method: Method = "none"
    weight: float = 0.0  # of the method's term; HMGAN's beta
    expected_ratio: tuple[float, ...] = (0.0, 0.0, 0.0)  # lambda: latents to 4 px, to 8 px, to the image
    alpha: float = 0.8  # NDiv's slack
    bound: float = 1.0  # DSGAN's tau: the ratio that the data themselves have, at this latent_std
    share_condition: bool = (
        True  # the two images of a pair have one condition; not printed, but its Background assumes it
    )
    data: Literal["one_to_many", "digits"] = "one_to_many"
    image_size: int = 16
    condition_repeats: int = (
        4  # of the one-hot condition beside the latent: 16 entries, so that it competes with the noise
    )
    condition_scale: float = (
        0.275  # as the latents: ten times larger, it drowns them and every output is the same
    )
    latent_dim: int = 8  # low against the condition, where the paper sees the cause of collapse
    latent_std: float = (
        0.275  # mean distance of latents = that of images of a condition, so that all lambda = 1 can hold
    )
    width: int = 16  # channels before the last layer
    discriminator_width: int = 24  # with 8, no method found anything valid
    num_steps: int = 700
    per_class: int = 8  # latents of a class in a step: half as many pairs
    learning_rate: float = (
        4e-3  # Adam with betas (0.5, 0.999); for first trials with lambda = 1 and without a term
    )
    decay: float = 0.5  # share of the run, at its end, over which the learning rate falls linearly to zero
    num_training: int = 2048  # images
    num_samples: int = 500  # of each class, to be judged
    keep: int = 0  # images of each class that are recorded, for the first seed


def training_set(config: Config, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Training images of every class, and held-out ones (the same, where more can be drawn): lists of ``(n, c, side, side)``."""
    if config.data == "digits":
        split = load_digits_split(seed=seed)
        parts = ((split.train_images, split.train_labels), (split.held_out_images, split.held_out_labels))
        train, held_out = (
            [F.interpolate(images[labels == c], scale_factor=config.image_size // 8) for c in range(10)]
            for images, labels in parts
        )
        return train, held_out
    random = torch.Generator().manual_seed(seed)
    drawn = OneToMany(image_size=config.image_size).sample(config.num_training, generator=random)
    images = [drawn.images[drawn.conditions == c] for c in range(OneToMany.num_classes)]
    return images, images


def networks(
    config: Config, random: torch.Generator, num_classes: int
) -> tuple[TransposedGenerator, ConvDiscriminator]:
    """Generator and discriminator with fresh weights."""
    channels = 1 if config.data == "digits" else 3
    shape = {"image_size": config.image_size, "channels": channels, "num_classes": num_classes}
    generator = TransposedGenerator(
        config.latent_dim,
        **shape,
        width=config.width,
        condition_repeats=config.condition_repeats,
        condition_scale=config.condition_scale,
        generator=random,
    )
    return generator, ConvDiscriminator(**shape, width=config.discriminator_width, generator=random)


def path_names(generator: TransposedGenerator) -> list[str]:
    """The steered layers between latents and image: what every block puts out, after normalization and rectifier."""
    return [f"blocks.{index}" for index in range(len(generator.blocks))]


def forward_path(generator: TransposedGenerator, latents: Tensor, labels: Tensor) -> list[Tensor]:
    """One forward: latents, what every block puts out, images."""
    with record_activations(generator, path_names(generator)) as recorded:
        images = generator(latents, labels)
    return [latents, *recorded.values(), images]


def pairs(tensor: Tensor, num_classes: int, *, share_condition: bool = True) -> tuple[Tensor, Tensor]:
    """Both halves of every class of rows that are grouped by class; or the second half of the next class instead."""
    first, second = tensor.unflatten(0, (num_classes, -1)).chunk(2, dim=1)
    second = second if share_condition else second.roll(1, 0)
    return first.flatten(0, 1), second.flatten(0, 1)


def extra_loss(config: Config, path: Sequence[Tensor], num_classes: int) -> Tensor:
    """The method's term, unweighted; ``path`` holds latents, layers and images, rows grouped by class."""
    latents, images = path[0], path[-1]
    if config.method == "ndiv":
        grouped = (tensor.unflatten(0, (num_classes, -1)) for tensor in (latents, images))
        return ndiv_loss(*grouped, alpha=config.alpha, reduction="sample")
    split = partial(pairs, num_classes=num_classes, share_condition=config.share_condition)
    if config.method == "hierarchical":
        layers_a, layers_b = zip(*map(split, path), strict=True)
        return hierarchical_loss(layers_a, layers_b, expected_ratio=config.expected_ratio)
    both = (*split(latents), *split(images))
    return (
        mode_seeking_loss(*both) if config.method == "mode_seeking" else dsgan_loss(*both, bound=config.bound)
    )


def draw_latents(config: Config, num_rows: int, random: torch.Generator) -> Tensor:
    """Normal latents ``(num_rows, latent_dim)`` of the configured standard deviation."""
    return config.latent_std * torch.randn(num_rows, config.latent_dim, generator=random)


def train(config: Config, data: Sequence[Tensor], seed: int) -> TransposedGenerator:
    """A generator trained on the images of every class; on a GPU, if there is one, above 16 pixels, where it is faster."""
    device = torch.device("cuda" if config.image_size > 16 and torch.cuda.is_available() else "cpu")
    random = torch.Generator().manual_seed(1_000_003 + seed)
    generator, discriminator = networks(config, random, len(data))
    generator.to(device), discriminator.to(device)
    data = [images.to(device) for images in data]
    adam = partial(torch.optim.Adam, lr=config.learning_rate, betas=(0.5, 0.999), fused=True)
    of_generator, of_discriminator = adam(generator.parameters()), adam(discriminator.parameters())
    labels = torch.arange(len(data), device=device).repeat_interleave(config.per_class)
    for step in range(config.num_steps):
        if config.decay:
            left = min(1.0, (1 - step / config.num_steps) / config.decay)
            for group in of_generator.param_groups + of_discriminator.param_groups:
                group["lr"] = left * config.learning_rate
        picked = [torch.randint(len(images), (config.per_class,), generator=random) for images in data]
        real = torch.cat([images[index] for images, index in zip(data, picked, strict=True)])
        path = forward_path(generator, draw_latents(config, len(labels), random).to(device), labels)
        fake = path[-1]

        discriminator.requires_grad_(True)
        both = discriminator(torch.cat([real, fake.detach()]), labels.repeat(2))
        real_logits, fake_logits = both.chunk(2)
        descend(of_discriminator, discriminator_loss(real_logits=real_logits, fake_logits=fake_logits))

        discriminator.requires_grad_(False)  # half of its backward pass is not needed here
        loss = generator_loss(fake_logits=discriminator(fake, labels))
        if config.weight:
            loss = loss + config.weight * extra_loss(config, path, len(data))
        descend(of_generator, loss)
    return generator.eval().cpu()


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of a scalar loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def sample_path(
    config: Config, generator: TransposedGenerator, num_classes: int, seed: int
) -> tuple[list[Tensor], Tensor]:
    """Latents, layers and images of ``num_samples`` new samples of every class, and their labels; rows grouped by class."""
    labels = torch.arange(num_classes).repeat_interleave(config.num_samples)
    random = torch.Generator().manual_seed(2_000_003 + seed)
    return forward_path(generator, draw_latents(config, len(labels), random), labels), labels


def ratio_report(path: Sequence[Tensor], num_classes: int) -> dict[str, float]:
    """Distances and ratios of same-condition pairs at every layer.

    ``distance_i`` is the mean distance at layer i (0: latents), ``ratio_i`` the ratio of two such means, which the loss
    steers; ``low_i`` and ``least_i`` are the 1 % quantile and the minimum of the pairs' own ratios, and ``bound_gap_i`` is
    ``ratio_i`` over that minimum: 1 if the minimum is where a ratio can be brought to.
    """
    layers_a, layers_b = zip(*(pairs(layer, num_classes) for layer in path), strict=True)
    distances = [float(mean_distance(a, b, 1).mean()) for a, b in zip(layers_a, layers_b, strict=True)]
    report = {f"distance_{i}": distance for i, distance in enumerate(distances)}
    for i, of_pairs in enumerate(expansion_ratios(layers_a, layers_b), start=1):
        report[f"ratio_{i}"] = distances[i - 1] / max(distances[i], 1e-9)
        report[f"low_{i}"] = float(of_pairs.quantile(0.01))
        report[f"least_{i}"] = float(of_pairs.min())
        report[f"bound_gap_{i}"] = report[f"ratio_{i}"] / max(report[f"least_{i}"], 1e-9)
    return report


@torch.no_grad()
def feature_report(images: Tensor, num_classes: int) -> dict[str, float]:
    """Diversity in an external network: mean squared distance of unit features of a class's images, at every level.

    The levels are those of LPIPS's SqueezeNet, all features weighted alike; images are enlarged to 64 pixels. ``feature_low``
    and ``feature_high`` are the means of the first and last two levels, ``feature_tilt`` is high over low. Empty without the
    network's weights.
    """
    try:
        state = load_backbone("squeeze")
    except FileNotFoundError:
        return {}
    network = require("torchvision.models", "metrics").squeezenet1_1()
    network.load_state_dict(state)
    network.eval()
    by_class = []
    for of_class in images.unflatten(0, (num_classes, -1))[:, :FEATURE_SAMPLES]:
        enlarged = F.interpolate(of_class.expand(-1, 3, -1, -1), size=64, mode="bilinear")
        with record_activations(network, [f"features.{level}" for level in FEATURE_LEVELS]) as recorded:
            network.features(imagenet_input(enlarged))
        maps = list(recorded.values())
        by_class.append(feature_diversity([maps], [torch.ones(one.shape[1]) for one in maps]))
    levels = torch.stack(by_class).mean(0).tolist()
    report = {f"feature_{level}": diversity for level, diversity in enumerate(levels, start=1)}
    low, high = sum(levels[:2]) / 2, sum(levels[-2:]) / 2
    return report | {
        "feature_mean": sum(levels) / len(levels),
        "feature_low": low,
        "feature_high": high,
        "feature_tilt": high / max(low, 1e-9),
    }


def mode_values(config: Config, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Precision and the modes found, counted against the truth."""
    return asdict(OneToMany(image_size=config.image_size).evaluate(images, labels))


def neighbor_values(held_out: Sequence[Tensor], images: Tensor) -> dict[str, float]:
    """Precision, recall, density and coverage against the held-out images of every class, as means over classes."""
    generated = images.unflatten(0, (len(held_out), -1))
    rows = [
        vars(precision_recall_density_coverage(real=real, generated=made[: len(real)]))
        for real, made in zip(held_out, generated, strict=True)
    ]
    return {metric: sum(row[metric] for row in rows) / len(rows) for metric in rows[0]}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train and measure one generator per seed; keeps a sheet of the first seed's images ``(classes, keep, c, side, side)``."""
    rows, sheets = [], []
    for seed in seeds:
        data, held_out = training_set(config, seed)
        started = time.process_time()
        generator = train(config, data, seed)
        seconds = time.process_time() - started
        path, labels = sample_path(config, generator, len(data), seed)
        found = (
            mode_values(config, path[-1], labels)
            if config.data == "one_to_many"
            else neighbor_values(held_out, path[-1])
        )
        rows.append(found | ratio_report(path, len(data)) | feature_report(path[-1], len(data)))
        rows[-1]["cpu_seconds"] = seconds
        sheets.append(path[-1].unflatten(0, (len(data), -1))[:, : config.keep])
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=sum(map(len, data)),
        n_generated=len(labels),
        arrays={"sheet": to_levels(sheets[0])} if config.keep else {},
    )


def to_levels(images: Tensor) -> np.ndarray:
    """Images in [-1, 1] as bytes from 0 to 15, small enough to record."""
    return ((images + 1) * 7.5).round().to(torch.uint8).numpy()


def smoke(config: Config) -> Config:
    """A few steps, to see that everything runs."""
    return replace(config, num_steps=2, num_samples=100, num_training=128)


# --- Cells ------------------------------------------------------------------------------------------------------------

SEEDS = tuple(range(10))
TUNING_SEEDS, SHORT = (1000, 1001, 1002), 500
SCORE = "joint share of modes found, minus the share of invalid images"  # named before the first trial
LAYERS = (1, 2, 3)  # a ratio each: latents to 4 px, 4 to 8 px, 8 px to the image
MONOTONE = (0.75, 0.9, 1.0, 1.25, 1.5, 2.0)  # control is expected here,
SATURATED = (0.0, 0.25)  # and less here
ONES = Config(method="hierarchical", weight=1.0, expected_ratio=(1.0, 1.0, 1.0))  # the paper's beta
ZEROS = replace(ONES, expected_ratio=(0.0, 0.0, 0.0))


def steered(layer: int, expected_ratio: float, base: Config = ONES) -> Config:
    """The configuration with another lambda at one layer."""
    ratios = tuple(
        expected_ratio if i == layer else old for i, old in enumerate(base.expected_ratio, start=1)
    )
    return replace(base, expected_ratio=ratios)


# Eight settings a method, in runs of half the length.
TUNED: dict[str, Config] = {
    **{
        f"{method}-w{weight:g}": Config(method=method, weight=weight)
        for method in ("mode_seeking", "hierarchical")
        for weight in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    },
    **{
        f"dsgan-w{weight:g}-bound{bound:g}": Config(method="dsgan", weight=weight, bound=bound)
        for weight in (0.3, 1.0, 3.0, 10.0)
        for bound in (1.0, 2.0)
    },
    **{
        f"ndiv-w{weight:g}-alpha{alpha:g}": Config(method="ndiv", weight=weight, alpha=alpha)
        for weight in (0.3, 1.0, 3.0, 10.0)
        for alpha in (0.5, 0.8)
    },
}

# The winner of each method's trials.
WINNERS: dict[str, Config] = {
    "mode_seeking": TUNED["mode_seeking-w0.03"],
    "dsgan": TUNED["dsgan-w0.3-bound1"],
    "ndiv": TUNED["ndiv-w0.3-alpha0.8"],
    "hierarchical": TUNED["hierarchical-w0.3"],
}
# zeros, halves and ones are HMGAN1, HMGAN3 and HMGAN2 of the paper, all with its beta = 1
BASELINES: dict[str, Config] = {
    "none": Config(),
    **WINNERS,
    "zeros": ZEROS,
    "halves": replace(ONES, expected_ratio=(0.5, 0.5, 0.5)),
    "ones": ONES,
}


def sweep(ratios: Sequence[float]) -> dict[str, Config]:
    """Each lambda at each layer, the others 1; all ones are a baseline of that name."""
    return {
        f"steer{layer}-{ratio:g}": steered(layer, ratio) for ratio in ratios for layer in LAYERS if ratio != 1
    }


OTHERS: dict[str, Config] = {
    **{
        f"rest{layer}-0": steered(layer, 1.0, ZEROS) for layer in (1, 2)
    },  # one early layer at 1, the rest at 0
    "small_condition": Config(condition_repeats=1),  # 4 entries
    "wide_condition": Config(condition_repeats=16),  # 64 entries
    "narrow_noise": Config(condition_repeats=1, latent_dim=2),
    "zeros_mixed": replace(ZEROS, share_condition=False),
}
WEIGHTS: dict[str, Config] = {
    f"mode_seeking-w{weight:g}": Config(method="mode_seeking", weight=weight) for weight in (0.3, 3.0)
}
DIGITS: dict[str, Config] = {
    f"digits-{name}": replace(config, data="digits", per_class=4, num_steps=300, num_samples=200)
    for name, config in BASELINES.items()
    if name in ("none", "mode_seeking", "zeros", "ones")
}
# 32 pixels: the same recipe at a size for a GPU, pending until one runs it
LARGE: dict[str, Any] = {
    "image_size": 32,
    "width": 32,
    "discriminator_width": 64,
    "num_steps": 4000,
    "per_class": 16,
}
PRESETS: dict[str, Config] = {
    **BASELINES,
    **{
        f"large-{name}": replace(
            config, **LARGE, expected_ratio=(*config.expected_ratio, config.expected_ratio[-1])
        )
        for name, config in BASELINES.items()
        if name in ("none", "zeros", "ones")
    },
    **{f"digits-{name}": DIGITS[f"digits-{name}"] for name in ("none", "ones")},
}

CELLS = (
    [
        Cell(name, PRESETS[name], SEEDS[:3], stack=1, full_scale=True)
        for name in ("large-none", "large-zeros", "large-ones")
    ]
    + [
        Cell(f"tuning-{name}", replace(config, num_steps=SHORT), TUNING_SEEDS, stack=3, priority=100)
        for name, config in TUNED.items()
    ]
    + [
        Cell(name, replace(config, keep=6), seeds, priority=priority)
        for priority, seeds, configs in (
            (90, SEEDS, BASELINES),
            (80, SEEDS, sweep(MONOTONE)),
            (70, SEEDS, sweep(SATURATED[:1])),
            (60, SEEDS, OTHERS),
            (50, SEEDS[:5], sweep(SATURATED[1:])),  # to see whether a target that nothing reaches is felt
            (40, SEEDS, DIGITS),
            (30, SEEDS[:5], WEIGHTS),
        )
        for name, config in configs.items()
    ]
)
