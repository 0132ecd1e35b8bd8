"""Search, adversary or variational code on inputs with several answers: how soon, how steadily, and what does it depend on
(cGML, Sec. 1, 2.1 and 4; App. 1, 3.1 and 3.9)?

Two answers are the paper's toy, y = +-4 (x, x^2, x^3); more are directions on a sphere that grows with x. One update function
for each method; all seeds are one stacked program. Several sentences compare models, so that one score judges all: the energy
distance between drawn and true answers to an input, 0 for the true distribution and 1 for a single answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from ndiv_lib import adversarial
from ndiv_lib.cgml import generator_loss, infer, momentum, predictor_loss
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import two_branches
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.two_branches import (
    Joined,
    clean_and_noisy,
    descend,
    draw_noise,
    draw_starts,
    l1_cost,
    search,
)
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

NUM_INPUTS, NUM_ANSWERS = 24, 64  # inputs that are judged, from 0.3 to 1, and answers drawn to each
MIN_SHARE = 0.25  # of its due share of an input's answers: a mode with more is found


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds. A field that another method uses is left alone."""

    method: Literal["search", "gan", "vae"] = "search"
    num_answers: int = 2  # to each input, equally likely
    latent: Literal["interval", "sphere"] = "interval"
    latent_dim: int = 1
    width: int = 32
    depth: int = 3  # linear layers of every network, as printed for the toy
    learning_rate: float = 3e-3  # Adam; App. 3.1 prints 1e-5, of images
    initial_std: float = 0.0  # of normal weights, 0.5 in App. 3.1; 0 is torch's uniform law
    batch_size: int = 32
    num_updates: int = 500  # of the generator
    operations: float = (
        0.0  # if above 0: as many updates as this many floating-point operations of a model allow
    )
    num_checks: int = 1  # times that the answers are judged, evenly over the run
    # search
    steps: int = 5  # App. 3.1 has 20; with a larger step size 5 do as well on the toy, at a third of the cost
    step_size: float = 0.2
    predictor_width: int = 32
    memory: int = 0  # latents before the last that the predictor sees; -1: not even the last
    # gan
    reconstruction_weight: float = 1.0  # of the L1 cost
    penalty: float = 0.1  # R1
    # vae
    divergence_weight: float = 0.03  # beside the L1 cost

    @property
    def toy(self) -> two_branches.Config:
        """The search's settings for the toy's functions."""
        return two_branches.Config(
            latent=self.latent, latent_dim=self.latent_dim, steps=self.steps, step_size=self.step_size
        )


class Networks(nn.Module):
    """Encoder, generator, and the third network: predictor, discriminator or approximate posterior."""

    def __init__(self, config: Config, seeds: Sequence[int]) -> None:
        super().__init__()
        draws = StackedDraws(seeds, stream=1)
        hidden, dz, num_features = [config.width] * (config.depth - 1), config.latent_dim, 8
        self.encoder = StackedMLP([1, *hidden, num_features], draws.generators, negative_slope=0.2)
        self.generator = Joined([num_features + dz, *hidden, 3], draws)
        if config.method == "search":
            seen, hidden = (
                num_features + dz * (1 + max(config.memory, 0)),
                [config.predictor_width] * (config.depth - 1),
            )
            self.third: Any = Joined([seen, *hidden, dz + 1], draws)
        else:
            outputs = 1 if config.method == "gan" else 2 * dz
            self.third = StackedMLP([1 + 3, *hidden, outputs], draws.generators, negative_slope=0.2)
        if config.initial_std:
            for name, parameter in self.named_parameters():
                normal = config.initial_std * draws.randn(*parameter.shape[1:])
                parameter.data.copy_(normal if "weights" in name else torch.zeros_like(normal))


def modes_of(num_answers: int, inputs: Tensor) -> Tensor:
    """All answers to inputs ``(*batch, 1)``: the two branches, or directions spread evenly: ``(*batch, num_answers, 3)``."""
    if num_answers == 2:
        return branch_modes(inputs)
    place = torch.arange(num_answers) + 0.5
    height, angle = 1 - 2 * place / num_answers, math.pi * (1 + 5**0.5) * place
    around = (1 - height.square()).sqrt()
    return 4 * inputs[..., None] * torch.stack([around * angle.cos(), around * angle.sin(), height], dim=-1)


def draw_batch(config: Config, draws: StackedDraws) -> tuple[Tensor, Tensor]:
    """Inputs ``(k, n, 1)`` uniform on [0, 1], and one of the answers to each ``(k, n, 3)``."""
    inputs = draws.rand(config.batch_size, 1)
    picked = draws.randint(config.num_answers, config.batch_size)[..., None, None]
    return inputs, modes_of(config.num_answers, inputs).gather(2, picked.expand(-1, -1, 1, 3)).squeeze(2)


# --- One update of each method ----------------------------------------------------------------------------------------

Optimizers = tuple[torch.optim.Optimizer, torch.optim.Optimizer]  # of the third network; of the others


def update_search(
    config: Config, nets: Networks, adam: Optimizers, draws: StackedDraws, inputs: Tensor, targets: Tensor
) -> None:
    """Algorithm 1, with a predictor that may see the latent before the last, or none."""
    toy, k = config.toy, len(inputs)
    features = nets.encoder(inputs).detach()
    path = search(toy, nets.generator, features, targets, draw_starts(toy, draws, inputs.shape[1]))
    for step, (before, after) in enumerate(pairwise(path)):
        seen = torch.cat([features, path[max(step - 1, 0)]], -1) if config.memory > 0 else features
        (noise,) = draw_noise(toy, draws, seen, before, times=1)
        prediction, noisy = clean_and_noisy(nets.third, seen, before * (config.memory >= 0), noise)
        loss = predictor_loss(
            prediction, after, momentum(before, after), noisy=noisy, penalty_weight=toy.penalty_weight
        )
        descend(adam[0], k * loss)
    features = nets.encoder(inputs)
    (noise,) = draw_noise(toy, draws, features, path[-1], times=1)
    outputs, noisy = clean_and_noisy(nets.generator, features, path[-1], noise)
    costs = l1_cost(outputs, targets)
    loss = generator_loss(costs, outputs=outputs, noisy=noisy, penalty_weight=toy.penalty_weight)
    descend(adam[1], k * loss)


def update_gan(
    config: Config, nets: Networks, adam: Optimizers, draws: StackedDraws, inputs: Tensor, targets: Tensor
) -> None:
    """A conditional GAN (not saturating, R1) with a reconstruction loss."""
    outputs = nets.generator(nets.encoder(inputs), draw_starts(config.toy, draws, inputs.shape[1]))
    real, slope = nets.third.with_input_gradient(torch.cat([inputs, targets], -1))
    fake = nets.third(torch.cat([inputs, outputs.detach()], -1))
    r1 = slope[..., 1:].square().sum(-1).mean() / 2
    loss = adversarial.discriminator_loss(real_logits=real, fake_logits=fake) + config.penalty * r1
    descend(adam[0], len(inputs) * loss)
    nets.third.requires_grad_(False)
    fake = nets.third(torch.cat([inputs, outputs], -1))
    loss = adversarial.generator_loss(fake_logits=fake)
    loss = loss + config.reconstruction_weight * l1_cost(outputs, targets).mean()
    descend(adam[1], len(inputs) * loss)
    nets.third.requires_grad_(True)


def update_vae(
    config: Config, nets: Networks, adam: Optimizers, draws: StackedDraws, inputs: Tensor, targets: Tensor
) -> None:
    """A conditional VAE with the L1 cost as its reconstruction."""
    mean, log_std = nets.third(torch.cat([inputs, targets], -1)).chunk(2, dim=-1)
    latents = mean + log_std.exp() * draws.randn(*mean.shape[1:])
    costs = l1_cost(nets.generator(nets.encoder(inputs), latents), targets).mean()
    divergence = ((mean.square() + (2 * log_std).exp() - 1) / 2 - log_std).sum(-1).mean()
    adam[0].zero_grad()
    descend(adam[1], len(inputs) * (costs + config.divergence_weight * divergence))
    adam[0].step()


UPDATES: dict[str, Callable[..., None]] = {"search": update_search, "gan": update_gan, "vae": update_vae}


# --- Answers, and how good they are -----------------------------------------------------------------------------------


def remembering(config: Config, predictor: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """The predictor of one walk, which hands it the latent before the last, or hides the last."""
    seen: list[Tensor] = []

    def predict(features: Tensor, latents: Tensor) -> Tensor:
        seen.append(latents)
        if config.memory > 0:
            features = torch.cat([features, seen[max(len(seen) - 2, 0)]], -1)
        prediction: Tensor = predictor(features, latents * (config.memory >= 0))
        return prediction

    return predict


@torch.no_grad()
def answers(config: Config, nets: Networks, inputs: Tensor, draws: StackedDraws) -> Tensor:
    """One drawn answer to each input ``(k, n, 1)``: ``(k, n, 3)``."""
    features = nets.encoder(inputs)
    if config.method == "vae":
        latents = draws.randn(inputs.shape[1], config.latent_dim)
    else:
        latents = draw_starts(config.toy, draws, inputs.shape[1])
    if config.method == "search":
        latents, _ = infer(remembering(config, nets.third), features, latents, latent=config.latent)
    outputs: Tensor = nets.generator(features, latents)
    return outputs


def judge(config: Config, nets: Networks, draws: StackedDraws) -> dict[str, Tensor]:
    """Numbers of every seed, ``(k,)`` each.

    ``score``: energy distance between answers and truth over that between a single answer and the truth, the mean over inputs;
    ``miss_rate``: share of answers further from every mode than a quarter of half the least distance of two modes (mean absolute
    differences); ``found``: share of modes that get a quarter of their due share of an input's answers.
    """
    inputs = torch.linspace(0.3, 1, NUM_INPUTS)
    each = inputs.repeat_interleave(NUM_ANSWERS).expand(len(draws.generators), -1)[..., None]
    outputs = answers(config, nets, each, draws).unflatten(1, (NUM_INPUTS, NUM_ANSWERS))
    modes = modes_of(config.num_answers, inputs[:, None])
    distances = (outputs[..., None, :] - modes[:, None]).abs().mean(-1)  # (k, inputs, answers, modes)
    between = (modes[:, :, None] - modes[:, None]).abs().mean(-1)
    least = torch.where(between > 0, between, torch.inf).amin((1, 2))
    nearest = distances.min(-1)
    hit = nearest.values <= two_branches.MISSED / 2 * least[:, None]
    reached = torch.nn.functional.one_hot(nearest.indices, config.num_answers) * hit[..., None]
    share = reached.float().mean(2)
    to_truth = torch.cdist(outputs, modes.expand(len(outputs), -1, -1, -1)).mean((2, 3))
    among = torch.cdist(outputs, outputs).sum((2, 3)) / (NUM_ANSWERS * (NUM_ANSWERS - 1))
    of_truth = torch.cdist(modes, modes).mean(
        (1, 2)
    )  # their mean is zero: a single answer there has distance
    return {
        "score": ((2 * to_truth - among - of_truth) / of_truth).mean(1),
        "miss_rate": 1 - hit.float().mean((1, 2)),
        "found": (share >= MIN_SHARE / config.num_answers).float().mean((1, 2)),
    }


def predictor_error(config: Config, nets: Networks, draws: StackedDraws) -> Tensor:
    """How far the predictor is from what the search does next, over the length of its step; medians ``(k,)``."""
    inputs, targets = draw_batch(replace(config, batch_size=512), draws)
    features = nets.encoder(inputs).detach()
    path = search(config.toy, nets.generator, features, targets, draw_starts(config.toy, draws, 512))
    errors = []
    predict = remembering(config, nets.third)
    for before, after in pairwise(path):
        with torch.no_grad():
            predicted = predict(features, before)[..., :-1]
        step = (after - before).norm(dim=-1).mean(1, keepdim=True)
        errors.append((predicted - after).norm(dim=-1) / step)
    return torch.cat(errors, dim=1).median(1).values


class OperationCounter(TorchDispatchMode):
    """Floating-point operations of all matrix products inside the block, forward and backward.

    torch's own FlopCounterMode asks each module, which fails for a gradient of the latents alone.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and add what torch's formula says that it costs."""
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train one model per seed and judge its answers, at the end and on the way.

    Beside what ``judge`` gives at the end: ``mean_score`` over the checks, which is low for a model that is good soon;
    ``wobble``, the mean change of the score from check to check in the second half; ``million_operations`` of one update.
    """
    nets, draws = Networks(config, seeds), StackedDraws(seeds, stream=2)
    adam = partial(torch.optim.Adam, lr=config.learning_rate, fused=True)
    betas = (0.5, 0.99) if config.method == "gan" else (0.9, 0.999)
    optimizers = (
        adam(nets.third.parameters(), betas=betas),
        adam([*nets.encoder.parameters(), *nets.generator.parameters()], betas=betas),
    )
    update = partial(UPDATES[config.method], config, nets, optimizers, draws)
    with OperationCounter() as counter:
        update(*draw_batch(config, draws))
    each = counter.total / len(seeds)
    num_updates = round(config.operations / each) if config.operations else config.num_updates
    last = {round(num_updates * i / config.num_checks) for i in range(1, config.num_checks + 1)}
    scores, found = [], judge(config, nets, StackedDraws(seeds, stream=3))
    for number in range(2, num_updates + 1):
        update(*draw_batch(config, draws))
        if number in last:
            found = judge(config, nets, StackedDraws(seeds, stream=3))
            scores.append(found["score"])
    if scores:
        curve = torch.stack(scores)
        found["mean_score"] = curve.mean(0)
        if len(curve) > 3:
            found["wobble"] = curve[len(curve) // 2 :].diff(dim=0).abs().mean(0)
    if config.method == "search":
        found["predictor_error"] = predictor_error(config, nets, StackedDraws(seeds, stream=4))
    values = {name: value.tolist() for name, value in found.items()}
    values["million_operations"] = [each / 1e6] * len(seeds)
    values["num_updates"] = [float(num_updates)] * len(seeds)
    arrays = {"scores": np.stack([s.numpy() for s in scores]).astype("float16")} if len(scores) > 3 else {}
    return Measured(values, n_real=0, n_generated=NUM_INPUTS * NUM_ANSWERS, arrays=arrays)


def smoke(config: Config) -> Config:
    """A few updates."""
    return replace(config, num_updates=8, operations=0.0, num_checks=min(config.num_checks, 4), width=8)


# --- The recipe -------------------------------------------------------------------------------------------------------

SEEDS, TUNING_SEEDS = tuple(range(10)), (1000, 1001, 1002)
OPERATIONS = 2.12e9  # of a run that is compared: 500 updates of the search with its settings here
RATES = (1e-5, 1e-3, 1e-2)
BATCHES = (5, 20, 100)
DIMS = (2, 8, 32, 128)
ANSWERS = (2, 4)

SHORT: dict[str, Any] = {"operations": OPERATIONS / 2}  # of a trial
LONG: dict[str, Any] = {"operations": OPERATIONS, "num_checks": 16}
TRIALS: dict[str, Config] = {  # eight for each, compared by the median `score` of three seeds
    **{
        f"search-l{steps}-beta{size:g}-lr{rate:g}": Config(
            steps=steps, step_size=size, learning_rate=rate, **SHORT
        )
        for (steps, size), rate in product(((5, 0.1), (5, 0.2), (5, 0.4), (20, 0.05)), (1e-3, 3e-3))
    },
    **{
        f"gan-w{weight:g}-r1_{penalty:g}-lr{rate:g}": Config(
            method="gan", reconstruction_weight=weight, penalty=penalty, learning_rate=rate, **SHORT
        )
        for weight, penalty, rate in product((0.0, 1.0), (0.0, 0.1), (1e-3, 3e-3))
    },
    **{
        f"vae-w{weight:g}-lr{rate:g}": Config(
            method="vae", divergence_weight=weight, learning_rate=rate, **SHORT
        )
        for weight, rate in product((0.003, 0.01, 0.03, 0.1), (1e-3, 3e-3))
    },
}
CHOSEN: dict[str, Config] = {  # the best of the trials
    "search": Config(step_size=0.4, **LONG),
    "gan": Config(method="gan", reconstruction_weight=0.0, penalty=0.0, **LONG),
    "vae": Config(method="vae", divergence_weight=0.1, **LONG),
}
# at equal updates of the generator, not at equal operations
EQUAL_UPDATES = {name: replace(CHOSEN[name], operations=0.0) for name in ("gan", "vae")}
UPDATES_OF_CHOSEN = {
    "search": 500,
    "gan": 1600,
}  # in the operations above; the same for small networks and large
ARCHITECTURES: dict[str, Config] = {
    f"{method}-width{width}-depth{depth}": replace(
        CHOSEN[method],
        width=width,
        depth=depth,
        predictor_width=width,
        num_checks=1,
        operations=0.0,
        num_updates=UPDATES_OF_CHOSEN[method],
    )
    for method, width, depth in product(("search", "gan"), (16, 64), (2, 4))
}
SPHERE = Config(latent="sphere", latent_dim=8)
LINE = Config()
TRAINING: dict[str, Config] = {
    **{f"rate-{rate:g}": Config(learning_rate=rate) for rate in RATES},
    "printed": Config(
        operations=OPERATIONS,
        steps=20,
        step_size=0.05,
        learning_rate=1e-5,
        initial_std=0.5,
        batch_size=20,
        latent="sphere",
        latent_dim=10,
    ),
    "std": Config(initial_std=0.5),
    **{
        f"steps-{steps}": Config(steps=steps, step_size=1 / steps, operations=OPERATIONS) for steps in (1, 20)
    },
    **{f"batch-{size}": Config(batch_size=size) for size in BATCHES},
    "samples-100": Config(batch_size=100, num_updates=100),
    "untrained": Config(num_updates=1),
    **{f"memory-{memory}": Config(memory=memory) for memory in (-1, 0, 1)},
}
SPACES: dict[str, Config] = {
    **{f"dim-{dim}": replace(SPHERE, latent_dim=dim) for dim in DIMS},
    **{
        f"answers-{number}-dim{dim}": replace(LINE, num_answers=number, latent_dim=dim)
        for number, dim in product(ANSWERS, (1, 2))
    },
    "answers-4-dim2-predictor128": replace(LINE, num_answers=4, latent_dim=2, predictor_width=128),
}
PRESETS: dict[str, Config] = {
    "ours": CHOSEN["search"],
    "printed": TRAINING["printed"],
    "gan": CHOSEN["gan"],
    "vae": CHOSEN["vae"],
    "memory": TRAINING["memory-1"],
    "blind": TRAINING["memory--1"],
    "sphere": SPHERE,
    "four": replace(LINE, num_answers=4),
}
CELLS = [
    *(Cell(f"tuning-{name}", config, TUNING_SEEDS, stack=3, priority=90) for name, config in TRIALS.items()),
    *(Cell(name, config, SEEDS, stack=10, priority=70) for name, config in TRAINING.items()),
    *(Cell(name, config, SEEDS, stack=10, priority=60) for name, config in SPACES.items()),
    *(Cell(f"compared-{name}", config, SEEDS, stack=10, priority=50) for name, config in CHOSEN.items()),
    *(
        Cell(f"updates-{name}", config, SEEDS, stack=10, priority=50)
        for name, config in EQUAL_UPDATES.items()
    ),
    *(Cell(name, config, SEEDS, stack=10, priority=40) for name, config in ARCHITECTURES.items()),
]
