"""Small conditional GANs on scikit-learn's 8x8 digits, all seeds as one stacked program: what the ratio recipes train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

NUM_CLASSES = 10
ENTRIES = 64  # of an image

# Paths (k, n, ...) of both halves of the pairs, latents first, to what is added to the loss, summed over models.
Extra = Callable[[list[Tensor], list[Tensor]], Tensor]


@dataclass(frozen=True)
class Training:
    """Everything that decides a training, except the seeds. None of it is printed; the comments give our reasons."""

    latent_dim: int = 8  # below the condition's 10: the paper's worry
    repeats: int = (
        1  # of the one-hot class at the generator's input; 0: no condition, for generator and discriminator
    )
    hidden: int = 64  # two layers of it: three ratios, as many as one can follow
    normalize: bool = False  # batch normalization before every rectifier, without weights of its own
    num_steps: int = 600  # digits are legible, and ten seeds take seconds
    batch_size: int = 64
    learning_rate: float = 1e-3  # Adam with betas (0.5, 0.999), as the papers' code


class Generator(nn.Module):
    """Stacked networks from latents ``(k, n, latent_dim)`` and classes ``(k, n)`` to images ``(k, n, 64)`` in [-1, 1]."""

    def __init__(self, config: Training, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.repeats, self.normalize = config.repeats, config.normalize
        inputs = config.latent_dim + NUM_CLASSES * config.repeats
        self.network = StackedMLP([inputs, config.hidden, config.hidden, ENTRIES], generators)

    def layers(self, latents: Tensor, labels: Tensor) -> list[Tensor]:
        """The path: latents, hidden layers after their rectifiers, images. The condition is no part of a distance."""
        condition = F.one_hot(labels, NUM_CLASSES).to(latents).repeat(1, 1, self.repeats)
        signal, path = torch.cat([latents, condition], -1), [latents]
        last = len(self.network.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.network.weights, self.network.biases, strict=True)):
            signal = torch.baddbmm(bias, signal, weight)
            if i < last and self.normalize:
                signal = (signal - signal.mean(1, keepdim=True)) / (signal.std(1, keepdim=True) + 1e-5)
            signal = signal.tanh() if i == last else F.leaky_relu(signal, self.network.negative_slope)
            path.append(signal)
        return path


@cache
def load_real() -> tuple[Tensor, Tensor]:
    """All 1,797 digits ``(1797, 64)`` in [-1, 1] and their classes."""
    split = load_digits_split(seed=0)
    images = torch.cat([split.train_images, split.held_out_images]).flatten(1)
    return images, torch.cat([split.train_labels, split.held_out_labels])


def train(
    config: Training, seeds: Sequence[int], *, extra: Extra | None = None, start: Generator | None = None
) -> Generator:
    """Train one generator per seed on the digits, a pair of latents for every condition; ``extra`` is added to its loss."""
    images, labels = load_real()
    draws = StackedDraws(seeds, stream=1)
    generator = start or Generator(config, draws.generators)
    judged = ENTRIES + NUM_CLASSES * (config.repeats > 0)
    discriminator = StackedMLP([judged, config.hidden, config.hidden, 1], draws.generators)
    adam = partial(torch.optim.Adam, lr=config.learning_rate, betas=(0.5, 0.999), fused=True)
    of_generator, of_discriminator = adam(generator.parameters()), adam(discriminator.parameters())
    half = config.batch_size // 2

    def logits(images: Tensor, labels: Tensor) -> Tensor:
        condition = F.one_hot(labels, NUM_CLASSES).to(images)
        return discriminator(torch.cat([images, condition], -1) if config.repeats else images)

    for _ in range(config.num_steps):
        index = draws.randint(len(images), config.batch_size)
        shared = labels[index[:, :half]].repeat(1, 2)  # rows i and i + half are a pair
        path = generator.layers(draws.randn(config.batch_size, config.latent_dim), shared)
        discriminator.requires_grad_(True)
        real, fake = logits(images[index], labels[index]), logits(path[-1].detach(), shared)
        loss = discriminator_loss(real_logits=real, fake_logits=fake, reduction="none")
        _step(of_discriminator, loss.mean((1, 2)).sum())
        discriminator.requires_grad_(False)
        total = generator_loss(fake_logits=logits(path[-1], shared), reduction="none").mean((1, 2)).sum()
        if extra is not None:
            total = total + extra([layer[:, :half] for layer in path], [layer[:, half:] for layer in path])
        _step(of_generator, total)
    return generator


@torch.no_grad()
def pairs(
    generator: Generator, config: Training, seeds: Sequence[int], num_pairs: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Fresh pairs under shared conditions: paths ``(k, num_pairs, ...)``, latents first, of both halves."""
    draws = StackedDraws(seeds, stream=2)
    shared = draws.randint(NUM_CLASSES, num_pairs).repeat(1, 2)
    path = generator.layers(draws.randn(2 * num_pairs, config.latent_dim), shared)
    return [layer[:, :num_pairs] for layer in path], [layer[:, num_pairs:] for layer in path]


def real_distance(seed: int, *, same_class: bool, num_pairs: int = 4000) -> float:
    """Mean absolute difference between two digits, of one class or of any."""
    images, labels = load_real()
    random = torch.Generator().manual_seed(seed)
    first, second = torch.randint(len(images), (2, 20 * num_pairs), generator=random)
    kept = (first != second) & ((labels[first] == labels[second]) | (not same_class))
    return float((images[first[kept]] - images[second[kept]]).abs().mean())


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
