"""What the image networks share: checks of their input, initial weights, and the way from latents to image to logit."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib._checks import check_choice, values_are_checked

SMALLEST = 4  # side of the first maps of every generator
Level = Literal["logits", "pooled", "block"]


def check_latents(latents: Tensor, latent_dim: int) -> None:
    """Raise ``ValueError`` unless the latents have shape ``(n, latent_dim)``."""
    if latents.ndim != 2 or latents.shape[1] != latent_dim:
        raise ValueError(f"expected latents of shape (n, {latent_dim}), got {tuple(latents.shape)}.")


def check_images(images: Tensor, shape: tuple[int, int, int]) -> None:
    """Raise ``ValueError`` unless the images have shape ``(n, *shape)``."""
    if images.ndim != 4 or images.shape[1:] != shape:
        raise ValueError(
            f"expected images of shape (n, {', '.join(map(str, shape))}), got {tuple(images.shape)}."
        )


def check_labels(labels: Tensor | None, n: int, num_classes: int) -> None:
    """Raise ``ValueError`` unless there is one integer label in [0, num_classes) a sample, or none for no classes."""
    if num_classes == 0 and labels is not None:
        raise ValueError(
            "expected no labels, as this network was made without classes; make it with num_classes."
        )
    if num_classes == 0:
        return
    if labels is None or labels.shape != (n,) or labels.is_floating_point():
        got = "none" if labels is None else f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise ValueError(f"expected one integer label for each of {n} samples, got {got}.")
    if n and values_are_checked(labels, None) and not bool(((labels >= 0) & (labels < num_classes)).all()):
        raise ValueError(
            f"expected labels in [0, {num_classes}), got {int(labels.min())} to {int(labels.max())}."
        )


def num_doublings(image_size: int, sizes: tuple[int, ...]) -> int:
    """How often the side doubles from 4 pixels; ``ValueError`` for a size that the network does not come in."""
    check_choice(image_size, "image_size", sizes)
    return int(math.log2(image_size // SMALLEST))


def initialize_normal(network: nn.Module, std: float, generator: torch.Generator | None) -> None:
    """Normal weights of one standard deviation and biases of zero; normalization keeps torch's ones and zeros."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=std, generator=generator)
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def normalize_spectrally(network: nn.Module, generator: torch.Generator | None) -> None:
    """Divide every weight by its largest singular value (Miyato et al. 2018), found by one power iteration a step.

    torch draws the first vectors of the iteration from its global source; here they follow the generator of the weights.
    """
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in list(network.modules()):
            if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                nn.utils.parametrizations.spectral_norm(module)


class ImageGenerator(nn.Module):
    """Latents, and classes if there are any, to images: ``first``, then ``blocks``, then ``last`` and tanh.

    The class stands as a one-hot vector beside the latent. Made by the networks of this folder, which say what the layers are.
    """

    first: nn.Module  # latents to maps
    blocks: nn.ModuleList
    last: nn.Module  # maps to the image before tanh

    def __init__(self, latent_dim: int, num_classes: int) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, num_classes

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents ``(n, latent_dim)`` and labels ``(n,)`` to images ``(n, channels, image_size, image_size)`` in [-1, 1]."""
        check_latents(latents, self.latent_dim)
        check_labels(labels, len(latents), self.num_classes)
        maps = latents
        if labels is not None:
            maps = torch.cat([latents, F.one_hot(labels, self.num_classes).to(latents)], dim=1)
        maps = self.first(maps)
        for block in self.blocks:
            maps = block(maps)
        return self.last(maps).tanh()

    def path_names(self) -> list[str]:
        """The layers between latents and image, for :func:`~ndiv_lib.record_activations`."""
        return ["first", *(f"blocks.{index}" for index in range(len(self.blocks)))]


class ImageDiscriminator(nn.Module):
    """Images, and classes if there are any, to logits: ``blocks``, then ``pool``, then the linear layer ``last``.

    Classes enter by projection (Miyato and Koyama 2018): the logit is that of the image alone plus the product of its pooled
    features with an embedding of the class. Made by the networks of this folder, which say what the layers are.
    """

    blocks: nn.ModuleList
    pool: nn.Module  # maps to (n, d)
    last: nn.Module  # (n, d) to (n, 1)

    def __init__(self, image_size: int, channels: int, num_classes: int) -> None:
        super().__init__()
        self.shape, self.num_classes = (channels, image_size, image_size), num_classes
        self.embedding: nn.Embedding | None = None

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map images ``(n, channels, image_size, image_size)`` in [-1, 1] and labels ``(n,)`` to logits ``(n,)``."""
        return self.features(images, labels, level="logits")[:, 0]

    def features(
        self,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        level: Literal["logits", "pooled", "block"] = "pooled",
    ) -> Tensor:
        """What the discriminator sees at a level, for example as ``output_features`` of :class:`~ndiv_lib.NormalizedDiversity`.

        Args:
            images: ``(n, channels, image_size, image_size)`` in [-1, 1].
            labels: ``(n,)`` integers, or none without classes.
            level: ``"logits"`` ``(n, 1)``; ``"pooled"`` ``(n, d)``, before the last linear layer; ``"block"``, the flattened maps
                after the last block but one.

        Raises:
            ValueError: for an unknown level, images of another shape, or labels that are missing, too many, or out of range.
        """
        check_choice(level, "level", get_args(Level))
        check_images(images, self.shape)
        check_labels(labels, len(images), self.num_classes)
        maps = self.add_classes(images, labels)
        *early, final = self.blocks
        for block in early:
            maps = block(maps)
        if level == "block":
            return maps.flatten(1)
        pooled: Tensor = self.pool(final(maps))
        if level == "pooled":
            return pooled
        logits: Tensor = self.last(pooled)
        if self.embedding is not None:
            logits = logits + (pooled * self.embedding(labels)).sum(1, keepdim=True)
        return logits

    def add_classes(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """What the first block sees: the images alone, where classes enter by projection."""
        del labels
        return images
