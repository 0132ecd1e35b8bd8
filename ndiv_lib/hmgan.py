"""Expansion ratios (Hu et al., Hierarchical Modes Exploring in GANs): how far apart a layer puts two latents."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, check_same_device, values_are_checked


def mode_seeking_loss(
    latents_a: Tensor, latents_b: Tensor, outputs_a: Tensor, outputs_b: Tensor, *, p: Literal[1, 2] = 1
) -> Tensor:
    r"""Ratio of latent to output distance between two batches (HMGAN, Eq. 1; the mode seeking loss of Mao et al. 2019).

    .. math::

        \mathcal{L}_d = \frac{1}{n} \sum_i \frac{d(z_i, z'_i)}{d(y_i, y'_i)}

    Distances are means over entries, so that the ratio does not depend on the sizes of latent and output.

    Args:
        latents_a: ``(n, ...)``.
        latents_b: ``(n, ...)``, for the same conditions as ``latents_a``.
        outputs_a: ``(n, ...)``, the generator's outputs.
        outputs_b: ``(n, ...)``, likewise.
        p: 1 for mean absolute difference, 2 for root mean square difference.

    Returns:
        A scalar >= 0, unbounded as outputs collapse; ``1e5`` at most per pair, the released mode seeking code's bound.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for another p, shapes or devices that do not match, or (looked for on the CPU only) a pair of equal
            latents, or values that are not finite.

    Example:
        >>> import torch
        >>> mode_seeking_loss(torch.zeros(4, 2), torch.ones(4, 2), torch.zeros(4, 3, 8, 8), 2 * torch.ones(4, 3, 8, 8))
        tensor(0.5000)
    """
    check_choice(p, "p", (1, 2))
    named = {"latents_a": latents_a, "latents_b": latents_b, "outputs_a": outputs_a, "outputs_b": outputs_b}
    for name, tensor in named.items():
        check_floating(tensor, name, min_dims=2)
    check_same_device(**named)
    if (
        latents_a.shape != latents_b.shape
        or outputs_a.shape != outputs_b.shape
        or len(latents_a) != len(outputs_a)
    ):
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in named.items())
        raise ValueError(
            f"expected two batches of latents and their outputs, each pair of one shape; got {shapes}."
        )
    between_latents = mean_distance(latents_a, latents_b, p)
    if values_are_checked(latents_a, None) and bool((between_latents == 0).any()):
        raise ValueError(
            "expected different latents in each pair, got a pair of equal ones; draw them independently."
        )
    loss = (1 / (mean_distance(outputs_a, outputs_b, p) / between_latents + 1e-5)).mean()
    if values_are_checked(latents_a, None) and not bool(torch.isfinite(loss)):
        raise ValueError(
            "expected finite latents and outputs, got NaN or infinity; find them with torch.isfinite()."
        )
    return loss


def mean_distance(first: Tensor, second: Tensor, p: int) -> Tensor:
    """Mean absolute (p = 1) or root mean square (p = 2) difference of two batches: ``(n, ...)`` twice to ``(n,)``."""
    difference = (first - second).flatten(1)
    return difference.abs().mean(1) if p == 1 else difference.norm(dim=1) / difference.shape[1] ** 0.5
