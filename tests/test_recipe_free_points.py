"""Points under the loss alone: what a step does, and what the records show (chapter ndiv_02)."""

import numpy as np
import pytest
import torch

from ndiv_lib.recipes import free_points, loss_facts
from ndiv_lib.reporting.results import load


def values(cell, metric, recipe="free_points"):
    return np.array(load(recipe, cell).values[metric])


@pytest.mark.parametrize("preset", free_points.PRESETS)
def test_every_preset_runs(preset):
    measured = free_points.run(free_points.smoke(free_points.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 for one in measured.values.values())
    assert measured.arrays["frames"].shape == (2, 8, 2)


def test_a_seed_does_not_depend_on_its_neighbors():
    config = free_points.smoke(free_points.PRESETS["paper"])
    alone, together = (free_points.run(config, seeds).values for seeds in ([1], [0, 1]))
    assert alone["growth"][0] == pytest.approx(together["growth"][1], rel=1e-5)


def test_one_step_keeps_the_radius_only_if_not_detached():
    latents, outputs = free_points.start(free_points.Config(), 0)
    outputs = (outputs - outputs.mean(0))[None].double().requires_grad_()
    for detach in (True, False):
        config = free_points.Config(detach_normalizer=detach)
        loss = free_points.objective(config, latents[None].double(), outputs).sum()
        (slope,) = torch.autograd.grad(loss, outputs)
        outward = float((slope * outputs.detach()).sum())
        assert (outward < -1e-3) if detach else (abs(outward) < 1e-12)


def test_distances_alone_run_away_and_the_normalized_loss_slows_down():
    assert values("distances", "growth").min() > 20
    assert values("paper", "growth").max() < 10
    assert values("not_detached", "growth").max() < 1.2
    assert values("two_sided", "least_growth").max() < 0.6


def test_both_forms_of_the_normalizer_open_the_clusters():
    for cell in ("paper", "not_detached"):
        assert (values(cell, "loss_over_bound") < values(cell, "loss_over_bound_before") / 5).all()


# --- What the value sees (loss_facts) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("k", loss_facts.NUM_CLUSTERS)
def test_k_clusters_cost_about_one_part_in_k_and_never_more(k):
    found = values(f"clusters-{k}", "loss_over_bound", "loss_facts")
    assert 1 / k * 0.9 < np.median(found) < 2.5 / k


def test_the_value_does_not_see_the_size_of_a_cloud_and_the_gradient_does():
    wide, narrow = (f"noise-{s:g}" for s in (1e-1, 1e-9))
    assert values(wide, "loss_over_bound", "loss_facts") == pytest.approx(
        values(narrow, "loss_over_bound", "loss_facts"), rel=1e-4
    )
    assert values(narrow, "gradient_norm", "loss_facts") == pytest.approx(
        1e8 * values(wide, "gradient_norm", "loss_facts"), rel=1e-3
    )


def test_one_far_outlier_owns_the_normalizer():
    far = "outlier-1000"
    assert values(far, "first_share", "loss_facts").min() > 0.8
    assert values(far, "loss_over_bound", "loss_facts").min() > 0.6
