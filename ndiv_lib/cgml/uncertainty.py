r"""How sure is an answer? Eq. 24 of cGML as printed (App. 2.5), and a measure that grows where there were no data.

Eq. 24 spreads the latent and keeps the network: it says how much the answer depends on the latent. What a network does not know,
away from its data, is its own weights; :func:`ndiv_lib.cgml.fit_head_spread` spreads those of the last layer instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ndiv_lib._checks import (
    check_choice,
    check_finite,
    check_floating,
    check_integer,
    check_positive,
    check_same_device,
)
from ndiv_lib.cgml.inference import check_on_sphere
from ndiv_lib.cgml.updates import project


@torch.no_grad()
def output_covariance(
    generator: Callable[[Any, Tensor], Tensor],
    features: Any,
    latents: Tensor,
    *,
    noise_std: float,
    num_draws: int = 100,
    noise: Literal["gaussian", "ball"] = "gaussian",
    data_variance: float | Tensor = 0.0,
    latent: Literal["sphere", "interval"] = "sphere",
    random: torch.Generator | None = None,
) -> Tensor:
    r"""Covariance of the answer when the latent found is a little uncertain (cGML, App. 2.5, Eq. 24).

    .. math::

        \mathrm{Cov}(y) \approx \alpha I + \overline{\mathrm{Cov}}_k\bigl(G(x, z^*_k)\bigr)

    Args:
        generator: called as ``generator(features, latents)``, gives flat outputs ``(*batch, d)``.
        features: what the encoder made of the inputs; handed to the generator as it is.
        latents: ``(*batch, dz)``, where the search or a walk ended.
        noise_std: standard deviation > 0 of every entry of the latent; not printed.
        num_draws: K >= 2 forward passes; not printed.
        noise: ``"gaussian"`` is what the experiment adds, ``"ball"`` what the derivation assumes, uniform in a ball; its radius
            is ``noise_std * sqrt(dz + 2)``, so that both have the same covariance.
        data_variance: alpha >= 0, variance of the answers themselves: a number, or ``(*batch, d)``. The paper leaves it out
            of its computations, which is 0.
        latent: ``"sphere"`` projects disturbed latents, ``"interval"`` does not.
        random: source of the noise, on the latents' device.

    Returns:
        ``(*batch, d, d)``; sample covariance with 1 / K, as printed.

    Raises:
        TypeError: for latents that are not floating point.
        ValueError: for arguments out of their ranges, latents off the sphere, or outputs that are not flat.

    Example:
        >>> import torch
        >>> double = lambda features, z: 2 * z
        >>> z, random = torch.zeros(1, 1), torch.Generator().manual_seed(0)
        >>> covariance = output_covariance(double, None, z, noise_std=0.5, num_draws=20_000, latent="interval", random=random)
        >>> round(covariance.item(), 1)
        1.0
    """
    outputs = _disturbed_outputs(
        generator, features, latents, noise_std, num_draws, noise=noise, latent=latent, random=random
    )
    if outputs.ndim != latents.ndim + 1:
        raise ValueError(
            f"expected outputs ({', '.join(map(str, latents.shape[:-1]))}, d), got {tuple(outputs.shape[1:])}; flatten them, "
            "or use output_variance(), which takes outputs of any shape."
        )
    centered = outputs - outputs.mean(0)
    covariance = torch.einsum("k...i,k...j->...ij", centered, centered) / num_draws
    alpha = torch.as_tensor(data_variance, dtype=outputs.dtype, device=outputs.device)
    return covariance + torch.diag_embed(alpha.expand(outputs.shape[1:]))


@torch.no_grad()
def output_variance(
    generator: Callable[[Any, Tensor], Tensor],
    features: Any,
    latents: Tensor,
    *,
    noise_std: float,
    num_draws: int = 100,
    noise: Literal["gaussian", "ball"] = "gaussian",
    data_variance: float | Tensor = 0.0,
    latent: Literal["sphere", "interval"] = "sphere",
    random: torch.Generator | None = None,
) -> Tensor:
    """Diagonal of :func:`ndiv_lib.cgml.output_covariance`, the paper's measure of uncertainty, for outputs of any shape.

    Args:
        generator: called as ``generator(features, latents)``, gives outputs ``(*batch, ...)``.
        features: what the encoder made of the inputs.
        latents: ``(*batch, dz)``.
        noise_std: standard deviation > 0 of every entry of the latent.
        num_draws: at least 2.
        noise: ``"gaussian"`` or ``"ball"``.
        data_variance: alpha >= 0, a number or as the outputs.
        latent: ``"sphere"`` or ``"interval"``.
        random: source of the noise.

    Returns:
        ``(*batch, ...)``, in squared units of the outputs.

    Raises:
        TypeError: for latents that are not floating point.
        ValueError: for arguments out of their ranges, or latents off the sphere.

    Example:
        >>> import torch
        >>> z = torch.nn.functional.normalize(torch.randn(7, 2), dim=-1)
        >>> output_variance(lambda features, z: z.sum(-1), None, z, noise_std=0.1).shape
        torch.Size([7])
    """
    outputs = _disturbed_outputs(
        generator, features, latents, noise_std, num_draws, noise=noise, latent=latent, random=random
    )
    return outputs.var(0, correction=0) + data_variance


def _disturbed_outputs(
    generator: Callable[[Any, Tensor], Tensor],
    features: Any,
    latents: Tensor,
    noise_std: float,
    num_draws: int,
    *,
    noise: Literal["gaussian", "ball"],
    latent: Literal["sphere", "interval"],
    random: torch.Generator | None,
) -> Tensor:
    """Outputs ``(num_draws, *batch, ...)`` at latents with noise."""
    check_floating(latents, "latents")
    check_positive(noise_std, "noise_std")
    check_choice(noise, "noise", ("gaussian", "ball"))
    check_on_sphere(latents, latent)
    check_integer(num_draws, "num_draws", least=2)  # one answer has no variance
    draws = []
    for _ in range(num_draws):
        step = torch.randn(latents.shape, generator=random, device=latents.device, dtype=latents.dtype)
        if noise == "ball":
            step = _in_ball(step, random)
        draws.append(generator(features, project(latents + noise_std * step, latent)))
    return torch.stack(draws)


def _in_ball(normal: Tensor, random: torch.Generator | None) -> Tensor:
    """Normal vectors ``(*batch, d)`` to uniform ones in the ball whose entries have variance 1."""
    dim = normal.shape[-1]
    share = torch.rand(
        (*normal.shape[:-1], 1), generator=random, device=normal.device, dtype=normal.dtype
    ) ** (1 / dim)
    return math.sqrt(dim + 2) * share * normal / normal.norm(dim=-1, keepdim=True)


@dataclass(frozen=True)
class HeadSpread:
    """Last layers that agree on the data, and how far they differ elsewhere; made by :func:`ndiv_lib.cgml.fit_head_spread`."""

    spread: Tensor  # (*batch, f + 1, f + 1) float64: covariance of a last layer's weights, for errors of variance 1
    error_variance: Tensor  # (*batch, d) float64: mean square of the errors on held-out data

    def variance(self, hidden: Tensor) -> Tensor:
        """Variance ``(*batch, n, d)`` of the outputs for inputs ``(*batch, n, f)`` of the last layer.

        Raises:
            TypeError: for inputs that are not floating point.
            ValueError: for another number of features, or another device.
        """
        check_floating(hidden, "hidden")
        check_same_device(hidden=hidden, spread=self.spread)
        if hidden.shape[-1] != self.spread.shape[-1] - 1:
            raise ValueError(f"expected {self.spread.shape[-1] - 1} features, got {hidden.shape[-1]}.")
        rows = _with_one(hidden)
        leverage = (rows @ self.spread * rows).sum(-1, keepdim=True)
        return (leverage * self.error_variance.unsqueeze(-2)).to(hidden.dtype)


def fit_head_spread(hidden: Tensor, errors: Tensor, *, ridge: float = 1e-4) -> HeadSpread:
    r"""How far last layers can differ that are as good on the data (ours; it grows off the data, Eq. 24 does not).

    Change the weights of the last layer by w. With :math:`C` the mean of :math:`\phi \phi^\top` over the layer's inputs
    :math:`\phi` on the data (and a 1 for the bias), the answers there move by :math:`w^\top C w` in the mean square. Where that
    is at most :math:`s^2`, the mean squared error on held-out answers, the data hardly tell the two layers apart. Such w fill
    an ellipsoid; spread evenly over its surface, they move the answer at x by

    .. math::

        \mathrm{Var}(x) = s^2 \, \phi(x)^\top C^{-1} \phi(x) \,/\, p , \qquad p = \operatorname{tr}(C^{-1} C),

    whose mean over the data is :math:`s^2`. Nothing says where the data end, and no other network is trained.

    Args:
        hidden: ``(*batch, n, f)``, inputs of the generator's last linear layer at held-out data and the latents found.
        errors: ``(*batch, n, d)``, answers minus outputs there.
        ridge: share > 0 of C's mean diagonal that is added to it, for directions that the data do not fill; p then counts
            those that they do.

    Returns:
        A :class:`ndiv_lib.cgml.HeadSpread`, whose ``variance(hidden)`` is the above for every entry of the output.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for shapes or devices that do not fit, fewer than two samples, a ridge that is not positive, or (looked for
            on the CPU only) values that are not finite.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 101)[:, None]
        >>> spread = fit_head_spread(x, 0.1 * torch.ones(101, 1), ridge=1e-9)
        >>> spread.variance(torch.tensor([[0.0], [1.0], [3.0]])).sqrt()[:, 0]  # a line: (1 + x^2 / mean x^2) / 2
        tensor([0.0707, 0.1404, 0.3706])
    """
    check_floating(hidden, "hidden", min_dims=2)
    check_floating(errors, "errors", min_dims=2)
    check_same_device(hidden=hidden, errors=errors)
    check_positive(ridge, "ridge")
    if hidden.shape[:-1] != errors.shape[:-1] or hidden.shape[-2] < 2:
        raise ValueError(
            "expected hidden (*batch, n, f) and errors (*batch, n, d) of the same n >= 2 samples, "
            f"got {tuple(hidden.shape)} and {tuple(errors.shape)}."
        )
    check_finite(hidden, "hidden")
    check_finite(errors, "errors")
    rows = _with_one(hidden)
    moment = rows.mT @ rows / rows.shape[-2]
    width = moment.shape[-1]
    eye = torch.eye(width, dtype=moment.dtype, device=moment.device)
    mean = moment.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    inverse = torch.linalg.inv(moment + ridge * mean * eye)
    counted = (inverse * moment).sum((-2, -1), keepdim=True)  # both symmetric: the trace of the product
    return HeadSpread(inverse / counted, errors.double().square().mean(-2))


def _with_one(hidden: Tensor) -> Tensor:
    """The layer's inputs and a 1 for its bias, in float64: C is far from well-conditioned."""
    return torch.cat([hidden, torch.ones_like(hidden[..., :1])], dim=-1).double()


def interval_factor(errors: Tensor, std: Tensor, *, coverage: float = 0.9) -> Tensor:
    """By what to multiply standard deviations, so that answer +- that holds a share of held-out answers (split conformal).

    Args:
        errors: ``(*batch, n, d)``, held-out answers minus outputs.
        std: the same shape, positive.
        coverage: wanted share in (0, 1).

    Returns:
        ``(*batch)``: the least of the n * d ratios that at least ``coverage * (n * d + 1)`` of them do not exceed. A normal
        distribution has 1.645 at 0.9.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for shapes or devices that differ, a coverage outside (0, 1), too few answers for it, a std that is not
            positive, or (looked for on the CPU only) errors that are not finite.

    Example:
        >>> import torch
        >>> errors = torch.linspace(-1, 1, 101)[:, None]
        >>> interval_factor(errors, torch.full_like(errors, 0.5))
        tensor(1.8400)
    """
    check_floating(errors, "errors")
    check_floating(std, "std")
    check_same_device(errors=errors, std=std)
    if errors.shape != std.shape or errors.ndim < 2:
        raise ValueError(
            f"expected errors and std of one shape (*batch, n, d), got {tuple(errors.shape)} and {tuple(std.shape)}."
        )
    if not 0 < coverage < 1:
        raise ValueError(f"expected coverage in (0, 1), got {coverage}.")
    if not bool((std > 0).all()):
        raise ValueError("expected positive standard deviations, got zero, negative numbers or NaN.")
    check_finite(errors, "errors")
    ratios = (errors.abs() / std).flatten(-2).sort(-1).values
    rank = math.ceil(coverage * (ratios.shape[-1] + 1))
    if rank > ratios.shape[-1]:
        raise ValueError(f"expected more held-out answers than {ratios.shape[-1]} for coverage {coverage}.")
    return ratios[..., rank - 1]
