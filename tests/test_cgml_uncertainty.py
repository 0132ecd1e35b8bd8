"""Eq. 24 of cGML against known covariances, the spread of last layers against its definition, and calibrated intervals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib import cgml


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def linear(matrix):
    return lambda features, latents: latents @ matrix


@pytest.mark.parametrize("noise", ["gaussian", "ball"])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_covariance_of_a_linear_generator_is_known(noise, dim):
    matrix = torch.randn(dim, 3, generator=source(1), dtype=torch.float64)
    found = cgml.output_covariance(
        linear(matrix),
        None,
        torch.randn(4, dim, generator=source(2), dtype=torch.float64),
        noise_std=0.5,
        num_draws=20_000,
        noise=noise,
        data_variance=0.1,
        latent="interval",
        random=source(3),
    )
    known = 0.25 * matrix.T @ matrix + 0.1 * torch.eye(3)
    assert found.shape == (4, 3, 3)
    assert float((found - known).norm(dim=(1, 2)).max() / known.norm()) < 0.05


def test_variance_is_the_diagonal_of_the_covariance():
    z = torch.nn.functional.normalize(torch.randn(6, 4, generator=source()), dim=-1)
    matrix = torch.randn(4, 3, generator=source(1))
    options = {"noise_std": 0.1, "num_draws": 7, "data_variance": 0.2}
    full = cgml.output_covariance(linear(matrix), None, z, random=source(5), **options)
    diagonal = cgml.output_variance(linear(matrix), None, z, random=source(5), **options)
    torch.testing.assert_close(full.diagonal(dim1=-2, dim2=-1), diagonal)


def test_equals_the_double_loop_of_the_print():
    """1 / K sum G G^T - 1 / K^2 (sum G)(sum G)^T, with the same noise."""
    matrix, z = (
        torch.randn(2, 3, generator=source(1), dtype=torch.float64),
        torch.zeros(1, 2, dtype=torch.float64),
    )
    found = cgml.output_covariance(
        linear(matrix), None, z, noise_std=0.3, num_draws=5, latent="interval", random=source(4)
    )[0]
    random = source(4)
    steps = [torch.randn(1, 2, generator=random, dtype=torch.float64)[0] for _ in range(5)]
    outputs = [0.3 * step @ matrix for step in steps]
    for i in range(3):
        for j in range(3):
            products = sum(float(y[i] * y[j]) for y in outputs) / 5
            sums = sum(float(y[i]) for y in outputs) * sum(float(y[j]) for y in outputs) / 25
            assert float(found[i, j]) == pytest.approx(products - sums, abs=1e-12)


def test_a_ball_keeps_within_its_radius():
    farthest = []

    def generator(features, latents):
        farthest.append(float(latents.norm(dim=-1).max()))
        return latents

    cgml.output_variance(
        generator, None, torch.zeros(500, 3), noise_std=0.1, num_draws=10, noise="ball", latent="interval"
    )
    assert 0.99 < max(farthest) / (0.1 * math.sqrt(5)) <= 1 + 1e-5


def test_a_sphere_is_not_left():
    def generator(features, latents):
        torch.testing.assert_close(latents.norm(dim=-1), torch.ones(8))
        return latents

    z = cgml.draw_latents(8, 3, generator=source())
    assert float(cgml.output_variance(generator, None, z, noise_std=0.5).min()) > 0


def test_outputs_of_any_shape_have_a_variance_and_images_no_covariance():
    def generator(features, latents):
        return latents[..., None, None].expand(5, 2, 4, 4)

    z = torch.nn.functional.normalize(torch.randn(5, 2), dim=-1)
    assert cgml.output_variance(generator, None, z, noise_std=0.1).shape == (5, 2, 4, 4)
    with pytest.raises(ValueError, match="flatten"):
        cgml.output_covariance(generator, None, z, noise_std=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise_std": 0.0}, "noise_std > 0"),
        ({"noise_std": -1.0}, "noise_std > 0"),
        ({"noise_std": float("nan")}, "noise_std > 0"),
        ({"num_draws": 1}, "num_draws >= 2"),
        ({"noise": "uniform"}, "noise to be one of"),
        ({"latent": "ball"}, "latent to be one of"),
        ({"latent": "sphere"}, "unit sphere"),
    ],
)
def test_bad_arguments_are_refused(change, message):
    arguments = {"noise_std": 0.1, "latent": "interval"} | change
    with pytest.raises(ValueError, match=message):
        cgml.output_variance(linear(torch.eye(2)), None, torch.zeros(3, 2), **arguments)


# --- Last layers that agree on the data -------------------------------------------------------------------------------


@given(
    batch=st.sampled_from([(), (3,), (2, 2)]),
    num=st.integers(2, 40),
    width=st.integers(1, 12),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_mean_over_the_data_is_the_error_there(batch, num, width, seed):
    hidden = torch.randn(*batch, num, width, generator=source(seed))
    errors = torch.randn(*batch, num, 3, generator=source(seed + 1))
    variance = cgml.fit_head_spread(hidden, errors).variance(hidden)
    assert variance.shape == errors.shape
    torch.testing.assert_close(variance.mean(-2), errors.square().mean(-2), rtol=1e-3, atol=1e-6)


def test_equals_the_spread_of_drawn_last_layers():
    """Draw w evenly on the ellipsoid w^T C w = s^2 and look how far answers move."""
    hidden = torch.randn(50, 3, generator=source(1), dtype=torch.float64)
    rows = torch.cat([hidden, torch.ones(50, 1, dtype=torch.float64)], 1)
    root = torch.linalg.cholesky(rows.T @ rows / 50)
    errors = torch.full((50, 1), 0.2, dtype=torch.float64)
    units = torch.randn(200_000, 4, generator=source(2), dtype=torch.float64)
    weights = 0.2 * torch.linalg.solve(root.T, (units / units.norm(dim=1, keepdim=True)).T)  # (4, draws)
    on_data = (rows @ weights).square().mean(0)
    torch.testing.assert_close(on_data, torch.full_like(on_data, 0.04))  # as the error itself
    elsewhere = torch.tensor([[5.0, -3.0, 1.0]], dtype=torch.float64)
    moved = torch.cat([elsewhere, torch.ones(1, 1, dtype=torch.float64)], 1) @ weights
    found = cgml.fit_head_spread(hidden, errors, ridge=1e-12).variance(elsewhere)
    assert float(found) == pytest.approx(float(moved.square().mean()), rel=0.02)


def test_does_not_depend_on_the_units_of_features():
    hidden, errors = torch.randn(100, 4, generator=source(1)), torch.randn(100, 2, generator=source(2))
    asked = 3 * torch.randn(7, 4, generator=source(3))
    mixed = torch.randn(4, 4, generator=source(4))
    one = cgml.fit_head_spread(hidden, errors, ridge=1e-10).variance(asked)
    other = cgml.fit_head_spread(hidden @ mixed, errors, ridge=1e-10).variance(asked @ mixed)
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)


def test_a_line_is_least_sure_far_out_and_does_not_see_a_gap():
    """What the measure cannot do: the middle of the data counts as known, whether there are data or not."""
    two_parts = torch.cat([torch.linspace(-2, -1, 50), torch.linspace(1, 2, 50)])[:, None]
    spread = cgml.fit_head_spread(two_parts, torch.ones(100, 1), ridge=1e-9)
    gap, edge, out = spread.variance(torch.tensor([[0.0], [2.0], [6.0]]))[:, 0]
    assert gap < edge < out / 5


def test_bad_data_for_heads_are_refused():
    hidden, errors = torch.randn(10, 4), torch.randn(10, 2)
    with pytest.raises(TypeError, match=r"errors.*floating"):
        cgml.fit_head_spread(hidden, errors.long())
    with pytest.raises(ValueError, match="same n >= 2"):
        cgml.fit_head_spread(hidden, errors[:5])
    with pytest.raises(ValueError, match="same n >= 2"):
        cgml.fit_head_spread(hidden[:1], errors[:1])
    with pytest.raises(ValueError, match="finite hidden"):
        cgml.fit_head_spread(hidden / 0, errors)
    with pytest.raises(ValueError, match="finite errors"):
        cgml.fit_head_spread(hidden, errors / 0)
    with pytest.raises(ValueError, match="errors on meta"):
        cgml.fit_head_spread(hidden, errors.to("meta"))
    with pytest.raises(ValueError, match="ridge > 0"):
        cgml.fit_head_spread(hidden, errors, ridge=0.0)
    with pytest.raises(ValueError, match="expected 4 features, got 5"):
        cgml.fit_head_spread(hidden, errors).variance(torch.randn(3, 5))


# --- Intervals --------------------------------------------------------------------------------------------------------


@given(num=st.integers(10, 200), coverage=st.sampled_from([0.5, 0.8, 0.9]), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_factor_holds_the_share_asked_for(num, coverage, seed):
    errors = torch.randn(2, num, 1, generator=source(seed), dtype=torch.float64)
    std = 0.1 + torch.rand(2, num, 1, generator=source(seed + 1), dtype=torch.float64)
    factor = cgml.interval_factor(errors, std, coverage=coverage)
    held = (errors.abs() <= factor[:, None, None] * std * (1 + 1e-9)).double()  # up to rounding
    held = held.mean((1, 2))
    assert factor.shape == (2,)
    assert bool((held >= coverage).all()) and bool((held <= coverage + 2 / num + 1e-9).all())


def test_factor_of_normal_errors_is_the_normal_quantile():
    errors = torch.randn(100_000, 1, generator=source())
    assert float(cgml.interval_factor(errors, torch.ones_like(errors))) == pytest.approx(1.645, abs=0.02)


def test_bad_intervals_are_refused():
    errors = torch.randn(20, 1)
    with pytest.raises(ValueError, match="one shape"):
        cgml.interval_factor(errors, torch.ones(20, 2))
    with pytest.raises(ValueError, match="finite errors"):
        cgml.interval_factor(errors / 0, torch.ones(20, 1))
    with pytest.raises(TypeError, match=r"errors.*floating"):
        cgml.interval_factor(errors.long(), torch.ones(20, 1))
    with pytest.raises(ValueError, match="positive standard deviations"):
        cgml.interval_factor(errors, torch.zeros(20, 1))
    with pytest.raises(ValueError, match="coverage in"):
        cgml.interval_factor(errors, torch.ones(20, 1), coverage=1.0)
    with pytest.raises(ValueError, match="more held-out answers than 20"):
        cgml.interval_factor(errors, torch.ones(20, 1), coverage=0.99)
