"""What of cGML's search needs no training to be checked (Sec. 2, Algorithm 1, App. 2.1 and 2.4).

Three tasks: the inequalities of Eq. 3 and 5-11 on generators that are known, what the penalty on noise measures, and
Algorithm 1 against a loop written from the print.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from ndiv_lib.cgml import LatentSearch, draw_latents, generator_loss
from ndiv_lib.models.mlp import MLP
from ndiv_lib.recipes.recording import Cell, Measured

NODES = 200  # of the midpoint rule along a path
ROUNDING = 1e-4  # relative error that the rule may have


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["bound", "penalty", "algorithm"] = "bound"
    generator: Literal["random", "linear", "ignoring", "radial"] = (
        "random"  # bound: two layers with tanh, a matrix, a constant, z / |z|
    )
    latents: Literal["gaussian", "sphere"] = "gaussian"  # bound: the paper's live on the sphere
    latent_dim: int = 4
    output_dim: int = 3
    num_pairs: int = 200
    shuffle: bool = False  # bound: compare with the integral along another pair's path
    growth: Literal["steeper", "taller"] = (
        "steeper"  # penalty: what makes the Lipschitz constant 100 times larger
    )
    noise_std: float = 0.05  # penalty: the toy's
    nesting: Literal["once", "every_step"] = "once"  # algorithm: App. 3.1, or as printed
    reversed: bool = False  # algorithm: a loop that updates the generator before it searches
    num_batches: int = 3


PRESETS: dict[str, Config] = {
    "paper": Config(),
    "ignoring": Config(generator="ignoring"),
    "sphere": Config(generator="radial", latents="sphere", output_dim=4),
    "penalty": Config(task="penalty"),
    "algorithm": Config(task="algorithm"),
    "printed": Config(task="algorithm", nesting="every_step"),
}

# --- Eq. 3 and 5-11 ---------------------------------------------------------------------------------------------------


def known_generator(config: Config, random: torch.Generator) -> Callable[[Tensor], Tensor]:
    """G of one latent ``(dz,)`` to one output ``(dy,)``, in float64."""
    dz, dy = config.latent_dim, config.output_dim
    first, second = (
        torch.randn(*shape, generator=random, dtype=torch.float64) for shape in ((16, dz), (dy, 16))
    )
    matrix = second @ first / 16
    return {
        "random": lambda z: second @ (first @ z).tanh() / 4,
        "linear": lambda z: matrix @ z,
        "ignoring": lambda z: second[:, 0] + 0 * (matrix @ z),
        "radial": lambda z: z / z.norm(),
    }[config.generator]


def bound_facts(config: Config, seed: int) -> dict[str, float]:
    """Each inequality of App. 2.1 on random pairs z_0 and z*, with gradients in the spectral norm."""
    random = torch.Generator().manual_seed(seed)
    generator = known_generator(config, random)
    starts, offsets = torch.randn(
        2, config.num_pairs, config.latent_dim, generator=random, dtype=torch.float64
    )
    lengths = 2 * torch.rand(config.num_pairs, 1, generator=random, dtype=torch.float64)
    codes = starts + lengths * offsets / offsets.norm(dim=1, keepdim=True)
    if config.latents == "sphere":
        starts, codes = starts / starts.norm(dim=1, keepdim=True), offsets / offsets.norm(dim=1, keepdim=True)

    t = (torch.arange(NODES, dtype=torch.float64) + 0.5) / NODES
    path = starts[:, None] + t[:, None] * (codes - starts)[:, None]  # gamma(t)
    jacobians = vmap(vmap(jacrev(generator)))(path)  # (pairs, nodes, dy, dz)
    lengths = (codes - starts).norm(dim=1)
    unit = (codes - starts) / lengths[:, None]
    slopes = torch.linalg.matrix_norm(jacobians, ord=2)
    along = (jacobians @ unit[:, None, :, None]).squeeze(-1).norm(dim=-1)  # the limit in Eq. 10
    moved = vmap(generator)(codes) - vmap(generator)(starts)
    quotients, integrals = moved.norm(dim=1) / lengths, slopes.mean(1)
    compared = integrals.roll(1) if config.shuffle else integrals
    short = lengths < 1
    facts = {
        "bound_violated": share(quotients > compared * (1 + ROUNDING)),  # Eq. 3, its first inequality
        "eq10_violated": share(slopes > along * (1 + ROUNDING)),
        "eq10_ratio": float((along / slopes.clamp_min(1e-12)).median()),
        "along_path_violated": share((quotients > lengths * compared * (1 + ROUNDING))[short]),
        "smallest_gradient": float(slopes.min()),
        "largest_gradient": float(slopes.max()),
        "nearest_to_center": float(path.norm(dim=-1).min()),
    }
    if config.latents == "sphere":  # a constant that holds wherever two latents can be
        ends = torch.cat([starts, codes])
        apart = torch.pdist(ends)
        constant = (torch.pdist(vmap(generator)(ends)) / apart)[apart > 1e-6].max()
        facts["integral_over_constant"] = float(integrals.max() / constant)
    if config.latent_dim == config.output_dim:  # elsewhere the product of Eq. 8 does not exist
        mean = jacobians.mean(1)
        right, printed = (
            (mean @ unit[:, :, None]).squeeze(-1).norm(dim=1),
            (unit[:, None] @ mean).squeeze(1).norm(dim=1),
        )
        facts["eq8_error"] = float(((printed - right).abs() / right).median())
    return facts


def share(true: Tensor) -> float:
    """Share of true entries; 0 if there are none."""
    return float(true.double().mean()) if true.numel() else 0.0


# --- The penalty of App. 2.4 ------------------------------------------------------------------------------------------


def penalty_facts(config: Config, seed: int) -> dict[str, float]:
    """How penalty and Lipschitz constant change when a step from one answer to another gets 100 times steeper or taller."""
    random = torch.Generator().manual_seed(seed)
    latents = draw_latents(50_000, 1, latent="interval", generator=random)
    noisy = latents + config.noise_std * torch.randn(latents.shape, generator=random)

    def penalty(width: float, height: float) -> float:
        outputs, disturbed = (height * (z / width + 0.5).clamp(0, 1) for z in (latents, noisy))
        no_cost = torch.zeros(len(latents))
        return float(generator_loss(no_cost, outputs=outputs, noisy=disturbed, penalty_weight=1.0))

    before, after = (0.5, 1.0), (0.005, 1.0) if config.growth == "steeper" else (0.5, 100.0)
    return {
        "lipschitz_growth": (after[1] / after[0]) / (before[1] / before[0]),
        "penalty_growth": penalty(*after) / penalty(*before),
    }


# --- Algorithm 1 ------------------------------------------------------------------------------------------------------

STEPS, STEP_SIZE, PENALTY_WEIGHT, NOISE_STD = 5, 0.1, 0.1, 0.05


class Joined(nn.Module):
    """A network of features and latents side by side."""

    def __init__(self, sizes: Sequence[int], random: torch.Generator) -> None:
        super().__init__()
        self.network = MLP(sizes, negative_slope=0.2, generator=random)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        """Map ``(n, f)`` and ``(n, dz)`` to ``(n, sizes[-1])``."""
        return self.network(torch.cat([features, latents], dim=-1))  # type: ignore[no-any-return]


def networks(random: torch.Generator) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Encoder, generator and predictor of a plain, unstacked toy."""
    encoder = MLP([1, 32, 32, 8], negative_slope=0.2, generator=random)
    return encoder, Joined([9, 32, 32, 3], random), Joined([9, 32, 32, 2], random)


def l1(a: Tensor, b: Tensor) -> Tensor:
    """The L1 loss as a mean over everything."""
    return (a - b).abs().mean()


class PrintedLoop:
    """Algorithm 1 with the losses of App. 2.4, line by line, on networks of its own."""

    def __init__(self, config: Config, nets: Sequence[nn.Module]) -> None:
        self.config = config
        self.encoder, self.generator, self.predictor = nets
        self.of_predictor = torch.optim.Adam(self.predictor.parameters())
        self.of_generator = torch.optim.Adam([*self.generator.parameters(), *self.encoder.parameters()])

    def batch(self, x: Tensor, y: Tensor, z: Tensor, random: torch.Generator) -> None:
        """l steps on one batch."""
        if self.config.reversed:
            self.update_generator(x, y, z, random)
        for step in range(STEPS):
            z = z.requires_grad_()
            costs = (y - self.generator(self.encoder(x).detach(), z)).abs().mean(1)
            (gradient,) = torch.autograd.grad(costs.sum(), z)
            z, following = z.detach(), z.detach() - STEP_SIZE * gradient
            self.update_predictor(x, z, following, random)
            z = following
            last = step == STEPS - 1
            if (last or self.config.nesting == "every_step") and not self.config.reversed:
                self.update_generator(x, y, z, random)

    def update_predictor(self, x: Tensor, z: Tensor, following: Tensor, random: torch.Generator) -> None:
        """The second line of the loop."""
        h = self.encoder(x).detach()
        target = torch.cat([following, (following - z).norm(dim=1, keepdim=True)], dim=1)
        predicted, disturbed = self.predictor(h, z), self.predictor(disturb(h, random), disturb(z, random))
        descend(self.of_predictor, l1(predicted, target) + PENALTY_WEIGHT * l1(disturbed, predicted))

    def update_generator(self, x: Tensor, y: Tensor, z: Tensor, random: torch.Generator) -> None:
        """The third line of the loop."""
        h = self.encoder(x)
        outputs, disturbed = self.generator(h, z), self.generator(disturb(h, random), disturb(z, random))
        descend(self.of_generator, l1(y, outputs) + PENALTY_WEIGHT * l1(disturbed, outputs))


def disturb(values: Tensor, random: torch.Generator) -> Tensor:
    """Values with a little noise."""
    return values + NOISE_STD * torch.randn(values.shape, generator=random, dtype=values.dtype)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step down the gradient of a scalar loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def algorithm_facts(config: Config, seed: int) -> dict[str, float]:
    """The largest difference of a weight after some batches: :class:`ndiv_lib.cgml.LatentSearch` against the printed loop."""
    random = torch.Generator().manual_seed(seed)
    nets = [net.double() for net in networks(random)]
    loop = PrintedLoop(config, copy.deepcopy(nets))
    at_once = STEPS if config.nesting == "once" else 1
    search = LatentSearch(
        *nets,
        latent_dim=1,
        latent="interval",
        cost=lambda outputs, targets: (outputs - targets).abs().mean(1),
        steps=at_once,
        step_size=STEP_SIZE,
        penalty_weight=PENALTY_WEIGHT,
        noise_std=NOISE_STD,
    )
    adam = torch.optim.Adam(search.parameters())
    noises = [torch.Generator().manual_seed(seed + 1) for _ in range(2)]
    for _ in range(config.num_batches):
        x, y, z = (torch.randn(32, d, generator=random, dtype=torch.float64) for d in (1, 3, 1))
        loop.batch(x, y, z, noises[0])
        for _ in range(0, STEPS, at_once):
            z = search.training_step(x, y, adam, latents=z, generator=noises[1]).latents
    pairs = zip(
        nn.ModuleList([loop.encoder, loop.generator, loop.predictor]).parameters(),
        search.parameters(),
        strict=True,
    )
    return {"weight_error": max(float((one - other).detach().abs().max()) for one, other in pairs)}


# --- The recipe -------------------------------------------------------------------------------------------------------

TASKS = {"bound": bound_facts, "penalty": penalty_facts, "algorithm": algorithm_facts}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    rows = [TASKS[config.task](config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values, n_real=0, n_generated=config.num_pairs)


def smoke(config: Config) -> Config:
    """Eight pairs, one batch."""
    return replace(config, num_pairs=8, num_batches=1)


SEEDS = tuple(range(10))
VARIANTS: dict[str, Config] = {
    "random": Config(),
    "random-shuffled": Config(shuffle=True),
    "random-line": Config(latent_dim=1),
    "random-square": Config(latent_dim=3),
    "random-sphere": Config(latents="sphere"),
    "linear": Config(generator="linear"),
    "ignoring": Config(generator="ignoring"),
    "radial-sphere": Config(generator="radial", latents="sphere", output_dim=4),
    "penalty-steeper": Config(task="penalty"),
    "penalty-taller": Config(task="penalty", growth="taller"),
    "algorithm-once": Config(task="algorithm"),
    "algorithm-every_step": Config(task="algorithm", nesting="every_step"),
    "algorithm-reversed-once": Config(task="algorithm", reversed=True),
    "algorithm-reversed-every_step": Config(task="algorithm", nesting="every_step", reversed=True),
}

CELLS = [Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()]
