"""The residual networks of NDiv's Table 2: compare_gan's ResNet-CIFAR (Miyato et al. 2018, Table 4, with its changes).

Its changes: every shortcut is a 3x3 convolution of its own; the generator's maps grow by zeros between the entries, which
with the convolution after them is a transposed convolution; the discriminator pools by the mean. Ours: images are in [-1, 1]
(tanh, where compare_gan ends in a sigmoid), so the first block has no rectifier, which changed nothing in [0, 1]; classes;
sizes other than 32 pixels; and weights that grow as the network gets narrower, so that its layers pass on a signal of one size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.models._shared import (
    SMALLEST,
    ImageDiscriminator,
    ImageGenerator,
    initialize_normal,
    normalize_spectrally,
    num_doublings,
)

_SIZES = (8, 16, 32, 64)
_FULL_WIDTH = {"generator": 256, "discriminator": 128}
_STD = 0.02  # of normal weights at full width


class ResidualGenerator(ImageGenerator):
    """A linear layer, then residual blocks with batch normalization, each doubling the side, at one width.

    Args:
        latent_dim: entries of a latent.
        image_size: 8, 16, 32 or 64 pixels; 32 in compare_gan.
        channels: of the image.
        width: channels of all maps.
        num_classes: 0 for a generator without classes; else the class stands as a one-hot vector beside the latent.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for latents of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> ResidualGenerator(image_size=32, width=32)(torch.zeros(5, 128)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent_dim: int = 128,
        *,
        image_size: int = 32,
        channels: int = 3,
        width: int = 256,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(latent_dim, num_classes)
        self.first = nn.Sequential(
            nn.Linear(latent_dim + num_classes, width * SMALLEST**2),
            nn.Unflatten(1, (width, SMALLEST, SMALLEST)),
        )
        self.blocks = nn.ModuleList(_UpBlock(width) for _ in range(num_doublings(image_size, _SIZES)))
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, channels, 3, padding=1))
        initialize_normal(self, _STD * math.sqrt(_FULL_WIDTH["generator"] / width), generator)


class ResidualDiscriminator(ImageDiscriminator):
    """Residual blocks without batch normalization, of which the first ones halve the side down to 8 pixels; mean; linear.

    Args:
        image_size: 8, 16, 32 or 64 pixels; 32 in compare_gan, with four blocks of which two halve the side.
        channels: of the image.
        width: channels of all maps.
        spectral_norm: whether every weight is divided by its largest singular value (Miyato et al. 2018).
        num_classes: 0 for a discriminator without classes; else they enter by projection (Miyato and Koyama 2018).
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for images of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> discriminator = ResidualDiscriminator(image_size=32, width=16, spectral_norm=True)
        >>> images = torch.zeros(5, 3, 32, 32)
        >>> discriminator(images).shape, discriminator.features(images, level="pooled").shape
        (torch.Size([5]), torch.Size([5, 16]))
    """

    def __init__(
        self,
        *,
        image_size: int = 32,
        channels: int = 3,
        width: int = 128,
        spectral_norm: bool = False,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        num_halvings = num_doublings(image_size, _SIZES) - 1  # down to 8 pixels, where two more blocks follow
        self.blocks = nn.ModuleList(
            _DownBlock(width if index else channels, width, first=index == 0, halve=index < num_halvings)
            for index in range(num_halvings + 2)
        )
        self.pool = _RectifiedMean()
        self.last = nn.Linear(width, 1)
        self.embedding = nn.Embedding(num_classes, width) if num_classes else None
        initialize_normal(self, _STD * math.sqrt(_FULL_WIDTH["discriminator"] / width), generator)
        if spectral_norm:
            normalize_spectrally(self, generator)


class _UpBlock(nn.Module):
    """Twice the side: two convolutions, each after normalization and rectifier, beside one convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.shortcut = (
            nn.ConvTranspose2d(width, width, 3, stride=2, padding=1, output_padding=1) for _ in range(2)
        )
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.conv1(F.relu(self.norm1(maps)))
        residual = self.conv2(F.relu(self.norm2(residual)))
        return self.shortcut(maps) + residual  # type: ignore[no-any-return]


class _DownBlock(nn.Module):
    """Two convolutions, each after a rectifier (the first block sees images, not maps), beside one; then half the side."""

    def __init__(self, fan_in: int, width: int, *, first: bool, halve: bool) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        self.conv1, self.shortcut = (nn.Conv2d(fan_in, width, 3, padding=1) for _ in range(2))
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.conv1(maps if self.first else F.relu(maps))
        total: Tensor = self.shortcut(maps) + self.conv2(F.relu(residual))
        return F.avg_pool2d(total, 2) if self.halve else total


class _RectifiedMean(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(maps).mean(dim=(2, 3))
