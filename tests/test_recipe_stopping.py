"""Stopping times: closed forms against a walk in time, the theorem on 10,000 draws, and every counter-example of the page."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndiv_lib.recipes import stopping
from ndiv_lib.reporting.results import load


def values(cell, metric):
    return np.array(load("stopping", cell).values[metric])


def stops(starts, rates, threshold, *, of_sum=None):
    """Stopping times of L_d and L_h of one trajectory, or of two with different rates."""
    starts = np.broadcast_to(np.array(starts, dtype=float), (1, len(rates)))
    product = stopping.product_stop(starts, np.array([rates], dtype=float), np.array([threshold]))
    total = stopping.sum_stop(starts, np.array([of_sum or rates], dtype=float), np.array([threshold]))
    return float(product[0]), float(total[0])


@pytest.mark.parametrize("preset", stopping.PRESETS)
def test_every_preset_runs(preset):
    measured = stopping.run(stopping.smoke(stopping.PRESETS[preset]), [0, 1])
    assert all(np.isfinite(one).all() and len(one) == 2 for one in measured.values.values())


def test_stopping_times_are_those_of_a_walk_in_time():
    random = np.random.default_rng(0)
    for num_ratios in (1, 2, 4, 9):
        starts, rates = random.uniform(0.3, 8, num_ratios), random.uniform(0.1, 3, num_ratios)
        times = np.linspace(0, 60, 600_001)
        ratios = starts[:, None] * np.exp(-rates[:, None] * times)
        for regularizer, found in zip(
            (ratios.prod(0), ratios.sum(0)), stops(starts, rates, 0.2), strict=True
        ):
            assert found == pytest.approx(times[(regularizer <= 0.2).argmax()], abs=2e-4)
    assert stops([1, 1], [1, 2], 3.0) == (0, 0)


# --- The theorem ------------------------------------------------------------------------------------------------------


def test_the_theorem_on_ten_thousand_draws():
    """Parts A and B: one common trajectory; and two, if the rates of the product outweigh."""
    for cell, metric in (("theorem", "order"), ("two_trainings", "order_if_enough")):
        measured = stopping.run(stopping.VARIANTS[cell], range(5))
        assert measured.n_generated * 5 >= 10_000
        assert min(measured.values[metric]) == 1, cell


def test_the_theorem_needs_no_exponentials():
    """Part A along trajectories that rise and fall; 20,000 of them are recorded."""
    values = stopping.run(stopping.VARIANTS["wavy"], [0]).values
    assert values["order"] == values["inequality"] == [1] and values["rises"][0] > 0.9


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=14), st.floats(0.001, 0.999))
def test_a_sum_at_most_h_puts_the_product_below_h(ratios, part):
    """Part A at one moment: any ratios >= 0, n >= 3, any H below the constant."""
    n = len(ratios) + 1
    threshold = part * stopping.sharp_constant(n)
    total = sum(ratios)
    if total > threshold:  # shrink them to the threshold
        ratios = [ratio * threshold / total for ratio in ratios]
    assert math.prod(ratios) <= (threshold / (n - 1)) ** (n - 1) * (1 + 1e-9) < threshold * (1 + 1e-9)


@pytest.mark.parametrize(("n", "constant"), [(3, 4), (4, 5.196), (5, 6.350), (15, 17.15)])
def test_the_constant_is_sharp(n, constant):
    """Equal ratios that contract at first: just below it L_d stops first, just above it L_h does."""
    assert stopping.sharp_constant(n) == pytest.approx(constant, abs=1e-2)
    starts, rates = [10] * (n - 1), [1] * (n - 1)
    product, total = stops(starts, rates, 0.999 * stopping.sharp_constant(n))
    assert product < total
    product, total = stops(starts, rates, 1.001 * stopping.sharp_constant(n))
    assert total < product


@given(st.integers(2, 12), st.integers(0, 10_000))
def test_expanding_ratios_stop_the_product_first_at_every_threshold(num_ratios, seed):
    random = np.random.default_rng(seed)
    starts, rates = random.uniform(0.05, 1, num_ratios), random.uniform(0.01, 5, num_ratios)
    product, total = stops(starts, rates, starts.prod() * random.uniform(0.001, 0.999))
    assert product < total


# --- Counter-examples -------------------------------------------------------------------------------------------------


def test_two_layers_stop_together():
    """Erratum H1: with n = 2 both regularizers are the one ratio, and the proof's H = (n - 2) a is zero."""
    assert stops([1], [3], 0.4)[0] == pytest.approx(stops([1], [3], 0.4)[1])
    assert stopping.run(stopping.VARIANTS["two_layers"], [0]).values["proper_threshold"] == [0]


def test_contracting_layers_turn_the_order_round():
    """Erratum H1: the same rates in both, ratios of ten at first."""
    for n, low, high in ((3, 4.0, 20.0), (4, 5.2, 30.0), (5, 6.36, 40.0), (15, 17.2, 140.0)):
        for threshold in np.geomspace(low * 1.01, high * 0.99, 5):
            product, total = stops([10] * (n - 1), [1] * (n - 1), threshold)
            assert total < product


def test_a_fast_training_of_the_sum_stops_first():
    """Erratum H1: one layer ten times faster in both trainings, and all layers faster under L_h."""
    for threshold, (slow, fast) in {0.01: (0.419, 0.230), 0.1: (0.209, 0.115), 0.5: (0.063, 0.035)}.items():
        product, total = stops([1, 1], [10, 1], threshold, of_sum=[200, 20])
        assert (product, total) == (pytest.approx(slow, abs=6e-4), pytest.approx(fast, abs=6e-4))


def test_no_threshold_serves_a_fast_training_of_the_sum():
    """Erratum H1: with contracting layers as well, L_d stops first at no H at all."""
    starts = np.array([[10.0, 10.0]])
    of_sum, of_product = np.array([[200.0, 20.0]]), np.array([[10.0, 1.0]])
    assert not stopping.some_threshold((starts, of_sum), (starts, of_product))[0]
    assert stopping.some_threshold((starts, of_sum), (starts, of_product), exchanged=True)[0]
    for threshold in np.geomspace(1e-6, 200, 60):
        product, total = stops([10, 10], [10, 1], threshold, of_sum=[200, 20])
        assert total <= product
    one = np.ones((1, 2))  # from ratio 1 on there is one: any H between 1 and 2, where L_d begins below H
    assert stopping.some_threshold((one, of_sum), (one, of_product))[0]


def test_both_stop_at_once_above_the_sum_of_the_starts():
    assert stops([1, 1, 1], [5, 1, 1], 3.0) == (0, 0)


def test_the_regularizer_itself_is_equal_at_both_stops():
    """Erratum H1: if the undefined l is the regularizer, the printed l(t_h) < l(t_d) is H < H."""
    for starts, rates in (([1, 1, 1], [10, 1, 1]), ([10, 3], [2, 1])):
        product, total = stops(starts, rates, 0.3)
        at_stop = np.prod([s * math.exp(-r * product) for s, r in zip(starts, rates, strict=True)])
        of_sum = sum(s * math.exp(-r * total) for s, r in zip(starts, rates, strict=True))
        assert at_stop == pytest.approx(0.3) and of_sum == pytest.approx(0.3)


def test_the_product_is_not_about_the_fast_ratio():
    """Erratum H2: "(a + e)^(n - 2) e ~ 0 ~ e"; the two differ by the factor e^(-(n - 2) r' t)."""
    for n, factor in ((3, 0.368), (5, 0.050), (15, 2.3e-6)):
        starts, rates = np.ones((1, n - 1)), np.array([[10.0] + [1.0] * (n - 2)])
        product = np.exp(stopping.log_product(starts, rates, np.array([1.0])))
        assert product[0] / math.exp(-10) == pytest.approx(factor, rel=0.03)


def test_the_second_case_has_another_stopping_time():
    """Erratum H2: printed t_d (r_h / r_d), right t_d (r_h + (n - 2) r') / (r_d + (n - 2) r'); both are below t_d."""
    for n in (3, 5, 15):
        of_sum, of_product = [12.0] + [1.0] * (n - 2), [30.0] + [1.0] * (n - 2)
        common, exact = stops([1] * (n - 1), of_sum, 0.1)[0], stops([1] * (n - 1), of_product, 0.1)[0]
        assert exact == pytest.approx(common * (12 + n - 2) / (30 + n - 2))
        assert common * 12 / 30 < 0.96 * exact < common


def test_some_threshold_agrees_with_a_search_over_thresholds():
    random = np.random.default_rng(1)
    config = stopping.VARIANTS["premise"]
    for n in (2, 3, 5):
        drawn = stopping.draw(config, n, 60, random)
        product, total = (drawn["starts"], drawn["of_product"]), (drawn["starts"], drawn["of_sum"])
        found = np.zeros(60, dtype=bool)
        for level in np.geomspace(1e-12, 1e6, 200):
            held = np.full(60, level)
            found |= stopping.product_stop(*product, held) < stopping.sum_stop(*total, held) - 1e-9
        assert not (found & ~stopping.some_threshold(total, product)).any()
        assert (found == stopping.some_threshold(total, product)).mean() > 0.9  # a search misses narrow ones


# --- Records ----------------------------------------------------------------------------------------------------------


def test_what_the_records_say():
    for cell in (
        "proof",
        "theorem",
        "wavy",
        "theorem-from_one",
        "theorem-expanding",
        "faster-same",
        "slower-same",
    ):
        assert values(cell, "order").min() == 1, cell
    assert values("above_constant", "reversed").min() == 1
    assert (
        values("two_trainings", "order_if_enough").min() == 1 and values("two_trainings", "order").max() < 1
    )
    assert values("two_layers", "some_threshold").max() == 0
    assert 0 < values("premise-deep", "some_threshold").max() < 1
    assert values("theorem", "loss_gap").max() < 1e-9
    assert values("proof", "stops_at_once").min() > 0.5  # the proof's H is above 1, where L_d begins
