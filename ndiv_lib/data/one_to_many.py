"""Small color images with several right answers for one condition, all of them known: precision and coverage are exact.

The condition is a shape. Where its copies lie and how many there are (high-level modes), and their color and texture
(low-level modes), are free and independent of each other, so that a generator should draw every combination.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, check_integer, check_positive, values_are_checked

SHAPES = ("square", "disc", "cross", "triangle")
TEXTURES = ("plain", "rows", "columns", "checks")
_DARK, _LIGHT = -0.8, 0.8  # room for noise on both sides
_COLORS = ((1, 0, 0), (0, 0, 1), (0, 1, 0), (1, 1, 0), (1, 0, 1), (0, 1, 1))
COLORS = ("red", "blue", "green", "yellow", "magenta", "cyan")
_MOST = {"num_classes": 4, "num_positions": 4, "num_counts": 3, "num_colors": 6, "num_textures": 4}


class Samples(NamedTuple):
    """Images ``(n, 3, side, side)`` in [-1, 1], their conditions ``(n,)`` and modes ``(n,)``, both integers."""

    images: Tensor
    conditions: Tensor
    modes: Tensor


@dataclass(frozen=True)
class ModesFound:
    """What a set of images covers; fractions in [0, 1], means over conditions.

    Args:
        precision: share of images that are valid for their condition.
        joint: share of the condition's modes that were found.
        high: share of its high-level modes (position, count), whatever the low-level ones.
        low: share of its low-level modes (color, texture), whatever the high-level ones.
        even_joint: how evenly valid images spread over the modes: exp(entropy) over their number; 1 is even.
        even_high: likewise, over high-level modes.
        even_low: likewise, over low-level modes.
    """

    precision: float
    joint: float
    high: float
    low: float
    even_joint: float
    even_high: float
    even_low: float


@dataclass(frozen=True)
class OneToMany:
    """A distribution of images whose valid outputs for every condition are known.

    A condition is a shape (square, disc, cross, triangle). A mode is a choice of four independent factors: the corner where
    the first copy lies and the number of copies, which follow clockwise (high level); their color and texture (low level).
    All modes are equally likely. Noise is uniform and bounded, so that every drawn image is nearest to its own template.

    Args:
        image_size: 16 or 32 pixels.
        num_classes: shapes, 1 to 4.
        num_positions: corners, 1 to 4.
        num_counts: numbers of copies, from one up, 1 to 3.
        num_colors: 1 to 6.
        num_textures: 1 to 4.
        noise: largest deviation of an entry from its template, in [0, 0.1].

    Raises:
        ValueError: for a value out of range.

    Example:
        >>> import torch
        >>> data = OneToMany()
        >>> data.num_modes, data.templates().shape
        (16, torch.Size([4, 16, 3, 16, 16]))
        >>> drawn = data.sample(64, generator=torch.Generator().manual_seed(0))
        >>> bool((data.assign(drawn.images, drawn.conditions) == drawn.modes).all())
        True
    """

    image_size: int = 16
    num_classes: int = 4
    num_positions: int = 2
    num_counts: int = 2
    num_colors: int = 2
    num_textures: int = 2
    noise: float = 0.1

    def __post_init__(self) -> None:
        check_choice(self.image_size, "image_size", (16, 32))
        for name, most in _MOST.items():
            check_choice(getattr(self, name), name, range(1, most + 1))
        if not 0 <= self.noise <= 0.1:
            raise ValueError(
                f"expected noise in [0, 0.1], got {self.noise}: with more, an image could be nearest to a wrong template."
            )

    @property
    def num_high(self) -> int:
        """Number of high-level modes of a condition, positions times counts."""
        return self.num_positions * self.num_counts

    @property
    def num_low(self) -> int:
        """Number of low-level modes of a condition, colors times textures."""
        return self.num_colors * self.num_textures

    @property
    def num_modes(self) -> int:
        """Modes of a condition; mode ``m`` has the high-level mode ``m // num_low`` and the low-level mode ``m % num_low``."""
        return self.num_high * self.num_low

    def factors(self) -> Tensor:
        """Position, count, color and texture of every mode, integers from 0: ``(num_modes, 4)``."""
        counts = (self.num_positions, self.num_counts, self.num_colors, self.num_textures)
        return torch.tensor(list(itertools.product(*map(range, counts))))

    def templates(self) -> Tensor:
        """Every valid image without noise: ``(num_classes, num_modes, 3, side, side)``, float32 in [-1, 1]."""
        shapes = _shape_masks(self.image_size // 2)[: self.num_classes]
        return torch.stack(
            [torch.stack([self._draw(mask, *mode) for mode in self.factors().tolist()]) for mask in shapes]
        )

    def tolerance(self) -> float:
        """Half the least distance (root mean square) between two templates of a condition.

        An image this near to a template belongs to that mode and to no other; one that is nowhere this near is not valid.
        """
        templates = self.templates().flatten(2)
        distances = torch.cdist(templates, templates) / templates.shape[2] ** 0.5
        apart = distances + torch.eye(self.num_modes).mul(1e9)
        return float(apart.min()) / 2

    def sample(
        self, num_samples: int, *, conditions: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Samples:
        """Draw images of random conditions and modes.

        Args:
            num_samples: how many, >= 1.
            conditions: ``(num_samples,)`` integers in [0, num_classes), if they are not to be random.
            generator: source of randomness.

        Raises:
            TypeError: for a number of samples that is not an integer.
            ValueError: for fewer than one sample, or conditions of another number or out of range.
        """
        check_integer(num_samples, "num_samples", least=1)
        if conditions is None:
            conditions = torch.randint(self.num_classes, (num_samples,), generator=generator)
        self._check_conditions(conditions, num_samples)
        modes = torch.randint(self.num_modes, (num_samples,), generator=generator)
        images = self.templates()[conditions, modes]
        noise = 2 * torch.rand(images.shape, generator=generator) - 1
        return Samples(images + self.noise * noise, conditions, modes)

    def assign(self, images: Tensor, conditions: Tensor) -> Tensor:
        """The mode of each image: that of the nearest template of its condition, or -1 if none is within the tolerance.

        Args:
            images: ``(n, 3, side, side)`` in [-1, 1].
            conditions: ``(n,)`` integers in [0, num_classes).

        Raises:
            TypeError: for images that are not floating point.
            ValueError: for another shape, conditions of another number or out of range, or (looked for on the CPU only)
                values that are not finite; elsewhere such images are in no mode.
        """
        check_floating(images, "images", min_dims=4)
        shape = (3, self.image_size, self.image_size)
        if tuple(images.shape[1:]) != shape:
            raise ValueError(f"expected images of shape (n, {shape}), got {tuple(images.shape)}.")
        if values_are_checked(images, None) and not bool(torch.isfinite(images).all()):
            raise ValueError("expected finite images, got NaN or infinity; the generator may have diverged.")
        self._check_conditions(conditions, len(images))
        templates, flat = self.templates().to(images).flatten(2), images.flatten(1)
        modes = torch.full((len(images),), -1, device=images.device)
        for condition in range(self.num_classes):
            members = (conditions == condition).nonzero().flatten()
            distances = torch.cdist(flat[members], templates[condition]) / flat.shape[1] ** 0.5
            nearest = distances.min(dim=1)
            modes[members] = torch.where(nearest.values <= self.tolerance(), nearest.indices, -1)
        return modes

    def evaluate(self, images: Tensor, conditions: Tensor, *, min_share: float = 0.25) -> ModesFound:
        """Precision, and the modes found: jointly, at the high level, and at the low level.

        Args:
            images: ``(n, 3, side, side)`` in [-1, 1], for example a generator's.
            conditions: ``(n,)`` integers; every condition must occur.
            min_share: > 0, the part of its due share of the condition's images that makes a mode count as found; its due is
                one over the number of modes (of its level).

        Raises:
            ValueError: as :meth:`assign`; for a condition without images, or a ``min_share`` that is not positive.

        Example:
            >>> data = OneToMany(noise=0.0)
            >>> one = data.templates()[:, 0]
            >>> found = data.evaluate(one, torch.arange(4))
            >>> found.precision, found.joint, found.high, found.low
            (1.0, 0.0625, 0.25, 0.25)
        """
        check_positive(min_share, "min_share")
        modes = self.assign(images, conditions)
        if missing := set(range(self.num_classes)) - set(conditions.tolist()):
            raise ValueError(f"expected images of every condition, got none of {sorted(missing)}.")
        rows = []
        for condition in range(self.num_classes):
            of_condition = modes[conditions == condition]
            valid = of_condition[of_condition >= 0].cpu()
            joint = valid.bincount(minlength=self.num_modes).unflatten(0, (self.num_high, self.num_low))
            levels = {"joint": joint.flatten(), "high": joint.sum(1), "low": joint.sum(0)}
            row = {"precision": len(valid) / len(of_condition)}
            for name, counts in levels.items():
                row[name] = float((counts / len(of_condition) >= min_share / len(counts)).float().mean())
                shares = counts / max(len(valid), 1)
                row[f"even_{name}"] = float(torch.special.entr(shares).sum().exp()) / len(counts)
            rows.append(row)
        return ModesFound(**{name: sum(row[name] for row in rows) / len(rows) for name in rows[0]})

    def _draw(self, mask: Tensor, position: int, count: int, color: int, texture: int) -> Tensor:
        """One template: copies of ``mask`` in the corners' order, clockwise from the upper left."""
        half = self.image_size // 2
        first = position * 4 // self.num_positions
        shown = torch.zeros(2, half, 2, half, dtype=torch.bool)
        for step in range(count + 1):
            row, column = ((0, 0), (0, 1), (1, 1), (1, 0))[(first + step) % 4]
            shown[row, :, column] = mask
        place = torch.arange(self.image_size) // (self.image_size // 8)  # bars of two pixels at 16
        rows, columns = place[:, None] % 2 == 1, place[None] % 2 == 1
        white = {
            "plain": rows & ~rows,
            "rows": rows.expand(self.image_size, -1),
            "columns": columns,
            "checks": rows ^ columns,
        }[TEXTURES[texture]]
        ink = torch.where(torch.tensor(_COLORS[color], dtype=torch.bool), _LIGHT, _DARK)[:, None, None]
        painted = torch.where(white, _LIGHT, ink)
        return torch.where(shown.reshape(self.image_size, self.image_size), painted, _DARK)

    def _check_conditions(self, conditions: Tensor, num_samples: int) -> None:
        if conditions.shape != (num_samples,) or conditions.is_floating_point():
            raise ValueError(
                f"expected one integer condition for each of {num_samples} images, got {conditions.dtype} of shape "
                f"{tuple(conditions.shape)}."
            )
        if bool(((conditions < 0) | (conditions >= self.num_classes)).any()):
            raise ValueError(
                f"expected conditions in [0, {self.num_classes}), got {int(conditions.min())} to {int(conditions.max())}."
            )


def _shape_masks(side: int) -> Tensor:
    """The shapes as booleans ``(4, side, side)``, in the order of ``SHAPES``."""
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = axis[:, None], axis[None]
    across, along = torch.minimum(x.abs(), y.abs()), torch.maximum(x.abs(), y.abs())
    return torch.stack([along < 0.8, x**2 + y**2 < 0.95, across < 0.5, 2 * x.abs() < y + 1.35])
