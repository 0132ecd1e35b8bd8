"""The toy of cGML: stacked runs are separate runs, and the rates mean what they say."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.data import branch_modes
from ndiv_lib.recipes.two_branches import Config, draw_starts, train, walk, walk_rates
from ndiv_lib.training.stacked import StackedDraws

SHORT = Config(num_updates=5, steps=3, batch_size=8)


@settings(max_examples=30, deadline=None)
@given(x=st.floats(0, 2))
def test_branches_are_four_times_the_powers(x):
    positive, negative = branch_modes(torch.tensor([x], dtype=torch.float64))
    assert positive.tolist() == pytest.approx([4 * x, 4 * x**2, 4 * x**3])
    assert torch.equal(positive, -negative)


def test_branches_refuse_wide_inputs():
    with pytest.raises(ValueError, match=r"\(\*batch, 1\)"):
        branch_modes(torch.ones(4, 3))


@pytest.mark.parametrize(
    "config",
    [
        SHORT,
        replace(SHORT, latent="sphere", latent_dim=3, predictor_norm="l2", step_decay=0.8),
        replace(SHORT, num_inputs=20, keep_latents=True, penalty_weight=0.0),
    ],
)
def test_stacked_seeds_are_separate_runs(config):
    together, alone = train(config, [3, 4]), train(config, [4])
    for name, tensor in together.state_dict().items():
        torch.testing.assert_close(tensor[1:], alone.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_rates_of_known_outputs():
    """Of five outputs two are modes, one is the center, one is a miss off the center, one is close enough."""
    inputs = torch.ones(1, 5, 1)
    mode = branch_modes(inputs)[0, 0, 0]
    outputs = torch.stack([mode, -mode, 0 * mode, 0.7 * mode, -0.8 * mode])[None]
    rates = walk_rates(inputs, outputs)
    assert rates["phantom_rate"] == pytest.approx([2 / 5])
    assert rates["center_rate"] == pytest.approx([1 / 5])
    assert rates["second_share"][0] in (pytest.approx(2 / 5), pytest.approx(3 / 5))  # the center is a tie
    assert rates["error"] == pytest.approx([4 * (1 + 0.3 + 0.2) / 5])
    assert rates["median_error"] == pytest.approx([4 * 0.2])


def test_walks_start_where_they_are_told():
    models, draws = train(SHORT, [0, 1]), StackedDraws([0, 1])
    starts = draw_starts(SHORT, draws, 6)
    outputs, trajectory = walk(SHORT, models, torch.rand(2, 6, 1), starts, rule="momentum", steps=4)
    assert outputs.shape == (2, 6, 3)
    assert trajectory.shape == (5, 2, 6, 1)
    assert torch.equal(trajectory[0], starts)


def test_watch_sees_every_update():
    seen = []
    train(SHORT, [0], watch=lambda update, models: seen.append(update))
    assert seen == [0, 1, 2, 3, 4, 5]
