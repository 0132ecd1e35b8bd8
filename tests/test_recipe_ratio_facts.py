"""The recipe of ratios: its loops against the library, its laws on other draws, and what the records show."""

import numpy as np
import pytest
import torch

from ndiv_lib.hmgan import expansion_ratios
from ndiv_lib.recipes import digit_gans
from ndiv_lib.recipes import ratio_facts as recipe
from ndiv_lib.reporting.results import load


def values(cell, metric):
    return np.array(load("ratio_facts", cell).values[metric])


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("seed", [7, 8])
def test_formulas_equal_their_loops(p, seed):
    facts = recipe.layer_facts(recipe.Config(p=p), seed)
    assert facts["ratio_error"] < 1e-12
    assert max(facts[f"{name}_error"] for name in ("ld", "lh", "named")) < 1e-4
    wrong = recipe.layer_facts(recipe.Config(p=p, shuffle=True), seed)
    assert min(wrong[f"{name}_error"] for name in ("ratio", "ld", "lh")) > 1e-3


def test_the_product_is_mode_seeking_only_from_the_latents():
    """Erratum H3: with a layer as layer 1, the factor from the latent to it is missing."""
    for seed in range(20, 30):
        assert recipe.layer_facts(recipe.Config(), seed)["product_error"] < 1e-12
        assert recipe.layer_facts(recipe.Config(first="first_layer"), seed)["product_error"] > 0.05


def test_means_of_ratios_do_not_telescope():
    for seed in range(20, 30):
        facts = recipe.layer_facts(recipe.Config(), seed)
        assert facts["product_error_batch"] < 1e-12 < 1e-4 < facts["product_error_of_means"]


def test_sums_and_means_differ_by_the_growth_in_entries():
    facts = recipe.layer_facts(recipe.Config(), 3)
    assert facts["sum_over_mean_error"] < 1e-12
    assert facts["largest_sum_over_mean"] == 4.0  # 64 entries to 16


def test_the_sum_is_at_least_the_root_of_the_product():
    assert all(recipe.layer_facts(recipe.Config(), seed)["am_gm_margin"] >= 0 for seed in range(50))


def test_layers_without_normalization_have_any_ratios():
    for seed in range(20, 30):
        facts = recipe.layer_facts(recipe.Config(), seed)
        assert facts["gauge_output_change"] < 1e-12
        assert (
            max(facts["gauge_target_error"], facts["gauge_even_error"], facts["gauge_product_change"]) < 1e-12
        )
        assert facts["gauge_ratio_change"] > 2
        normalized = recipe.layer_facts(recipe.Config(normalize=True), seed)
        assert normalized["gauge_output_change"] < 1e-6
        assert normalized["gauge_ratio_change"] == pytest.approx(1, abs=1e-6)


def test_a_shared_condition_leaves_sums_as_they_are():
    """Erratum H10: joining the same vector to both changes no sum; a mean is divided by more entries."""
    random = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, 6, 8, generator=random, dtype=torch.float64)
    c = torch.randn(6, 40, generator=random, dtype=torch.float64)
    joined = [torch.cat([z, c], 1) for z in (a, b)]
    for p in (1, 2):
        ratios = {
            norm: expansion_ratios([a, joined[0]], [b, joined[1]], p=p, norm=norm) for norm in ("sum", "mean")
        }
        torch.testing.assert_close(ratios["sum"], torch.ones_like(ratios["sum"]))
        torch.testing.assert_close(ratios["mean"], torch.full_like(ratios["mean"], 6.0 ** (1 / p)))


def test_what_a_condition_does_depends_on_the_weights():
    for seed in (20, 21):
        fixed, fan_in = (
            recipe.shared_facts(recipe.Config(task="shared", weights=weights), seed)
            for weights in ("fixed", "fan_in")
        )
        assert fixed["input_mean"] == fan_in["input_mean"] == pytest.approx(8 / 48)
        assert fixed["input_sum"] == pytest.approx(1)
        assert fixed["output_mean"] > 0.9 > 0.7 > fan_in["output_mean"]


def test_the_regularizer_leaves_the_generator_alone():
    assert set(recipe.unchanged(recipe.PRESETS["unchanged"], 20).values()) == {0.0}
    assert recipe.unchanged(recipe.PRESETS["attention"], 20)["added_weights"] > 0


def test_named_configurations_are_the_printed_ones():
    assert recipe.PRINTED_TARGETS == {1: 0.0, 2: 1.0, 3: 0.5}
    for number, target in recipe.PRINTED_TARGETS.items():
        config = recipe.Config(named=number, expected_ratio=target)
        assert recipe.layer_facts(config, 20)["named_error"] < 1e-4


def test_a_path_starts_at_the_latents_and_a_seed_does_not_depend_on_its_neighbors():
    settings = digit_gans.Training(num_steps=2)
    alone, together = (digit_gans.train(settings, seeds) for seeds in ([1], [0, 1]))
    (path, _), (both, _) = (
        digit_gans.pairs(net, settings, seeds, 5) for net, seeds in ((alone, [1]), (together, [0, 1]))
    )
    assert [layer.shape[-1] for layer in path] == [8, 64, 64, 64]
    for one, two in zip(path, both, strict=True):
        torch.testing.assert_close(one[0], two[1], rtol=1e-4, atol=1e-5)


# --- Records ----------------------------------------------------------------------------------------------------------


def test_a_larger_condition_leaves_less_of_the_noise():
    """And a little of either regularizer brings it back, with the class kept."""
    shown = [values(f"shared-trained-c{dim}", "output_of_real") for dim in (10, 40, 160)]
    assert np.median(shown[0]) > np.median(shown[1]) > np.median(shown[2])
    right = np.median(values("shared-trained-c160", "right_class"))
    for name in ("mode_seeking", "hierarchical"):
        assert values(f"trained-{name}-w0.1-c160", "output_of_real").min() > 3 * shown[2].max()
        assert np.median(values(f"trained-{name}-w0.1-c160", "right_class")) > right - 0.1


def test_the_hierarchical_loss_evens_out_the_ratios():
    """At targets zero the expanding layer expands less than in a plain GAN."""
    plain, steered = (
        values(cell, "ratio2_after") for cell in ("shared-trained-c10", "trained-hierarchical-w1-c10")
    )
    assert plain.max() < steered.min()
