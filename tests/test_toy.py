"""Toy data lie where they should, cover and outlier rates count what they say."""

import math

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib.data import (
    branch_modes,
    distance_to_donut,
    distance_to_hi,
    grid_centers,
    inside_donut,
    inside_hi,
    inside_uneven_ring,
    ring_centers,
    sample_donut,
    sample_gaussians,
    sample_hi,
    sample_uneven_ring,
)
from ndiv_lib.data.toy import HI_GAP, HI_STROKES, UNEVENNESS
from ndiv_lib.metrics import cover_rate, outlier_rate


def everywhere(points):
    return torch.ones(len(points), dtype=torch.bool)


def test_donut_is_uniform_by_area():
    points = sample_donut(40_000, generator=torch.Generator().manual_seed(0))
    assert bool(inside_donut(points).all())
    radius = points.norm(dim=1)
    assert float((radius < 1.5).float().mean()) == pytest.approx((1.5**2 - 1) / 3, abs=0.01)
    quadrant = (points > 0).all(1).float().mean()
    assert float(quadrant) == pytest.approx(0.25, abs=0.01)


def test_hi_is_uniform_by_area_on_two_letters():
    points = sample_hi(40_000, generator=torch.Generator().manual_seed(0))
    assert bool(inside_hi(points).all())
    areas = [(right - left) * (high - low) for left, right, low, high in HI_STROKES]
    for (left, right, low, high), area in zip(HI_STROKES, areas, strict=True):
        x, y = points.T
        share = ((left < x) & (x < right) & (low < y) & (y < high)).float().mean()
        assert float(share) == pytest.approx(area / sum(areas), abs=0.01)
    low, high = HI_GAP
    assert not bool(
        inside_hi(torch.cartesian_prod(torch.linspace(low + 0.01, high - 0.01, 9), points[:50, 1])).any()
    )
    assert float(distance_to_hi(torch.tensor([(low + high) / 2, 0.2]))) == pytest.approx((high - low) / 2)


def test_the_uneven_ring_has_the_density_it_says():
    points = sample_uneven_ring(80_000, generator=torch.Generator().manual_seed(0))
    assert bool(inside_uneven_ring(points).all())
    radius, angle = points.norm(dim=1), torch.atan2(points[:, 1], points[:, 0])
    assert float((radius < 1.7).float().mean()) == pytest.approx((1.7**2 - 1.4**2) / (4 - 1.4**2), abs=0.01)
    edges = torch.linspace(-math.pi, math.pi, 13)
    shares = torch.histogram(angle, edges).hist / len(points)
    below = (edges + UNEVENNESS * edges.sin()) / (2 * math.pi)  # the distribution function
    assert_close(shares, below.diff(), rtol=0, atol=0.005)
    even = sample_uneven_ring(40_000, unevenness=0.0, generator=torch.Generator().manual_seed(0))
    assert float(even.mean()) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(
    ("distance", "inside", "sample"),
    [(distance_to_donut, inside_donut, sample_donut), (distance_to_hi, inside_hi, sample_hi)],
)
def test_distances_are_those_to_the_nearest_real_point(distance, inside, sample):
    random = torch.Generator().manual_seed(0)
    points, real = 5 * torch.rand(300, 2, generator=random) - 2.5, sample(20_000, generator=random)
    nearest = torch.cdist(points, real).amin(1)
    assert bool((distance(points) <= nearest + 1e-6).all())
    assert_close(distance(points), nearest, rtol=0, atol=0.1)
    assert_close(distance(points) == 0, inside(points))


def test_ring_and_grid_have_the_papers_geometry():
    ring, grid = ring_centers(), grid_centers()
    assert_close(ring.norm(dim=1), torch.full((8,), 2.0))
    assert_close((ring[1] - ring[0]).norm(), torch.tensor(4 * math.sin(math.pi / 8)))
    assert grid.shape == (25, 2) and float(grid.abs().max()) == 4
    samples = sample_gaussians(ring, 0.05, 500, generator=torch.Generator().manual_seed(0)).reshape(8, 500, 2)
    assert_close(samples.std(1).mean(), torch.tensor(0.05), rtol=0.05, atol=0)


def test_cover_rate_counts_cells_like_a_loop():
    samples = sample_donut(300, generator=torch.Generator().manual_seed(0)) * 1.1
    size, low, high = 0.25, -2.3, 2.3
    cells = math.ceil((high - low) / size)
    belongs = covered = 0
    for i in range(cells):
        for j in range(cells):
            x, y = low + i * size, low + j * size
            if 1 <= math.hypot(x + size / 2, y + size / 2) <= 2:
                belongs += 1
                inside = (samples >= torch.tensor([x, y])) & (samples < torch.tensor([x + size, y + size]))
                covered += bool(inside.all(1).any())
    got = cover_rate(samples, inside=inside_donut, cell_size=size, bounds=(low, high))
    assert got == pytest.approx(covered / belongs, abs=2e-3)


def test_cover_rate_in_other_dimensions_and_bounds():
    line = torch.tensor([[0.1], [0.2], [7.0]])
    assert cover_rate(line, inside=everywhere, cell_size=0.5, bounds=(0, 1)) == 0.5
    box = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0))
    assert cover_rate(box, inside=everywhere, cell_size=0.25, bounds=[(0, 1), (0, 1), (0, 2)]) == 0.5
    assert cover_rate(box + 5, inside=everywhere, cell_size=0.25, bounds=(0, 1)) == 0.0


def test_more_of_the_real_samples_cover_more_and_none_is_an_outlier():
    points = sample_donut(5000, generator=torch.Generator().manual_seed(0))
    rates = [
        cover_rate(points[:n], inside=inside_donut, cell_size=0.1, bounds=(-2.1, 2.1))
        for n in (50, 500, 5000)
    ]
    assert rates[0] < rates[1] < rates[2] and rates[2] > 0.98
    assert outlier_rate(points, inside=inside_donut) == 0.0
    assert outlier_rate(points * 10, inside=inside_donut) == 1.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: cover_rate(x, inside=everywhere, cell_size=0.0, bounds=(0, 1)),
            ValueError,
            "cell_size > 0",
        ),
        (lambda x: cover_rate(x, inside=everywhere, cell_size=0.1, bounds=(1, 0)), ValueError, "low < high"),
        (
            lambda x: cover_rate(x, inside=everywhere, cell_size=0.1, bounds=[(0, 1)] * 3),
            ValueError,
            "each of 2 axes",
        ),
        (
            lambda x: cover_rate(x, inside=lambda p: ~everywhere(p), cell_size=0.1, bounds=(0, 1)),
            ValueError,
            "center",
        ),
        (
            lambda x: cover_rate(x.long(), inside=everywhere, cell_size=0.1, bounds=(0, 1)),
            TypeError,
            "floating",
        ),
        (lambda x: outlier_rate(x * torch.nan, inside=everywhere), ValueError, "finite"),
        (lambda x: outlier_rate(x[:0], inside=everywhere), ValueError, "n >= 1"),
        (lambda x: branch_modes([0.5]), TypeError, "inputs to be a torch.Tensor"),
        (lambda x: branch_modes(x), ValueError, r"shape \(\*batch, 1\), got \(10, 2\)"),
        (lambda x: sample_donut(5, inner_radius=2.0, outer_radius=1.0), ValueError, "inner_radius"),
        (lambda x: sample_uneven_ring(5, unevenness=1.5), ValueError, "unevenness in"),
        (lambda x: sample_donut(1.5), TypeError, "num_samples to be an integer, got 1.5"),
        (lambda x: sample_uneven_ring(True), TypeError, "num_samples to be an integer"),
        (lambda x: sample_hi(0), ValueError, "num_samples >= 1, got 0"),
        (lambda x: sample_gaussians(x, 0.1, -1), ValueError, "num_per_mode >= 1"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(10, 2))
