"""What each measure of diversity or quality sees: failures made by hand on images whose modes are all known.

Real images are twenty templates of :class:`~ndiv_lib.data.OneToMany` (a square in one of four corners, in one of five colors),
each with smooth variations inside its mode. A failure changes fresh real images in one known way, and every measure compares the
result with other real images. Four further tasks: sample sizes, numbers of bins, halves of real photographs and digits, and
Eq. 9-11 of HMGAN against the package lpips.
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from ndiv_lib._checks import require
from ndiv_lib.data.images import load_images
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.metrics.bins import ndb
from ndiv_lib.metrics.features import extract_features
from ndiv_lib.metrics.frechet import frechet_distance, kernel_distance
from ndiv_lib.metrics.perceptual import feature_diversity, lpips_diversity
from ndiv_lib.metrics.precision_recall import mean_pairwise_distance, precision_recall_density_coverage
from ndiv_lib.recipes.recording import Cell, Measured

SHAPES = OneToMany(num_classes=1, num_positions=4, num_counts=1, num_colors=5, num_textures=1, noise=0.0)
NUM_MODES = SHAPES.num_modes
LPIPS_IMAGES = 200  # enough for its mean: a variance of features converges fast
_ENLARGE = 2  # SqueezeNet needs 17 pixels; nearest neighbor, so that no failure is smoothed away


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["failure", "bins", "halves", "definitions"] = "failure"
    failure: str = "none"  # what is done to the generated images; "none" is the floor
    amount: float = 0.0  # of the failure, in the unit that FAILURES says
    data: Literal["shapes", "mnist", "cifar10"] = "shapes"
    n: int = 500  # real images, and as many generated: what a quick check affords
    num_bins: int = 40  # twice the modes, so that few bins hold two; HMGAN does not print its number
    max_dims: int | None = None  # of the bins; CIFAR-10 takes 512, as the released code of NDB does
    neighbors: int = 5  # of precision, recall, density, coverage; both papers' choice for the latter two
    squeezenet: bool = True  # also measure with a pretrained network, which the twins of this run may lack
    repeats: int = 8  # bins: draws for a rate of detection
    halves_n: int = 500  # halves: images of each half for everything but NDB, which takes them all
    weights: Literal["root", "printed"] = "root"  # definitions: released weights are w^2 or w of Eq. 9
    unit_length: bool = True  # definitions: not in Eq. 9, but in the LPIPS that it cites


# --- Images ------------------------------------------------------------------------------------------------------------


def patterns() -> Tensor:
    """Four smooth fields ``(4, 3, 16, 16)`` in [-1, 1]: what varies inside a mode."""
    place = (torch.arange(SHAPES.image_size) + 0.5) / SHAPES.image_size * torch.pi
    waves = [
        torch.cos(a * place)[:, None] * torch.cos(b * place) for a, b in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    return torch.stack(waves)[:, None].expand(-1, 3, -1, -1)


def draw(n: int, random: torch.Generator, *, modes: Tensor | None = None, spread: float = 1.0) -> Tensor:
    """Valid images ``(n, 3, 16, 16)``: the templates of ``modes`` (all equally likely if not given) with variations."""
    if modes is None:
        modes = torch.randint(NUM_MODES, (n,), generator=random)
    amounts = 0.05 * spread * (2 * torch.rand(n, 4, generator=random) - 1)
    return SHAPES.templates()[0, modes] + torch.einsum("nk,kchw->nchw", amounts, patterns())


def flaw(images: Tensor) -> float:
    """Exact quality: root mean square distance from the nearest valid image; 0 if every image is valid."""
    templates = SHAPES.templates()[0].flatten(1)
    basis = torch.linalg.qr(patterns().flatten(1).T).Q
    offsets = images.flatten(1) - templates[torch.cdist(images.flatten(1), templates).argmin(1)]
    return float((offsets - offsets @ basis @ basis.T).square().mean().sqrt())


def _dropped(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    return draw(
        config.n, random, modes=torch.randint(int(config.amount), NUM_MODES, (config.n,), generator=random)
    )


def _thinned(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    shares = torch.ones(NUM_MODES)
    shares[: int(config.amount)] = 0.5
    return draw(config.n, random, modes=torch.multinomial(shares, config.n, True, generator=random))


def _uneven(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    shares = torch.linspace(1, config.amount, NUM_MODES)
    return draw(config.n, random, modes=torch.multinomial(shares, config.n, True, generator=random))


def _shrunk(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    return draw(config.n, random, spread=config.amount)


def _duplicates(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    few = max(round(config.n / config.amount), 2)
    return draw(few, random)[torch.arange(config.n) % few]


def _copies(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    return real[torch.randint(len(real), (config.n,), generator=random)]


def _noise(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    images = draw(config.n, random)
    return (images + config.amount * (2 * torch.rand(images.shape, generator=random) - 1)).clamp(-1, 1)


def _blur(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    images = draw(config.n, random)
    smooth = avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    return images + config.amount * (smooth - images)


def _outliers(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    """Crosses, where all real images are squares."""
    images = draw(config.n, random)
    crosses = replace(SHAPES, num_classes=3).templates()[2, 0]
    wrong = torch.rand(config.n, generator=random) < config.amount
    images[wrong] += (crosses - SHAPES.templates()[0, 0]) - (images[wrong] - SHAPES.templates()[0, 0]) * 0.9
    return images


def _none(real: Tensor, config: Config, random: torch.Generator) -> Tensor:
    return draw(config.n, random)


# What is done to the images, and the unit of its amount.
FAILURES: dict[str, tuple[Callable[[Tensor, Config, torch.Generator], Tensor], str]] = {
    "none": (_none, "nothing"),
    "dropped": (_dropped, "modes that are never drawn"),
    "thinned": (_thinned, "modes drawn half as often"),
    "uneven": (_uneven, "share of the last mode over that of the first"),
    "shrunk": (_shrunk, "variation inside modes, over the true one"),
    "duplicates": (_duplicates, "times that each image is repeated"),
    "copies": (_copies, "nothing: real images that the measure compares with, drawn again"),
    "noise": (_noise, "largest deviation of a pixel, of 2 from black to white"),
    "blur": (_blur, "share of a 3 x 3 box filter"),
    "outliers": (_outliers, "share of images of one wrong kind"),
}


# --- Measures ----------------------------------------------------------------------------------------------------------


def compare(real: Tensor, generated: Tensor, config: Config, seed: int) -> dict[str, float]:
    """Every measure of two sets of images."""
    values: dict[str, float] = {}
    vectors = {"pixels": (real.flatten(1), generated.flatten(1))}
    if config.squeezenet:
        large = [_for_squeezenet(images) for images in (real, generated)]
        vectors["squeezenet"] = (
            extract_features(large[0], "squeezenet"),
            extract_features(large[1], "squeezenet"),
        )
        values["lpips"] = float(lpips_diversity(large[1][:LPIPS_IMAGES], net="squeeze"))
    for name, (first, second) in vectors.items():
        values[f"frechet_{name}"] = frechet_distance(real=first, generated=second, features="pixels")
        values[f"kernel_{name}"] = kernel_distance(real=first, generated=second, features="pixels")
        neighbors = precision_recall_density_coverage(real=first, generated=second, k=config.neighbors)
        values |= {f"{metric}_{name}": value for metric, value in vars(neighbors).items()}
    values["spread"] = mean_pairwise_distance(generated.flatten(1))
    if config.data == "shapes":
        bins = ndb(real=real, generated=generated, num_bins=config.num_bins, seed=seed)
        values |= {"ndb": bins.num_different_bins, "jsd": bins.js_divergence}
        values |= {"ndb_floor": bins.floor.num_different_bins, "jsd_floor": bins.floor.js_divergence}
        values |= {"flaw": flaw(generated), "lost_modes_named": _lost_modes_named(real, bins.real_bins, bins)}
    return values


def _for_squeezenet(images: Tensor) -> Tensor:
    images = images.expand(-1, 3, -1, -1)
    return interpolate(images, scale_factor=_ENLARGE) if images.shape[-1] < 17 else images


def _lost_modes_named(real: Tensor, real_bins: Tensor, bins: Any) -> float:
    """Share of the first eight modes whose home, the bin with most of their real images, is reported missing."""
    templates = SHAPES.templates()[0].flatten(1)
    modes = torch.cdist(real.flatten(1), templates).argmin(1)
    present = [mode for mode in range(8) if bool((modes == mode).any())]  # few images may miss a mode
    homes = torch.stack([real_bins[modes == mode].mode().values for mode in present])
    return float(torch.isin(homes, bins.missing_bins).float().mean())


def failure(config: Config, seed: int) -> dict[str, float]:
    """Real images against images with one failure."""
    random = torch.Generator().manual_seed(seed)
    real = draw(config.n, random)
    return compare(real, FAILURES[config.failure][0](real, config, random), config, seed)


def bins(config: Config, seed: int) -> dict[str, float]:
    """How often NDB and JSD exceed their 95 % floor, and the seconds of a call."""
    found, seconds = [], 0.0
    for repeat in range(config.repeats):
        random = torch.Generator().manual_seed(1000 * seed + repeat)
        real = draw(config.n, random)
        generated = FAILURES[config.failure][0](real, config, random)
        started = time.process_time()
        one = ndb(real=real, generated=generated, num_bins=config.num_bins, seed=repeat)
        seconds += time.process_time() - started
        ndb_seen = one.num_different_bins > one.floor.num_different_bins_95
        found.append((ndb_seen, one.js_divergence > one.floor.js_divergence_95, one.num_different_bins))
    detected = torch.tensor(found, dtype=torch.float64).mean(0).tolist()
    return {
        "power_ndb": detected[0],
        "power_jsd": detected[1],
        "ndb_share": detected[2] / config.num_bins,
        "seconds": seconds / config.repeats,
    }


def halves(config: Config, seed: int) -> dict[str, float]:
    """Real against real: the two halves of a training set, split at random."""
    images = load_images(config.data, "train")[0]
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: 2 * config.n]
    real, other = images[order[: config.n]], images[order[config.n :]]
    found = ndb(real=real, generated=other, num_bins=config.num_bins, max_dims=config.max_dims, seed=seed)
    values = {"ndb": float(found.num_different_bins), "jsd": found.js_divergence}
    values |= {"ndb_floor": found.floor.num_different_bins, "jsd_floor": found.floor.js_divergence}
    return values | compare(real[: config.halves_n], other[: config.halves_n], config, seed)


def definitions(config: Config, seed: int) -> dict[str, float]:
    """Eq. 9-11 pair by pair against the package lpips and the library, SqueezeNet with random weights below."""
    lpips: Any = require("lpips", "metrics")
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
        num_levels = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).L
    images = draw(6, torch.Generator().manual_seed(seed))
    images = interpolate(images, scale_factor=_ENLARGE)
    released = [head.model[-1].weight.flatten() for head in model.lins]
    used = [weight.sqrt() if config.weights == "root" else weight for weight in released]

    def eq_11(j: int, k: int) -> Tensor:
        differences = [maps[j] - maps[k] for maps in levels]
        return torch.stack(
            [
                (w[:, None, None] * one).square().sum(0).mean()
                for w, one in zip(used, differences, strict=True)
            ]
        )

    with torch.no_grad():
        plain = model.net(model.scaling_layer(images))
        levels = [
            maps / (maps.norm(dim=1, keepdim=True) + 1e-10) if config.unit_length else maps for maps in plain
        ]
        pairs = list(itertools.permutations(range(len(images)), 2))
        printed = torch.stack([eq_11(*pair) for pair in pairs]).double()
        package = torch.stack([model(images[j : j + 1], images[k : k + 1]).flatten() for j, k in pairs])
        library = feature_diversity([plain], released)
    total, mean = printed.sum(), library.sum()
    return {
        "lpips_error": float((printed.sum(1) / package.flatten() - 1).abs().max()),
        "sum_error": float((mean * len(pairs) / total - 1).abs()),
        "mean_error": float((mean / total - 1).abs()),
        "level_error": float((library / printed.mean(0) - 1).abs().max()),
        "num_levels": float(num_levels),
    }


TASKS = {"failure": failure, "bins": bins, "halves": halves, "definitions": definitions}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    rows = [TASKS[config.task](config, seed) for seed in seeds]
    arrays = {"images": _gallery(config)} if config.task == "failure" and 0 in seeds else {}
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=config.n,
        n_generated=config.n,
        arrays=arrays,
    )


def _gallery(config: Config, num: int = 10) -> Any:
    """A few generated images as bytes, ``(num, 16, 16, 3)``."""
    random = torch.Generator().manual_seed(0)
    real = draw(config.n, random)
    images = FAILURES[config.failure][0](real, config, random)[:num].clamp(-1, 1)
    return ((images + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def smoke(config: Config) -> Config:
    """Sixty images, and no pretrained network."""
    small = replace(config, n=60, halves_n=40, num_bins=min(config.num_bins, 6), squeezenet=False, repeats=2)
    return replace(small, data="shapes", task="failure") if config.task == "halves" else small


# --- What is recorded --------------------------------------------------------------------------------------------------

AMOUNTS = {  # one setting of each failure, in the order of the chapter's table; none of them was tuned
    "dropped": 8,
    "uneven": 0.1,
    "shrunk": 0.2,
    "duplicates": 10,
    "copies": 0,
    "noise": 0.1,
    "blur": 0.5,
    "outliers": 0.1,
}
DROPPED = (1, 2, 4, 8, 12, 16, 19)
SIZES = (50, 100, 200, 400, 800)
EQ_9_WEIGHTS: tuple[Literal["root"], Literal["printed"]] = ("root", "printed")
NUM_BINS = (5, 10, 20, 50, 100)
SEEDS = tuple(range(10))

PRESETS: dict[str, Config] = {
    "none": Config(),
    **{name: Config(failure=name, amount=amount) for name, amount in AMOUNTS.items()},
    "bins": Config(task="bins", failure="thinned", amount=4, n=1000, squeezenet=False),
    "mnist": Config(task="halves", data="mnist", n=10_000, num_bins=100),
    "cifar10": Config(task="halves", data="cifar10", n=25_000, num_bins=100, max_dims=512),
    "definitions": Config(task="definitions", squeezenet=False),
}

CELLS = [
    Cell("none", PRESETS["none"], SEEDS, stack=10, priority=9),
    *(Cell(name, PRESETS[name], SEEDS, stack=10, priority=8) for name in AMOUNTS if name != "dropped"),
    *(
        Cell(
            f"dropped-{k}", Config(failure="dropped", amount=k), SEEDS, stack=10, priority=9 if k == 8 else 5
        )
        for k in DROPPED
    ),
    *(
        Cell(f"size-{n}", Config(n=n, num_bins=5, squeezenet=False), SEEDS, stack=10, priority=6)
        for n in SIZES
    ),
    *(
        Cell(
            f"bins-{case}-k{k}",
            replace(PRESETS["bins"], failure=case, num_bins=k),
            SEEDS,
            stack=10,
            priority=7,
        )
        for case in ("thinned", "none")
        for k in NUM_BINS
    ),
    *(
        Cell(
            f"eq9-{weights}-{'unit' if unit else 'raw'}",
            replace(PRESETS["definitions"], weights=weights, unit_length=unit),
            SEEDS,
            stack=10,
            priority=9,
        )
        for weights in EQ_9_WEIGHTS
        for unit in (True, False)
    ),
    Cell("halves-mnist", PRESETS["mnist"], SEEDS, stack=5, priority=4),
    Cell("halves-cifar10", PRESETS["cifar10"], SEEDS, stack=2, priority=3),
]
