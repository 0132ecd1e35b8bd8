"""The recipe of uncertainty: every measure runs, its judge counts right, Eq. 24 is checked, and what the records show."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ndiv_lib import cgml
from ndiv_lib.recipes import uncertainty as recipe
from ndiv_lib.recipes import uncertainty_measures
from ndiv_lib.reporting.results import load


def values(cell, metric):
    return np.array(load("uncertainty", cell).values[metric])


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())
    if "variance" in measured.arrays:
        assert measured.arrays["variance"].shape == (2, len(recipe.ASKED))


def test_a_seed_does_not_depend_on_its_neighbors():
    config = recipe.smoke(recipe.PRESETS["heads"])
    alone, together = recipe.run(config, [3]), recipe.run(config, [2, 3])
    for metric in ("ratio", "coverage", "error", "epoch_std"):
        assert alone.values[metric][0] == pytest.approx(together.values[metric][1], rel=1e-3)


def test_the_judge_knows_a_measure_that_grows_with_the_error():
    walks = 4
    inputs = recipe.ASKED.repeat_interleave(walks)[None, :, None]
    error = (inputs.abs() ** 3).expand(1, -1, 3)
    grown = recipe.judge(inputs.square().expand(1, -1, 3), error, 2 * error)
    assert float(grown["ratio"]) == pytest.approx(9, rel=1e-4)
    assert float(grown["spearman"]) == pytest.approx(1) == float(grown["growth"])
    assert float(grown["coverage_off"]) == 1
    shrunk = recipe.judge((3 - inputs).expand(1, -1, 3), error, 0.5 * error)
    assert float(shrunk["ratio"]) < 1 and float(shrunk["spearman"]) == pytest.approx(-1)
    assert float(shrunk["coverage_off"]) == 0


def test_hidden_is_what_the_last_layer_gets():
    models, _ = uncertainty_measures.trained(recipe.smoke(recipe.Config()).training(), (0, 1))
    network, joined = models.generator.network, torch.randn(2, 5, 9)
    last = uncertainty_measures.hidden(network, joined) @ network.weights[-1] + network.biases[-1]
    torch.testing.assert_close(last, network(joined))


def test_equation_24_is_right_with_its_noise_and_wrong_without():
    """Errata C13 and C14: what is left out when alpha is dropped, and where the normalizer holds."""
    config = recipe.smoke(recipe.PRESETS["covariance"])
    kept = recipe.covariance_facts(replace(config, num_draws=400), 20)
    dropped = recipe.covariance_facts(replace(config, num_draws=400, alpha="dropped"), 20)
    for metric in ("linear_error", "network_error"):
        assert kept[metric] < 0.03 < 0.1 < dropped[metric]
    assert kept["mass_2"] == pytest.approx(1)
    assert abs(kept["mass_1"] - 1) > 0.3 and abs(kept["mass_3"] - 1) > 0.3
    assert kept["ball_over_gaussian"] == pytest.approx(1 / 5, rel=0.02)  # 1 / (dz + 2)


def test_without_noise_the_printed_form_measures_the_slope_of_the_generator():
    """Small noise: the variance is the noise's times the squared derivative, whatever the data were."""
    models, _ = uncertainty_measures.trained(recipe.smoke(recipe.Config()).training(), (0, 1))
    inputs, z = torch.linspace(0, 1.5, 7)[None, :, None].expand(2, -1, -1), 0.3 * torch.ones(2, 7, 1)
    features = models.encoder(inputs)
    found = cgml.output_variance(
        models.generator, features, z, noise_std=1e-3, num_draws=4000, latent="interval"
    )
    step = 1e-3
    slope = (models.generator(features, z + step) - models.generator(features, z - step)) / (2 * step)
    torch.testing.assert_close(found, 1e-6 * slope.square(), rtol=0.15, atol=1e-12)


# --- Records ----------------------------------------------------------------------------------------------------------


def test_winners_are_those_of_the_trials():
    for measure, winner in recipe.WINNERS.items():
        scores = {
            name: values(f"tuning-{name}", "score").mean()
            for name, config in recipe.TUNED.items()
            if config.measure == measure
        }
        assert recipe.TUNED[max(scores, key=scores.get)] == winner, measure
        assert len(scores) == 8


def test_the_printed_variance_does_not_grow_off_the_data():
    for noise in recipe.NOISES:
        for penalty in recipe.PENALTIES:
            assert values(f"printed-half-n{noise:g}-w{penalty:g}", "ratio").max() < recipe.GROWTH
    assert values("printed", "ratio").max() < recipe.GROWTH
    assert np.median(values("printed", "spearman")) < 0.5


def test_three_measures_reach_all_three_numbers_in_every_seed():
    for measure in ("heads", "ensemble", "process"):
        assert values(measure, "reached").min() == 3, measure
    assert values("printed", "reached").max() == 1  # coverage, which scaling gives to all
    assert 1 < np.median(values("encoder", "reached")) < 3


def test_no_interval_holds_what_it_should_off_the_data():
    for measure in recipe.WINNERS:
        assert np.median(values(measure, "coverage_off")) < 0.5


def test_growth_follows_the_data_and_not_the_input():
    """A control: trained as far as it is asked, the same measure grows thirty times less. Edges alone may pass three."""
    for measure in ("heads", "process"):
        assert 30 * values(f"whole-{measure}", "ratio").max() < values(measure, "ratio").min()
    assert values("whole-process", "ratio").max() < recipe.GROWTH < np.median(values("whole-heads", "ratio"))


def test_noisy_answers_fall_outside_where_their_noise_is_dropped():
    dropped, kept, heads = (
        values(f"noisy-{name}", "coverage_unscaled") for name in ("printed", "alpha", "heads")
    )
    assert dropped.max() < 0.5 < 0.85 < min(kept.min(), heads.min())
    assert values("noisy-alpha", "ratio").max() < recipe.GROWTH
