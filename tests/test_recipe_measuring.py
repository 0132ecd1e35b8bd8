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


def test_lpips_is_higher_for_noise_and_blur_than_for_real_images():
    real = values("none", "lpips")
    assert values("noise", "lpips").min() > real.max()
    assert values("blur", "lpips").min() > real.max()
    assert np.median(values("dropped-8", "lpips")) > 0.85 * np.median(real)


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
