"""A small residual pair without tricks, after the modern baseline of Huang et al. (2024).

No normalization: initial weights keep the size of the signal, and the last convolution of every block starts at zero, so that
a block first passes on what it gets. Sides double and halve bilinearly. From that paper: these rules, and the learned weights
of the discriminator's last 4x4 pixels, one set a channel. Ours: two 3x3 convolutions a block (there three, grouped), one block
at every side, rectifiers before both, the plain linear layer at the start, and tanh at the end.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.models._shared import SMALLEST, ImageDiscriminator, ImageGenerator, num_doublings

_SIZES = (8, 16, 32, 64)
_SLOPE = 0.2
_WIDEST = 4  # times the width, at small sides


class PlainResidualGenerator(ImageGenerator):
    """A linear layer, then a residual block at 4, 8, ... pixels up to the image's side.

    Args:
        latent_dim: entries of a latent.
        image_size: 8, 16, 32 or 64 pixels.
        channels: of the image.
        width: channels at the image's side, doubled twice towards smaller sides.
        num_classes: 0 for a generator without classes; else the class stands as a one-hot vector beside the latent.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size; when called, for latents of another shape, or for labels that are missing, too many,
            or not in [0, num_classes).

    Example:
        >>> import torch
        >>> PlainResidualGenerator(16, image_size=16, width=8)(torch.zeros(5, 16)).shape
        torch.Size([5, 3, 16, 16])
    """

    def __init__(
        self,
        latent_dim: int = 64,
        *,
        image_size: int = 32,
        channels: int = 3,
        width: int = 64,
        num_classes: int = 0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(latent_dim, num_classes)
        widths = _widths(image_size, width)[::-1]
        self.first = nn.Sequential(
            nn.Linear(latent_dim + num_classes, widths[0] * SMALLEST**2),
            nn.Unflatten(1, (widths[0], SMALLEST, SMALLEST)),
        )
        double = nn.Upsample(scale_factor=2, mode="bilinear")
        self.blocks = nn.ModuleList(
            [
                _Block(widths[0]),
                *(nn.Sequential(*_change(a, b), double, _Block(b)) for a, b in pairwise(widths)),
            ]
        )
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        _initialize(self, generator)


class PlainResidualDiscriminator(ImageDiscriminator):
    """The generator's mirror image: a residual block at every side down to 4 pixels, then one number.

    Args:
        image_size: 8, 16, 32 or 64 pixels.
        channels: of the image.
        width: channels at the image's side, doubled twice towards smaller sides.
        spectral_norm: has to stay off: weights that start at zero have no largest singular value to be divided by.
        num_classes: 0 for a discriminator without classes; else they enter by projection (Miyato and Koyama 2018).
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        ValueError: for another image size, or for spectral normalization; when called, for images of another shape, or for
            labels that are missing, too many, or not in [0, num_classes).

    Example:
        >>> import torch
        >>> discriminator = PlainResidualDiscriminator(image_size=16, width=8)
        >>> images = torch.zeros(5, 3, 16, 16)
        >>> discriminator(images).shape, discriminator.features(images, level="pooled").shape
        (torch.Size([5]), torch.Size([5, 32]))
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
        if spectral_norm:
            raise ValueError(
                "expected spectral_norm=False, as the weights that start at zero have no largest singular value to divide by; "
                "take a penalty (R1 and R2) or another discriminator."
            )
        widths = _widths(image_size, width)
        start = nn.Conv2d(channels, width, 3, padding=1)
        halve = nn.AvgPool2d(2)  # what bilinear resampling to half the side is
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(start, _Block(width)),
                *(nn.Sequential(halve, *_change(a, b), _Block(b)) for a, b in pairwise(widths)),
            ]
        )
        self.pool = nn.Sequential(
            nn.LeakyReLU(_SLOPE), nn.Conv2d(widths[-1], widths[-1], SMALLEST, groups=widths[-1]), nn.Flatten()
        )
        self.last = nn.Linear(widths[-1], 1)
        self.embedding = nn.Embedding(num_classes, widths[-1]) if num_classes else None
        _initialize(self, generator)


class _Block(nn.Module):
    """Maps, plus what two convolutions make of them; nothing at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        residual = self.conv1(F.leaky_relu(maps, _SLOPE))
        return maps + self.conv2(F.leaky_relu(residual, _SLOPE))  # type: ignore[no-any-return]


def _change(fan_in: int, fan_out: int) -> list[nn.Module]:
    """The 1x1 convolution to another number of channels, where there is one."""
    return [] if fan_in == fan_out else [nn.Conv2d(fan_in, fan_out, 1, bias=False)]


def _widths(image_size: int, width: int) -> list[int]:
    """Channels from the image's side down to 4 pixels: 32 pixels, width 8 gives 8, 16, 32, 32."""
    return [width * min(2**level, _WIDEST) for level in range(num_doublings(image_size, _SIZES) + 1)]


def _initialize(network: nn.Module, generator: torch.Generator | None) -> None:
    """Weights that keep the size of the signal, also behind a block's rectifier (He et al. 2015); zeros at the end of blocks."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.zeros_(module.weight)
    for module in network.modules():
        if isinstance(module, _Block):
            nn.init.kaiming_normal_(module.conv1.weight, a=_SLOPE, generator=generator)
            nn.init.zeros_(module.conv2.weight)
