"""Safe interpolation: the report against a plain loop, its limits, and what winding numbers count."""

import itertools
import math
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from ndiv_lib.data import distance_to_donut, inside_donut, sample_donut
from ndiv_lib.metrics import interpolation_report, straight_paths, turns_around


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def circle(num_points, turns=1, radius=1.0):
    angle = 2 * math.pi * turns * torch.arange(num_points) / num_points
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def test_equals_a_plain_loop(random):
    paths, tau = 3 * torch.rand(40, 9, 2, generator=random) - 1.5, 0.1
    near, whole, leaps = 0, 0, []
    for path in paths.tolist():
        distances = [max(1 - math.hypot(*p), 0) + max(math.hypot(*p) - 2, 0) for p in path]
        near += sum(d < tau for d in distances)
        whole += all(d < tau for d in distances)
        steps = [math.dist(a, b) for a, b in itertools.pairwise(path)]
        leaps.append(max(steps) / (sum(steps) / len(steps)))
    report = interpolation_report(paths, distance=distance_to_donut, tau=tau)
    assert report.safe_points == pytest.approx(near / (40 * 9))
    assert report.safe_paths == pytest.approx(whole / 40)
    assert report.jump == pytest.approx(sorted(leaps)[19], rel=1e-5)


def test_straight_paths_are_even_and_keep_their_ends(random):
    starts, ends = torch.rand(2, 3, 5, 2, generator=random).unbind()
    paths = straight_paths(starts, ends, 7)
    assert paths.shape == (3, 5, 7, 2)
    assert_close(paths[..., 0, :], starts)
    assert_close(paths[..., -1, :], ends)
    steps = paths.diff(dim=-2)
    assert_close(steps, steps[..., :1, :].expand_as(steps))


def test_a_collapsed_generator_is_perfectly_safe_and_never_leaps():
    report = interpolation_report(
        torch.tensor([1.5, 0.0]).expand(8, 5, 2), distance=distance_to_donut, tau=0.1
    )
    assert (report.safe_points, report.safe_paths, report.jump) == (1.0, 1.0, 1.0)


def test_one_leap_over_the_hole_hides_from_points_and_shows_as_a_jump():
    path = torch.tensor([[-1.5, 0.0]] * 10 + [[1.5, 0.0]] * 11)[None]
    report = interpolation_report(path, distance=distance_to_donut, tau=0.1)
    assert report.safe_paths == 1.0
    assert report.jump == pytest.approx(20)  # as many as there are steps


def test_real_neighbors_stand_in_for_an_unknown_support(random):
    real, paths = sample_donut(20_000, generator=random), circle(200, radius=1.5)[None]

    def to_nearest(points):
        return torch.cdist(points, real).amin(-1)

    assert interpolation_report(paths, distance=to_nearest, tau=0.1).safe_points == 1.0
    assert interpolation_report(paths / 3, distance=to_nearest, tau=0.1).safe_points == 0.0


def test_a_wider_tau_is_never_less_safe(random):
    points = sample_donut(200, generator=random)
    paths = straight_paths(points[:100], points[100:], 51)
    reports = [interpolation_report(paths, distance=distance_to_donut, tau=tau) for tau in (0.05, 0.1, 0.3)]
    shares = [report.safe_points for report in reports]
    assert shares == sorted(shares) and shares[0] < shares[-1]
    assert all(report.safe_paths <= report.safe_points for report in reports)


def test_who_joins_two_components_is_half_the_gap_away_somewhere(random):
    """The intermediate value theorem, on random broken lines from one disc to another a distance of 0.6 apart."""

    def to_disc(center, points):
        return ((points - torch.tensor(center)).norm(dim=-1) - 1).relu()

    left, right = partial(to_disc, (-1.3, 0.0)), partial(to_disc, (1.3, 0.0))
    for _ in range(20):
        corners = 4 * torch.rand(6, 2, generator=random) - 2
        corners[0], corners[-1] = torch.tensor([-1.3, 0.0]), torch.tensor([1.3, 0.0])
        path = straight_paths(corners[:-1], corners[1:], 2000).flatten(0, 1)
        farthest = torch.minimum(left(path), right(path)).max()
        assert float(farthest) >= 0.3 - 0.005


@pytest.mark.parametrize("turns", [-2, -1, 1, 3])
def test_winding_number_counts_turns(turns, random):
    path = circle(90, turns)
    assert turns_around(path) == turns
    assert turns_around(path.flip(0)) == -turns
    assert turns_around(path + 0.1 * torch.rand(90, 2, generator=random)) == turns  # small changes keep it
    assert turns_around(path + 5) == 0
    assert turns_around(path + 5, center=torch.tensor([5.0, 5.0])) == turns


def test_a_map_of_the_square_into_the_annulus_does_not_wind():
    """A square wraps around the hole only if it covers the hole; one that stays on the ring winds zero times."""
    side = torch.linspace(0, 1, 100)[:-1]
    zero, one = torch.zeros(99), torch.ones(99)
    border = torch.stack(
        [torch.cat([side, one, 1 - side, zero]), torch.cat([zero, side, one, 1 - side])], dim=-1
    )
    angle, radius = 2 * math.pi * 0.999 * border[:, 0], 1.2 + 0.6 * border[:, 1]
    on_the_ring = radius[:, None] * torch.stack([angle.cos(), angle.sin()], dim=-1)
    assert bool(inside_donut(on_the_ring).all())
    assert turns_around(on_the_ring) == 0
    assert turns_around(4 * border - 2) == 1  # laid over the hole


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda x: interpolation_report(x[0], distance=distance_to_donut, tau=0.1),
            ValueError,
            "dimensions",
        ),
        (
            lambda x: interpolation_report(x[:, :1], distance=distance_to_donut, tau=0.1),
            ValueError,
            "num_points >= 2",
        ),
        (lambda x: interpolation_report(x, distance=distance_to_donut, tau=0.0), ValueError, "tau > 0"),
        (
            lambda x: interpolation_report(x * torch.nan, distance=distance_to_donut, tau=0.1),
            ValueError,
            "finite",
        ),
        (
            lambda x: interpolation_report(x.long(), distance=distance_to_donut, tau=0.1),
            TypeError,
            "floating",
        ),
        (lambda x: straight_paths(x, x[0], 5), ValueError, "one shape"),
        (lambda x: straight_paths(x, x, 1), ValueError, "num_points >= 2"),
        (lambda x: turns_around(0 * x[0]), ValueError, "does not meet"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.rand(4, 5, 2))
