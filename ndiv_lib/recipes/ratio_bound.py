"""Which targets are useful for an expansion ratio (HMGAN, Eq. 6-8): the bound b, what moves it, and whether training meets it.

Three tasks: the printed formulas on random features; pre-training with Eq. 6 and the bound of every layer, from few inputs up
to the whole data set; and training again with one layer's target at the bound, below it and above it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ndiv_lib.adversarial import generator_loss
from ndiv_lib.expansion_bound import expansion_ratio_bound
from ndiv_lib.hmgan import expansion_ratios, hierarchical_loss
from ndiv_lib.recipes import digit_gans
from ndiv_lib.recipes.ratio_facts import loop_ratios, relative
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws

Target = Literal["zero", "half", "minimum", "low_quantile", "realized", "above"]
LAYERS = (1, 2, 3)  # ratios of the digit generator: latents, two hidden layers, images
PAIRS = 500  # under shared conditions, to measure the ratio that training steers
LOW = 0.01  # the low quantile


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["formula", "pretrain", "steer"] = "formula"
    num_inputs: tuple[int, ...] = (10, 30, 100, 300, 1000, 1797)  # m; the last is all digits
    widths: tuple[int, int] = (
        24,
        40,
    )  # formula: entries before and after the layer; never alike in a network
    shuffle: bool = False  # formula: the layer's outputs belong to other inputs
    weight: float = 1.0  # beta; printed for all experiments
    others: float = 0.0  # lambda of the layers that are not steered: Eq. 6 has all at 0
    layer: int = 2  # steer: which ratio has a target
    target: Target = "zero"  # steer: in terms of the pre-trained model's ratios, seed by seed
    normalize: bool = False  # batch normalization in the hidden layers; without it a layer can be rescaled
    num_steps: int = 600


PRESETS: dict[str, Config] = {
    "paper": Config(task="pretrain"),
    "without_regularizer": Config(task="pretrain", weight=0.0),
    "formula": Config(),
    "steer": Config(task="steer", target="minimum"),
}

# --- Formulas ---------------------------------------------------------------------------------------------------------


def tensor_form(before: Tensor, after: Tensor) -> Tensor:
    """Eq. 8, read with a sum over the entries: ``(m, f)`` and ``(m, g)`` to all ratios ``(m, m)``, the diagonal 0 / 0."""
    ones = before.new_ones(len(before))

    def distances(layer: Tensor) -> Tensor:
        rows, columns = torch.einsum("u,vp->uvp", ones, layer), torch.einsum("v,up->uvp", ones, layer)
        return (rows - columns).abs().sum(-1)

    return distances(before) / distances(after)


def neighbors(before: Tensor, after: Tensor) -> Tensor:
    """Ratios of consecutive inputs only: m - 1 of them."""
    return before.diff(dim=0).abs().sum(-1) / after.diff(dim=0).abs().sum(-1)


class CountEntries(TorchDispatchMode):
    """How many numbers all operations inside the block write."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.count += result.numel() if isinstance(result, Tensor) else 0
        return result


def exponent(form: Callable[[Tensor, Tensor], object], before: Tensor, after: Tensor) -> float:
    """How the work grows: log2 of the numbers written for all inputs over those for half of them."""
    counts = []
    for m in (len(before) // 2, len(before)):
        with CountEntries() as counter:
            form(before[:m], after[:m])
        counts.append(counter.count)
    return math.log2(counts[1] / counts[0])


def formula(config: Config, seed: int) -> dict[str, float]:
    """Eq. 6-8 on random features in float64, against loops."""
    random = torch.Generator().manual_seed(seed)
    m, (f, g) = 32, config.widths
    before = torch.randn(m, f, generator=random, dtype=torch.float64)
    after = (before @ torch.randn(f, g, generator=random, dtype=torch.float64)).relu()
    if config.shuffle:
        compared = after[torch.randperm(m, generator=random)]
    else:
        compared = after
    u, v = torch.triu_indices(m, m, 1)
    # the loops' distances are means over entries, the printed ones sums
    loops = f / g * loop_ratios([before[u], compared[u]], [before[v], compared[v]], p=1)[0]
    matrix = tensor_form(before, after)
    half = m // 2
    path_a, path_b = ([layer[part] for layer in (before, after)] for part in (slice(half), slice(half, m)))
    logits = torch.randn(m, generator=random, dtype=torch.float64)
    original = generator_loss(fake_logits=logits)
    total = original + config.weight * hierarchical_loss(path_a, path_b, expected_ratio=config.others)
    distances = [(a - b).abs().mean() for a, b in zip(path_a, path_b, strict=True)]
    return {
        "objective_error": relative(total, original + 1.0 * distances[0] / distances[1]),
        "matrix_error": relative(
            expansion_ratios([before[u], after[u]], [before[v], after[v]], norm="sum")[0], loops
        ),
        "undefined_kept": float(matrix.isnan().sum()),
        "undefined_left_out": float(matrix[u, v].isnan().sum()),
        "printed_minimum_is_nan": float(matrix.min().isnan()),
        "fits_printed": float(f == g),
        "fits_previous": 1.0,
        "eq8_error": relative(matrix[u, v], loops),
        "entrywise_shape": float(f * g),  # ratios per pair if Eq. 8's absolute value is taken entry by entry
        "library_error": abs(
            expansion_ratio_bound(before, after, norm="sum").minimum / float(loops.min()) - 1
        ),
        "exponent_all": exponent(tensor_form, before, after),
        "exponent_tiled": exponent(lambda x, y: expansion_ratio_bound(x, y, tile=4), before, after),
        "exponent_neighbors": exponent(neighbors, before, after),
    }


# --- Pre-training and its bounds --------------------------------------------------------------------------------------


def training(config: Config) -> digit_gans.Training:
    """The part of the configuration that pre-training and steering share."""
    return digit_gans.Training(normalize=config.normalize, num_steps=config.num_steps)


def batch_ratios(a: list[Tensor], b: list[Tensor]) -> Tensor:
    """Eq. 2 on mean distances of every model's batch, as ``aggregate="batch"``: paths ``(k, n, ...)`` to ``(3, k)``.

    A model's batch, laid out as one row, is one pair.
    """
    return expansion_ratios([layer.flatten(1) for layer in a], [layer.flatten(1) for layer in b])


@cache
def pretrained(config: digit_gans.Training, weight: float, seeds: tuple[int, ...]) -> digit_gans.Generator:
    """Eq. 6: the GAN's loss plus beta times the hierarchical loss with all targets zero."""

    def extra(a: list[Tensor], b: list[Tensor]) -> Tensor:
        return weight * batch_ratios(a, b).sum()

    return digit_gans.train(config, seeds, extra=extra if weight else None)


@torch.no_grad()
def features(
    generator: digit_gans.Generator, config: digit_gans.Training, seeds: Sequence[int]
) -> tuple[list[Tensor], Tensor]:
    """Every layer for all inputs of the data set ``(k, 1797, ...)``: a digit's class with a latent, in random order."""
    draws = StackedDraws(seeds, stream=3)
    _, classes = digit_gans.load_real()
    order = torch.stack([torch.randperm(len(classes), generator=g) for g in draws.generators])
    labels = classes[order]
    return generator.layers(draws.randn(len(classes), config.latent_dim), labels), labels


def realized(generator: digit_gans.Generator, config: digit_gans.Training, seeds: Sequence[int]) -> Tensor:
    """The ratio that the loss steers, of mean distances of pairs under shared conditions: ``(3, k)``."""
    return batch_ratios(*digit_gans.pairs(generator, config, seeds, PAIRS))


def floor(weight: Tensor) -> float:
    """No pair has a lower ratio of means: what follows a layer's matrix ``(f, g)`` is 1-Lipschitz, and no data enter.

    Sums of absolute differences grow at most by the largest sum over a row, ||W|| from L1 to L1.
    """
    f, g = weight.shape
    return g / f / float(weight.abs().sum(1).max())


def pretrain(config: Config, seeds: Sequence[int]) -> Measured:
    """The bound of every layer for growing numbers of inputs, beside quantiles, means and the data-free floor."""
    settings = training(config)
    generator = pretrained(settings, config.weight, tuple(seeds))
    path, labels = features(generator, settings, seeds)
    steered = realized(generator, settings, seeds)
    values: dict[str, list[float]] = {}
    for layer in LAYERS:
        values[f"realized{layer}"] = steered[layer - 1].tolist()
        for m in config.num_inputs:
            found = [
                expansion_ratio_bound(path[layer - 1][k, :m], path[layer][k, :m], quantiles=[LOW, 0.5])
                for k in range(len(seeds))
            ]
            values[f"minimum{layer}_m{m}"] = [bound.minimum for bound in found]
            values[f"low{layer}_m{m}"] = [bound.quantiles[LOW] for bound in found]
            values[f"median{layer}_m{m}"] = [bound.quantiles[0.5] for bound in found]
            values[f"mean{layer}_m{m}"] = [bound.ratio_of_means for bound in found]
        values[f"other_seed_over_minimum{layer}"] = [
            found[(k + 1) % len(found)].minimum / bound.minimum for k, bound in enumerate(found)
        ]
        values[f"infinite{layer}"] = [float(bound.num_infinite) for bound in found]
        values[f"shared_minimum{layer}"] = [
            min(
                expansion_ratio_bound(path[layer - 1][k, same], path[layer][k, same]).minimum
                for same in (labels[k] == c for c in range(digit_gans.NUM_CLASSES))
            )
            for k in range(len(seeds))
        ]
        if layer > 1 and not config.normalize:  # the first layer's input is latent and condition together
            weights = generator.network.weights[layer - 1].detach()
            values[f"floor{layer}"] = [floor(weight) for weight in weights]
    return Measured(values, n_real=1797, n_generated=config.num_inputs[-1])


# --- Steering one layer -----------------------------------------------------------------------------------------------


def steer(config: Config, seeds: Sequence[int]) -> Measured:
    """Train from the same start with one target; where the layer's ratio ends, and whether anything changed at all."""
    settings, layer = training(config), config.layer
    first = pretrained(settings, config.weight, tuple(seeds))
    path, _ = features(first, settings, seeds)
    m = config.num_inputs[-1]
    bounds = [
        expansion_ratio_bound(path[layer - 1][k, :m], path[layer][k, :m], quantiles=[LOW])
        for k in range(len(seeds))
    ]
    reached = realized(first, settings, seeds)[layer - 1].tolist()
    targets = {
        "zero": [0.0 for _ in bounds],
        "half": [bound.minimum / 2 for bound in bounds],
        "minimum": [bound.minimum for bound in bounds],
        "low_quantile": [bound.quantiles[LOW] for bound in bounds],
        "realized": reached,
        "above": [1.25 * ratio for ratio in reached],
    }[config.target]

    expected = torch.full((len(LAYERS), len(seeds)), config.others)
    expected[layer - 1] = torch.tensor(targets)

    def extra(a: list[Tensor], b: list[Tensor]) -> Tensor:  # Eq. 3 with targets of each model's own
        return config.weight * (batch_ratios(a, b) - expected).abs().sum()

    generator = digit_gans.train(settings, seeds, extra=extra)
    ends = realized(generator, settings, seeds)
    a, b = digit_gans.pairs(generator, settings, seeds, PAIRS)
    moved = [
        (one - other).detach().abs().flatten(1).max(1).values
        for one, other in zip(generator.network.weights, first.network.weights, strict=True)
    ]
    values = {
        "target": targets,
        "realized": ends[layer - 1].tolist(),
        "realized_at_zero": reached,
        "realized_over_target": (ends[layer - 1] / torch.tensor(targets)).tolist(),
        "output": (a[-1] - b[-1]).abs().mean((1, 2)).tolist(),
        "weights_moved": torch.stack(moved)
        .max(0)
        .values.tolist(),  # from the pre-trained ones; 0: the same run
    }
    if config.target == "zero":
        del values["realized_over_target"]
    return Measured(values, n_real=1797, n_generated=2 * PAIRS)


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    if config.task == "formula":
        rows = [formula(config, seed) for seed in seeds]
        return Measured(
            {metric: [row[metric] for row in rows] for metric in rows[0]}, n_real=0, n_generated=32
        )
    return (pretrain if config.task == "pretrain" else steer)(config, seeds)


def smoke(config: Config) -> Config:
    """Three steps, up to thirty inputs."""
    return replace(config, num_steps=3, num_inputs=(10, 30))


SEEDS = tuple(range(10))
NETWORKS = {"plain": False, "normalized": True}
STEERED = (2, 3)
TARGETS: tuple[Target, ...] = ("half", "minimum", "low_quantile", "realized", "above")

VARIANTS: dict[str, Config] = {
    "formula-paper": Config(),
    "formula-shuffled": Config(shuffle=True),
    "formula-half_weight": Config(weight=0.5),
    "formula-other_target": Config(others=1.0),
    **{
        f"{name}-beta{weight:g}": Config(task="pretrain", normalize=normalize, weight=weight)
        for name, normalize in NETWORKS.items()
        for weight in (0.0, 1.0)
    },
    **{
        f"steer-{name}-layer{layer}-{target}": Config(
            task="steer", normalize=normalize, layer=layer, target=target
        )
        for name, normalize in NETWORKS.items()
        for layer in STEERED
        for target in TARGETS
    },
}

CELLS = [Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()]
