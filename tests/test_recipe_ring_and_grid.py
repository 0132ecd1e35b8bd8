"""Ring and grid: the budget, the data, the measures, and what the records must hold."""

import math

import numpy as np
import pytest
import torch

from ndiv_lib.recipes import ring_and_grid as recipe
from ndiv_lib.reporting.results import load

TABLE = [name for name in recipe.PRESETS if not name.endswith(("real", "ours", "ours_without_ndiv"))]


@pytest.mark.parametrize("preset", ["ring-paper", "grid-authors", "grid-ours", "ring-unrolled", "grid-real"])
def test_presets_run(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())
    assert all(math.isfinite(value) for name in ("kl", "fail_disc_3") for value in measured.values[name])


@pytest.mark.parametrize("preset", TABLE)
def test_every_method_of_the_table_has_the_same_budget(preset):
    assert recipe.generator_updates(recipe.PRESETS[preset]) == pytest.approx(recipe.NUM_UPDATES, rel=1e-3)


@pytest.mark.parametrize("task", recipe.TASKS)
def test_every_baseline_is_tuned_over_eight_settings_and_the_table_has_the_best(task):
    trials = recipe.tuning(task)
    families = {name.split("-")[0] for name in trials}
    assert families == {"gan", "pacgan", "veegan", "unrolled", "bourgan", "vae"}
    for family in families:
        names = [name for name in trials if name.startswith(f"{family}-")]
        assert len(names) == 8
        values = {name: load("ring_and_grid", f"tuning-{task}-{name}").values for name in names}
        scores = {
            name: np.mean(v["modes_disc_3"]) / len(recipe.CENTERS[task]) - np.mean(v["fail_disc_3"])
            for name, v in values.items()
        }
        best = trials[max(scores, key=scores.get)]
        for field, value in recipe.TUNED[task][family].items():
            assert getattr(best, field) == value, (family, field)


def test_the_central_modes_are_nine():
    config = recipe.PRESETS["grid-paper"]
    inner = recipe.central(recipe.training_data(config, [0, 1]))
    assert inner.shape == (2, 9 * 50, 2)
    assert inner.abs().max() < 3


def test_measures_of_a_generator_that_captures_nothing_are_those_of_one_mode():
    values = recipe.measure(torch.full((100, 2), 50.0), "ring")
    assert values["kl"] == pytest.approx(math.log(8))
    assert (values["modes_disc_3"], values["any_square_1"], values["fail_disc_3"]) == (0, 0, 1)


def test_outer_modes_are_sixteen_on_the_grid():
    real = recipe.training_data(recipe.PRESETS["grid-real"], [0], stream=2)[0]
    assert recipe.measure(real, "grid")["outer_modes"] == 16


# --- Records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", recipe.TASKS)
def test_real_samples_score_as_the_protocol_says(task):
    values = load("ring_and_grid", f"{task}-real").values
    for within in recipe.WITHIN:
        disc, square = math.exp(-(within**2) / 2), 1 - math.erf(within / math.sqrt(2)) ** 2
        assert values[f"fail_disc_{within}"] == pytest.approx([disc] * 10, abs=0.012)
        assert values[f"fail_square_{within}"] == pytest.approx([square] * 10, abs=0.012)


# --- What contradicts the print ---------------------------------------------------------------------------------------


def test_uniform_noise_visits_every_mode_by_the_released_codes_rule():
    noise = 10 * torch.rand(25_000, 2, generator=torch.Generator().manual_seed(0)) - 5
    values = recipe.measure(noise, "grid")
    assert values["any_square_1"] == 25
    assert values["fail_disc_3"] > 0.9


@pytest.mark.parametrize("shape", recipe.SHAPES)
def test_real_samples_fail_more_often_than_the_printed_tenth_of_a_percent(shape):
    values = load("ring_and_grid", "ring-real").values
    assert all(min(values[f"fail_{shape}_{within}"]) > 0.001 for within in recipe.WITHIN)
