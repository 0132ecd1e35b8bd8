"""The recipe of spectral facts: its loops against the library, and what the records show."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ndiv_lib.recipes import spectral_facts as recipe
from ndiv_lib.recipes.spectral_solids import chair, look_up, modelnet, view
from ndiv_lib.reporting.results import load, load_arrays
from ndiv_lib.spectral import ZernikeTransform

VOXELS = Path(os.environ.get("NDIV_DATA") or "data") / "modelnet10_voxels" / "voxels32.npz"
needs_voxels = pytest.mark.skipif(not VOXELS.is_file(), reason=f"needs ModelNet10 voxels at {VOXELS}")


def values(cell, metric):
    return np.array(load("spectral_facts", cell).values[metric])


@pytest.mark.parametrize(
    "preset",
    [pytest.param(name, marks=needs_voxels if name == "modelnet" else ()) for name in recipe.PRESETS],
)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [20, 21])
    assert all(len(one) == 2 and np.isfinite(one).all() for one in measured.values.values())


def test_the_printed_integral_is_zero():
    """Erratum C21: with the limits of Eq. 30 as printed the polar angle runs to 2 pi, and every coefficient vanishes."""
    assert recipe.harmonics(recipe.Config(), 20)["eq30_largest"] < 1e-12


def test_a_direct_sum_rebuilds_what_the_transform_does():
    transform = ZernikeTransform(4)
    function = torch.randn(
        transform.weights.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    table = recipe.radial_table(4, transform.radius, "orthonormal")
    wanted = transform.synthesize(transform.analyze(function)).real
    torch.testing.assert_close(recipe.rebuild(function, transform, table), wanted)


def test_the_printed_counts_are_recounted():
    facts = recipe.counts(recipe.Config(task="counts", max_degree=2), 0)
    assert (facts["zernike"], facts["zernike_nonnegative"], facts["zernike_pairs"]) == (10, 7, 4)


def test_half_the_samples_are_solved_for_any_degree():
    facts = recipe.sampling(recipe.Config(task="sampling", max_degree=7, weights="least_squares"), 20)
    assert facts["num_samples"] == 8 * 15
    assert facts["largest_error"] < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_chairs_fit_into_the_ball(seed):
    points = (
        2 * torch.rand(100_000, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    )
    inside = chair(points, seed)
    assert 0.01 < inside.double().mean() < 0.1
    assert points[inside].norm(dim=1).max() < 1


def test_looking_up_a_smooth_function():
    """Linear between the samples: the error falls with the square of their distance."""
    transform = ZernikeTransform(3, num_radii=40, num_samples=64)
    points = 1.2 * torch.rand(1000, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 0.6

    def function(p):
        return p[..., 0] * p[..., 1] + p[..., 2]

    found = look_up(function(transform.points), transform, points)
    inside = points.norm(dim=1) <= 1
    assert (found - function(points))[inside].abs().max() < 0.01
    assert (found[~inside] == 0).all()


def test_a_picture_shows_where_the_solid_is():
    picture = view(lambda points: (points.norm(dim=-1) < 0.5).double(), size=60)
    share = float((picture < 1).double().mean())
    assert share == pytest.approx(math.pi * 0.25 / 1.8**2, rel=0.1)


@needs_voxels
def test_voxels_fill_the_ball():
    points = 2 * torch.rand(100_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    for seed in range(3):
        inside = modelnet(points, seed)
        assert inside.any()
        assert 0.8 < points[inside].norm(dim=1).max() <= 1


# --- Records ----------------------------------------------------------------------------------------------------------


def test_targets_of_precision_are_met():
    assert values("harmonics-condon_shortley", "gram_error").max() <= 1e-12
    assert values("zernike-orthonormal", "gram_error").max() <= 1e-12
    assert values("sampling-127", "largest_error").max() <= 1e-10


def test_plain_sine_weights_lose_many_digits():
    assert values("sampling-127-sine", "largest_error").min() > 1e-3
    assert values("sampling-127-least_squares", "largest_error").max() < 1e-10


def test_a_wrong_limit_alone_hurts_the_constant_in_angle_only():
    """With the right binomial, the printed limit still breaks degree 0; both together are orthogonal nowhere."""
    for cell in ("zernike-printed", "zernike-printed_binomial", "zernike-printed_limit"):
        assert values(cell, "off_diagonal").min() > 0.1


def test_printed_formulas_do_not_rebuild_a_chair():
    mended, third, printed = (
        values(f"chairs-{formula}", "overlap24") for formula in ("orthonormal", "corrected", "printed")
    )
    assert mended.min() > 0.75
    assert third.max() == 0  # at a third of its height nothing is above one half
    assert printed.max() < 0.2
    views = load_arrays("spectral_facts", "chairs-orthonormal")["views"]
    assert views.dtype == np.uint8
    assert views.shape == (1, 2, 160, 160)


def test_more_moments_rebuild_more():
    for cell in ("chairs", "modelnet"):
        for few, many in ((9, 16), (16, 30)):
            assert (values(cell, f"energy{few}") < values(cell, f"energy{many}")).all()
            assert (values(cell, f"overlap{few}") < values(cell, f"overlap{many}")).all()


def test_the_spectrum_knows_a_turned_chair_from_another_one():
    turned, other = (values("rotation", f"{name}_spectrum_change") for name in ("chair", "other_chair"))
    assert 3 * turned.max() < other.min()
    assert values("rotation", "spectrum_change").max() < 1e-12
    assert values("rotation", "moments_change").min() > 0.5
