"""The sweep of NDiv's weight over the number of latents: its bookkeeping, and what the records say."""

import numpy as np
import pytest

from ndiv_lib.recipes import weight_law


def test_a_preset_runs():
    measured = weight_law.run(weight_law.smoke(weight_law.PRESETS["n8-w8"]), [0])
    assert measured.n_generated == 500 and not measured.arrays


def test_best_weight_of_a_parabola_is_its_top():
    log_weights = np.log2(weight_law.WEIGHTS)
    tops = np.array([2.3, 4.0, 5.9])
    scores = 1 - 0.01 * (log_weights - tops[:, None]) ** 2
    assert weight_law.best_weight(scores) == pytest.approx(tops)


def test_best_weight_at_an_end_is_that_end():
    log_weights = np.log2(weight_law.WEIGHTS)
    scores = np.stack([log_weights, -log_weights, np.zeros_like(log_weights)])
    assert weight_law.best_weight(scores)[:2] == pytest.approx([log_weights[-1], log_weights[0]])
    assert np.isfinite(weight_law.best_weight(scores)).all()


@pytest.mark.parametrize("slope", [0.0, -1.0, 0.5])
def test_slope_of_a_line(slope):
    line = 3 + slope * np.log2(weight_law.NUM_LATENTS)
    assert weight_law.slope_over_latents(line) == pytest.approx(slope)


def test_resampling_keeps_a_cell_without_spread():
    scores = np.broadcast_to(np.arange(10.0).reshape(2, 5, 1), (2, 5, 7))
    assert (weight_law.resampled(scores, 7) == scores[None, ..., 0]).all()


def test_the_best_weight_does_not_fall_as_one_weight_of_equation_4_would():
    slopes = weight_law.slope_over_latents(
        weight_law.best_weight(weight_law.resampled(weight_law.recorded_scores()))
    )
    assert np.quantile(slopes, 0.025) > -0.5


def test_the_default_weight_is_near_the_best_at_every_number_of_latents():
    curves = weight_law.recorded_scores().mean(-1)
    assert (curves.max(-1) - curves[:, weight_law.WEIGHTS.index(8.0)]).max() < 0.05
