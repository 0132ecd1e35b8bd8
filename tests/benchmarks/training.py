"""The engine's training loop over a bare one of the same recipe, and what NDiv adds to a step."""

from __future__ import annotations

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from ndiv_lib import ndiv_loss
from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.recipes import image_gan
from ndiv_lib.recipes.image_gan import Config, diversity_term, networks, smoke, training_bytes
from ndiv_lib.training import Run, Speed

ROOT = Path(__file__).parents[2]
# A row of NDiv's Table 2 without a penalty, which would only make steps longer and shares smaller.
ROW = Config(spectral_norm=True, diversity="ndiv", diversity_weight=8.0, num_samples=60)


@contextmanager
def twin_of_cifar10() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        script = [
            sys.executable,
            ROOT / "data_scripts" / "cifar10.py",
            "--twin",
            "--twin-size",
            "500",
            "--to",
            folder,
        ]
        subprocess.run(script, check=True, capture_output=True)
        with patch.dict(os.environ, NDIV_DATA=folder):
            yield


def bare_steps(config: Config, device: str) -> Iterator[int]:
    """The same recipe as one would write it without an engine: eager, float32, nothing checked, nothing kept."""
    generator, discriminator = (network.to(device) for network in networks(config, 0))
    adam = {"lr": config.learning_rate, "betas": (config.beta1, config.beta2), "fused": True}
    of_generator = torch.optim.Adam(generator.parameters(), **adam)
    of_discriminator = torch.optim.Adam(discriminator.parameters(), **adam)
    images = training_bytes(config, 0)[0].to(device)

    def latents() -> torch.Tensor:
        return 2 * torch.rand(config.batch_size, config.latent_dim, device=device) - 1

    for step in itertools.count(1):
        discriminator.requires_grad_(True)
        for _ in range(config.discriminator_steps):
            chosen = torch.randint(len(images), (config.batch_size,), device=device)
            real = images[chosen].float() / 127.5 - 1
            with torch.no_grad():
                fake = generator(latents())
            real_logits, fake_logits = discriminator(torch.cat([real, fake])).chunk(2)
            discriminator_loss(real_logits=real_logits, fake_logits=fake_logits).backward()
            of_discriminator.step()
            of_discriminator.zero_grad()
        discriminator.requires_grad_(False)
        drawn = latents()
        fake = generator(drawn)
        loss = generator_loss(fake_logits=discriminator(fake))
        if config.diversity == "ndiv":
            loss = loss + config.diversity_weight * diversity_term(
                config, discriminator, drawn, fake, None, []
            )
        loss.backward()
        of_generator.step()
        of_generator.zero_grad()
        yield step


def _now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def bare_seconds(config: Config, *, warmup: int, device: str = "cpu") -> float:
    """Of a step, after some; processor seconds on the CPU."""
    for step in bare_steps(config, device):
        if step == warmup:
            started = _now(device)
        if step == config.num_steps:
            break
    return (_now(device) - started) / (config.num_steps - warmup)


def engine_seconds(config: Config, speed: Speed, *, warmup: int, device: str = "cpu") -> float:
    """The same of :func:`ndiv_lib.recipes.image_gan.train`, with its looks and lines, without its last checkpoint."""
    marks: dict[int, float] = {}

    class Timed(Run):
        def steps(self, num_steps: int) -> Iterator[int]:
            for step in super().steps(num_steps + 1):
                if step in (warmup + 1, num_steps + 1):
                    marks[step] = _now(device)
                if step > num_steps:
                    return
                yield step

    with tempfile.TemporaryDirectory() as folder, patch.object(image_gan, "Run", Timed):
        image_gan.train(config, 0, folder, speed=speed, report=lambda line: None)
    return (marks[config.num_steps + 1] - marks[warmup + 1]) / (config.num_steps - warmup)


def overhead() -> float:
    """Part that the engine adds to a bare loop on the CPU, at smoke size: an eighth of the width, batches of 16.

    A step of one, a step of the other, in one process: a busy machine slows both alike.
    """
    config = replace(smoke(ROW), num_steps=104)  # with two looks
    bare = bare_steps(config, "cpu")
    times: list[tuple[float, float]] = []

    class Alternating(Run):
        def steps(self, num_steps: int) -> Iterator[int]:
            numbers = super().steps(num_steps)
            while True:
                started = _now("cpu")
                step = next(numbers, None)  # looks, if it is time
                if step is None:
                    return
                yield step
                middle = _now("cpu")
                next(bare)
                times.append((middle - started, _now("cpu") - middle))

    with tempfile.TemporaryDirectory() as folder, patch.object(image_gan, "Run", Alternating):
        image_gan.train(config, 0, folder, speed=Speed(cpu=True), report=lambda line: None)
    engine, alone = (sum(column) for column in zip(*times[4:], strict=True))
    return engine / alone - 1


def ndiv_share() -> float:
    """Part of a full-width step on the CPU, batch 64 and one discriminator step only, that NDiv in pixels takes."""
    config = replace(ROW, num_steps=2, discriminator_steps=1, diversity="none", diversity_weight=0.0)
    step = bare_seconds(config, warmup=1)
    latents, outputs = torch.rand(64, 128), torch.randn(64, 3 * 32 * 32, requires_grad=True)
    times = []
    for _ in range(20):
        started = time.process_time()
        ndiv_loss(latents, outputs, reduction="sample").backward()
        times.append(time.process_time() - started)
    return statistics.median(times) / step


def on_gpu() -> dict[str, float]:
    """At full size: steps per second over the bare loop's, for the engine's options; and NDiv's share of the fastest step."""
    every_option = Speed(channels_last=True, compile=True, cuda_graphs=True)
    short = {"num_steps": 300}
    config = replace(ROW, **short)
    without = replace(config, diversity="none", diversity_weight=0.0)
    bare = bare_seconds(config, warmup=50, device="cuda")
    fast = engine_seconds(config, every_option, warmup=50, device="cuda")
    fast_without = engine_seconds(without, every_option, warmup=50, device="cuda")
    return {"speedup": bare / fast, "share": 1 - fast_without / fast, "steps_per_second": 1 / fast}
