"""Generators of points in the plane: one configuration and one loop for the donut, the ring, the grid and their baselines.

All seeds train as one stacked program. The methods that are no two-player game of logits (VAE, VEEGAN) have a loop of
their own at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ndiv_lib.adversarial import Objective, discriminator_loss, generator_loss
from ndiv_lib.baselines import (
    bourgain_embedding,
    bourgan_loss,
    bourgan_scale,
    pack,
    sample_kernel_density,
    unrolled_parameters,
    vae_loss,
    veegan_loss,
)
from ndiv_lib.ndiv import Reduction, ndiv_loss
from ndiv_lib.training.stacked import StackedDraws, StackedMLP

# of so many fresh latents, or of given ones (k, n, latent_dim)
Sampler = Callable[[int | Tensor], Tensor]
Watch = Callable[[int, Sampler], None]
Method = Literal["gan", "bourgan", "veegan", "vae", "kernel_density", "training_set", "real"]
Schedule = Literal["constant", "cosine", "hold_then_fall"]


@dataclass(frozen=True)
class Config:
    """Everything that decides a run, except the seeds. Where a paper prints nothing, the comment gives the reason."""

    method: Method = "gan"
    num_train: int = 256  # the paper shows "sparse" data and prints no count
    num_samples: int = 5000  # Sec. 1: "we generate 5k new samples"
    num_steps: int = 3000  # plain and `paper` runs no longer change much
    batch_size: int = 128  # released code
    hidden: int = 64  # half the released code's width: enough for an annulus
    num_hidden: int = 2  # released code
    discriminator_hidden: int = 0  # 0: as the generator; a smaller one draws a smoother boundary
    latent: Literal["square", "disc", "normal", "codebook"] = "square"  # the paper's uniform latent
    latent_dim: int = 2  # Fig. 2 draws a 2-D latent; the released code's is 25-D
    latent_scale: float = 4.0  # of a codebook: the side of its square
    num_codes: int = 256  # of a codebook
    code_width: float = 0.3  # of a codebook: each code's box, in units of its cell; the rest is gap
    learning_rate: float = 1e-3  # released code, Adam with betas (0.5, 0.999)
    decay: float = 0.0  # share of the run, at its end, over which the learning rate falls linearly to zero
    repeats: int = 1  # discriminator steps, then generator steps, in one iteration (3 in Sec. 5.1)
    objective: Objective = "nonsaturating"  # released code
    r1_weight: float = 0.0
    r2_weight: float = 0.0
    residual: bool = False  # the generator moves its latents, z + network(z), and so starts unfolded
    discriminator_features: int = 0  # random Fourier features beside the coordinates
    feature_scale: float = 1.0  # standard deviation of their frequencies
    feature_draw: Literal["random", "even"] = "random"  # even: some random draws lack a direction
    instance_noise: float = (
        0.0  # first standard deviation of noise on all that the discriminator sees; gone at 60 %
    )
    num_generators: int = 1  # trained independently on the same points; what is sampled is their mixture
    average_half_life: float = 0.0  # of the generator's weights, as a share of the run; 0: last weights
    alpha: float = 0.5  # Sec. 5
    diversity_weight: float = 0.0  # of the NDiv loss, in the reduction below
    diversity_schedule: Schedule = "constant"  # of that weight over the run
    reduction: Reduction = "paper"
    detach_normalizer: bool = True  # Algorithm 1, line 6
    shuffle_pairs: bool = False  # a null: the NDiv loss gets the latents of other outputs
    alternate: bool = False  # released code: 3 discriminator, 3 NDiv, 3 GAN steps, one Adam, instead of Eq. 5
    shared_adam: bool = True  # if alternating: NDiv and GAN steps share their moments, as released
    num_packed: int = 1  # PacGAN: samples that the discriminator judges together
    unroll_steps: int = 0  # unrolled GAN: discriminator steps that the generator looks ahead
    bourgan_width: float = 0.01  # released code
    bourgan_weight: float = 0.1  # released code
    vae_std: float = 0.05  # of the VAE's Gaussian likelihood, also drawn when it is sampled
    bandwidth: float = 0.1
    watch_steps: tuple[int, ...] = ()  # iterations at which the points are kept, for films


def draw_latents(config: Config, draws: StackedDraws, num_samples: int) -> Tensor:
    """Latents ``(k, num_samples, latent_dim)``: unit cube, disc of radius 2, standard normal, or a codebook."""
    if config.latent == "square":
        return draws.rand(num_samples, config.latent_dim)
    if config.latent == "normal":
        return draws.randn(num_samples, config.latent_dim)
    if config.latent == "codebook":
        codes = low_discrepancy_codes(config.num_codes)[draws.randint(config.num_codes, num_samples)]
        box = config.code_width / math.sqrt(config.num_codes)
        return config.latent_scale * (codes - 0.5 + box * (draws.rand(num_samples, 2) - 0.5))
    radius, turn = draws.rand(num_samples, 2).unbind(-1)
    angle = 2 * math.pi * turn
    return 2 * radius.sqrt()[..., None] * torch.stack([angle.cos(), angle.sin()], dim=-1)


def low_discrepancy_codes(num_codes: int) -> Tensor:
    """Evenly spread points of the unit square ``(num_codes, 2)``: the R2 sequence (Roberts 2018).

    Latents in small boxes around them have gaps, as data with separate modes have, and know nothing of the data.
    """
    plastic = 1.32471795724474602596  # the real root of x**3 = x + 1
    steps = torch.arange(1, num_codes + 1, dtype=torch.float64)[:, None] / torch.tensor([plastic, plastic**2])
    return ((0.5 + steps) % 1).float()


class Generator(nn.Module):
    """Stacked network from latents to points; a residual one moves its latents.

    The usual initial weights fold the latents into a small, nearly flat blob, and some runs never unfold it.
    """

    def __init__(self, config: Config, latent_dim: int, draws: StackedDraws) -> None:
        super().__init__()
        self.residual = config.residual
        self.network = StackedMLP([latent_dim, *[config.hidden] * config.num_hidden, 2], draws.generators)

    def forward(self, latents: Tensor) -> Tensor:
        """Points ``(k, n, 2)`` of latents ``(k, n, latent_dim)``."""
        points = self.network(latents)
        return latents + points if self.residual else points


def feature_frequencies(config: Config, draws: StackedDraws) -> Tensor:
    """Frequencies ``(k, d, discriminator_features)`` of a normal distribution: random, or evenly spread and turned at random.

    Raises:
        ValueError: for evenly spread frequencies of packed samples, which have more than two coordinates.
    """
    if config.feature_draw == "random":
        return config.feature_scale * draws.randn(2 * config.num_packed, config.discriminator_features)
    if config.num_packed > 1:
        raise ValueError(
            f"expected random frequencies for packed samples, got even ones and num_packed = {config.num_packed}."
        )
    # sine and cosine know a frequency up to its sign, so that half a turn is all
    radius, turn = low_discrepancy_codes(config.discriminator_features).unbind(-1)
    angle = math.pi * (turn + draws.rand(1))
    length = config.feature_scale * (-2 * (1 - radius).log()).sqrt()
    return length * torch.stack([angle.cos(), angle.sin()], dim=1)


class Discriminator(nn.Module):
    """Stacked network on the coordinates, optionally with random Fourier features of them (Tancik et al. 2020)."""

    def __init__(self, config: Config, draws: StackedDraws) -> None:
        super().__init__()
        dim = 2 * config.num_packed
        self.frequencies = nn.Buffer(feature_frequencies(config, draws))
        hidden = [config.discriminator_hidden or config.hidden] * config.num_hidden
        self.network = StackedMLP([dim + 2 * config.discriminator_features, *hidden, 1], draws.generators)

    def forward(self, points: Tensor) -> Tensor:
        """Logits ``(k, n)`` of points ``(k, n, d)``."""
        return self.network(self._features(points)[0])[..., 0]

    def with_penalty(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Logits ``(k, n)`` and half their squared gradients ``(k, n)``, for R1 and R2."""
        features, phase = self._features(points)
        logits, slope = self.network.with_input_gradient(features)
        along, sine, cosine = slope.split([points.shape[-1], phase.shape[-1], phase.shape[-1]], dim=-1)
        gradient = along + (sine * phase.cos() - cosine * phase.sin()) @ self.frequencies.mT
        return logits[..., 0], 0.5 * gradient.square().sum(-1)

    def _features(self, points: Tensor) -> tuple[Tensor, Tensor]:
        phase = points @ self.frequencies
        return torch.cat([points, phase.sin(), phase.cos()], dim=-1), phase


def train(
    config: Config,
    data: Tensor,
    seeds: Sequence[int],
    *,
    watch: Watch | None = None,
    early: tuple[int, Tensor] | None = None,
) -> Sampler:
    """Train one generator per seed on its data ``(k, n, 2)``; return a sampler of ``(k, num_samples, 2)``, also at given latents.

    ``watch(step, sampler)`` is called before the first iteration and after every one, for films. ``early`` holds other data, and
    the number of iterations for which they take the data's place.
    """
    if config.method == "vae":
        return _vae_sampler(config, train_vae(config, data, seeds)[1], seeds)
    if config.method == "veegan":
        return _train_veegan(config, data, seeds)
    draws, evaluation = StackedDraws(seeds, stream=1), StackedDraws(seeds, stream=2)
    if config.method == "bourgan":
        embeddings = [
            bourgain_embedding(points, generator=g) for points, g in zip(data, draws.generators, strict=True)
        ]
        scales = torch.tensor(
            [bourgan_scale(points, emb) for points, emb in zip(data, embeddings, strict=True)]
        )

    def latents(draws: StackedDraws, num_samples: int) -> Tensor:
        if config.method != "bourgan":
            return draw_latents(config, draws, num_samples)
        pairs = zip(embeddings, draws.generators, strict=True)
        width = config.bourgan_width
        return torch.stack(
            [sample_kernel_density(e, num_samples, bandwidth=width, generator=g) for e, g in pairs]
        )

    latent_dim = embeddings[0].shape[1] if config.method == "bourgan" else config.latent_dim
    generator, discriminator = Generator(config, latent_dim, draws), Discriminator(config, draws)
    generator_optimizer, discriminator_optimizer = _adam(config, generator), _adam(config, discriminator)
    diversity_optimizer = generator_optimizer if config.shared_adam else _adam(config, generator)
    optimizers = (generator_optimizer, discriminator_optimizer, diversity_optimizer)
    averaged: nn.Module = generator
    if config.average_half_life:
        decay = 0.5 ** (1 / (config.average_half_life * config.num_steps))
        averaged = AveragedModel(generator, multi_avg_fn=get_ema_multi_avg_fn(decay))
    size = config.batch_size // config.num_packed * config.num_packed
    noise = 0.0  # its standard deviation at this iteration
    weight = config.diversity_weight * (size - 1 if config.reduction == "sample" else 1)
    strength = 1.0  # of that weight at this iteration
    points = data  # at this iteration

    def sample(which: int | Tensor) -> Tensor:
        with torch.no_grad():
            return averaged(which if isinstance(which, Tensor) else latents(evaluation, which))

    def seen(points: Tensor) -> Tensor:
        """What the discriminator sees of points ``(k, n, 2)``: with noise, and packed."""
        if noise:
            points = points + noise * draws.randn(*points.shape[1:])
        return pack(points, config.num_packed)

    def discriminator_step() -> None:
        discriminator.requires_grad_(True)
        with torch.no_grad():
            fake = generator(latents(draws, size))
        both = torch.cat([seen(draws.batch(points, size)), seen(fake)], dim=1)
        penalized = config.r1_weight or config.r2_weight
        logits, slope = discriminator.with_penalty(both) if penalized else (discriminator(both), None)
        loss = _discriminator_loss(config, logits)
        if slope is not None:
            real_slope, fake_slope = slope.chunk(2, dim=1)
            loss = loss + config.r1_weight * real_slope + config.r2_weight * fake_slope
        _step(discriminator_optimizer, loss.mean(-1).sum())

    def judged(parameters: Mapping[str, Tensor], seen: Tensor) -> Tensor:
        return functional_call(discriminator, dict(parameters), (seen,))

    def adversarial(fake: Tensor) -> Tensor:
        """The generator's loss against the discriminator, or against the one some steps ahead: ``(k,)``."""
        judge: Callable[[Tensor], Tensor] = discriminator
        if config.unroll_steps:
            both = torch.cat([seen(draws.batch(points, size)), seen(fake)], dim=1)

            def ahead(parameters: Mapping[str, Tensor]) -> Tensor:
                return _discriminator_loss(config, judged(parameters, both)).mean(-1).sum()

            parameters = unrolled_parameters(
                ahead, discriminator, discriminator_optimizer, num_steps=config.unroll_steps
            )
            judge = partial(judged, parameters)
        needs_real = config.objective == "relativistic"
        real_logits = judge(seen(draws.batch(points, size))) if needs_real else None
        fake_logits = judge(seen(fake))
        return generator_loss(
            fake_logits=fake_logits, real_logits=real_logits, objective=config.objective, reduction="none"
        ).mean(-1)

    def diversity(z: Tensor, outputs: Tensor) -> Tensor:
        if config.method == "bourgan":
            return config.bourgan_weight * bourgan_loss(z * scales[:, None, None], outputs, scale=1.0)
        partners = z.roll(1, dims=1) if config.shuffle_pairs else z  # independent draws: as good as at random
        loss = ndiv_loss(
            partners,
            outputs,
            alpha=config.alpha,
            detach_normalizer=config.detach_normalizer,
            reduction="none",
        )
        return strength * weight * loss

    def generator_step(*terms: Literal["adversarial", "diversity"]) -> None:
        discriminator.requires_grad_(
            bool(config.unroll_steps)
        )  # half of its backward pass is not needed otherwise
        z = latents(draws, size)
        outputs = generator(z)
        losses = [adversarial(outputs)] if "adversarial" in terms else []
        if "diversity" in terms and (config.method == "bourgan" or weight * strength):
            losses.append(diversity(z, outputs))
        alone = terms == ("diversity",)
        _step(diversity_optimizer if alone else generator_optimizer, torch.stack(losses).sum())

    if watch is not None:
        watch(0, sample)
    for step in range(config.num_steps):
        progress = step / config.num_steps
        left = min(1.0, (1 - progress) / config.decay) if config.decay else 1.0
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = left * config.learning_rate
        noise = config.instance_noise * 0.03 ** (progress / 0.6) if progress < 0.6 else 0.0
        strength = schedule(config.diversity_schedule, progress)
        points = early[1] if early is not None and step < early[0] else data
        for _ in range(3 if config.alternate else config.repeats):
            discriminator_step()
        if config.alternate:
            for _ in range(3):
                generator_step("diversity")
            for _ in range(3):
                generator_step("adversarial")
        else:
            for _ in range(config.repeats):
                generator_step("adversarial", "diversity")
        if isinstance(averaged, AveragedModel):
            averaged.update_parameters(generator)
        if watch is not None:
            watch(step + 1, sample)
    return sample


def generator_updates(config: Config) -> int:
    """How often the generator's weights change in a run: the budget that methods share."""
    return config.num_steps * (6 if config.alternate else config.repeats)


def schedule(name: Schedule, progress: float) -> float:
    """Factor of the diversity weight when a share ``progress`` of the run is over."""
    if name == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress))
    if name == "hold_then_fall":
        return min(1.0, max(0.0, 2 - 3 * progress))
    return 1.0


def train_vae(config: Config, data: Tensor, seeds: Sequence[int]) -> tuple[StackedMLP, StackedMLP]:
    """Encoder and decoder of a variational autoencoder, one per seed (Kingma and Welling 2014).

    The encoder gives mean and log variance, side by side; the decoder is the generator.
    """
    draws = StackedDraws(seeds, stream=1)
    hidden = [config.hidden] * config.num_hidden
    decoder = StackedMLP([config.latent_dim, *hidden, 2], draws.generators)
    encoder = StackedMLP([2, *hidden, 2 * config.latent_dim], draws.generators)
    optimizer = _adam(config, encoder, decoder)
    for _ in range(config.num_steps):
        points = draws.batch(data, config.batch_size)
        mean, log_variance = encoder(points).chunk(2, dim=-1)
        z = mean + (0.5 * log_variance).exp() * draws.randn(config.batch_size, config.latent_dim)
        _step(optimizer, vae_loss(points, decoder(z), mean, log_variance, std=config.vae_std).sum())
    return encoder, decoder


def _vae_sampler(config: Config, decoder: StackedMLP, seeds: Sequence[int]) -> Sampler:
    evaluation = StackedDraws(seeds, stream=2)

    def sample(which: int | Tensor) -> Tensor:
        z = which if isinstance(which, Tensor) else evaluation.randn(which, config.latent_dim)
        with torch.no_grad():
            means = decoder(z)
        return means + config.vae_std * evaluation.randn(z.shape[1], 2)

    return sample


def _train_veegan(config: Config, data: Tensor, seeds: Sequence[int]) -> Sampler:
    """A discriminator of pairs (latent, point), and a reconstructor from points to latents (Srivastava et al. 2017)."""
    draws, evaluation = StackedDraws(seeds, stream=1), StackedDraws(seeds, stream=2)
    hidden, dim = [config.hidden] * config.num_hidden, config.latent_dim
    generator = StackedMLP([dim, *hidden, 2], draws.generators)
    reconstructor = StackedMLP([2, *hidden, dim], draws.generators)
    discriminator = StackedMLP([dim + 2, *hidden, 1], draws.generators)
    optimizer, discriminator_optimizer = _adam(config, generator, reconstructor), _adam(config, discriminator)

    def pairs() -> tuple[Tensor, Tensor, Tensor]:
        """Latents, and the pairs (reconstructed latent, real point) above (latent, generated point)."""
        real, z = (
            draws.batch(data, config.batch_size),
            draw_latents(config, draws, config.batch_size),
        )
        return z, torch.cat([reconstructor(real), real], dim=-1), torch.cat([z, generator(z)], dim=-1)

    for _ in range(config.num_steps):
        discriminator.requires_grad_(True)
        with torch.no_grad():
            _, real, fake = pairs()
        logits = discriminator(torch.cat([real, fake], dim=1))[..., 0]
        _step(discriminator_optimizer, _discriminator_loss(config, logits).mean(-1).sum())
        discriminator.requires_grad_(False)
        z, real, fake = pairs()
        real_logits, fake_logits = discriminator(torch.cat([real, fake], dim=1))[..., 0].chunk(2, dim=1)
        reconstruction = reconstructor(fake[..., dim:])
        loss = veegan_loss(z, reconstruction, real_logits=real_logits, fake_logits=fake_logits)
        _step(optimizer, loss.sum())

    def sample(which: int | Tensor) -> Tensor:
        z = which if isinstance(which, Tensor) else draw_latents(config, evaluation, which)
        with torch.no_grad():
            return generator(z)

    return sample


def _discriminator_loss(config: Config, logits: Tensor) -> Tensor:
    """Per pair, of logits ``(k, 2 n)`` whose first half is real: ``(k, n)``."""
    real_logits, fake_logits = logits.chunk(2, dim=1)
    return discriminator_loss(
        real_logits=real_logits, fake_logits=fake_logits, objective=config.objective, reduction="none"
    )


def _adam(config: Config, *networks: nn.Module) -> torch.optim.Adam:
    parameters = [parameter for network in networks for parameter in network.parameters()]
    return torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.5, 0.999), fused=True)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
