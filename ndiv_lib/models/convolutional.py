"""Small convolutional generators and a discriminator for images of 8 to 32 pixels, with or without classes.

Only ``TransposedGenerator`` has batch normalization: it lets the samples of a batch see each other, and every diversity
loss compares samples.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib._checks import check_choice
from ndiv_lib.models._shared import SMALLEST, check_images, check_labels, check_latents

_SIZES = (8, 16, 32)


class ConvGenerator(nn.Module):
    """Latents, and classes if there are any, to images: each block doubles the side and halves the channels.

    Args:
        latent_dim: entries of a latent.
        image_size: 8, 16 or 32 pixels.
        channels: of the image.
        width: channels before the last convolution.
        num_classes: 0 for a generator without classes; else an embedding of the class is added to the latent's features.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for latents of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> ConvGenerator(16, image_size=32, channels=3)(torch.zeros(5, 16)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        image_size: int,
        channels: int = 1,
        width: int = 32,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = _widths(image_size, width)[::-1]
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.first = nn.Linear(latent_dim, widths[0] * SMALLEST**2)
        self.embedding = nn.Embedding(num_classes, widths[0] * SMALLEST**2) if num_classes else None
        self.blocks = nn.ModuleList(
            nn.Conv2d(fan_in, fan_out, 3, padding=1) for fan_in, fan_out in pairwise(widths)
        )
        self.last = nn.Conv2d(widths[-1], channels, 3, padding=1)
        _initialize(self, generator)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents ``(n, latent_dim)`` and labels ``(n,)`` to images ``(n, channels, image_size, image_size)`` in [-1, 1]."""
        check_latents(latents, self.latent_dim)
        check_labels(labels, len(latents), self.num_classes)
        features = self.first(latents)
        if self.embedding is not None:
            features = features + self.embedding(labels)
        maps = F.leaky_relu(features, 0.2).unflatten(1, (-1, SMALLEST, SMALLEST))
        for block in self.blocks:
            maps = F.leaky_relu(block(F.interpolate(maps, scale_factor=2)), 0.2)
        return self.last(maps).tanh()


class TransposedGenerator(nn.Module):
    """A small DCGAN generator (Radford et al. 2016): transposed convolutions, each doubling the side, with batch normalization.

    The class enters once, as a one-hot vector beside the latent. Normalization fixes the size of a layer's signal up to a
    learned scale, so that a loss on hidden distances cannot be met by scaling a layer up. The layers ``"blocks.0"`` (4 pixels),
    ``"blocks.1"`` (8 pixels), ... are the path from latents to image.

    Args:
        latent_dim: entries of a latent.
        image_size: 8, 16 or 32 pixels.
        channels: of the image.
        width: channels before the last convolution, doubled at every smaller side.
        num_classes: 0 for a generator without classes.
        condition_repeats: how often the one-hot vector stands beside the latent.
        condition_scale: factor of the one-hot vector; where it is large against the latents, it drowns them.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for latents of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> network = TransposedGenerator(8, image_size=16, channels=3, num_classes=4)
        >>> network(torch.zeros(5, 8), torch.tensor([0, 1, 2, 3, 3])).shape
        torch.Size([5, 3, 16, 16])
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        image_size: int,
        channels: int = 3,
        width: int = 16,
        num_classes: int = 0,
        condition_repeats: int = 1,
        condition_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice(image_size, "image_size", _SIZES)
        widths = [width * 2**level for level in reversed(range(_SIZES.index(image_size) + 1))]
        self.latent_dim, self.num_classes = latent_dim, num_classes
        self.condition_repeats, self.condition_scale = condition_repeats, condition_scale
        first = nn.Sequential(
            nn.Linear(latent_dim + condition_repeats * num_classes, widths[0] * SMALLEST**2),
            nn.Unflatten(1, (widths[0], SMALLEST, SMALLEST)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        doubling = [
            nn.Sequential(nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1), nn.BatchNorm2d(fan_out), nn.ReLU())
            for fan_in, fan_out in pairwise(widths)
        ]
        self.blocks = nn.ModuleList([first, *doubling])
        self.last = nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents ``(n, latent_dim)`` and labels ``(n,)`` to images ``(n, channels, image_size, image_size)`` in [-1, 1]."""
        check_latents(latents, self.latent_dim)
        check_labels(labels, len(latents), self.num_classes)
        maps = latents
        if labels is not None:
            one_hot = self.condition_scale * F.one_hot(labels, self.num_classes).to(latents)
            maps = torch.cat([latents, one_hot.repeat(1, self.condition_repeats)], dim=1)
        for block in self.blocks:
            maps = block(maps)
        return self.last(maps).tanh()


class ConvDiscriminator(nn.Module):
    """Images, and classes if there are any, to logits: each block halves the side and doubles the channels.

    Classes enter by projection (Miyato and Koyama 2018): the logit is that of the image alone plus the product of its features
    with an embedding of the class.

    Args:
        image_size: 8, 16 or 32 pixels.
        channels: of the image.
        width: channels after the first convolution.
        num_classes: 0 for a discriminator without classes.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for images of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> discriminator = ConvDiscriminator(image_size=8, num_classes=10)
        >>> discriminator(torch.zeros(5, 1, 8, 8), torch.arange(5)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        *,
        image_size: int,
        channels: int = 1,
        width: int = 32,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = [channels, *_widths(image_size, width)[1:]]
        self.shape, self.num_classes = (channels, image_size, image_size), num_classes
        self.blocks = nn.ModuleList(
            nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1) for fan_in, fan_out in pairwise(widths)
        )
        num_features = widths[-1] * SMALLEST**2
        self.last = nn.Linear(num_features, 1)
        self.embedding = nn.Embedding(num_classes, num_features) if num_classes else None
        _initialize(self, generator)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map images ``(n, channels, image_size, image_size)`` and labels ``(n,)`` to logits ``(n,)``."""
        check_images(images, self.shape)
        check_labels(labels, len(images), self.num_classes)
        features = self.features(images)
        logits = self.last(features)[:, 0]
        if self.embedding is not None:
            logits = logits + (features * self.embedding(labels)).sum(1)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """The last features ``(n, d)``, for example as ``output_features`` of :class:`~ndiv_lib.NormalizedDiversity`."""
        for block in self.blocks:
            images = F.leaky_relu(block(images), 0.2)
        return images.flatten(1)


def _widths(image_size: int, width: int) -> list[int]:
    """Channels from the full side down to the smallest one: 32 pixels, width 8 gives 8, 8, 16, 32."""
    check_choice(image_size, "image_size", _SIZES)
    num_blocks = _SIZES.index(image_size) + 1
    return [width, *(width * 2**block for block in range(num_blocks))]


def _initialize(network: nn.Module, generator: torch.Generator | None) -> None:
    """Weights that keep the size of the signal through leaky rectifiers (He et al. 2015); embeddings start at zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, a=0.2, generator=generator)
            assert module.bias is not None
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.zeros_(module.weight)
