"""DSGAN's regularizer: its value against a loop, where it stops, and what it refuses."""

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib import mode_seeking_loss
from ndiv_lib.baselines import dsgan_loss


def batches(n=6):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, d, generator=generator, requires_grad=d == 3) for d in (2, 2, 3, 3)]


@pytest.mark.parametrize("p", [1, 2])
def test_value_equals_a_loop_over_pairs(p):
    za, zb, ya, yb = (tensor.detach() for tensor in batches())
    ratios = []
    for i in range(6):
        dy, dz = (ya[i] - yb[i]).abs(), (za[i] - zb[i]).abs()
        distance = [(d**p).mean() ** (1 / p) for d in (dy, dz)]
        ratios.append(min(float(distance[0] / distance[1]), 1.0))
    assert float(dsgan_loss(za, zb, ya, yb, bound=1.0, p=p)) == pytest.approx(-sum(ratios) / 6, rel=1e-5)


def test_a_pair_far_enough_apart_is_left_alone():
    za, zb, ya, yb = batches()
    dsgan_loss(za, zb, ya, 100 + 0 * yb + ya.detach(), bound=2.0).backward()
    assert_close(ya.grad, torch.zeros_like(ya))


def test_below_the_bound_the_force_does_not_depend_on_the_distance():
    """Mode seeking's grows without limit as a pair comes together."""
    za, zb = torch.zeros(1, 2), torch.ones(1, 2)

    def force(loss, gap, **options):
        ya = torch.full((1, 3), gap, requires_grad=True)
        loss(za, zb, ya, torch.zeros(1, 3), **options).backward()
        return float(ya.grad.abs().sum())

    assert force(dsgan_loss, 0.01, bound=5.0) == pytest.approx(force(dsgan_loss, 1.0, bound=5.0))
    assert force(mode_seeking_loss, 0.01) > 1000 * force(mode_seeking_loss, 1.0)


def test_coincident_pairs_give_finite_gradients():
    za = torch.randn(4, 2)
    y = torch.zeros(4, 3, requires_grad=True)
    dsgan_loss(za, za, y, 0 * y, bound=5.0).backward()
    assert bool(torch.isfinite(y.grad).all())


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({}, {"bound": 0.0}, ValueError, "bound > 0"),
        ({}, {"bound": 1.0, "p": 3}, ValueError, "p to be one of"),
        ({1: torch.zeros(5, 2)}, {"bound": 1.0}, ValueError, "shape"),
        ({3: torch.zeros(6, 4)}, {"bound": 1.0}, ValueError, "shape"),
        ({0: torch.zeros(6, 2).long()}, {"bound": 1.0}, TypeError, "floating"),
    ],
)
def test_bad_input_is_refused(changes, options, error, message):
    arguments = [changes.get(i, tensor) for i, tensor in enumerate(batches())]
    with pytest.raises(error, match=message):
        dsgan_loss(*arguments, **options)
