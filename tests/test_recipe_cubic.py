"""The cubic: facts of its slopes, a loss that does not feel a condition's scale, and what the records say."""

import pytest
import torch

from ndiv_lib.recipes import cubic
from ndiv_lib.reporting.results import load


@pytest.mark.parametrize("preset", cubic.PRESETS)
def test_every_preset_runs(preset):
    measured = cubic.run(cubic.smoke(cubic.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())
    assert measured.arrays["place"].shape == (10, 200)


def test_a_seed_does_not_depend_on_its_neighbors():
    config = cubic.smoke(cubic.PRESETS["ndiv_1.0"])
    alone, together = (cubic.run(config, seeds).values["worst"] for seeds in ([1], [0, 1]))
    assert alone[0] == pytest.approx(together[1], abs=0.01)


@pytest.mark.parametrize(("low", "least"), [(0.0, 3.0), (-1.0, 0.0)])
def test_the_slope_is_never_below_three_for_latents_from_zero_to_one(low, least):
    """The print says lower than 3, of x in [1, 10] and an unsaid range of z."""
    x = torch.linspace(1, 10, 91, dtype=torch.float64)[:, None].expand(-1, 101).clone()
    z = torch.linspace(low, 1, 101, dtype=torch.float64).expand(91, -1).clone().requires_grad_()
    (slope,) = torch.autograd.grad(((x + z) ** 3).sum(), z)
    assert float(slope.min()) == pytest.approx(least) and float(slope.max()) == pytest.approx(363)
    facts = cubic.slope_facts(cubic.Config(latent_low=low), seed=0)
    assert facts["slope_min"] == pytest.approx(least) and facts["slope_max"] == pytest.approx(363)


def test_ndiv_does_not_feel_a_conditions_scale():
    valid = cubic.Range(0.0)
    latents = torch.rand(1, 10, 8, 1, generator=torch.Generator().manual_seed(0))
    outputs = torch.rand(1, 10, 8, 1, generator=torch.Generator().manual_seed(1))
    stretched = outputs * torch.logspace(-1, 1, 10)[:, None, None]
    ours, other = cubic.PRESETS["ndiv_1.0"], cubic.PRESETS["bourgan"]
    value, changed = (float(cubic.diversity(ours, valid, latents, y)) for y in (outputs, stretched))
    assert changed == pytest.approx(value, rel=1e-5)
    value, changed = (float(cubic.diversity(other, valid, latents, y)) for y in (outputs, stretched))
    assert abs(changed - value) > 0.1 * value


def test_outputs_spread_evenly_over_what_is_valid_score_full_marks():
    valid = cubic.Range(0.0)
    even = torch.lerp(valid.low, valid.high, torch.linspace(0.001, 0.999, 100)[:, None])[..., 0]
    row = cubic.measure(cubic.Config(), even)
    assert row["worst_cover"] == 1 and row["worst_outlier"] == 0
    assert cubic.measure(cubic.Config(), even + 2 * valid.length[..., 0])["worst"] == -1


@pytest.mark.parametrize("method", ["bourgan", "hinge"])
def test_the_baselines_are_the_best_of_their_trials(method):
    scores = {
        name: sum(load("cubic", f"tuning-{name}").values[cubic.SCORE])
        for name in cubic.TUNED
        if name.startswith(method)
    }
    best = cubic.TUNED[max(scores, key=scores.get)]
    assert best == cubic.PRESETS[method]
