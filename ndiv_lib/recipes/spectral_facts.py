"""Spherical harmonics and Zernike moments (cGML, App. 3.12 and 4): what the printed formulas give, and what mended ones do.

Six tasks: the harmonics of Eq. 25-30; sampling on the sphere; how many functions there are; the Zernike functions of Eq. 31-36;
what a rotation changes; and solids rebuilt from their moments: procedural chairs, or chairs and monitors of ModelNet10.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import require
from ndiv_lib.recipes.recording import Cell, Measured
from ndiv_lib.recipes.spectral_solids import chair, look_up, modelnet, view
from ndiv_lib.spectral import (
    SphericalTransform,
    ZernikeTransform,
    harmonic_index,
    harmonic_orders,
    power_spectrum,
    spherical_harmonics,
    zernike_functions,
    zernike_orders,
    zernike_radial,
)

Formula = Literal["orthonormal", "corrected", "four_pi", "printed", "printed_binomial", "printed_limit"]
BOTH = ("orthonormal", "corrected", "printed")  # forms of Eq. 32 and 33 that the library has too


@dataclass(frozen=True)
class Config:
    """Everything that decides the numbers, except the seeds."""

    task: Literal["harmonics", "sampling", "counts", "zernike", "rotation", "solids"] = "harmonics"
    max_degree: int = 9  # printed for Zernike moments
    phase: Literal["condon_shortley", "printed"] = "condon_shortley"
    orders: Literal["all", "printed"] = "all"  # printed: l positive, |m| < l
    num_samples: int = 20  # rows and columns of a map: Driscoll and Healy's count for max_degree
    weights: Literal["driscoll_healy", "sine", "least_squares"] = "driscoll_healy"
    formula: Formula = "orthonormal"
    shapes: Literal["chairs", "modelnet"] = "chairs"
    num_radii: int = 11  # max_degree + 2, exact for polynomials
    keep: int = 0  # shapes whose picture is kept


SMALL = Config(task="zernike")
SOLIDS = Config(task="solids", max_degree=30, num_samples=96, num_radii=48)

PRESETS: dict[str, Config] = {
    "paper": Config(task="zernike", formula="printed"),
    "ours": SMALL,
    "harmonics": Config(),
    "sampling": Config(task="sampling", max_degree=127, num_samples=256),
    "counts": Config(task="counts"),
    "rotation": Config(task="rotation"),
    "solids": SOLIDS,
    "modelnet": replace(SOLIDS, shapes="modelnet"),
}

# --- Spherical harmonics ----------------------------------------------------------------------------------------------


def printed_harmonic(degree: int, order: int, polar: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """Eq. 25 with Eq. 26, letter by letter; the polynomial in exact fractions, because its terms nearly cancel near the poles."""
    values = []
    for x in map(Fraction, np.cos(polar).tolist()):
        derivative = sum(
            (-1) ** (degree - k)
            * math.comb(degree, k)
            * math.perm(2 * k, degree + order)
            * x ** (2 * k - degree - order)
            for k in range(degree + 1)
            if 2 * k >= degree + order
        )
        legendre = (-1) ** order * float(1 - x * x) ** (order / 2) / (2**degree * math.factorial(degree))
        values.append(legendre * float(derivative))
    ratio = math.factorial(degree - order) / math.factorial(degree + order)
    norm = (-1) ** order * math.sqrt((2 * degree + 1) / (4 * math.pi) * ratio)
    return norm * np.array(values) * np.exp(1j * order * azimuth)


def harmonics(config: Config, seed: int) -> dict[str, float]:
    """Gram matrix, printed formulas, SciPy's sign, a function without the orders that the print leaves out."""
    sph_harm_y = require("scipy.special", "book").sph_harm_y
    random = torch.Generator().manual_seed(seed)
    transform = SphericalTransform(config.max_degree, num_samples=config.num_samples)
    values = on_grid(transform, config)
    gram = values.mH @ (values * areas(transform)[:, None])
    degree, order = harmonic_orders(config.max_degree).T

    polar, azimuth = (
        angle * torch.rand(20, generator=random, dtype=torch.float64) for angle in (math.pi, 2 * math.pi)
    )
    drawn = spherical_harmonics(config.max_degree, polar, azimuth, phase=config.phase)
    pairs = list(zip(degree.tolist(), order.tolist(), strict=True))
    loop = np.stack([printed_harmonic(j, m, polar.numpy(), azimuth.numpy()) for j, m in pairs], -1)
    scipy = torch.from_numpy(
        np.stack([sph_harm_y(j, m, polar.numpy(), azimuth.numpy()) for j, m in pairs], -1)
    )
    overlap = (drawn * scipy.conj()).real.sum(0) / scipy.abs().square().sum(0)

    kept = (degree > 0) & (order.abs() < degree) if config.orders == "printed" else degree >= 0
    maps = torch.randn(config.num_samples, config.num_samples, generator=random, dtype=torch.float64)
    true = transform.analyze(maps)
    wanted = transform.synthesize(true).real
    ours = transform.synthesize(transform.analyze(wanted) * kept).real
    one = torch.zeros_like(true)
    one[0] = math.sqrt(4 * math.pi)
    # Eq. 30 nests its integrals so that the polar angle runs to 2 pi, where (1 - x^2)^(1/2) = |sin| and sin < 0
    upper = values.T.unflatten(1, maps.shape)
    twice = torch.cat([upper, upper.flip(1)], 1)
    angle = (torch.arange(2 * config.num_samples, dtype=torch.float64) + 0.5) * (math.pi / config.num_samples)
    half = twice[..., : config.num_samples // 2 + 1]  # azimuth to pi
    function = torch.einsum("k,kij->ij", true.to(half.dtype), half)
    swapped = torch.einsum("ij,kij,i->k", function, half.conj(), angle.sin().to(half.dtype))
    return {
        "gram_error": float((gram - torch.eye(len(gram))).abs().max()),
        "printed_error": float(np.abs(drawn.numpy() - loop).max()),
        "scipy_error": float((drawn - scipy).abs().max()),
        "even_overlap": float(overlap[order % 2 == 0].mean()),
        "odd_overlap": float(overlap[order % 2 == 1].mean()),
        "num_functions": float(kept.sum()),
        "expansion_error": relative(ours, wanted),
        "constant_error": relative(transform.synthesize(one * kept).real, transform.synthesize(one).real),
        "eq30_largest": float(swapped.abs().max() / true.abs().max()),
    }


def on_grid(transform: SphericalTransform, config: Config) -> Tensor:
    """All harmonics on the transform's grid: ``(num_samples^2, num_functions)``."""
    values = spherical_harmonics(
        config.max_degree, transform.polar[:, None], transform.azimuth, phase=config.phase
    )
    return values.flatten(0, 1)


def areas(transform: SphericalTransform) -> Tensor:
    """Weight of every sample of a map, in the order of :func:`on_grid`."""
    return transform.weights.repeat_interleave(transform.num_samples)


# --- Sampling and counting --------------------------------------------------------------------------------------------


def sampling(config: Config, seed: int) -> dict[str, float]:
    """Random coefficients to a map and back."""
    random = torch.Generator().manual_seed(seed)
    count = (config.max_degree + 1) ** 2
    true = torch.randn(count, generator=random, dtype=torch.complex128)
    degree, order = harmonic_orders(config.max_degree).T
    if config.weights == "least_squares":
        error, samples = (from_half_the_samples(config.max_degree, true) - true).abs(), 0
        samples = (config.max_degree + 1) * (2 * config.max_degree + 1)
    else:
        transform = SphericalTransform(
            config.max_degree, num_samples=config.num_samples, weights=config.weights
        )
        error = (transform.analyze(transform.synthesize(true)) - true).abs()
        samples = config.num_samples**2
    return {
        "num_moments": float(count),
        "num_samples": float(samples),
        "largest_error": float(error.max()),
        "largest_error_inside": float(error[order.abs() < config.max_degree].max()),
        "largest_error_of_lower_degrees": float(error[degree < config.max_degree].max()),
        "error_of_constant": float(error[0]),
    }


def from_half_the_samples(max_degree: int, true: Tensor) -> Tensor:
    """Coefficients from ``max_degree + 1`` equidistant rows of ``2 max_degree + 1`` columns, by least squares for each order.

    The FFT over the azimuth is exact with that many columns, so only the polar angle is computed here.
    """
    rows = (torch.arange(max_degree + 1, dtype=torch.float64) + 0.5) * (math.pi / (max_degree + 1))
    table = spherical_harmonics(max_degree, rows, torch.zeros_like(rows)).real
    found = torch.empty_like(true)
    for order in range(-max_degree, max_degree + 1):
        at = [harmonic_index(degree, order) for degree in range(abs(order), max_degree + 1)]
        ring = (table[:, at].to(true.dtype) @ true[at])[:, None]
        solved = torch.linalg.lstsq(table[:, at], torch.view_as_real(ring[:, 0])).solution
        found[at] = torch.view_as_complex(solved.contiguous())
    return found


def counts(config: Config, seed: int) -> dict[str, float]:
    """Functions by brute force over all triples; the side of the map after the printed transposed convolution."""
    top = range(config.max_degree + 1)
    triples = [(n, j, m) for n in top for j in range(n + 1) for m in range(-j, j + 1) if (n - j) % 2 == 0]
    printed = torch.zeros(1, 1, 10, 10)
    return {
        "zernike": float(len(triples)),
        "zernike_nonnegative": float(sum(m >= 0 for _, _, m in triples)),
        "zernike_pairs": float(len({(n, j) for n, j, _ in triples})),
        "harmonics": float(sum(2 * j + 1 for j in top)),
        "rows_of_library": float(len(zernike_orders(config.max_degree))),
        "harmonics_below_128": float(sum(2 * j + 1 for j in range(128))),
        "harmonics_to_128": float(sum(2 * j + 1 for j in range(129))),
        "upsampled_side": float(F.conv_transpose2d(printed, torch.zeros(1, 1, 5, 5), stride=3).shape[-1]),
    }


# --- Zernike functions ------------------------------------------------------------------------------------------------


def radial_part(n: int, degree: int, radius: Tensor, formula: str) -> Tensor:
    """Eq. 32 and 33 as sums of powers, each with what ``formula`` leaves as printed."""
    k, printed = (n - degree) // 2, formula.startswith("printed")
    upper = (n - 1) // 2 if formula in ("printed", "printed_limit") else k
    total = torch.zeros_like(radius)
    for v in range(upper + 1):
        top = 2 * k + degree + v + 1 if printed and formula != "printed_limit" else 2 * (k + degree + v) + 1
        scalar = (-1) ** k / 2 ** (2 * k) * math.sqrt((2 * n + 3) / 3) * math.comb(2 * k, k) * (-1) ** v
        scalar *= math.comb(k, v) * math.comb(top, 2 * k) / math.comb(k + degree + v, k)
        total = total + scalar * radius ** (2 * v + degree)
    return total * {"orthonormal": math.sqrt(3), "four_pi": math.sqrt(4 * math.pi)}.get(formula, 1.0)


def radial_table(max_degree: int, radius: Tensor, formula: str) -> Tensor:
    """The radial part of every Zernike function at every radius: ``(num_radii, num_moments)``."""
    rows = zernike_orders(max_degree).tolist()
    parts = {(n, j): radial_part(n, j, radius, formula) for n, j, _ in rows}
    return torch.stack([parts[n, j] for n, j, _ in rows], 1)


def rebuild(values: Tensor, transform: ZernikeTransform, table: Tensor) -> Tensor:
    """Eq. 36, then Eq. 35, with the radial parts of ``table``: spheres first, then the radius."""
    sphere = SphericalTransform(transform.max_degree, num_samples=transform.points.shape[1])
    _, degree, order = zernike_orders(transform.max_degree).T
    harmonic = degree * degree + degree + order
    measure = transform.weights.sum((1, 2)) / (4 * math.pi)  # r^2 dr
    shells = sphere.analyze(values)
    moments = (shells[..., harmonic] * table * measure[:, None]).sum(-2)
    back = torch.zeros_like(shells).index_add(-1, harmonic, moments[..., None, :] * table)
    return sphere.synthesize(back).real


def zernike(config: Config, seed: int) -> dict[str, float]:
    """Gram matrix of the radial parts (of one degree: others are orthogonal by their harmonics), and an expansion."""
    random = torch.Generator().manual_seed(seed)
    transform = ZernikeTransform(
        config.max_degree, num_radii=config.num_radii, num_samples=config.num_samples
    )
    radius, measure = transform.radius, transform.weights.sum((1, 2)) / (4 * math.pi)
    norms, off_diagonal = [], 0.0
    for degree in range(config.max_degree + 1):
        parts = torch.stack(
            [radial_part(n, degree, radius, config.formula) for n in range(degree, config.max_degree + 1, 2)]
        )
        gram = parts * measure @ parts.T
        norms.append(gram.diagonal())
        off_diagonal = max(off_diagonal, float((gram - torch.diag(gram.diagonal())).abs().max()))
    norm = torch.cat(norms)

    moments = transform.analyze(torch.randn(transform.weights.shape, generator=random, dtype=torch.float64))
    function = transform.synthesize(moments).real
    rebuilt = rebuild(function, transform, radial_table(config.max_degree, radius, config.formula))
    facts = {
        "norm_min": float(norm.min()),
        "norm_max": float(norm.max()),
        "off_diagonal": off_diagonal,
        "expansion_error": relative(rebuilt, function),
        "rebuilt_share": float((rebuilt * function).sum() / function.square().sum()),
    }
    if config.formula in BOTH:
        drawn = torch.rand(20, generator=random, dtype=torch.float64)
        errors = [
            (radial_part(n, j, drawn, config.formula) - zernike_radial(n, j, drawn, formula=config.formula))  # type: ignore[arg-type]
            for n, j, _ in zernike_orders(config.max_degree).tolist()
        ]
        facts["library_error"] = float(torch.stack(errors).abs().max())
    if config.formula == "orthonormal":
        full = zernike_functions(config.max_degree, transform.points).flatten(0, 2)
        gram = full.mH @ (full * transform.weights.flatten()[:, None])
        facts["gram_error"] = float((gram - torch.eye(len(gram))).abs().max())
    return facts


def relative(value: Tensor, reference: Tensor) -> float:
    """Size of the difference as a part of the reference's size."""
    return float((value - reference).norm() / reference.norm())


# --- Solids -----------------------------------------------------------------------------------------------------------


def solids(config: Config, seeds: Sequence[int]) -> Measured:
    """Overlap of a solid and of what its moments rebuild, degree by degree; the pictures of the first seeds."""
    transform = ZernikeTransform(
        config.max_degree, num_radii=config.num_radii, num_samples=config.num_samples
    )
    inside = chair if config.shapes == "chairs" else modelnet
    values: dict[str, list[float]] = {}
    pictures: list[np.ndarray] = []
    for seed in seeds:
        solid = inside(transform.points, seed)
        parts = rebuilt_parts(solid.double(), transform, config)
        volume = float((transform.weights * solid).sum())
        row = {"volume": volume}
        for degree, part in parts.items():
            row[f"overlap{degree}"] = overlap(solid, part > 0.5, transform.weights)
            row[f"energy{degree}"] = float((transform.weights * part * solid).sum()) / volume
        for metric, value in row.items():
            values.setdefault(metric, []).append(value)
        if len(pictures) < config.keep:
            whole = view(lambda points, seed=seed: inside(points, seed).double())  # type: ignore[misc]
            last = view(partial(look_up, parts[config.max_degree], transform))
            pictures.append((255 * torch.stack([whole, last])).byte().numpy())
    arrays = {"views": np.stack(pictures)} if pictures else {}
    num_real = len(seeds) if config.shapes == "modelnet" else 0
    return Measured(values, n_real=num_real, n_generated=len(seeds), arrays=arrays)


def rebuilt_parts(values: Tensor, transform: ZernikeTransform, config: Config) -> dict[int, Tensor]:
    """What moments up to each degree rebuild; for formulas that are not ours, only up to the last."""
    if config.formula != "orthonormal":
        table = radial_table(config.max_degree, transform.radius, config.formula)
        return {config.max_degree: rebuild(values, transform, table)}
    moments, n = transform.analyze(values), zernike_orders(config.max_degree)[:, 0]
    return {k: transform.synthesize(moments * (n <= k)).real for k in range(config.max_degree + 1)}


def overlap(solid: Tensor, other: Tensor, weights: Tensor) -> float:
    """Volume of the intersection over volume of the union."""
    return float((weights * (solid & other)).sum() / (weights * (solid | other)).sum())


# --- Rotations --------------------------------------------------------------------------------------------------------


def rotation(config: Config, seed: int) -> dict[str, float]:
    """A random rotation of a random polynomial (exactly) and of a chair (sampled anew): moments and their spectrum."""
    random = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=random, dtype=torch.float64))[0]
    turn = turn * turn.det()
    transform = ZernikeTransform(config.max_degree)
    moments = transform.analyze(torch.randn(transform.weights.shape, generator=random, dtype=torch.float64))
    turned = (zernike_functions(config.max_degree, transform.points @ turn) @ moments).real
    fine = ZernikeTransform(config.max_degree, num_radii=config.num_radii, num_samples=config.num_samples)
    here, there, other = (
        fine.analyze(chair(points, number).double())
        for points, number in ((fine.points, seed), (fine.points @ turn, seed), (fine.points, seed + 100))
    )
    first, again = moments, transform.analyze(turned)
    spectrum = [power_spectrum(one, domain="ball").sqrt() for one in (first, again, here, there, other)]
    return {
        "moments_change": relative(again, first),
        "spectrum_change": relative(spectrum[1], spectrum[0]),
        "chair_moments_change": relative(there, here),
        "chair_spectrum_change": relative(spectrum[3], spectrum[2]),
        "other_chair_spectrum_change": relative(spectrum[4], spectrum[2]),
    }


# --- Recipe -----------------------------------------------------------------------------------------------------------

TASKS = {
    "harmonics": harmonics,
    "sampling": sampling,
    "counts": counts,
    "zernike": zernike,
    "rotation": rotation,
}


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """The task of the configuration for every seed."""
    if config.task == "solids":
        return solids(config, seeds)
    rows = [TASKS[config.task](config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values, n_real=0, n_generated=0)


def smoke(config: Config) -> Config:
    """A few degrees on the smallest grid."""
    degree = min(config.max_degree, 5)
    return replace(config, max_degree=degree, num_samples=2 * degree + 2, num_radii=degree + 2)


SEEDS = tuple(range(10))
SAMPLING = PRESETS["sampling"]
FORMULAS: tuple[Formula, ...] = get_args(Formula)
PICTURED = 24  # the degree at which printed and mended formulas are compared on solids

VARIANTS: dict[str, Config] = {
    "harmonics-condon_shortley": Config(),
    "harmonics-printed": Config(phase="printed"),
    "expansion-all": Config(),
    "expansion-printed": Config(orders="printed"),
    "sampling-127": SAMPLING,
    "sampling-128": replace(SAMPLING, max_degree=128),
    "sampling-127-sine": replace(SAMPLING, weights="sine"),
    "sampling-127-least_squares": replace(SAMPLING, weights="least_squares"),
    "counts": PRESETS["counts"],
    **{f"zernike-{formula}": replace(SMALL, formula=formula) for formula in FORMULAS},
    "rotation": replace(PRESETS["rotation"], num_samples=64, num_radii=40),
    "chairs": SOLIDS,
    **{
        f"chairs-{formula}": replace(SOLIDS, max_degree=PICTURED, formula=formula, keep=1)
        for formula in FORMULAS[:4]
        if formula != "four_pi"
    },
    "modelnet": replace(SOLIDS, shapes="modelnet"),
}

CELLS = [Cell(name, config, SEEDS, stack=10, priority=20) for name, config in VARIANTS.items()]
