"""The methods the papers compare with, written from their papers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ndiv_lib._checks import check_floating, check_positive
from ndiv_lib.distances import pairwise_distances


def bourgain_embedding(
    points: Tensor, *, sets_per_scale: int = 5, generator: torch.Generator | None = None
) -> Tensor:
    """Embed a finite metric space by distances to random subsets (BourGAN, Xiao et al. 2018, after Bourgain 1985).

    For every scale j a subset keeps each point with probability 2^-j; a coordinate is the distance to the nearest point of
    the subset (0 for an empty one). The result is centered and scaled to a mean squared coordinate of 1.

    Args:
        points: ``(n, d)``, n >= 2, all the training data.
        sets_per_scale: number of random subsets for each of the ``ceil(log2 n)`` scales.
        generator: source of randomness.

    Returns:
        ``(n, sets_per_scale * ceil(log2 n))``.

    Raises:
        TypeError: if points are not floating point.
        ValueError: for fewer than two points.

    Example:
        >>> import torch
        >>> bourgain_embedding(torch.rand(64, 2)).shape
        torch.Size([64, 30])
    """
    check_floating(points, "points", min_dims=2)
    n = len(points)
    if n < 2:
        raise ValueError(f"expected at least 2 points to embed, got {n}.")
    distances = pairwise_distances(points)
    coordinates = []
    for scale in range(1, math.ceil(math.log2(n)) + 1):
        for _ in range(sets_per_scale):
            subset = torch.rand(n, generator=generator).to(points.device) < 2.0**-scale
            nearest = distances[:, subset].amin(1) if bool(subset.any()) else distances.new_zeros(n)
            coordinates.append(nearest)
    embedding = torch.stack(coordinates, dim=1)
    embedding = embedding - embedding.mean(0)
    return embedding / embedding.square().mean().sqrt()


def bourgan_latents(
    embedding: Tensor, num_samples: int, *, width: float, generator: torch.Generator | None = None
) -> Tensor:
    """Sample BourGAN's latent mixture: a Gaussian around every embedded training point.

    Args:
        embedding: ``(n, k)`` from :func:`bourgain_embedding`.
        num_samples: how many latents.
        width: standard deviation > 0 of each Gaussian. The released code uses 0.01, so narrow that the generator learns the
            training points themselves; it is the knob that decides what BourGAN generalizes to.
        generator: source of randomness.

    Returns:
        ``(num_samples, k)``.

    Raises:
        ValueError: for a width that is not positive.

    Example:
        >>> import torch
        >>> bourgan_latents(torch.zeros(8, 30), 128, width=0.1).shape
        torch.Size([128, 30])
    """
    check_positive(width, "width")
    index = torch.randint(len(embedding), (num_samples,), generator=generator).to(embedding.device)
    noise = torch.randn(num_samples, embedding.shape[1], generator=generator).to(embedding)
    return embedding[index] + width * noise


def bourgan_scale(points: Tensor, embedding: Tensor) -> float:
    """Largest root ratio of data to embedded distance, the released code's scale for :func:`bourgan_loss`."""
    data, embedded = pairwise_distances(points), pairwise_distances(embedding)
    apart = (data > 0) & (embedded > 0)
    return float((data[apart] / embedded[apart]).max().sqrt())


def bourgan_loss(latents: Tensor, outputs: Tensor, *, scale: float) -> Tensor:
    """Mean squared difference of log distances between outputs and scaled latents (BourGAN's second term; its weight is 0.1).

    Args:
        latents: ``(*batch, n, dz)``; sample 2i is paired with sample 2i + 1, so n is even.
        outputs: ``(*batch, n, d)``.
        scale: > 0, factor of the latent distances.

    Returns:
        ``(*batch)``, or a scalar without batch dimensions. Pairs that coincide on either side are left out.

    Raises:
        ValueError: for an odd number of samples or shapes that do not match.

    Example:
        >>> import torch
        >>> bourgan_loss(torch.eye(4), 3 * torch.eye(4), scale=3.0)
        tensor(0.)
    """
    if latents.shape[:-1] != outputs.shape[:-1] or latents.shape[-2] % 2:
        raise ValueError(
            f"expected an even number of latents and outputs, got shapes {tuple(latents.shape)} and {tuple(outputs.shape)}."
        )
    check_positive(scale, "scale")
    latent = (latents[..., ::2, :] - latents[..., 1::2, :]).norm(dim=-1) * scale
    output = (outputs[..., ::2, :] - outputs[..., 1::2, :]).norm(dim=-1)
    apart = (latent > 0) & (output > 0)
    gap = torch.where(apart, output, 1.0).log() - torch.where(apart, latent, 1.0).log()
    return gap.square().sum(-1) / apart.sum(-1).clamp_min(1)


def sample_kernel_density(
    points: Tensor, num_samples: int, *, bandwidth: float, generator: torch.Generator | None = None
) -> Tensor:
    """Draw from a Gaussian kernel density of the training points: no network at all, the reference a generator must beat.

    Args:
        points: ``(n, d)`` training points.
        num_samples: how many samples.
        bandwidth: standard deviation > 0 of the kernels, in the points' units.
        generator: source of randomness.

    Returns:
        ``(num_samples, d)``.

    Raises:
        ValueError: for a bandwidth that is not positive.

    Example:
        >>> import torch
        >>> sample_kernel_density(torch.zeros(10, 2), 100, bandwidth=0.1).shape
        torch.Size([100, 2])
    """
    return bourgan_latents(points, num_samples, width=bandwidth, generator=generator)
