"""Real logs: both regularizers are those of the library, stops are read right, and part A of the theorem holds in every run."""

import numpy as np
import pytest
import torch

import ndiv_lib as nd
from ndiv_lib.recipes import stopping_logs as recipe
from ndiv_lib.recipes.stopping import sharp_constant
from ndiv_lib.reporting.results import load, load_arrays


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())
    assert measured.arrays["ratios"].shape == (2, 3, 3)


def test_the_product_is_mode_seeking_of_batch_means():
    layers_a, layers_b = (
        [torch.randn(1, size, dtype=torch.float64) for size in (2, 9, 7, 3)] for _ in range(2)
    )  # one pair: its ratio and the batch's are one number
    product = recipe.regularizer("product", layers_a, layers_b)
    assert product.item() == pytest.approx(
        nd.mode_seeking_loss(layers_a[0], layers_b[0], layers_a[-1], layers_b[-1]).item(), rel=1e-4
    )
    ratios = nd.expansion_ratios(layers_a, layers_b)
    assert product.item() == pytest.approx(ratios.prod().item(), rel=1e-4)
    assert recipe.regularizer("sum", layers_a, layers_b).item() == pytest.approx(
        ratios.sum().item(), rel=1e-4
    )


def test_stops_are_read_off_the_log():
    ratios = np.array([[4, 3, 1], [2, 1, 1], [1, 1, 0.5], [1, 0.5, 0.5]])
    logs = {
        "step": np.array([0, 5, 10, 15]),
        "ratios": ratios,
        "fail_rate": np.array([1, 0.8, 0.6, 0.7]),
        "gan_loss": np.zeros(4),
    }
    row = recipe.measure(logs)
    assert (row["product_stop_2"], row["sum_stop_2"], row["sum_stop_4"]) == (5, 15, 5)
    assert row["product_stop_0.5"] == 10 and row["sum_stop_1"] == 20  # never
    assert row["product_fail_rate_0.5"] == 0.6 and row["sum_fail_rate_1"] == 0.7
    assert row["fail_rate_rises"] == pytest.approx(1 / 3)


# --- Records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["none", "product", "sum"])
def test_within_one_run_the_product_stops_first_below_the_constant(cell):
    ratios = load_arrays("stopping_logs", cell)["ratios"]
    values = load("stopping_logs", cell).values
    for threshold in recipe.THRESHOLDS:
        if threshold < sharp_constant(ratios.shape[2] + 1):
            stops = (np.array(values[f"{name}_stop_{threshold:g}"]) for name in ("product", "sum"))
            product, total = stops
            assert (product <= total).all()


def test_ratios_do_not_converge_to_zero():
    """The proposition's premise: the outputs must stay on the data, so that the product settles."""
    for cell in ("none", "product", "sum"):
        values = load("stopping_logs", cell).values
        assert min(values["product_last"]) > 0.2 and min(values["sum_last"]) > 1.5
