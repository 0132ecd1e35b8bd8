"""The recipe of bounds: Eq. 6-8 against loops, the law of targets that are out of reach, and what the records show."""

import math

import numpy as np
import pytest
import torch

from ndiv_lib.expansion_bound import expansion_ratio_bound
from ndiv_lib.hmgan import hierarchical_loss
from ndiv_lib.recipes import ratio_bound as recipe
from ndiv_lib.reporting.results import load


def values(cell, metric):
    return np.array(load("ratio_bound", cell).values[metric])


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


def test_the_total_is_the_sum_of_its_terms():
    assert recipe.formula(recipe.Config(), 20)["objective_error"] < 1e-4
    for wrong in (recipe.Config(weight=0.5), recipe.Config(others=1.0)):
        assert recipe.formula(wrong, 20)["objective_error"] > 1e-2


def test_the_printed_matrix_has_no_minimum():
    """Erratum H11: the diagonal is 0 / 0, and the least of a matrix with NaN is NaN."""
    points = torch.rand(5, 3, dtype=torch.float64)
    matrix = recipe.tensor_form(points, points.square())
    assert matrix.diagonal().isnan().all() and matrix.min().isnan()
    facts = recipe.formula(recipe.Config(), 20)
    assert (facts["undefined_kept"], facts["undefined_left_out"]) == (32, 0)
    assert facts["library_error"] < 1e-6


def test_the_tensor_form_equals_the_loops_once_it_sums():
    """Erratum H11: printed widths agree only for layers of one width."""
    facts = recipe.formula(recipe.Config(), 20)
    assert facts["eq8_error"] < 1e-12 and facts["fits_printed"] == 0
    assert recipe.formula(recipe.Config(widths=(8, 8)), 20)["fits_printed"] == 1
    assert recipe.formula(recipe.Config(shuffle=True), 20)["eq8_error"] > 1e-2


def test_work_grows_with_the_square():
    """Erratum H12: parallel hardware divides m^2 by a constant."""
    facts = recipe.formula(recipe.Config(), 20)
    assert facts["exponent_all"] > 1.9 and facts["exponent_tiled"] > 1.7
    assert facts["exponent_neighbors"] < 1.2


def test_ratios_of_stacked_batches_are_the_ones_the_loss_compares():
    random = torch.Generator().manual_seed(3)
    paths = [[torch.randn(2, 6, f, generator=random) for f in (3, 5, 4, 2)] for _ in range(2)]
    for model in range(2):
        expected = hierarchical_loss(*([layer[model] for layer in path] for path in paths))
        assert float(recipe.batch_ratios(*paths)[:, model].sum()) == pytest.approx(float(expected), rel=1e-4)


def test_a_target_below_the_realized_ratio_is_the_target_zero():
    """Erratum H13: |r - target| has the gradient of r for every target below r: not one weight differs after training."""
    config = recipe.Config(task="steer", target="half", num_steps=20, num_inputs=(10,))
    assert recipe.run(config, [20, 21]).values["weights_moved"] == [0.0, 0.0]
    config = recipe.Config(task="steer", target="above", num_steps=20, num_inputs=(10,))
    assert min(recipe.run(config, [20, 21]).values["weights_moved"]) > 0


def test_no_pair_is_below_the_floor_without_data():
    random = torch.Generator().manual_seed(4)
    for f, g in ((4, 9), (30, 7)):
        weight = torch.randn(f, g, generator=random)
        inputs = torch.randn(200, f, generator=random)
        for activation in (torch.relu, torch.tanh):
            bound = expansion_ratio_bound(inputs, activation(inputs @ weight))
            assert recipe.floor(weight) <= bound.minimum
        # it is reached along one axis
        steep = int(weight.abs().sum(1).argmax())
        pair = torch.zeros(2, f)
        pair[1, steep] = 1.0
        assert expansion_ratio_bound(pair, pair @ weight).minimum == pytest.approx(
            recipe.floor(weight), rel=1e-5
        )


# --- Records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer", recipe.LAYERS)
def test_the_minimum_falls_with_m_and_the_quantile_stays(layer):
    few, all_digits = (values("plain-beta1", f"minimum{layer}_m{m}") for m in (100, 1797))
    assert (all_digits <= few).all() and np.median(all_digits / few) < 0.95
    low = values("plain-beta1", f"low{layer}_m1797") / values("plain-beta1", f"low{layer}_m300")
    assert abs(np.median(low) - 1) < 0.05


def test_the_bound_is_none_for_another_seed():
    assert values("plain-beta1", "other_seed_over_minimum2").min() < 1


def test_targets_at_the_bound_change_nothing():
    for name in recipe.NETWORKS:
        for layer in recipe.STEERED:
            for target in ("half", "minimum"):
                cell = f"steer-{name}-layer{layer}-{target}"
                assert values(cell, "weights_moved").max() == 0
                assert math.isclose(*(np.median(values(cell, m)) for m in ("realized", "realized_at_zero")))
            assert values(f"steer-{name}-layer{layer}-above", "weights_moved").min() > 0
