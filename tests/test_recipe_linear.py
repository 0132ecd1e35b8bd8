"""The linear generator: facts of rank one, and what the records say of its singular values."""

import statistics

import pytest
import torch

from ndiv_lib.recipes import linear
from ndiv_lib.reporting.results import load
from ndiv_lib.training import StackedDraws


@pytest.mark.parametrize("preset", linear.PRESETS)
def test_every_preset_runs(preset):
    measured = linear.run(linear.smoke(linear.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())
    assert measured.arrays["singular_values"].shape == (3, 2, 4)


def test_a_seed_does_not_depend_on_its_neighbors():
    config = linear.smoke(linear.PRESETS["ndiv_1.0"])
    alone, together = (linear.run(config, seeds).values["condition"] for seeds in ([1], [0, 1]))
    assert alone[0] == pytest.approx(together[1], rel=1e-9)


def test_the_start_is_near_rank_one_in_units_of_its_scale():
    for scale in (0.1, 10.0):
        theta = linear.start(linear.Config(scale=scale), StackedDraws([0]))
        values = torch.linalg.svdvals(theta)[0] / scale
        assert values[0] == pytest.approx(1, abs=0.01) and values[1] < 0.01


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.8, 1.0])
def test_rank_one_is_stationary_and_does_not_depend_on_its_scale(alpha):
    facts = linear.rank_one_facts(linear.Config(alpha=alpha), [0, 1])
    assert facts["new_direction"].max() < 1e-14
    assert facts["rank_one_change"].max() < 1e-12
    assert (facts["rank_one_over_bound"] < 0.3).all()


def test_raw_distances_of_rank_one_grow_with_its_scale():
    facts = linear.rank_one_facts(linear.Config(loss="squared_distance"), [0])
    assert float(facts["rank_one_change"]) == pytest.approx(99)


def test_mean_squared_distance_is_the_frobenius_norm():
    """For isotropic latents of variance v, E |theta^T (z - z')|^2 = 2 v |theta|_F^2."""
    random = torch.Generator().manual_seed(0)
    theta = torch.randn(4, 4, generator=random, dtype=torch.float64)
    latents = torch.rand(2, 200_000, 4, generator=random, dtype=torch.float64)
    mean = ((latents[0] - latents[1]) @ theta).square().sum(-1).mean()
    assert float(mean / theta.square().sum()) == pytest.approx(2 / 12, rel=0.01)


def test_mean_distance_follows_the_frobenius_norm_best():
    for seed in range(3):
        spread = linear.norm_spreads(4, seed)
        assert spread["frobenius_spread"] < 0.6 * spread["nuclear_spread"] < spread["spectral_spread"]


def test_condition_numbers_of_the_records():
    """With gradients through the row sums every seed ends as a similarity; the detached form is on its way."""
    assert max(load("linear", "not_detached_1.0-scale1.0").values["condition"]) <= 1.05
    detached = load("linear", "ndiv_1.0-scale1.0").values["condition"]
    assert statistics.median(detached) <= 1.05 and max(detached) < 5
    assert min(load("linear", "squared_distance-scale1.0").values["condition"]) > 1e4


def test_only_the_detached_form_grows_without_end():
    late = {name: load("linear", f"{name}-scale1.0").values["late_growth"] for name in linear.PRESETS}
    assert min(late["ndiv_1.0"]) > 1.3
    assert max(late["not_detached_1.0"]) < 1.1 and max(late["ndiv_0.5"]) < 1.1
