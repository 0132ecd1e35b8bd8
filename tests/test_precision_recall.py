"""Precision, recall, density, coverage against a double loop, and on samples whose score is known."""

import math

import pytest
import torch

from ndiv_lib.metrics import mean_pairwise_distance, precision_recall_density_coverage


def by_double_loop(real, generated, k):
    """The definitions, one pair at a time (Kynkäänniemi et al. 2019, Eq. 1; Naeem et al. 2020, Eq. 3 and 4)."""

    def radii(points):
        return [
            sorted(math.dist(a, b) for j, b in enumerate(points) if j != i)[k - 1]
            for i, a in enumerate(points)
        ]

    real, generated = real.tolist(), generated.tolist()
    real_radii, generated_radii = radii(real), radii(generated)
    n, m = len(real), len(generated)
    inside = [[math.dist(x, y) <= r for x, r in zip(real, real_radii, strict=True)] for y in generated]
    reached = [[math.dist(x, y) <= r for y, r in zip(generated, generated_radii, strict=True)] for x in real]
    return {
        "precision": sum(any(row) for row in inside) / m,
        "recall": sum(any(row) for row in reached) / n,
        "density": sum(sum(row) for row in inside) / (k * m),
        "coverage": sum(any(inside[j][i] for j in range(m)) for i in range(n)) / n,
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("spread", [0.1, 1.0, 2.0])
def test_equals_the_double_loop(k, spread):
    draws = torch.Generator().manual_seed(k)
    real = torch.randn(20, 3, generator=draws, dtype=torch.float64)
    generated = spread * torch.randn(31, 3, generator=draws, dtype=torch.float64) + 0.3
    found = precision_recall_density_coverage(real=real, generated=generated, k=k)
    assert vars(found) == pytest.approx(by_double_loop(real, generated, k))


def test_the_real_samples_themselves_are_perfect():
    real = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scores = precision_recall_density_coverage(real=real, generated=real.clone())
    assert scores.precision == scores.recall == scores.coverage == 1
    assert scores.density >= 1  # every sample is in its own ball and in its neighbors'


def test_collapse_on_a_real_sample_is_precise_and_covers_little():
    draws = torch.Generator().manual_seed(0)
    real = torch.randn(100, 16, generator=draws)
    generated = real[:1] + 1e-4 * torch.randn(100, 16, generator=draws)
    scores = precision_recall_density_coverage(real=real, generated=generated)
    assert scores.precision == 1
    assert scores.recall <= 0.01
    assert scores.coverage < 0.5


def test_far_samples_score_nothing():
    real = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    scores = precision_recall_density_coverage(real=real, generated=real + 100)
    assert set(vars(scores).values()) == {0.0}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"k": 0}, ValueError, "k >= 1"),
        ({"k": 8}, ValueError, "more than k = 8"),
        ({"generated": torch.zeros(5, 3)}, ValueError, "more than k = 5"),
        ({"generated": torch.zeros(8, 4)}, ValueError, "one shape"),
        ({"real": torch.zeros(8, 3).long()}, TypeError, "floating"),
        ({"real": torch.zeros(8)}, ValueError, "at least 2 dimensions"),
        ({"generated": torch.full((8, 3), torch.nan)}, ValueError, "finite generated"),
        (
            {"generated": torch.rand(8, 3, device="meta")},
            ValueError,
            "one device, got real on cpu, generated on meta",
        ),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"real": torch.rand(8, 3), "generated": torch.rand(8, 3), "k": 5} | change
    with pytest.raises(error, match=message):
        precision_recall_density_coverage(**arguments)


def test_mean_pairwise_distance():
    samples = torch.randn(12, 2, 3, generator=torch.Generator().manual_seed(0))
    pairs = [(a - b).norm().item() for i, a in enumerate(samples) for j, b in enumerate(samples) if i != j]
    assert mean_pairwise_distance(samples) == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
    assert mean_pairwise_distance(samples[:1].expand(5, 2, 3)) == 0
    with pytest.raises(ValueError, match="at least 2 samples"):
        mean_pairwise_distance(samples[:1])
