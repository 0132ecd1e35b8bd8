"""NDB and JSD: the bins of real samples that a generator fills too little or too much (Richardson and Weiss 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ndiv_lib._checks import check_two_sets, require

SAMPLES_PER_BIN = (
    10  # least mean number, in either set: the test of a bin's share is an approximation for many samples
)
_BLOCK = 8192  # samples at a time, so that no second copy of a large set is made
_FLOOR_DRAWS = 1000


@dataclass(frozen=True)
class Floor:
    """What chance alone gives: both sets drawn from the same shares, at the same sizes.

    It leaves out that K-means fits its bins to the very samples it counts: in many dimensions without clusters, other real
    samples differ in more bins than this. Where real samples are to spare, compare two halves of them with each other.

    Args:
        num_different_bins: mean over 1,000 seeded draws, about ``significance * num_bins``.
        js_divergence: mean; not 0, about ``(num_bins - 1) / 8 * (1 / n_real + 1 / n_generated)``.
        num_different_bins_95: 95 % of the draws are at or below it.
        js_divergence_95: likewise.
    """

    num_different_bins: float
    js_divergence: float
    num_different_bins_95: float
    js_divergence_95: float


@dataclass(frozen=True)
class Bins:
    """What :func:`ndb` finds; bins are in order of size, the one with most real samples first.

    Args:
        num_different_bins: NDB, the number of bins whose shares differ.
        js_divergence: JSD of the two sets of shares, in nats: 0 if they agree, ``log(2)`` if they share no bin.
        different_bins: indices of the bins that differ, ascending.
        real_shares: ``(k,)``, summing to 1.
        generated_shares: ``(k,)``, summing to 1.
        z_scores: ``(k,)``, below 0 where the generated share is the lower one; 0 for a bin that is empty or full in both.
        centers: ``(k, ...)`` mean real sample of each bin, in the samples' units and shape.
        real_bins: ``(n_real,)`` bin of every real sample.
        generated_bins: ``(n_generated,)`` bin of every generated sample.
        significance: the level that was asked for.
        floor: what two sets of these sizes give by chance alone; NDB means nothing without it.
    """

    num_different_bins: int
    js_divergence: float
    different_bins: Tensor
    real_shares: Tensor
    generated_shares: Tensor
    z_scores: Tensor
    centers: Tensor
    real_bins: Tensor
    generated_bins: Tensor
    significance: float
    floor: Floor

    @property
    def missing_bins(self) -> Tensor:
        """Different bins that the generated samples fill too little, which are the modes that are lost; ascending."""
        return self.different_bins[self.z_scores[self.different_bins] < 0]

    @property
    def crowded_bins(self) -> Tensor:
        """Different bins that the generated samples fill too much, ascending."""
        return self.different_bins[self.z_scores[self.different_bins] > 0]

    @property
    def num_bins(self) -> int:
        """k."""
        return len(self.real_shares)

    @property
    def n_real(self) -> int:
        """Number of real samples."""
        return len(self.real_bins)

    @property
    def n_generated(self) -> int:
        """Number of generated samples."""
        return len(self.generated_bins)

    def __str__(self) -> str:
        return (
            f"NDB {self.num_different_bins} of {self.num_bins} bins at significance {self.significance:g} "
            f"({len(self.missing_bins)} missing, {len(self.crowded_bins)} crowded), "
            f"JSD {self.js_divergence:.4f}; {self.n_real} real, {self.n_generated} generated; "
            f"real against real by chance: NDB {self.floor.num_different_bins:.1f} "
            f"(95 %: {self.floor.num_different_bins_95:g}), "
            f"JSD {self.floor.js_divergence:.4f} (95 %: {self.floor.js_divergence_95:.4f})"
        )


def ndb(
    *,
    real: Tensor,
    generated: Tensor,
    num_bins: int = 100,
    seed: int,
    max_dims: int | None = None,
    whiten: bool = False,
    significance: float = 0.05,
) -> Bins:
    r"""Number of statistically different bins, and the divergence of the bins' shares (Richardson and Weiss 2018).

    K-means on the real samples makes the bins, and every sample of either set goes to the nearest center. A bin is different
    if a two-sided two-proportion z-test with pooled variance says so, without a correction for the number of tests:

    .. math:: z = \frac{q - p}{\sqrt{\pi (1 - \pi) (1 / n + 1 / m)}}, \qquad \pi = \frac{n p + m q}{n + m}

    So real samples have about ``significance * num_bins`` different bins too, which ``floor`` holds and printing the result
    shows: the least that other real samples can have. The number grows with both sets' sizes and changes with every option:
    state them all, and compare equal sizes only.

    Args:
        real: ``(n, ...)``, at least ten times ``num_bins``; trailing dimensions count as one vector.
        generated: ``(m, ...)``, likewise.
        num_bins: k, >= 2.
        seed: of the K-means start, the subset of dimensions, and the floor.
        max_dims: cluster and assign by a random subset of that many dimensions, as the original does above 1,000 dimensions
            (a sixth of them); by default all of them.
        whiten: divide every dimension by the real set's standard deviation (one without spread stays as it is).
        significance: of each bin's test, in (0, 1).

    Returns:
        :class:`Bins`, on the CPU.

    Raises:
        TypeError: for samples that are not floating point.
        ValueError: for too few samples for the bins, shapes or devices that do not match, values that are not finite, or numbers
            out of their range.
        ImportError: without scikit-learn (extra ``metrics``).

    Example:
        >>> import torch
        >>> random = torch.Generator().manual_seed(0)
        >>> modes = 10 * torch.eye(4).repeat(100, 1)
        >>> real = modes + torch.randn(400, 4, generator=random)
        >>> found = ndb(real=real, generated=real[modes[:, 3] == 0], num_bins=4, seed=0)
        >>> found.num_different_bins, found.centers[found.missing_bins].argmax(1).tolist()
        (4, [3])
    """
    _check(real, generated, num_bins, max_dims, significance)
    real, generated = real.detach(), generated.detach()
    random = torch.Generator().manual_seed(seed)
    flat_real, flat_generated = real.flatten(1), generated.flatten(1)
    dims = flat_real.shape[1]
    used: slice | Tensor = slice(None)
    if max_dims is not None and max_dims < dims:
        used = torch.randperm(dims, generator=random)[:max_dims].to(real.device)

    seen = _at_least_single(flat_real[:, used])
    shift = seen.mean(0)
    scale = seen.std(0) if whiten else torch.ones_like(shift)
    scale = torch.where(scale > 0, scale, 1.0)
    seen = (seen - shift) / scale
    centers = _k_means(seen, num_bins, seed)
    real_bins = _nearest(seen, centers)
    generated_bins = torch.cat(
        [
            _nearest((_at_least_single(block[:, used]) - shift) / scale, centers)
            for block in flat_generated.split(_BLOCK)
        ]
    )
    order = real_bins.bincount(minlength=num_bins).argsort(descending=True, stable=True)
    rank = order.argsort()
    real_bins, generated_bins = rank[real_bins].cpu(), rank[generated_bins].cpu()

    n, m = len(real), len(generated)
    p = real_bins.bincount(minlength=num_bins) / torch.tensor(n, dtype=torch.float64)
    q = generated_bins.bincount(minlength=num_bins) / torch.tensor(m, dtype=torch.float64)
    z = z_scores(p, q, n, m)
    return Bins(
        num_different_bins=int(_differ(z, significance).sum()),
        js_divergence=float(js_divergence(p, q)),
        different_bins=_differ(z, significance).nonzero().flatten(),
        real_shares=p,
        generated_shares=q,
        z_scores=z,
        centers=_means(flat_real, real_bins, num_bins).unflatten(1, real.shape[1:]),
        real_bins=real_bins,
        generated_bins=generated_bins,
        significance=significance,
        floor=_floor(p, q, n, m, significance, random),
    )


def z_scores(p: Tensor, q: Tensor, n: int, m: int) -> Tensor:
    """Two-proportion z-scores of shares ``(*batch, k)`` of n and of m samples; below 0 where ``q`` is the lower one."""
    pooled = (n * p + m * q) / (n + m)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)).sqrt()
    return torch.where(error > 0, (q - p) / error, 0.0)


def _differ(z: Tensor, significance: float) -> Tensor:
    two_sided = torch.special.ndtri(torch.tensor(1 - significance / 2, dtype=z.dtype))
    return z.abs() > two_sided


def js_divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence of shares ``(*batch, k)``, in nats."""
    middle = (p + q) / 2
    entropies = [torch.special.entr(shares).sum(-1) for shares in (middle, p, q)]
    return (entropies[0] - (entropies[1] + entropies[2]) / 2).clamp(min=0)  # rounding only


def _floor(p: Tensor, q: Tensor, n: int, m: int, significance: float, random: torch.Generator) -> Floor:
    """Both sets drawn from the pooled shares, over and over."""
    pooled = (n * p + m * q) / (n + m)
    first, second = (_counts(pooled, size, random) / size for size in (n, m))
    numbers = _differ(z_scores(first, second, n, m), significance).sum(-1).double()
    divergences = js_divergence(first, second)
    return Floor(
        num_different_bins=float(numbers.mean()),
        js_divergence=float(divergences.mean()),
        num_different_bins_95=float(numbers.quantile(0.95, interpolation="higher")),
        js_divergence_95=float(divergences.quantile(0.95)),
    )


def _counts(shares: Tensor, size: int, random: torch.Generator) -> Tensor:
    """Multinomial counts, ``(draws, k)``: one bin after the other, each binomial in what is left."""
    left = torch.full((_FLOOR_DRAWS,), float(size), dtype=torch.float64)
    counts, remaining = [], 1.0
    for share in shares.tolist():
        chance = min(share / remaining, 1.0) if remaining > 0 else 0.0
        counts.append(torch.binomial(left, torch.full_like(left, chance), generator=random))
        left, remaining = left - counts[-1], remaining - share
    return torch.stack(counts, dim=-1)


def _k_means(samples: Tensor, num_bins: int, seed: int) -> Tensor:
    cluster: Any = require("sklearn.cluster", "metrics")
    k_means = cluster.KMeans(num_bins, n_init=1, max_iter=100, random_state=seed)
    centers = k_means.fit(samples.cpu().numpy()).cluster_centers_
    return torch.as_tensor(centers, dtype=samples.dtype, device=samples.device)


def _nearest(samples: Tensor, centers: Tensor) -> Tensor:
    lengths = centers.square().sum(1) / 2
    return torch.cat([(lengths - block @ centers.T).argmin(1) for block in samples.split(_BLOCK)])


def _means(samples: Tensor, bins: Tensor, num_bins: int) -> Tensor:
    """Mean sample of each bin; NaN for a bin without one, which only coinciding samples leave."""
    sums = torch.zeros(num_bins, samples.shape[1], dtype=torch.float64, device=samples.device)
    for block, where in zip(samples.split(_BLOCK), bins.to(samples.device).split(_BLOCK), strict=True):
        sums.index_add_(0, where, block.double())
    return (sums.cpu() / bins.bincount(minlength=num_bins)[:, None]).to(samples.dtype)


def _at_least_single(samples: Tensor) -> Tensor:
    return samples.to(torch.promote_types(samples.dtype, torch.float32))


def _check(real: Tensor, generated: Tensor, num_bins: int, max_dims: int | None, significance: float) -> None:
    if num_bins < 2:
        raise ValueError(f"expected num_bins >= 2, got {num_bins}.")
    if max_dims is not None and max_dims < 1:
        raise ValueError(f"expected max_dims >= 1, or None for all dimensions, got {max_dims}.")
    if not 0 < significance < 1:
        raise ValueError(f"expected significance in (0, 1), got {significance}.")
    check_two_sets(
        real,
        generated,
        fewest=SAMPLES_PER_BIN * num_bins,
        reason=f"{SAMPLES_PER_BIN} for each of {num_bins} bins; pass more samples, or fewer num_bins",
    )
