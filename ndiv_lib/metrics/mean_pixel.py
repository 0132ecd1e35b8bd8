"""Diversity by mean pixels (cGML, App. 3.4), kept to compare with printed numbers; it reads high, see the example."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating


def mean_pixel_diversity(
    samples: Tensor, *, num_kept: int = 10, of: Literal["pixels", "means"] = "pixels"
) -> float:
    r"""Standard deviation of the samples that differ most in brightness from the typical one (cGML, App. 3.4).

    The typical sample is the one whose mean pixel is nearest to the mean of all mean pixels. The ``num_kept`` samples whose mean
    pixels are furthest from its own are kept, and their standard deviation is the diversity. The paper takes 20 samples, keeps
    10, and averages over five such draws.

    Whether the deviation is that of pixels or of mean pixels is not printed, nor is the pixels' scale. Because the most distant
    half is kept, the number is larger than the plain standard deviation, and what does not change brightness does not count in
    the choice.

    Args:
        samples: ``(n, ...)``, of one input, n >= ``num_kept``.
        num_kept: >= 2; n gives the plain standard deviation.
        of: ``"pixels"`` takes each pixel's deviation over the kept samples, then their mean; ``"means"`` that of mean pixels.

    Returns:
        A number >= 0, in the pixels' units.

    Raises:
        TypeError: for samples that are not floating point.
        ValueError: for fewer samples than are kept, fewer than two kept, values that are not finite, or another reading.

    Example:
        >>> import torch
        >>> images = torch.randn(20, 1, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, 3, 8, 8)
        >>> mean_pixel_diversity(images) > 1.2 * mean_pixel_diversity(images, num_kept=20)
        True
    """
    check_floating(samples, "samples", min_dims=2)
    check_choice(of, "of", ("pixels", "means"))
    if not 2 <= num_kept <= len(samples):
        raise ValueError(
            f"expected num_kept from 2 to the number of samples, {len(samples)}, got {num_kept}; draw more samples."
        )
    pixels = samples.detach().flatten(1).double()
    if not bool(torch.isfinite(pixels).all()):
        raise ValueError("expected finite samples, got NaN or infinity; the generator may have diverged.")
    means = pixels.mean(1)
    typical = means[(means - means.mean()).abs().argmin()]
    kept = (means - typical).abs().argsort(descending=True, stable=True)[:num_kept]
    return float((pixels if of == "pixels" else means[:, None])[kept].std(0).mean())
