"""How often is the diagnosis right? Real against real, and against sets of which it is known what is wrong with them.

Every trial draws disjoint random samples from the training part of a set. The checks were worked out on MNIST's and CIFAR-10's
test parts, so that none of these images was seen before. Modes are lost by leaving three of ten classes (of MNIST and CIFAR-10)
or five of sixteen modes of every condition (of `one_to_many`) out of one side; which ones is drawn anew in every trial.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.data.images import load_images
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.diagnosis import Diagnosis, diagnose
from ndiv_lib.metrics.features import extract_features
from ndiv_lib.recipes import digits
from ndiv_lib.recipes.recording import Cell, Measured

LOST_MODES = {"mnist": 3, "cifar10": 3, "one_to_many": 5}  # of 10, 10, and 16 for each of 4 conditions


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    data: Literal["mnist", "cifar10", "one_to_many", "digits", "large"] = "mnist"
    flaw: Literal["none", "lost", "repeated", "blurred", "one_each", "reconstruction", "ndiv"] = "none"
    num_samples: int = 1000  # of each side
    features: Literal["pixels", "squeezenet"] = "pixels"
    network_side: int = (
        64  # images are enlarged to this: at their own 32 px the network's last maps are a single cell
    )
    repeats: int = 4  # repeated: every image this often, with a little noise
    noise: float = 0.05  # repeated: its standard deviation, of a range of 2
    blur: int = 5  # blurred: pixels that are averaged
    keep_text: bool = False  # for the page that explains it
    training_steps: int | None = None  # digits: None for as many as the recipe takes


PRESETS: dict[str, Config] = {
    "one_to_many": Config(data="one_to_many"),  # first: what needs no data set
    "mnist": Config(),
    "mnist_lost": Config(flaw="lost"),
    "mnist_repeated": Config(flaw="repeated"),
    "mnist_blurred": Config(flaw="blurred"),
    "cifar10": Config(data="cifar10"),
    "cifar10_lost": Config(data="cifar10", flaw="lost"),
    "cifar10_lost_squeezenet": Config(data="cifar10", flaw="lost", features="squeezenet"),
    "one_to_many_lost": Config(data="one_to_many", flaw="lost"),
    "one_to_many_one_each": Config(data="one_to_many", flaw="one_each"),
    "digits_reconstruction": Config(data="digits", flaw="reconstruction"),
    "digits_ndiv": Config(data="digits", flaw="ndiv"),
    "large": Config(data="large"),
}

# Two sets, and the conditions of each or None.
Sides = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def draw(config: Config, seed: int) -> Sides:
    """Real and generated samples of one trial."""
    random = torch.Generator().manual_seed(seed)
    if config.data == "one_to_many":
        return _draw_one_to_many(config, random)
    if config.data == "large":
        coarse = torch.rand(2 * config.num_samples, 3, 8, 8, generator=random) * 2 - 1
        large = F.interpolate(coarse, size=64, mode="bicubic").clamp(-1, 1)
        return *large.split(config.num_samples), None, None
    if config.data == "digits":
        raise ValueError(
            "expected another set than digits, whose generators are trained for all seeds together."
        )
    images, labels = _load(config.data)
    chosen = torch.randperm(len(images), generator=random)
    real, rest = chosen[: config.num_samples], chosen[config.num_samples :]
    if config.flaw == "lost":
        lost = torch.randperm(10, generator=random)[: LOST_MODES[config.data]]
        rest = rest[~torch.isin(labels[rest], lost)]
    count = config.num_samples // config.repeats if config.flaw == "repeated" else config.num_samples
    generated = images[rest[:count]]
    if config.flaw == "repeated":
        generated = generated.repeat(config.repeats, 1, 1, 1)
        noise = config.noise * torch.randn(generated.shape, generator=random)
        generated = (generated + noise).clamp(-1, 1)
    if config.flaw == "blurred":
        padded = F.pad(generated, (config.blur // 2,) * 4, mode="replicate")
        generated = F.avg_pool2d(padded, config.blur, stride=1)
    return images[real], generated, None, None


def _draw_one_to_many(config: Config, random: torch.Generator) -> Sides:
    data = OneToMany()
    real = data.sample(config.num_samples, generator=random)
    generated = data.sample(4 * config.num_samples, generator=random)
    kept = torch.ones(data.num_classes, data.num_modes, dtype=torch.bool)
    if config.flaw == "lost":
        for row in kept:
            row[torch.randperm(data.num_modes, generator=random)[: LOST_MODES["one_to_many"]]] = False
    images, conditions = generated.images, generated.conditions
    if config.flaw == "one_each":  # one image for each condition, exactly: the latent is ignored
        images = data.templates()[:, int(torch.randint(data.num_modes, (), generator=random))][conditions]
    left = kept[conditions, generated.modes].nonzero()[: config.num_samples, 0]
    return real.images, images[left], real.conditions, conditions[left]


@lru_cache(maxsize=1)
def _load(name: str) -> tuple[Tensor, Tensor]:
    """The first 20,000 training images: more than enough for disjoint draws."""
    images, labels = load_images(name, "train")
    return images[:20_000], labels[:20_000]


def squeezenet(images: Tensor, *, side: int) -> Tensor:
    """Pooled features of SqueezeNet 1.1, of enlarged images."""
    return extract_features(F.interpolate(images, size=side, mode="bilinear"), "squeezenet")


def diagnose_one(config: Config, seed: int) -> Diagnosis:
    """The diagnosis of one trial."""
    sides = _trained_digits(config, [seed])[0] if config.data == "digits" else draw(config, seed)
    return _diagnose(config, sides, seed)


def _diagnose(config: Config, sides: Sides, seed: int) -> Diagnosis:
    real, generated, conditions_real, conditions_generated = sides
    network = partial(squeezenet, side=config.network_side)
    features: Any = network if config.features == "squeezenet" else "pixels"
    return diagnose(
        real=real,
        generated=generated,
        conditions_real=conditions_real,
        conditions_generated=conditions_generated,
        features=features,
        seed=seed,
    )


def _trained_digits(config: Config, seeds: Sequence[int]) -> list[Sides]:
    """Digits that were held out, and as many of every class from a generator trained on the others."""
    splits = [load_digits_split(seed=seed) for seed in seeds]
    recipe = replace(digits.PRESETS[config.flaw], film_steps=())
    if config.training_steps is not None:
        recipe = replace(recipe, num_steps=config.training_steps)
    images, _ = digits.generate(recipe, splits, seeds)
    sides: list[Sides] = []
    for split, of_classes in zip(splits, images, strict=True):
        counts = split.held_out_labels.bincount().tolist()
        generated = [image[:count] for image, count in zip(of_classes, counts, strict=True)]
        labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        drawn = torch.cat(generated).reshape(-1, 1, 8, 8).clamp(-1, 1)
        sides.append((split.held_out_images, drawn, split.held_out_labels, labels))
    return sides


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Diagnose every trial; keeps the first one's text, if asked to."""
    trained = _trained_digits(config, seeds) if config.data == "digits" else None
    rows, texts = [], []
    for index, seed in enumerate(seeds):
        sides = trained[index] if trained else draw(config, seed)
        started = time.process_time()
        found = _diagnose(config, sides, seed)
        rows.append(summarize(found) | {"seconds": time.process_time() - started})
        texts.append(found.to_text())
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=found.num_real,
        n_generated=found.num_generated,
        arrays={"text": np.array(texts[0])} if config.keep_text else {},
    )


def summarize(diagnosis: Diagnosis) -> dict[str, float]:
    """Alarms and verdicts as 0 and 1, and the values and floors of the checks."""
    row = {"alarm": float(bool(diagnosis.alarms))}
    for verdict in ("collapse", "different", "no sign of collapse", "cannot be known"):
        row[f"verdict_{verdict.replace(' ', '_')}"] = float(diagnosis.verdict == verdict)
    for finding in diagnosis.findings:
        name = finding.name.split(" (")[0].replace(" ", "_")
        row |= {
            f"alarm_{name}": float(finding.alarm),
            f"value_{name}": finding.value,
            f"floor_{name}": finding.floor,
        }
    row["promised_at_30"] = diagnosis.power.rates[0.3]
    row["num_avoided_bins"] = float(len(diagnosis.bins))
    return row


def smoke(config: Config) -> Config:
    """Forty samples; a few training steps."""
    return replace(config, num_samples=40, training_steps=3 if config.data == "digits" else None)


TRIALS = tuple(range(20))
FEW = tuple(range(10))


def _cell(data: Any, flaw: Any, size: int, seeds: tuple[int, ...], priority: int, **options: Any) -> Cell:
    name = "-".join([data, flaw, str(size), *map(str, options.values())])
    config = Config(data=data, flaw=flaw, num_samples=size, **options)
    return Cell(name, config, seeds, stack=10, priority=priority)


EXAMPLE_SEED = 100
EXAMPLES = {
    "example-healthy": Config(num_samples=1000, keep_text=True),
    "example-collapsed": Config(flaw="lost", keep_text=True),
    "example-few": Config(num_samples=50, keep_text=True),
    "example-ignores": Config(data="digits", flaw="reconstruction", num_samples=898, keep_text=True),
}
CELLS = [
    *(_cell(data, "none", size, TRIALS, 9) for data in ("mnist", "cifar10") for size in (50, 200, 1000)),
    *(_cell("mnist", "lost", size, TRIALS, 8) for size in (50, 200, 1000)),
    _cell("one_to_many", "lost", 1000, TRIALS, 7),
    _cell("cifar10", "lost", 1000, TRIALS, 6, features="squeezenet"),
    _cell("cifar10", "lost", 1000, TRIALS, 5, features="squeezenet", network_side=128),
    _cell("mnist", "repeated", 1000, FEW, 5),
    _cell("mnist", "blurred", 1000, FEW, 5),
    _cell("one_to_many", "one_each", 1000, FEW, 5),
    _cell("digits", "reconstruction", 898, FEW, 4),
    _cell("digits", "ndiv", 898, FEW, 4),
    _cell("large", "none", 1000, (0, 1, 2), 3),
    _cell("cifar10", "lost", 1000, FEW, 2),
    _cell("one_to_many", "none", 1000, FEW, 2),
    _cell("cifar10", "none", 1000, FEW, 1, features="squeezenet"),
    *(Cell(name, config, (EXAMPLE_SEED,), priority=0) for name, config in EXAMPLES.items()),
]
