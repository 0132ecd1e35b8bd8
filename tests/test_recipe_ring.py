"""The ring recipe: its presets run, its film holds what was asked, and the records say what the chapter says."""

import pytest

from ndiv_lib.recipes import ring
from ndiv_lib.reporting.results import load


@pytest.mark.parametrize("preset", ring.PRESETS)
def test_every_preset_runs(preset):
    measured = ring.run(ring.smoke(ring.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())
    assert measured.n_generated == 800


def test_film_keeps_modes_of_every_seed_and_points_of_the_first():
    config = ring.smoke(ring.PRESETS["ours"])
    arrays = ring.run(config, range(ring.FILM_SEEDS + 1)).arrays
    assert arrays["modes"].shape == (len(config.watch_steps), ring.FILM_SEEDS + 1)
    assert arrays["frames"].shape == (len(config.watch_steps), ring.FILM_SEEDS, ring.FILM_POINTS, 2)


def test_a_seed_does_not_depend_on_its_neighbors():
    config = ring.smoke(ring.PRESETS["ours"])
    alone, together = (ring.run(config, seeds).values for seeds in ([1], [0, 1]))
    assert alone["fail"][0] == pytest.approx(together["fail"][1], abs=0.01)


def test_real_samples_fail_as_gaussians_do():
    assert load("ring", "real").values["fail"] == pytest.approx([0.0111] * len(ring.SEEDS), abs=0.006)
