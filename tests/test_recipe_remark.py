"""The Remark: the exact optimum against two solvers that know nothing of it, thresholds, and every counter-example of it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from ndiv_lib.recipes import remark
from ndiv_lib.recipes.remark import Config
from ndiv_lib.reporting.results import load

LOG2 = math.log(2)


def game(**fields):
    """The data's law and the expected costs of a game; seed 0."""
    _, p, costs = remark.game(Config(**fields), np.random.default_rng(0))
    return p, costs


def descend(p, costs, weight, steps=5000):
    """Exponentiated gradient from the uniform law: small steps, no conditions of optimality."""
    q = np.full(len(p), 1 / len(p))
    for _ in range(steps):
        gradient = np.log(np.where(p > 0, q, 1) / np.where(p > 0, p + q, 1)) + weight * costs
        q = q * np.exp(-0.5 * (gradient - gradient.min()))
        q /= q.sum()
    return q


@pytest.mark.parametrize("preset", remark.PRESETS)
def test_every_preset_runs(preset):
    measured = remark.run(remark.smoke(remark.PRESETS[preset]), [0, 1])
    assert all(np.isfinite(one).all() and len(one) == 2 for one in measured.values.values())


# --- The game ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modes", ["two_equal", "two_uneven", "three_equal", "four_equal", "random"])
@pytest.mark.parametrize("power", [1, 2])
def test_the_optimum_is_that_of_a_descent(modes, power):
    p, costs = game(modes=modes, power=power)
    for weight in (0.1, 1.0):
        exact = remark.best_law(p, costs, weight)
        assert remark.duality_gap(exact, p, costs, weight) < 1e-12
        assert remark.total_variation(exact, descend(p, costs, weight)) < 2e-3
        assert remark.objective(exact, p, costs, weight) <= remark.objective(p, p, costs, weight) + 1e-12


def test_the_optimum_is_that_of_a_well_kept_solver():
    """SLSQP on nine places, where it converges."""
    for modes, power in (("two_equal", 2), ("two_uneven", 1), ("three_equal", 1), ("three_equal", 3)):
        p, costs = game(modes=modes, power=power, spacing=0.5)
        for weight in (0.3, 1.0, 3.0):
            found = minimize(
                lambda q, *rest: remark.objective(np.abs(q), *rest),
                np.full(len(p), 1 / len(p)),
                args=(p, costs, weight),
                bounds=[(0, 1)] * len(p),
                constraints={"type": "eq", "fun": lambda q: q.sum() - 1},
                method="SLSQP",
                options={"ftol": 1e-14, "maxiter": 2000},
            )
            exact = remark.best_law(p, costs, weight)
            assert remark.objective(exact, p, costs, weight) == pytest.approx(found.fun, abs=1e-6)
            assert remark.total_variation(exact, found.x) < 5e-3


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 20)), min_size=1, max_size=12),
    st.floats(1e-3, 100),
    st.sampled_from([1, -1]),
)
def test_the_optimum_is_a_law_without_a_gap(places, weight, sign):
    masses, costs = np.array(places).T
    masses = np.where(masses < 1e-3, 0, masses)
    p = masses / masses.sum() if masses.sum() else np.full(len(masses), 1 / len(masses))
    q = remark.best_law(p, costs, sign * weight)
    assert q.min() >= 0 and q.sum() == pytest.approx(1)
    assert remark.duality_gap(q, p, costs, sign * weight) < 1e-9 * (1 + 20 * weight)


def test_without_reconstruction_the_optimum_is_the_data():
    for modes in remark.MODES:
        p, costs = game(modes=modes)
        q = remark.best_law(p, costs, 0.0)
        assert remark.total_variation(p, q) < 1e-12
        assert remark.objective(q, p, costs, 0.0) == pytest.approx(-math.log(4))


def test_thresholds_of_the_remark():
    """Errata C1: never for L1 on two equal modes, log 2 / (2^(p-1) - 1) for higher powers; and 0 where costs differ."""
    assert remark.threshold(*game(power=1)) == remark.LARGEST_WEIGHT
    for power, expected in ((2, LOG2), (3, LOG2 / 3), (4, LOG2 / 7)):
        p, costs = game(power=power)
        assert remark.threshold(p, costs) == pytest.approx(expected, abs=1e-6)
        below, above = (remark.best_law(p, costs, expected + step) for step in (-0.01, 0.01))
        assert remark.total_variation(p, below) == 0 and remark.total_variation(p, above) > 1e-3
        # and by the descent, which knows no threshold: its bias starts within .01 of it
        if power == 2:
            low, high = (remark.total_variation(p, descend(p, costs, expected + s)) for s in (-0.01, 0.01))
            assert low < 2e-3 < 8e-3 < high
    for modes in ("two_uneven", "three_equal", "four_equal", "random"):
        assert remark.threshold(*game(modes=modes)) == 0


def test_the_corrected_condition_on_every_recorded_game():
    for name, config in remark.VARIANTS.items():
        if config.task == "game":
            values = load("remark", name).values
            assert max(values["threshold_error"]) < 0.01, name
            assert max(values["largest_gap"]) < 1e-12, name


def test_three_modes_are_biased_at_once():
    """The findings' table: total variation at L1 weights, computed by hand there with another solver."""
    for modes, expected in {
        "three_equal": (0.0015, 0.0151, 0.165, 0.648),
        "two_uneven": (0.0033, 0.032, 0.199, 0.300),
    }.items():
        p, costs = game(modes=modes)
        found = [
            remark.total_variation(p, remark.best_law(p, costs, weight)) for weight in (0.01, 0.1, 1, 10)
        ]
        assert found == pytest.approx(expected, rel=0.05)


def test_the_papers_own_toy_contradicts_the_remark():
    """Errata C1: on y = +-4 (x, x^2, x^3) the optimum is the data at every weight of L1, and up to log 2 / |m|^2 of L2."""
    assert max(load("remark", "branches-l1").values["differs"]) == 0
    p, costs = game(modes="branches", power=2)
    square = costs[0] / 2  # both branches: the mean of 0 and |2 m|^2 is 2 |m|^2
    assert remark.threshold(p, costs) == pytest.approx(LOG2 / square, rel=1e-6)


def test_a_negative_weight_needs_an_end_of_the_outputs():
    """Errata C1: lambda c falls without bound as outputs run away; on an interval there is a threshold again."""
    for reach in (2.0, 4.0):
        p, costs = game(sign=-1, reach=reach)
        assert remark.threshold(p, costs, sign=-1) == pytest.approx(LOG2 / (reach - 1), abs=1e-6)
    p, costs = game(sign=-1, reach=50.0)
    ends = remark.best_law(p, costs, -1.0)
    assert remark.objective(ends, p, costs, -1.0) < -45


# --- The reconstruction loss alone ------------------------------------------------------------------------------------


def test_least_l1_loss_is_at_a_truth():
    """Errata C2: for every number of truths; for an odd number Eq. 21 is zero exactly there, and the loss never vanishes."""
    for n in remark.NUM_MODES:
        values = remark.run(remark.VARIANTS[f"minimizer-n{n}-d1-l1"], [5]).values
        assert values["truth_attains"] == [1] and values["least_loss"][0] > 0
        assert values["zero_slope_at_median"] == [1]
        truths = np.array([[[-1.3], [0.2], [0.9], [2.0], [-4.0]][:n]])
        on_a_grid = np.linspace(-5, 5, 10_001)[:, None]
        losses = remark.risk(on_a_grid, truths.repeat(len(on_a_grid), 0), 1)
        at_truths = remark.risk(truths[0], truths.repeat(n, 0), 1)
        assert at_truths.min() <= losses.min() + 1e-12


def test_between_two_truths_l1_is_flat():
    values = remark.run(remark.VARIANTS["minimizer-n2-d3-l1"], [5]).values
    assert values["rise_between"][0] < 1e-12 and values["width_between"][0] > 0.5
    assert remark.run(remark.VARIANTS["minimizer-n2-d3-l2"], [5]).values["rise_between"][0] > 0.5


def test_l2_is_least_at_the_mean_and_higher_powers_at_no_truth():
    for power in (2, 3, 4):
        for n in remark.NUM_MODES:
            values = load("remark", f"minimizer-n{n}-d3-l{power}").values
            assert max(values["truth_attains"]) == 0
            assert (max(values["distance_to_mean"]) < 1e-9) == (power == 2 or n == 2)


# --- The discriminator alone ------------------------------------------------------------------------------------------


def test_the_value_of_the_game_is_a_number():
    """Errata C3: V(G, D) is printed as an argmin; its least value is -log 4, its argmin the data's law."""
    values = load("remark", "discriminator-free").values
    assert values["value_at_data"] == pytest.approx([-math.log(4)] * 10, abs=1e-5)
    assert min(values["value_above"]) > 0


def test_a_weak_discriminator_accepts_other_laws():
    """Errata C3: with logits linear in y every law of the data's mean reaches -log 4; without limit only the data does."""
    weak, free = (load("remark", f"discriminator-{one}").values for one in ("linear", "free"))
    assert min(weak["other_distance"]) > 0.04 and max(np.abs(weak["other_above"])) < 1e-9
    assert min(free["other_above"]) > 1e-3
    p, middle = np.array([0.5, 0, 0.5]), np.array([0.0, 1, 0])
    line = np.stack([np.ones(3), [-1, 0, 1]], 1)
    d = remark.best_discriminator(p, middle, line)
    assert d == pytest.approx(np.full(3, 0.5))


# --- The family of costs ----------------------------------------------------------------------------------------------


def test_one_output_cannot_make_all_costs_zero():
    values = remark.run(remark.PRESETS["costs"], range(3)).values
    assert max(values["family_error"]) == max(values["largest_cost_of_one_each"]) == 0
    assert min(values["largest_cost_of_one_output"]) > 0


def test_mode_costs_by_hand():
    outputs, modes = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [-1.0, 0.0]])
    assert remark.mode_costs(outputs, modes).tolist() == [[7, 1]]
    assert remark.mode_costs(outputs, modes, 2).tolist() == [[25, 1]]
