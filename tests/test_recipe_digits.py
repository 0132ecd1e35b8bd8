"""The digits recipe: its parts against their definitions, one model alone as within a stack, presets, records."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import ndiv_lib as nd
from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.recipes import digits
from ndiv_lib.training.stacked import StackedDraws

BRIEF = replace(digits.Config(), num_steps=4, hidden=16)


def test_draws_are_training_digits_of_the_class():
    splits = [load_digits_split(seed=seed) for seed in (0, 1)]
    drawn = digits.Digits(splits).draw(StackedDraws([5, 6]), 30)
    assert drawn.shape == (2, 10, 30, 64)
    for images, split in zip(drawn, splits, strict=True):
        for digit in range(10):
            members = split.train_images[split.train_labels == digit].flatten(1)
            assert torch.cdist(images[digit], members).amin(1).max() < 1e-5


def test_labeled_appends_the_class():
    rows = digits.labeled(torch.arange(2 * 10 * 3 * 2.0).reshape(2, 10, 3, 2))
    assert rows.shape == (2, 30, 12)
    assert rows[1, 7, :2].tolist() == [60 + 14.0, 60 + 15.0]
    assert rows[:, 7, 2:].argmax(-1).tolist() == [2, 2]


@pytest.mark.parametrize("diversity", ["ndiv", "mode_seeking"])
def test_diversity_is_the_mean_over_models_and_classes(diversity):
    config = replace(BRIEF, diversity=diversity, alpha=0.9)
    draws = StackedDraws([0, 1])
    latents, images = draws.rand(10, 6, 8), draws.rand(10, 6, 64)
    by_class = []
    for z, y in zip(latents.flatten(0, 1), images.flatten(0, 1), strict=True):
        if diversity == "ndiv":
            by_class.append(nd.ndiv_loss(z, y, alpha=0.9, reduction="sample"))
        else:
            by_class.append(nd.mode_seeking_loss(z[:3], z[3:], y[:3], y[3:]))
    torch.testing.assert_close(digits.diversity_loss(config, latents, images), torch.stack(by_class).mean())


@pytest.mark.parametrize("diversity", ["none", "ndiv", "mode_seeking"])
def test_a_model_trains_alone_as_in_a_stack(diversity):
    config = replace(BRIEF, diversity=diversity, diversity_weight=1.0)
    together, _ = digits.generate(config, [load_digits_split(seed=seed) for seed in (3, 4)], [3, 4])
    alone, _ = digits.generate(config, [load_digits_split(seed=4)], [4])
    torch.testing.assert_close(torch.stack(together[1]), torch.stack(alone[0]), atol=2e-4, rtol=0)


def test_the_training_digits_are_the_ceiling():
    values = digits.run(digits.PRESETS["real"], [0]).values
    assert values["precision"][0] > 0.9
    assert values["coverage"][0] > 0.9
    assert values["density"][0] == pytest.approx(1, abs=0.1)
    assert values["diversity"][0] == pytest.approx(1, abs=0.05)
    assert values["distance_to_training"] == [0.0]
    assert values["coverage"][0] == pytest.approx(np.mean([values[f"coverage_of_{c}"][0] for c in range(10)]))


def test_a_film_is_kept_where_it_is_asked_for():
    measured = digits.run(replace(BRIEF, film_steps=(1, 4)), [0])
    assert measured.arrays["film"].shape == (2, 10, 10, 64)
    assert measured.arrays["film"].dtype == np.uint8
    assert not digits.run(BRIEF, [0]).arrays
    assert (measured.n_real, measured.n_generated) == (899, 898)


@pytest.mark.parametrize("preset", digits.PRESETS)
def test_smoke(preset):
    values = digits.run(digits.smoke(digits.PRESETS[preset]), [0]).values
    assert all(np.isfinite(value).all() for value in values.values())


def test_reported_seeds_were_never_tuned_on():
    tuned = {seed for cell in digits.TUNING for seed in cell.seeds}
    reported = {seed for cell in digits.CELLS if cell not in digits.TUNING for seed in cell.seeds}
    assert tuned
    assert reported
    assert not tuned & reported


def test_every_method_had_the_same_number_of_trials():
    assert {len(tried) for tried in digits.TRIED.values()} == {8}
    assert all(len(cell.seeds) == 3 for cell in digits.TUNING)
    assert len({cell.name for cell in digits.CELLS}) == len(digits.CELLS)


@pytest.mark.parametrize("method", digits.TRIED)
def test_the_preset_is_the_best_that_was_tried(method):
    """By the score that was named beforehand, in the recorded runs."""
    from ndiv_lib.reporting.results import load

    def score(cell):
        return np.mean(load("digits", cell.name).values[digits.SCORE])

    tried = [cell for cell in digits.TUNING if cell.config in digits.TRIED[method]]
    best = max(tried, key=score).config
    assert replace(digits.PRESETS[method], film_steps=()) == best
