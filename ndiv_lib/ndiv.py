"""Normalized diversification: keep the latents' normalized distances in the outputs (Liu et al., CVPR 2019).

The loss is a relation between two distance matrices, so it needs several samples at once and nothing else: no
real pairs, no encoder, no second network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ndiv_lib._checks import (
    check_choice,
    check_floating,
    check_positive,
    check_same_device,
    values_are_checked,
)
from ndiv_lib.distances import normalized_distances, same_condition

Reduction = Literal["paper", "sample", "none"]


def ndiv_loss(
    latents: Tensor,
    outputs: Tensor,
    *,
    alpha: float = 0.5,
    p: Literal[1, 2] = 2,
    latent_p: Literal[1, 2] = 2,
    condition: Tensor | None = None,
    output_mask: Tensor | None = None,
    detach_normalizer: bool = True,
    reduction: Reduction = "paper",
    check_values: bool | None = None,
) -> Tensor:
    r"""Normalized diversity loss (NDiv, Eq. 4 with Eq. 1-3 and Algorithm 1).

    .. math::

        \mathcal{L} = \frac{1}{n^2 - n} \sum_{i \neq j} \max(\alpha D^Z_{ij} - D^Y_{ij}, 0)

    Args:
        latents: ``(*batch, n, dz)``, n >= 3 samples; with two, both normalized matrices are equal whatever the outputs.
        outputs: ``(*batch, n, ...)``, what the generator made of the latents; trailing dimensions count as one vector.
        alpha: slack factor > 0. At 1 only a similarity (scale, rotation, shift) reaches zero; below 1 the loss can be
            satisfied with room to spare.
        p: distance between outputs: 1 (sum of absolute differences) or 2 (Euclidean).
        latent_p: distance between latents, likewise.
        condition: ``(*batch, n)`` integers; pairs and row sums stay inside a group of equal condition, and the mean is
            over groups. For groups of one size, leading batch dimensions do the same in less time.
        output_mask: ``(*batch, n, ...)`` booleans: the output coordinates that count; a pair compares what both show
            (Sec. 4.1, where only hidden joints count).
        detach_normalizer: treat row sums as constants in the gradient (Algorithm 1, line 6).
        reduction: ``"paper"`` is Eq. 4, at most ``alpha / (n - 1)``; ``"sample"`` multiplies it by ``n - 1``, so that it is at
            most ``alpha`` and a weight does not depend on n; both are averaged over the batch. ``"none"`` is ``"paper"``
            with the batch dimensions kept.
        check_values: look for NaN, infinity, small groups and empty masks; by default only on the CPU.

    Returns:
        A scalar, or ``(*batch)`` for ``reduction="none"``. Identical outputs give the maximum, with gradient zero.

    Raises:
        TypeError: for tensors that are not floating point (latents, outputs), boolean (mask) or integer (condition).
        ValueError: for fewer than three samples in a batch or group, shapes or devices that do not match, alpha <= 0,
            identical latents, empty masks, values that are not finite.

    Example:
        >>> import torch
        >>> latents = torch.tensor([[0.0], [1.0], [2.0]])
        >>> ndiv_loss(latents, 5 * latents + 1, alpha=1.0)  # a similarity loses nothing
        tensor(0.)
        >>> ndiv_loss(latents, torch.zeros(3, 2))  # collapse: alpha / (n - 1)
        tensor(0.2500)
    """
    check_choice(reduction, "reduction", ("paper", "sample", "none"))
    check_positive(alpha, "alpha")
    outputs, output_mask = _flatten_outputs(latents, outputs, output_mask)
    check_same_device(latents=latents, outputs=outputs, condition=condition, output_mask=output_mask)
    if values_are_checked(latents, check_values):
        _check_groups(latents, condition, output_mask)

    latent_distances = normalized_distances(
        latents,
        p=latent_p,
        detach_normalizer=detach_normalizer,
        condition=condition,
        check_values=check_values,
    )
    if values_are_checked(latents, check_values) and bool((latent_distances.sum(-1) == 0).any()):
        raise ValueError(
            "expected different latents, got a sample equal to all others of its group; draw them independently."
        )
    output_distances = normalized_distances(
        outputs,
        p=p,
        detach_normalizer=detach_normalizer,
        condition=condition,
        mask=output_mask,
        check_values=check_values,
    )
    hinge = (alpha * latent_distances - output_distances).relu()

    if condition is None:
        n = latents.shape[-2]
        loss = hinge.sum((-2, -1)) / (n if reduction == "sample" else n * (n - 1))
    else:  # Eq. 4 within each group, then the mean over groups
        size = same_condition(condition, latents.shape[:-1]).sum(-1)
        pairs = size if reduction == "sample" else size * (size - 1)
        loss = (hinge.sum(-1) / pairs).sum(-1) / (1 / size).sum(-1)
    return loss if reduction == "none" else loss.mean()


def _flatten_outputs(latents: Tensor, outputs: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Outputs (and mask) as ``(*batch, n, d)``, after checking every shape that can be checked."""
    check_floating(latents, "latents", min_dims=2)
    check_floating(outputs, "outputs", min_dims=2)
    leading = latents.shape[:-1]
    if outputs.shape[: len(leading)] != leading or outputs.ndim == len(leading):
        raise ValueError(
            f"expected outputs of shape {(*leading, '...')}, one for each latent, as latents have shape "
            f"{tuple(latents.shape)}; got {tuple(outputs.shape)}."
        )
    if latents.shape[-2] < 3:
        raise ValueError(
            f"expected at least 3 samples, got {latents.shape[-2]}: with two samples every normalized distance is 1, so the "
            "loss says nothing. Use a larger batch, or several latents per condition."
        )
    if mask is not None and mask.shape != outputs.shape:
        raise ValueError(
            f"expected output_mask of the outputs' shape {tuple(outputs.shape)}, got {tuple(mask.shape)}."
        )
    start = len(leading)
    return outputs.flatten(start), None if mask is None else mask.flatten(start)


def _check_groups(latents: Tensor, condition: Tensor | None, mask: Tensor | None) -> None:
    if condition is not None:
        smallest = int(same_condition(condition, latents.shape[:-1]).sum(-1).min())
        if smallest < 3:
            raise ValueError(
                f"expected at least 3 samples in each group of equal condition, got a group of {smallest}; draw several "
                "latents for each condition."
            )
    if mask is not None and not bool(mask.any(-1).all()):
        raise ValueError(
            "expected at least one coordinate to count for each sample, got an output_mask with an empty row."
        )


class NormalizedDiversity(nn.Module):
    """Weighted normalized diversity loss with feature maps (NDiv, Eq. 1-5), to be added to a generator's loss.

    Args:
        alpha: slack factor, see :func:`ndiv_loss`.
        weight: factor >= 0 of the loss. Eq. 5 prints none, which with Eq. 4 does nothing; in the ``"sample"`` reduction
            about 8 works whatever n.
        reduction: ``"sample"`` or ``"paper"``, see :func:`ndiv_loss`.
        latent_features: h_Z of Eq. 1, called with ``(samples, dz)``; the identity if not given.
        output_features: h_Y of Eq. 2, called with ``(samples, ...)``, for example a discriminator's feature
            layers. Gradients flow through it to the outputs; put no parameters of it into the generator's optimizer.
        p: distance between output features, 1 or 2.
        latent_p: distance between latent features, 1 or 2.
        detach_normalizer: see :func:`ndiv_loss`.
        check_values: see :func:`ndiv_loss`.

    Raises:
        ValueError: for alpha <= 0, weight < 0, or an unknown reduction; and as :func:`ndiv_loss` when called.

    Example:
        >>> import torch
        >>> diversity = NormalizedDiversity(alpha=0.5)
        >>> latents = torch.rand(16, 2, generator=torch.Generator().manual_seed(0))
        >>> diversity(latents, latents.repeat(1, 3)).item()  # the outputs keep all distances
        0.0
    """

    def __init__(
        self,
        alpha: float = 0.5,
        *,
        weight: float = 8.0,
        reduction: Literal["paper", "sample"] = "sample",
        latent_features: Callable[[Tensor], Tensor] | None = None,
        output_features: Callable[[Tensor], Tensor] | None = None,
        p: Literal[1, 2] = 2,
        latent_p: Literal[1, 2] = 2,
        detach_normalizer: bool = True,
        check_values: bool | None = None,
    ) -> None:
        super().__init__()
        check_positive(alpha, "alpha")
        check_positive(weight, "weight", allow_zero=True)
        check_choice(reduction, "reduction", ("paper", "sample"))
        self.alpha, self.weight, self.reduction = alpha, weight, reduction
        self.latent_features, self.output_features = latent_features, output_features
        self.p, self.latent_p = p, latent_p
        self.detach_normalizer, self.check_values = detach_normalizer, check_values

    def forward(
        self,
        latents: Tensor,
        outputs: Tensor,
        *,
        condition: Tensor | None = None,
        output_mask: Tensor | None = None,
    ) -> Tensor:
        """Return ``weight * ndiv_loss`` of ``latents (*batch, n, dz)`` and ``outputs (*batch, n, ...)`` as a scalar."""
        leading = latents.shape[:-1]
        return self.weight * ndiv_loss(
            _features(self.latent_features, latents, leading),
            _features(self.output_features, outputs, leading),
            alpha=self.alpha,
            p=self.p,
            latent_p=self.latent_p,
            condition=condition,
            output_mask=output_mask,
            detach_normalizer=self.detach_normalizer,
            reduction=self.reduction,
            check_values=self.check_values,
        )

    def extra_repr(self) -> str:
        """Show the numbers that define the loss."""
        return f"alpha={self.alpha}, weight={self.weight}, reduction={self.reduction!r}, p={self.p}"


def _features(features: Callable[[Tensor], Tensor] | None, tensor: Tensor, leading: torch.Size) -> Tensor:
    """Apply a feature map to all samples of all batches at once: a network expects one sample dimension."""
    if features is None:
        return tensor
    mapped = features(tensor.flatten(0, len(leading) - 1))
    return mapped.reshape(*leading, -1)
