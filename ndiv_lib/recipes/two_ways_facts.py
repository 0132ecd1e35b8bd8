"""Facts about cGML's image networks and tasks: operations (Table 7), the walk (Sec. 3), how many answers MNIST has (Sec. 5.1).

Nothing is trained. Operations are counted on tensors without values, so that the paper's sizes cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ndiv_lib.cgml import LatentSearch, draw_latents, infer, project
from ndiv_lib.models import CodePredictor, SkipEncoder, SkipGenerator
from ndiv_lib.models.encoder_decoder import LATENT_DIMS
from ndiv_lib.recipes.half_digits import load_data
from ndiv_lib.recipes.recording import Cell, Measured

PRINTED = 0.638  # 1e9 operations of the paper's model "for a batch size of 10", Table 7
PRINTED_CONTEXT_ENCODER = 0.634


@dataclass(frozen=True)
class Config:
    """Which fact, and its sizes."""

    fact: Literal["operations", "walk", "neighbors"] = "operations"
    image_size: int = 128  # "we mainly use 128x128 size inputs"
    width: int = 64
    latent: Literal["sphere", "interval"] = "sphere"
    steps: int = 20
    data: Literal["mnist", "digits"] = "mnist"
    pairing: Literal["nearest", "random"] = "nearest"  # random training images as neighbors: a null
    num_queries: int = 400  # test images
    num_neighbors: int = 10


# --- Operations -------------------------------------------------------------------------------------------------------


def count_operations(program: Callable[[], object]) -> float:
    """Operations in 1e9 of matrix products and convolutions, a multiplication and an addition as two."""
    with FlopCounterMode(display=False) as counter:
        program()
    return counter.get_total_flops() / 1e9


def context_encoder(width: int = 64, bottleneck: int = 4000) -> nn.Sequential:
    """The network of Pathak et al. (2016) for a hole of 64 pixels in 128, as published: the rival of 0.634 in Table 7."""
    down = (3, width, width, 2 * width, 4 * width, 8 * width)
    up = (8 * width, 4 * width, 2 * width, width, 3)
    return nn.Sequential(
        *(nn.Conv2d(a, b, 4, 2, 1) for a, b in pairwise(down)),
        nn.Conv2d(8 * width, bottleneck, 4),
        nn.ConvTranspose2d(bottleneck, 8 * width, 4),
        *(nn.ConvTranspose2d(a, b, 4, 2, 1) for a, b in pairwise(up)),
    )


def build(config: Config, generator: torch.Generator | None = None) -> LatentSearch:
    """The three networks of Fig. 24 at the paper's latent width."""
    size, shared = config.image_size, {"width": config.width, "generator": generator}
    return LatentSearch(
        SkipEncoder(size, **shared),  # type: ignore[arg-type]
        SkipGenerator(size, **shared),  # type: ignore[arg-type]
        CodePredictor(size, **shared),  # type: ignore[arg-type]
        latent_dim=LATENT_DIMS[size],
        cost=lambda outputs, targets: (outputs - targets).abs().mean((1, 2, 3)),
        latent=config.latent,
        steps=config.steps,
        penalty_weight=0.0,
    )


def operations(config: Config) -> dict[str, float]:
    """Counts for one image and for ten, with a multiply-add as one operation and as two.

    ``ours_pass``: encoder and generator once; ``ours_inference``: with the walk; ``ours_update``: Algorithm 1 on the batch.
    """
    values: dict[str, float] = {}
    with torch.device("meta"):
        rival, models = context_encoder(), build(config)
        for count, name in ((1, "one"), (10, "ten")):
            images = torch.zeros(count, 3, config.image_size, config.image_size)
            latents = torch.zeros(count, LATENT_DIMS[config.image_size])
            programs: dict[str, Callable[[], object]] = {
                "context_encoder": partial(rival, torch.zeros(count, 3, 128, 128)),
                "ours_pass": partial(models, images, latents),
                "ours_inference": partial(models.infer, images, latents=latents[:, None], rule="momentum"),
                "ours_update": partial(update, models, images, latents),
            }
            for program, run_it in programs.items():
                counted = count_operations(run_it)
                values |= {f"{program}_{name}_two": counted, f"{program}_{name}_one": counted / 2}
    return values


def update(models: LatentSearch, images: Tensor, latents: Tensor) -> None:
    """The passes of Algorithm 1 on one batch, without its arithmetic: autograd.grad cannot be counted, backward can."""
    with torch.no_grad():
        features = models.encoder(images)
    for _ in range(models.steps):
        models.generator.requires_grad_(False)
        start = latents.clone().requires_grad_()
        models.generator(features, start).sum().backward()  # a step of the latents
        models.predictor(features, latents).sum().backward()  # and of the predictor
    models.generator.requires_grad_(True)
    models(images, latents).sum().backward()  # of generator and encoder


def saturated(config: Config, generator: torch.Generator, std: float | None) -> float:
    """Share of an untrained network's output pixels beyond 0.99, where tanh is flat."""
    shared = {"width": config.width, "weight_std": std, "generator": generator}
    encoder, answers = SkipEncoder(32, **shared), SkipGenerator(32, **shared)  # type: ignore[arg-type]
    with torch.no_grad():
        images = torch.rand(8, 3, 32, 32, generator=generator) * 2 - 1
        outputs = answers(encoder(images), draw_latents(8, 10, generator=generator))
    return float((outputs.abs() > 0.99).double().mean())


# --- The walk ---------------------------------------------------------------------------------------------------------


def walk_errors(config: Config, generator: torch.Generator) -> dict[str, float]:
    """The library's walk against a loop over images and steps, Eq. 4 written out; and against the walk one step earlier."""
    models = build(config, generator).eval()
    images = torch.rand(4, 3, config.image_size, config.image_size, generator=generator) * 2 - 1
    start = draw_latents(4, LATENT_DIMS[config.image_size], latent=config.latent, generator=generator)
    with torch.no_grad():
        features = models.encoder(images)
        found, path = infer(
            models.predictor, features, start, rule="momentum", steps=config.steps, latent=config.latent
        )
        looped = torch.stack(
            [
                _walk_one(config, models.predictor, [one[i : i + 1] for one in features], start[i : i + 1])
                for i in range(4)
            ]
        )
    return {
        "walk_error": float((found - looped).abs().max()),
        "walk_error_shorter": float((path[-2] - looped).abs().max()),
    }


def _walk_one(config: Config, predictor: nn.Module, features: Sequence[Tensor], latent: Tensor) -> Tensor:
    for _ in range(config.steps):
        predicted = predictor(features, latent)[0]
        way = predicted[:-1] - latent[0]
        moved = latent[0] + max(float(predicted[-1]), 0.0) * way / way.norm()
        latent = project(moved, config.latent)[None]
    return latent[0]


# --- Neighbors --------------------------------------------------------------------------------------------------------


def neighbors(config: Config, generator: torch.Generator) -> tuple[dict[str, float], np.ndarray]:
    """Training images whose bottom halves are nearest to a test image's: are their top halves and digits the same?

    ``other_digit``: share of neighbors that show another digit. ``two_digits``: queries with at least two such neighbors.
    ``top_ratio``, ``bottom_ratio``: mean absolute difference of the halves, over that of random pairs. The array counts
    neighbors by digit of the query (rows) and of the neighbor.
    """
    data = load_data(config.data)
    half = data.train.shape[-1] // 2
    index = torch.randperm(len(data.test), generator=generator)[: config.num_queries]
    queries, labels = data.test[index], data.test_labels[index]
    if config.pairing == "nearest":
        distances = torch.cdist(queries[..., half:, :].flatten(1), data.train[..., half:, :].flatten(1))
        near = distances.topk(config.num_neighbors, largest=False).indices
    else:
        near = torch.randint(len(data.train), (len(index), config.num_neighbors), generator=generator)
    random = torch.randint(len(data.train), near.shape, generator=generator)

    def difference(chosen: Tensor, rows: slice) -> float:
        return float((data.train[chosen][..., rows, :] - queries[:, None][..., rows, :]).abs().mean())

    top, bottom = slice(0, half), slice(half, 2 * half)
    other = data.train_labels[near] != labels[:, None]
    pairs = 10 * labels[:, None].expand_as(near) + data.train_labels[near]
    values = {
        "other_digit": float(other.double().mean()),
        "two_digits": float((other.sum(1) >= 2).double().mean()),
        "top_ratio": difference(near, top) / difference(random, top),
        "bottom_ratio": difference(near, bottom) / difference(random, bottom),
    }
    return values, pairs.flatten().bincount(minlength=100).reshape(10, 10).numpy()


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """One fact for every seed; the neighbors' digits are kept, summed over seeds."""
    rows, counts = [], np.zeros((10, 10), dtype=int)
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        if config.fact == "operations":
            start = {"printed": 0.5, "ours": None}
            flat = {f"flat_{name}": saturated(config, generator, std) for name, std in start.items()}
            rows.append(operations(config) | flat)
        elif config.fact == "walk":
            rows.append(walk_errors(config, generator))
        else:
            values, found = neighbors(config, generator)
            rows.append(values)
            counts += found
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=config.num_queries if config.fact == "neighbors" else 0,
        n_generated=0,
        arrays={"digits": counts} if config.fact == "neighbors" else {},
    )


def smoke(config: Config) -> Config:
    """Narrow networks, few queries."""
    return replace(config, width=2, steps=2, num_queries=5)


_WALK = Config(fact="walk", image_size=32, width=8, steps=4)  # before the walk has come to rest
_NEIGHBORS = Config(fact="neighbors")
PRESETS: dict[str, Config] = {
    "operations": Config(),
    "walk-sphere": _WALK,
    "walk-interval": replace(_WALK, latent="interval"),
    "neighbors-digits": replace(_NEIGHBORS, data="digits"),
    "neighbors-nearest": _NEIGHBORS,
    "neighbors-random": replace(_NEIGHBORS, pairing="random"),
}
CELLS = [Cell(name, config, tuple(range(10)), stack=10) for name, config in PRESETS.items()]
