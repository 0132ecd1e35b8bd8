"""What a diversity term adds to one training step of a conditional image GAN (HMGAN, Related Work).

Counted exactly: multiplications and additions of products and convolutions, and bytes kept for the way back. Processor time
is measured in turn with the same step without the method; it depends on the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ndiv_lib.activations import record_activations
from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.hmgan import hierarchical_loss, mode_seeking_loss
from ndiv_lib.models.convolutional import ConvDiscriminator, ConvGenerator
from ndiv_lib.recipes.recording import Cell, Measured

Method = Literal["none", "mode_seeking", "hierarchical", "encoder", "augmentation"]
_CLASSES = 4


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds."""

    method: Method = (
        "hierarchical"  # encoder: recovers the latent from the image; augmentation: noise on the condition
    )
    pairs: Literal["same_batch", "second_batch"] = (
        "same_batch"  # two halves of the batch, or a second latent each
    )
    batch_size: int = 32
    image_size: int = 16
    width: int = 16
    num_timed: int = 15  # steps, in turn with the step without anything


class Trainer:
    """A conditional GAN of 16-pixel images and one training step of it, plain or with one of the methods."""

    def __init__(self, config: Config, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.config, self.latent_dim = config, 16
        size: dict[str, Any] = {
            "image_size": config.image_size,
            "width": config.width,
            "generator": self.random,
        }
        self.generator = ConvGenerator(self.latent_dim, channels=3, num_classes=_CLASSES, **size)
        self.discriminator = ConvDiscriminator(channels=3, num_classes=_CLASSES, **size)
        w, smallest = config.width, config.image_size // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(3, w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(w, 2 * w, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * w * smallest**2, self.latent_dim),
        )
        self.augmentation = nn.Embedding(_CLASSES, 2 * self.latent_dim)  # a condition's mean and log std
        trained = [*self.generator.parameters(), *self.encoder.parameters(), *self.augmentation.parameters()]
        self.adam, self.judge_adam = (torch.optim.Adam(p) for p in (trained, self.discriminator.parameters()))
        self.path = [f"blocks.{i}" for i in range(len(self.generator.blocks))]
        self.images = torch.rand(config.batch_size, 3, *2 * [config.image_size], generator=self.random)

    def latents(self) -> Tensor:
        return torch.randn(self.config.batch_size, self.latent_dim, generator=self.random)

    def labels(self) -> Tensor:
        """Both halves of the batch have the same conditions, so that an item of one and its like in the other are a pair."""
        return torch.arange(self.config.batch_size // 2).remainder(_CLASSES).repeat(2)

    def step(self, method: Method) -> None:
        """One update of the discriminator, one of the generator (and encoder)."""
        labels = self.labels()
        fake = self.generator(self.latents(), labels).detach()
        logits = self.discriminator(self.images, labels), self.discriminator(fake, labels)
        self.judge_adam.zero_grad()
        discriminator_loss(real_logits=logits[0], fake_logits=logits[1]).backward()
        self.judge_adam.step()
        self.adam.zero_grad()
        self.generator_loss(method, labels).backward()
        self.adam.step()

    def generator_loss(self, method: Method, labels: Tensor) -> Tensor:
        n, z = self.config.batch_size, self.latents()
        if method == "augmentation":
            mean, log_std = self.augmentation(labels).chunk(2, 1)
            z = z * log_std.exp() + mean
        regularized = method in ("mode_seeking", "hierarchical")
        twice = regularized and self.config.pairs == "second_batch"
        every = torch.cat([z, self.latents()]) if twice else z
        with record_activations(self.generator, self.path) as recorded:
            images = self.generator(every, labels.repeat(2) if twice else labels)
        loss = generator_loss(fake_logits=self.discriminator(images[:n], labels))
        if regularized:
            layers = [every, *(recorded.values() if method == "hierarchical" else ()), images]
            a, b = zip(*(layer.chunk(2) for layer in layers), strict=True)
            loss = loss + (
                hierarchical_loss(a, b)
                if method == "hierarchical"
                else mode_seeking_loss(a[0], b[0], a[-1], b[-1])
            )
        if method == "encoder":
            loss = loss + (self.encoder(images) - z).abs().mean()
        return loss


def cost(config: Config, seed: int) -> dict[str, float]:
    """One step in parts of the same step without the method: products and sums, memory for the way back, processor time."""
    trainer = Trainer(config, seed)
    counted: dict[str, dict[str, float]] = {}
    methods: tuple[Method, Method] = ("none", config.method)
    for method in methods:
        with FlopCounterMode(display=False) as counter:
            trainer.step(method)
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            held = trainer.generator_loss(method, trainer.labels())
            counted[method] = {"flops": float(counter.get_total_flops()), "bytes": float(sum(kept.values()))}
            del held
    times: dict[str, list[float]] = {"none": [], config.method: []}
    for _ in range(config.num_timed):
        for method in methods:
            started = time.process_time()
            trainer.step(method)
            times[method].append(time.process_time() - started)
    plain, other = counted["none"], counted[config.method]
    return {
        "flop_ratio": other["flops"] / plain["flops"],
        "memory_ratio": other["bytes"] / plain["bytes"],
        "time_ratio": statistics.median(times[config.method]) / statistics.median(times["none"]),
    }


def run(config: Config, seeds: Sequence[int]) -> Measured:
    """Ratios of every seed."""
    rows = [cost(config, seed) for seed in seeds]
    values = {metric: [row[metric] for row in rows] for metric in rows[0]}
    return Measured(values=values, n_real=config.batch_size, n_generated=0)


def smoke(config: Config) -> Config:
    """A batch of eight, thin networks, one timed step."""
    return replace(config, num_timed=1, batch_size=8, width=4)


PRESETS: dict[str, Config] = {
    **{method: Config(method=method) for method in ("none", "encoder", "augmentation")},
    **{
        f"{method}-{pairs}": Config(method=method, pairs=pairs)
        for method in ("mode_seeking", "hierarchical")
        for pairs in ("same_batch", "second_batch")
    },
}

CELLS = [Cell(name, config, tuple(range(10)), stack=10) for name, config in PRESETS.items()]
