"""What other models answer where one input has two answers (cGML, Sec. 1 and 4; App. 2.3): regressors, a classifier of bins, a
mixture, a conditional VAE, and a conditional GAN with a reconstruction loss.

Two problems: y = +-4 (x, x^2, x^3), and two modes at -1 and 1 whatever the input, where :mod:`ndiv_lib.recipes.remark` knows
the exact optimum of the GAN with reconstruction. All seeds are one stacked program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import two_branches
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.two_branches import MISSED, descend
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

FIRST_JUDGED = 0.3  # inputs below are not judged: there the branches meet
NUM_JUDGED, NUM_ANSWERS = 50, 40  # inputs on a grid, and answers to each
NUM_SHOWN = 2  # answers to each of a hundred inputs that are kept
BIN_WIDTH = (
    0.25  # of an occupied cell; a quarter of half the modes' distance at the first judged input is 0.14
)
NUM_BINNED = 20_000  # inputs whose answers say which cells are occupied

Sampler = Callable[[Tensor, StackedDraws], Tensor]
Loss = Callable[[Tensor, Tensor, StackedDraws], Tensor]


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds. The paper prints three layers and nothing else."""

    model: Literal["l1", "l2", "bins", "mixture", "vae", "gan", "search"] = "l1"
    problem: Literal["branches", "two_modes"] = "branches"
    second_probability: float = 0.5  # of the negative branch
    start: float = 0.0  # regressors are first fitted to this share of the positive branch; 0: not at all
    width: int = 64
    learning_rate: float = 1e-3  # Adam
    batch_size: int = 64
    num_steps: int = 3000
    noise_std: float = 0.1  # of a Gaussian around the answer, of mixture and VAE
    num_components: int = 2  # of the mixture
    latent_dim: int = 2  # of VAE and GAN
    objective: Literal["minimax", "nonsaturating"] = "minimax"  # the game of Eq. 16, or the usual loss
    penalty: float = 0.1  # R1, so that the discriminator has a slope between the modes
    reconstruction: Literal["none", "l1", "l2"] = "none"  # sum over entries, as in Eq. 20 and 22
    weight: float = 0.0  # lambda of the Remark


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "l2": Config(model="l2"),
    "bins": Config(model="bins"),
    "mixture": Config(
        model="mixture", noise_std=1.0, num_components=8
    ),  # the best of eight trials, as the next two
    "vae": Config(model="vae", noise_std=1.0, latent_dim=1),
    "gan": Config(model="gan", objective="nonsaturating", penalty=0.03),
    "game": Config(model="gan", penalty=0.3),  # the best of four that play the game of Eq. 16, for the Remark
    "search": Config(model="search", num_steps=1200),
}


def modes_of(config: Config, inputs: Tensor) -> Tensor:
    """Both answers to inputs ``(k, n, 1)``: ``(k, n, 2, dim)``."""
    if config.problem == "branches":
        return branch_modes(inputs)
    return torch.tensor([[1.0], [-1.0]]).expand(*inputs.shape[:2], 2, 1)


def draw_pairs(config: Config, draws: StackedDraws, num_samples: int) -> tuple[Tensor, Tensor]:
    """Inputs ``(k, n, 1)`` in [0, 1], and one answer to each."""
    inputs = draws.rand(num_samples, 1)
    second = draws.rand(num_samples, 1) < config.second_probability
    modes = modes_of(config, inputs)
    return inputs, torch.where(second, modes[..., 1, :], modes[..., 0, :])


def output_dim(config: Config) -> int:
    """Entries of an answer."""
    return 3 if config.problem == "branches" else 1


# --- Models: each trains itself and returns how to draw answers -------------------------------------------------------


def network(config: Config, seeds: Sequence[int], inputs: int, outputs: int, stream: int = 1) -> StackedMLP:
    """Three linear layers for every seed."""
    generators = StackedDraws(seeds, stream=stream).generators
    return StackedMLP([inputs, config.width, config.width, outputs], generators, negative_slope=0.2)


def fit(config: Config, seeds: Sequence[int], nets: Sequence[nn.Module], loss: Loss) -> None:
    """Adam on new pairs in every step; the loss has one number per seed."""
    draws = StackedDraws(seeds, stream=2)
    optimizer = torch.optim.Adam(nn.ModuleList(nets).parameters(), lr=config.learning_rate, fused=True)
    for _ in range(config.num_steps):
        inputs, targets = draw_pairs(config, draws, config.batch_size)
        descend(optimizer, loss(inputs, targets, draws).sum())


def train_regressor(config: Config, seeds: Sequence[int]) -> Sampler:
    """One output for each input, by L1 or L2."""
    net, power = network(config, seeds, 1, output_dim(config)), 1 if config.model == "l1" else 2
    if config.start:
        first = replace(config, num_steps=SHORT)
        fit(
            first,
            seeds,
            [net],
            lambda x, y, _: (net(x) - config.start * modes_of(config, x)[:, :, 0]).square().mean((1, 2)),
        )
    fit(config, seeds, [net], lambda x, y, _: (net(x) - y).abs().pow(power).mean((1, 2)))
    return lambda inputs, draws: net(inputs)


def train_bins(config: Config, seeds: Sequence[int]) -> Sampler:
    """A probability for every occupied cell of a grid; an answer is the mean of a drawn cell's data."""
    data = modes_of(config, torch.linspace(0, 1, NUM_BINNED)[None, :, None]).flatten(0, 2)
    _, cells = torch.unique((data / BIN_WIDTH).floor(), dim=0, return_inverse=True)
    total = torch.zeros(int(cells.max()) + 1, data.shape[1]).index_add(0, cells, data)
    means = total / cells.bincount()[:, None]
    net = network(config, seeds, 1, len(means))

    def loss(inputs: Tensor, targets: Tensor, draws: StackedDraws) -> Tensor:
        cell = torch.cdist(targets, means.expand(len(seeds), -1, -1)).argmin(-1)
        return F.cross_entropy(net(inputs).mT, cell, reduction="none").mean(1)

    fit(config, seeds, [net], loss)
    return lambda inputs, draws: means[draw_index(net(inputs), draws)]


def train_mixture(config: Config, seeds: Sequence[int]) -> Sampler:
    """Probabilities and means of Gaussians: a VAE whose latent is the component, with its exact posterior."""
    k, dim = config.num_components, output_dim(config)
    net = network(config, seeds, 1, k * (dim + 1))

    def components(inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits, means = net(inputs).split([k, k * dim], dim=-1)
        return logits.log_softmax(-1), means.unflatten(-1, (k, dim))

    def loss(inputs: Tensor, targets: Tensor, draws: StackedDraws) -> Tensor:
        logits, means = components(inputs)
        distance = (means - targets[..., None, :]).square().sum(-1)
        return -(logits - distance / (2 * config.noise_std**2)).logsumexp(-1).mean(1)

    def sample(inputs: Tensor, draws: StackedDraws) -> Tensor:
        logits, means = components(inputs)
        chosen = draw_index(logits, draws)[..., None, None].expand(-1, -1, 1, dim)
        return means.gather(2, chosen).squeeze(2)

    fit(config, seeds, [net], loss)
    return sample


def draw_index(logits: Tensor, draws: StackedDraws) -> Tensor:
    """One index for each row of logits ``(k, n, m)``, with the probabilities of a softmax: ``(k, n)``."""
    uniform = draws.rand(*logits.shape[1:]).clamp_min(1e-20)
    return (logits - (-uniform.log()).log()).argmax(-1)


def train_vae(config: Config, seeds: Sequence[int]) -> Sampler:
    """Standard normal latents, a Gaussian posterior of independent entries, an answer is the decoder's mean."""
    dim, dz = output_dim(config), config.latent_dim
    encoder = network(config, seeds, 1 + dim, 2 * dz)
    decoder = network(config, seeds, 1 + dz, dim, stream=3)

    def loss(inputs: Tensor, targets: Tensor, draws: StackedDraws) -> Tensor:
        mean, log_std = encoder(torch.cat([inputs, targets], -1)).chunk(2, dim=-1)
        latents = mean + log_std.exp() * draws.randn(inputs.shape[1], dz)
        outputs = decoder(torch.cat([inputs, latents], -1))
        divergence = (mean.square() + (2 * log_std).exp() - 1).sum(-1) / 2 - log_std.sum(-1)
        return ((outputs - targets).square().sum(-1) / (2 * config.noise_std**2) + divergence).mean(1)

    fit(config, seeds, [encoder, decoder], loss)
    return lambda inputs, draws: decoder(torch.cat([inputs, draws.randn(inputs.shape[1], dz)], -1))


def train_gan(config: Config, seeds: Sequence[int]) -> Sampler:
    """A conditional GAN with R1, and lambda times the reconstruction loss of Eq. 20 or 22."""
    dim, dz, draws = output_dim(config), config.latent_dim, StackedDraws(seeds, stream=2)
    generator = network(config, seeds, 1 + dz, dim)
    discriminator = network(config, seeds, 1 + dim, 1, stream=3)
    optimizers = [
        torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=(0.5, 0.99), fused=True)
        for net in (discriminator, generator)
    ]
    power = {"none": 1, "l1": 1, "l2": 2}[config.reconstruction]
    for _ in range(config.num_steps):
        inputs, targets = draw_pairs(config, draws, config.batch_size)
        outputs = generator(torch.cat([inputs, draws.randn(config.batch_size, dz)], -1))
        real, slope = discriminator.with_input_gradient(torch.cat([inputs, targets], -1))
        fake = discriminator(torch.cat([inputs, outputs.detach()], -1))
        r1 = slope[..., 1:].square().sum(-1).mean() / 2
        loss = F.softplus(-real).mean() + F.softplus(fake).mean() + config.penalty * r1
        descend(optimizers[0], len(seeds) * loss)
        fake = discriminator(torch.cat([inputs, outputs], -1))
        adversarial = -F.softplus(fake) if config.objective == "minimax" else F.softplus(-fake)
        away = (outputs - targets).abs().pow(power).sum(-1).mean()
        descend(optimizers[1], len(seeds) * (adversarial.mean() + config.weight * away))
    return lambda inputs, draws: generator(torch.cat([inputs, draws.randn(inputs.shape[1], dz)], -1))


def train_search(config: Config, seeds: Sequence[int]) -> Sampler:
    """The paper's method with the settings of :mod:`ndiv_lib.recipes.two_branches`, to have it in the same picture."""
    settings = two_branches.Config(second_probability=config.second_probability, num_updates=config.num_steps)
    models = two_branches.train(settings, seeds)

    def sample(inputs: Tensor, draws: StackedDraws) -> Tensor:
        starts = two_branches.draw_starts(settings, draws, inputs.shape[1])
        return two_branches.walk(settings, models, inputs, starts, rule="hybrid")[0]

    return sample


MODELS = {
    "l1": train_regressor,
    "l2": train_regressor,
    "bins": train_bins,
    "mixture": train_mixture,
    "vae": train_vae,
    "gan": train_gan,
    "search": train_search,
}

# --- Measuring --------------------------------------------------------------------------------------------------------


def rates(config: Config, inputs: Tensor, outputs: Tensor) -> dict[str, list[float]]:
    """Where answers lie, one number per seed.

    Args:
        config: of the problem.
        inputs: ``(k, NUM_JUDGED * NUM_ANSWERS, 1)``, all answers to an input in a row.
        outputs: ``(k, NUM_JUDGED * NUM_ANSWERS, dim)``.

    Returns:
        ``missed``: share of answers whose mean absolute distance to the nearer branch is above a quarter of half the branches'
        distance; ``center``: share nearer to zero than half of it; ``away``: mean distance from zero, 1 is a branch;
        ``second_share``: share of the hits that lie on the negative branch; ``branches``: branches that
        at least a twentieth of an input's answers reach, mean over inputs; ``most_branches``: the most of any input;
        ``spread``: mean distance of two answers to one input, 1 is the data's; ``risk``: expected L1 loss, 1 at zero;
        ``score``: for tuning, misses plus lack of balance.
    """
    modes = modes_of(config, inputs)
    distances = (outputs[..., None, :] - modes).abs().mean(-1)
    half, (nearest, branch) = modes[..., 0, :].abs().mean(-1), distances.min(-1)
    hit, second = nearest <= MISSED * half, branch == 1
    hits = torch.stack([hit & ~second, hit & second], -1).float().unflatten(1, (-1, NUM_ANSWERS)).mean(2)
    reached = (hits >= 0.05).float().sum(-1)
    missed = 1 - hit.float().mean(1)
    share = (hit & second).float().sum(1) / hit.float().sum(1).clamp_min(1)
    answers = outputs.unflatten(1, (-1, NUM_ANSWERS))
    apart = (answers - answers.roll(1, dims=2)).abs().mean(-1).flatten(1) / half
    found = {
        "missed": missed,
        "center": (outputs.abs().mean(-1) < half / 2).float().mean(1),
        "away": (outputs.abs().mean(-1) / half).mean(1),
        "second_share": share,
        "branches": reached.mean(1),
        "most_branches": reached.amax(1),
        "spread": apart.mean(1),
        "risk": ((1 - config.second_probability) * distances[..., 0] / half).mean(1)
        + (config.second_probability * distances[..., 1] / half).mean(1),
        "score": missed + (share - 0.5).abs(),
    }
    return {name: values.tolist() for name, values in found.items()}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train one model per seed and judge its answers on a grid of inputs."""
    sample = MODELS[config.model](config, seeds)
    draws = StackedDraws(seeds, stream=4)
    inputs = torch.linspace(FIRST_JUDGED, 1, NUM_JUDGED).repeat_interleave(NUM_ANSWERS)
    shown = torch.linspace(0, 1, 100).repeat_interleave(NUM_SHOWN)
    with torch.no_grad():
        judged, kept = (
            (x, sample(x, draws)) for x in (one.expand(len(seeds), -1)[..., None] for one in (inputs, shown))
        )
    arrays = {"inputs": shown.numpy(), "outputs": kept[1][..., 0].half().numpy()}  # the first coordinate
    return Measured(rates(config, *judged), n_real=0, n_generated=len(inputs), arrays=arrays)


def smoke(config: Config) -> Config:
    """Three steps."""
    return replace(config, num_steps=3)


SEEDS, TUNING_SEEDS = tuple(range(10)), (1000, 1001, 1002)
SHORT, LONG = 500, 8000  # steps of the L1 regressor, whose length of training is not printed
REGRESSIONS: tuple[Literal["l1", "l2"], ...] = ("l1", "l2")
Game = tuple[Literal["branches", "two_modes"], Literal["l1", "l2"], tuple[float, ...]]
GAMES: tuple[Game, ...] = (  # lambda; on two modes around the threshold of L2, log 2
    ("branches", "l1", (1.0, 100.0)),
    ("branches", "l2", (0.1, 1.0, 100.0)),
    ("two_modes", "l1", (1.0, 3.0, 10.0)),
    ("two_modes", "l2", (0.1, 0.3, 0.5, 0.7, 1.0, 2.0)),
)
STDS, DIMS, NUM_COMPONENTS, PENALTIES = (0.1, 0.3, 1.0, 2.0), (1, 2), (2, 8), (0.03, 0.1, 0.3, 1.0)
OBJECTIVES: tuple[Literal["minimax", "nonsaturating"], ...] = ("minimax", "nonsaturating")

TRIALS: dict[str, Config] = {  # eight for each; compared by `score`
    **{
        f"vae-std{std:g}-dim{dim}": Config(model="vae", noise_std=std, latent_dim=dim)
        for std, dim in product(STDS, DIMS)
    },
    **{
        f"mixture-std{std:g}-of{k}": Config(model="mixture", noise_std=std, num_components=k)
        for std, k in product(STDS, NUM_COMPONENTS)
    },
    **{
        f"gan-{objective}-r1_{penalty:g}": Config(model="gan", objective=objective, penalty=penalty)
        for objective, penalty in product(OBJECTIVES, PENALTIES)
    },
}
VARIANTS: dict[str, Config] = {
    **{name: Config(model=name) for name in ("l1", "l2", "bins")},
    "search": PRESETS["search"],
    **{name: PRESETS[name] for name in ("vae", "mixture", "gan")},
    "l1-short": Config(num_steps=SHORT),
    "l1-long": Config(num_steps=LONG),
    "l1-uneven": Config(second_probability=0.3),
    **{f"{loss}-started": Config(model=loss, start=0.5) for loss in REGRESSIONS},
    **{f"{loss}-started-slow": Config(model=loss, start=0.5, learning_rate=1e-4) for loss in REGRESSIONS},
    "two_modes-none": replace(PRESETS["game"], problem="two_modes"),
    **{
        f"{problem}-{loss}-w{weight:g}": replace(
            PRESETS["game"], problem=problem, reconstruction=loss, weight=weight
        )
        for problem, loss, weights in GAMES
        for weight in weights
    },
}

CELLS = [
    *(Cell(f"tuning-{name}", config, TUNING_SEEDS, stack=3, priority=30) for name, config in TRIALS.items()),
    *(Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()),
]
