"""The parts of a diagnosis: random deals, neighbors, distances, levels, and sets without a share of their modes."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ndiv_lib.diagnosis import checks
from ndiv_lib.metrics import precision_recall_density_coverage
from tests.toy_sets import blobs


def a_pool(features, **options):
    return checks.pool_samples(features, {}, num_bins=5, groups=None, seed=0, **options)


def test_deals_keep_the_truth_first_and_all_counts():
    is_real = torch.arange(30) < 12
    dealt = checks.deal(is_real, None, 50, seed=0)
    assert dealt.shape == (51, 30) and torch.equal(dealt[0], is_real)
    assert (dealt.sum(1) == 12).all() and len(dealt.unique(dim=0)) == 51
    assert 0.25 < dealt[1:].double().mean(0).min() < dealt[1:].double().mean(0).max() < 0.6


def test_deals_keep_the_counts_of_every_condition():
    is_real = torch.arange(30) < 12
    groups = torch.randint(3, (30,), generator=torch.Generator().manual_seed(0))
    dealt = checks.deal(is_real, groups, 50, seed=0)
    for group in range(3):
        assert (dealt[:, groups == group].sum(1) == (is_real & (groups == group)).sum()).all()


@pytest.mark.parametrize("num_real", [20, 33, 50])
def test_neighbors_in_order_give_precision_recall_and_coverage(num_real):
    """Against the library's own, which compares distances."""
    random = torch.Generator().manual_seed(num_real)
    features = torch.randn(70, 3, generator=random)
    for deal in checks.deal(torch.arange(70) < num_real, None, 5, seed=1):
        means = torch.ones((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        found = checks._near(a_pool(features), deal, means, 69)
        expected = precision_recall_density_coverage(real=features[deal], generated=features[~deal])
        assert found[1:].tolist() == pytest.approx([expected.recall, expected.coverage, expected.precision])


def test_mean_distances_pair_by_pair():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(12, 2, generator=random, dtype=torch.float64)
    distances, groups = torch.cdist(points, points), torch.arange(12) % 3
    deals = checks.deal(torch.arange(12) < 5, None, 3, seed=0)
    same = groups[:, None] == groups
    for counted in (None, same):
        masked = distances if counted is None else distances * same
        found = checks.mean_distances(masked, deals, counted)
        for number, deal in enumerate(deals):
            for kind, (first, second) in enumerate([(True, True), (True, False), (False, False)]):
                pairs = [
                    float(distances[i, j])
                    for i in range(12)
                    for j in range(12)
                    if i != j and deal[i] == first and deal[j] == second and (counted is None or same[i, j])
                ]
                expected = sum(pairs) / len(pairs) if pairs else 0.0
                assert float(found[kind][number]) == pytest.approx(expected)


def test_near_duplicates_are_seen_and_contrast_is_not():
    real, generated = blobs(4, 200, 0), blobs(4, 200, 1)
    repeated = torch.cat([generated[:100], generated[:100] + 1e-4])

    def rate(other):
        features = torch.cat([real, other])
        dealt = checks.deal(torch.arange(400) < 200, None, 1, seed=0)
        return float(checks.measure(a_pool(features), dealt)["near-duplicates"][0])

    assert rate(repeated) == 1
    assert rate(generated) < 0.1
    assert rate(0.1 * generated) == pytest.approx(rate(generated))


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (30, 44), (80, 80)])
def test_levels_are_what_each_resolution_adds(size):
    flat = torch.full((2, 3, *size), 0.3)
    levels = checks.image_levels(flat)
    assert next(iter(levels)) == "layout (4 px)" and list(levels)[-1].endswith(f"({min(64, *size)} px)")
    coarse, *fine = levels.values()
    assert torch.allclose(coarse, torch.full_like(coarse, 0.3))
    assert all(level.abs().max() < 1e-6 for level in fine)


def test_levels_tell_layout_from_texture():
    """Smooth images of their own layouts, and images that differ in fine noise alone."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(2, (60, 1, 32, 32), generator=random) * 2.0 - 1
    blocks = F.interpolate(torch.rand(60, 1, 4, 4, generator=random) - 0.5, size=32, mode="bilinear")

    def spread(images):
        levels = checks.image_levels(images)
        return {name.split()[0]: float(level.norm(dim=1).mean()) for name, level in levels.items()}

    assert spread(blocks)["layout"] > 1.5 * spread(blocks)["texture"] > 0
    assert spread(noise)["texture"] > 8 * spread(noise)["layout"]


def test_exactly_the_share_is_dropped():
    probability = np.array([0.1, 0.2, 0.3, 0.4])
    for seed in range(10):
        kept = checks._drop(probability, 0.25, np.random.default_rng(seed)) * 0.75
        lost = probability - kept
        assert lost.sum() == pytest.approx(0.25) and (lost > -1e-12).all()
        assert ((lost > 1e-12) & (kept > 1e-12)).sum() <= 1  # at most one in part


def test_many_samples_show_more():
    limits = {"bins": 0.02, "emptiest bin": 3.5}
    power = checks.simulate_loss(torch.full((20,), 0.05, dtype=torch.float64), 1000, 1000, limits, seed=0)
    assert power.rates[0.3] == 1 and power.needed is None and power.visible_share <= 0.2
    few = checks.simulate_loss(
        torch.full((5,), 0.2, dtype=torch.float64), 50, 50, {"bins": 0.09, "emptiest bin": 3.7}, seed=0
    )
    assert few.rates[0.3] < 0.8 and few.needed > 50
    assert few.smallest_mode == pytest.approx(3.7**2 / 50)
