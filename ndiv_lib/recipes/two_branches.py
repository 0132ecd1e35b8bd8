"""One input, two answers: the search of cGML on y = +-4 (x, x^2, x^3), all seeds as one stacked program (Sec. 4, Fig. 3).

Three networks of three linear layers each, as printed; width, step size, learning rate and length of the run are not, and are
those with which first runs found both branches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from ndiv_lib.cgml import (
    generator_loss,
    infer,
    latent_step,
    momentum,
    predictor_loss,
    project,
)
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

MISSED = 0.25  # an output further from both modes than this share of half their distance is a miss
CENTER = 0.4  # and one nearer to zero than this share of it is the phantom of Fig. 3c


@dataclass(frozen=True)
class Config:
    """Everything that decides a training, except the seeds. What the paper does not print has its reason here."""

    latent: Literal["sphere", "interval"] = "interval"  # the line shows the phantom best
    latent_dim: int = 1  # not printed for the toy
    gaussian_starts: bool = False  # of an unbounded latent; what most generators begin with
    steps: int = 20  # App. 3.1, of images
    generator_every_step: bool = False  # Algorithm 1 has this update in the inner loop, App. 3.1 once in 20
    step_size: float = 0.05  # reaches from one code to the other within the steps
    step_decay: float = 1.0  # not mentioned
    keep_latents: bool = False  # of the inputs, from visit to visit; not printed, App. 2.5 suggests it
    momentum_scale: float = 1.0  # "empirically chosen": the walk is as fast as the training's
    predictor_norm: Literal["l1", "l2"] = "l1"  # Algorithm 1; the text's expectation is "l2"
    penalty_weight: float = 0.1  # App. 2.4, not printed
    noise_std: float = 0.05  # App. 2.4, not printed
    second_probability: float = 0.5  # of the negative branch
    answer_std: float = 0.0  # of a normal noise on every entry of an answer; the paper has none
    first_input: float = 0.0
    last_input: float = 1.0
    num_inputs: int = 0  # a fixed set of inputs, each with one answer; 0: new ones in every batch
    width: int = 32
    num_features: int = 8  # of the encoder
    learning_rate: float = 1e-3  # Adam; the images' 1e-5 is far too slow here
    batch_size: int = 32
    num_updates: int = 1200  # of the generator


class Joined(nn.Module):
    """A stacked network of features and latents side by side."""

    def __init__(self, sizes: Sequence[int], draws: StackedDraws) -> None:
        super().__init__()
        self.network = StackedMLP(sizes, draws.generators, negative_slope=0.2)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """Map features ``(k, n, f)`` and latents ``(k, n, dz)`` to ``(k, n, sizes[-1])``."""
        return self.network(torch.cat([features, latents], dim=-1))  # type: ignore[no-any-return]


class Models(nn.Module):
    """Encoder, generator and predictor of every seed."""

    def __init__(self, config: Config, seeds: Sequence[int]) -> None:
        super().__init__()
        draws, width = StackedDraws(seeds, stream=1), config.width
        joined = config.num_features + config.latent_dim
        self.encoder = StackedMLP(
            [1, width, width, config.num_features], draws.generators, negative_slope=0.2
        )
        self.generator = Joined([joined, width, width, 3], draws)
        self.predictor = Joined([joined, width, width, config.latent_dim + 1], draws)

    def answers(self, inputs: Tensor, latents: Tensor) -> Tensor:
        """Outputs ``(k, n, 3)`` for inputs ``(k, n, 1)`` and given latents ``(k, n, dz)``."""
        return self.generator(self.encoder(inputs), latents)  # type: ignore[no-any-return]


def l1_cost(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean absolute difference of every sample: ``(k, n)``. Over entries, and so a third of the sum in three dimensions."""
    return (outputs - targets).abs().mean(-1)


def draw_starts(config: Config, draws: StackedDraws, num_samples: int) -> Tensor:
    """Latents ``(k, num_samples, dz)`` where walks start."""
    if config.gaussian_starts:
        return draws.randn(num_samples, config.latent_dim)
    if config.latent == "interval":
        return 2 * draws.rand(num_samples, config.latent_dim) - 1
    return project(draws.randn(num_samples, config.latent_dim), "sphere")


def draw_inputs(config: Config, draws: StackedDraws, num_samples: int) -> Tensor:
    """Inputs ``(k, num_samples, 1)``, uniform on the configured range."""
    return config.first_input + (config.last_input - config.first_input) * draws.rand(num_samples, 1)


def draw_targets(config: Config, draws: StackedDraws, inputs: Tensor) -> Tensor:
    """One answer ``(k, n, 3)`` for each input, the negative branch with its probability."""
    second = draws.rand(inputs.shape[1], 1) < config.second_probability
    targets = torch.where(second, branch_modes(inputs)[..., 1, :], branch_modes(inputs)[..., 0, :])
    if config.answer_std:
        targets = targets + config.answer_std * draws.randn(*targets.shape[1:])
    return targets


def train(
    config: Config, seeds: Sequence[int], *, watch: Callable[[int, Models], None] | None = None
) -> Models:
    """Algorithm 1 for every seed; ``watch`` sees the models before the first and after every batch."""
    models, draws = Models(config, seeds), StackedDraws(seeds, stream=2)
    adam = partial(torch.optim.Adam, lr=config.learning_rate, fused=True)
    of_predictor = adam(models.predictor.parameters())
    of_generator = adam([*models.generator.parameters(), *models.encoder.parameters()])
    if config.num_inputs:
        pool = draw_inputs(config, draws, config.num_inputs)
        pool = torch.cat([pool, draw_targets(config, draws, pool)], dim=-1)
        kept = draw_starts(config, draws, config.num_inputs)
    stretches = [config]  # of one batch's search, each with an update of the generator at its end
    if config.generator_every_step:
        decayed = [config.step_size * config.step_decay**step for step in range(config.steps)]
        stretches = [replace(config, steps=1, step_size=step_size) for step_size in decayed]
    if watch:
        watch(0, models)
    for update in range(1, config.num_updates + 1):
        if config.num_inputs:
            picked = draws.randint(config.num_inputs, config.batch_size)[..., None]
            inputs, targets = pool.gather(1, picked.expand(-1, -1, 4)).split([1, 3], dim=-1)
        else:
            inputs = draw_inputs(config, draws, config.batch_size)
            targets = draw_targets(config, draws, inputs)
        if config.keep_latents:
            latents = kept.gather(1, picked.expand(-1, -1, config.latent_dim))
        else:
            latents = draw_starts(config, draws, config.batch_size)
        for part in stretches:
            latents = learn(part, models, (of_predictor, of_generator), draws, inputs, targets, latents)
        if config.keep_latents:
            kept.scatter_(1, picked.expand(-1, -1, config.latent_dim), latents)
        if watch:
            watch(update, models)
    return models.eval().requires_grad_(False)


def learn(
    config: Config,
    models: Models,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    draws: StackedDraws,
    inputs: Tensor,
    targets: Tensor,
    latents: Tensor,
) -> Tensor:
    """The three updates of Algorithm 1 on one batch; returns the latents found."""
    of_predictor, of_generator = optimizers
    features = models.encoder(inputs).detach()
    path = search(config, models.generator, features, targets, latents)  # 1. latents go down their own cost
    noise = draw_noise(config, draws, features, latents, times=config.steps)
    for step, (before, latents) in enumerate(pairwise(path)):  # 2. the predictor learns every step of theirs
        prediction, noisy = clean_and_noisy(models.predictor, features, before, noise[step])
        loss = predictor_loss(
            prediction,
            latents,
            momentum(before, latents, scale=config.momentum_scale),
            norm=config.predictor_norm,
            noisy=noisy,
            penalty_weight=config.penalty_weight,
        )
        descend(of_predictor, len(inputs) * loss)  # each seed its own mean
    features = models.encoder(inputs)  # 3. generator and encoder learn at the latents found
    noise = draw_noise(config, draws, features, latents, times=1)
    outputs, noisy = clean_and_noisy(models.generator, features, latents, noise[0])
    loss = generator_loss(
        l1_cost(outputs, targets), outputs=outputs, noisy=noisy, penalty_weight=config.penalty_weight
    )
    descend(of_generator, len(inputs) * loss)
    return latents


def search(
    config: Config, generator: nn.Module, features: Tensor, targets: Tensor, latents: Tensor
) -> list[Tensor]:
    """The latents of every step down their costs, the given ones first. The generator rests, so that it can go before Z."""
    path = [latents]
    for step in range(config.steps):
        path.append(
            latent_step(
                lambda z: l1_cost(generator(features, z), targets),
                path[-1],
                step_size=config.step_size * config.step_decay**step,
                project=partial(project, latent=config.latent),
            )
        )
    return path


def draw_noise(
    config: Config, draws: StackedDraws, features: Tensor, latents: Tensor, *, times: int
) -> Sequence[Tensor | None]:
    """Noise on features and latents (App. 2.4), ``(k, n, f + dz)`` for each time; None if the penalty does not count."""
    if not config.penalty_weight:
        return [None] * times
    width = features.shape[-1] + latents.shape[-1]
    return (config.noise_std * draws.randn(times, latents.shape[1], width)).unbind(1)


def clean_and_noisy(
    network: nn.Module, features: Tensor, latents: Tensor, noise: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """A network's outputs, and those for disturbed features and latents, in one pass."""
    if noise is None:
        return network(features, latents), None
    noisy_features, noisy_latents = noise.split([features.shape[-1], latents.shape[-1]], dim=-1)
    both = network(
        torch.cat([features, features + noisy_features], dim=1),
        torch.cat([latents, latents + noisy_latents], dim=1),
    )
    clean, noisy = both.chunk(2, dim=1)
    return clean, noisy


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of a scalar loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def walk(
    config: Config,
    models: Models,
    inputs: Tensor,
    starts: Tensor,
    *,
    rule: Literal["hybrid", "plain", "momentum"],
    steps: int = 20,
) -> tuple[Tensor, Tensor]:
    """Outputs ``(k, n, 3)`` where walks from ``starts`` end, and the trajectory ``(steps + 1, k, n, dz)``."""
    features = models.encoder(inputs)
    latents, trajectory = infer(
        models.predictor,
        features,
        starts,
        rule=rule,
        steps=steps,
        latent=config.latent,
        check_values=False,  # one seed's walks that are no number count as missed; the other seeds go on
    )
    return models.generator(features, latents), trajectory


def walk_rates(inputs: Tensor, outputs: Tensor) -> dict[str, list[float]]:
    """Where walks ended, one number per seed.

    Args:
        inputs: ``(k, n, 1)``, away from zero, where the modes meet.
        outputs: ``(k, n, 3)``.

    Returns:
        ``phantom_rate``: share of outputs whose mean absolute distance to the nearer mode is above a quarter of half the
        modes' distance; ``center_rate``: share nearer to zero than 40 % of it, the phantom that the paper draws;
        ``error``: mean absolute distance to the nearer mode; ``median_error``; ``second_share``: share of outputs nearer to
        the negative mode.
    """
    modes = branch_modes(inputs)
    distances = (outputs[..., None, :] - modes).abs().mean(-1)
    half, nearest = modes[..., 0, :].abs().mean(-1), distances.min(-1).values
    return {
        "phantom_rate": (~(nearest <= MISSED * half)).float().mean(1).tolist(),
        "center_rate": (outputs.abs().mean(-1) < CENTER * half).float().mean(1).tolist(),
        "error": nearest.mean(1).tolist(),
        "median_error": nearest.median(1).values.tolist(),
        "second_share": (distances.argmin(-1) == 1).float().mean(1).tolist(),
    }
