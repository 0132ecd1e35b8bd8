"""The methods the papers compare with, written from their papers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndiv_lib._checks import check_choice, check_floating, check_positive
from ndiv_lib.distances import pairwise_distances
from ndiv_lib.hmgan import mean_distance


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


def dsgan_loss(
    latents_a: Tensor,
    latents_b: Tensor,
    outputs_a: Tensor,
    outputs_b: Tensor,
    *,
    bound: float,
    p: Literal[1, 2] = 1,
) -> Tensor:
    r"""Negative bounded ratio of output to latent distance (DSGAN, Yang et al. 2019), mode seeking turned upside down.

    .. math::

        \mathcal{L} = -\frac{1}{n} \sum_i \min\left(\frac{d(y_i, y'_i)}{d(z_i, z'_i)}, \tau\right)

    A pair pulls with constant force until its ratio reaches the bound, and not at all beyond. Mode seeking
    (:func:`ndiv_lib.mode_seeking_loss`) pulls close pairs without limit and never stops.

    Args:
        latents_a: ``(n, ...)``.
        latents_b: ``(n, ...)``, for the same conditions as ``latents_a``.
        outputs_a: ``(n, ...)``, the generator's outputs.
        outputs_b: ``(n, ...)``, likewise. The paper's formula, unlike its released code, lets gradients into both outputs.
        bound: tau > 0, where a pair is far enough apart, in means over entries (so that sizes do not matter).
        p: 1 for mean absolute difference, 2 for root mean square difference.

    Returns:
        A scalar in ``[-bound, 0]``.

    Raises:
        TypeError: for tensors that are not floating point.
        ValueError: for another p, a bound that is not positive, or shapes that do not match.

    Example:
        >>> import torch
        >>> dsgan_loss(torch.zeros(4, 2), torch.ones(4, 2), torch.zeros(4, 3), 2 * torch.ones(4, 3), bound=5.0)
        tensor(-2.)
    """
    check_choice(p, "p", (1, 2))
    check_positive(bound, "bound")
    for name, tensor in (("latents_a", latents_a), ("outputs_a", outputs_a)):
        check_floating(tensor, name, min_dims=2)
    shapes = [tuple(tensor.shape) for tensor in (latents_a, latents_b, outputs_a, outputs_b)]
    if shapes[0] != shapes[1] or shapes[2] != shapes[3] or shapes[0][0] != shapes[2][0]:
        raise ValueError(
            f"expected two batches of latents and their outputs, each pair of one shape; got {shapes}."
        )
    tiny = torch.finfo(latents_a.dtype).tiny  # equal latents: any distance of outputs is enough
    ratio = mean_distance(outputs_a, outputs_b, p) / mean_distance(latents_a, latents_b, p).clamp_min(tiny)
    return -ratio.clamp_max(bound).mean()


def pack(samples: Tensor, num_packed: int) -> Tensor:
    """Concatenate neighbors, so that a discriminator judges several samples at once (PacGAN, Lin et al. 2018).

    A pack of collapsed samples is easy to tell from a pack of real ones. Pack real and generated samples alike, each kind with
    its own; only the discriminator's first layer changes.

    Args:
        samples: ``(*batch, n, d)``, independent of each other.
        num_packed: m >= 1, how many samples make a pack; n is a multiple of it.

    Returns:
        ``(*batch, n / m, m * d)``.

    Raises:
        ValueError: if n is no multiple of ``num_packed``.

    Example:
        >>> import torch
        >>> pack(torch.zeros(128, 2), 2).shape
        torch.Size([64, 4])
    """
    check_positive(num_packed, "num_packed")
    if samples.ndim < 2 or samples.shape[-2] % num_packed:
        raise ValueError(
            f"expected samples (*batch, n, d) with n a multiple of {num_packed}, got shape {tuple(samples.shape)}; "
            "drop the samples that are left over."
        )
    return samples.unflatten(-2, (-1, num_packed)).flatten(-2)


def unrolled_parameters(
    loss: Callable[[Mapping[str, Tensor]], Tensor],
    discriminator: nn.Module,
    optimizer: torch.optim.Adam,
    *,
    num_steps: int,
) -> dict[str, Tensor]:
    """A discriminator's parameters some Adam steps ahead, as functions of the generator (unrolled GAN, Metz et al. 2017).

    The steps start from the optimizer's present moments and carry the graph: a generator loss at these parameters
    differentiates through the steps. Neither the discriminator nor the optimizer changes.

    Args:
        loss: maps parameters (name to tensor) to the discriminator's scalar loss, on samples that carry the generator's graph.
        discriminator: its parameters require gradients.
        optimizer: the Adam that trains all its parameters, in one group, without weight decay or AMSGrad.
        num_steps: k >= 0 steps to look ahead.

    Returns:
        Name to tensor, for :func:`torch.func.functional_call`.

    Raises:
        TypeError: for another optimizer than Adam.
        ValueError: for a negative number of steps, an Adam with several groups, weight decay or AMSGrad, or one that does not
            train exactly the discriminator's parameters.

    Example:
        >>> import torch
        >>> net = torch.nn.Linear(1, 1)
        >>> adam = torch.optim.Adam(net.parameters(), lr=0.1)
        >>> ahead = unrolled_parameters(lambda p: p["weight"].square().sum() + p["bias"].sum(), net, adam, num_steps=2)
        >>> bool((ahead["bias"] - net.bias).item() < -0.19)
        True
    """
    if num_steps < 0:
        raise ValueError(f"expected num_steps >= 0, got {num_steps}.")
    parameters: dict[str, Tensor] = dict(discriminator.named_parameters())
    group = _plain_adam(optimizer, parameters.values())
    (beta1, beta2), rate, eps = group["betas"], group["lr"], group["eps"]
    states = [optimizer.state.get(parameter, {}) for parameter in parameters.values()]
    first = [s.get("exp_avg", torch.zeros_like(p)) for s, p in zip(states, parameters.values(), strict=True)]
    second = [
        s.get("exp_avg_sq", torch.zeros_like(p)) for s, p in zip(states, parameters.values(), strict=True)
    ]
    done = int(states[0].get("step", 0))
    for step in range(done + 1, done + num_steps + 1):
        gradients = torch.autograd.grad(
            loss(parameters), list(parameters.values()), create_graph=True, materialize_grads=True
        )
        first = [torch.lerp(g, m, beta1) for m, g in zip(first, gradients, strict=True)]
        second = [torch.lerp(g.square(), v, beta2) for v, g in zip(second, gradients, strict=True)]
        # eps inside the root as well: the root of an exact zero has no derivative
        moves = [
            (m / (1 - beta1**step)) / ((v / (1 - beta2**step) + eps**2).sqrt() + eps)
            for m, v in zip(first, second, strict=True)
        ]
        parameters = {
            name: p - rate * move for (name, p), move in zip(parameters.items(), moves, strict=True)
        }
    return parameters


def _plain_adam(optimizer: torch.optim.Adam, parameters: Iterable[Tensor]) -> Mapping[str, Any]:
    """The one group of an Adam whose steps are repeated here; another would silently look ahead to a wrong place."""
    if not isinstance(optimizer, torch.optim.Adam) or isinstance(optimizer, torch.optim.AdamW):
        raise TypeError(
            f"expected torch.optim.Adam, got {type(optimizer).__name__}; its steps are not known here."
        )
    if len(optimizer.param_groups) != 1:
        raise ValueError(
            f"expected an Adam with one group of parameters, got {len(optimizer.param_groups)}; join them."
        )
    group = optimizer.param_groups[0]
    changed = [name for name in ("weight_decay", "amsgrad", "maximize") if group.get(name)]
    if changed:
        raise ValueError(f"expected an Adam without {', '.join(changed)}; set it to 0 or False.")
    if {id(parameter) for parameter in group["params"]} != {id(parameter) for parameter in parameters}:
        raise ValueError(
            "expected an Adam of exactly the discriminator's parameters; make it with Adam(discriminator.parameters())."
        )
    return group


def veegan_loss(
    latents: Tensor, reconstructions: Tensor, *, real_logits: Tensor, fake_logits: Tensor
) -> Tensor:
    """What VEEGAN's generator and reconstructor minimize together (Srivastava et al. 2017).

    The discriminator sees pairs: (reconstructor of a real point, the point) against (latent, generated point), and is trained
    with :func:`~ndiv_lib.adversarial.discriminator_loss`. Its logit estimates a log density ratio, used without a squashing.

    Args:
        latents: ``(*batch, n, dz)``, standard normal.
        reconstructions: the reconstructor of the points generated from them, the same shape.
        real_logits: ``(*batch, n)`` of pairs with real points; only the reconstructor feels them.
        fake_logits: ``(*batch, n)`` of pairs with generated points; only the generator feels them.

    Returns:
        ``(*batch)``: mean of logit differences and squared errors.

    Raises:
        ValueError: for shapes that do not match.

    Example:
        >>> import torch
        >>> z = torch.ones(4, 3)
        >>> veegan_loss(z, 0 * z, real_logits=torch.zeros(4), fake_logits=torch.ones(4))
        tensor(2.)
    """
    _check_same_shape("latents and reconstructions", latents, reconstructions)
    _check_same_shape("real and fake logits", real_logits, fake_logits)
    return (real_logits - fake_logits).mean(-1) + (latents - reconstructions).square().sum(-1).mean(-1)


def vae_loss(points: Tensor, outputs: Tensor, mean: Tensor, log_variance: Tensor, *, std: float) -> Tensor:
    """Negative evidence lower bound of a VAE with a Gaussian likelihood (Kingma and Welling 2014), up to a constant.

    Args:
        points: ``(*batch, n, d)``.
        outputs: the decoder's means for them, the same shape.
        mean: of the encoder's Gaussian, ``(*batch, n, dz)``.
        log_variance: of the encoder's Gaussian, ``(*batch, n, dz)``.
        std: > 0, of the likelihood around the decoder's means, in the points' units. It decides how much a reconstruction
            error counts against the divergence of the latents, and is the first knob to tune.

    Returns:
        ``(*batch)``, in nats per point.

    Raises:
        ValueError: for shapes that do not match, or a ``std`` that is not positive.

    Example:
        >>> import torch
        >>> vae_loss(torch.ones(4, 2), torch.zeros(4, 2), torch.zeros(4, 3), torch.zeros(4, 3), std=1.0)
        tensor(1.)
    """
    _check_same_shape("points and outputs", points, outputs)
    _check_same_shape("mean and log_variance", mean, log_variance)
    check_positive(std, "std")
    reconstruction = 0.5 * ((points - outputs) / std).square().sum(-1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
    return (reconstruction + divergence).mean(-1)


def _check_same_shape(names: str, first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise ValueError(
            f"expected {names} of one shape, got {tuple(first.shape)} and {tuple(second.shape)}."
        )
