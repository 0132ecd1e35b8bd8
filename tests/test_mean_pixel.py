"""Diversity by mean pixels: against a loop that follows the five printed steps, its bias, and bad input."""

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.metrics import mean_pixel_diversity


def draw(n=20, seed=0):
    random = torch.Generator().manual_seed(seed)
    brightness = torch.randn(n, 1, 1, generator=random)
    return brightness + 0.3 * torch.randn(n, 3, 3, generator=random)


def by_steps(samples, kept, of):
    """Steps 2 to 5 of App. 3.4."""
    rows = samples.flatten(1).tolist()
    means = [sum(row) / len(row) for row in rows]
    average = sum(means) / len(means)
    middle = means[min(range(len(rows)), key=lambda i: abs(means[i] - average))]
    far = sorted(range(len(rows)), key=lambda i: -abs(means[i] - middle))[:kept]
    if of == "means":
        return statistics.stdev(means[i] for i in far)
    return statistics.fmean(statistics.stdev(rows[i][p] for i in far) for p in range(len(rows[0])))


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 25), st.integers(2, 25), st.sampled_from(["pixels", "means"]), st.integers(0, 1000))
def test_equals_the_printed_steps(n, kept, of, seed):
    samples, kept = draw(n, seed), min(kept, n)
    found = mean_pixel_diversity(samples, num_kept=kept, of=of)
    assert found == pytest.approx(by_steps(samples, kept, of), rel=1e-5)


def test_keeping_the_most_distant_half_reads_high():
    ratios = [
        mean_pixel_diversity(one, of="means") / mean_pixel_diversity(one, num_kept=20, of="means")
        for one in (draw(seed=seed) for seed in range(40))
    ]
    assert 1.25 < statistics.fmean(ratios) < 1.45


def test_equal_samples_have_none_and_structure_alone_is_not_seen_in_means():
    assert mean_pixel_diversity(torch.ones(20, 3, 4, 4)) == 0
    patterns = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    patterns = patterns - patterns.mean(1, keepdim=True)
    assert mean_pixel_diversity(patterns, of="means") < 1e-6 < 0.8 < mean_pixel_diversity(patterns)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: mean_pixel_diversity(draw(9)), ValueError, "number of samples, 9, got 10; draw more"),
        (lambda: mean_pixel_diversity(draw(), num_kept=1), ValueError, "num_kept from 2"),
        (lambda: mean_pixel_diversity(draw(), of="image"), ValueError, "'pixels', 'means'"),
        (lambda: mean_pixel_diversity(draw() * torch.nan), ValueError, "finite"),
        (lambda: mean_pixel_diversity(draw().int()), TypeError, "floating"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
