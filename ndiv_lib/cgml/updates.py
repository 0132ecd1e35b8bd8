r"""The updates of Algorithm 1 and Eq. 4 (cGML), one function each.

Latents are ``(*batch, dz)``, a cost has one number for each of them, and nothing mixes samples: leading dimensions may be
samples, seeds or both. The paper prints neither the step size nor the scale of the momentum, neither the projection back to
the sphere nor what happens at a zero direction; those are arguments here, or said where they are decided.
"""

from __future__ import annotations

from collections.abc import Callable
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

SHORTEST_DIRECTION = 1e-8  # of Eq. 4: below it the direction is rounding, and the walk stays where it is


def draw_latents(
    *shape: int, latent: Literal["sphere", "interval"] = "sphere", generator: torch.Generator | None = None
) -> Tensor:
    """Draw the latents from which a search starts (cGML, Sec. 3; the toy's space is not printed, the interval is ours).

    Args:
        shape: ``(*batch, dz)``, dz >= 1; at least 2 on the sphere.
        latent: ``"sphere"`` is uniform on the unit sphere, ``"interval"`` on [-1, 1] in every coordinate.
        generator: source of randomness; its device is the result's.

    Returns:
        ``(*batch, dz)`` float32.

    Raises:
        ValueError: for another latent space, no shape, or a sphere in one dimension, which is two points.

    Example:
        >>> draw_latents(100, 5, 3).shape
        torch.Size([100, 5, 3])
    """
    check_choice(latent, "latent", ("sphere", "interval"))
    if not shape or shape[-1] < (2 if latent == "sphere" else 1):
        raise ValueError(
            f"expected a shape (*batch, dz) with dz >= {2 if latent == 'sphere' else 1} for latent={latent!r}, got {shape}."
        )
    device = None if generator is None else generator.device
    if latent == "interval":
        return 2 * torch.rand(shape, generator=generator, device=device) - 1
    return project(torch.randn(shape, generator=generator, device=device), "sphere")


def project(latents: Tensor, latent: Literal["sphere", "interval"]) -> Tensor:
    """Bring latents back to where they live, after a step (cGML, Sec. 3; not printed, but a straight step leaves the sphere).

    Args:
        latents: ``(*batch, dz)``.
        latent: ``"sphere"`` divides by the norm; ``"interval"`` changes nothing, for a walk only starts in the interval.

    Returns:
        ``(*batch, dz)``.

    Raises:
        TypeError: for latents that are not floating point.
        ValueError: for another latent space.

    Example:
        >>> import torch
        >>> project(torch.tensor([3.0, 4.0]), "sphere")
        tensor([0.6000, 0.8000])
    """
    check_floating(latents, "latents")
    check_choice(latent, "latent", ("sphere", "interval"))
    if latent == "interval":
        return latents
    return latents / latents.norm(dim=-1, keepdim=True).clamp_min(SHORTEST_DIRECTION)


def latent_step(
    cost: Callable[[Tensor], Tensor],
    latents: Tensor,
    *,
    step_size: float,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    r"""One step of every latent down its own cost (cGML, Algorithm 1, first update; Sec. 3).

    .. math::

        z_{t+1} = z_t - \beta \, \nabla_{z_t} \hat{E}

    Args:
        cost: maps latents ``(*batch, dz)`` to costs ``(*batch)``, one per sample. A mean over the batch would divide every
            step by the batch size.
        latents: ``(*batch, dz)``.
        step_size: beta > 0; the paper prints none.
        project: brings the result back, for instance to the sphere; None leaves it.

    Returns:
        ``(*batch, dz)``, without a graph.

    Raises:
        TypeError: for latents that are not floating point.
        ValueError: for a step size that is not positive, costs of another shape, costs that do not depend on the latents,
            or (looked for on the CPU only) costs that are not finite.

    Example:
        >>> import torch
        >>> latent_step(lambda z: z.square().sum(-1), torch.tensor([[1.0, -2.0]]), step_size=0.25)
        tensor([[ 0.5000, -1.0000]])
    """
    check_floating(latents, "latents")
    check_positive(step_size, "step_size")
    with torch.enable_grad():
        start = latents.detach().requires_grad_()
        costs = cost(start)
        check_costs(costs, latents)
        if not costs.requires_grad:
            raise ValueError(
                "expected costs that depend on the latents, got a constant; compute them from the argument."
            )
        (gradient,) = torch.autograd.grad(costs.sum(), start)
    moved = latents.detach() - step_size * gradient
    return moved if project is None else project(moved)


def check_costs(costs: object, latents: Tensor) -> None:
    """Raise unless there is one finite cost for every latent ``(*batch, dz)``."""
    check_floating(costs, "costs", min_dims=0)
    assert isinstance(costs, Tensor)
    if costs.shape != latents.shape[:-1]:
        raise ValueError(
            f"expected one cost per sample, shape {tuple(latents.shape[:-1])} for latents {tuple(latents.shape)}, got "
            f"{tuple(costs.shape)}; take means over a sample's entries only, not over the batch."
        )
    if values_are_checked(costs, None) and not bool(costs.isfinite().all()):
        raise ValueError(
            f"expected finite costs, got {int((~costs.isfinite()).sum())} of {costs.numel()} that are not; "
            "look at the targets and the generator's outputs, or lower the step size."
        )


def momentum(latents: Tensor, next_latents: Tensor, *, scale: float = 1.0) -> Tensor:
    r"""Length of a step, which the predictor learns beside its direction (cGML, Sec. 2.2).

    .. math::

        \rho = \alpha \, \lVert z_{t+1} - z_t \rVert

    Args:
        latents: ``(*batch, dz)`` before the step.
        next_latents: ``(*batch, dz)`` after it.
        scale: alpha > 0; "empirically chosen" in the paper. At 1, Eq. 4 walks as fast as the training did.

    Returns:
        ``(*batch)``, at least 0.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for shapes or devices that differ, or a scale that is not positive.

    Example:
        >>> import torch
        >>> momentum(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))
        tensor([5.])
    """
    check_floating(latents, "latents")
    check_floating(next_latents, "next_latents")
    check_same_device(latents=latents, next_latents=next_latents)
    check_positive(scale, "scale")
    _check_shape(next_latents, "next_latents", latents.shape)
    return scale * (next_latents - latents).norm(dim=-1)


def predictor_loss(
    prediction: Tensor,
    next_latents: Tensor,
    momentum: Tensor,
    *,
    norm: Literal["l1", "l2"] = "l1",
    noisy: Tensor | None = None,
    penalty_weight: float = 0.0,
) -> Tensor:
    r"""Distance of the predicted from the observed next latent and momentum (cGML, Algorithm 1, second update; App. 2.4).

    .. math::

        L_1[(z_{t+1}, \rho), \mathcal{Z}(z_t, h)] + w \, L_1[\mathcal{Z}(z_t + e, h + e), \mathcal{Z}(z_t, h)]

    Args:
        prediction: ``(*batch, dz + 1)``, next latent and momentum.
        next_latents: ``(*batch, dz)``.
        momentum: ``(*batch)``.
        norm: ``"l1"`` as printed, which learns medians; ``"l2"`` learns the expectations that the paper's text is about.
        noisy: ``(*batch, dz + 1)``, the prediction for slightly disturbed inputs, or None for no penalty.
        penalty_weight: w >= 0 (alpha in print, one of three).

    Returns:
        The mean over samples and entries, a scalar.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for a prediction of another width or shape, two devices, an unknown norm, a negative weight, or a weight
            without ``noisy``.

    Example:
        >>> import torch
        >>> predictor_loss(torch.zeros(4, 3), torch.ones(4, 2), torch.ones(4))
        tensor(1.)
    """
    check_floating(prediction, "prediction")
    check_floating(next_latents, "next_latents")
    check_floating(momentum, "momentum", min_dims=0)
    check_same_device(prediction=prediction, next_latents=next_latents, momentum=momentum)
    check_choice(norm, "norm", ("l1", "l2"))
    check_prediction(prediction, next_latents)
    _check_shape(momentum, "momentum", next_latents.shape[:-1])
    difference = prediction - torch.cat([next_latents, momentum[..., None]], dim=-1)
    loss = difference.abs().mean() if norm == "l1" else difference.square().mean()
    return loss + _noise_penalty(prediction, noisy, penalty_weight)


def generator_loss(
    costs: Tensor, *, outputs: Tensor | None = None, noisy: Tensor | None = None, penalty_weight: float = 0.0
) -> Tensor:
    r"""Mean cost at the latents found, and the penalty on noise (cGML, Algorithm 1, third update; App. 2.4).

    .. math::

        \hat{E}(y, \mathcal{G}(h, z)) + w \, L_1[\mathcal{G}(h + e, z + e), \mathcal{G}(h, z)]

    The penalty is a mean over samples, not a bound on the Lipschitz constant, and does not divide by the size of the noise.

    Args:
        costs: ``(*batch)``, one per sample.
        outputs: ``(*batch, ...)``, needed for the penalty.
        noisy: ``(*batch, ...)``, the generator's outputs for slightly disturbed inputs, or None for no penalty.
        penalty_weight: w >= 0.

    Returns:
        The mean over samples, a scalar.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for outputs of different shapes or on two devices, a negative weight, or a weight without outputs.

    Example:
        >>> import torch
        >>> generator_loss(torch.ones(4), outputs=torch.zeros(4, 3), noisy=torch.ones(4, 3), penalty_weight=0.5)
        tensor(1.5000)
    """
    check_floating(costs, "costs", min_dims=0)
    return costs.mean() + _noise_penalty(outputs, noisy, penalty_weight)


def _noise_penalty(clean: Tensor | None, noisy: Tensor | None, weight: float) -> Tensor | float:
    check_positive(weight, "penalty_weight", allow_zero=True)
    if not weight:
        return 0.0
    if clean is None or noisy is None:
        raise ValueError(
            f"expected outputs for undisturbed and for noisy inputs with penalty_weight={weight}, got None; "
            "give both, or penalty_weight=0."
        )
    check_floating(clean, "outputs")
    check_floating(noisy, "noisy")
    check_same_device(outputs=clean, noisy=noisy)
    _check_shape(noisy, "noisy", clean.shape)
    return weight * (noisy - clean).abs().mean()


def latent_update(prediction: Tensor, latents: Tensor, *, rule: Literal["plain", "momentum"]) -> Tensor:
    r"""One step of inference: the predicted latent itself, or a step of the predicted length towards it (cGML, Eq. 4).

    .. math::

        z_{t+1} = z_t + \rho \, \frac{r' - z_t}{\lVert r' - z_t \rVert}

    Args:
        prediction: ``(*batch, dz + 1)``, next latent r' and momentum rho. A negative momentum, which a network can predict
            and no step has, counts as 0.
        latents: ``(*batch, dz)``.
        rule: ``"plain"`` gives r'; ``"momentum"`` is Eq. 4. Where r' is z, the printed direction is 0/0; here it is 0.

    Returns:
        ``(*batch, dz)``, not projected.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for another rule, a prediction of another width, or two devices.

    Example:
        >>> import torch
        >>> prediction, latents = torch.tensor([[0.1, 0.0, 0.5]]), torch.zeros(1, 2)
        >>> latent_update(prediction, latents, rule="plain"), latent_update(prediction, latents, rule="momentum")
        (tensor([[0.1000, 0.0000]]), tensor([[0.5000, 0.0000]]))
    """
    check_floating(prediction, "prediction")
    check_floating(latents, "latents")
    check_same_device(prediction=prediction, latents=latents)
    check_choice(rule, "rule", ("plain", "momentum"))
    check_prediction(prediction, latents)
    expected = prediction[..., :-1]
    if rule == "plain":
        return expected
    direction = expected - latents
    length = direction.norm(dim=-1, keepdim=True).clamp_min(SHORTEST_DIRECTION)
    return latents + prediction[..., -1:].clamp_min(0) * direction / length


def check_prediction(prediction: Tensor, latents: Tensor) -> None:
    """Raise ``ValueError`` unless the prediction is one entry wider than the latents ``(*batch, dz)``."""
    expected = (*latents.shape[:-1], latents.shape[-1] + 1)
    if prediction.shape != expected:
        raise ValueError(
            f"expected a prediction of shape {expected}: the {latents.shape[-1]} entries of the next latent and the "
            f"momentum, got {tuple(prediction.shape)}; give the predictor {latents.shape[-1] + 1} outputs."
        )


def _check_shape(tensor: Tensor, name: str, shape: torch.Size) -> None:
    if tensor.shape != shape:
        raise ValueError(f"expected {name} of shape {tuple(shape)}, got {tuple(tensor.shape)}.")
