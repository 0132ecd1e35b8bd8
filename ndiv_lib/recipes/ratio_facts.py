"""What expansion ratios are (HMGAN, Backgrounds, Eq. 1-3): identities, what a shared condition does, and what training changes.

Four tasks: the formulas against loops written from the print; distances under a shared condition, from the input through
untrained layers; the same in trained conditional GANs on 8x8 digits; and a generator that the regularizer leaves alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.hmgan import (
    HierarchicalDiversity,
    expansion_ratios,
    hierarchical_loss,
    mean_distance,
    mode_seeking_loss,
)
from ndiv_lib.models.convolutional import ConvGenerator
from ndiv_lib.recipes import digit_gans
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws

PRINTED_TARGETS = {1: 0.0, 2: 1.0, 3: 0.5}  # HMGAN1, HMGAN2, HMGAN3: captions of Fig. 1 and Table 5
PAIRS = 500  # under shared conditions, to measure a trained generator
SEEDS_SHOWN, CLASSES_SHOWN, LATENTS_SHOWN = 2, 4, 6  # of its images that are kept
STAGES = ("input", "first", "second", "output")  # of the untrained network


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["layers", "shared", "trained", "unchanged"] = "layers"
    num_pairs: int = 64  # a batch of DCGAN's size
    latent_dim: int = 8
    widths: tuple[int, ...] = (
        32,
        64,
        16,
        48,
    )  # layers: no two alike, so that nothing holds by coincidence
    p: Literal[1, 2] = 1  # L1 in all experiments
    first: Literal["latents", "first_layer"] = "latents"  # what layer 1 is in Eq. 1-4; the text says a layer
    normalize: bool = False  # batch normalization after every hidden layer
    shuffle: bool = False  # compare with loops over other pairs
    named: int = 1  # 1, 2 or 3: the printed configuration that the loop follows
    expected_ratio: float = 0.0  # lambda
    condition_dim: int = (
        40  # shared: entries of the condition, standard normal; trained: a one-hot class, repeated
    )
    weights: Literal["fixed", "fan_in"] = (
        "fan_in"  # shared: std 0.02 (DCGAN), or one over the root of the inputs
    )
    regularizer: Literal["none", "mode_seeking", "hierarchical"] = "none"  # trained
    weight: float = 1.0  # beta, printed for all experiments; at 0.1 small digits keep their class
    num_steps: int = 1500  # after 600, tried first, most digits were not legible
    attention: bool = False  # unchanged: with the "attention unit" that the experiments mention


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "first_layer": Config(first="first_layer"),
    "shuffled": Config(shuffle=True),
    "normalized": Config(normalize=True),
    "shared": Config(task="shared"),
    "trained": Config(task="trained"),
    "unchanged": Config(task="unchanged"),
    "attention": Config(task="unchanged", attention=True),
}

# --- Formulas ---------------------------------------------------------------------------------------------------------


def loop_distance(a: Tensor, b: Tensor, p: int, norm: str = "mean") -> float:
    """Distance of one pair, entry by entry."""
    entries = zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)
    total = sum(abs(x - y) ** p for x, y in entries)
    return float(((total / a.numel()) if norm == "mean" else total) ** (1 / p))


def loop_ratios(path_a: list[Tensor], path_b: list[Tensor], p: int) -> Tensor:
    """Eq. 2, pair by pair and layer by layer: ``(num_layers - 1, n)``."""
    distances = torch.tensor(
        [
            [loop_distance(a, b, p) for a, b in zip(layer_a, layer_b, strict=True)]
            for layer_a, layer_b in zip(path_a, path_b, strict=True)
        ],
        dtype=torch.float64,
    )
    return distances[:-1] / distances[1:]


class Network:
    """A random ReLU network in float64, its weights in the open."""

    def __init__(self, config: Config, random: torch.Generator) -> None:
        sizes = (config.latent_dim, *config.widths)
        self.normalize = config.normalize
        self.weights = [
            torch.randn(b, a, generator=random, dtype=torch.float64) * math.sqrt(2 / a)
            for a, b in pairwise(sizes)
        ]
        self.biases = [0.1 * torch.randn(b, generator=random, dtype=torch.float64) for b in sizes[1:]]

    def layers(self, latents: Tensor) -> list[Tensor]:
        """Latents, hidden layers after their rectifiers, outputs."""
        path = [latents]
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            signal = path[-1] @ weight.T + bias
            if self.normalize:
                signal = F.batch_norm(signal, None, None, training=True, eps=1e-12)
            path.append(signal.relu())
        return [*path, path[-1] @ self.weights[-1].T + self.biases[-1]]

    def rescaled(self, factors: Sequence[float]) -> Network:
        """The same function: hidden layer i puts out ``factors[i]`` times as much, and the next layer takes it back.

        Where there is a normalization, it takes the factor back at once.
        """
        other, before = copy.copy(self), 1.0
        other.weights, other.biases = [], []
        for weight, bias, factor in zip(self.weights, self.biases, [*factors, 1.0], strict=True):
            other.weights.append(weight * factor / before)
            other.biases.append(bias * factor)
            before = 1.0 if self.normalize else factor
        return other


def batch_ratios(path_a: list[Tensor], path_b: list[Tensor], p: int) -> Tensor:
    """Ratios of the batch's mean distances, ``(num_layers - 1,)``: what ``aggregate="batch"`` compares."""
    distances = torch.stack([mean_distance(a, b, p).mean() for a, b in zip(path_a, path_b, strict=True)])
    return distances[:-1] / distances[1:]


def factors_for(target: Tensor, ratios: Tensor) -> list[float]:
    """How to rescale hidden layers so that their ratios become ``target``; the last ratio takes up the rest."""
    return torch.cumprod(ratios[:-1] / target, 0).tolist()


def layer_facts(config: Config, seed: int) -> dict[str, float]:
    """All identities of one random network and batch, in float64."""
    random = torch.Generator().manual_seed(seed)
    n, p = config.num_pairs, config.p
    network = Network(config, random)
    latents = torch.randn(2 * n, config.latent_dim, generator=random, dtype=torch.float64)
    path = network.layers(latents)
    a, b = [layer[:n] for layer in path], [layer[n:] for layer in path]
    other = torch.randperm(n, generator=random) if config.shuffle else torch.arange(n)
    compared = [layer[other] for layer in b]

    ratios = expansion_ratios(a, b, p=p)
    loops = loop_ratios(a, compared, p)
    whole = loop_ratios([a[0], a[-1]], [compared[0], compared[-1]], p)[0]  # Eq. 1 pair by pair, without guard
    targets = torch.rand(len(ratios), generator=random, dtype=torch.float64).tolist()
    wanted = torch.tensor(targets, dtype=torch.float64)[:, None]
    loss = hierarchical_loss(a, b, expected_ratio=targets, p=p, aggregate="pair")
    named = hierarchical_loss(a, b, expected_ratio=config.expected_ratio, p=p, aggregate="pair")
    printed = (loops - PRINTED_TARGETS[config.named]).abs().sum(0).mean()

    kept = slice(0 if config.first == "latents" else 1, None)
    product, batch = ratios[kept].prod(0), batch_ratios(a, b, p)
    sums = expansion_ratios(a, b, p=p, norm="sum")
    sizes = torch.tensor([config.latent_dim, *config.widths], dtype=torch.float64)
    growth = (sizes[:-1] / sizes[1:])[:, None] ** (1 / p)
    num = len(ratios)
    am_gm = ratios.mean(0) - ratios.prod(0) ** (1 / num)

    goal = torch.empty(num - 1, dtype=torch.float64).uniform_(0.1, 10.0, generator=random)
    even = batch.prod() ** (1 / num) * torch.ones(num - 1, dtype=torch.float64)
    there, equal = (network.rescaled(factors_for(aim, batch)).layers(latents) for aim in (goal, even))
    moved, best = (batch_ratios([x[:n] for x in y], [x[n:] for x in y], p) for y in (there, equal))
    return {
        "ratio_error": relative(ratios, loops),
        "ld_error": relative(mode_seeking_loss(a[0], b[0], a[-1], b[-1], p=p), whole.mean()),
        "lh_error": relative(loss, (loops - wanted).abs().sum(0).mean()),
        "named_error": relative(named, printed),
        "product_error": float((product / whole - 1).abs().max()),
        "product_error_batch": relative(batch[kept].prod(), batch_ratios([a[0], a[-1]], [b[0], b[-1]], p)[0]),
        "product_error_of_means": relative(ratios[kept].mean(1).prod(), whole.mean()),
        "batch_against_pairs": float((batch / ratios.mean(1) - 1).abs().max()),
        "sum_over_mean_error": relative(sums, ratios * growth),
        "largest_sum_over_mean": float(growth.max()),
        "smallest_sum_over_mean": float(growth.min()),
        "am_gm_margin": float(am_gm.min()),
        "gauge_output_change": relative(there[-1], path[-1]),
        "gauge_target_error": relative(moved[:-1], goal),
        "gauge_ratio_change": float((moved / batch).log().abs().max().exp()),  # the largest factor
        "gauge_product_change": relative(moved.prod(), batch.prod()),
        "gauge_even_error": relative(best.sum(), num * batch.prod() ** (1 / num)),
    } | rates(random)


def rates(random: torch.Generator) -> dict[str, float]:
    """The proof's trajectories: how far the product is from its fastest factor, at t = 1 with five layers."""
    slow = float(torch.empty(1).uniform_(0.5, 1.5, generator=random))
    fastest, product = math.exp(-10 * slow), math.exp(-(10 + 3) * slow)
    return {"fastest_absolute_gap": fastest - product, "fastest_relative_gap": 1 - product / fastest}


def relative(value: Tensor, reference: Tensor) -> float:
    """Size of the difference as a part of the reference's size."""
    return float((value - reference).norm() / reference.norm())


# --- A shared condition -----------------------------------------------------------------------------------------------


def untrained_distances(
    config: Config, latents: Tensor, condition_dim: int, random: torch.Generator
) -> dict[str, list[float]]:
    """Mean distances of pairs under one condition at the input (joined with it) and after three untrained upsampling layers."""
    n, inputs = config.num_pairs, config.latent_dim + condition_dim
    condition = torch.randn(n, condition_dim, generator=random).expand(2, -1, -1)
    joined = torch.cat([latents, condition], -1).flatten(0, 1)
    signal, path = joined[..., None, None], [joined]
    for fan_in, fan_out, kernel, stride in ((inputs, 32, 4, 1), (32, 16, 4, 2), (16, 3, 4, 2)):
        # of a transposed convolution, an output entry sums fan_in * (kernel / stride)^2 products, at 1 x 1 fan_in
        terms = fan_in if stride == 1 else fan_in * (kernel // stride) ** 2
        std = 0.02 if config.weights == "fixed" else terms**-0.5
        weight = std * torch.randn(fan_in, fan_out, kernel, kernel, generator=random)
        signal = F.conv_transpose2d(signal, weight, stride=stride, padding=0 if stride == 1 else 1)
        if fan_out > 3:
            signal = F.batch_norm(signal, None, None, training=True) if config.normalize else signal
            signal = signal.relu()
        path.append(signal)
    power = config.p
    differences = [(layer[:n] - layer[n:]).flatten(1).abs().pow(power) for layer in path]
    return {
        "mean": [float(d.mean(1).pow(1 / power).mean()) for d in differences],
        "sum": [float(d.sum(1).pow(1 / power).mean()) for d in differences],
    }


def shared_facts(config: Config, seed: int) -> dict[str, float]:
    """How much smaller distances are than without a condition: 1 is as large. One entry for every stage."""
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, config.num_pairs, config.latent_dim, generator=random)
    with_condition, without = (
        untrained_distances(config, latents, dim, random) for dim in (config.condition_dim, 0)
    )
    return {
        f"{stage}_{norm}": with_condition[norm][i] / without[norm][i]
        for norm in ("mean", "sum")
        for i, stage in enumerate(STAGES)
    }


def trained(config: Config, seeds: Sequence[int]) -> Measured:
    """Conditional GANs on digits, before and after training, and the same GAN without a condition."""

    def loss(a: list[Tensor], b: list[Tensor]) -> Tensor:
        if config.regularizer == "mode_seeking":
            a, b = [a[0], a[-1]], [b[0], b[-1]]
        # a model's batch, laid out as one row, is one pair: its ratios are those of the batch's mean distances
        rows = ([layer.flatten(1) for layer in half] for half in (a, b))
        return config.weight * len(seeds) * hierarchical_loss(*rows, aggregate="pair")

    repeats = config.condition_dim // digit_gans.NUM_CLASSES
    settings = digit_gans.Training(latent_dim=config.latent_dim, repeats=repeats, num_steps=config.num_steps)
    alone = replace(settings, repeats=0)
    start = digit_gans.Generator(
        settings, [torch.Generator().manual_seed(1_000_003 + seed) for seed in seeds]
    )
    extra = None if config.regularizer == "none" else loss
    nets = {"before": start, "after": digit_gans.train(settings, seeds, extra=extra)}
    distances = {name: between(net, settings, seeds) for name, net in nets.items()}
    without = between(unconditional(alone, tuple(seeds)), alone, seeds)
    values: dict[str, list[float]] = {}
    for name, found in distances.items():
        for i in range(3):
            values[f"ratio{i + 1}_{name}"] = (found[i] / found[i + 1]).tolist()
        values[f"output_{name}"] = found[-1].tolist()
    real = [[digit_gans.real_distance(seed, same_class=same) for seed in seeds] for same in (True, False)]
    of_class, of_any = torch.tensor(real)
    of_class = of_class if repeats else of_any
    values["output_of_real"] = (distances["after"][-1] / of_class).tolist()
    values["output_of_real_alone"] = (without[-1] / of_any).tolist()
    # in units of what is there to be shown: one class with the condition, all digits without
    shown = distances["after"][-1] / of_class / (without[-1] / of_any)
    joined = config.latent_dim / (config.latent_dim + config.condition_dim)  # (z, c) against z, mean norm
    values |= {"output_mean": shown.tolist(), "output_sum": shown.tolist()}
    values |= {"input_mean": [joined] * len(seeds), "input_sum": [1.0] * len(seeds)}
    values["right_class"] = right_class(nets["after"], settings, seeds)
    grid = torch.arange(CLASSES_SHOWN).repeat_interleave(LATENTS_SHOWN).expand(len(seeds), -1)
    latents = StackedDraws(seeds, stream=3).randn(grid.shape[1], config.latent_dim)
    with torch.no_grad():
        samples = nets["after"].layers(latents, grid)[-1][:SEEDS_SHOWN]
    samples = samples.unflatten(1, (CLASSES_SHOWN, LATENTS_SHOWN))
    arrays = {"samples": samples.half().numpy()}
    return Measured(values, n_real=1797, n_generated=2 * PAIRS, arrays=arrays)


@cache
def unconditional(settings: digit_gans.Training, seeds: tuple[int, ...]) -> digit_gans.Generator:
    """The same GAN without a condition; several cells compare with it."""
    return digit_gans.train(settings, seeds)


@torch.no_grad()
def right_class(
    generator: digit_gans.Generator, settings: digit_gans.Training, seeds: Sequence[int]
) -> list[float]:
    """Share of fresh images whose nearest real digit has the class asked for; 0.1 is chance."""
    images, classes = digit_gans.load_real()
    draws = StackedDraws(seeds, stream=4)
    asked = draws.randint(digit_gans.NUM_CLASSES, PAIRS)
    made = generator.layers(draws.randn(PAIRS, settings.latent_dim), asked)[-1]
    return [
        float((classes[torch.cdist(x, images).argmin(1)] == y).float().mean())
        for x, y in zip(made, asked, strict=True)
    ]


def between(generator: digit_gans.Generator, settings: digit_gans.Training, seeds: Sequence[int]) -> Tensor:
    """Mean distances of fresh pairs under shared conditions, of every layer of the path and seed: ``(4, k)``."""
    a, b = digit_gans.pairs(generator, settings, seeds, PAIRS)
    return torch.stack([(x - y).abs().mean((1, 2)) for x, y in zip(a, b, strict=True)])


# --- No change --------------------------------------------------------------------------------------------------------


def unchanged(config: Config, seed: int) -> dict[str, float]:
    """What the regularizer adds to a convolutional generator: weights, other outputs, hooks that stay."""
    random = torch.Generator().manual_seed(seed)
    generator = ConvGenerator(config.latent_dim, image_size=8, width=4, num_classes=4, generator=random)
    network: nn.Module = generator
    if config.attention:
        network = nn.ModuleDict({"generator": generator, "attention": nn.MultiheadAttention(8, 2)})
    before = sum(weight.numel() for weight in generator.parameters())
    labels = torch.randint(4, (config.num_pairs,), generator=random)
    a, b = torch.randn(2, config.num_pairs, config.latent_dim, generator=random)
    diversity = HierarchicalDiversity(["first", "blocks.0"])
    _, outputs, _ = diversity(generator, a, b, labels)
    return {
        "added_weights": float(sum(weight.numel() for weight in network.parameters()) - before),
        "regularizer_weights": float(sum(weight.numel() for weight in diversity.parameters())),
        "output_change": float((outputs - generator(a, labels)).detach().abs().max()),
        "hooks_left": float(sum(len(module._forward_hooks) for module in generator.modules())),
    }


TASKS = {"layers": layer_facts, "shared": shared_facts, "unchanged": unchanged}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    if config.task == "trained":
        return trained(config, seeds)
    rows = [TASKS[config.task](config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values, n_real=0, n_generated=2 * config.num_pairs)


def smoke(config: Config) -> Config:
    """Eight pairs, three steps."""
    return replace(config, num_pairs=8, num_steps=3)


SEEDS = tuple(range(10))
CONDITION_DIMS = (0, 10, 40, 160)
SHARED = {
    "fixed": Config(task="shared", weights="fixed"),
    "fan_in": Config(task="shared"),
    "normalized": Config(task="shared", normalize=True),
    "trained": Config(task="trained"),
}

VARIANTS: dict[str, Config] = {
    "latents": Config(),
    "first_layer": Config(first="first_layer"),
    "shuffled-latents": Config(shuffle=True),
    "shuffled-first_layer": Config(first="first_layer", shuffle=True),
    "l2": Config(p=2),
    "normalized": Config(normalize=True),
    **{f"hmgan{i}": Config(named=i, expected_ratio=PRINTED_TARGETS[i]) for i in PRINTED_TARGETS},
    **{f"swapped{i}": Config(named=i, expected_ratio=PRINTED_TARGETS[i % 3 + 1]) for i in PRINTED_TARGETS},
    **{
        f"shared-{state}-c{dim}": replace(config, condition_dim=dim)
        for state, config in SHARED.items()
        for dim in CONDITION_DIMS
    },
    **{f"shared-fan_in-l2-c{dim}": Config(task="shared", p=2, condition_dim=dim) for dim in CONDITION_DIMS},
    **{
        f"trained-{name}-w{weight:g}-c160": Config(
            task="trained", regularizer=name, weight=weight, condition_dim=160
        )
        for name in ("mode_seeking", "hierarchical")
        for weight in (0.1, 1.0)
    },
    "trained-hierarchical-w1-c10": Config(task="trained", regularizer="hierarchical", condition_dim=10),
    "unchanged": PRESETS["unchanged"],
    "attention": PRESETS["attention"],
}

CELLS = [Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()]
