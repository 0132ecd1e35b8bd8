"""The small claims: each preset runs, each fact is computed another way, and the records say what the chapter says."""

import pytest
import torch

from ndiv_lib.baselines import bourgain_embedding
from ndiv_lib.recipes import small_claims as recipe


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())
    assert torch.tensor([*measured.values.values()]).isfinite().all()


@pytest.mark.parametrize("base", ["nonsaturating", "vae", "regression"])
def test_a_seed_does_not_depend_on_its_neighbors(base):
    config = recipe.smoke(recipe.PRESETS[f"{base}-ndiv"])
    alone, together = (recipe.train(config, seeds) for seeds in ([1], [0, 1]))
    assert torch.allclose(alone[0], together[1], atol=1e-5)


def test_best_of_n_falls_with_the_dimensions_root():
    """A ball of radius r holds a share 4/3 pi r^3 of the cube's guesses, so the best of n is about (0.24 / n)^(1/3) away."""
    config = recipe.Config(experiment="best_of_n", joints_scored=1, num_guesses=20_000)
    errors = [recipe.best_of_n(config, seed)["error"] for seed in range(10)]
    assert sum(errors) / 10 == pytest.approx((0.24 / 20_000) ** (1 / 3), rel=0.3)
    pose = recipe.best_of_n(recipe.Config(experiment="best_of_n", num_guesses=2000), 0)
    assert pose["error_share"] > 0.6


def test_a_rounded_heatmap_has_no_gradient():
    joints = torch.tensor([[3.3, 4.6]], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(recipe.SIDE, recipe.SIDE, generator=torch.Generator().manual_seed(0)).double()
    for kernel, moves in (("rounded", False), ("bilinear", True), ("gaussian", True)):
        value = (weights * recipe.heatmap(joints, kernel)).sum()
        (gradient,) = torch.autograd.grad(value, joints)
        assert bool(gradient.norm() > 0) == moves
    for kernel in ("gaussian", "bilinear"):
        assert torch.autograd.gradcheck(lambda x, k=kernel: recipe.heatmap(x, k), joints)


def test_a_hand_with_nothing_occluded_divides_by_zero():
    row = recipe.mask(recipe.PRESETS["none_occluded"], 0)
    assert row["undefined"] == 1 and row["refused"] == 1


def test_masked_joints_stay_where_they_are():
    row = recipe.mask(recipe.PRESETS["some_occluded"], 0)
    assert row["visible_growth"] == pytest.approx(1) and row["occluded_growth"] > 2


def test_veegan_never_compares_two_real_samples():
    dependence = {
        method: recipe.pair_information(recipe.PRESETS[f"pairs-{method}"], 0)["pair_dependence"]
        for method in ("gan", "veegan", "pacgan", "bourgan")
    }
    assert dependence["gan"] == dependence["veegan"] == 0
    assert dependence["pacgan"] > 0 and dependence["bourgan"] > 0


def test_one_point_cannot_be_embedded():
    with pytest.raises(ValueError, match="at least 2 points"):
        bourgain_embedding(torch.zeros(1, 2))


def test_sectors_share_the_plane():
    angle = torch.linspace(-3.1, 3.1, 101)
    points = torch.stack([angle.cos(), angle.sin()], -1)
    assert recipe.sector(points, 4).bincount().tolist() == [25, 25, 26, 25]


def test_training_data_are_grouped_by_condition_unless_shuffled():
    config = recipe.PRESETS["conditional-gan"]
    data = recipe.training_data(config, [0])
    assert (recipe.sector(data, 4) == torch.arange(4)[None, :, None]).all()
    shuffled = recipe.training_data(recipe.PRESETS["conditional-pacgan-shuffled"], [0])
    assert (recipe.sector(shuffled, 4) == torch.arange(4)[None, :, None]).float().mean() < 0.5
