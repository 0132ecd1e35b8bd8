"""``diagnose``: is this mode collapse?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib.diagnosis import checks
from ndiv_lib.diagnosis.checks import Finding, Pool, Power
from ndiv_lib.diagnosis.inputs import check_conditions, check_samples
from ndiv_lib.diagnosis.steps import next_steps
from ndiv_lib.metrics.bins import z_scores
from ndiv_lib.metrics.features import Features, extract_features

Verdict = Literal["collapse", "different", "no sign of collapse", "cannot be known"]
LEVEL = 0.01  # chance of any false alarm
NUM_SHUFFLES = 299
MOSTLY = (
    0.5  # who repeats more than this share, or varies less than this part within a condition, has collapsed
)
FEW_MODES = 0.7  # two samples drawn from three modes are on average 2/3 as far apart as two from very many
SHOWN_BINS, SHOWN_IMAGES, SHOWN_PAIRS, SHOWN_CONDITIONS = 8, 8, 4, 3


@dataclass(frozen=True)
class Bin:
    """A group of similar samples in which generated ones are too few.

    Args:
        num_real: real samples in it.
        num_generated: generated samples in it.
        expected: generated samples that would be in it, had they the real share.
        real_images: the real images nearest to its center, ``(k, C, H, W)``, or None for vectors.
        generated_images: likewise, those few generated images that fell in.
    """

    num_real: int
    num_generated: int
    expected: float
    real_images: Tensor | None = field(default=None, repr=False, compare=False)
    generated_images: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class ConditionReport:
    """Diversity within one condition: mean distance of two samples, generated over real; NaN with a single real sample."""

    name: str
    num_real: int
    num_generated: int
    ratio: float
    identical: bool  # all generated samples are the same, to within one gray level
    real_images: Tensor | None = field(
        default=None, repr=False, compare=False
    )  # of the least varied conditions, a few
    generated_images: Tensor | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Pictures:
    """What the page shows: random images of both sets, and their closest pairs ``(k, 2, C, H, W)``."""

    real: Tensor
    generated: Tensor
    closest_real: Tensor
    closest_generated: Tensor


@dataclass(frozen=True)
class Diagnosis:
    """The answer of :func:`diagnose`; print it with :meth:`to_text`, or see it with :meth:`to_html`.

    Args:
        verdict: ``"collapse"``: variety is missing, beyond chance, and poor quality does not explain it. ``"different"``: the
            sets differ beyond chance, but poor quality explains it as well. ``"no sign of collapse"``: no alarm, and so many
            samples would have shown a loss of 30 %. ``"cannot be known"``: no alarm, and they would not have.
        findings: every check, with its floor.
        bins: the groups in which generated samples are too few, worst first.
        num_bins: number of all groups.
        conditions: by condition, if there are some, the least diverse first.
        power: what so many samples can show.
        num_real: number of real samples.
        num_generated: number of generated samples.
        compared: what distances were taken between, in words.
        next_steps: what to do, in words.
        pictures: images for the page, or None for vectors.
    """

    verdict: Verdict
    findings: tuple[Finding, ...]
    bins: tuple[Bin, ...]
    num_bins: int
    conditions: tuple[ConditionReport, ...]
    power: Power
    num_real: int
    num_generated: int
    compared: str
    next_steps: tuple[str, ...]
    pictures: Pictures | None = field(default=None, repr=False, compare=False)

    @property
    def alarms(self) -> tuple[Finding, ...]:
        """The findings beyond their limit."""
        return tuple(finding for finding in self.findings if finding.alarm)

    def __getitem__(self, name: str) -> Finding:
        """The finding of that name."""
        return next(finding for finding in self.findings if finding.name == name)

    def to_text(self) -> str:
        """A plain-text summary."""
        from ndiv_lib.diagnosis.words import to_text

        return to_text(self)

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained page, and return its path."""
        from ndiv_lib.diagnosis.page import to_html

        target = Path(path)
        target.write_text(to_html(self), encoding="utf-8")
        return target


def diagnose(
    *,
    real: Tensor,
    generated: Tensor,
    conditions_real: Sequence[object] | Tensor | None = None,
    conditions_generated: Sequence[object] | Tensor | None = None,
    features: Features = "pixels",
    seed: int = 0,
) -> Diagnosis:
    """Is this mode collapse? Compare generated with real samples by several checks, each beside what chance would show.

    Near-duplicates; recall and coverage; bins of similar samples and which of them generated samples avoid; diversity from
    coarse to fine; with conditions also diversity within a condition. What chance would show comes from three hundred shuffles
    of both sets together, so that on average at most one in a hundred healthy generators raises any alarm.

    Args:
        real: images ``(n, 1 | 3, H, W)`` in [-1, 1], or vectors ``(n, d)``; at least 20. Samples that the generator was not
            trained on make the fairer test.
        generated: ``(m, ...)`` of the same shape, at least 20; together at most 10,000.
        conditions_real: the condition of each real sample, if the generator has conditions: class numbers or names.
        conditions_generated: of each generated sample. Checks then ask whether generated samples vary as real ones *of the same
            conditions* do, so the mix of conditions need not agree, but both must have the same ones.
        features: what distances are taken between: ``"pixels"`` (images above 32 px are averaged down to that), or as in
            :func:`~ndiv_lib.metrics.extract_features` a pretrained network such as ``"squeezenet"``, or a callable from images to
            vectors. Pixels see layout, color and strokes, not what is depicted.
        seed: of shuffles and bins.

    Returns:
        A :class:`Diagnosis`.

    Raises:
        FileNotFoundError: without the network's weights.
        TypeError: for samples that are not floating point.
        ValueError: for too few or too many samples, shapes that do not match, images out of [-1, 1], values that are not
            finite, or conditions that do not match.
        ImportError: without scikit-learn (extra ``metrics``).

    Example:
        >>> import torch
        >>> random = torch.Generator().manual_seed(0)
        >>> corners = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])
        >>> draw = lambda modes: corners[torch.randint(modes, (300,), generator=random)] + torch.randn(300, 2, generator=random)
        >>> diagnose(real=draw(4), generated=draw(4)).verdict
        'no sign of collapse'
        >>> diagnose(real=draw(4), generated=draw(3)).verdict
        'collapse'
    """
    check_samples(real, generated)
    names, groups = check_conditions(real, generated, conditions_real, conditions_generated)
    is_images = real.ndim == 4
    both = torch.cat([real, generated]).detach().float().cpu()
    vectors, compared = _features(both, features)
    num_bins = max(2, min(checks.MOST_BINS, min(len(real), len(generated)) // checks.SAMPLES_PER_BIN))
    pool = checks.pool_samples(
        vectors, checks.image_levels(both) if is_images else {}, num_bins=num_bins, groups=groups, seed=seed
    )
    is_real = torch.arange(len(both)) < len(real)
    findings = checks.judge(
        checks.measure(pool, checks.deal(is_real, groups, NUM_SHUFFLES, seed)), level=LEVEL
    )
    by_name = {finding.name: finding for finding in findings}
    shares = pool.bins.bincount().double() / len(both)
    power = checks.simulate_loss(
        shares,
        len(real),
        len(generated),
        {name: by_name[name].limit for name in ("bins", "emptiest bin")},
        seed=seed,
    )
    conditions = _compare_conditions(pool, is_real, names, both) if groups is not None else ()
    verdict = decide(findings, conditions, power)
    return Diagnosis(
        verdict=verdict,
        findings=tuple(findings),
        bins=_missing_bins(
            pool,
            is_real,
            vectors,
            both if is_images else None,
            by_name["emptiest bin"],
            by_name["bins"].alarm,
        ),
        num_bins=pool.num_bins,
        conditions=conditions,
        power=power,
        num_real=len(real),
        num_generated=len(generated),
        compared=compared,
        next_steps=next_steps(
            verdict,
            {finding.name for finding in findings if finding.alarm},
            ignores_latent=any(condition.identical for condition in conditions),
            color_pixels=features == "pixels" and is_images and real.shape[1] == 3,
            power=power,
        ),
        pictures=_pictures(pool, is_real, both, seed) if is_images else None,
    )


def decide(findings: Sequence[Finding], conditions: Sequence[ConditionReport], power: Power) -> Verdict:
    """From alarms to a verdict.

    Repetition of most samples, and far less variety within a condition or at every level, are collapse however the images look.
    Weaker alarms of variety also come from images that are blurred or lie beside the real ones; they count as collapse only
    while no check of quality raises an alarm.
    """
    alarms = {finding.name: finding for finding in findings if finding.alarm}
    levels = [finding for finding in findings if finding.name.startswith("diversity of")]
    repeated, uniform = alarms.get("near-duplicates"), alarms.get("diversity within a condition")
    if (
        any(condition.identical for condition in conditions)
        or (levels and all(level.alarm and level.value < FEW_MODES for level in levels))
        or (repeated is not None and repeated.value > MOSTLY)
        or (uniform is not None and uniform.value < MOSTLY)
    ):
        return "collapse"
    kinds = {finding.kind for finding in alarms.values()}
    if "diversity" in kinds and "quality" not in kinds:
        return "collapse"
    if alarms:
        return "different"
    return "no sign of collapse" if power.rates[checks.LOST] >= checks.SEEN else "cannot be known"


def _features(both: Tensor, features: Features) -> tuple[Tensor, str]:
    """What distances are taken between, and its name."""
    if features != "pixels":
        vectors = extract_features(both, features).float().cpu()
        named = (
            features if isinstance(features, str) else getattr(features, "__name__", type(features).__name__)
        )
        return vectors, f"features of {named} ({vectors.shape[1]} numbers), Euclidean distances"
    if both.ndim == 2:
        return both, f"vectors of {both.shape[1]} numbers, Euclidean distances"
    height, width = both.shape[-2:]
    shrunk = (
        f", averaged down to {checks.FEATURE_SIDE} px" if min(height, width) > checks.FEATURE_SIDE else ""
    )
    color = "color" if both.shape[1] == 3 else "gray"
    return (
        checks.image_features(both),
        f"pixels of {width}×{height} {color} images{shrunk}, Euclidean distances",
    )


def _missing_bins(
    pool: Pool, is_real: Tensor, features: Tensor, images: Tensor | None, emptiest: Finding, alarm: bool
) -> tuple[Bin, ...]:
    """Bins beyond the limit of the emptiest one; if only all bins together raise an alarm, the three emptiest."""
    real, generated = (shares[0] for shares in checks.bin_shares(pool.bins, is_real[None]))
    gaps = -z_scores(real, generated, int(is_real.sum()), int((~is_real).sum()))
    order = gaps.argsort(descending=True)
    count = int((gaps > emptiest.limit).sum()) or (3 if alarm else 0)
    found: list[Bin] = []
    for index in order[:count]:
        member = pool.bins == index
        center = features[member].mean(0)
        nearest = (features - center).norm(dim=1).masked_fill(~member, torch.inf).argsort()
        shown = {}
        if images is not None and len(found) < SHOWN_BINS:
            inside = nearest[: int(member.sum())]
            shown = {
                "real_images": images[inside[is_real[inside]][:SHOWN_IMAGES]],
                "generated_images": images[inside[~is_real[inside]][:SHOWN_IMAGES]],
            }
        found.append(
            Bin(
                num_real=int((member & is_real).sum()),
                num_generated=int((member & ~is_real).sum()),
                expected=float(real[index]) * int((~is_real).sum()),
                **shown,
            )
        )
    return tuple(found)


def _compare_conditions(
    pool: Pool, is_real: Tensor, names: Sequence[str], samples: Tensor
) -> tuple[ConditionReport, ...]:
    assert pool.groups is not None
    reports = []
    for number, name in enumerate(names):
        member = pool.groups == number
        chosen = member.nonzero()[:, 0]
        within, _, generated = checks.mean_distances(pool.distances[chosen][:, chosen], is_real[None, member])
        images = samples[member & ~is_real]
        real_pairs = int((member & is_real).sum()) > 1 and float(within) > 0
        reports.append(
            ConditionReport(
                name=name,
                num_real=int((member & is_real).sum()),
                num_generated=len(images),
                ratio=float(generated / within) if real_pairs and len(images) > 1 else float("nan"),
                identical=len(images) > 1 and float((images - images[0]).abs().max()) < 1 / 127.5,
            )
        )
    reports.sort(key=lambda report: (not report.identical, report.ratio))
    for index, report in enumerate(reports[:SHOWN_CONDITIONS] if samples.ndim == 4 else []):
        member = pool.groups == names.index(report.name)
        real, generated = samples[member & is_real][:SHOWN_IMAGES], samples[member & ~is_real][:SHOWN_IMAGES]
        reports[index] = replace(report, real_images=real, generated_images=generated)
    return tuple(reports)


def _pictures(pool: Pool, is_real: Tensor, images: Tensor, seed: int) -> Pictures:
    random = torch.Generator().manual_seed(seed)
    shown, closest = [], []
    for own in (is_real, ~is_real):
        index = own.nonzero()[:, 0]
        shown.append(images[index[torch.randperm(len(index), generator=random)[: 2 * SHOWN_IMAGES]]])
        among = pool.distances[index][:, index].clone()
        among[torch.tril(torch.ones_like(among, dtype=torch.bool))] = torch.inf
        pairs = []
        for _ in range(SHOWN_PAIRS):
            first, second = divmod(int(among.argmin()), len(index))
            pairs.append(images[index[[first, second]]])
            among[[first, second]] = among[:, [first, second]] = torch.inf  # four pairs, not one crowd
        closest.append(torch.stack(pairs))
    return Pictures(shown[0], shown[1], closest[0], closest[1])
