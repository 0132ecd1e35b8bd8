"""Toy data lie where they should, cover and outlier rates count what they say."""

import math

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib.data import grid_centers, inside_donut, ring_centers, sample_donut, sample_gaussians
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
        (lambda x: sample_donut(5, inner_radius=2.0, outer_radius=1.0), ValueError, "inner_radius"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(10, 2))
