"""k stacked models are k separate runs."""

import torch
from torch.testing import assert_close

from ndiv_lib import ndiv_loss
from ndiv_lib.adversarial import discriminator_loss, generator_loss
from ndiv_lib.models import MLP
from ndiv_lib.training import StackedDraws, StackedMLP

SEEDS = [3, 5, 11]


def generators():
    return [torch.Generator().manual_seed(seed) for seed in SEEDS]


def test_stack_starts_as_the_separate_models_and_unstacks_into_them():
    stack = StackedMLP([2, 16, 16, 3], generators())
    inputs = torch.randn(3, 7, 2)
    outputs = stack(inputs)
    for index, generator in enumerate(generators()):
        model = MLP([2, 16, 16, 3], generator=generator)
        assert_close(outputs[index], model(inputs[index]))
        assert_close(stack.unstack(index)(inputs[index]), model(inputs[index]))


def train(seeds, num_steps=25):
    """GAN with NDiv on a square, the given seeds stacked."""
    draws = StackedDraws(seeds)
    data = draws.rand(64, 2)
    generator = StackedMLP([2, 16, 16, 2], draws.generators)
    discriminator = StackedMLP([2, 16, 16, 1], draws.generators)
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in (generator, discriminator)]
    for _ in range(num_steps):
        fake_logits = discriminator(generator(draws.rand(32, 2)).detach())
        real_logits = discriminator(draws.batch(data, 32))
        step(
            optimizers[1],
            discriminator_loss(real_logits=real_logits, fake_logits=fake_logits, reduction="none"),
        )
        latents = draws.rand(32, 2)
        outputs = generator(latents)
        adversarial = generator_loss(fake_logits=discriminator(outputs), reduction="none").mean((1, 2))
        step(optimizers[0], adversarial + 8 * 31 * ndiv_loss(latents, outputs, reduction="none"), summed=True)
    return [parameter.detach() for parameter in generator.parameters()]


def step(optimizer, loss, summed=False):
    optimizer.zero_grad()
    (loss.sum() if summed else loss.mean((1, 2)).sum()).backward()
    optimizer.step()


def test_stacked_training_equals_separate_training():
    together = train(SEEDS)
    for index, seed in enumerate(SEEDS):
        alone = train([seed])
        for stacked, separate in zip(together, alone, strict=True):
            assert_close(stacked[index], separate[0], rtol=1e-3, atol=1e-5)


def test_draws_depend_on_seed_and_stream_only():
    first, second = StackedDraws([1, 2]), StackedDraws([9, 2])
    assert_close(first.randn(4)[1], second.randn(4)[1])
    assert not torch.equal(StackedDraws([1]).rand(4), StackedDraws([1], stream=1).rand(4))
    data = torch.arange(20.0).reshape(2, 10, 1)
    batch = first.batch(data, 6)
    assert batch.shape == (2, 6, 1)
    assert bool((batch[0] < 10).all()) and bool((batch[1] >= 10).all())
