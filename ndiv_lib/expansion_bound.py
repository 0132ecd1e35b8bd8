"""The bound of an expansion ratio (HMGAN, Eq. 7-8): the least ratio over all pairs of a data set, and where the others lie.

The matrix of Eq. 7 has m^2 entries and Eq. 8 forms it at once, in O(m^2 f) memory. Here it is walked through in tiles above the
diagonal, where a pair stands once; a quantile needs a second walk instead of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, check_same_device

# 512 x 512 pairs keep two cores busy, and of the tiles on the diagonal, half empty, little is wasted.
_TILE = 512
# Columns summed in the input's precision; longer float32 sums would lose the seventh digit. Blocks add up in float64.
_COLUMNS = 256
# Positive floats are ordered as their bits are: 20 bits are a histogram of relative width 2^-9, the next 20 of 2^-29.
_BITS = 20


@dataclass(frozen=True)
class ExpansionRatioBound:
    """What :func:`ndiv_lib.expansion_ratio_bound` found.

    Args:
        minimum: the least ratio, ``b`` of HMGAN; 0 if two equal inputs have different outputs.
        quantiles: fraction to ratio, for the fractions asked for; infinite where so many outputs coincide.
        pair: indices ``(u, v)``, u < v, of the (first) pair with the least ratio.
        mean: mean of the pairs' ratios, the quantity that ``aggregate="pair"`` steers; infinite if any ratio is.
        ratio_of_means: mean input distance over mean output distance, the quantity that ``aggregate="batch"`` steers.
        num_pairs: pairs u < v that have a ratio: all but the identical ones.
        num_infinite: pairs of different inputs with coinciding outputs, which count as infinite.
        num_identical: pairs of equal inputs with equal outputs, 0 / 0, which are left out.
    """

    minimum: float
    quantiles: dict[float, float]
    pair: tuple[int, int]
    mean: float
    ratio_of_means: float
    num_pairs: int
    num_infinite: int
    num_identical: int


@torch.no_grad()
def expansion_ratio_bound(
    inputs: Tensor,
    outputs: Tensor,
    *,
    p: Literal[1, 2] = 1,
    norm: Literal["mean", "sum"] = "mean",
    tile: int | None = None,
    quantiles: Sequence[float] = (),
) -> ExpansionRatioBound:
    r"""The least expansion ratio of a layer over all pairs of a data set, exactly and in memory flat in ``m`` (HMGAN, Eq. 7-8).

    .. math::

        b = \min_{u < v} \frac{d(x_u, x_v)}{d(y_u, y_v)}

    The least of m (m - 1) / 2 numbers falls with m and is a bound for these inputs only; quantiles hardly move. Work is
    O(m^2 f) whatever computes it, twice that with quantiles. Ratios are right to a relative 1e-6, the same for every tile.

    Args:
        inputs: ``(m, ...)``, what goes into the layer, m >= 2.
        outputs: ``(m, ...)``, what comes out of it.
        p: 1 for absolute, 2 for Euclidean distances.
        norm: ``"mean"`` (mean absolute or root mean square difference) does not depend on the layers' sizes; ``"sum"`` does.
        tile: rows and columns of pairs at a time; 512 if not given.
        quantiles: fractions in [0, 1]; each gives the ratio of rank ``floor(q (num_pairs - 1))`` counted from the least, which is
            ``numpy.quantile(..., method="lower")``, to a relative 2^-29.

    Returns:
        Minimum, quantiles, pair, means and counts, as Python numbers; never NaN.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for fewer than two inputs, different numbers of inputs and outputs, values that are not finite (or too
            large for their distances), pairs that are all identical, or another p, norm, tile or quantile.

    Example:
        >>> import torch
        >>> inputs, outputs = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [2.0], [3.0]])
        >>> bound = expansion_ratio_bound(inputs, outputs, quantiles=[0.5])
        >>> bound.minimum, bound.pair, bound.quantiles
        (0.5, (0, 1), {0.5: 1.0})
    """
    check_choice(p, "p", (1, 2))
    check_choice(norm, "norm", ("mean", "sum"))
    _check(inputs, outputs, tile, quantiles)
    x, y = inputs.flatten(1), outputs.flatten(1)
    scale = (y.shape[1] / x.shape[1]) ** (1 / p) if norm == "mean" else 1.0
    m, tile = len(x), tile or _TILE

    least, first = math.inf, m * m
    sums, total = torch.zeros(2, dtype=torch.float64), 0.0
    num_identical = num_infinite = 0
    coarse = torch.zeros(2**_BITS if quantiles else 0, dtype=torch.int64, device=x.device)
    for pairs, before, after in _walk(x, y, p, tile):
        ratios = scale * before / after
        sums += torch.stack([before.sum(), after.sum()]).cpu()
        identical = ratios.isnan()  # the distances are finite, so that this is 0 / 0
        num_identical += int(identical.sum())
        pairs, ratios = pairs[~identical], ratios[~identical]
        if not len(ratios):
            continue
        num_infinite += int(ratios.isinf().sum())
        total += float(ratios.sum())
        here = float(ratios.min())
        if here <= least:
            candidate = int(pairs[ratios == here].min())
            first = candidate if here < least else min(first, candidate)
            least = here
        if quantiles:
            _count(coarse, _coarse(ratios))

    num_pairs = m * (m - 1) // 2 - num_identical
    if num_pairs == 0:
        raise ValueError(
            f"expected at least one pair that differs, got {m} inputs that are all equal, and so are their outputs."
        )
    ranks = [math.floor(q * (num_pairs - 1)) for q in quantiles]
    return ExpansionRatioBound(
        minimum=least,
        quantiles=dict(zip(quantiles, _ranked(ranks, coarse, x, y, p, scale, tile), strict=True)),
        pair=divmod(first, m),
        mean=total / num_pairs,
        ratio_of_means=scale * float(sums[0] / sums[1]),
        num_pairs=num_pairs,
        num_infinite=num_infinite,
        num_identical=num_identical,
    )


def _walk(x: Tensor, y: Tensor, p: int, tile: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All pairs u < v, a tile at a time: ``u * m + v`` and both distances in float64, one-dimensional."""
    m = len(x)
    index = torch.arange(m, device=x.device)
    for top in range(0, m, tile):
        for left in range(top, m, tile):
            rows, columns = slice(top, top + tile), slice(left, left + tile)
            once = index[rows, None] < index[columns]
            pairs = index[rows, None] * m + index[columns]
            before, after = (_distances(layer[rows], layer[columns], p) for layer in (x, y))
            yield pairs[once], before[once], after[once]


def _distances(first: Tensor, second: Tensor, p: int) -> Tensor:
    """Sums of absolute differences, or Euclidean distances, ``(t, f)`` and ``(s, f)`` to ``(t, s)`` in float64.

    Always from differences: matrix products would lose the nearly coincident outputs. Squares of small differences need the
    exponents of float64.
    """
    kind = torch.float64 if p == 2 else torch.promote_types(first.dtype, torch.float32)
    distances = torch.zeros(len(first), len(second), dtype=torch.float64, device=first.device)
    for a, b in zip(first.split(_COLUMNS, 1), second.split(_COLUMNS, 1), strict=True):
        block = torch.cdist(
            a.to(kind), b.to(kind), p=float(p), compute_mode="donot_use_mm_for_euclid_dist"
        ).double()
        distances += block if p == 1 else block.square()
    if not bool(torch.isfinite(distances).all()):
        raise ValueError(
            "expected finite inputs and outputs, got NaN, infinity or values too large for their distances; find them with "
            "torch.isfinite()."
        )
    return distances if p == 1 else distances.sqrt()


def _count(histogram: Tensor, bins: Tensor) -> None:
    histogram.scatter_add_(0, bins, torch.ones_like(bins))


def _coarse(ratios: Tensor) -> Tensor:
    """Bin of a ratio by sign, exponent and the first bits of its fraction; infinity has the last bin in use."""
    return ratios.view(torch.int64) >> (64 - 1 - _BITS)


def _ranked(
    ranks: Sequence[int], coarse: Tensor, x: Tensor, y: Tensor, p: int, scale: float, tile: int
) -> list[float]:
    """Ratios of the given ranks: the coarse histogram says in which bin each lies, a second walk looks into those bins."""
    if not ranks:
        return []
    below = coarse.cumsum(0)
    bins = torch.searchsorted(below, torch.tensor(ranks, device=x.device), right=True).tolist()
    size = 2**_BITS
    fine = {one: torch.zeros(size, dtype=torch.int64, device=x.device) for one in bins}
    least = {one: torch.full((size,), math.inf, dtype=torch.float64, device=x.device) for one in bins}
    for _, before, after in _walk(x, y, p, tile):
        ratios = scale * before / after
        ratios = ratios[~ratios.isnan()]
        coarse_bins, fine_bins = _coarse(ratios), (ratios.view(torch.int64) >> (64 - 1 - 2 * _BITS)) % size
        for one in fine:
            inside = coarse_bins == one
            _count(fine[one], fine_bins[inside])
            least[one].scatter_reduce_(0, fine_bins[inside], ratios[inside], "amin")
    found = []
    for rank, one in zip(ranks, bins, strict=True):
        inner = rank - int(below[one] - coarse[one])
        place = int(torch.searchsorted(fine[one].cumsum(0), inner, right=True))
        found.append(float(least[one][place]))
    return found


def _check(inputs: Tensor, outputs: Tensor, tile: int | None, quantiles: Sequence[float]) -> None:
    named = {"inputs": inputs, "outputs": outputs}
    for name, tensor in named.items():
        check_floating(tensor, name, min_dims=2)
    check_same_device(**named)
    if len(inputs) != len(outputs):
        raise ValueError(
            f"expected as many outputs as inputs, got shapes {tuple(inputs.shape)} and {tuple(outputs.shape)}."
        )
    if len(inputs) < 2:
        raise ValueError(f"expected at least 2 inputs to form a pair, got {len(inputs)}.")
    for name, tensor in named.items():
        if tensor.numel() == 0:
            raise ValueError(f"expected {name} with at least one feature, got shape {tuple(tensor.shape)}.")
    if tile is not None and tile < 1:
        raise ValueError(f"expected a tile of at least 1 row, or None, got {tile}.")
    wrong = [q for q in quantiles if not 0 <= q <= 1]
    if wrong:
        raise ValueError(f"expected quantiles as fractions in [0, 1], got {wrong[0]}.")
