"""Samples and seeds for half a point: exact power against simulation, bias where the truth is known, and what was recorded."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from ndiv_lib.metrics import frechet_distance
from ndiv_lib.recipes import frechet_noise as recipe
from ndiv_lib.recipes.frechet_noise import chance_of_all, extrapolated, models_needed, power_of_t_test
from ndiv_lib.reporting.ledger import load_claims
from ndiv_lib.reporting.results import load, recorded_cells


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


# --- Seeds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("effect", "models"), [(0.2, 394), (0.5, 64), (0.8, 26), (1.0, 17)])
def test_models_needed_are_those_of_cohens_table(effect, models):
    """Cohen 1988: a power of .80 at .05, two-sided, two independent groups."""
    assert models_needed(effect, 1.0) == models


@pytest.mark.parametrize("correlation", [None, 0.0, 0.6])
@pytest.mark.parametrize(("spread", "n"), [(0.5, 3), (0.5, 8), (1.0, 20), (0.2, 2)])
def test_exact_power_equals_simulation(spread, n, correlation):
    config = recipe.Config(spread=spread, correlation=correlation or 0.0)
    exact = power_of_t_test(config.gain, spread, n, correlation=correlation)
    seen = recipe.simulated_power(config, n, paired=correlation is not None, seed=1)
    assert seen == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / config.num_trials) + 1e-3)


@pytest.mark.parametrize("correlation", [None, 0.5, 0.9])
def test_power_falls_with_the_spread_and_grows_with_the_models(correlation):
    spreads = np.geomspace(0.05, 2, 15)
    powers = np.array(
        [[power_of_t_test(0.5, s, n, correlation=correlation) for s in spreads] for n in (2, 4, 9, 30)]
    )
    assert np.isfinite(powers).all() and (np.diff(powers, axis=1) <= 1e-12).all()
    assert (np.diff(powers, axis=0) >= -1e-12).all()


def test_pairs_help_as_far_as_their_scores_go_together():
    needed = [models_needed(0.5, 0.5, correlation=r) for r in (0.0, 0.5, 0.9)]
    assert needed == sorted(needed, reverse=True) and needed[0] > models_needed(0.5, 0.5) > needed[1]
    assert (
        power_of_t_test(0.0, 0.5, 9) == pytest.approx(0.05) == power_of_t_test(0.0, 0.5, 9, correlation=0.3)
    )


# --- Tables without an effect -----------------------------------------------------------------------------------------


def test_eight_of_eight():
    assert 1 / chance_of_all(8) == 256
    assert 1 / chance_of_all(8, correlation=0.5) == pytest.approx(9)  # one of nine equal scores is the lowest
    assert chance_of_all(8, correlation=0.999) == pytest.approx(0.5, abs=0.02)
    assert chance_of_all(8, best_of=3) == 0.75**8
    with pytest.raises(ValueError, match="no closed form"):
        chance_of_all(8, correlation=0.5, best_of=2)


@pytest.mark.parametrize("change", [{"correlation": 0.5}, {"correlation": 0.9}, {"best_of": 3}, {}])
def test_simulated_tables_agree_with_the_formula(change):
    row = recipe.signs_row(recipe.Config(task="signs", **change), seed=0)
    deviation = math.sqrt(row["all_improve"] / 20_000)
    assert row["all_improve_simulated"] == pytest.approx(row["all_improve"], abs=4 * deviation)


def test_published_scores_of_one_cell_differ_by_more_than_its_gain():
    """Erratum E15: what is printed cannot carry "consistent improvement"."""
    printed = next(claim for claim in load_claims() if claim.id == "ndiv-table2").numbers
    gains = [cell["without"] - cell["with"] for rows in printed.values() for cell in rows.values()]
    assert len(gains) == 8 and min(gains) == pytest.approx(0.2) and max(gains) == pytest.approx(1.2)
    for row in ("GAN+SN", "GAN+SN+GP"):
        without, with_term = zip(*(found[2:] for found in recipe.PUBLISHED if found[0] == row), strict=True)
        cell = printed["CIFAR-10"][row]
        assert (without[0], with_term[0]) == (cell["without"], cell["with"])
        assert max(without) - min(without) > cell["without"] - cell["with"]
        assert min(without[1:]) < cell["without"]  # another baseline is better than the printed one
    with_term = [found[3] for found in recipe.PUBLISHED if found[0] == "GAN+SN+GP" and found[3]]
    assert with_term[2] - with_term[1] > 0.9  # one configuration, twice
    baselines = [found[2] for found in recipe.PUBLISHED if found[0] == "GAN+SN"]
    assert models_needed(0.5, float(np.std(baselines, ddof=1))) == 13
    assert round(1 / chance_of_all(8, best_of=3)) == 10


# --- Samples ----------------------------------------------------------------------------------------------------------


def test_the_known_difference_is_in_the_classes_alone():
    real, pool, labels = recipe.feature_sets("digits")
    assert len(real) + len(pool) == 1797 and len(labels) == len(pool)
    config = recipe.Config(task="half_point", n=100, rare=0.5, restored=0.0)
    row = recipe.half_point_row(config, seed=0)
    assert row["gain"] != 0 and row["no_gain"] != 0  # new draws of one set
    assert row["first"] - row["again"] == row["no_gain"]
    random = torch.Generator().manual_seed(0)
    reference = recipe._some(real, 100, random)
    drawn = [
        recipe._some(pool[rows], 50, random) for rows in (labels >= recipe.FREQUENT, labels < recipe.FREQUENT)
    ]
    expected = frechet_distance(real=reference, generated=torch.cat(drawn), features="pixels")
    assert row["first"] == pytest.approx(expected)


def test_without_a_bias_the_intercept_is_the_score():
    intercept, slope = extrapolated([100, 200, 400], [2.0, 2.0, 2.0])
    assert (intercept, slope) == pytest.approx((2, 0), abs=1e-9)


# --- Records ----------------------------------------------------------------------------------------------------------

needs_records = pytest.mark.skipif(
    "half_point-n10000" not in recorded_cells("frechet_noise"), reason="the sweep is not recorded yet"
)


def means(cells, metric="frechet"):
    return {n: float(np.mean(load("frechet_noise", cell).values[metric])) for n, cell in cells.items()}


@needs_records
def test_the_extrapolated_score_is_the_true_one_where_it_is_known():
    found = means({n: f"gaussians-n{n}" for n in recipe.GAUSSIAN_SIZES})
    intercept, slope = extrapolated(list(found)[1:], list(found.values())[1:])
    assert intercept == pytest.approx(recipe.Config().distance, abs=0.1) and slope > 0
    assert found[250] > 5 * recipe.Config().distance  # the bias of few samples


@needs_records
def test_of_real_images_nearly_all_of_the_score_of_few_samples_is_bias():
    found = means({n: f"floor-n{n}" for n in recipe.SIZES})
    intercept, _ = extrapolated([2500, 5000, 10_000], [found[n] for n in (2500, 5000, 10_000)])
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found[500] > 10 * found[10_000] > 10 * abs(intercept)


@needs_records
def test_the_difference_that_is_sought_is_there_and_few_samples_hide_it():
    cells = {n: f"half_point-n{n}" for n in recipe.SIZES}
    gain, none = means(cells, "gain"), means(cells, "no_gain")
    scores = load("frechet_noise", cells[10_000]).values
    assert 0.01 < gain[10_000] / np.mean(scores["first"]) < 0.04
    assert min(scores["gain"]) > 0 and abs(none[10_000]) < gain[10_000] / 2
    few = load("frechet_noise", cells[500]).values
    assert np.std(few["no_gain"]) > gain[10_000]


@needs_records
def test_every_simulated_power_is_the_exact_one():
    for cell in recipe.CELLS:
        if cell.config.task == "seeds":
            values = load("frechet_noise", cell.name).values
            for kind in ("paired", "unpaired"):
                assert np.mean(values[f"{kind}_simulated"]) == pytest.approx(
                    values[f"{kind}_power"][0], abs=0.01
                )
                assert values[f"{kind}_power"][0] >= 0.8


def gains_of(recipe_name, cell):
    """Gain of every pair, and the ends of its 95 % interval."""
    pair = [load(recipe_name, name).values["frechet_efficientnet"] for name in (cell, f"{cell}-ndiv")]
    interval = stats.ttest_rel(*pair).confidence_interval()
    return np.subtract(*pair), (interval.low, interval.high)


@pytest.mark.skipif(
    "small-all-ndiv" not in recorded_cells("sparse_images"), reason="the sweep is not recorded yet"
)
def test_what_the_chapter_says_of_small_runs():
    gains, (low, high) = gains_of("ndiv_images", "small-gan_sn")
    assert min(gains) < 0 < max(gains) and low < 0 < high
    sparse = {part: gains_of("sparse_images", f"small-{part}") for part in ("all", "5_percent", "1_percent")}
    assert all(min(gains) > 0 for gains, _ in sparse.values())
    assert [low > 0 for _, (low, _) in sparse.values()] == [True, True, False]
    means = [gains.mean() for gains, _ in sparse.values()]
    assert means == sorted(means, reverse=True)  # no larger where data are sparse
