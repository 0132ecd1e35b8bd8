"""The toy's latent space: codes and slopes of known generators, the stacked loop against the class, and what records show."""

import numpy as np
import pytest
import torch
from torch import nn

from ndiv_lib.cgml import LatentSearch
from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import latent_search as recipe
from ndiv_lib.recipes import two_branches
from ndiv_lib.reporting.results import load
from ndiv_lib.training.stacked import StackedDraws


def values(cell, metric):
    return np.array(load("latent_search", cell).values[metric])


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


class Known(nn.Module):
    """One generator for all seeds whose answer is known: the branch, times latent over ``code``."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def answers(self, inputs, latents):
        return branch_modes(inputs)[..., 0, :] * latents / self.code


@pytest.mark.parametrize("code", [0.5, 1.0, 1.5])
def test_codes_and_slopes_of_a_known_generator(code):
    """Its codes are +code and -code at every input, and its slope is the same everywhere on the way."""
    found = recipe.space_facts(recipe.Config(), Known(code), 2)
    assert found["mean_gap"] == pytest.approx([2 * code] * 2, abs=0.03)
    assert found["relative_cost"] == pytest.approx([0, 0], abs=0.02)
    assert found["reached"] == [1, 1]
    largest = branch_modes(torch.tensor([1.0]))[0].norm() / code
    assert found["lipschitz"] == pytest.approx([float(largest)] * 2, rel=1e-3)
    for metric in ("separation", "separation_by_flattest", "flattest_share"):
        assert found[metric] == pytest.approx([1, 1], abs=1e-2)


def test_a_latent_that_is_ignored_reaches_nothing():
    found = recipe.space_facts(recipe.Config(), Known(1e9), 1)
    assert found["reached"] == [0.0]
    assert found["relative_cost"] == pytest.approx([1], abs=1e-3)


def test_order_of_gaps():
    rising, falling = recipe.INPUTS.square(), -recipe.INPUTS
    even = torch.ones_like(recipe.INPUTS)
    assert recipe.rank_correlation(torch.stack([rising, falling, even])) == pytest.approx([1, -1, 0])


def test_the_stacked_loop_is_latent_search():
    """Same weights, batches and starts: after six batches the class and the recipe have the same weights."""
    config = two_branches.Config(penalty_weight=0.0, num_updates=6, **recipe.SHORT)
    seed, before = 5, two_branches.Models(config, [5])
    draws = StackedDraws([seed], stream=2)
    joined = [Unstacked(part.network) for part in (before.generator, before.predictor)]
    search = LatentSearch(
        before.encoder.unstack(0),
        *joined,
        latent_dim=1,
        latent="interval",
        cost=two_branches.l1_cost,
        steps=config.steps,
        step_size=config.step_size,
        penalty_weight=0.0,
    )
    adam = torch.optim.Adam(search.parameters(), lr=config.learning_rate)
    for _ in range(config.num_updates):
        inputs = two_branches.draw_inputs(config, draws, config.batch_size)
        targets = two_branches.draw_targets(config, draws, inputs)
        starts = two_branches.draw_starts(config, draws, config.batch_size)
        search.training_step(inputs[0], targets[0], adam, latents=starts[0])
    after = two_branches.train(config, [seed])
    x, z = torch.rand(50, 1), torch.rand(50, 1)
    torch.testing.assert_close(after.answers(x[None], z[None])[0], search(x, z), rtol=1e-3, atol=1e-4)
    features = after.encoder(x[None])
    torch.testing.assert_close(
        after.predictor(features, z[None])[0], search.predictor(features[0], z), rtol=1e-3, atol=1e-4
    )
    assert (before.answers(x[None], z[None])[0] - search(x, z)).abs().max() > 1e-3


def test_with_one_step_both_readings_of_algorithm_1_are_the_same():
    once = two_branches.Config(steps=1, num_updates=4)
    printed = two_branches.Config(steps=1, num_updates=4, generator_every_step=True)
    one, other = (two_branches.train(config, [3]).state_dict() for config in (once, printed))
    assert all(torch.equal(one[name], other[name]) for name in one)
    longer = two_branches.train(two_branches.Config(steps=2, num_updates=4, generator_every_step=True), [3])
    later = two_branches.train(two_branches.Config(steps=2, num_updates=4), [3])
    assert not torch.allclose(longer.generator.network.weights[0], later.generator.network.weights[0])


def test_gaussian_starts_are_not_bounded():
    draws = two_branches.draw_starts(recipe.PRESETS["gaussian"], StackedDraws([0]), 500)
    assert float(draws.std()) == pytest.approx(1, abs=0.05)
    assert two_branches.draw_starts(recipe.PRESETS["interval"], StackedDraws([0]), 500).abs().max() <= 1


class Unstacked(nn.Module):
    """The first of stacked networks of features and latents."""

    def __init__(self, stacked):
        super().__init__()
        self.network = stacked.unstack(0)

    def forward(self, features, latents):
        return self.network(torch.cat([features, latents], dim=-1))


# --- Records ----------------------------------------------------------------------------------------------------------


def test_codes_move_apart_with_the_modes_on_a_line_only():
    assert values("paper", "gap_order").min() >= 0.95
    assert np.median(values("circle", "gap_order")) < 0.9
    assert values("circle", "gap_at_1").max() <= 2


def test_codes_are_as_far_apart_as_the_steepest_slope_asks():
    for weight in ("0", "0.1", "0.3", "1"):
        assert values(f"penalty-{weight}", "separation").min() >= 0.999
        assert values(f"penalty-{weight}", "separation_by_flattest").max() < 0.999


def test_the_penalty_changes_neither_codes_nor_slopes_until_the_latent_is_ignored():
    """Errata C7, C8."""
    for metric in ("mean_gap", "lipschitz"):
        without, with_penalty = (np.median(values(f"penalty-{weight}", metric)) for weight in ("0", "0.1"))
        assert with_penalty == pytest.approx(without, rel=0.1)
    assert values("penalty-0.1", "reached").min() == 1
    for ignoring in ("penalty-1", "noise-0.5"):
        assert np.median(values(ignoring, "reached")) == 0


def test_walks_end_at_a_latent_and_not_at_a_cost():
    """Erratum C9."""
    assert values("paper", "off_code").max() < 0.25 < values("paper", "off_least_cost").min()


def test_kept_latents_lose_a_mode():
    assert values("pool-redrawn", "reached").min() > 0.9 > np.median(values("pool-kept", "reached"))


def test_settings_of_the_starts_are_the_best_of_eight():
    score = "median_error_momentum"
    for space in recipe.SPACES:
        trials = {
            (step_size, decay): values(f"tuning-{space}-{step_size:g}-{decay:g}", score).mean()
            for step_size in recipe.STEP_SIZES
            for decay in recipe.DECAYS
        }
        tuned = recipe.TUNED[space]
        assert min(trials, key=trials.get) == (tuned["step_size"], tuned["step_decay"]), space
