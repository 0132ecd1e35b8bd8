"""Pairwise and normalized distances that stay exact when the samples collapse.

Collapse is the regime this library is about: clusters whose spread is a 1e-4 part of their distance from each other.
The usual ``|x|^2 + |y|^2 - 2 x.y`` in float32 has lost every digit there, and computing each difference costs
O(n^2 d) memory traffic. Matrix products in float64 keep both: the product of two float32 numbers is exact in
float64, and memory stays O(n^2 + n d).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, values_are_checked

# Products win over differences from about this dimension on (measured on CPU, n = 128 and 512).
_SMALL_DIMENSION = 16
# Columns converted to float64 at a time: the block stays in the processor's cache.
_BLOCK = 2048
# Squared distances below this part of the squared norms are rounding, not distance (about half a float32 ulp).
_RESOLUTION = 16 * torch.finfo(torch.float64).eps


def pairwise_distances(
    points: Tensor, *, p: Literal[1, 2] = 2, mask: Tensor | None = None, check_values: bool | None = None
) -> Tensor:
    """Distances between all pairs of points (NDiv, Eq. 1-2).

    Exact to float32 rounding also for nearly coincident points, in value and in gradient; the gradient is zero between
    coincident points. Twice differentiable for ``p=2`` without a mask.

    Args:
        points: ``(*batch, n, d)``, floating point; half precision is computed in higher precision.
        p: 1 for the sum of absolute differences, 2 for the Euclidean distance.
        mask: ``(*batch, n, d)`` booleans: the coordinates that count. A pair compares the coordinates both points show.
        check_values: look for NaN and infinity; by default only on the CPU, where it costs no synchronization.

    Returns:
        ``(*batch, n, n)``, symmetric, zero diagonal, at least float32.

    Raises:
        TypeError: for anything but floating-point tensors, or a mask that is not boolean.
        ValueError: for fewer than two dimensions, another ``p``, a mask of another shape, or values that are not finite.

    Example:
        >>> import torch
        >>> pairwise_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
        tensor([[0., 5.],
                [5., 0.]])
    """
    check_floating(points, "points", min_dims=2)
    check_choice(p, "p", (1, 2))
    if mask is not None:
        _check_mask(mask, points)
    points = points.to(torch.promote_types(points.dtype, torch.float32))
    with torch.autocast(points.device.type, enabled=False):
        if mask is not None:
            distances = _MaskedDistances.apply(points, mask, p)
        elif p == 1:
            distances = torch.cdist(points, points, p=1.0)
        else:
            distances = _EuclideanDistances.apply(points)
    if values_are_checked(points, check_values) and not bool(torch.isfinite(distances.sum())):
        raise ValueError(
            "expected finite points, got NaN, infinity or values too large for their distances; find them with "
            "torch.isfinite(points)."
        )
    return distances


def normalized_distances(
    points: Tensor,
    *,
    p: Literal[1, 2] = 2,
    detach_normalizer: bool = True,
    mask: Tensor | None = None,
    condition: Tensor | None = None,
    check_values: bool | None = None,
) -> Tensor:
    """Pairwise distances divided by their row sums (NDiv, Eq. 3; Algorithm 1, lines 3-10).

    Args:
        points: ``(*batch, n, d)``, n >= 2.
        p: 1 or 2, as in :func:`pairwise_distances`.
        detach_normalizer: treat the row sums as constants in the gradient, as Algorithm 1 does in line 6.
        mask: as in :func:`pairwise_distances`.
        condition: ``(*batch, n)`` integers; distances and row sums stay inside a group of equal condition.
        check_values: as in :func:`pairwise_distances`.

    Returns:
        ``(*batch, n, n)``, rows sum to 1 (to 0 where all of a row's distances are zero), zero diagonal, in general not
        symmetric.

    Raises:
        TypeError: as :func:`pairwise_distances`, or for a condition that is not integer.
        ValueError: as :func:`pairwise_distances`, or for fewer than two points, or a condition of another shape.

    Example:
        >>> import torch
        >>> normalized_distances(torch.tensor([[0.0], [1.0], [3.0]]))
        tensor([[0.0000, 0.2500, 0.7500],
                [0.3333, 0.0000, 0.6667],
                [0.6000, 0.4000, 0.0000]])
    """
    check_floating(points, "points", min_dims=2)
    if points.shape[-2] < 2:
        raise ValueError(f"expected at least 2 points to normalize distances, got {points.shape[-2]}.")
    distances = pairwise_distances(points, p=p, mask=mask, check_values=check_values)
    if condition is not None:
        distances = distances * same_condition(condition, points.shape[:-1])
    row_sums = distances.sum(-1, keepdim=True)
    if detach_normalizer:
        row_sums = row_sums.detach()
    # A row of zeros stays zero: a point on top of all others has no direction to be pushed in.
    return distances / row_sums.masked_fill(row_sums == 0, 1)


def same_condition(condition: Tensor, shape: torch.Size) -> Tensor:
    """Which pairs share a condition: ``(*batch, n)`` integers to ``(*batch, n, n)`` booleans."""
    if not isinstance(condition, Tensor) or condition.is_floating_point() or condition.is_complex():
        got = condition.dtype if isinstance(condition, Tensor) else type(condition).__name__
        raise TypeError(
            f"expected condition to be an integer tensor (one group number per sample), got {got}."
        )
    if condition.shape != shape:
        raise ValueError(
            f"expected condition of shape {tuple(shape)}, one integer per sample, got {tuple(condition.shape)}."
        )
    return condition[..., :, None] == condition[..., None, :]


def _check_mask(mask: Tensor, points: Tensor) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(
            f"expected mask to be a boolean tensor, got {got}; compare it, for example mask > 0.5."
        )
    if mask.shape != points.shape:
        raise ValueError(
            f"expected a mask of the points' shape {tuple(points.shape)}, got {tuple(mask.shape)}."
        )


def _working_dtype(points: Tensor) -> torch.dtype:
    return points.dtype if points.device.type == "mps" else torch.float64  # Apple's GPUs have no float64


def _distances_from_squares(squares: Tensor, norms: Tensor) -> Tensor:
    noise = _RESOLUTION * (norms[..., :, None] + norms[..., None, :])
    return squares.masked_fill(squares <= noise, 0).sqrt()  # NaN stays NaN


def _euclidean(points: Tensor) -> Tensor:
    dtype = _working_dtype(points)
    if (
        points.shape[-1] <= _SMALL_DIMENSION or points.dtype == dtype
    ):  # few columns, or no wider type to multiply in
        return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    gram: Tensor | float = 0.0
    for block in points.split(_BLOCK, dim=-1):
        block = block.to(dtype)
        block = block - block.mean(-2, keepdim=True)  # a large common offset would hide small distances
        gram = gram + block @ block.mT
    assert isinstance(gram, Tensor)
    norms = gram.diagonal(dim1=-2, dim2=-1)
    return _distances_from_squares(norms[..., :, None] + norms[..., None, :] - 2 * gram, norms)


def _pull(grad: Tensor, distances: Tensor) -> Tensor:
    """W = (G + G^T) / d, and 0 where d = 0: coincident points do not push each other."""
    return (grad + grad.mT) / distances.masked_fill(distances == 0, torch.inf)


class _EuclideanDistances(torch.autograd.Function):
    """sum_j W_ij (y_i - y_j) with W = (G + G^T) / d, as one product with the Laplacian of W."""

    generate_vmap_rule = True

    @staticmethod
    def forward(points: Tensor) -> Tensor:
        return _euclidean(points).to(points.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        points, distances = ctx.saved_tensors
        if (
            points.shape[-1] <= _SMALL_DIMENSION and not torch.is_grad_enabled()
        ):  # no second derivative is wanted
            return torch.ops.aten._cdist_backward(grad + grad.mT, points, points, 2.0, distances)
        dtype = _working_dtype(points)
        weights = _pull(grad.to(dtype), distances.to(dtype))
        laplacian = torch.diagonal_scatter(-weights, weights.sum(-1), dim1=-2, dim2=-1)
        blocks = [(laplacian @ block.to(dtype)).to(points.dtype) for block in points.split(_BLOCK, dim=-1)]
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=-1)


class _MaskedDistances(torch.autograd.Function):
    """Distances over the coordinates that both points of a pair show."""

    @staticmethod
    def forward(points: Tensor, mask: Tensor, p: int) -> Tensor:
        dtype = _working_dtype(points)
        visible, shown = mask.to(dtype), torch.where(mask, points, 0.0).to(dtype)
        if p == 1:
            rows = [
                (visible[..., i : i + 1, :] * visible * (shown[..., i : i + 1, :] - shown).abs()).sum(-1)
                for i in range(points.shape[-2])
            ]
            return torch.stack(rows, dim=-2).to(points.dtype)
        norms = shown.square() @ visible.mT  # |y_i|^2 over what j shows
        squares = norms + norms.mT - 2 * shown @ shown.mT
        return _distances_from_squares(squares, shown.square().sum(-1)).to(points.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], inputs[1], output)
        ctx.p = inputs[2]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        points, mask, distances = ctx.saved_tensors
        dtype = _working_dtype(points)
        visible, shown = mask.to(dtype), torch.where(mask, points, 0.0).to(dtype)
        if ctx.p == 1:
            weights = (grad + grad.mT).to(dtype)
            rows = [
                visible[..., i, :]
                * (weights[..., i, :, None] * visible * (shown[..., i : i + 1, :] - shown).sign()).sum(-2)
                for i in range(points.shape[-2])
            ]
            return torch.stack(rows, dim=-2).to(points.dtype), None, None
        weights = _pull(grad.to(dtype), distances.to(dtype))
        return (visible * (shown * (weights @ visible) - weights @ shown)).to(points.dtype), None, None
