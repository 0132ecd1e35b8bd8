"""Two pairs after DCGAN (Radford et al. 2016): SNDCGAN of compare_gan, and the class-conditional pair of MSGAN and HMGAN.

Discriminators return logits, where the released ones end in a sigmoid. No bias stands before a batch normalization, which
would take it away again. Ours are sizes other than 32 (and, for SNDCGAN, 64) pixels, and weights that grow as the network gets
narrower, so that its layers pass on a signal of one size.
"""

from __future__ import annotations

import math
from itertools import pairwise

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

_STD = 0.02  # of normal weights at full width, here and there


class SNDCGANGenerator(ImageGenerator):
    """SNDCGAN (Miyato et al. 2018, Table 3): linear layer, three transposed convolutions that double the side, one convolution.

    Args:
        latent_dim: entries of a latent.
        image_size: 32 or 64 pixels (first maps of 4 or 8 pixels); 8 and 16, with fewer layers, are ours.
        channels: of the image.
        width: channels of the last maps, 8 times as many in the first.
        num_classes: 0 for a generator without classes; else the class stands as a one-hot vector beside the latent.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for latents of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> SNDCGANGenerator(image_size=64, width=8)(torch.zeros(5, 128)).shape
        torch.Size([5, 3, 64, 64])
    """

    def __init__(
        self,
        latent_dim: int = 128,
        *,
        image_size: int = 32,
        channels: int = 3,
        width: int = 64,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(latent_dim, num_classes)
        depth = min(3, num_doublings(image_size, (8, 16, 32, 64)))
        side = image_size // 2**depth
        widths = [width * 2**level for level in range(depth, -1, -1)]
        self.first = nn.Sequential(
            nn.Linear(latent_dim + num_classes, widths[0] * side**2, bias=False),
            nn.Unflatten(1, (widths[0], side, side)),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(_up(fan_in, fan_out) for fan_in, fan_out in pairwise(widths))
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        initialize_normal(self, _STD * math.sqrt(64 / width), generator)


class SNDCGANDiscriminator(ImageDiscriminator):
    """SNDCGAN (Miyato et al. 2018, Table 3): seven convolutions, of which three halve the side; leaky rectifiers 0.1; linear.

    Args:
        image_size: 32 or 64 pixels; 8 and 16, with fewer layers, are ours.
        channels: of the image.
        width: channels after the first convolution, doubled three times.
        spectral_norm: whether every weight is divided by its largest singular value.
        num_classes: 0 for a discriminator without classes; else they enter by projection (Miyato and Koyama 2018).
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for images of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> discriminator = SNDCGANDiscriminator(image_size=32, width=8, spectral_norm=True)
        >>> images = torch.zeros(5, 3, 32, 32)
        >>> discriminator(images).shape, discriminator.features(images, level="pooled").shape
        (torch.Size([5]), torch.Size([5, 1024]))
    """

    def __init__(
        self,
        *,
        image_size: int = 32,
        channels: int = 3,
        width: int = 64,
        spectral_norm: bool = False,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        depth = min(3, num_doublings(image_size, (8, 16, 32, 64)))
        widths = [width * 2**level for level in range(depth + 1)]
        blocks = [
            nn.Sequential(
                nn.Conv2d(fan_in, fan_in if level else width, 3, padding=1),
                nn.LeakyReLU(0.1),
                nn.Conv2d(fan_in if level else width, fan_out, 4, stride=2, padding=1),
                nn.LeakyReLU(0.1),
            )
            for level, (fan_in, fan_out) in enumerate(pairwise([channels, *widths[1:]]))
        ]
        final = nn.Sequential(nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.LeakyReLU(0.1))
        self.blocks = nn.ModuleList([*blocks, final])
        self.pool = nn.Flatten()
        num_features = widths[-1] * (image_size // 2**depth) ** 2
        self.last = nn.Linear(num_features, 1)
        self.embedding = nn.Embedding(num_classes, num_features) if num_classes else None
        initialize_normal(self, _STD * math.sqrt(64 / width), generator)
        if spectral_norm:
            normalize_spectrally(self, generator)


class ConditionalDCGANGenerator(ImageGenerator):
    """The class-conditional DCGAN of MSGAN (Mao et al. 2019) on CIFAR-10, which HMGAN takes over.

    Transposed convolutions of 4x4 pixels: latents and one-hot class to 4 pixels, then each doubles the side and halves the
    channels (512, 256, 128 at 32 pixels), with batch normalization and rectifiers; tanh.

    Args:
        latent_dim: entries of a latent.
        image_size: 8, 16 or 32 pixels; 32 in MSGAN.
        channels: of the image.
        width: channels of the last maps, doubled at every smaller side.
        num_classes: 0 for a generator without classes.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for latents of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> network = ConditionalDCGANGenerator(num_classes=10, width=8)
        >>> network(torch.zeros(5, 100), torch.arange(5)).shape
        torch.Size([5, 3, 32, 32])
    """

    def __init__(
        self,
        latent_dim: int = 100,
        *,
        image_size: int = 32,
        channels: int = 3,
        width: int = 128,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(latent_dim, num_classes)
        depth = num_doublings(image_size, (8, 16, 32))
        widths = [width * 2**level for level in range(depth - 1, -1, -1)]
        entries = latent_dim + num_classes
        self.first = nn.Sequential(
            nn.Unflatten(1, (entries, 1, 1)),
            nn.ConvTranspose2d(entries, widths[0], SMALLEST, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        )
        self.blocks = nn.ModuleList(_up(fan_in, fan_out) for fan_in, fan_out in pairwise(widths))
        self.last = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        initialize_normal(self, _STD * math.sqrt(128 / width), generator)


class ConditionalDCGANDiscriminator(ImageDiscriminator):
    """The discriminator beside :class:`ConditionalDCGANGenerator`: classes as planes of zeros and ones beside the image.

    Convolutions of 4x4 pixels, each halving the side (128, 256, 512 channels at 32 pixels), batch normalization from the second
    on, leaky rectifiers 0.2, and one number at the end.

    Args:
        image_size: 8, 16 or 32 pixels; 32 in MSGAN.
        channels: of the image.
        width: channels after the first convolution, doubled at every smaller side.
        spectral_norm: whether every weight is divided by its largest singular value; batch normalization then goes, since it
            would scale the layers again. Not in MSGAN.
        num_classes: 0 for a discriminator without classes.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for images of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> discriminator = ConditionalDCGANDiscriminator(num_classes=10, width=8)
        >>> discriminator(torch.zeros(5, 3, 32, 32), torch.arange(5)).shape
        torch.Size([5])
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
        depth = num_doublings(image_size, (8, 16, 32))
        widths = [channels + num_classes, *(width * 2**level for level in range(depth))]
        self.blocks = nn.ModuleList(
            _down(fan_in, fan_out, normalize=level > 0 and not spectral_norm)
            for level, (fan_in, fan_out) in enumerate(pairwise(widths))
        )
        self.pool = nn.Flatten()
        self.last = nn.Linear(widths[-1] * SMALLEST**2, 1)  # the released 4x4 convolution to one number
        initialize_normal(self, _STD * math.sqrt(128 / width), generator)
        if spectral_norm:
            normalize_spectrally(self, generator)

    def add_classes(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Image and one plane per class, of ones for the image's own and zeros for the others."""
        if labels is None:
            return images
        one_hot = F.one_hot(labels, self.num_classes).to(images)
        return torch.cat([images, one_hot[..., None, None].expand(-1, -1, *images.shape[2:])], dim=1)


def _up(fan_in: int, fan_out: int) -> nn.Sequential:
    """Twice the side."""
    return nn.Sequential(
        nn.ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(fan_out),
        nn.ReLU(),
    )


def _down(fan_in: int, fan_out: int, *, normalize: bool) -> nn.Sequential:
    """Half the side."""
    convolution = nn.Conv2d(fan_in, fan_out, 4, stride=2, padding=1, bias=not normalize)
    norm = [nn.BatchNorm2d(fan_out)] if normalize else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(0.2))
