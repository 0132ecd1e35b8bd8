"""The measuring recipe: its images and failures are what they claim, and the records say what the chapter says."""

import numpy as np
import pytest
import torch

from ndiv_lib.recipes import measuring
from ndiv_lib.reporting.results import load


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def values(cell, metric):
    return np.array(load("measuring", cell).values[metric])


def broken(name, n=400):
    config = measuring.smoke(measuring.PRESETS[name])
    real = measuring.draw(n, source())
    change = measuring.FAILURES[config.failure][0]
    return real, change(real, measuring.replace(config, n=n), source(1))


def modes(images):
    templates = measuring.SHAPES.templates()[0].flatten(1)
    return torch.cdist(images.flatten(1), templates).argmin(1)


@pytest.mark.parametrize("preset", measuring.PRESETS)
def test_every_preset_runs(preset):
    pytest.importorskip("sklearn")
    if preset == "definitions":
        pytest.importorskip("lpips")
    measured = measuring.run(measuring.smoke(measuring.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


def test_real_images_are_valid_and_reach_every_mode():
    images = measuring.draw(400, source())
    assert images.abs().max() <= 1
    assert measuring.flaw(images) < 1e-6
    assert len(modes(images).unique()) == measuring.NUM_MODES == 20
    chosen = torch.arange(40) % 20
    assert torch.equal(modes(measuring.draw(40, source(), modes=chosen)), chosen)


@pytest.mark.parametrize("name", measuring.AMOUNTS)
def test_failures_spoil_quality_only_where_they_say(name):
    _, generated = broken(name)
    assert generated.abs().max() <= 1
    assert (measuring.flaw(generated) > 1e-3) == (name in ("noise", "blur", "outliers"))


def test_failures_are_what_they_say():
    assert modes(broken("dropped")[1]).min() == 8
    shares = modes(broken("uneven", 4000)[1]).bincount(minlength=20)
    assert shares[0] > 4 * shares[-1]
    real, duplicates = broken("duplicates")
    assert len(duplicates.unique(dim=0)) == 40
    real, copies = broken("copies")
    assert len(torch.cat([real, copies]).unique(dim=0)) == 400
    _, shrunk = broken("shrunk")
    templates = measuring.SHAPES.templates()[0]
    spread = (shrunk - templates[modes(shrunk)]).std() / (real - templates[modes(real)]).std()
    assert 0.15 < float(spread) < 0.25
    assert set(measuring.AMOUNTS) < set(measuring.FAILURES)


def test_eq_9_needs_the_root_of_the_weights_and_unit_length():
    """Erratum: with the released weights as its w, or without unit length, Eq. 9 is not the LPIPS that it cites."""
    pytest.importorskip("lpips")
    errors = {
        (weights, unit): measuring.definitions(
            measuring.Config(task="definitions", weights=weights, unit_length=unit), 0
        )["lpips_error"]
        for weights in ("root", "printed")
        for unit in (True, False)
    }
    assert errors["root", True] < 1e-4
    assert all(error > 0.1 for key, error in errors.items() if key != ("root", True))


# --- Records ----------------------------------------------------------------------------------------------------------


def sees(measure, cell):
    """Whether all ten values are worse than those of real images: 1; all better: -1; otherwise 0."""
    sign = -1 if measure.split("_")[0] in ("lpips", "precision", "density", "recall", "coverage") else 1
    found, floor = sign * values(cell, measure), sign * values("none", measure)
    return int(found.min() > floor.max()) - int(found.max() < floor.min())


def test_lpips_is_higher_for_noise_and_blur_than_for_real_images():
    real = np.median(values("none", "lpips"))
    assert sees("lpips", "noise") == -1
    assert np.median(values("blur", "lpips")) > 1.05 * real
    assert 0.85 * real < np.median(values("dropped-8", "lpips")) < real


def test_what_the_chapter_says_of_its_table():
    measures = [
        f"{name}_{features}" for name in ("frechet", "kernel") for features in ("pixels", "squeezenet")
    ]
    assert not any(sees(measure, "shrunk") for measure in measures)
    balls = ("precision", "density", "recall", "coverage")
    every = ["ndb", "jsd", "lpips", *measures, *(f"{name}_pixels" for name in balls)]
    assert max(sees(measure, "copies") for measure in every) <= 0
    assert sees("density_pixels", "copies") == sees("coverage_pixels", "copies") == -1
    assert sees("density_pixels", "shrunk") == sees("recall_pixels", "noise") == -1
    for measure in ("ndb", "jsd", "recall_pixels", "coverage_pixels"):
        assert sees(measure, "shrunk") == 1
    assert sees("ndb", "noise") == sees("jsd", "noise") == 0
    for cell in ("dropped-8", "uneven", "shrunk", "duplicates"):
        assert sees("precision_pixels", cell) == 0 and sees("density_pixels", cell) <= 0
    for cell in set(measuring.AMOUNTS) - {"copies", "dropped"}:
        assert sees("coverage_pixels", cell) == 1 or sees("frechet_pixels", cell) == 1, cell
    for cell in ("dropped-8", "uneven", "duplicates", "noise", "blur", "outliers"):
        assert sees("frechet_pixels", cell) == sees("frechet_squeezenet", cell) == 1
    dropped, noise = (
        [np.median(values(cell, f"frechet_{name}")) for name in ("pixels", "squeezenet")]
        for cell in ("dropped-8", "noise")
    )
    assert dropped[0] > 5 * noise[0] and dropped[1] < 0.7 * noise[1]


def test_ndb_names_the_lost_modes_and_hears_no_noise():
    assert np.median(values("dropped-8", "lost_modes_named")) == 1
    assert values("dropped-8", "ndb").min() > 2 * values("none", "ndb").max()
    assert abs(np.median(values("noise", "ndb")) - np.median(values("none", "ndb"))) <= 2


def test_copies_look_perfect():
    for metric in ("frechet_pixels", "frechet_squeezenet", "jsd"):
        assert np.median(values("copies", metric)) < np.median(values("none", metric))


def test_the_frechet_distance_of_real_images_falls_with_their_number_and_the_kernel_distance_is_zero():
    frechet = {n: np.median(values(f"size-{n}", "frechet_pixels")) for n in measuring.SIZES}
    assert 10 < frechet[50] / frechet[800] < 30
    for n in measuring.SIZES:
        kernel = values(f"size-{n}", "kernel_pixels")
        assert abs(kernel.mean()) < 3 * kernel.std() / 10**0.5


def test_real_halves_differ_in_a_twentieth_of_the_bins():
    for cell in ("halves-cifar10", "halves-mnist"):
        assert 3 <= values(cell, "ndb").mean() <= 7
