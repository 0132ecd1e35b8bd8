"""Let a trained predictor walk the latents to a mode (cGML, Sec. 2.1, 2.2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_finite, check_floating, check_integer, values_are_checked
from ndiv_lib.cgml.updates import latent_update, project


@torch.no_grad()
def infer(
    predictor: Callable[[Any, Tensor], Tensor],
    features: Any,
    latents: Tensor,
    *,
    rule: Literal["hybrid", "plain", "momentum"] = "hybrid",
    steps: int = 20,
    latent: Literal["sphere", "interval"] = "sphere",
    check_values: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Walk latents for a fixed number of steps; no target is needed (cGML, Sec. 3: "a pre-defined number of iterations").

    Args:
        predictor: called as ``predictor(features, latents)``, gives ``(*batch, dz + 1)``: next latent and momentum.
        features: what the encoder made of the inputs; handed to the predictor as it is.
        latents: ``(*batch, dz)``, where the walks start; see :func:`ndiv_lib.cgml.draw_latents`.
        rule: ``"momentum"`` is Eq. 4, ``"plain"`` the paper's walk without it, ``"hybrid"`` (ours) momentum for the first
            half of the steps, rounded up, which leaves phantoms, and then plain ones, which come to rest.
        steps: at least 1; 20 in the paper.
        latent: ``"sphere"`` projects after every step, ``"interval"`` does not.
        check_values: whether to look for walks that left the numbers; None does so on the CPU, where it is free.

    Returns:
        The last latents ``(*batch, dz)``, and the trajectory ``(steps + 1, *batch, dz)`` with the start.

    Raises:
        TypeError: for latents that are not floating point, or a number of steps that is no integer.
        ValueError: for another rule, fewer than one step, a predictor of the wrong width or on another device, latents that are
            not on the sphere (looked for on the CPU only), or walks that are not finite.

    Example:
        >>> import torch
        >>> halfway = lambda features, z: torch.cat([(z + features) / 2, torch.ones_like(z[..., :1])], dim=-1)
        >>> latents, trajectory = infer(halfway, torch.ones(4, 1), torch.zeros(4, 1), steps=3, rule="plain", latent="interval")
        >>> trajectory[:, 0, 0]
        tensor([0.0000, 0.5000, 0.7500, 0.8750])
    """
    check_floating(latents, "latents")
    check_choice(rule, "rule", ("hybrid", "plain", "momentum"))
    check_integer(steps, "steps", least=1)
    check_on_sphere(latents, latent)
    with_momentum = {"momentum": steps, "plain": 0, "hybrid": (steps + 1) // 2}[rule]
    trajectory = [latents]
    for step in range(steps):
        prediction = predictor(features, latents)
        moved = latent_update(prediction, latents, rule="momentum" if step < with_momentum else "plain")
        latents = project(moved, latent)
        trajectory.append(latents)
    walks = torch.stack(trajectory)
    check_finite(walks, "walks (the predictor may have diverged)", check_values=check_values)
    return latents, walks


def check_on_sphere(latents: Tensor, latent: Literal["sphere", "interval"]) -> None:
    """Raise ``ValueError`` for another latent space, or (where values are looked at) latents that are off the sphere."""
    check_choice(latent, "latent", ("sphere", "interval"))
    if latent == "sphere" and values_are_checked(latents, None):
        error = (latents.norm(dim=-1) - 1).abs()
        if not bool((error < 1e-3).all()):  # written so that NaN is refused, too
            raise ValueError(
                f"expected latents on the unit sphere, got norms up to {float(error.max()):.3g} away from 1; "
                "draw them with draw_latents(..., latent='sphere'), project() them, or use latent='interval'."
            )
