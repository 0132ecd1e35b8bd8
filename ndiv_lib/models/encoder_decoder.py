"""The encoder-decoders of cGML's image experiments (Sec. 5, App. 3.1, Fig. 24): encoder H, generator G and predictor Z.

Printed: the encoder and decoder of context encoders (Pathak et al. 2016) without their fully connected layer, U-Net skips, batch
normalization after every convolution, leaky rectifiers, tanh at the end, latents of 10, 16, 32, 64 entries at 32, 64, 128, 256
pixels, fewer layers for smaller images. Not in the text, so ours: the widths at other sides than 128 pixels (smaller images leave
out the widest maps), where the latent enters (as constant maps beside the code), all of Z, and the slope 0.2 (Pathak's).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib._checks import check_choice, check_floating, check_integer

LATENT_DIMS = {32: 10, 64: 16, 128: 32, 256: 64}  # image size to entries of a latent, App. 3.1
_SMALLEST = 4  # side of the code
_MULTIPLES = (1, 1, 1, 2, 4, 8)  # of the width, at 128, 64, 32, 16, 8, 4 pixels; context encoders begin at 64
_SLOPE = 0.2


class SkipEncoder(nn.Module):
    """H: images to their code and the maps on the way to it, each half the side of the one before.

    Args:
        image_size: 32, 64, 128 or 256 pixels.
        channels: of the image.
        width: channels of the widest maps; 64 in context encoders.
        weight_std: standard deviation of normal initial weights; the paper's is 0.5. By default the weights keep the size of the
            signal (He et al. 2015): at 0.5 most outputs of the last layer begin where tanh is flat, and little is learned.
        generator: source of the initial weights; torch's global one if not given.

    Raises:
        TypeError: for a width that is no integer; when called, for images that are not floating point.
        ValueError: for another image size, a width below 1; when called, for images of another shape.

    Example:
        >>> import torch
        >>> [tuple(maps.shape) for maps in SkipEncoder(32, channels=1, width=4)(torch.zeros(2, 1, 32, 32))]
        [(2, 32, 4, 4), (2, 16, 8, 8), (2, 8, 16, 16)]
    """

    def __init__(
        self,
        image_size: int,
        *,
        channels: int = 3,
        width: int = 64,
        weight_std: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.shape = (channels, image_size, image_size)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(fan_in, fan_out, 4, 2, 1, bias=False), nn.BatchNorm2d(fan_out), nn.LeakyReLU(_SLOPE)
            )
            for fan_in, fan_out in pairwise((channels, *_widths(image_size, width)))
        )
        _initialize(self, weight_std, generator)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Map images ``(n, channels, size, size)`` to the code ``(n, 8 width, 4, 4)`` and the skips, deepest first."""
        check_floating(images, "images in [-1, 1]")
        if images.shape[1:] != self.shape:
            raise ValueError(
                f"expected images of shape (n, {', '.join(map(str, self.shape))}), got {tuple(images.shape)}."
            )
        maps = []
        for block in self.blocks:
            images = block(images)
            maps.append(images)
        return tuple(reversed(maps))


class SkipGenerator(nn.Module):
    """G: what the encoder returned, and a latent, to an image; the encoder's maps of the same side join at every stage.

    The latent is added to the code after a linear layer. The last layer has no batch normalization: the share of dark
    pixels is part of the answer.

    Args:
        latent_dim: entries of a latent; by default what the paper uses at this image size.
        skips: whether the encoder's maps join; without them it is the decoder of context encoders.
        image_size, channels, width, weight_std, generator: as for :class:`~ndiv_lib.models.SkipEncoder`.

    Raises:
        ValueError: for another image size; when called, for latents of another shape.

    Example:
        >>> import torch
        >>> encoder, generator = SkipEncoder(64, width=4), SkipGenerator(64, width=4)
        >>> generator(encoder(torch.zeros(2, 3, 64, 64)), torch.zeros(2, 16)).shape
        torch.Size([2, 3, 64, 64])
    """

    def __init__(
        self,
        image_size: int,
        *,
        latent_dim: int | None = None,
        channels: int = 3,
        width: int = 64,
        skips: bool = True,
        weight_std: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        widths = _widths(image_size, width)[::-1]
        self.latent_dim = LATENT_DIMS[image_size] if latent_dim is None else latent_dim
        self.skips = skips
        self.first = nn.Linear(self.latent_dim, widths[0] * _SMALLEST**2)
        fan_ins = [widths[0], *((1 + skips) * one for one in widths[1:])]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(fan_in, fan_out, 4, 2, 1, bias=False),
                nn.BatchNorm2d(fan_out),
                nn.LeakyReLU(_SLOPE),
            )
            for fan_in, fan_out in zip(fan_ins, widths[1:], strict=False)
        )
        self.last = nn.ConvTranspose2d(fan_ins[-1], channels, 4, 2, 1)
        _initialize(self, weight_std, generator)
        nn.init.normal_(
            self.first.weight, generator=generator
        )  # a unit latent then weighs as much as the code

    def forward(self, features: Sequence[Tensor], latents: Tensor) -> Tensor:
        """Map the encoder's features and latents ``(n, latent_dim)`` to images ``(n, channels, size, size)`` in [-1, 1]."""
        code, *skips = features
        _check_latents(latents, self.latent_dim, len(code))
        maps = code + self.first(latents).view_as(code)
        for block, skip in zip(self.blocks, skips, strict=True):
            maps = block(maps)
            maps = torch.cat([maps, skip], dim=1) if self.skips else maps
        return self.last(maps).tanh()


class CodePredictor(nn.Module):
    """Z: code and latent to the next latent and the momentum, by two hidden layers.

    Args:
        latent_dim: entries of a latent; by default what the paper uses at this image size.
        hidden: width of the hidden layers.
        image_size, width, weight_std, generator: as for :class:`~ndiv_lib.models.SkipEncoder`.

    Raises:
        ValueError: for another image size; when called, for latents of another shape.

    Example:
        >>> import torch
        >>> encoder, predictor = SkipEncoder(32, width=4), CodePredictor(32, width=4)
        >>> predictor(encoder(torch.zeros(2, 3, 32, 32)), torch.zeros(2, 10)).shape
        torch.Size([2, 11])
    """

    def __init__(
        self,
        image_size: int,
        *,
        latent_dim: int | None = None,
        width: int = 64,
        hidden: int = 128,
        weight_std: float | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.latent_dim = LATENT_DIMS[_check_size(image_size)] if latent_dim is None else latent_dim
        entries = _widths(image_size, width)[-1] * _SMALLEST**2
        self.first = nn.Linear(entries + self.latent_dim, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, self.latent_dim + 1)
        _initialize(self, weight_std, generator)

    def forward(self, features: Sequence[Tensor], latents: Tensor) -> Tensor:
        """Map the encoder's features and latents ``(n, latent_dim)`` to ``(n, latent_dim + 1)``: next latent, then momentum."""
        code = features[0]
        _check_latents(latents, self.latent_dim, len(code))
        hidden = F.leaky_relu(self.first(torch.cat([code.flatten(1), latents], dim=1)), _SLOPE)
        return self.last(F.leaky_relu(self.second(hidden), _SLOPE))


def _check_size(image_size: int) -> int:
    check_choice(image_size, "image_size", tuple(LATENT_DIMS))
    return image_size


def _widths(image_size: int, width: int) -> list[int]:
    """Channels of the maps, the largest maps first: 32 pixels and width 4 give 8, 16, 32."""
    depth = int(math.log2(_check_size(image_size) // _SMALLEST))
    check_integer(width, "width", least=1)
    return [width * multiple for multiple in _MULTIPLES[-depth:]]


def _check_latents(latents: Tensor, latent_dim: int, n: int) -> None:
    if latents.shape != (n, latent_dim):
        raise ValueError(
            f"expected latents of shape ({n}, {latent_dim}), one for each image, got {tuple(latents.shape)}."
        )


def _initialize(network: nn.Module, std: float | None, generator: torch.Generator | None) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            # A pixel of a transposed convolution with stride 2 and a 4x4 kernel sums over 2x2 positions.
            transposed = isinstance(module, nn.ConvTranspose2d)
            fan_in = 4 * module.weight.shape[0] if transposed else module.weight[0].numel()
            kept = math.sqrt(2 / (1 + _SLOPE**2) / fan_in)
            nn.init.normal_(module.weight, std=kept if std is None else std, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
