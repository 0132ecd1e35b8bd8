"""The mode seeking loss against a loop, its limits, and its errors."""

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib import mode_seeking_loss


def draw(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, n, 3, generator=generator)
    outputs = torch.randn(2, n, 1, 4, 4, generator=generator)
    return *latents, *outputs


@pytest.mark.parametrize("p", [1, 2])
def test_equals_a_loop_over_pairs(p):
    latents_a, latents_b, outputs_a, outputs_b = draw()

    def distance(first, second):
        entries = (first - second).double().flatten().abs()
        return entries.mean() if p == 1 else entries.square().mean().sqrt()

    ratios = [
        distance(latents_a[i], latents_b[i]) / distance(outputs_a[i], outputs_b[i])
        for i in range(len(latents_a))
    ]
    assert float(mode_seeking_loss(*draw(), p=p)) == pytest.approx(float(sum(ratios) / len(ratios)), rel=1e-4)


def test_spreading_outputs_lowers_it_and_collapse_is_finite():
    latents_a, latents_b, outputs_a, outputs_b = draw()
    near = mode_seeking_loss(latents_a, latents_b, outputs_a, outputs_b)
    assert_close(
        mode_seeking_loss(latents_a, latents_b, 10 * outputs_a, 10 * outputs_b), near / 10, rtol=1e-3, atol=0
    )
    assert float(mode_seeking_loss(latents_a, latents_b, outputs_a, outputs_a)) == pytest.approx(
        1e5, rel=1e-4
    )


def test_gradient_pushes_the_outputs_apart():
    latents_a, latents_b, outputs_a, outputs_b = draw()
    outputs_a.requires_grad_()
    mode_seeking_loss(latents_a, latents_b, outputs_a, outputs_b, p=2).backward()
    moved = outputs_a.detach() - 0.1 * outputs_a.grad
    assert bool(
        ((moved - outputs_b).flatten(1).norm(dim=1) > (outputs_a - outputs_b).flatten(1).norm(dim=1)).all()
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda a, b, x, y: (a, a, x, y), ValueError, "different latents"),
        (lambda a, b, x, y: (a, b, x * torch.nan, y), ValueError, "finite"),
        (lambda a, b, x, y: (a, b, x[:3], y), ValueError, "two batches"),
        (lambda a, b, x, y: (a.long(), b, x, y), TypeError, "floating"),
        (lambda a, b, x, y: (a, b, x.to("meta"), y), ValueError, "one device"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    with pytest.raises(error, match=message):
        mode_seeking_loss(*change(*draw()))
