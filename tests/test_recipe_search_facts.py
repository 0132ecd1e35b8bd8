"""What of the search needs no training: App. 2.1 computed, what the penalty sees, Algorithm 1 against the printed loop."""

import numpy as np
import pytest
import torch

from ndiv_lib.recipes import search_facts as recipe

SEEDS = range(20, 23)


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


def facts(seed=20, **changes):
    return recipe.bound_facts(recipe.Config(num_pairs=50, **changes), seed)


def test_the_bound_holds_and_its_proof_has_one_inequality_the_wrong_way():
    """Erratum C5: a difference quotient in one direction is at most the gradient's norm, and equal to it on a line."""
    for seed in SEEDS:
        plain, line = facts(seed), facts(seed, latent_dim=1)
        assert plain["bound_violated"] == 0
        assert plain["eq10_violated"] > 0.9 and plain["eq10_ratio"] < 0.8
        assert line["eq10_violated"] == 0
        assert facts(seed, shuffle=True)["bound_violated"] > 0


def test_the_limit_in_eq_10_is_a_directional_derivative():
    """By finite differences, without any Jacobian: Eq. 10's quotient for G(z) = A z is |A u|, below the norm of A."""
    matrix = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    unit = torch.tensor([0.6, 0.8], dtype=torch.float64)
    quotient = (matrix @ (1e-4 * unit)).norm() / 1e-4
    assert float(quotient) == pytest.approx(2.08**0.5, rel=1e-9)
    assert quotient < torch.linalg.matrix_norm(matrix, ord=2) == 2


def test_a_vector_cannot_be_pulled_out_to_the_left():
    """Erratum C5: Eq. 8 has the vector before the Jacobian; where that product exists it is another."""
    assert all(facts(seed, latent_dim=3)["eq8_error"] > 0.05 for seed in SEEDS)
    assert "eq8_error" not in facts()
    turn = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    vector = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert (turn @ vector).norm() == 0 < 2 == (vector @ turn).norm()


def test_without_limits_the_integral_may_be_too_small():
    """Erratum C6: taken over the path's length instead of over [0, 1], it bounds no quotient of near latents."""
    assert all(facts(seed)["along_path_violated"] > 0.2 for seed in SEEDS)


def test_the_straight_path_leaves_the_sphere():
    """Erratum C6: z / |z| has the constant 1 between any two latents of the sphere, and the integral exceeds it inside."""
    for seed in SEEDS:
        found = facts(seed, generator="radial", latents="sphere", output_dim=4)
        assert found["nearest_to_center"] < 0.5
        assert found["integral_over_constant"] > 1.5


def test_a_generator_that_ignores_its_latent_satisfies_the_bound():
    """Erratum C7."""
    ignoring, linear = facts(generator="ignoring"), facts(generator="linear")
    assert ignoring["bound_violated"] == linear["bound_violated"] == 0
    assert ignoring["largest_gradient"] == 0 < 0.1 < linear["smallest_gradient"]


def test_the_penalty_does_not_see_how_steep_a_step_is():
    """Erratum C8: a step 100 times as steep costs the same; one 100 times as tall costs 100 times as much."""
    for seed in SEEDS:
        steeper = recipe.penalty_facts(recipe.Config(task="penalty"), seed)
        taller = recipe.penalty_facts(recipe.Config(task="penalty", growth="taller"), seed)
        assert steeper["lipschitz_growth"] == taller["lipschitz_growth"] == pytest.approx(100)
        assert steeper["penalty_growth"] == pytest.approx(1, abs=0.08)
        assert taller["penalty_growth"] == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize("nesting", ["once", "every_step"])
def test_the_library_is_the_printed_loop(nesting):
    config = recipe.Config(task="algorithm", nesting=nesting)
    assert recipe.algorithm_facts(config, 20)["weight_error"] < 1e-9
    reversed_ = recipe.Config(task="algorithm", nesting=nesting, reversed=True)
    assert recipe.algorithm_facts(reversed_, 20)["weight_error"] > 1e-4
