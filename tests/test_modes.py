"""Modes found, samples that fail, and their proportions, on samples whose report is known."""

import math

import pytest
import torch

from ndiv_lib.data.toy import grid_centers, ring_centers, sample_gaussians
from ndiv_lib.metrics import mode_report

STD = 0.05


def report(samples, centers=None, **options):
    return mode_report(samples, centers=ring_centers() if centers is None else centers, std=STD, **options)


def real(num_per_mode, centers=None, seed=0):
    centers = ring_centers() if centers is None else centers
    return sample_gaussians(centers, STD, num_per_mode, generator=torch.Generator().manual_seed(seed))


def test_the_real_samples_floor():
    found = report(real(25_000))
    assert found.num_modes == 8
    assert found.fail_rate == pytest.approx(0.0111, abs=6e-4)  # exp(-9 / 2), with a spread of 0.00023
    assert found.kl_to_uniform < 1e-4
    assert found.std_ratio == pytest.approx(1, abs=0.01)


ONE_AXIS = math.erf(
    1 / math.sqrt(2)
)  # of a normal distribution, this much lies within one standard deviation


@pytest.mark.parametrize(("shape", "inside"), [("disc", 1 - math.exp(-1 / 2)), ("square", ONE_AXIS**2)])
def test_one_standard_deviation(shape, inside):
    assert report(real(25_000), within=1.0, shape=shape).fail_rate == pytest.approx(1 - inside, abs=0.005)


def test_square_captures_the_corners_that_the_disc_leaves_out():
    corner = ring_centers() + 2.9 * STD
    assert report(corner, shape="square", min_count=1).num_modes == 8
    assert report(corner, shape="disc", min_count=1).num_modes == 0


def test_known_shares():
    centers = ring_centers()
    samples = torch.cat([centers[[0]].expand(300, 2), centers[[1]].expand(100, 2), torch.zeros(100, 2)])
    found = report(samples)
    assert found.num_modes == 2
    assert found.fail_rate == pytest.approx(0.2)
    torch.testing.assert_close(found.shares, torch.tensor([0.75, 0.25, 0, 0, 0, 0, 0, 0]))
    assert found.kl_to_uniform == pytest.approx(0.75 * math.log(0.75 * 8) + 0.25 * math.log(0.25 * 8))


def test_one_mode_is_the_largest_divergence():
    assert report(ring_centers()[[3]].expand(50, 2)).kl_to_uniform == pytest.approx(math.log(8))


def test_too_few_samples_make_no_mode():
    samples = torch.cat([ring_centers()[[0]].expand(20, 2), ring_centers()[[1]].expand(19, 2)])
    assert report(samples).num_modes == 1
    assert report(samples, min_count=19).num_modes == 2
    assert report(samples).shares[1] == pytest.approx(19 / 39)  # shares count every captured sample


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_std_ratio_measures_shrunk_and_swollen_modes_and_ignores_stragglers(scale):
    centers = ring_centers()
    samples = centers.repeat_interleave(2000, 0) + scale * (real(2000) - centers.repeat_interleave(2000, 0))
    samples[::100] += 0.4
    assert report(samples).std_ratio == pytest.approx(scale, rel=0.03)


def test_grid():
    samples = real(100, centers=grid_centers())
    assert report(samples, centers=grid_centers()).num_modes == 25


def test_nothing_captured():
    found = report(torch.full((100, 2), 10.0))
    assert found.num_modes == 0 and found.fail_rate == 1
    assert math.isnan(found.kl_to_uniform) and bool(found.shares.isnan().all())


def test_total_collapse_has_no_spread():
    assert report(ring_centers()[[0]].expand(50, 2)).std_ratio == 0
    assert math.isnan(report(ring_centers()).std_ratio)  # one sample a mode says nothing about spread


def test_same_in_double_precision():
    samples = real(200)
    single, double = report(samples), report(samples.double(), centers=ring_centers().double())
    assert single.num_modes == double.num_modes
    assert single.fail_rate == pytest.approx(double.fail_rate, abs=1e-3)


@pytest.mark.parametrize(
    ("samples", "options", "error", "message"),
    [
        (torch.zeros(5, 2, dtype=torch.long), {}, TypeError, "floating point"),
        (torch.zeros(0, 2), {}, ValueError, "n >= 1"),
        (torch.zeros(5), {}, ValueError, "samples of shape"),
        (torch.zeros(5, 3), {}, ValueError, "centers of shape"),
        (torch.full((5, 2), math.nan), {}, ValueError, "finite"),
        (torch.zeros(5, 2), {"centers": torch.zeros(1, 2)}, ValueError, "k >= 2"),
        (torch.zeros(5, 2), {"within": 0}, ValueError, "within"),
        (torch.zeros(5, 2), {"min_count": 0}, ValueError, "min_count"),
        (torch.zeros(5, 2), {"shape": "circle"}, ValueError, "'disc', 'square'"),
    ],
)
def test_errors(samples, options, error, message):
    with pytest.raises(error, match=message):
        report(samples, **options)


def test_standard_deviation_must_be_positive():
    with pytest.raises(ValueError, match="std"):
        mode_report(torch.zeros(5, 2), centers=ring_centers(), std=0.0)
