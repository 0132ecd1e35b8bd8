"""The bound of a ratio against the whole matrix in float64: every tile, collapse, ties, what is counted, what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from ndiv_lib.expansion_bound import expansion_ratio_bound


def matrix(inputs, outputs, p=1, norm="mean"):
    """Eq. 7 in float64 by broadcasting: the ratios of all pairs u < v, 0 / 0 as NaN, and their indices."""

    def distances(points):
        points = points.double().flatten(1).numpy()
        difference = points[:, None] - points[None]
        entries = difference.shape[-1] if norm == "mean" else 1
        return (
            np.abs(difference).sum(-1) / entries
            if p == 1
            else np.sqrt((difference**2).sum(-1)) / entries**0.5
        )

    rows, columns = np.triu_indices(len(inputs), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (distances(inputs) / distances(outputs))[rows, columns], list(zip(rows, columns, strict=True))


def layer(m, f=20, g=30, seed=0):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.randn(m, f, generator=random)
    return inputs, torch.relu(inputs @ torch.randn(f, g, generator=random))


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("norm", ["mean", "sum"])
def test_it_is_the_least_entry_of_the_matrix(p, norm):
    inputs, outputs = layer(70)
    ratios, pairs = matrix(inputs, outputs, p, norm)
    levels = (0.0, 0.01, 0.25, 0.5, 0.999, 1.0)
    found = expansion_ratio_bound(inputs, outputs, p=p, norm=norm, tile=32, quantiles=levels)
    assert found.minimum == pytest.approx(ratios.min(), rel=1e-6)
    assert found.pair == pairs[ratios.argmin()]
    assert found.mean == pytest.approx(ratios.mean(), rel=1e-6)
    assert list(found.quantiles.values()) == pytest.approx(
        np.quantile(ratios, levels, method="lower"), rel=1e-6
    )
    assert found.quantiles[0.0] == found.minimum
    assert (found.num_pairs, found.num_infinite, found.num_identical) == (70 * 69 // 2, 0, 0)


def test_images_and_the_ratio_of_means():
    random = torch.Generator().manual_seed(1)
    inputs, outputs = torch.randn(9, 8, generator=random), torch.randn(9, 3, 4, 4, generator=random)
    ratios, _ = matrix(inputs, outputs)
    flat = [points.flatten(1).double() for points in (inputs, outputs)]
    before, after = (torch.pdist(points, p=1).mean() / points.shape[1] for points in flat)
    found = expansion_ratio_bound(inputs, outputs)
    assert found.minimum == pytest.approx(ratios.min(), rel=1e-6)
    assert found.ratio_of_means == pytest.approx(float(before / after), rel=1e-6)


@pytest.mark.parametrize("f", [1, 255, 257, 3000])
def test_any_width_any_spread(f):
    """Clusters of spread 1e-4, the regime of collapse, and layers wider than one block of columns."""
    random = torch.Generator().manual_seed(2)
    centers = torch.randn(2, f, generator=random)
    outputs = centers[torch.arange(60) % 2] + 1e-4 * torch.randn(60, f, generator=random)
    inputs = torch.randn(60, 4, generator=random)
    for p in (1, 2):
        ratios, _ = matrix(inputs, outputs, p)
        found = expansion_ratio_bound(inputs, outputs, p=p, quantiles=[0.5, 1.0])
        expected = [ratios.min(), *np.quantile(ratios, [0.5, 1.0], method="lower")]
        assert [found.minimum, *found.quantiles.values()] == pytest.approx(expected, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(2, 40),
    tile=st.integers(1, 50),
    p=st.sampled_from([1, 2]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    values=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_the_same_for_every_tile_also_with_ties_and_coincidences(m, tile, p, dtype, values, seed):
    """Inputs on a coarse grid: many pairs share a ratio, many coincide."""
    random = torch.Generator().manual_seed(seed)
    inputs, outputs = (torch.randint(values + 1, (m, 2), generator=random).to(dtype) for _ in range(2))
    ratios, pairs = matrix(inputs, outputs, p)
    defined = ratios[~np.isnan(ratios)]
    if not len(defined):
        with pytest.raises(ValueError, match="at least one pair that differs"):
            expansion_ratio_bound(inputs, outputs, p=p, tile=tile)
        return
    levels = [0.0, 0.3, 1.0]
    found = expansion_ratio_bound(inputs, outputs, p=p, tile=tile, quantiles=levels)
    other = expansion_ratio_bound(inputs, outputs, p=p, quantiles=levels)
    assert found.mean == pytest.approx(other.mean)
    assert (found.minimum, found.quantiles, found.pair) == (other.minimum, other.quantiles, other.pair)
    counts = (len(defined), np.isinf(defined).sum(), np.isnan(ratios).sum())
    assert (found.num_pairs, found.num_infinite, found.num_identical) == counts
    assert found.minimum == pytest.approx(defined.min(), rel=1e-6)
    at_pair = ratios[pairs.index(found.pair)]
    assert at_pair == pytest.approx(defined.min(), rel=1e-6)
    assert found.pair == pairs[np.flatnonzero(ratios == at_pair)[0]]
    expected = np.sort(defined)[[math.floor(q * (len(defined) - 1)) for q in levels]]
    assert list(found.quantiles.values()) == pytest.approx(expected, rel=1e-6)
    assert not any(math.isnan(value) for value in (found.mean, found.minimum, found.ratio_of_means))


def test_coincident_outputs_count_as_infinite_and_are_reported():
    inputs = torch.tensor([[0.0], [1.0], [2.0], [2.0]])
    outputs = torch.tensor([[0.0], [0.0], [4.0], [4.0]])
    found = expansion_ratio_bound(inputs, outputs, quantiles=[0.5, 1.0])
    assert (found.num_infinite, found.num_identical, found.num_pairs) == (1, 1, 5)
    assert (found.minimum, found.pair, found.mean) == (0.25, (1, 2), math.inf)
    assert found.quantiles == {0.5: 0.5, 1.0: math.inf}
    assert found.ratio_of_means == pytest.approx((1 + 2 + 2 + 1 + 1) / 16)
    total = expansion_ratio_bound(torch.arange(3.0)[:, None], torch.zeros(3, 1))
    assert total.minimum == total.mean == total.ratio_of_means == math.inf
    assert (total.pair, total.num_infinite) == ((0, 1), 3)


def test_very_small_outputs_are_not_coincident():
    """Squares of 1e-25 vanish in float32; the pair is close, not equal."""
    inputs, outputs = torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1e-25]])
    for p in (1, 2):
        assert expansion_ratio_bound(inputs, outputs, p=p).minimum == pytest.approx(1e25)


class LargestTensor(TorchDispatchMode):
    """Number of entries of the largest tensor made."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_memory_is_flat_in_m():
    largest = []
    for m in (200, 800):
        inputs, outputs = layer(m, 2, 3)
        with LargestTensor() as mode:
            expansion_ratio_bound(inputs, outputs, tile=64, quantiles=[0.5])
        largest.append(mode.largest)
        with LargestTensor() as mode:
            expansion_ratio_bound(inputs, outputs, tile=64)
        assert mode.largest == 64 * 64
    assert largest[0] == largest[1] == 2**20  # the histogram


def test_no_gradient_is_kept():
    inputs, outputs = layer(5)
    assert expansion_ratio_bound(inputs.requires_grad_(), outputs.requires_grad_()).minimum > 0


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"inputs": torch.zeros(1, 2), "outputs": torch.zeros(1, 2)}, ValueError, "at least 2 inputs"),
        ({"inputs": torch.zeros(4, 2), "outputs": torch.zeros(4, 2)}, ValueError, "all equal"),
        ({"inputs": torch.zeros(3, 2)}, ValueError, "as many outputs as inputs"),
        ({"inputs": torch.zeros(4)}, ValueError, "at least 2 dimensions"),
        ({"inputs": torch.zeros(4, 0)}, ValueError, "at least one feature"),
        ({"inputs": torch.zeros(4, 2, dtype=torch.long)}, TypeError, "floating point"),
        ({"inputs": [[0.0], [1.0]]}, TypeError, "torch.Tensor"),
        ({"inputs": torch.full((4, 2), math.nan)}, ValueError, "expected finite"),
        ({"outputs": torch.full((4, 2), math.inf)}, ValueError, "expected finite"),
        (
            {"inputs": torch.tensor([[-3e38] * 9, [3e38] * 9] * 2)},
            ValueError,
            "too large for their distances",
        ),
        ({"p": 3}, ValueError, "expected p to be one of 1, 2, got 3"),
        ({"norm": "max"}, ValueError, "norm"),
        ({"tile": 0}, ValueError, "tile"),
        ({"quantiles": [1.5]}, ValueError, "fractions in"),
    ],
)
def test_bad_input_is_refused(change, error, message):
    good = {"inputs": torch.arange(8.0).reshape(4, 2), "outputs": torch.rand(4, 5)}
    with pytest.raises(error, match=message):
        expansion_ratio_bound(**{**good, **change})
