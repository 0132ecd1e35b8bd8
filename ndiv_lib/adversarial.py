"""GAN objectives and gradient penalties, as functions of discriminator logits.

A logit is the discriminator's raw output: positive means "looks real". Every loss is to be minimized.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import check_choice

Objective = Literal["nonsaturating", "wasserstein", "hinge", "least_squares", "relativistic"]
OBJECTIVES: tuple[Objective, ...] = ("nonsaturating", "wasserstein", "hinge", "least_squares", "relativistic")


def discriminator_loss(
    *,
    real_logits: Tensor,
    fake_logits: Tensor,
    objective: Objective = "nonsaturating",
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """The discriminator's loss.

    Args:
        real_logits: discriminator of real samples, any shape.
        fake_logits: discriminator of generated samples, the same shape.
        objective: ``"nonsaturating"`` (Goodfellow et al. 2014), ``"wasserstein"`` (Arjovsky et al. 2017, with a penalty),
            ``"hinge"`` (Lim and Ye 2017), ``"least_squares"`` (Mao et al. 2017), ``"relativistic"`` pairing (Jolicoeur-Martineau
            2018; Huang et al. 2024), where each real sample is compared with one generated sample.
        reduction: ``"mean"`` or ``"none"``.

    Returns:
        A scalar, or one value per sample.

    Raises:
        ValueError: for an unknown objective or reduction, or logits of different shapes.

    Example:
        >>> import torch
        >>> discriminator_loss(real_logits=torch.ones(4), fake_logits=-torch.ones(4), objective="hinge")
        tensor(0.)
    """
    _check(objective, reduction, real_logits, fake_logits)
    if objective == "nonsaturating":
        loss = F.softplus(-real_logits) + F.softplus(fake_logits)
    elif objective == "wasserstein":
        loss = fake_logits - real_logits
    elif objective == "hinge":
        loss = F.relu(1 - real_logits) + F.relu(1 + fake_logits)
    elif objective == "least_squares":
        loss = (real_logits - 1).square() + fake_logits.square()
    else:
        loss = F.softplus(fake_logits - real_logits)
    return loss.mean() if reduction == "mean" else loss


def generator_loss(
    *,
    fake_logits: Tensor,
    real_logits: Tensor | None = None,
    objective: Objective = "nonsaturating",
    reduction: Literal["mean", "none"] = "mean",
) -> Tensor:
    """The generator's loss, see :func:`discriminator_loss`; only ``"relativistic"`` looks at real logits.

    Raises:
        ValueError: for an unknown objective or reduction, or ``"relativistic"`` without real logits.

    Example:
        >>> import torch
        >>> generator_loss(fake_logits=torch.tensor([2.0, 4.0]), objective="wasserstein")
        tensor(-3.)
    """
    if objective == "relativistic" and real_logits is None:
        raise ValueError(
            "expected real_logits for the relativistic objective, got None; pass the logits of a real batch."
        )
    _check(objective, reduction, fake_logits if real_logits is None else real_logits, fake_logits)
    if objective == "nonsaturating":
        loss = F.softplus(-fake_logits)
    elif objective in ("wasserstein", "hinge"):
        loss = -fake_logits
    elif objective == "least_squares":
        loss = (fake_logits - 1).square()
    else:
        assert real_logits is not None
        loss = F.softplus(real_logits - fake_logits)
    return loss.mean() if reduction == "mean" else loss


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    *,
    real: Tensor,
    fake: Tensor,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Mean squared deviation of the gradient norm from 1, between real and generated samples (WGAN-GP, Gulrajani et al. 2017).

    Args:
        discriminator: maps ``(n, ...)`` to logits, one per sample.
        real: ``(n, ...)``.
        fake: generated samples of the same shape.
        generator: draws the place on each segment.

    Returns:
        A scalar that can be differentiated, for the discriminator's loss.

    Raises:
        ValueError: for shapes that do not match.

    Example:
        >>> import torch
        >>> gradient_penalty(lambda x: 3 * x[:, 0], real=torch.zeros(4, 2), fake=torch.ones(4, 2))
        tensor(4.)
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"expected real and fake of one shape, got {tuple(real.shape)} and {tuple(fake.shape)}."
        )
    shape = (len(real), *[1] * (real.ndim - 1))
    drawn_on = real.device if generator is None else generator.device
    place = torch.rand(shape, generator=generator, dtype=real.dtype, device=drawn_on).to(real.device)
    norms = (
        _input_gradients(discriminator, torch.lerp(real.detach(), fake.detach(), place))
        .flatten(1)
        .norm(dim=1)
    )
    return (norms - 1).square().mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Half the mean squared gradient norm at real samples ``(n, ...)`` (R1, Mescheder et al. 2018); multiply by gamma.

    Example:
        >>> import torch
        >>> r1_penalty(lambda x: 3 * x[:, 0], torch.zeros(4, 2))
        tensor(4.5000)
    """
    return 0.5 * _input_gradients(discriminator, real.detach()).flatten(1).square().sum(1).mean()


def r2_penalty(discriminator: Callable[[Tensor], Tensor], fake: Tensor) -> Tensor:
    """Half the mean squared gradient norm at generated samples (R2, Mescheder et al. 2018): R1 at another place.

    Example:
        >>> import torch
        >>> r2_penalty(lambda x: 3 * x[:, 0], torch.zeros(4, 2))
        tensor(4.5000)
    """
    return r1_penalty(discriminator, fake)


def _input_gradients(discriminator: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    points = points.requires_grad_()
    (gradients,) = torch.autograd.grad(discriminator(points).sum(), points, create_graph=True)
    return gradients


def _check(objective: str, reduction: str, real_logits: Tensor, fake_logits: Tensor) -> None:
    check_choice(objective, "objective", OBJECTIVES)
    check_choice(reduction, "reduction", ("mean", "none"))
    if real_logits.shape != fake_logits.shape:
        raise ValueError(
            f"expected real and fake logits of one shape, got {tuple(real_logits.shape)} and {tuple(fake_logits.shape)}."
        )
