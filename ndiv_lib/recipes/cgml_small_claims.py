"""cGML's smaller claims, one experiment each: taking turns, summed energies, measures of diversity and of quality, colors, the
support of a generator, and what the printed tables say about the printed sentences.

What compares trained searches is a recipe of its own, ``several_answers``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import require
from ndiv_lib.activations import record_activations
from ndiv_lib.cgml.color import color_cost
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.metrics.features import imagenet_input
from ndiv_lib.metrics.mean_pixel import mean_pixel_diversity
from ndiv_lib.metrics.perceptual import feature_diversity, load_backbone
from ndiv_lib.recipes import two_branches
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.two_branches import descend
from ndiv_lib.reporting.ledger import load_claims
from ndiv_lib.training.stacked import StackedDraws, StackedMLP


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds; a field that another experiment uses is left alone."""

    experiment: Literal[
        "turns", "energies", "diversity", "distortions", "colors", "support", "neighbors", "print"
    ] = "turns"
    cost: Literal["smooth", "wells", "absolute", "square", "saturating", "trained"] = "smooth"
    combine: Literal["sum", "least"] = "sum"  # energies: over the modes
    num_starts: int = 200  # turns
    kept: int = 10  # diversity: of 20 samples; 20 is the plain deviation
    of: Literal["pixels", "means"] = "means"  # diversity: not printed
    measure: Literal["psnr", "ssim", "features"] = "psnr"  # distortions
    blur: float = 1.0  # distortions: standard deviation in pixels, against a shift by one
    uniform_weight: float = 0.0  # colors: lambda, not printed
    over: Literal["image", "batch"] = "image"  # colors: not printed
    last_layer: Literal["tanh", "sigmoid"] = "tanh"  # colors: App. 3.1 has tanh
    support: int = 256  # support: different samples of the generator
    dims: int = 8  # support, neighbors: of the data
    intrinsic_dims: int = 0  # neighbors: if above 0, the data lie in a plane of so many
    width: int = 16  # support: of the discriminator
    num_steps: int = 400  # colors, support; of energies' search, updates
    table: Literal["all", "10", "15", "25", "STL", "ImageNet"] = "all"  # print: mask or data
    unit: Literal["fraction", "percent"] = "percent"  # print: Table 8's own row, as it stands there


# --- Taking turns (App. 2.2) ------------------------------------------------------------------------------------------

_GRID = torch.linspace(-2, 2, 401, dtype=torch.float64)


def cost_surface(cost: str) -> Tensor:
    """d(w, z) on a grid: each has one global minimum, at (1, 1)."""
    w, z = _GRID[:, None], _GRID[None]
    if cost == "smooth":  # convex, and the coordinates interact
        return (w - 1).square() + (z - 1).square() + (w - 1) * (z - 1)
    if cost == "absolute":  # convex, but with the kink of an L1 cost
        return (w - z).abs() + 0.2 * (w + z - 2).abs()
    deep, flat = ((w - at).square() + (z - at).square() for at in (1.0, -1.0))
    return -(-deep / 0.2).exp() - 0.5 * (-flat / 0.2).exp()


def turns(config: Config, seed: int) -> dict[str, float]:
    """Exact minimization over z, then over w, and so on (Eq. 13 and 14), from random starts: where does it stay?"""
    surface = cost_surface(config.cost)
    random = torch.Generator().manual_seed(seed)
    w = torch.randint(len(_GRID), (config.num_starts,), generator=random)
    for _ in range(500):
        z = surface[w].argmin(1)
        w = surface[:, z].argmin(0)
    excess = surface[w, z] - surface.min()
    return {
        "reached": float((excess < 1e-6).double().mean()),
        "excess": float(excess.mean() / (surface.max() - surface.min())),
    }


# --- Summed energies (App. 1) -----------------------------------------------------------------------------------------


def energies(config: Config, seeds: Sequence[int]) -> dict[str, list[float]]:
    """How much lower the combined energy is at two codes than halfway: below 0, the middle is the more probable place.

    In units of what one mode's energy is at the other's code.
    """
    if config.cost == "trained":
        each = _trained_energies(config, seeds)
    else:
        half = 0.5 + StackedDraws(seeds).rand(1).double()
        codes, middle = torch.cat([-half, half], 1), torch.zeros_like(half)
        away = (torch.cat([codes, middle], 1)[..., None] - codes[:, None]).abs()
        each = {"square": away.square(), "saturating": 1 - (-8 * away.square()).exp()}.get(config.cost, away)
    combined = each.sum(2) if config.combine == "sum" else each.amin(2)
    across = (each[:, 0, 1] + each[:, 1, 0]) / 2
    return {"depth": ((combined[:, 2] - combined[:, :2].mean(1)) / across).tolist()}


def _trained_energies(config: Config, seeds: Sequence[int]) -> Tensor:
    """Costs to both branches at x = 0.8, at the two best codes of trained toys and halfway: ``(k, 3, 2)``."""
    toy = two_branches.Config(steps=5, step_size=0.2, learning_rate=3e-3, num_updates=config.num_steps)
    models = two_branches.train(toy, seeds)
    x = torch.full((len(seeds), 601, 1), 0.8)
    z = torch.linspace(-3, 3, 601)[:, None].expand(len(seeds), -1, -1)
    with torch.no_grad():
        outputs = models.answers(x, z)
    each = (outputs[..., None, :] - branch_modes(x)).abs().mean(-1)
    best = each.argmin(1)
    places = torch.cat([best, best.sum(1, keepdim=True) // 2], dim=1)
    return each.gather(1, places[..., None].expand(-1, -1, 2))


# --- Measures: of diversity (App. 3.4), of quality (App. 3.2) ---------------------------------------------------------


def diversity(config: Config, seed: int) -> dict[str, float]:
    """Five draws of twenty images that differ in brightness and pattern: the measure against its steps, and against the truth."""
    random = torch.Generator().manual_seed(seed)
    draws = torch.randn(5, 20, 1, 1, generator=random) + 0.5 * torch.randn(5, 20, 8, 8, generator=random)
    found = [mean_pixel_diversity(one, num_kept=config.kept, of=config.of) for one in draws]
    followed = [_by_steps(one.flatten(1).double().numpy(), config.of) for one in draws]
    # the deviations of what was drawn
    truth = {"means": (1 + 0.25 / 64) ** 0.5, "pixels": 1.25**0.5}[config.of]
    differences = [abs(a - b) for a, b in zip(found, followed, strict=True)]
    return {"step_error": max(differences), "inflation": sum(found) / 5 / truth}


def _by_steps(samples: Any, of: str) -> float:
    """Steps 2 to 5 as printed, with 10 samples kept."""
    means = [float(sample.mean()) for sample in samples]
    middle = min(range(20), key=lambda i: abs(means[i] - sum(means) / 20))
    far = sorted(range(20), key=lambda i: -abs(means[i] - means[middle]))[:10]
    kept = np.array([means[i] for i in far])[:, None] if of == "means" else samples[far]
    return float(kept.std(axis=0, ddof=1).mean())


def distortions(config: Config, seed: int) -> dict[str, float]:
    """Share of 64-pixel crops of two photographs that a measure finds better shifted by a pixel than blurred."""
    random = torch.Generator().manual_seed(seed)
    crops = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = require("sklearn.datasets", "metrics").load_sample_image(name)
        image = torch.tensor(photograph).permute(2, 0, 1).float() / 127.5 - 1
        for _ in range(8):
            top, left = (int(torch.randint(4, side - 72, (1,), generator=random)) for side in image.shape[1:])
            crops.append(image[:, top - 4 : top + 68, left - 4 : left + 68])
    wide = torch.stack(crops)
    place = torch.arange(-4.0, 5.0)
    bell = (-place.square() / (2 * config.blur**2)).exp()
    kernel = (bell[:, None] * bell / bell.sum().square()).expand(3, 1, 9, 9)
    blurred, shifted, clean = F.conv2d(wide, kernel, groups=3), wide[..., 4:-4, 5:-3], wide[..., 4:-4, 4:-4]
    worse = [_distance(config.measure, clean, one) for one in (shifted, blurred)]
    return {"prefers_shift": float((worse[0] < worse[1]).float().mean())}


def _distance(measure: str, clean: Tensor, distorted: Tensor) -> Tensor:
    """How far distorted images are from clean ones ``(n, 3, 64, 64)`` to a measure: ``(n,)``, higher is worse."""
    if measure == "psnr":
        return (clean - distorted).square().mean((1, 2, 3))
    if measure == "ssim":
        ssim = require("torchmetrics.functional.image", "metrics").structural_similarity_index_measure
        return -torch.stack(
            [ssim(a[None], b[None], data_range=2.0) for a, b in zip(distorted, clean, strict=True)]
        )
    network = require("torchvision.models", "metrics").squeezenet1_1()
    network.load_state_dict(load_backbone("squeeze"))
    network.eval()
    names = [f"features.{level}" for level in (1, 4, 7, 9, 10, 11, 12)]  # where LPIPS looks

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        with record_activations(network, names) as recorded:
            network.features(imagenet_input(torch.stack([a, b])))
        maps = list(recorded.values())
        return feature_diversity([maps], [torch.ones(one.shape[1]) for one in maps]).sum()

    return torch.stack([distance(a, b) for a, b in zip(clean, distorted, strict=True)])


# --- Colors (Sec. 5.2, App. 3.3, 3.5) ---------------------------------------------------------------------------------

SATURATED = 0.35  # of a pixel: the length of (a, b)
_PIXELS = 64


def draw_colors(draws: StackedDraws, num_images: int) -> tuple[Tensor, Tensor]:
    """Lightness ``(k, n, pixels, 1)`` and colors ``(k, n, pixels, 2)``: three of four pixels gray, the hue follows lightness."""
    lightness = draws.rand(num_images, _PIXELS, 1)
    gray = draws.rand(num_images, _PIXELS, 1) < 0.75
    angle = 2 * torch.pi * lightness
    color = torch.where(gray, 0.0, 0.7) * torch.cat([angle.cos(), angle.sin()], -1)
    return lightness, color + 0.05 * draws.randn(num_images, _PIXELS, 2)


def colors(config: Config, seeds: Sequence[int]) -> dict[str, list[float]]:
    """A regression from lightness to color with the paper's cost: how colorful it is, and whose histogram it has.

    ``saturated``: share of pixels longer than 0.35; ``histogram_overlap``: intersection over union with the histogram of the
    true colors (Table 8), mean of both planes; ``outside_printed``: share of values where the printed u(0, 1) has no density;
    ``error``: L1.
    """
    draws = StackedDraws(seeds, stream=2)
    net = StackedMLP([1, 64, 64, 2], StackedDraws(seeds, stream=1).generators, negative_slope=0.2)
    last = torch.tanh if config.last_layer == "tanh" else torch.sigmoid
    value_range = (-1.0, 1.0) if config.last_layer == "tanh" else (0.0, 1.0)
    cost = partial(
        color_cost, uniform_weight=config.uniform_weight, over=config.over, value_range=value_range
    )
    adam = torch.optim.Adam(net.parameters(), lr=3e-3, fused=True)

    def planes(lightness: Tensor) -> Tensor:
        return last(net(lightness.flatten(1, 2))).unflatten(1, lightness.shape[1:3]).mT

    for _ in range(config.num_steps):
        lightness, truth = draw_colors(draws, 8)
        outputs = planes(lightness)
        costs = [cost(one, other.mT) for one, other in zip(outputs, truth, strict=True)]
        descend(adam, torch.cat(costs).sum() / 8)
    with torch.no_grad():
        lightness, truth = draw_colors(draws, 64)
        outputs = planes(lightness).mT
    lengths = outputs.norm(dim=-1).flatten(1)
    return {
        "saturated": (lengths > SATURATED).float().mean(1).tolist(),
        "true_saturated": (truth.norm(dim=-1).flatten(1) > SATURATED).float().mean(1).tolist(),
        "histogram_overlap": [_overlap(*pair) for pair in zip(outputs, truth, strict=True)],
        "outside_printed": (outputs < 0).float().mean((1, 2, 3)).tolist(),
        "error": (outputs - truth).abs().mean((1, 2, 3)).tolist(),
    }


def _overlap(outputs: Tensor, truth: Tensor) -> float:
    """Intersection over union of histograms of 20 bins, the mean of both planes."""
    shares = [
        [plane.histc(20, -1, 1) / plane.numel() for plane in one.clamp(-1, 1).flatten(0, 1).T]
        for one in (outputs, truth)
    ]
    both = zip(*shares, strict=True)
    return float(torch.stack([torch.minimum(p, q).sum() / torch.maximum(p, q).sum() for p, q in both]).mean())


# --- The support of a generator (Sec. 4) ------------------------------------------------------------------------------


def support(config: Config, seeds: Sequence[int]) -> dict[str, list[float]]:
    """A generator that knows ``support`` samples only, and a discriminator trained on it: how often is that right?

    ``advantage``: accuracy above one half, on new real samples; ``repeated``: chance that 64 drawn samples hold one twice,
    which tells the support.
    """
    draws, dims = StackedDraws(seeds, stream=2), config.dims
    known = draws.randn(config.support, dims)
    net = StackedMLP(
        [dims, config.width, config.width, 1], StackedDraws(seeds, stream=1).generators, negative_slope=0.2
    )
    adam = torch.optim.Adam(net.parameters(), lr=3e-3, fused=True)
    for _ in range(config.num_steps):
        real, fake = draws.randn(128, dims), draws.batch(known, 128)
        loss = F.softplus(-net(real)).mean((1, 2)) + F.softplus(net(fake)).mean((1, 2))
        descend(adam, loss.sum())
    with torch.no_grad():
        real, fake = net(draws.randn(4096, dims)) > 0, net(draws.batch(known, 4096)) <= 0
    right = (real.float().mean((1, 2)) + fake.float().mean((1, 2))) / 2
    picked = draws.randint(config.support, 200, 64).sort(-1).values
    repeated = (picked.diff(dim=-1) == 0).any(-1).float().mean(1)
    return {"advantage": (right - 0.5).tolist(), "repeated": repeated.tolist()}


def neighbors(config: Config, seed: int) -> dict[str, float]:
    """Samples that it takes until half of new points have one nearer than 0.4 of the mean distance of two points."""
    random = torch.Generator().manual_seed(seed)
    inner = config.intrinsic_dims or config.dims
    plane = torch.linalg.qr(torch.randn(config.dims, inner, generator=random)).Q

    def draw(n: int) -> Tensor:
        return torch.randn(n, inner, generator=random) @ plane.T

    new, known = draw(500), draw(32768)
    radius = 0.4 * torch.cdist(new[:250], new[250:]).mean()
    near = torch.cdist(new, known) < radius
    first = torch.where(near.any(1), near.float().argmax(1), near.shape[1])
    return {"log_samples": float((first.double() + 1).log().median())}


# --- What the printed numbers say about the printed sentences ---------------------------------------------------------

_LOWER = ("LPIP", "PieAPP")  # is better; of PSNR and SSIM higher


def _better(metric: str, ours: float, other: float) -> bool:
    return ours < other if metric in _LOWER else ours > other


def printed(config: Config, seed: int) -> dict[str, float]:
    """Counts over the cells of the tables, for one mask, one data set, or the units of Table 8."""
    claims = {claim.id: claim for claim in load_claims()}
    if config.table in ("10", "15", "25"):
        return _completion(claims["cgml-table3"].numbers, f"{config.table}%")
    table2, table8, table9 = (dict[Any, Any](claims[f"cgml-table{number}"].numbers) for number in (2, 8, 9))
    if config.table in ("STL", "ImageNet"):
        rows = table2[config.table]
        rivals = {name: row for name, row in rows.items() if not name.startswith("Ours")}

        def best(own: str) -> int:
            return sum(
                all(_better(metric, value, row[metric]) for row in rivals.values())
                for metric, value in rows[own].items()
            )

        pairs = [(a, b) for a in rivals for b in rivals if a < b]
        same = [sum(rivals[a][m] == rivals[b][m] for m in rivals[a]) for a, b in pairs]
        return {"best": best("Ours"), "best_without_rho": best("Ours (w/o rho)"), "most_shared": max(same)}
    own = table8["Ours"] if config.unit == "fraction" else {k: v / 100 for k, v in table8["Ours"].items()}
    planes_won = sum(
        all(value > row[plane] for name, row in table8.items() if name != "Ours")
        for plane, value in own.items()
    )
    figures = [
        int(number)
        for claim in claims.values()
        if claim.paper == "cGML"
        for span in re.findall(r"Fig\. ([\d, -]+)", claim.where)
        for number in re.findall(r"\d+", span)
    ]
    ours = table2["STL"]["Ours"]
    by_dim = {dim: row["diversity"] for dim, row in table9.items()}
    return {
        "table8_planes_won": planes_won,
        "last_figure": max(figures),
        "energy_figure_named": 52,
        "table9_32_is_table2": sum(table9[32][metric] == ours[metric] for metric in _LOWER),
        "table9_most_diverse": max(by_dim, key=lambda dim: by_dim[dim]),
        "table4_m10_rank": _rank(claims["cgml-table4"].numbers, "M10"),
        "table4_m40_rank": _rank(claims["cgml-table4"].numbers, "M40"),
    }


def _completion(table: Mapping[str, Any], mask: str) -> dict[str, float]:
    """Table 3 at one mask: what PN wins against ours, and what other methods gain from a larger mask."""
    rows = table[mask]
    smaller = {"15%": "10%", "25%": "15%"}.get(mask)
    gains = 0
    if smaller:
        gains = sum(
            _better(metric, rows[name][metric], table[smaller][name][metric])
            for name in rows
            for metric in rows[name]
        )
    others = {name: row for name, row in rows.items() if not name.startswith("Ours")}
    return {
        "pn_better": sum(
            _better(metric, rows["PN"][metric], value) for metric, value in rows["Ours"].items()
        ),
        "pn_better_pieapp": float(_better("PieAPP", rows["PN"]["PieAPP"], rows["Ours"]["PieAPP"])),
        "ours_best": sum(
            all(_better(metric, value, row[metric]) for row in others.values())
            for metric, value in rows["Ours"].items()
        ),
        "better_with_larger_mask": gains,
    }


def _rank(table: Mapping[str, Any], data: str) -> int:
    """1 if no other row is higher."""
    return 1 + sum(row[data] > table["Ours"][data] for row in table.values() if data in row)


# --- The recipe -------------------------------------------------------------------------------------------------------

_ONE_BY_ONE: dict[str, Callable[[Config, int], Mapping[str, float]]] = {
    "turns": turns,
    "diversity": diversity,
    "distortions": distortions,
    "neighbors": neighbors,
    "print": printed,
}
_STACKED: dict[str, Callable[[Config, Sequence[int]], dict[str, list[float]]]] = {
    "energies": energies,
    "colors": colors,
    "support": support,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The experiment's numbers for every seed."""
    if config.experiment in _STACKED:
        return Measured(_STACKED[config.experiment](config, seeds), n_real=0, n_generated=0)
    rows = [_ONE_BY_ONE[config.experiment](config, seed) for seed in seeds]
    values = {metric: [float(row[metric]) for row in rows] for metric in rows[0]}
    return Measured(values, n_real=0, n_generated=0)


def smoke(config: Config) -> Config:
    """Few starts and steps."""
    return replace(config, num_starts=5, num_steps=3)


WEIGHTS = (0.03, 0.1, 0.3)
SUPPORTS = (4, 16, 64, 256, 1024)
MEASURES: tuple[Literal["psnr", "ssim", "features"], ...] = ("psnr", "ssim", "features")
_COLORS = Config(experiment="colors")
PRESETS: dict[str, Config] = {
    **{f"turns-{cost}": Config(cost=cost) for cost in ("smooth", "wells", "absolute")},
    **{
        f"energies-{cost}-{combine}": Config(experiment="energies", cost=cost, combine=combine)
        for cost in ("square", "absolute", "saturating", "trained")
        for combine in ("sum", "least")
    },
    **{
        f"diversity-{of}-keep{kept}": Config(experiment="diversity", of=of, kept=kept)
        for of in ("means", "pixels")
        for kept in (10, 20)
    },
    **{
        f"colors-tanh-w{weight:g}": replace(_COLORS, uniform_weight=weight) for weight in (0.0, *WEIGHTS, 1.0)
    },
    "colors-tanh-w0.1-batch": replace(_COLORS, uniform_weight=0.1, over="batch"),
    "colors-sigmoid-w0": replace(_COLORS, last_layer="sigmoid"),
    **{f"support-{size}": Config(experiment="support", support=size) for size in SUPPORTS},
    **{f"support-{size}-wide": Config(experiment="support", support=size, width=128) for size in (64, 1024)},
    **{f"neighbors-{dims}": Config(experiment="neighbors", dims=dims) for dims in (2, 4, 6, 8)},
    **{
        f"neighbors-{dims}-plane": Config(experiment="neighbors", dims=dims, intrinsic_dims=2)
        for dims in (2, 8)
    },
    **{
        f"print-{table}": Config(experiment="print", table=table)
        for table in ("10", "15", "25", "STL", "ImageNet")
    },
    "print-percent": Config(experiment="print"),
    "print-fraction": Config(experiment="print", unit="fraction"),
    **{f"distortions-{measure}": Config(experiment="distortions", measure=measure) for measure in MEASURES},
}
CELLS = [
    Cell(name, config, (0,) if config.experiment == "print" else tuple(range(10)), stack=10)
    for name, config in PRESETS.items()
]
