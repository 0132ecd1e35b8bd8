"""Fréchet and kernel distances between two sets: FID and KID where the features are Inception's, and their kin where not."""

from __future__ import annotations

import torch
from torch import Tensor

from ndiv_lib._checks import check_two_sets
from ndiv_lib.metrics.features import Features, extract_features

_BLOCK = 2048


def frechet_distance(*, real: Tensor, generated: Tensor, features: Features) -> float:
    r"""Squared Fréchet distance between two sets of features, as if both were normal (Heusel et al. 2017).

    .. math:: \|\mu_r - \mu_g\|^2 + \operatorname{tr} \Sigma_r + \operatorname{tr} \Sigma_g
        - 2 \operatorname{tr} (\Sigma_r \Sigma_g)^{1/2}

    With ``"inception"`` it is FID; with any other features it is not, and should be named after them. It compares means and
    covariances and nothing else. Estimated from samples it is too large, by about one over their number: two sets of real samples
    never score 0. Compare equal numbers only, and print the score of other real samples beside them.

    The last trace is the sum of the singular values of :math:`X_r X_g^\top` for the centered samples, divided by
    :math:`\sqrt{(n - 1)(m - 1)}`: exact in float64 also where covariances are singular and roots of matrices lose half of the
    digits.

    Args:
        real: ``(n, ...)``, n >= 2.
        generated: ``(m, ...)``, m >= 2.
        features: ``"inception"``, ``"efficientnet"``, ``"squeezenet"``, ``"pixels"`` (for vectors too) or a callable, see
            :func:`~ndiv_lib.metrics.extract_features`.

    Returns:
        A number >= 0, in the features' units squared.

    Raises:
        TypeError: for samples that are not floating point.
        ValueError: for fewer than two samples, shapes or devices that do not match, or values that are not finite.
        FileNotFoundError, ImportError: as :func:`~ndiv_lib.metrics.extract_features`.

    Example:
        >>> import torch
        >>> real = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> frechet_distance(real=real, generated=2 * real + 3, features="pixels")
        10.0
    """
    real, generated = _vectors(real, generated, features)
    means = real.mean(0), generated.mean(0)
    spread, other = (
        _triangle((rows - mean) / (len(rows) - 1) ** 0.5)
        for rows, mean in zip((real, generated), means, strict=True)
    )
    overlap = torch.linalg.svdvals(spread @ other.mT).sum()
    distance = (
        (means[0] - means[1]).square().sum() + spread.square().sum() + other.square().sum() - 2 * overlap
    )
    return float(distance.clamp(min=0))  # rounding only


def kernel_distance(
    *,
    real: Tensor,
    generated: Tensor,
    features: Features,
    degree: int = 3,
    subset_size: int | None = None,
    num_subsets: int = 100,
    seed: int | None = None,
) -> float:
    r"""Squared maximum mean discrepancy with a polynomial kernel, without bias (Binkowski et al. 2018).

    The kernel is :math:`(x^\top y / d + 1)^3`. With ``"inception"`` it is KID; with any other features name it after them. Its
    mean over draws of samples is right at every size, 0 for equal distributions, so that a single number may be negative.

    Args:
        real: ``(n, ...)``, n >= 2.
        generated: ``(m, ...)``, m >= 2.
        features: as in :func:`frechet_distance`.
        degree: of the polynomial, >= 1.
        subset_size: at most n and m; take the mean over random subsets of that size, as KID usually is (1,000). By default all
            pairs are used once, which is as unbiased, varies less, and needs no seed.
        num_subsets: >= 1, with ``subset_size`` only.
        seed: of the subsets, needed with ``subset_size``.

    Returns:
        A number, about 0 for equal distributions; often printed a thousandfold.

    Raises:
        TypeError: for samples that are not floating point.
        ValueError: for too few samples, shapes or devices that do not match, values that are not finite, subsets without a seed,
            or numbers out of their range.
        FileNotFoundError, ImportError: as :func:`~ndiv_lib.metrics.extract_features`.

    Example:
        >>> import torch
        >>> real = torch.tensor([[-1.0], [0.0], [1.0]])
        >>> kernel_distance(real=real, generated=real + 3, features="pixels", degree=1)  # 9 - 1/3 - 1/3
        8.333333333333332
    """
    if degree < 1 or num_subsets < 1:
        raise ValueError(f"expected degree and num_subsets >= 1, got {degree} and {num_subsets}.")
    real, generated = _vectors(real, generated, features)
    if subset_size is None:
        return _unbiased_mmd(real, generated, degree)
    smaller = min(len(real), len(generated))
    if seed is None or not 2 <= subset_size <= smaller:
        raise ValueError(
            f"expected a seed and a subset_size from 2 to {smaller}, got seed {seed} and subset_size {subset_size}."
        )
    random = torch.Generator().manual_seed(seed)

    def subset(rows: Tensor) -> Tensor:
        return rows[torch.randperm(len(rows), generator=random)[:subset_size].to(rows.device)]

    drawn = [_unbiased_mmd(subset(real), subset(generated), degree) for _ in range(num_subsets)]
    return sum(drawn) / num_subsets


def _triangle(rows: Tensor) -> Tensor:
    """Fewer rows with the same second moments."""
    return torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows


def _unbiased_mmd(real: Tensor, generated: Tensor, degree: int) -> float:
    n, m, dims = len(real), len(generated), real.shape[1]

    def total(first: Tensor, second: Tensor) -> Tensor:
        return torch.stack(
            [(block @ second.mT / dims + 1).pow(degree).sum() for block in first.split(_BLOCK)]
        ).sum()

    def within(rows: Tensor) -> Tensor:
        return total(rows, rows) - (rows.square().sum(1) / dims + 1).pow(degree).sum()

    return float(
        within(real) / (n * (n - 1))
        + within(generated) / (m * (m - 1))
        - 2 * total(real, generated) / (n * m)
    )


def _vectors(real: Tensor, generated: Tensor, features: Features) -> tuple[Tensor, Tensor]:
    check_two_sets(real, generated, fewest=2, reason="one has no covariance")
    found = []
    for name, samples in {"real": real, "generated": generated}.items():
        vectors = extract_features(samples, features).double()
        if not bool(torch.isfinite(vectors).all()):
            raise ValueError(
                f"expected finite features of the {name} samples, got NaN or infinity for finite samples."
            )
        found.append(vectors)
    return found[0], found[1]
