"""Phantoms: moves counted by a loop, what either norm learns, Eq. 4 at its edges, and what the records say in the chapter."""

import numpy as np
import pytest
import torch

from ndiv_lib.cgml import infer, latent_update, predictor_loss
from ndiv_lib.recipes import next_latents, phantom, two_branches
from ndiv_lib.recipes.two_branches import Models, draw_starts
from ndiv_lib.reporting.results import load, load_arrays
from ndiv_lib.training.stacked import StackedDraws

CELLS = {cell.name: cell.config for cell in phantom.CELLS}


def values(cell, metric):
    return np.array(load("phantom", cell).values[metric])


@pytest.mark.parametrize("preset", phantom.PRESETS)
def test_every_preset_runs(preset):
    measured = phantom.run(phantom.smoke(phantom.PRESETS[preset]), [0, 1])
    assert all(np.isfinite(one).all() and len(one) == 2 for one in measured.values.values())


def test_a_new_predictor_learns_from_searches_with_the_final_generator():
    config = phantom.Config(steps=5, predictor_norm="l2")
    models = Models(config, [0, 1]).requires_grad_(False)
    taught = next_latents.relearn(config, models, [0, 1], num_updates=300)
    inputs = torch.full((2, 200, 1), 0.8)
    features, before, after = next_latents.visits(config, models, inputs, StackedDraws([7, 8]))
    assert before.shape == after.shape == (2, 1000, 1)
    errors = [(net(features, before)[..., :1] - after).abs().mean() for net in (taught, models.predictor)]
    assert errors[0] < errors[1] / 3


def test_a_table_of_moves_is_what_a_loop_counts():
    source = torch.Generator().manual_seed(0)
    before = torch.rand(3000, 1, generator=source) - 0.5
    after = before + 0.1 * torch.randn(3000, 1, generator=source)
    predicted = torch.randn(3000, 2, generator=source)
    table = next_latents.bin_moves(before, after, predicted, scale=2.0)
    assert len(table) >= 19
    for row in table[[0, 7, -1]]:
        fact = dict(zip(next_latents.COLUMNS, row, strict=True))
        low = fact["latent"] - next_latents.BIN / 2
        moves, lengths, guesses = [], [], []
        for z, z_next, (goal, rho) in zip(before.tolist(), after.tolist(), predicted.tolist(), strict=True):
            if low <= z[0] < low + next_latents.BIN:
                moves.append(z_next[0] - z[0])
                lengths.append(2 * abs(z_next[0] - z[0]))
                guesses.append((goal - z[0], rho))
        assert fact["visits"] == len(moves)
        expected = [np.mean(moves), np.median(moves), np.mean([g for g, _ in guesses]), np.std(moves)]
        expected += [np.mean(lengths), np.median(lengths), np.mean([r for _, r in guesses])]
        assert row[2:] == pytest.approx(expected, abs=1e-5)


def test_walks_looked_at_on_their_way_are_separate_walks():
    config = phantom.Config(watch_steps=(1, 4, 5))
    models = Models(config, [0, 1]).requires_grad_(False)
    features = models.encoder(phantom.evenly_spread(2, 3))
    starts = draw_starts(config, StackedDraws([0, 1]), 120)
    for rule in phantom.RULES:
        for steps, (before, found) in phantom.walks(config, models, features, starts, rule).items():
            end, path = infer(models.predictor, features, starts, rule=rule, steps=steps, latent="interval")
            torch.testing.assert_close(found, end)
            torch.testing.assert_close(before, path[-2])


# --- What either norm learns ------------------------------------------------------------------------------------------


def test_the_norms_minimizers_are_median_and_mean():
    """Steps of 0.14 with probability 0.3 and -0.06 otherwise: the drift cancels, and the median does not notice."""
    moves = torch.cat([torch.full((30, 1), 0.14), torch.full((70, 1), -0.06)])
    guesses = np.linspace(-0.2, 0.2, 401)
    best = {}
    for norm in ("l1", "l2"):
        losses = [
            predictor_loss(torch.full((100, 2), guess), moves, torch.full((100,), guess), norm=norm)
            - (guess * torch.ones(100) - guess).abs().mean()
            for guess in guesses.tolist()
        ]
        best[norm] = guesses[int(torch.stack(losses).argmin())]
    assert best == pytest.approx({"l1": -0.06, "l2": 0.0}, abs=1e-3)


def test_l2_learns_the_mean_and_l1_goes_for_the_median():
    """Taught by the same generator, at the inputs where the answers are apart: the erratum on expectations."""
    for x in ("0.8", "1"):
        of_l1, of_l2 = (values(f"{norm}-relearned", f"closer_to_mean-x{x}") for norm in ("l1", "l2"))
        assert np.median(of_l1) > 0.9 and np.median(of_l2) < 0.7  # 1: as far from the mean as from the median
        assert np.median(of_l1) > np.median(of_l2) + 0.3
        assert np.median(values("l1-relearned", f"spread-x{x}")) > 0.3  # there is a choice to be made


def test_phantom_rates():
    plain, pushed, hybrid = (values("l2", f"phantom_rate-{rule}-20") for rule in phantom.RULES)
    assert 0.04 <= plain.mean() <= 0.12
    assert pushed.mean() <= 0.01 and pushed.max() <= 0.03
    assert hybrid.mean() <= 0.001
    assert values("l2", "phantom_rate-plain-100").max() <= 0.01  # slow, not stable
    assert values("l1", "phantom_rate-plain-20").max() < plain.min()
    assert load("phantom", "l2").minutes <= 1
    assert (values("l2", "reachable") == 1).all()


def test_both_answers_need_different_starts():
    for norm in ("l1", "l2"):
        assert np.median(values(norm, "both_modes-plain-20")) >= 0.9
        assert values(norm, "both_modes-one_start-20").max() == 0


def test_walks_find_an_answer_as_often_as_the_data_do():
    """If the searches reach it; with steps of a quarter of the length, a rare answer is not in the generator at all."""
    for p in (0.1, 0.2, 0.3, 0.4, 0.5):
        share = values(f"l1-reach-p{p:g}", "second_share-plain-20")
        assert share.mean() == pytest.approx(p, abs=0.06)
    for p in (0.1, 0.2):
        assert values(f"l1-p{p:g}", "reachable").max() == 0


# --- Momentum ---------------------------------------------------------------------------------------------------------


def test_momentum_grows_with_the_distance_to_the_truth():
    """Fig. 3's caption, against Sec. 4's "maximized near the true distribution"; and it does not fade to nothing."""
    for cell in ("l1-decayed", "l2-decayed"):
        both = values(cell, "reachable") == 1
        assert both.sum() >= 9  # one generator ignores its latent
        for x in ("0.4", "0.8", "1"):
            ranks = values(cell, f"spearman-x{x}")
            assert np.median(ranks) >= 0.65 and ranks[both].min() >= 0.65
            assert abs(np.median(values(cell, f"spearman_elsewhere-x{x}"))) < 0.6
    for x in ("0.8", "1"):
        assert (
            np.median(values("l2", f"rho_at_codes-x{x}"))
            > np.median(values("l2-decayed", f"rho_at_codes-x{x}"))
            > 0.05
        )


def test_a_phantom_is_where_the_displacement_vanishes_not_the_latent():
    """Sec. 4 writes E[z_{t+1}] ~ 0 for E[z_{t+1}] - z_t ~ 0."""
    still = 0.7 + torch.tensor([-0.1, 0.1])  # two searches from 0.7, one step each
    assert (still.mean() - 0.7).abs() < 1e-6 and still.mean() > 0.5
    models = Models(CELLS["l2"], [0])
    arrays = load_arrays("phantom", "l2")
    models.load_state_dict({name: torch.from_numpy(arrays[name]) for name in models.state_dict()})
    grid = torch.linspace(-1.5, 1.5, 3001)
    places = []
    for x in np.linspace(0.3, 1, 15):
        features = models.encoder(torch.full((1, len(grid), 1), float(x)))
        with torch.no_grad():
            drift = models.predictor(features, grid[None, :, None])[0, :, 0] - grid
        away = (drift[:-1] < 0) & (drift[1:] >= 0)  # the watershed
        places += grid[:-1][away].tolist()
    assert len(places) >= 15 and max(np.abs(places)) > 0.05


def test_eq_4_has_no_direction_at_a_phantom_and_leaves_the_sphere():
    prediction = torch.tensor([[0.6, 0.8, 0.3]])
    latents = prediction[:, :2]
    direction = (prediction[:, :2] - latents) / (prediction[:, :2] - latents).norm()
    assert direction.isnan().all()  # as printed
    torch.testing.assert_close(latent_update(prediction, latents, rule="momentum"), latents)
    assert values("l2", "eq4_error").max() < 1e-5
    assert values("l2-sphere2", "off_sphere").min() > 0


def test_what_momentum_costs():
    plain, pushed, hybrid = (values("l2", f"median_error-{rule}-20") for rule in phantom.RULES)
    assert (pushed > hybrid).all() and np.median(pushed) > np.median(plain) > np.median(hybrid)
    assert values("l2", "dither-momentum-20").min() > 100 * np.median(values("l2", "dither-plain-20"))
    assert np.median(values("l2", "phantom_rate-scale4-20")) > 0.01  # it strides over the codes


def test_when_momentum_hurts():
    """On spheres it strides past the codes, and there are few phantoms to pay for it; four times longer, it misses."""
    assert values("l2-sphere8", "saved-momentum-error").max() < 0
    assert np.median(values("l2-sphere2", "saved-momentum-error")) < 0
    assert np.median(values("l2-sphere8", "phantom_rate-plain-20")) < 0.01
    assert np.median(values("l2-sphere8", "phantom_rate-scale4-20")) > 0.05


def test_reported_misses_are_those_of_walks():
    inputs = phantom.evenly_spread(1, 50)
    assert inputs.shape == (1, 2000, 1) and 0.3 < inputs.min() < inputs.max() < 1
    rates = two_branches.walk_rates(inputs, torch.zeros(1, 2000, 3))
    assert rates["phantom_rate"] == rates["center_rate"] == [1.0]
    assert phantom.both_modes(inputs, torch.zeros(1, 2000, 3), 50) == [0.0]
