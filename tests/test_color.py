"""The color term: against a plain histogram and a loop, its gradient, and the printed range under which it is infinite."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.cgml import color_cost, latent_step, uniform_divergence


def planes(n=3, side=6, seed=0):
    return 2 * torch.rand(n, 2, side, side, generator=torch.Generator().manual_seed(seed)) - 1


def test_divergence_is_that_of_a_histogram_for_values_on_bin_centers():
    """Soft edges move little weight: a Gaussian of half a bin's width puts it into the next bins."""
    centers = -1 + 0.1 * (torch.arange(20) + 0.5)
    counts = torch.randint(1, 40, (20,), generator=torch.Generator().manual_seed(0))
    values = centers.repeat_interleave(counts)
    shares = counts / counts.sum()
    weights = torch.exp(-2 * torch.arange(-19.0, 20.0) ** 2)
    soft = [
        sum(float(shares[j] * weights[19 + i - j] / weights[19 - j : 39 - j].sum()) for j in range(20))
        for i in range(20)
    ]
    expected = sum(share * math.log(20 * share) for share in soft)
    assert float(uniform_divergence(values)) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(2, 40), st.integers(0, 1000))
def test_divergence_lies_between_zero_and_the_logarithm_of_the_bins(m, num_bins, seed):
    values = 2 * torch.rand(4, m, generator=torch.Generator().manual_seed(seed)) - 1
    found = uniform_divergence(values, num_bins=num_bins)
    assert found.shape == (4,)
    assert (found > -1e-5).all() and (found <= math.log(num_bins) + 1e-5).all()


def test_uniform_values_cost_nothing_and_one_value_the_most():
    even, single, half = torch.linspace(-1, 1, 2000), torch.full((50,), 0.3), torch.linspace(0, 1, 2000)
    assert float(uniform_divergence(even)) < 0.005
    assert float(uniform_divergence(single)) > 1.8
    assert float(uniform_divergence(half)) == pytest.approx(math.log(2), abs=0.06)
    assert float(uniform_divergence(half, value_range=(0.0, 1.0))) < 0.005


def test_its_gradient_spreads_values():
    values = (0.2 * planes(1)[0, 0].flatten()).requires_grad_()
    before = uniform_divergence(values)
    before.backward()
    assert torch.isfinite(values.grad).all()
    assert uniform_divergence((values - 0.5 * values.grad).detach()) < before


def test_cost_is_per_image():
    outputs, targets = planes(), planes(seed=1)
    cost = color_cost(outputs, targets, uniform_weight=0.3)
    for i in range(3):
        a, b = outputs[i]
        expected = (a - targets[i, 0]).abs().mean() + (b - targets[i, 1]).abs().mean()
        expected = expected + 0.3 * (uniform_divergence(a.flatten()) + uniform_divergence(b.flatten()))
        assert cost[i].item() == pytest.approx(expected.item(), rel=1e-5)


def test_over_the_batch_a_plain_image_is_allowed():
    """Ten images, each of one color, together of all: nothing to push."""
    outputs = torch.linspace(-0.95, 0.95, 20)[:, None, None].expand(20, 2, 9)
    alone = color_cost(outputs, outputs, uniform_weight=1.0)
    together = color_cost(outputs, outputs, uniform_weight=1.0, over="batch")
    assert alone.min() > 3.5 and together.max() < 0.05


def test_it_is_a_cost_for_the_search():
    targets = planes(4)
    moved = latent_step(
        lambda z: color_cost(z.tanh()[:, :, None, None].expand(-1, -1, 6, 6), targets),
        0.1 * torch.ones(4, 2),
        step_size=0.1,
    )
    assert moved.shape == (4, 2) and torch.isfinite(moved).all()


def test_with_the_printed_range_the_divergence_of_tanh_is_infinite():
    """Errata: half of tanh's range has no density under u(0, 1); in the limit of fine bins the divergence grows without end."""
    values = torch.tanh(torch.linspace(-1, 1, 101))
    with pytest.raises(ValueError, match=r"in \[0, 1\], got -0.762 to 0.762.*infinite"):
        uniform_divergence(values, value_range=(0.0, 1.0))
    for floor in (1e-3, 1e-6, 1e-9):  # a density that tends to u(0, 1)
        density = torch.where(values > 0, 1.0, floor)
        assert float(-density.log().mean()) > 0.49 * -math.log(floor)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: color_cost(planes(), planes()[:, :1]), ValueError, "two color planes"),
        (lambda: color_cost(planes()[:, :1], planes()[:, :1]), ValueError, "two color planes"),
        (lambda: color_cost(planes(), planes(), uniform_weight=-1.0), ValueError, "uniform_weight >= 0"),
        (lambda: color_cost(planes(), planes(), over="plane"), ValueError, "'image', 'batch'"),
        (lambda: color_cost(planes().int(), planes()), TypeError, "floating"),
        (lambda: uniform_divergence(planes() * torch.nan), ValueError, "expected values in"),
        (lambda: uniform_divergence(torch.zeros(3, 0)), ValueError, "at least one value"),
        (lambda: uniform_divergence(planes(), num_bins=1), ValueError, "num_bins >= 2"),
        (lambda: uniform_divergence(planes(), num_bins=2.5), TypeError, "integer"),
        (lambda: uniform_divergence(planes(), value_range=(1.0, -1.0)), ValueError, "ascending"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
