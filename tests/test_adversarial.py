"""Objectives against their textbook formulas, penalties against autograd and closed forms."""

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib import adversarial
from ndiv_lib.training import StackedMLP

GENERATOR = torch.Generator().manual_seed(0)
REAL, FAKE = torch.randn(50, generator=GENERATOR), torch.randn(50, generator=GENERATOR)


def sigmoid(x):
    return 1 / (1 + (-x).exp())


FORMULAS = {
    "nonsaturating": (-(sigmoid(REAL).log() + (1 - sigmoid(FAKE)).log()), -sigmoid(FAKE).log()),
    "wasserstein": (FAKE - REAL, -FAKE),
    "hinge": ((1 - REAL).clamp_min(0) + (1 + FAKE).clamp_min(0), -FAKE),
    "least_squares": ((REAL - 1) ** 2 + FAKE**2, (FAKE - 1) ** 2),
    "relativistic": (-sigmoid(REAL - FAKE).log(), -sigmoid(FAKE - REAL).log()),
}


@pytest.mark.parametrize("objective", adversarial.OBJECTIVES)
def test_losses_equal_their_formulas(objective):
    discriminator, generator = FORMULAS[objective]
    logits = {"real_logits": REAL, "fake_logits": FAKE, "objective": objective}
    assert_close(adversarial.discriminator_loss(**logits), discriminator.mean())
    assert_close(adversarial.discriminator_loss(**logits, reduction="none"), discriminator)
    assert_close(adversarial.generator_loss(**logits), generator.mean())


@pytest.mark.parametrize("objective", adversarial.OBJECTIVES)
def test_each_player_wants_what_it_should(objective):
    better_real, worse_fake = REAL + 0.1, FAKE - 0.1
    discriminator = adversarial.discriminator_loss
    if objective != "least_squares":  # whose targets are 0 and 1, not far apart
        assert discriminator(
            real_logits=better_real, fake_logits=worse_fake, objective=objective
        ) < discriminator(real_logits=REAL, fake_logits=FAKE, objective=objective)
    low, high = torch.full((5,), -1.0), torch.zeros(5)
    losses = [
        adversarial.generator_loss(fake_logits=f, real_logits=high, objective=objective) for f in (low, high)
    ]
    assert losses[1] < losses[0]


def test_gradient_penalties_of_a_linear_discriminator():
    weight = torch.tensor([3.0, 4.0])
    real, fake = torch.randn(8, 2), torch.randn(8, 2)
    assert_close(adversarial.r1_penalty(lambda x: x @ weight, real), torch.tensor(12.5))
    assert_close(adversarial.r2_penalty(lambda x: x @ weight, fake), torch.tensor(12.5))
    assert_close(adversarial.gradient_penalty(lambda x: x @ weight, real=real, fake=fake), torch.tensor(16.0))


def test_penalty_reaches_the_discriminators_parameters():
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.LeakyReLU(0.1), torch.nn.Linear(8, 1))
    adversarial.r1_penalty(network, torch.randn(5, 2)).backward()
    assert network[0].weight.grad.norm() > 0


def test_stacked_input_gradient_equals_autograd():
    generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    network = StackedMLP([4, 16, 16, 1], generators)
    points = torch.randn(3, 7, 4, requires_grad=True)
    outputs, gradient = network.with_input_gradient(points)
    assert_close(outputs, network(points))
    (expected,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
    assert_close(gradient, expected)
    ours = torch.autograd.grad(gradient.square().sum(), list(network.weights), retain_graph=True)
    theirs = torch.autograd.grad(expected.square().sum(), list(network.weights))
    for got, want in zip(ours, theirs, strict=True):
        assert_close(got, want)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adversarial.generator_loss(fake_logits=FAKE, objective="relativistic"), "real_logits"),
        (lambda: adversarial.generator_loss(fake_logits=FAKE, objective="minimax"), "nonsaturating"),
        (lambda: adversarial.discriminator_loss(real_logits=REAL, fake_logits=FAKE[:3]), "one shape"),
        (lambda: adversarial.discriminator_loss(real_logits=REAL, fake_logits=FAKE, reduction="sum"), "mean"),
        (
            lambda: adversarial.gradient_penalty(torch.sum, real=torch.zeros(2, 3), fake=torch.zeros(2, 2)),
            "one shape",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
