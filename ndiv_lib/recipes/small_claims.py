"""NDiv's smaller claims, one experiment each, beside the same experiment without what the claim is about.

Best of N guesses, projected joints, masked distances, and small generators on the donut: with other objectives, as a VAE's
decoder, as a regression, and with conditions (a quadrant of the donut) for the methods that are said to have none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib.adversarial import Objective, discriminator_loss, generator_loss
from ndiv_lib.baselines import (
    bourgain_embedding,
    bourgan_latents,
    bourgan_loss,
    bourgan_scale,
    pack,
    vae_loss,
    veegan_loss,
)
from ndiv_lib.data.toy import inside_donut, sample_donut
from ndiv_lib.metrics.coverage import cover_rate
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

JOINTS = 21  # of a hand, three coordinates each
SIDE = 12  # pixels of a heatmap


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds; a field that another experiment uses is left alone."""

    experiment: Literal["best_of_n", "projection", "mask", "pair_information", "donut"] = "donut"
    # best of N guesses
    joints_scored: int = JOINTS  # together: 21 is a whole pose, 1 is each joint on its own
    num_guesses: int = 1_000_000
    # projection
    kernel: Literal["gaussian", "bilinear", "rounded"] = (
        "gaussian"  # App. A.4 cites spatial transformers: bilinear
    )
    # mask
    num_occluded: int = 7  # of 21 joints
    use_mask: bool = True
    # pairs of real samples
    method: Literal["gan", "pacgan", "bourgan", "veegan"] = "gan"  # of a generator on the donut, too
    # a generator on the donut
    base: Literal["gan", "vae", "regression"] = "gan"
    objective: Objective = "nonsaturating"
    r1_weight: float = 0.0  # a Wasserstein discriminator needs a penalty
    diversity_weight: float = 0.0  # of NDiv in the reduction "sample"
    alpha: float = 0.5  # Sec. 5
    num_conditions: int = (
        1  # sectors of the donut; 0: every training point has its own angle as its condition
    )
    shuffle_conditions: bool = False
    num_train: int = 256
    num_steps: int = 800  # short, for time: with and without are trained alike
    batch_size: int = 64  # half the released code's, for time
    hidden: int = 32  # half the donut chapter's, for time
    learning_rate: float = (
        2e-3  # twice the released code's, as the run is short; Adam with betas (0.5, 0.999)
    )
    vae_std: float = 0.5  # so broad that the decoder shrinks: a VAE's own lack of diversity
    bourgan_width: float = 0.3  # the donut chapter's
    num_samples: int = 4000


# --- Best of N guesses ------------------------------------------------------------------------------------------------


def best_of_n(config: Config, seed: int) -> dict[str, float]:
    """Error of the uniform guess that is nearest to a uniform truth, as a part of a single guess's error.

    The error is the mean distance over the joints that are scored together; what is scored apart is averaged.
    """
    random = torch.Generator().manual_seed(seed)
    groups = 3 if config.joints_scored == 1 else 1  # enough to average over
    truth = torch.rand(groups, config.joints_scored, 3, generator=random)
    best, total = torch.full((groups,), math.inf), 0.0
    for size in torch.full((config.num_guesses,), 1).split(20_000):
        for group in range(groups):  # one at a time keeps memory small
            guesses = torch.rand(len(size), config.joints_scored, 3, generator=random)
            errors = (guesses - truth[group]).norm(dim=-1).mean(-1)
            best[group] = torch.minimum(best[group], errors.min())
            total += float(errors.sum()) / groups / config.num_guesses
    return {"error_share": float(best.mean()) / total, "error": float(best.mean())}


# --- Projection -------------------------------------------------------------------------------------------------------


def heatmap(joints: Tensor, kernel: Literal["gaussian", "bilinear", "rounded"]) -> Tensor:
    """Joints ``(n, 2)`` in pixels to an image ``(SIDE, SIDE)``: a spot for each."""
    if kernel == "rounded":
        joints = joints.round()
    offset = torch.arange(SIDE) - joints[..., None]  # (n, 2, SIDE)
    spots = (-0.5 * offset.square()).exp() if kernel == "gaussian" else (1 - offset.abs()).clamp_min(0)
    return (spots[:, 0, :, None] * spots[:, 1, None]).sum(0)


def projection(config: Config, seed: int) -> dict[str, float]:
    """Gradient of a weighted heatmap against central differences, and whether gradient steps find a joint."""
    random = torch.Generator().manual_seed(seed)
    joints = 1 + (SIDE - 3) * torch.rand(4, 2, generator=random, dtype=torch.float64)
    weights = torch.randn(SIDE, SIDE, generator=random, dtype=torch.float64)

    def value(joints: Tensor) -> Tensor:
        return (weights * heatmap(joints, config.kernel)).sum()

    start = joints.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(start), start)
    steps = 1e-6 * torch.eye(joints.numel(), dtype=torch.float64).unflatten(1, joints.shape)
    differences = torch.stack([(value(joints + s) - value(joints - s)) / 2e-6 for s in steps])

    target = joints[:1]
    found = (target + 0.8 * torch.rand(1, 2, generator=random, dtype=torch.float64)).requires_grad_()
    distance = float((found.detach() - target).norm())
    adam = torch.optim.Adam([found], 0.02)
    for _ in range(300):
        adam.zero_grad()
        (heatmap(found, config.kernel) - heatmap(target, config.kernel)).square().sum().backward()
        adam.step()
    return {
        "gradient_norm": float(gradient.norm()),
        "gradient_error": float(
            (gradient.flatten() - differences).norm() / differences.norm().clamp_min(1e-9)
        ),
        "distance_left": float((found.detach() - target).norm()) / distance,
    }


# --- Masked distances -------------------------------------------------------------------------------------------------


def mask(config: Config, seed: int) -> dict[str, float]:
    """NDiv alone on twenty poses of one image, whose occluded joints count: which joints does it move?"""
    random = torch.Generator().manual_seed(seed)
    latents = torch.rand(20, 10, generator=random)  # Sec. 5.4: 20 samples for each image, z in 10 dimensions
    poses = (0.01 * torch.randn(20, JOINTS, 3, generator=random)).requires_grad_()
    occluded = torch.randperm(JOINTS, generator=random) < config.num_occluded
    counts = occluded if config.use_mask else torch.ones(JOINTS, dtype=torch.bool)
    shown = counts[:, None].expand(20, JOINTS, 3)

    def spread(joints: Tensor) -> Tensor:
        return poses.detach()[:, joints].std(0).mean() if joints.any() else torch.ones(())

    before = spread(occluded), spread(~occluded)
    masked = poses.detach() * shown
    distances = torch.cdist(masked.flatten(1), masked.flatten(1))
    literal = distances / distances.sum(1, keepdim=True)  # Eq. 3 as printed
    refused = 0.0
    adam = torch.optim.SGD([poses], 0.1)
    try:
        for _ in range(200):
            adam.zero_grad()
            ndiv_loss(latents, poses, alpha=1.0, output_mask=shown, reduction="sample").backward()
            adam.step()
    except ValueError:
        refused = 1.0
    return {
        "occluded_growth": float(spread(occluded) / before[0]),
        "visible_growth": float(spread(~occluded) / before[1]),
        "undefined": float(literal.isnan().any()),
        "refused": refused,
    }


# --- Who looks at pairs of real samples -------------------------------------------------------------------------------


def pair_information(config: Config, seed: int) -> dict[str, float]:
    """Whether two real samples meet in a method's training loss: the norm of its mixed second derivative."""
    random = [torch.Generator().manual_seed(seed)]
    real = torch.randn(8, 2, generator=random[0], dtype=torch.float64, requires_grad=True)
    fake = torch.randn(8, 2, generator=random[0], dtype=torch.float64)
    z = torch.randn(8, 2, generator=random[0], dtype=torch.float64)
    dim = 4 if config.method in ("pacgan", "veegan") else 2
    discriminator, reconstructor = (
        StackedMLP(sizes, random).double() for sizes in ([dim, 16, 1], [2, 16, 2])
    )

    def judged(points: Tensor) -> Tensor:
        """Logits, of a smooth function of the points so that second derivatives exist."""
        return discriminator(points[None].sin())[0, :, 0]

    if config.method == "bourgan":
        embedding = bourgain_embedding(real, generator=random[0])
        loss = (embedding * torch.randn(embedding.shape, generator=random[0])).sum()
    elif config.method == "veegan":
        rebuilt = reconstructor(real[None].sin())[0]
        loss = veegan_loss(
            z,
            reconstructor(fake[None])[0],
            real_logits=judged(torch.cat([rebuilt, real], -1)),
            fake_logits=judged(torch.cat([z, fake], -1)),
        )
    else:
        size = 2 if config.method == "pacgan" else 1
        loss = discriminator_loss(real_logits=judged(pack(real, size)), fake_logits=judged(pack(fake, size)))
    (first,) = torch.autograd.grad(loss, real, create_graph=True)
    (mixed,) = torch.autograd.grad(first[0].sum(), real)  # of the first sample's gradient by the others
    return {"pair_dependence": float(mixed[1:].norm())}


# --- Generators on the donut ------------------------------------------------------------------------------------------


def sector(points: Tensor, num_conditions: int) -> Tensor:
    """Which sector of the plane points ``(..., 2)`` lie in, counted from the negative x axis."""
    turn = torch.atan2(points[..., 1], points[..., 0]) / (2 * math.pi) + 0.5
    return (turn * num_conditions).long().clamp(0, num_conditions - 1)


def training_data(config: Config, seeds: Sequence[int]) -> Tensor:
    """Points of every seed and condition, equally many: ``(k, conditions, num_train / conditions, 2)``."""
    each = config.num_train // config.num_conditions
    stacks = []
    for generator in StackedDraws(seeds).generators:
        points = sample_donut(4 * config.num_train, generator=generator)
        parts = [
            points[sector(points, config.num_conditions) == c][:each] for c in range(config.num_conditions)
        ]
        if config.shuffle_conditions:
            order = torch.randperm(each * config.num_conditions, generator=generator)
            parts = list(torch.cat(parts)[order].split(each))
        stacks.append(torch.stack(parts))
    return torch.stack(stacks)


def train(config: Config, seeds: Sequence[int]) -> Tensor:
    """Train one generator per seed; return points of every condition ``(k, conditions, n, 2)``."""
    data = training_data(config, seeds)
    k, conditions, each, _ = data.shape
    draws, fresh = StackedDraws(seeds, stream=1), StackedDraws(seeds, stream=2)
    n, size = config.batch_size // conditions, 2 if config.method == "pacgan" else 1
    labels = torch.eye(conditions)[:, None]

    def rows(tensor: Tensor) -> Tensor:
        """``(k, conditions, m, d)`` with the condition beside it, as a network's input."""
        return torch.cat([tensor, labels.expand(k, -1, tensor.shape[2], -1)], -1).flatten(1, 2)

    def latents(draws: StackedDraws, m: int) -> Tensor:
        if config.method != "bourgan":
            return draws.rand(conditions, m, 2)
        width = config.bourgan_width
        return torch.stack(
            [
                torch.stack([bourgan_latents(e, m, width=width, generator=g) for e in own])
                for own, g in zip(embedded, draws.generators, strict=True)
            ]
        )

    dim = 2
    if config.method == "bourgan":
        embedded = [
            [bourgain_embedding(p, generator=g) for p in own]
            for own, g in zip(data, draws.generators, strict=True)
        ]
        scale = torch.tensor(
            [
                [bourgan_scale(p, e) for p, e in zip(*pair, strict=True)]
                for pair in zip(data, embedded, strict=True)
            ]
        )[..., None, None]
        dim = embedded[0][0].shape[1]

    hidden = [config.hidden] * 2
    generator = StackedMLP([dim + conditions, *hidden, 2], draws.generators)
    judge = StackedMLP([2 * size + conditions, *hidden, 1], draws.generators)
    encoder = StackedMLP([2 + conditions, *hidden, 2 * dim], draws.generators)
    own = [*generator.parameters(), *(encoder.parameters() if config.base == "vae" else [])]
    adam, judge_adam = (
        torch.optim.Adam(p, config.learning_rate, (0.5, 0.999), fused=True) for p in (own, judge.parameters())
    )

    def generate(z: Tensor) -> Tensor:
        return generator(rows(z)).unflatten(1, (conditions, -1))

    def real_points() -> Tensor:
        index = draws.randint(each, conditions, n)[..., None].expand(-1, -1, -1, 2)
        return data.gather(2, index)

    def judge_step() -> None:
        real, fake = rows(pack(real_points(), size)), rows(pack(generate(latents(draws, n)).detach(), size))
        real_logits, slope = judge.with_input_gradient(real)
        loss = discriminator_loss(
            real_logits=real_logits, fake_logits=judge(fake), objective=config.objective, reduction="none"
        )
        penalty = 0.5 * config.r1_weight * slope[..., : 2 * size].square().sum(-1)
        _step(judge_adam, loss.mean((1, 2)) + penalty.mean(1))

    def base_loss(outputs: Tensor) -> Tensor:
        """What the generator minimizes besides diversity: ``(k,)``."""
        real = real_points()
        if config.base == "regression":
            return (outputs - real).abs().mean((1, 2, 3))
        if config.base == "vae":
            mean, log_variance = encoder(rows(real)).unflatten(1, (conditions, -1)).chunk(2, -1)
            z = mean + (0.5 * log_variance).exp() * draws.randn(conditions, n, dim)
            return vae_loss(real, generate(z), mean, log_variance, std=config.vae_std).mean(1)
        real_logits = judge(rows(pack(real, size))) if config.objective == "relativistic" else None
        fake_logits = judge(rows(pack(outputs, size)))
        return generator_loss(
            fake_logits=fake_logits, real_logits=real_logits, objective=config.objective, reduction="none"
        ).mean((1, 2))

    def prior(draws: StackedDraws, m: int) -> Tensor:
        return draws.randn(conditions, m, dim) if config.base == "vae" else latents(draws, m)

    for _ in range(config.num_steps):
        if config.base == "gan":
            judge_step()
        z = prior(draws, n)
        outputs = generate(z)
        losses = base_loss(outputs)
        if config.diversity_weight:
            value = ndiv_loss(z, outputs, alpha=config.alpha, reduction="none").mean(1)
            losses = losses + config.diversity_weight * (n - 1) * value
        if config.method == "bourgan":
            losses = losses + 0.1 * bourgan_loss(scale * z, outputs, scale=1.0).mean(1)
        _step(adam, losses)
    with torch.no_grad():
        return generate(prior(fresh, config.num_samples // conditions))


def _step(optimizer: torch.optim.Optimizer, losses: Tensor) -> None:
    optimizer.zero_grad()
    losses.sum().backward()
    optimizer.step()


def measure(config: Config, samples: Tensor) -> dict[str, float]:
    """Rates of one seed's points ``(conditions, n, 2)``; a point in another condition's sector is invalid as well."""
    conditions = torch.arange(len(samples))[:, None]
    right = sector(samples, len(samples)) == conditions
    valid = inside_donut(samples) & right
    covered = (
        cover_rate(samples[valid], inside=inside_donut, cell_size=0.1, bounds=(-2.1, 2.1))
        if valid.any()
        else 0.0
    )
    invalid = 1 - float(valid.float().mean())
    return {
        "cover": covered,
        "invalid": invalid,
        "score": covered - invalid,
        "right_sector": float(right.float().mean()),
    }


def donut(config: Config, seeds: Sequence[int]) -> list[dict[str, float]]:
    """Train and measure; a method that cannot be trained covers nothing."""
    if config.num_conditions == 0:  # every angle of a training point is a condition of its own
        point = sample_donut(1, generator=torch.Generator().manual_seed(0))
        try:
            bourgain_embedding(point)
        except ValueError:  # one point has no distances
            return [{"cover": 0.0, "invalid": 0.0, "score": 0.0, "right_sector": 0.0} for _ in seeds]
    return [measure(config, samples) for samples in train(config, seeds)]


# --- The recipe -------------------------------------------------------------------------------------------------------

_NDIV = 8.0  # the library's default weight; 8 beside an L1 loss threw every point off the donut, on a tuning seed: there it is 1
_GENERIC: dict[str, Config] = {
    "nonsaturating": Config(),
    "wasserstein": Config(objective="wasserstein", r1_weight=0.1),
    "hinge": Config(objective="hinge"),
    "least_squares": Config(objective="least_squares"),
    "relativistic": Config(objective="relativistic"),
    "vae": Config(base="vae"),
    "regression": Config(base="regression", num_conditions=4, alpha=0.8),  # Sec. 5: 0.8 with conditions
    "regression_slack_1": Config(base="regression", num_conditions=4, alpha=1.0),
}
_CONDITIONAL = Config(num_conditions=4, r1_weight=0.02)
_HAND = Config(experiment="mask")

PRESETS: dict[str, Config] = {
    **{
        f"{space}-{count}": Config(experiment="best_of_n", joints_scored=joints, num_guesses=count)
        for space, joints in (("joint", 1), ("pose", JOINTS))
        for count in (1, 100, 10_000, 1_000_000)
    },
    "gaussian": Config(experiment="projection", kernel="gaussian"),
    "bilinear": Config(experiment="projection", kernel="bilinear"),
    "rounded": Config(experiment="projection", kernel="rounded"),
    "some_occluded": _HAND,
    "none_occluded": replace(_HAND, num_occluded=0),
    "no_mask": replace(_HAND, use_mask=False),
    "pairs-gan": Config(experiment="pair_information", method="gan"),
    "pairs-pacgan": Config(experiment="pair_information", method="pacgan"),
    "pairs-bourgan": Config(experiment="pair_information", method="bourgan"),
    "pairs-veegan": Config(experiment="pair_information", method="veegan"),
    **{f"{name}-without": config for name, config in _GENERIC.items()},
    **{
        f"{name}-ndiv": replace(config, diversity_weight=1.0 if config.base == "regression" else _NDIV)
        for name, config in _GENERIC.items()
    },
    "conditional-gan": _CONDITIONAL,
    "conditional-pacgan": replace(_CONDITIONAL, method="pacgan"),
    "conditional-pacgan-shuffled": replace(_CONDITIONAL, method="pacgan", shuffle_conditions=True),
    "bourgan-unconditional": replace(_CONDITIONAL, method="bourgan", num_conditions=1),
    "bourgan-finite": replace(_CONDITIONAL, method="bourgan"),
    "bourgan-infinite": replace(_CONDITIONAL, method="bourgan", num_conditions=0),
}

_SINGLE: dict[str, Callable[[Config, int], dict[str, float]]] = {
    "best_of_n": best_of_n,
    "projection": projection,
    "mask": mask,
    "pair_information": pair_information,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The experiment's numbers for every seed."""
    if config.experiment == "donut":
        rows, counts = donut(config, seeds), (config.num_train, config.num_samples)
    else:
        rows, counts = [_SINGLE[config.experiment](config, seed) for seed in seeds], (0, 0)
    return Measured(
        values={metric: [row[metric] for row in rows] for metric in rows[0]},
        n_real=counts[0],
        n_generated=counts[1],
    )


def smoke(config: Config) -> Config:
    """A few steps or guesses, to see that everything runs."""
    return replace(config, num_steps=3, num_guesses=min(config.num_guesses, 100), num_samples=400)


CELLS = [Cell(preset, config, tuple(range(10)), stack=10) for preset, config in PRESETS.items()]
