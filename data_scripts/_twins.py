"""What the procedural twins share: balanced labels, split sizes, gratings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from _checks import Array
from _common import Splits

Rng = np.random.Generator


def balanced_labels(rng: Rng, count: int, num_classes: int) -> Array:
    """`count` labels in random order, every class as often as any other (to within one)."""
    return rng.permutation(np.arange(count) % num_classes).astype(np.uint8)


def draw_splits(
    draw: Callable[[Rng, int], dict[str, Array]], size: int, seed: int, parts: Mapping[str, int]
) -> Splits:
    """`draw(rng, count)` for every split; `parts` says what it has: size / part images."""
    return {
        split: draw(np.random.default_rng([seed, i]), size // part)
        for i, (split, part) in enumerate(parts.items())
    }


def gratings(rng: Rng, labels: Array, side: int) -> Array:
    """One RGB image per label: class sets direction and frequency of a grating, chance the rest."""
    n = len(labels)
    axis = np.linspace(-1, 1, side)
    x, y = np.meshgrid(axis, axis)
    angle = (np.pi * labels / 10 + rng.normal(0, 0.05, n))[:, None, None]
    frequency = np.where(labels % 2, 4.0, 7.0)[:, None, None]
    phase = rng.uniform(0, 2 * np.pi, (n, 1, 1))
    wave = 0.5 + 0.5 * np.sin(frequency * (np.cos(angle) * x + np.sin(angle) * y) + phase)
    dark, bright = rng.uniform(0, 110, (n, 1, 1, 3)), rng.uniform(120, 240, (n, 1, 1, 3))
    images = dark + (bright - dark) * wave[..., None] + rng.normal(0, 4, (n, side, side, 3))
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def labeled(rng: Rng, count: int, num_classes: int, draw: Callable[[Rng, Array], Array]) -> dict[str, Array]:
    labels = balanced_labels(rng, count, num_classes)
    return {"images": draw(rng, labels), "labels": labels}
