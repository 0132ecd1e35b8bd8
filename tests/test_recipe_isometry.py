"""Jacobians of generators: measures of a known map, and what the records say."""

import math

import pytest
import torch

from ndiv_lib.recipes import isometry
from ndiv_lib.reporting.results import load
from ndiv_lib.training import StackedDraws, StackedMLP


@pytest.mark.parametrize("preset", isometry.PRESETS)
def test_every_preset_runs(preset):
    measured = isometry.run(isometry.smoke(isometry.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())


def test_a_similarity_is_recognized():
    row = isometry.measure(torch.full((50, 2), 3.0))
    assert row["from_similarity"] == pytest.approx(1) and row["from_isometry"] == pytest.approx(3)
    sheared = isometry.measure(torch.tensor([[4.0, 1.0]]).expand(50, -1))
    assert sheared["anisotropy"] == pytest.approx(4) and sheared["from_similarity"] == pytest.approx(2)


def test_jacobians_equal_finite_differences():
    generator = StackedMLP([2, 16, 2], StackedDraws([0, 1]).generators).double()
    latents = StackedDraws([0, 1]).rand(5, 2).double()
    step = 1e-6 * torch.eye(2, dtype=torch.float64)
    columns = [(generator(latents + e) - generator(latents - e)) / 2e-6 for e in step]
    reference = torch.linalg.svdvals(torch.stack(columns, dim=-1))
    assert torch.allclose(isometry.jacobian_singular_values(generator, latents), reference, atol=1e-6)


def test_the_map_is_a_similarity_and_no_isometry():
    alone = load("isometry", "alone_1.0").values
    assert max(alone["from_similarity"]) < 1.2
    assert min(abs(math.log(value)) for value in alone["from_isometry"]) > math.log(2)
