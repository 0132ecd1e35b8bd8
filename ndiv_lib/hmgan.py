r"""Expansion ratios (Hu et al., Hierarchical Modes Exploring in GANs): how far apart every layer puts two latents.

A ratio is the distance of a pair before a layer over its distance after it: below 1 the layer expands, above 1 it
contracts. The product of all ratios from latent to output is the ratio of mode seeking. The paper leaves thirteen choices
open; those that change a number are arguments here, each with its reason in :class:`HierarchicalDiversity`.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
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
from ndiv_lib.activations import record_activations

LARGEST_RATIO = (
    1e5  # of a loss, so that collapse has a finite one: the bound of the released mode seeking code
)


def mode_seeking_loss(
    latents_a: Tensor,
    latents_b: Tensor,
    outputs_a: Tensor,
    outputs_b: Tensor,
    *,
    p: Literal[1, 2] = 1,
    aggregate: Literal["batch", "pair"] = "pair",
) -> Tensor:
    r"""Ratio of latent to output distance between two batches (HMGAN, Eq. 1; the mode seeking loss of Mao et al. 2019).

    .. math::

        \mathcal{L}_d = \frac{1}{n} \sum_i \frac{d(z_i, z'_i)}{d(y_i, y'_i)}

    It is :func:`hierarchical_loss` of a generator seen as a single layer, with an expected ratio of 0. Distances are means
    over entries, so that the ratio does not depend on the sizes of latent and output.

    Args:
        latents_a: ``(n, ...)``.
        latents_b: ``(n, ...)``, for the same conditions as ``latents_a``.
        outputs_a: ``(n, ...)``, the generator's outputs.
        outputs_b: ``(n, ...)``, likewise.
        p: 1 for mean absolute difference, 2 for root mean square difference.
        aggregate: ``"pair"`` takes the mean of the pairs' ratios, ``"batch"`` the ratio of the mean distances (as the
            released mode seeking code).

    Returns:
        A scalar >= 0, unbounded as outputs collapse; ``1e5`` at most per pair, the released mode seeking code's bound.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for another p or aggregate, shapes or devices that do not match, or (looked for on the CPU only) a
            pair of equal latents, or values that are not finite.

    Example:
        >>> import torch
        >>> mode_seeking_loss(torch.zeros(4, 2), torch.ones(4, 2), torch.zeros(4, 3, 8, 8), 2 * torch.ones(4, 3, 8, 8))
        tensor(0.5000)
    """
    return hierarchical_loss([latents_a, outputs_a], [latents_b, outputs_b], p=p, aggregate=aggregate)


def expansion_ratios(
    layers_a: Sequence[Tensor],
    layers_b: Sequence[Tensor],
    *,
    p: Literal[1, 2] = 1,
    norm: Literal["mean", "sum"] = "mean",
) -> Tensor:
    r"""Distance of every pair before a layer over its distance after it, for all layers of a path (HMGAN, Eq. 2).

    .. math::

        r^{(i)} = \frac{d(x^{(i-1)}_a, x^{(i-1)}_b)}{d(x^{(i)}_a, x^{(i)}_b)}

    The product over the layers is the ratio of first to last distance: the ratio of mode seeking if the first layer is
    the latent. The paper's text calls the first convolution layer 1, and then the product is another number.

    Args:
        layers_a: tensors ``(n, ...)`` along the path, the input first: ``num_layers >= 2`` of them.
        layers_b: likewise, for the other half of each pair.
        p: 1 for absolute, 2 for Euclidean differences.
        norm: ``"mean"`` over a layer's entries (for p = 2 the root mean square), so that a ratio of 1 means the same in
            layers of different size; ``"sum"`` is the plain norm, whose ratios also carry the growth in entries.

    Returns:
        ``(num_layers - 1, n)``, at least 0; infinite where a layer makes two different inputs equal, and 1 where it is
        given two equal ones and puts out equal ones.

    Raises:
        TypeError: for layers that are not floating point.
        ValueError: for another p or norm, fewer than two layers, shapes or devices that do not match, or (looked for on
            the CPU only) a pair of equal inputs, or values that are not finite.

    Example:
        >>> import torch
        >>> expansion_ratios([torch.zeros(1, 2), torch.zeros(1, 8)], [torch.ones(1, 2), 4 * torch.ones(1, 8)])
        tensor([[0.2500]])
    """
    return _ratios(_distances(layers_a, layers_b, p, norm), floor=0.0)


def hierarchical_loss(
    layers_a: Sequence[Tensor],
    layers_b: Sequence[Tensor],
    *,
    expected_ratio: float | Sequence[float] = 0.0,
    p: Literal[1, 2] = 1,
    norm: Literal["mean", "sum"] = "mean",
    aggregate: Literal["batch", "pair"] = "batch",
    detach_numerator: bool = False,
) -> Tensor:
    r"""Sum over layers of the difference between expansion ratio and expected ratio (HMGAN, Eq. 3).

    .. math::

        \mathcal{L}_h = \sum_{i=2}^{n} \left| r^{(i)} - \lambda^{(i)} \right|

    Args:
        layers_a: tensors ``(n, ...)`` along the path, the input first: ``num_layers >= 2`` of them.
        layers_b: likewise, for the other half of each pair, under the same conditions.
        expected_ratio: lambda >= 0, one for all layers or ``num_layers - 1`` of them. 0 asks for as much expansion as a
            layer can give, 1 for unchanged distance, above 1 for contraction.
        p: see :func:`expansion_ratios`.
        norm: see :func:`expansion_ratios`.
        aggregate: ``"batch"`` compares the ratio of the batch's mean distances; ``"pair"`` takes the mean over pairs of
            their own differences, which also narrows the spread between pairs.
        detach_numerator: do not let a ratio fall by shrinking the layer before; each layer answers for its own output.

    Returns:
        A scalar >= 0. A ratio counts as ``1e5`` at most, so that total collapse has a finite loss; as two outputs become
        equal, the gradient stays finite, too.

    Raises:
        TypeError: for layers that are not floating point, or expected ratios that are not numbers.
        ValueError: as :func:`expansion_ratios`, and for another aggregate, a negative expected ratio, or a wrong number
            of them.

    Example:
        >>> import torch
        >>> layers_a, layers_b = [torch.zeros(1, 2), torch.zeros(1, 8)], [torch.ones(1, 2), 4 * torch.ones(1, 8)]
        >>> hierarchical_loss(layers_a, layers_b, expected_ratio=1.0)
        tensor(0.7500)
    """
    check_choice(aggregate, "aggregate", ("batch", "pair"))
    distances = _distances(layers_a, layers_b, p, norm)
    # Filled where it is used: a copy from the CPU would wait for the GPU, and cannot be recorded in a CUDA graph.
    expected = torch.cat(
        [distances.new_full((1,), r) for r in _expected_ratios(expected_ratio, len(distances) - 1)]
    )
    if aggregate == "batch":
        distances = distances.mean(1, keepdim=True)
    ratios = _ratios(distances, floor=1 / LARGEST_RATIO, detach_numerator=detach_numerator)
    return (ratios - expected[:, None]).abs().mean(1).sum()


class HierarchicalDiversity(nn.Module):
    """Weighted hierarchical loss on the named layers of any generator (HMGAN, Eq. 3), in one forward of both latents.

    The path goes from the latents through the named layers to the output. Layers off the path (side branches such as the
    image heads of a staged generator) stay unnamed, or get a loss of their own.

    Args:
        layers: names of the generator's layers along the path, as in ``generator.named_modules()``. Name the place
            *after* normalization: a layer followed by one can be scaled up for nothing.
        expected_ratio: lambda >= 0, one for all ratios, or one for each: latents to first layer, ..., last layer to
            output.
        weight: beta >= 0, the factor of the loss; 1 in the paper.
        p: 1 (the paper's) or 2.
        norm: ``"mean"``, see :func:`expansion_ratios`; the paper does not say. With sums, an expected ratio of 1 would not
            mean unchanged distance.
        aggregate: ``"batch"`` as released for mode seeking, or ``"pair"``, see :func:`hierarchical_loss`.
        detach_numerator: see :func:`hierarchical_loss`.
        from_latents: count the latents as layer 1, without which the ratios' product is not mode seeking's. If False,
            the first named layer is layer 1, as the paper's text has it, and the first mixing of noise and condition is
            left alone.

    Raises:
        TypeError: for expected ratios that are not numbers.
        ValueError: for a negative weight or expected ratio, a wrong number of expected ratios, unknown choices; and, when
            called, for layers that do not exist or are not reached, or a pair of equal latents.

    Example:
        >>> import torch
        >>> generator = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))
        >>> diversity = HierarchicalDiversity(["1"], expected_ratio=[1.0, 0.0])
        >>> loss, outputs_a, outputs_b = diversity(generator, torch.randn(8, 2), torch.randn(8, 2))
        >>> outputs_a.shape, loss.shape
        (torch.Size([8, 3]), torch.Size([]))
    """

    def __init__(
        self,
        layers: Sequence[str],
        *,
        expected_ratio: float | Sequence[float] = 0.0,
        weight: float = 1.0,
        p: Literal[1, 2] = 1,
        norm: Literal["mean", "sum"] = "mean",
        aggregate: Literal["batch", "pair"] = "batch",
        detach_numerator: bool = False,
        from_latents: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(layers, str):
            raise ValueError(
                f"expected a list of layer names, got the string {layers!r}; write [{layers!r}]."
            )
        check_positive(weight, "weight", allow_zero=True)
        check_choice(p, "p", (1, 2))
        check_choice(norm, "norm", ("mean", "sum"))
        check_choice(aggregate, "aggregate", ("batch", "pair"))
        _expected_ratios(expected_ratio, None)
        self.layers, self.expected_ratio, self.weight = list(layers), expected_ratio, weight
        self.p: Literal[1, 2] = p
        self.norm: Literal["mean", "sum"] = norm
        self.aggregate: Literal["batch", "pair"] = aggregate
        self.detach_numerator, self.from_latents = detach_numerator, from_latents

    def forward(
        self, generator: nn.Module, latents_a: Tensor, latents_b: Tensor, *conditions: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``weight * hierarchical_loss`` and the outputs of both latents, for the generator's own loss.

        Args:
            generator: called as ``generator(latents, *conditions)`` with both batches joined; gives one tensor.
            latents_a: ``(n, ...)``.
            latents_b: ``(n, ...)``, drawn independently.
            conditions: ``(n, ...)`` each (or None), the same for both latents of a pair.
        """
        layers_a, layers_b = self.record(generator, latents_a, latents_b, *conditions)
        loss = hierarchical_loss(
            layers_a,
            layers_b,
            expected_ratio=self.expected_ratio,
            p=self.p,
            norm=self.norm,
            aggregate=self.aggregate,
            detach_numerator=self.detach_numerator,
        )
        return self.weight * loss, layers_a[-1], layers_b[-1]

    def record(
        self, generator: nn.Module, latents_a: Tensor, latents_b: Tensor, *conditions: Tensor | None
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run the generator once on both latents; give the layers of the path, in the order of :func:`expansion_ratios`."""
        if latents_a.shape != latents_b.shape:
            raise ValueError(
                f"expected two batches of latents of one shape, got {tuple(latents_a.shape)} and {tuple(latents_b.shape)}."
            )
        n = len(latents_a)
        latents = torch.cat([latents_a, latents_b])
        joined = [None if c is None else torch.cat([c, c]) for c in conditions]
        with record_activations(generator, self.layers) as recorded:
            outputs = generator(latents, *joined)
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"expected the generator to return one tensor, got {type(outputs).__name__}; wrap it so that it returns "
                "the image at the end of the path, and name the layers before it."
            )
        path = {"the latents": latents} if self.from_latents else {}
        path |= recorded
        if recorded[self.layers[-1]] is not outputs:
            path["the output"] = outputs
        for name, layer in path.items():
            if len(layer) != 2 * n:
                raise ValueError(
                    f"expected {2 * n} rows (both latents of {n} pairs) in every layer of the path, got shape "
                    f"{tuple(layer.shape)} in {name}; name a layer that keeps samples apart."
                )
        return [layer[:n] for layer in path.values()], [layer[n:] for layer in path.values()]

    def extra_repr(self) -> str:
        """Show the path and the numbers that define the loss."""
        return f"layers={self.layers}, expected_ratio={self.expected_ratio}, weight={self.weight}"


def mean_distance(first: Tensor, second: Tensor, p: int, norm: Literal["mean", "sum"] = "mean") -> Tensor:
    """Absolute (p = 1) or Euclidean (p = 2) difference of two batches, by default as a mean: ``(n, ...)`` to ``(n,)``."""
    difference = (first - second).flatten(1)
    entries = difference.shape[1] ** (1 / p) if norm == "mean" else 1
    return difference.norm(p=p, dim=1) / entries


def _distances(
    layers_a: Sequence[Tensor], layers_b: Sequence[Tensor], p: int, norm: Literal["mean", "sum"]
) -> Tensor:
    """Distances of all pairs in all layers, ``(num_layers, n)``, after the checks that all losses share."""
    check_choice(p, "p", (1, 2))
    check_choice(norm, "norm", ("mean", "sum"))
    if len(layers_a) != len(layers_b) or len(layers_a) < 2:
        raise ValueError(
            f"expected two paths of the same two or more layers, got {len(layers_a)} and {len(layers_b)}."
        )
    named = {f"layers_a[{i}]": layer for i, layer in enumerate(layers_a)}
    named |= {f"layers_b[{i}]": layer for i, layer in enumerate(layers_b)}
    for name, layer in named.items():
        check_floating(layer, name, min_dims=2)
    check_same_device(**named)
    if any(a.shape != b.shape or len(a) != len(layers_a[0]) for a, b in zip(layers_a, layers_b, strict=True)):
        shapes = ", ".join(f"{name} {tuple(layer.shape)}" for name, layer in named.items())
        raise ValueError(
            f"expected two batches of latents and their outputs, each pair of one shape; got {shapes}."
        )
    distances = torch.stack([mean_distance(a, b, p, norm) for a, b in zip(layers_a, layers_b, strict=True)])
    if values_are_checked(distances, None):
        if not bool(torch.isfinite(distances).all()):
            raise ValueError(
                "expected finite latents and outputs, got NaN or infinity; find them with torch.isfinite()."
            )
        if bool((distances[0] == 0).any()):
            raise ValueError(
                "expected different latents in each pair, got a pair of equal ones; draw them independently."
            )
    return distances


def _ratios(distances: Tensor, *, floor: float, detach_numerator: bool = False) -> Tensor:
    """Eq. 2 on distances ``(num_layers, n)``; a ratio is at most ``1 / floor``, smoothly, as 1 / (expansion + floor)."""
    before, after = distances[:-1], distances[1:]
    if detach_numerator:
        before = before.detach()
    collapsed = before == 0  # the pair became equal earlier: a ratio of 1 if it stays so, and no gradient
    ratios = 1 / (after.masked_fill(collapsed, 1) / before.masked_fill(collapsed, 1) + floor)
    return torch.where(collapsed, (after == 0).to(ratios), ratios)


def _expected_ratios(expected_ratio: float | Sequence[float], num_ratios: int | None) -> list[float]:
    expected = list(expected_ratio) if isinstance(expected_ratio, Sequence) else [expected_ratio]
    for ratio in expected:
        if not isinstance(ratio, Real):
            raise TypeError(
                f"expected a number as expected_ratio, or a list of numbers, got {ratio!r} ({type(ratio).__name__}); "
                "write tensors as numbers.tolist()."
            )
    if not all(0 <= ratio < float("inf") for ratio in expected):
        raise ValueError(f"expected one or more finite expected ratios >= 0, got {expected_ratio}.")
    if num_ratios is None:
        return expected
    if len(expected) == 1:
        expected = expected * num_ratios
    if len(expected) != num_ratios:
        raise ValueError(
            f"expected one expected ratio, or one for each of the {num_ratios} steps between layers "
            f"(the latents and the output count as layers), got {len(expected)}."
        )
    return expected
