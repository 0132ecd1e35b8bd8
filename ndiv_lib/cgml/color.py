r"""The color term (cGML, Sec. 5.2, App. 3.3): match both color planes, and push the colors used towards a uniform distribution.

How the distribution of predicted values is estimated is not printed, and the printed one to compare with, uniform on (0, 1), is
not positive where the network's tanh puts half of its values: the divergence is then infinite. Both are arguments here.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import (
    check_choice,
    check_floating,
    check_positive,
    check_same_device,
    values_are_checked,
)


def color_cost(
    outputs: Tensor,
    targets: Tensor,
    *,
    uniform_weight: float = 0.1,
    over: Literal["image", "batch"] = "image",
    value_range: tuple[float, float] = (-1.0, 1.0),
    num_bins: int = 20,
) -> Tensor:
    r"""One cost per image of predicted color planes (cGML, Sec. 5.2).

    .. math::

        E = \|a_{gt} - a\| + \|b_{gt} - b\| + \lambda \, (\mathrm{KL}_a + \mathrm{KL}_b)

    Norms are means of absolute differences over a plane, so that the weight does not depend on the size of the image.

    Args:
        outputs: ``(n, 2, ...)``, planes a and b, in ``value_range``.
        targets: ``(n, 2, ...)``.
        uniform_weight: lambda >= 0, not printed.
        over: whose values form a distribution: each ``"image"``'s own, so that one sample's cost is its own; or the
            ``"batch"``'s, one divergence that is added to every sample, so that a single image may be plain. Not printed.
        value_range: where the uniform distribution lies: the range of the network's last layer. (0, 1) as printed.
        num_bins: see :func:`~ndiv_lib.cgml.uniform_divergence`.

    Returns:
        ``(n,)``, at least 0.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for shapes or devices that differ, not two planes, an unknown option, a negative weight; and, with a weight,
            as :func:`~ndiv_lib.cgml.uniform_divergence`.

    Example:
        >>> import torch
        >>> gray = torch.zeros(3, 2, 8, 8)
        >>> color_cost(gray, gray + 0.25, uniform_weight=0.0)
        tensor([0.5000, 0.5000, 0.5000])
    """
    check_floating(outputs, "outputs", min_dims=3)
    check_floating(targets, "targets", min_dims=3)
    check_same_device(outputs=outputs, targets=targets)
    check_choice(over, "over", ("image", "batch"))
    check_positive(uniform_weight, "uniform_weight", allow_zero=True)
    if outputs.shape != targets.shape or outputs.shape[1] != 2:
        raise ValueError(
            f"expected two color planes (n, 2, ...) in outputs and targets, got {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}."
        )
    cost = (outputs - targets).abs().flatten(2).mean(2).sum(1)
    if not uniform_weight:
        return cost
    values = outputs.flatten(2) if over == "image" else outputs.transpose(0, 1).flatten(1)[None]
    divergence = uniform_divergence(values, value_range=value_range, num_bins=num_bins).sum(1)
    return cost + uniform_weight * divergence


def uniform_divergence(
    values: Tensor, *, value_range: tuple[float, float] = (-1.0, 1.0), num_bins: int = 20
) -> Tensor:
    r"""How far values are from uniform, by a histogram with soft edges (cGML, Sec. 5.2; the estimate is ours).

    .. math::

        \mathrm{KL}(p \,\|\, u) = \sum_i p_i \log (B p_i)

    Each value counts in all bins, with Gaussian weights around it whose standard deviation is half a bin and which sum to one;
    counts in a single bin would have no gradient. The printed order of the arguments is kept: the other one is infinite as
    soon as one bin is empty, which soft edges hide but do not change.

    Args:
        values: ``(*batch, m)``, in ``value_range``.
        value_range: ends of the uniform distribution, ascending.
        num_bins: B >= 2. More see finer, and need more values.

    Returns:
        ``(*batch)`` in nats, from 0 (uniform) to about log B (one value).

    Raises:
        TypeError: for values that are not floating point, or a number of bins that is no integer.
        ValueError: for a range or a number of bins out of order, no values, or (looked for on the CPU only) values out of the
            range, for which the divergence is infinite, and values that are not finite.

    Example:
        >>> import torch
        >>> uniform_divergence(torch.stack([torch.linspace(-1, 1, 1000), torch.zeros(1000)])).round(decimals=2)
        tensor([0.0000, 2.2100])
    """
    check_floating(values, "values")
    low, high = value_range
    if not low < high:
        raise ValueError(f"expected an ascending value_range, got {value_range}.")
    if not isinstance(num_bins, int):
        raise TypeError(f"expected num_bins to be an integer, got {num_bins!r}.")
    if num_bins < 2 or values.shape[-1] == 0:
        raise ValueError(
            f"expected num_bins >= 2 and at least one value, got {num_bins} and shape {tuple(values.shape)}."
        )
    if values_are_checked(values, None) and not bool(((values >= low) & (values <= high)).all()):
        raise ValueError(
            f"expected values in [{low:g}, {high:g}], got {float(values.min()):.3g} to {float(values.max()):.3g}: outside of it "
            "the uniform density is zero and the divergence infinite. Give the range of the last layer: (-1, 1) for tanh."
        )
    width = (high - low) / num_bins
    centers = low + width * (torch.arange(num_bins, device=values.device, dtype=values.dtype) + 0.5)
    weights = (-2 * ((values[..., None] - centers) / width).square()).softmax(-1)
    shares = weights.mean(-2)
    return (shares * (shares * num_bins).clamp_min(torch.finfo(shares.dtype).tiny).log()).sum(-1)
