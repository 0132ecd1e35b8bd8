"""The unfolding recipe: its presets run, its measures mean what they say, and the records say what the chapter says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ndiv_lib.metrics import straight_paths
from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes import donut, unfolding
from ndiv_lib.reporting.films import unfolding_film
from ndiv_lib.reporting.results import (
    load,
    load_arrays,
    median_difference_interval,
    recorded_cells,
)

SHAPES = list(unfolding.SHAPES)


def values(cell, metric):
    return np.array(load("unfolding", cell).values[metric])


@pytest.mark.parametrize("preset", unfolding.PRESETS)
def test_every_preset_runs(preset):
    measured = unfolding.run(unfolding.smoke(unfolding.PRESETS[preset]), [0, 1])
    assert all(len(numbers) == 2 for numbers in measured.values.values())
    assert measured.n_generated == 800


def test_film_holds_the_mesh_and_the_diagonal_at_every_step():
    config = replace(unfolding.smoke(unfolding.PRESETS["ours"]), shape="ring", watch_steps=(0, 3))
    arrays = unfolding.run(config, [0, 1]).arrays
    assert arrays["mesh"].shape == (2, unfolding.MESH**2, 2)
    assert arrays["diagonal"].shape == (2, unfolding.DIAGONAL, 2)
    assert arrays["diagonals"].shape == (2, 51, 2)


def test_shuffled_pairs_are_other_runs():
    ours, shuffled = (
        unfolding.run(unfolding.smoke(unfolding.PRESETS[name]), [0]).values["matrix_error"][0]
        for name in ("ours", "shuffled")
    )
    assert ours != pytest.approx(shuffled, abs=1e-6)


def test_matrix_error_is_the_loss_at_slack_one():
    z, y = torch.rand(2, 40, 2, generator=torch.Generator().manual_seed(0)).unbind()
    assert unfolding.matrix_error(z, y) == pytest.approx(
        float(ndiv_loss(z, y, alpha=1.0, reduction="sample")), rel=1e-4
    )


def test_a_straight_walk_has_a_perfect_matrix_even_through_the_hole():
    """What Fig. 2 shows as success is also had by the shortcut that the text wants to prevent."""
    line = straight_paths(torch.tensor([-2.0, 0.0]), torch.tensor([2.0, 0.0]), 101)
    five = line[[round(100 * share) for share in unfolding.FIVE]]
    square = unfolding.measure_square(line, five, 4 * unfolding.border() - 2, unfolding.SHAPES["donut"])
    assert square["matrix_error"] == pytest.approx(0, abs=1e-6)
    assert square["diagonal_safe"] < 0.7
    assert square["turns"] == 1


def test_a_way_between_the_letters_is_unsafe_unless_it_leaps():
    ends = torch.tensor([[0.1, 1.0], [1.3, -1.0]])
    walk, leap = straight_paths(ends[0], ends[1], 101), ends[torch.tensor([0] * 50 + [1] * 51)]
    letters = unfolding.measure_letters(walk, torch.stack([walk, leap]))
    assert letters["joining"] == 1.0
    assert letters["joining_safe"] == 0.5


def test_density_error_is_zero_for_the_law_and_a_quarter_for_an_even_ring():
    random = torch.Generator().manual_seed(0)
    ring = unfolding.SHAPES["ring"]
    real = unfolding.measure_density(ring.sample(20_000, generator=random))
    even = unfolding.measure_density(ring.sample(20_000, unevenness=0.0, generator=random))
    assert real["density_error"] < 0.02 and real["unevenness"] == pytest.approx(0.8, abs=0.03)
    assert even["density_error"] == pytest.approx(0.8 / np.pi, abs=0.02)
    assert even["unevenness"] == pytest.approx(0, abs=0.03)


def test_border_goes_once_around_the_square():
    border = unfolding.border(10)
    assert border.shape == (40, 2)
    steps = (border - border.roll(1, 0)).norm(dim=1)
    assert_close(steps, torch.full((40,), 0.1))


# --- The recorded runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_real_points_are_the_ceiling(shape):
    assert values(f"{shape}-real", "cover").min() > 0.93
    assert values(f"{shape}-real", "outlier").max() == 0


def test_no_generator_joins_the_letters_safely():
    """The intermediate value theorem; a leap between two of the 101 points could hide it, and does not."""
    for cell in recorded_cells("unfolding"):
        if cell.startswith("hi-"):
            assert values(cell, "joining_safe").max() == 0, cell


def test_films_end_with_the_recorded_generator():
    film = load_arrays("unfolding", "hi-alpha0.5-weight1000")
    assert_close(
        torch.tensor(film["diagonal"][-1][::8]).float(),
        torch.tensor(film["diagonals"][0][::5]).float(),
        rtol=0,
        atol=0.01,
    )


def test_film_has_a_frame_for_every_shape_and_step():
    supports = {"hi": unfolding.SHAPES["hi"].inside}
    film = unfolding_film(supports, {"ndiv": "alpha0.5-weight1000"}, stops=unfolding.FIVE, steps=(0, 2500))
    assert film.markup.count("<img") == 2
    assert "after 2500 training steps" in film.markup


@pytest.mark.parametrize("shape", ["ring", "donut"])
def test_the_hole_is_crossed_in_every_seed(shape):
    """Errata, E10: "without crossing over to the exterior (the donut hole)"."""
    ours = f"{shape}-alpha0.5-weight1000"
    assert set(np.abs(values(ours, "turns"))) == {1}  # so that the hole's center is hit
    assert values(ours, "hole").min() > 0.02
    assert np.median(values(ours, "safe_paths")) < 0.8
    for num_train in donut.NUM_TRAIN:
        assert min(load("donut", f"paper-n{num_train}").values["hole"]) > 0.02
        assert max(load("donut", f"real-n{num_train}").values["hole"]) == 0


def gain(shape, metric, setting, other):
    """95 % interval of how much larger the median is."""
    return median_difference_interval(
        values(f"{shape}-{setting}", metric), values(f"{shape}-{other}", metric)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_shuffled_pairs_are_safer_at_a_cover_not_surely_lower(shape):
    assert gain(shape, "safe_points", "shuffled", "alpha0.5-weight1000")[0] > 0
    assert gain(shape, "cover", "shuffled", "alpha0.5-weight1000")[1] > 0


@pytest.mark.parametrize("shape", ["ring", "donut"])
def test_a_larger_slack_is_no_trade(shape):
    assert gain(shape, "cover", "alpha0.8-weight1000", "alpha0.1-weight1000")[0] > 0
    assert gain(shape, "safe_points", "alpha0.8-weight1000", "alpha0.1-weight1000")[0] > 0
    assert gain(shape, "safe_points", "alpha0.8-weight1000", "alpha0.5-weight1000")[0] > 0


def test_on_the_ring_weight_is_a_trade_and_slack_is_paid_in_density():
    assert gain("ring", "cover", "alpha0.5-weight10000", "alpha0.5-weight100")[0] > 0
    assert gain("ring", "safe_points", "alpha0.5-weight10000", "alpha0.5-weight100")[1] < 0
    assert gain("ring", "unevenness", "alpha0.8-weight1000", "alpha0.5-weight10000")[1] < 0


def test_no_weight_and_no_slack_lifts_hi_above_straight_lines():
    for cell in recorded_cells("unfolding"):
        if cell.startswith("hi-alpha"):
            assert np.median(values(cell, "safe_points")) < np.median(values("hi-real", "safe_points")), cell
