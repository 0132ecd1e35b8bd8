"""Distances: exact under collapse, right gradients, invariances, clear errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from ndiv_lib import normalized_distances, pairwise_distances


def by_loop(points, p=2, mask=None):
    """Eq. 1-2 pair by pair in float64, independent of the library."""
    points = points.double()
    n = len(points)
    out = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            if i != j:
                difference = points[i] - points[j]
                if mask is not None:
                    difference = difference[mask[i] & mask[j]]
                out[i, j] = difference.abs().sum() if p == 1 else difference.square().sum().sqrt()
    return out


def clusters(num_clusters, n=64, d=512, spread=1e-4):
    """``num_clusters`` clusters 1 apart, around a common offset, with points ``spread`` apart."""
    generator = torch.Generator().manual_seed(num_clusters)
    centers = torch.eye(max(num_clusters, 1), d, dtype=torch.float64) / 2**0.5
    noise = torch.randn(n, d, dtype=torch.float64, generator=generator) / (2 * d) ** 0.5
    return (1 + centers[torch.arange(n) % num_clusters] + spread * noise).float()


def relative_error(got, expected):
    return float((got.detach().double() - expected.detach().double()).norm() / expected.double().norm())


@pytest.mark.parametrize("d", [2, 40, 5000])
@pytest.mark.parametrize("p", [1, 2])
def test_equals_the_double_loop(d, p):
    points = torch.randn(7, d, generator=torch.Generator().manual_seed(0))
    assert_close(pairwise_distances(points, p=p).double(), by_loop(points, p), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_clusters", [1, 2, 8])
def test_collapsed_clusters_keep_value_and_gradient(num_clusters):
    points = clusters(num_clusters)
    weights = torch.rand(64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    exact, expected = points.double().requires_grad_(), by_loop(points)
    got = points.clone().requires_grad_()
    distances = pairwise_distances(got)
    assert relative_error(distances, expected) < 1e-4
    within = (torch.arange(64)[:, None] - torch.arange(64)) % num_clusters == 0
    assert relative_error(distances * within, expected * within) < 1e-4, (
        "the small distances, not only the large ones"
    )

    (distances * weights).sum().backward()
    difference = exact[:, None] - exact
    norm = difference.square().sum(-1)
    norm = torch.where(norm > 0, norm, 1.0).sqrt() * (norm > 0)
    (norm * weights).sum().backward()
    assert relative_error(got.grad, exact.grad) < 1e-4


def test_default_cdist_would_fail_here():
    """The reason for our own products: what the obvious call does to collapsed samples."""
    points = clusters(1)
    assert relative_error(torch.cdist(points, points), by_loop(points)) > 0.1


@pytest.mark.parametrize("d", [3, 20])
def test_first_and_second_derivatives(d):
    points = torch.randn(
        5, d, dtype=torch.float64, requires_grad=True, generator=torch.Generator().manual_seed(0)
    )
    assert torch.autograd.gradcheck(pairwise_distances, (points,))
    assert torch.autograd.gradgradcheck(pairwise_distances, (points,))


@pytest.mark.parametrize("p", [1, 2])
def test_mask_compares_what_both_points_show(p):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(6, 30, generator=generator)
    mask = torch.rand(6, 30, generator=generator) > 0.4
    assert_close(
        pairwise_distances(points, p=p, mask=mask).double(), by_loop(points, p, mask), rtol=1e-5, atol=1e-6
    )
    double = points.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pairwise_distances(x, p=p, mask=mask), (double,))
    hidden = torch.where(mask, points, torch.nan)
    assert_close(pairwise_distances(hidden, p=p, mask=mask), pairwise_distances(points, p=p, mask=mask))


@pytest.mark.parametrize("d", [2, 300])
def test_coincident_points_have_distance_and_gradient_zero(d):
    points = torch.full((5, d), 3.3, requires_grad=True)
    distances = pairwise_distances(points)
    distances.sum().backward()
    assert bool((distances == 0).all()) and bool((points.grad == 0).all())


def test_hidden_large_constant_does_not_hide_small_differences():
    points = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)) * 1e-3
    with_constant = torch.cat([points, torch.full((8, 1), 1e4)], dim=1)
    assert_close(pairwise_distances(with_constant), pairwise_distances(points), rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [1, 2])
def test_half_precision_is_computed_in_float32_or_better(dtype, p):
    points = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances = pairwise_distances(points, p=p)
    assert distances.dtype == torch.float32
    assert_close(distances.double(), by_loop(points.detach(), p), rtol=1e-5, atol=1e-6)
    distances.sum().backward()
    assert points.grad.dtype == dtype and bool(torch.isfinite(points.grad).all())


@pytest.mark.parametrize("d", [3, 20])
def test_compile_and_vmap(d):
    points = torch.randn(3, 5, d, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(normalized_distances, backend="aot_eager", fullgraph=True)
    assert_close(compiled(points), normalized_distances(points))
    mapped = torch.func.vmap(lambda x: pairwise_distances(x, check_values=False))(points)
    assert_close(mapped, pairwise_distances(points))


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(2, 9),
    d=st.integers(1, 40),
    batch=st.lists(st.integers(1, 3), max_size=2),
    scale=st.floats(1e-6, 1e6),
    seed=st.integers(0, 99),
)
def test_shapes_and_metric_properties(n, d, batch, scale, seed):
    points = scale * torch.randn(*batch, n, d, generator=torch.Generator().manual_seed(seed))
    distances = pairwise_distances(points)
    assert distances.shape == (*batch, n, n)
    assert_close(distances, distances.mT)
    assert bool((distances.diagonal(dim1=-2, dim2=-1) == 0).all())
    normalized = normalized_distances(points)
    assert_close(normalized.sum(-1), torch.ones(*batch, n))
    assert_close(normalized, normalized_distances(points * 3))


def test_condition_keeps_rows_inside_their_group():
    points = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    condition = torch.tensor([0, 1, 0, 1, 0, 1])
    got = normalized_distances(points, condition=condition)
    for group in (0, 1):
        members = condition == group
        assert_close(got[members][:, members], normalized_distances(points[members]))
        assert bool((got[members][:, ~members] == 0).all())


@pytest.mark.parametrize(
    ("points", "arguments", "error", "message"),
    [
        ([[1.0]], {}, TypeError, "torch.Tensor"),
        (torch.ones(3, 2, dtype=torch.int64), {}, TypeError, r"\.float\(\)"),
        (torch.ones(3), {}, ValueError, "at least 2 dimensions"),
        (torch.ones(3, 2), {"p": 3}, ValueError, "one of 1, 2"),
        (torch.tensor([[1.0], [float("nan")]]), {}, ValueError, "finite"),
        (torch.tensor([[1.0] * 20, [float("inf")] * 20]), {}, ValueError, "finite"),
        (torch.tensor([[1.0] * 20, [float("nan")] * 20]), {}, ValueError, "finite"),
        (torch.ones(3, 2), {"mask": torch.ones(3, 2)}, TypeError, "boolean"),
        (torch.ones(3, 2), {"mask": torch.ones(3, 3, dtype=torch.bool)}, ValueError, "shape"),
    ],
)
def test_bad_input_is_refused(points, arguments, error, message):
    with pytest.raises(error, match=message):
        pairwise_distances(points, **arguments)


def test_normalizing_needs_two_points_and_integer_conditions():
    with pytest.raises(ValueError, match="at least 2 points"):
        normalized_distances(torch.ones(1, 2))
    with pytest.raises(TypeError, match="integer"):
        normalized_distances(torch.rand(3, 2), condition=torch.ones(3))
    with pytest.raises(ValueError, match="one integer per sample"):
        normalized_distances(torch.rand(3, 2), condition=torch.ones(4, dtype=torch.int64))
