"""Stacked training against a plain loop over ordinary modules: the same GAN with NDiv, the same draws per step."""

from __future__ import annotations

import time

import torch
from torch.nn.functional import softplus

from ndiv_lib import ndiv_loss
from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.models import MLP
from ndiv_lib.training import StackedDraws, StackedMLP

HIDDEN, BATCH, MODELS = 64, 128, 8


def plain(num_models: int, num_steps: int) -> None:
    """One model after the other, as everybody writes it."""
    for seed in range(num_models):
        source = torch.Generator().manual_seed(seed)
        data = torch.rand(256, 2, generator=source)
        generator, discriminator = MLP([2, HIDDEN, HIDDEN, 2]), MLP([2, HIDDEN, HIDDEN, 1])
        optimizers = [
            torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999)) for net in (generator, discriminator)
        ]
        for _ in range(num_steps):
            real = data[torch.randint(256, (BATCH,), generator=source)]
            fake = generator(torch.rand(BATCH, 2, generator=source)).detach()
            loss = softplus(-discriminator(real)).mean() + softplus(discriminator(fake)).mean()
            _step(optimizers[1], loss)
            latents = torch.rand(BATCH, 2, generator=source)
            outputs = generator(latents)
            _step(optimizers[0], softplus(-discriminator(outputs)).mean() + 1e3 * ndiv_loss(latents, outputs))


def stacked(num_models: int, num_steps: int) -> None:
    """All models as one tensor program, as the recipes do it."""
    draws = StackedDraws(range(num_models))
    data = draws.rand(256, 2)
    generator = StackedMLP([2, HIDDEN, HIDDEN, 2], draws.generators)
    discriminator = StackedMLP([2, HIDDEN, HIDDEN, 1], draws.generators)
    optimizers = [
        torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999), fused=True)
        for net in (generator, discriminator)
    ]
    for _ in range(num_steps):
        fake = generator(draws.rand(BATCH, 2)).detach()
        discriminator.requires_grad_(True)
        logits = discriminator(torch.cat([draws.batch(data, BATCH), fake], dim=1))
        real_logits, fake_logits = logits.chunk(2, dim=1)
        loss = discriminator_loss(real_logits=real_logits, fake_logits=fake_logits, reduction="none")
        _step(optimizers[1], loss.mean((1, 2)).sum())
        discriminator.requires_grad_(False)
        latents = draws.rand(BATCH, 2)
        outputs = generator(latents)
        loss = generator_loss(fake_logits=discriminator(outputs), reduction="none").mean((1, 2))
        _step(optimizers[0], (loss + 1e3 * ndiv_loss(latents, outputs, reduction="none")).sum())


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def cpu_seconds(train, num_steps: int) -> float:
    """Processor seconds for all models."""
    before = time.process_time()
    train(MODELS, num_steps)
    return time.process_time() - before
