"""The modern baseline at parts of the data: it runs, pairs differ in the term alone, trials are fair, and copies are found."""

from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.recipes import sparse_images
from ndiv_lib.recipes.image_gan import training_bytes
from ndiv_lib.recipes.sparse_images import PRESETS, copying
from ndiv_lib.reporting.results import load
from tests.image_recipes import make_twins

pytest.importorskip("accelerate")
pytest.importorskip("efficientnet_lite_pytorch")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    return make_twins(tmp_path_factory.mktemp("twins"), "cifar10", size=200)


@pytest.mark.parametrize("preset", ["5_percent-ndiv", "small-all"])
def test_smoke(preset, twins, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(twins))
    config = sparse_images.smoke(PRESETS[preset])
    config = replace(config, num_steps=1, num_samples=12, batch_size=4)
    measured = sparse_images.run(config, [0])
    assert measured.n_real == round(200 * config.fraction)
    assert {"copied", "nearest_ratio", "frechet_efficientnet"} <= set(measured.values)
    assert 0 <= measured.values["copied"][0] <= 1
    assert "sheet" in measured.arrays and not sparse_images.run(config, [1000]).arrays


def test_a_run_and_its_partner_differ_in_the_term_alone():
    of_the_term = {"diversity", "diversity_weight", "alpha"}
    for name, config in PRESETS.items():
        if partner := PRESETS.get(f"{name}-ndiv"):
            changed = {f.name for f in fields(config) if getattr(config, f.name) != getattr(partner, f.name)}
            assert "diversity" in changed and changed <= of_the_term
    assert sum(name.endswith("-ndiv") for name in PRESETS) == 7


def test_fractions_of_one_seed_are_the_same_for_both_and_others_for_other_seeds(twins, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(twins))
    without, with_term = (training_bytes(PRESETS[name], 0)[0] for name in ("5_percent", "5_percent-ndiv"))
    assert torch.equal(without, with_term) and len(without) == 10
    assert not torch.equal(without, training_bytes(PRESETS["5_percent"], 1)[0])


def test_tuning_is_fair():
    """Eight settings each, three seeds that are reported nowhere, the same length."""
    trials = [cell for cell in sparse_images.CELLS if cell.name.startswith("tuning-")]
    of_ndiv = [cell for cell in trials if cell.config.diversity == "ndiv"]
    assert len(of_ndiv) == len(trials) - len(of_ndiv) == 8
    assert {(cell.seeds, cell.config.num_steps, cell.config.fraction) for cell in trials} == {
        ((1000, 1001, 1002), 200, 0.05)
    }
    reported = [cell for cell in sparse_images.CELLS if cell not in trials]
    assert all(max(cell.seeds) < 1000 and cell.config == PRESETS[cell.name] for cell in reported)
    assert all(cell.full_scale is not cell.name.startswith(("small", "long")) for cell in reported)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        (sparse_images.TRIALS, sparse_images.BEST),
        (sparse_images.TRIALS_NDIV, sparse_images.BEST_NDIV),
    ],
)
def test_the_best_trial_was_taken(trials, best):
    """By the score named beforehand: the lowest mean distance to held-out images."""
    scores = {name: load("sparse_images", f"tuning-{name}").values["frechet_efficientnet"] for name in trials}
    assert best == min(scores, key=lambda name: sum(scores[name]))


def test_copies_are_found_and_new_images_are_not_blamed():
    random = torch.Generator().manual_seed(0)
    trained, held_out, fresh = (torch.randn(400, 3, 4, 4, generator=random) for _ in range(3))
    copies = copying(trained[:100], trained=trained, held_out=held_out)
    assert copies == {"copied": 1.0, "nearest_ratio": 0.0}
    near = copying(trained + 0.1 * fresh, trained=trained, held_out=held_out)
    assert near["copied"] > 0.99 and 0 < near["nearest_ratio"] < 0.2
    new = copying(fresh, trained=trained, held_out=held_out)
    assert abs(new["copied"] - 0.5) < 0.1 and abs(new["nearest_ratio"] - 1) < 0.05


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
@settings(deadline=None, max_examples=20)
def test_copying_against_a_double_loop(n, m, d):
    random = torch.Generator().manual_seed(n + 10 * m + 100 * d)
    samples, trained, held_out = (torch.randn(k, d, generator=random) for k in (n, m, m))

    def nearest(sample, images):
        return min(float((sample - image).norm()) for image in images)

    expected = sum(nearest(sample, trained) < nearest(sample, held_out) for sample in samples) / n
    assert copying(samples, trained=trained, held_out=held_out)["copied"] == pytest.approx(expected)


# --- Records ----------------------------------------------------------------------------------------------------------


def values(cell, metric):
    return load("sparse_images", cell).values[metric]


def gains(name):
    """How much nearer the samples are with the term, seed by seed."""
    pair = (values(f"{name}{term}", "frechet_efficientnet") for term in ("", "-ndiv"))
    return [without - with_term for without, with_term in zip(*pair, strict=True)]


def test_small_the_term_helps_at_every_fraction_and_not_more_where_data_are_sparse():
    for fraction in sparse_images.FRACTIONS:
        assert min(gains(f"small-{fraction}")) > 10  # every seed; the floor is at 148
    assert sum(gains("small-1_percent")) < sum(gains("small-all"))


def test_small_the_term_does_more_than_hurry():
    """It helps as well at twice the length, and is ahead of the baseline of twice the length."""
    assert min(gains("long-1_percent")) > 5
    twice = values("long-1_percent", "frechet_efficientnet")
    assert max(values("small-1_percent-ndiv", "frechet_efficientnet")) < min(twice)


def test_small_little_is_learned_by_heart():
    """Mean of the seeds; a share of 300 samples has a standard error of 0.03."""
    for name in sparse_images.SMALL_CELLS | sparse_images.LONG_CELLS:
        assert 0.4 < sum(values(name, "copied")) / 3 < 0.6
