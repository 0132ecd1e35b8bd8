"""Phantom distributions: where the predictor's drift cancels, and what momentum does about it (cGML, Sec. 2.1, 2.2, 4, Fig. 3).

Every cell is one training of the toy with two branches. Its walks are judged by where they end, for each rule and number of
steps; with a latent in one dimension, the predictor is also compared with the next latents that training would show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ndiv_lib.cgml import infer, latent_update, momentum
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import next_latents, two_branches
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.two_branches import Models, draw_starts, walk_rates
from ndiv_lib.training.stacked import StackedDraws

Values = dict[str, list[float]]
RULES = ("plain", "momentum", "hybrid")
NUM_INPUTS = 40  # at which walks are judged, from 0.3 on: nearer to zero the modes meet
FIELD_INPUTS = (0.4, 0.8, 1.0)  # at which the field of next latents is looked at
SCALES = (0.5, 2.0, 4.0)  # of the predicted momentum, at inference


@dataclass(frozen=True)
class Config(two_branches.Config):
    """A training of the toy, and how many walks judge it."""

    num_walks: int = 50  # from each of the 40 inputs
    relearn_updates: int = (
        0  # of a new predictor, by the final generator; 0 keeps the one that learned beside it
    )
    num_searches: int = 1000  # at each input of the field
    watch_steps: tuple[int, ...] = (20, 100)  # numbers of steps after which walks are judged
    keep: bool = False  # the weights of the first seed and its field, for the pictures of the chapter


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Train all seeds and measure walks; the field of next latents too, where the latent is a number."""
    models = two_branches.train(config, seeds)
    if config.relearn_updates:
        models.predictor = next_latents.relearn(config, models, seeds, num_updates=config.relearn_updates)
    values, arrays = walk_facts(config, models, seeds), {}
    if config.latent == "interval" and config.latent_dim == 1:
        for x in FIELD_INPUTS:
            facts, tables = next_latents.field_facts(
                config, models, seeds, x, num_searches=config.num_searches
            )
            values |= {f"{name}-x{x:g}": value for name, value in facts.items()}
            arrays[f"field-x{x:g}"] = tables[0]
    if config.keep:
        weights = models.state_dict()
        arrays |= {name: weight[:1].numpy() for name, weight in weights.items()}
    return Measured(
        values, n_real=0, n_generated=NUM_INPUTS * config.num_walks, arrays=arrays if config.keep else {}
    )


# --- Walks ------------------------------------------------------------------------------------------------------------


def evenly_spread(num_seeds: int, num_walks: int) -> Tensor:
    """Inputs ``(num_seeds, NUM_INPUTS * num_walks, 1)``: the middles of equal parts of [0.3, 1], each ``num_walks`` times."""
    inputs = 0.3 + 0.7 * (torch.arange(NUM_INPUTS) + 0.5) / NUM_INPUTS
    return inputs.repeat_interleave(num_walks).expand(num_seeds, -1)[..., None]


def walk_facts(config: Config, models: Models, seeds: Sequence[int]) -> Values:
    """Where walks end by rule and number of steps, and what momentum saves; the latter also between two draws of plain walks."""
    draws = StackedDraws(seeds, stream=3)
    inputs = evenly_spread(len(seeds), config.num_walks)
    features = models.encoder(inputs)
    starts, others = draw_starts(config, draws, inputs.shape[1]), draw_starts(config, draws, inputs.shape[1])
    values: Values = {}
    for rule in RULES:
        for steps, (before, found) in walks(config, models, features, starts, rule).items():
            outputs = models.generator(features, found)
            ending = f"{rule}-{steps}"
            values |= {f"{name}-{ending}": rates for name, rates in walk_rates(inputs, outputs).items()}
            values[f"dither-{ending}"] = momentum(before, found).median(1).values.tolist()
            values[f"both_modes-{ending}"] = both_modes(inputs, outputs, config.num_walks)
    (_, again), *_ = (walks(config, models, features, others, "plain", at=(config.steps,))).values()
    repeated = walk_rates(inputs, models.generator(features, again))
    one_start = models.generator(features, walks_from_one_start(config, models, features, starts))
    values[f"both_modes-one_start-{config.steps}"] = both_modes(inputs, one_start, config.num_walks)
    for name in ("phantom_rate", "center_rate", "error", "median_error"):
        plain, helped = (values[f"{name}-{rule}-{config.steps}"] for rule in ("plain", "momentum"))
        values[f"saved-momentum-{name}"] = [a - b for a, b in zip(plain, helped, strict=True)]
        values[f"saved-again-{name}"] = [a - b for a, b in zip(plain, repeated[name], strict=True)]
    for scale in SCALES:
        found = scaled_walk(config, models, features, starts, scale)
        rates = walk_rates(inputs, models.generator(features, found))
        values |= {f"{name}-scale{scale:g}-{config.steps}": rate for name, rate in rates.items()}
    values["reachable"] = reachable(config, models, draws)
    return values | formula_facts(models.predictor(features, starts), starts)


def scaled_walk(config: Config, models: Models, features: Tensor, starts: Tensor, scale: float) -> Tensor:
    """Where walks of Eq. 4 end if the predicted momentum is multiplied: alpha, changed after training."""
    factor = torch.ones(config.latent_dim + 1)
    factor[-1] = scale
    found, _ = infer(
        lambda h, z: factor * models.predictor(h, z),
        features,
        starts,
        rule="momentum",
        steps=config.steps,
        latent=config.latent,
        check_values=False,  # as in two_branches.walk
    )
    return found


def formula_facts(predictions: Tensor, latents: Tensor) -> Values:
    """Eq. 4 in a loop over latents against the library, and how far from norm 1 it takes latents that are not projected."""
    moved = {rule: latent_update(predictions, latents, rule=rule) for rule in ("momentum", "plain")}  # type: ignore[arg-type]
    values: Values = {"eq4_error": [], "eq4_error-plain": [], "off_sphere": []}
    for k, (prediction, latent) in enumerate(zip(predictions.double(), latents.double(), strict=True)):
        expected = []
        for (*goal, rho), start in zip(prediction[:200].tolist(), latent[:200].tolist(), strict=True):
            length = sum((g - z) ** 2 for g, z in zip(goal, start, strict=True)) ** 0.5
            expected.append([z + max(rho, 0) * (g - z) / length for g, z in zip(goal, start, strict=True)])
        loop = torch.tensor(expected)
        values["eq4_error"].append((moved["momentum"][k, :200] - loop).abs().max().item())
        values["eq4_error-plain"].append((moved["plain"][k, :200] - loop).abs().max().item())
        values["off_sphere"].append((loop.norm(dim=-1) - 1).abs().mean().item())
    return values


@torch.no_grad()
def walks(
    config: Config, models: Models, features: Tensor, starts: Tensor, rule: str, *, at: Sequence[int] = ()
) -> dict[int, tuple[Tensor, Tensor]]:
    """The last two latents of walks, for each number of steps; plain and momentum walks are one walk looked at on its way."""
    at = at or config.watch_steps
    ends = {}
    path = None
    for steps in sorted(at, reverse=True):
        if path is None or rule == "hybrid":  # whose first half depends on the number of steps
            settings = {"rule": rule, "steps": steps, "latent": config.latent, "check_values": False}
            _, path = infer(models.predictor, features, starts, **settings)  # type: ignore[arg-type]
        ends[steps] = (path[steps - 1], path[steps])
    return ends


def walks_from_one_start(config: Config, models: Models, features: Tensor, starts: Tensor) -> Tensor:
    """Where plain walks end that share their start: the null of "where a walk ends depends on where it starts"."""
    same = starts[:, :1].expand_as(starts)
    return walks(config, models, features, same, "plain", at=(config.steps,))[config.steps][1]


def both_modes(inputs: Tensor, outputs: Tensor, num_walks: int) -> list[float]:
    """Share of inputs from which at least one walk in twenty-five reaches either mode, one number per seed."""
    modes = branch_modes(inputs)
    half = modes[..., 0, :].abs().mean(-1, keepdim=True)
    hits = (outputs[..., None, :] - modes).abs().mean(-1) <= two_branches.MISSED * half
    shares = hits.float().unflatten(1, (NUM_INPUTS, num_walks)).mean(2)
    return (shares >= 0.04).all(-1).float().mean(1).tolist()  # type: ignore[no-any-return]


@torch.no_grad()
def reachable(config: Config, models: Models, draws: StackedDraws) -> list[float]:
    """Share of inputs at which some latent answers each mode: what no walk can make good is the generator's fault."""
    num_seeds, num_latents = len(draws.generators), 400
    inputs = evenly_spread(num_seeds, num_latents)
    latents = draw_starts(config, draws, num_latents)
    if config.latent == "interval":
        latents = next_latents.REACH * latents
    outputs = models.answers(inputs, latents.repeat(1, NUM_INPUTS, 1))
    modes = branch_modes(inputs)
    half = modes[..., 0, :].abs().mean(-1, keepdim=True)
    hits = (outputs[..., None, :] - modes).abs().mean(-1) <= two_branches.MISSED * half
    found = hits.unflatten(1, (NUM_INPUTS, num_latents)).any(2)
    return found.all(-1).float().mean(1).tolist()  # type: ignore[no-any-return]


def smoke(config: Config) -> Config:
    """Two updates of five steps, and a few walks."""
    return replace(
        config,
        num_updates=2,
        steps=5,
        relearn_updates=min(2, config.relearn_updates),
        num_walks=4,
        num_searches=2000,
        watch_steps=(1, 5),
    )


# --- The recipe -------------------------------------------------------------------------------------------------------

PRESETS: dict[str, Config] = {
    "text": Config(predictor_norm="l2"),  # the expectations that Sec. 2 writes about: the phantom of Fig. 3c
    "paper": Config(
        latent="sphere", latent_dim=2, step_size=0.2
    ),  # Algorithm 1 with Sec. 3's latents; at 0.05, some seeds ignore z
    "ours": Config(step_size=0.1, step_decay=0.9),  # momentum fades at the codes
}

_L1, _L2 = Config(), PRESETS["text"]
_MANY_STEPS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 100)
_MAIN = {
    name: replace(config, keep=True, watch_steps=_MANY_STEPS) for name, config in (("l1", _L1), ("l2", _L2))
}
_DECAYED = {
    f"{name}-decayed": replace(config, step_size=0.1, step_decay=0.9, keep=True)
    for name, config in (("l1", _L1), ("l2", _L2))
}
_SHARES = {
    f"l1-p{p:g}": replace(_L1, second_probability=p) for p in (0.1, 0.2, 0.3, 0.4)
}  # rare answers are lost
_REACH = {  # steps that reach four times as far find them
    f"{name}-reach-p{p:g}": replace(config, second_probability=p, step_size=0.2)
    for name, config, shares in (("l1", _L1, (0.1, 0.2, 0.3, 0.4, 0.5)), ("l2", _L2, (0.1, 0.3, 0.5)))
    for p in shares
}
_RELEARNED = {
    f"{name}-relearned": replace(config, relearn_updates=3000) for name, config in (("l1", _L1), ("l2", _L2))
}
_ELSEWHERE = {
    "l2-large": replace(_L2, step_size=0.4),
    "l2-sphere8": replace(_L2, latent="sphere", latent_dim=8, step_size=0.2),
    "l2-sphere2": replace(_L2, latent="sphere", latent_dim=2, step_size=0.2),
}
CELLS = [
    Cell(name, config, tuple(range(10)), stack=10, priority=priority)
    for priority, group in enumerate((_ELSEWHERE, _REACH, _RELEARNED, _SHARES, _DECAYED, _MAIN), start=10)
    for name, config in group.items()
]
