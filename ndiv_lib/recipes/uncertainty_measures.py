"""Five measures of how sure an answer of the toy with two branches is (cGML, App. 2.5).

Eq. 24 as printed, the encoder perturbed, an ensemble of five, and two of ours: last layers that agree on the data, and a Gaussian
process on features and latent. Each is made from trained models and walks to held-out answers, and gives outputs a variance.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib.cgml import fit_head_spread, output_variance
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import two_branches
from ndiv_lib.recipes.two_branches import Models, draw_starts
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

LAST_TRAINED = 0.5  # Fig. 22
MEMBER = 10_000  # between the seeds of an ensemble's members
CHECKPOINTS = 10  # at the end of a training, where the latents found are looked at
APART = 20  # updates between them


@dataclass(frozen=True)
class Config:
    """A measure with its settings, and the training that it measures."""

    measure: Literal["printed", "encoder", "ensemble", "heads", "process"] = "printed"
    noise_std: float = 0.1  # printed: of the latent; encoder: relative, of what is perturbed. Not printed
    noise: Literal["gaussian", "ball", "epochs"] = (
        "gaussian"  # printed: "ball" in the derivation; "epochs" takes the std that z* has between epochs instead
    )
    alpha: Literal["dropped", "kept"] = "dropped"  # of Eq. 24; kept: as measured on held-out answers
    perturbed: Literal["features", "weights"] = "features"  # of the encoder
    num_draws: int = 100  # forward passes
    num_members: int = 5  # of the ensemble
    num_starts: int = 8  # of each member, of which the answer nearest to the first member's counts
    center: Literal["first", "mean"] = "mean"  # what the ensemble answers
    ridge: float = 1e-4  # heads
    length: float = 1.0  # process: length scale, in standard deviations of its inputs
    penalty_weight: float = 0.1  # the Lipschitz term that the paper's intuition rests on
    last_input: float = LAST_TRAINED  # of the training
    answer_std: float = 0.0  # of a noise on the answers; the paper has none
    num_updates: int = 1200
    num_held_out: int = 1000  # answers that scale the intervals; they come from where the training's do

    def training(self) -> two_branches.Config:
        """The toy's training; with the default step size, some generators ignored the latent on the short range."""
        return two_branches.Config(
            step_size=0.2,
            step_decay=0.9,
            last_input=self.last_input,
            penalty_weight=self.penalty_weight,
            answer_std=self.answer_std,
            num_updates=self.num_updates,
        )


@dataclass(frozen=True)
class Found:
    """What walks found: inputs, features, latents, outputs, each ``(k, n, ...)``."""

    inputs: Tensor
    features: Tensor
    latents: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Bench:
    """What a measure may use: the models, held-out walks with their errors ``(k, n, 3)``, and a source of draws."""

    config: Config
    seeds: tuple[int, ...]
    models: Models
    held_out: Found
    errors: Tensor
    epoch_std: Tensor  # (k,)
    draws: StackedDraws

    @property
    def random(self) -> torch.Generator:
        """One generator for noise that all seeds may share."""
        return self.draws.generators[0]


Measure = Callable[[Found], tuple[Tensor, Tensor]]  # to outputs and their variance, both (k, n, 3)


# --- Training and walking ---------------------------------------------------------------------------------------------


@cache
@torch.enable_grad()  # measures are taken without gradients
def trained(config: two_branches.Config, seeds: tuple[int, ...]) -> tuple[Models, Tensor]:
    """Models, and how much z* of an input varies between the last epochs (App. 2.5): its standard deviation ``(k,)``.

    That is measured on 100 inputs, each with one answer, whose latents are kept from checkpoint to checkpoint.
    """
    draws = StackedDraws(seeds, stream=3)
    inputs = two_branches.draw_inputs(config, draws, 100)
    targets = two_branches.draw_targets(config, draws, inputs)
    latents, found = draw_starts(config, draws, 100), []

    def watch(update: int, models: Models) -> None:
        nonlocal latents
        left = config.num_updates - update
        if left % APART == 0 and left // APART < CHECKPOINTS:
            features = models.encoder(inputs).detach()
            latents = two_branches.search(config, models.generator, features, targets, latents)[-1]
            found.append(latents)

    models = two_branches.train(config, seeds, watch=watch)
    return models, torch.stack(found).var(0, correction=0).mean((1, 2)).sqrt()


def find(config: Config, models: Models, inputs: Tensor, draws: StackedDraws) -> Found:
    """Walk from random starts: momentum, then plain steps."""
    training = config.training()
    starts = draw_starts(training, draws, inputs.shape[1])
    outputs, trajectory = two_branches.walk(training, models, inputs, starts, rule="hybrid")
    return Found(inputs, models.encoder(inputs), trajectory[-1], outputs)


def answers_of_the_mode(config: Config, found: Found, outputs: Tensor, draws: StackedDraws) -> Tensor:
    """The answer ``(k, n, 3)`` of the mode found: the nearer of the two, with its own noise if the answers have some."""
    modes = branch_modes(found.inputs)
    nearest = (outputs[..., None, :] - modes).abs().mean(-1).argmin(-1)
    answers = modes.gather(2, nearest[..., None, None].expand(*nearest.shape, 1, 3))[..., 0, :]
    if config.answer_std:
        answers = answers + config.answer_std * draws.randn(*answers.shape[1:])
    return answers


def prepare(config: Config, seeds: Sequence[int]) -> Bench:
    """Train, or take what is trained, and walk to the held-out answers."""
    training = config.training()
    models, epoch_std = trained(training, tuple(seeds))
    draws = StackedDraws(seeds, stream=4)
    inputs = two_branches.draw_inputs(training, draws, config.num_held_out)
    held_out = find(config, models, inputs, draws)
    errors = answers_of_the_mode(config, held_out, held_out.outputs, draws) - held_out.outputs
    return Bench(config, tuple(seeds), models, held_out, errors, epoch_std, draws)


# --- Measures ---------------------------------------------------------------------------------------------------------


def printed(bench: Bench) -> Measure:
    """Eq. 24: the latent found is disturbed, the network stays."""
    config = bench.config
    alpha = bench.errors.square().mean(1, keepdim=True) if config.alpha == "kept" else torch.zeros(1)
    scale = (
        bench.epoch_std[:, None, None]
        if config.noise == "epochs"
        else torch.full((1, 1, 1), config.noise_std)
    )

    def measure(found: Found) -> tuple[Tensor, Tensor]:
        variance = output_variance(
            lambda features, units: bench.models.generator(features, found.latents + scale * units),
            found.features,
            torch.zeros_like(found.latents),
            noise_std=1.0,  # in units of each seed's own scale
            num_draws=config.num_draws,
            noise="ball" if config.noise == "ball" else "gaussian",
            data_variance=alpha,
            latent="interval",
            random=bench.random,
        )
        return found.outputs, variance

    return measure


def encoder(bench: Bench) -> Measure:
    """The encoder is perturbed, its features or its weights; the latent found and the generator stay."""
    config, models = bench.config, bench.models
    spread = bench.held_out.features.std(1, keepdim=True)

    def features(found: Found) -> Tensor:
        if config.perturbed == "features":
            noise = torch.randn(found.features.shape, generator=bench.random)
            return found.features + config.noise_std * spread * noise
        other = copy.deepcopy(models.encoder)
        for parameter in other.parameters():
            parameter.mul_(1 + config.noise_std * torch.randn(parameter.shape, generator=bench.random))
        return other(found.inputs)  # type: ignore[no-any-return]

    def measure(found: Found) -> tuple[Tensor, Tensor]:
        outputs = [models.generator(features(found), found.latents) for _ in range(config.num_draws)]
        return found.outputs, torch.stack(outputs).var(0, correction=0)

    return measure


def ensemble(bench: Bench) -> Measure:
    """Models from other seeds; each walks from several starts, and its answer nearest to the first model's counts."""
    config = bench.config
    num_others, num_seeds = config.num_members - 1, len(bench.seeds)
    seeds = tuple(seed + MEMBER * number for number in range(1, num_others + 1) for seed in bench.seeds)
    others, _ = trained(
        config.training(), seeds
    )  # one stack: the first other member of every seed, then the second
    draws = StackedDraws(seeds, stream=4)

    def measure(found: Found) -> tuple[Tensor, Tensor]:
        inputs = found.inputs.repeat(num_others, 1, 1)
        tries = torch.stack([find(config, others, inputs, draws).outputs for _ in range(config.num_starts)])
        tries = tries.unflatten(1, (num_others, num_seeds))  # (starts, others, seeds, n, 3)
        nearest = (tries - found.outputs).abs().mean(-1, keepdim=True).argmin(0, keepdim=True)
        answers = tries.gather(0, nearest.expand_as(tries[:1]))[0]
        if config.center == "first":
            return found.outputs, (answers - found.outputs).square().mean(0)
        members = torch.cat([found.outputs[None], answers])
        return members.mean(0), members.var(0)

    return measure


def heads(bench: Bench) -> Measure:
    """Last layers of the generator that agree with it on the held-out inputs, up to its own error there."""

    def inputs_of_last_layer(found: Found) -> Tensor:
        joined = torch.cat([found.features, found.latents], dim=-1)
        return hidden(bench.models.generator.network, joined)

    spread = fit_head_spread(inputs_of_last_layer(bench.held_out), bench.errors, ridge=bench.config.ridge)
    return lambda found: (found.outputs, spread.variance(inputs_of_last_layer(found)))


def process(bench: Bench) -> Measure:
    """A Gaussian process of the errors: it starts anew away from the features and latents that it was shown.

    The first third of the held-out walks are its data, the rest give its scale.
    """
    joined = torch.cat([bench.held_out.features, bench.held_out.latents], dim=-1).double()
    size = joined.std(1, keepdim=True).square().mean(-1, keepdim=True).sqrt() * bench.config.length
    num_data = joined.shape[1] // 3

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.exp(-0.5 * torch.cdist(a / size, b / size).square())

    data, rest = joined[:, :num_data], joined[:, num_data:]
    inverse = torch.linalg.inv(kernel(data, data) + 1e-3 * torch.eye(num_data, dtype=torch.float64))

    def unscaled(points: Tensor) -> Tensor:
        across = kernel(points, data)
        return 1 + 1e-3 - (across @ inverse * across).sum(-1, keepdim=True)

    scale = bench.errors.square().mean(1, keepdim=True) / unscaled(rest).mean(1, keepdim=True)

    def measure(found: Found) -> tuple[Tensor, Tensor]:
        points = torch.cat([found.features, found.latents], dim=-1).double()
        return found.outputs, (scale * unscaled(points)).float()

    return measure


MEASURES: dict[str, Callable[[Bench], Measure]] = {
    "printed": printed,
    "encoder": encoder,
    "ensemble": ensemble,
    "heads": heads,
    "process": process,
}


def hidden(network: StackedMLP, inputs: Tensor) -> Tensor:
    """What the last layer of a stacked network gets: ``(k, n, sizes[-2])``."""
    for weight, bias in list(zip(network.weights, network.biases, strict=True))[:-1]:
        inputs = F.leaky_relu(torch.baddbmm(bias, inputs, weight), network.negative_slope)
    return inputs
