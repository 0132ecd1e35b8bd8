"""What is measured, and what would be measured if both sets were drawn alike: shuffle them together and measure again.

If generated samples were drawn as the real ones are, nothing would change when the two sets are mixed and dealt out anew.
So the same statistics of many such deals tell how large each can be by chance, whatever the sizes, the features and
the data (a permutation test), and the largest standardized value of each deal bounds all checks at once (Westfall and Young
1993): the chance of any false alarm stays below the level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import require
from ndiv_lib.distances import pairwise_distances
from ndiv_lib.metrics.bins import js_divergence, z_scores

NEIGHBORS = 5  # of recall, coverage and precision, as in `precision_recall_density_coverage`
CLOSEST = 0.02  # near-duplicates are as close as only this share of the real samples is
SAMPLES_PER_BIN = 10  # real samples in a bin of average size
MOST_BINS = 50
FEATURE_SIDE, LEVEL_SIDE = 32, 64  # larger images are averaged down to this shorter side
LEAST = {
    "sharpness": 0.2
}  # below it, even beyond chance, lost kinds of samples explain it as well as bad images
LEVELS = ("layout", "shapes", "details", "texture")

Kind = Literal["diversity", "quality", "difference"]


@dataclass(frozen=True)
class Finding:
    """One check: what was measured, what two sets drawn alike would show, and whether it is beyond chance.

    Args:
        name: of the check, for example ``"coverage"``.
        kind: ``"diversity"`` (variety is missing), ``"quality"`` (generated samples lie elsewhere) or ``"difference"``.
        worse: the direction of alarm, ``"low"`` or ``"high"``.
        value: what was measured.
        floor: mean over the shuffled sets: what two sets drawn alike show.
        floor_range: the middle 90 % of the shuffled sets.
        limit: beyond it (in the direction ``worse``) the value is an alarm.
        p_value: chance of a value as extreme in any of the checks, if both sets are drawn alike.
        alarm: whether the value is beyond the limit.
    """

    name: str
    kind: Kind
    worse: Literal["low", "high"]
    value: float
    floor: float
    floor_range: tuple[float, float]
    limit: float
    p_value: float
    alarm: bool


@dataclass(frozen=True)
class Pool:
    """Both sets as one, real samples first, with all that does not depend on who is called real.

    Args:
        neighbors: ``(N, N - 1)``, the other samples from near to far.
        distances: ``(N, N)`` between features.
        level_distances: by level, ``(N, N)``, from coarse to fine.
        level_strengths: by level, ``(N,)``, the size of what each sample has there.
        bins: ``(N,)``, each sample's group of similar samples.
        groups: ``(N,)`` conditions from 0, or None.
    """

    neighbors: Tensor
    distances: Tensor
    level_distances: Mapping[str, Tensor]
    level_strengths: Mapping[str, Tensor]
    bins: Tensor
    groups: Tensor | None

    @property
    def num_bins(self) -> int:
        """Number of groups of similar samples."""
        return int(self.bins.max()) + 1


def pool_samples(
    features: Tensor, levels: Mapping[str, Tensor], *, num_bins: int, groups: Tensor | None, seed: int
) -> Pool:
    """Distances, neighbors and bins of all samples; none of it knows which samples are real."""
    distances = pairwise_distances(features).double()
    if not bool(distances.any()):
        raise ValueError(
            "expected samples that differ, got only identical ones, real and generated; check how they were loaded."
        )
    neighbors = distances.clone().fill_diagonal_(-1).argsort(dim=1)[:, 1:]
    return Pool(
        neighbors=neighbors,
        distances=distances,
        level_distances={name: pairwise_distances(level).double() for name, level in levels.items()},
        level_strengths={name: level.double().norm(dim=1) for name, level in levels.items()},
        bins=group_samples(features, num_bins, seed),
        groups=groups,
    )


def group_samples(features: Tensor, num_bins: int, seed: int) -> Tensor:
    """Bins of similar samples by k-means, ``(N,)``, each with at least one sample.

    Fitted to both sets together. Bins of real samples alone, as NDB has them, fit those a little better than any other draw,
    and so differ even between real sets.
    """
    kmeans = require("sklearn.cluster", "metrics").KMeans
    num_distinct = len(features.unique(dim=0))
    fitted = kmeans(min(num_bins, num_distinct), n_init=1, random_state=seed).fit(features.cpu().numpy())
    return torch.as_tensor(fitted.labels_).long().unique(return_inverse=True)[1]


def image_features(images: Tensor) -> Tensor:
    """Pixels as vectors; images above 32 px are averaged down to that."""
    return _shrink(images, FEATURE_SIDE).flatten(1)


def image_levels(images: Tensor) -> dict[str, Tensor]:
    """A pyramid from coarse to fine, ``{name: (n, d)}``: what each resolution adds to the one before (Burt and Adelson 1983).

    Example:
        >>> {name: level.shape[1] for name, level in image_levels(torch.zeros(2, 3, 32, 32)).items()}
        {'layout (4 px)': 48, 'shapes (8 px)': 192, 'details (16 px)': 768, 'texture (32 px)': 3072}
    """
    images = _shrink(images, LEVEL_SIDE)
    side = min(images.shape[-2:])
    sizes = [size for size in (4, 8, 16) if size < side] + [side]
    levels, below = {}, torch.zeros_like(images[..., :1, :1])
    for name, size in zip(LEVELS, sizes, strict=False):
        level = _shrink(images, size)
        coarse = F.interpolate(below, size=level.shape[-2:], mode="bilinear", align_corners=False)
        levels[f"{name} ({size} px)"], below = (level - coarse).flatten(1), level
    return levels


def _shrink(images: Tensor, side: int) -> Tensor:
    """Averages of blocks of pixels, so that the shorter side has that many; smaller images stay."""
    height, width = images.shape[-2:]
    scale = side / min(height, width)
    return (
        F.adaptive_avg_pool2d(images, (round(height * scale), round(width * scale))) if scale < 1 else images
    )


def deal(is_real: Tensor, groups: Tensor | None, num_shuffles: int, seed: int) -> Tensor:
    """Who is called real, ``(1 + num_shuffles, N)``: first the truth, then shuffles, within each condition if there are some."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.zeros(len(is_real), dtype=torch.long) if groups is None else groups
    template = is_real[groups.argsort(stable=True)]
    keys = groups + torch.rand(num_shuffles, len(is_real), generator=generator, dtype=torch.float64)
    shuffled = torch.zeros(num_shuffles, len(is_real), dtype=torch.bool)
    shuffled.scatter_(1, keys.argsort(dim=1), template.expand(num_shuffles, -1))
    return torch.cat([is_real[None], shuffled])


def measure(pool: Pool, deals: Tensor) -> dict[str, Tensor]:
    """Every statistic for every deal, ``{name: (num_deals,)}``."""
    within_real, across, within_generated = mean_distances(pool.distances, deals)
    widths = [len(pool.bins) - 1] + [_reach(deals[0])] * (len(deals) - 1)
    means = zip(within_real, within_generated, strict=True)
    near = torch.stack([_near(pool, *one) for one in zip(deals, means, widths, strict=True)])
    real, generated = bin_shares(pool.bins, deals)
    found = {
        "near-duplicates": near[:, 0],
        "recall": near[:, 1],
        "coverage": near[:, 2],
        "bins": js_divergence(real, generated),
        "emptiest bin": -z_scores(real, generated, *_sizes(deals[0])).amin(1),
    }
    for name, distances in pool.level_distances.items():
        level_real, _, level_generated = mean_distances(distances, deals)
        strength_real, strength_generated = _means(pool.level_strengths[name], deals)
        # Relative to what a sample has at this level, so that blur or contrast is no lack of variety.
        found[f"diversity of {name}"] = _ratio(
            _ratio(level_generated, strength_generated), _ratio(level_real, strength_real)
        )
    if not pool.level_distances:
        found["diversity"] = _ratio(within_generated, within_real)
    if pool.groups is not None and has_pairs(pool.groups[deals[0]]):
        same = pool.groups[:, None] == pool.groups
        condition_real, _, condition_generated = mean_distances(pool.distances * same, deals, same)
        found["diversity within a condition"] = _ratio(
            _ratio(condition_generated, within_generated), _ratio(condition_real, within_real)
        )
    if pool.level_distances:
        found["sharpness"] = _ratio(strength_generated, strength_real).clamp(min=1e-3).log().abs()
    found["precision"] = near[:, 3]
    found["difference"] = _ratio(2 * across - within_real - within_generated, across)
    return found


def _means(values: Tensor, deals: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the real and over the generated samples of every deal."""
    real = deals.to(values.dtype)
    return real @ values / real.sum(1), (1 - real) @ values / (1 - real).sum(1)


def _ratio(first: Tensor, second: Tensor) -> Tensor:
    return first / second.clamp(min=1e-12)


def has_pairs(groups: Tensor) -> bool:
    """Whether some condition has two samples."""
    return bool((groups.bincount() > 1).any())


def judge(statistics: Mapping[str, Tensor], *, level: float) -> list[Finding]:
    """Compare the first deal, the truth, with the shuffled ones; the level holds for all checks together."""
    standard, floors, spreads = {}, {}, {}
    for name, values in statistics.items():
        floors[name], spreads[name] = float(values[1:].mean()), float(values[1:].std().clamp(min=1e-9))
        standard[name] = _sign(name) * (values - floors[name]) / spreads[name]
    largest = torch.stack(list(standard.values())).amax(0)[1:]
    critical = float(largest.quantile(1 - level))
    findings = []
    for name, values in statistics.items():
        low, high = values[1:].quantile(torch.tensor([0.05, 0.95], dtype=values.dtype)).tolist()
        score = float(standard[name][0])
        limit = max(floors[name] + _sign(name) * critical * spreads[name], LEAST.get(name, -torch.inf))
        findings.append(
            Finding(
                name=name,
                kind=_kind(name),
                worse="high" if _sign(name) > 0 else "low",
                value=float(values[0]),
                floor=floors[name],
                floor_range=(low, high),
                limit=limit,
                p_value=float(1 + (largest >= score).sum()) / (1 + len(largest)),
                alarm=score > critical and float(values[0]) > LEAST.get(name, -torch.inf),
            )
        )
    return findings


def _sizes(is_real: Tensor) -> tuple[int, int]:
    num_real = int(is_real.sum())
    return num_real, len(is_real) - num_real


def _sign(name: str) -> int:
    return 1 if name in ("near-duplicates", "bins", "emptiest bin", "difference", "sharpness") else -1


def _kind(name: str) -> Kind:
    kinds: dict[str, Kind] = {"precision": "quality", "sharpness": "quality", "difference": "difference"}
    return kinds.get(name, "diversity")


def mean_distances(
    distances: Tensor, deals: Tensor, counted: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean distance of two real samples, of a real and a generated one, and of two generated ones, each ``(num_deals,)``.

    ``counted`` says which pairs count, if not all; ``distances`` is zero for the others.
    """
    sums = _block_sums(distances, deals)
    if counted is None:
        num_real = deals.sum(1).double()
        num_generated = deals.shape[1] - num_real
        pairs = torch.stack(
            [num_real * (num_real - 1), 2 * num_real * num_generated, num_generated * (num_generated - 1)]
        )
    else:
        pairs = _block_sums(counted.double().fill_diagonal_(0), deals)
    real, across, generated = sums / pairs.clamp(min=1)
    return real, across, generated


def _block_sums(matrix: Tensor, deals: Tensor) -> Tensor:
    """Sums over real pairs, mixed pairs and generated pairs, ``(3, num_deals)``, both orders of a pair counted."""
    real = deals.to(matrix.dtype)
    rows, within = matrix.sum(1), ((real @ matrix) * real).sum(1)
    mixed = 2 * (real @ rows - within)
    return torch.stack([within, mixed, rows.sum() - within - mixed])


def _near(pool: Pool, is_real: Tensor, means: tuple[Tensor, Tensor], width: int) -> Tensor:
    """Near-duplicate rate, recall, coverage and precision of one deal.

    The last three as `precision_recall_density_coverage` has them: a ball reaches to the k-th neighbor of the own set, and who is
    inside follows from the order of neighbors alone, so that one sort serves all deals. Near-duplicates are generated samples
    closer to their nearest fellow than nearly all real ones are, each set measured in its own mean distance, so that a weak
    contrast makes no duplicate.
    """
    neighbors = pool.neighbors[:, :width]
    own = is_real[neighbors] == is_real[:, None]
    inside = (own.cumsum(1, dtype=torch.int16) < NEIGHBORS) & ~own
    hit = torch.zeros(len(is_real), dtype=torch.bool)
    hit[neighbors[inside]] = True
    covered = ~own[is_real, :NEIGHBORS].all(1)
    nearest = pool.distances.gather(1, neighbors.gather(1, own.byte().argmax(1, keepdim=True)))[:, 0]
    close = nearest[is_real].quantile(CLOSEST) / means[0].clamp(min=1e-12)
    scores = [nearest[~is_real] <= close * means[1], hit[is_real], covered, hit[~is_real]]
    return torch.stack([score.double().mean() for score in scores])


def _reach(is_real: Tensor) -> int:
    """How many neighbors matter in a shuffled deal: fewer than k of the own set among them is less likely than 1e-6."""
    rarer = min(int(is_real.sum()), int((~is_real).sum())) / len(is_real)
    return min(len(is_real) - 1, int(5 * NEIGHBORS / rarer))


def bin_shares(bins: Tensor, deals: Tensor) -> tuple[Tensor, Tensor]:
    """Share of the real and of the generated samples in every bin, each ``(num_deals, num_bins)``."""
    member = F.one_hot(bins).double()
    real = deals.double()
    counts = real @ member
    rest = member.sum(0) - counts
    return counts / counts.sum(1, keepdim=True), rest / rest.sum(1, keepdim=True)


@dataclass(frozen=True)
class Power:
    """What so many samples can show, by simulated loss of bins.

    Args:
        rates: share of the samples whose groups vanish to the chance of an alarm.
        visible_share: the smallest simulated share that is seen in 80 % of cases, or None.
        smallest_mode: a single group with a smaller share of the data can vanish unseen, even if it stands apart.
        needed: about how many samples a set would show a loss of 30 %, or None if these do.
    """

    rates: Mapping[float, float]
    visible_share: float | None
    smallest_mode: float
    needed: int | None


SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
LOST = 0.3  # a loss of this share of the data should not go unseen
SEEN = 0.8  # a loss counts as visible if it raises an alarm this often
OWN = 0.5  # part of a lost mode that lies in bins of its own


def simulate_loss(
    shares: Tensor, num_real: int, num_generated: int, limits: Mapping[str, float], *, seed: int
) -> Power:
    """Let random bins vanish from one of two drawn sets and count how often the two checks on bins notice.

    Lost modes are taken to be kinds of samples that these features tell apart, but not cleanly: only the part ``OWN`` of them
    lies in bins of their own, and the rest among others. With it the rates agree with those of lost digits.
    """

    def rate(share: float, more: int = 1) -> float:
        random, trials = np.random.default_rng(seed), 200
        probability = shares.numpy()
        sizes = num_real * more, num_generated * more
        kept = np.stack([_drop(probability, OWN * share, random) for _ in range(trials)])
        drawn = [random.multinomial(sizes[0], probability, size=trials), random.multinomial(sizes[1], kept)]
        real, generated = (torch.as_tensor(counts / counts.sum(1, keepdims=True)) for counts in drawn)
        gaps = -z_scores(real, generated, *sizes).amin(1)
        seen = (gaps > limits["emptiest bin"]) | (js_divergence(real, generated) > limits["bins"] / more)
        return float(seen.double().mean())

    rates = {share: rate(share) for share in SHARES}
    visible = next((share for share in SHARES if rates[share] >= SEEN), None)
    factor = next((more for more in (1, 2, 3, 4, 6, 8, 12, 16) if rate(LOST, more) >= SEEN), None)
    return Power(
        rates=rates,
        visible_share=visible,
        smallest_mode=min(1.0, limits["emptiest bin"] ** 2 / num_generated),
        needed=None if factor in (None, 1) else factor * min(num_real, num_generated),
    )


def _drop(probability: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """The distribution after bins have emptied in random order until this share of it is gone, the last one in part."""
    order = random.permutation(len(probability))
    gone = np.minimum(probability[order].cumsum(), share)
    kept = probability.copy()
    kept[order] -= np.diff(gone, prepend=0)
    return kept.clip(min=0) / kept.clip(min=0).sum()  # rounding leaves less than nothing
