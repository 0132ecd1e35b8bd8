"""What may be compared: the checks of samples and conditions before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ndiv_lib._checks import check_two_sets

FEWEST, MOST = 20, 10_000  # samples: of each set, and of both together (distances of all pairs are kept)


def check_samples(real: Tensor, generated: Tensor) -> None:
    """Raise an error unless both are images or vectors of one shape, neither too few nor too many."""
    check_two_sets(real, generated, fewest=FEWEST, reason="fewer can show nothing about variety")
    for name, samples in {"real": real, "generated": generated}.items():
        is_image = samples.ndim == 4 and samples.shape[1] in (1, 3)
        if not is_image and samples.ndim != 2:
            raise ValueError(
                f"expected {name} images (n, 1 or 3, H, W) or vectors (n, d), got shape {tuple(samples.shape)}."
            )
        if is_image and min(samples.shape[-2:]) < 4:
            raise ValueError(f"expected {name} images of at least 4 px, got shape {tuple(samples.shape)}.")
        if is_image and not -1.001 <= float(samples.min()) <= float(samples.max()) <= 1.001:
            raise ValueError(
                f"expected {name} images in [-1, 1], got values from {float(samples.min()):.3g} to {float(samples.max()):.3g}; "
                "bytes become floats with images.float() / 127.5 - 1."
            )
    if len(real) + len(generated) > MOST:
        raise ValueError(
            f"expected at most {MOST:,} samples in both sets together, got {len(real):,} and {len(generated):,}; pass a random "
            "part of each, such as samples[torch.randperm(len(samples))[:2000]]."
        )


def check_conditions(
    real: Tensor,
    generated: Tensor,
    conditions_real: Sequence[object] | Tensor | None,
    conditions_generated: Sequence[object] | Tensor | None,
) -> tuple[list[str], Tensor | None]:
    """The names of all conditions, and the number of each sample's, real ones first; None without conditions.

    Raises:
        ValueError: for conditions of one set only, another number than samples, or conditions that one set lacks.
    """
    if conditions_real is None and conditions_generated is None:
        return [], None
    if conditions_real is None or conditions_generated is None:
        raise ValueError("expected conditions for both sets or for neither, got them for one only.")
    of_real, of_generated = (
        conditions.tolist() if isinstance(conditions, Tensor) else list(conditions)
        for conditions in (conditions_real, conditions_generated)
    )
    for name, conditions, samples in (("real", of_real, real), ("generated", of_generated, generated)):
        if len(conditions) != len(samples):
            raise ValueError(
                f"expected one condition for each of {len(samples)} {name} samples, got {len(conditions)}."
            )
    names = sorted(set(of_real) | set(of_generated), key=lambda one: (str(type(one)), one))
    for side, own in (("real", set(of_real)), ("generated", set(of_generated))):
        missing = [str(name) for name in names if name not in own]
        if missing:
            raise ValueError(
                f"expected the same conditions in both sets, got no {side} samples for {', '.join(missing[:10])}"
                f"{' and others' if len(missing) > 10 else ''}; leave these out, or compare without conditions."
            )
    number = {name: index for index, name in enumerate(names)}
    return [str(name) for name in names], torch.tensor([number[one] for one in of_real + of_generated])
