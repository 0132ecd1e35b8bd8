"""BourGAN's parts and kernel density sampling."""

import math

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib import baselines


def points(n=40, seed=0):
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(seed))


def test_embedding_has_the_papers_size_and_scale():
    embedding = baselines.bourgain_embedding(points(), generator=torch.Generator().manual_seed(0))
    assert embedding.shape == (40, 5 * math.ceil(math.log2(40)))
    assert_close(embedding.mean(0), torch.zeros(embedding.shape[1]), atol=1e-5, rtol=0)
    assert_close(embedding.square().mean(), torch.tensor(1.0))


def test_each_coordinate_is_one_lipschitz_before_scaling():
    """Distance to a set moves at most as far as the point: Bourgain's argument, up to one common factor."""
    data = points()
    embedding = baselines.bourgain_embedding(data, generator=torch.Generator().manual_seed(0))
    data_distance = torch.cdist(data, data).fill_diagonal_(1)
    stretch = (embedding[:, None] - embedding).abs() / data_distance[..., None]
    assert float(stretch.amax((0, 1)).max() / stretch.amax((0, 1)).median()) < 3


def test_latents_lie_around_embedded_points_with_the_given_width():
    embedding = baselines.bourgain_embedding(points(), generator=torch.Generator().manual_seed(0))
    latents = baselines.bourgan_latents(
        embedding, 4000, width=0.01, generator=torch.Generator().manual_seed(1)
    )
    squared = torch.cdist(latents, embedding).amin(1).square().mean() / embedding.shape[1]
    assert float(squared) == pytest.approx(0.01**2, rel=0.1)


def test_loss_equals_a_loop_over_pairs_and_vanishes_for_a_scaling():
    generator = torch.Generator().manual_seed(0)
    latents, outputs = torch.randn(6, 3, generator=generator), torch.randn(6, 2, generator=generator)
    pairs = [
        (
            math.log(math.dist(outputs[i], outputs[i + 1]))
            - math.log(2 * math.dist(latents[i], latents[i + 1]))
        )
        ** 2
        for i in (0, 2, 4)
    ]
    got = baselines.bourgan_loss(latents, outputs, scale=2.0)
    assert float(got) == pytest.approx(sum(pairs) / 3, rel=1e-5)
    assert float(baselines.bourgan_loss(latents, 2 * latents, scale=2.0)) == pytest.approx(0, abs=1e-10)


def test_coincident_pairs_give_finite_gradients():
    latents, outputs = torch.randn(4, 3), torch.zeros(4, 2, requires_grad=True)
    baselines.bourgan_loss(latents, outputs, scale=1.0).backward()
    assert bool(torch.isfinite(outputs.grad).all())


def test_kernel_density_has_data_mean_and_widened_variance():
    data = points(200)
    samples = baselines.sample_kernel_density(
        data, 50_000, bandwidth=0.3, generator=torch.Generator().manual_seed(0)
    )
    assert_close(samples.mean(0), data.mean(0), atol=0.01, rtol=0)
    assert_close(samples.var(0), data.var(0, correction=0) + 0.09, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: baselines.bourgain_embedding(points(1)), ValueError, "at least 2"),
        (lambda: baselines.bourgain_embedding(points().long()), TypeError, "floating"),
        (lambda: baselines.bourgan_latents(points(), 3, width=0.0), ValueError, "width > 0"),
        (lambda: baselines.sample_kernel_density(points(), 3, bandwidth=-1.0), ValueError, "> 0"),
        (lambda: baselines.bourgan_loss(points(3), points(3), scale=1.0), ValueError, "even number"),
        (lambda: baselines.bourgan_loss(points(4), points(4), scale=0.0), ValueError, "scale > 0"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
