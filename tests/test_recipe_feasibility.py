"""How much diversity fits: the search finds what is there, the bound is a bound, and the records say what the chapter says."""

import math

import numpy as np
import pytest
import torch

import ndiv_lib as nd
from ndiv_lib.recipes import feasibility
from ndiv_lib.recipes.feasibility import Config, climb, draw_latents, starting_points, upper_bound
from ndiv_lib.reporting.results import load
from ndiv_lib.training import StackedDraws


@pytest.mark.parametrize("preset", feasibility.PRESETS)
def test_every_preset_runs(preset):
    measured = feasibility.run(feasibility.smoke(feasibility.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())
    assert measured.arrays["outputs"].shape == (8, 2)


def search(config, seeds=(1000,)):
    draws = StackedDraws(seeds)
    latents = draw_latents(config, draws)
    return latents, *climb(config, latents, starting_points(config, latents, draws))


def test_the_points_found_meet_the_criterion():
    config = Config(num_samples=12, latent_dim=5, num_starts=3, num_steps=150)
    latents, alphas, points = search(config)
    for alpha, outputs in zip(alphas[0], points[0], strict=True):
        left = nd.ndiv_loss(latents[0], outputs, alpha=float(alpha), reduction="sample") / alpha
        assert 0 < alpha < 1
        assert left < 1.01 * config.tolerance


def test_equal_dimensions_give_one():
    """Principal components of 2-D latents are the latents, turned: nothing is lost at alpha = 1, and nothing fits above."""
    _, alphas, _ = search(Config(num_samples=16, latent_dim=2, num_starts=1, num_steps=130))
    assert alphas.item() == pytest.approx(1.0)


def test_a_corner_more_than_the_plane_has():
    """Four points with equal distances do not exist in the plane; the best are a square's corners.

    There a row's distances are 1, 1 and sqrt(2) parts of 2 + sqrt(2), and the latents ask for thirds.
    """
    config = Config(num_samples=4, latent="equidistant", num_starts=5, num_steps=400, start="cloud")
    _, alphas, _ = search(config)
    assert float(alphas.max()) == pytest.approx(3 / (2 + math.sqrt(2)), abs=0.015)


def test_three_points_always_fit():
    _, alphas, _ = search(Config(num_samples=3, latent_dim=25, num_starts=3, num_steps=300))
    assert float(alphas.max()) >= 0.99


def test_a_seed_does_not_depend_on_its_neighbors():
    config = feasibility.smoke(Config())
    alone, together = (feasibility.run(config, seeds).values for seeds in ([1], [0, 1]))
    assert alone["variation"][0] == pytest.approx(together["variation"][1], rel=1e-5)
    assert alone["alpha"][0] == pytest.approx(together["alpha"][1], abs=0.011)


@pytest.mark.parametrize("count", [7, 19, 37])
def test_packing_radii_hold_for_the_densest_packing(count):
    """Centered hexagonal numbers of points, one apart: the k-th nearest to the center is no nearer than the radius."""
    reach = range(-4, 5)
    lattice = torch.tensor([[i + j / 2, j * math.sqrt(3) / 2] for i in reach for j in reach])
    from_center = lattice.norm(dim=1).sort().values[1:count].double()
    radii = feasibility._packing_radii(count - 1, 2)
    assert (radii <= from_center + 1e-6).all()
    assert (feasibility._packing_radii(count - 1, 3) <= from_center + 1e-6).all()  # room in space is larger


@pytest.mark.parametrize(("num_samples", "dim"), [(6, 25), (24, 25), (24, 2)])
def test_the_bound_is_never_below_what_is_found(num_samples, dim):
    config = Config(num_samples=num_samples, latent_dim=dim, num_starts=2, num_steps=150)
    latents, alphas, _ = search(config)
    assert float(alphas.max()) <= upper_bound(latents[0])


def test_half_does_not_fit_at_the_released_setting():
    """128 latents in 25 dimensions, outputs in the plane, alpha = 0.5: no points whatever bring the loss to zero."""
    latents = torch.rand(128, 25, generator=torch.Generator().manual_seed(1000))
    assert upper_bound(latents) < 0.5
    assert upper_bound(latents[:, :2]) == 1.0  # says nothing where everything fits


# --- What is recorded ---------------------------------------------------------------------------------------------------


def values(cell, metric):
    return np.array(load("feasibility", cell).values[metric])


@pytest.mark.parametrize("cell", feasibility.CELLS, ids=lambda cell: cell.name)
def test_what_was_found_lies_below_what_is_proven(cell):
    assert (values(cell.name, "alpha") <= values(cell.name, "upper_bound") + 1e-6).all()
    assert values(cell.name, "residual").max() < 1.01 * cell.config.tolerance


def test_all_fits_in_equal_dimensions_and_less_with_every_dimension_more():
    assert values("2-to-2-n16", "alpha").min() >= 0.99 and values("2-to-2-n128", "alpha").min() >= 0.99
    fits = [np.median(values(f"{dim}-to-2-n128", "alpha")) for dim in feasibility.LATENT_DIMS]
    assert (np.diff(fits) <= 0).all() and fits[1] < 0.6
    wider = [np.median(values(f"25-to-{dim}-n128", "alpha")) for dim in (2, 3, 8)]
    assert (np.diff(wider) > 0.05).all()


@pytest.mark.parametrize("dim", [8, 25])
def test_what_fits_falls_like_the_root_of_the_batch(dim):
    fits = [np.median(values(f"{dim}-to-2-n{n}", "alpha")) for n in feasibility.SIZES]
    power, _ = np.polyfit(np.log(feasibility.SIZES), np.log(fits), 1)
    assert -0.6 < power < -0.4


def test_the_released_setting_is_proven_not_to_fit():
    assert values("25-to-2-n128", "upper_bound").max() < 0.5
    assert values("25-to-2-n128", "alpha").max() < 0.25


def test_gaussian_latents_fit_as_uniform_ones_do():
    for dim in (2, 8, 25):
        uniform, gaussian = (values(f"{kind}{dim}-to-2-n128", "alpha") for kind in ("", "gaussian-"))
        assert abs(np.median(uniform) - np.median(gaussian)) <= 0.04


def test_more_starts_and_more_steps_find_no_more():
    few = values("25-to-2-n32", "alpha")[:3]
    assert load("feasibility", "25-to-2-n32").seeds[:3] == load("feasibility", "25-to-2-n32-more").seeds
    assert (values("25-to-2-n32-more", "alpha") - few).max() <= 0.0201


@pytest.mark.parametrize("dim", [8, 25])
def test_five_starts_do_at_128(dim):
    assert (values(f"{dim}-to-2-n128", "alpha") - values(f"{dim}-to-2-n128", "alpha_few")).max() <= 0.0201
