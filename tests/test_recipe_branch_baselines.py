"""Other models on two branches: what they draw, what L1 cannot decide, and what the records say."""

import numpy as np
import pytest
import torch

from ndiv_lib.data.toy import branch_modes
from ndiv_lib.recipes import branch_baselines, remark
from ndiv_lib.recipes.branch_baselines import Config
from ndiv_lib.reporting.results import load
from ndiv_lib.training.stacked import StackedDraws


def values(cell, metric):
    return np.array(load("branch_baselines", cell).values[metric])


@pytest.mark.parametrize("preset", branch_baselines.PRESETS)
def test_every_preset_runs(preset):
    config = branch_baselines.smoke(branch_baselines.PRESETS[preset])
    measured = branch_baselines.run(config, [0, 1])
    assert all(np.isfinite(one).all() and len(one) == 2 for one in measured.values.values())
    assert measured.arrays["outputs"].shape == (2, 200)


def test_the_presets_are_the_best_trials():
    for name, of in {"vae": "vae-", "mixture": "mixture-", "gan": "gan-", "game": "gan-minimax"}.items():
        scores = {
            trial: values(f"tuning-{trial}", "score").mean()
            for trial in branch_baselines.TRIALS
            if trial.startswith(of)
        }
        assert len(scores) == (4 if name == "game" else 8)
        assert branch_baselines.TRIALS[min(scores, key=scores.get)] == branch_baselines.PRESETS[name]


def test_rates_of_known_answers():
    inputs = torch.linspace(0.3, 1, branch_baselines.NUM_JUDGED).repeat_interleave(
        branch_baselines.NUM_ANSWERS
    )[None, :, None]
    modes = branch_modes(inputs)
    second = (torch.arange(inputs.shape[1]) % 2 == 1)[None, :, None]
    both = branch_baselines.rates(Config(), inputs, torch.where(second, modes[:, :, 1], modes[:, :, 0]))
    assert both["missed"] == [0] and both["branches"] == [2] and both["second_share"] == [0.5]
    line = branch_baselines.rates(Config(), inputs, torch.zeros(*inputs.shape[:2], 3))
    assert line["missed"] == line["center"] == [1] and line["away"] == line["branches"] == [0]
    one = branch_baselines.rates(Config(), inputs, modes[:, :, 0])
    assert one["most_branches"] == [1] and one["spread"] == [0] and one["away"] == pytest.approx([1])
    for found in (both, line, one):  # anything between the branches has the same risk
        assert found["risk"] == pytest.approx([1])


def test_the_l1_risk_is_flat_between_the_branches():
    """Errata C4: at every input any point of the box between the branches is as good for L1 as the line y = 0."""
    draws = StackedDraws([0])
    inputs = draws.rand(2000, 1)
    modes = branch_modes(inputs).double()
    box = (2 * draws.rand(2000, 3) - 1) * modes[:, :, 0]
    risk = (modes - box[:, :, None]).abs().mean(-1).mean(-1)
    on_the_line = modes.abs().mean(-1).mean(-1)
    assert torch.allclose(risk, on_the_line, rtol=1e-6)
    squared = (modes - box[:, :, None]).square().mean(-1).mean(-1)
    assert bool((squared >= modes.square().mean(-1).mean(-1) - 1e-9).all())


def test_l1_goes_to_the_likelier_branch_and_l2_to_the_mean():
    """Errata C4: with probabilities .7 and .3 the line y = 0 is not the L1 answer at all."""
    assert values("l1-uneven", "missed").max() < 0.05 and values("l1-uneven", "second_share").max() == 0
    assert values("l2", "away").max() < 0.1


def test_without_a_draw_there_is_one_answer():
    for model in ("l1", "l2", "l1-uneven"):
        assert values(model, "spread").max() == 0 and values(model, "most_branches").max() <= 1
    for model in ("mixture", "bins"):
        assert values(model, "branches").min() > 1.9


def test_sampled_index_has_the_softmax_probabilities():
    logits = torch.tensor([0.2, 0.3, 0.5]).log().expand(1, 20_000, 3)
    drawn = branch_baselines.draw_index(logits, StackedDraws([0])).flatten()
    assert (drawn.bincount(minlength=3) / 20_000).tolist() == pytest.approx([0.2, 0.3, 0.5], abs=0.02)


def test_the_game_bends_the_trained_generator_as_it_bends_the_optimum():
    """L1 keeps both modes where L2 has merged them; exact optima from the other recipe."""
    _, p, costs = remark.game(remark.Config(power=2), np.random.default_rng(0))
    assert remark.total_variation(p, remark.best_law(p, costs, 2.0)) > 0.5
    assert np.median(values("two_modes-l2-w2", "center")) > 0.5
    assert np.median(values("two_modes-l1-w3", "center")) < 0.5
    assert np.median(values("two_modes-l2-w0.1", "center")) < 0.25
