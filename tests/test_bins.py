"""NDB and JSD against loops written from the definitions, on modes that are known, and on real halves."""

import math
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.data.images import data_root, load_images
from ndiv_lib.metrics import ndb


def modes_and_samples(n, *, num_modes=20, seed=0):
    """Round modes that do not overlap: samples and the mode of each."""
    random = torch.Generator().manual_seed(seed)
    centers = 2 * torch.randn(num_modes, 32, generator=random)
    modes = torch.randint(num_modes, (n,), generator=random)
    return centers[modes] + 0.5 * torch.randn(n, 32, generator=random), modes


def test_equals_the_definitions():
    samples, _ = modes_and_samples(1000)
    real, generated = samples[:600], 1.2 * samples[600:]
    found = ndb(real=real, generated=generated, num_bins=20, seed=0)
    n, m, different, divergence = 600, 400, [], 0.0
    for k in range(20):
        p = int((found.real_bins == k).sum()) / n
        q = int((found.generated_bins == k).sum()) / m
        pooled = (n * p + m * q) / (n + m)
        z = (q - p) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
        assert float(found.z_scores[k]) == pytest.approx(z)
        p_value = math.erfc(abs(z) / math.sqrt(2))
        different += [k] * (p_value < 0.05)
        for share in (p, q):
            divergence += share * math.log(2 * share / (p + q)) / 2 if share else 0.0
        torch.testing.assert_close(found.centers[k], real[found.real_bins == k].mean(0))
    assert found.different_bins.tolist() == different
    assert found.js_divergence == pytest.approx(divergence)
    assert found.real_shares.diff().max() <= 0
    assert (found.n_real, found.n_generated, found.num_bins) == (600, 400, 20)


def test_every_sample_is_in_the_bin_of_the_nearest_center():
    samples, _ = modes_and_samples(1200)
    found = ndb(real=samples[:800], generated=samples[800:], num_bins=30, seed=0)
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(samples, found.centers, compute_mode=exact)
    chosen = distances.gather(1, torch.cat([found.real_bins, found.generated_bins])[:, None])[:, 0]
    assert (chosen == distances.amin(1)).float().mean() > 0.98  # Lloyd's last step may not have converged


@pytest.mark.parametrize("seed", range(5))
def test_all_eight_dropped_modes_of_twenty_are_found(seed):
    samples, modes = modes_and_samples(4000, seed=seed)
    real, rest = samples[:2000], samples[2000:]
    kept = modes[2000:] >= 8
    found = ndb(real=real, generated=rest[kept], num_bins=20, seed=seed)
    for mode in range(8):
        home = found.real_bins[modes[:2000] == mode].mode().values
        assert home in found.missing_bins
    assert len(found.missing_bins) <= 8
    assert found.num_different_bins == len(found.missing_bins) + len(found.crowded_bins)
    assert found.js_divergence > 3 * found.floor.js_divergence_95


def test_the_set_itself_does_not_differ():
    real, _ = modes_and_samples(500)
    found = ndb(real=real, generated=real.clone(), num_bins=25, seed=0)
    assert (found.num_different_bins, found.js_divergence) == (0, 0)
    assert len(found.missing_bins) == len(found.crowded_bins) == 0


def test_the_floor_is_what_real_samples_of_known_modes_score():
    numbers, divergences = [], []
    for seed in range(30):
        samples, _ = modes_and_samples(2000, seed=seed)
        found = ndb(real=samples[:1000], generated=samples[1000:], num_bins=20, seed=seed)
        numbers.append(found.num_different_bins)
        divergences.append(found.js_divergence)
    assert 0.25 * 20 * 0.05 < sum(numbers) / 30 < 2 * 20 * 0.05
    assert found.floor.num_different_bins == pytest.approx(20 * 0.05, abs=0.2)
    assert found.floor.num_different_bins < found.floor.num_different_bins_95
    assert sum(divergences) / 30 == pytest.approx(found.floor.js_divergence, rel=0.2)
    expected = 19 / 8 * (1 / 1000 + 1 / 1000)  # second order of JSD around equal shares
    assert found.floor.js_divergence == pytest.approx(expected, rel=0.1)


def test_printing_says_sizes_and_floor():
    samples, _ = modes_and_samples(400)
    found = ndb(real=samples[:200], generated=samples[200:], num_bins=10, seed=0)
    for part in ("of 10 bins", "significance 0.05", "200 real", "200 generated", "real against real"):
        assert part in str(found)


def test_seeded_and_whatever_the_order_of_the_generated():
    samples, _ = modes_and_samples(900)
    real, generated = samples[:500], samples[500:]
    options = {"num_bins": 20, "max_dims": 8, "seed": 3}
    first = ndb(real=real, generated=generated, **options)
    again = ndb(real=real, generated=generated.flip(0), **options)
    assert torch.equal(first.z_scores, again.z_scores)
    assert first.floor == again.floor
    other = ndb(real=real, generated=generated, **options | {"seed": 4})
    assert not torch.equal(first.z_scores, other.z_scores)


def test_whitening_hears_a_quiet_dimension():
    random = torch.Generator().manual_seed(0)
    sign = torch.randint(2, (2000, 1), generator=random) * 2.0 - 1
    samples = torch.cat([100 * torch.randn(2000, 1, generator=random), sign, torch.zeros(2000, 1)], dim=1)
    real, generated = samples[:1000], samples[1000:]
    lost = generated[generated[:, 1] > 0]
    plain = ndb(real=real, generated=lost, num_bins=8, seed=0)
    whitened = ndb(real=real, generated=lost, num_bins=8, whiten=True, seed=0)
    assert len(whitened.missing_bins) >= 3 > plain.num_different_bins
    assert bool((whitened.centers[whitened.missing_bins, 1] < 0).all())


def test_images_of_half_precision():
    images = torch.rand(60, 3, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    found = ndb(real=images, generated=images, num_bins=4, seed=0)
    assert found.centers.shape == (4, 3, 4, 4) and found.centers.dtype == torch.bfloat16


@settings(max_examples=15, deadline=None)
@given(n=st.integers(20, 40), m=st.integers(20, 40), spread=st.sampled_from([0.0, 1e-6, 1.0]))
def test_collapsed_generators(n, m, spread):
    random = torch.Generator().manual_seed(n)
    real = torch.randn(n, 3, generator=random)
    generated = real[:1] + spread * torch.randn(m, 3, generator=random)
    found = ndb(real=real, generated=generated, num_bins=2, seed=0)
    assert 0 <= found.js_divergence <= math.log(2) + 1e-12
    assert float(found.generated_shares.sum()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"num_bins": 7},
            ValueError,
            "at least 70 real samples, got 60: 10 for each of 7 bins.* fewer num_bins",
        ),
        ({"generated": torch.rand(20, 3)}, ValueError, "at least 50 generated samples, got 20"),
        ({"num_bins": 1}, ValueError, "num_bins >= 2"),
        ({"max_dims": 0}, ValueError, "max_dims >= 1"),
        ({"significance": 0.0}, ValueError, "significance"),
        ({"generated": torch.rand(60, 4)}, ValueError, "one shape"),
        ({"real": torch.ones(60, 3).long()}, TypeError, "floating"),
        ({"generated": torch.full((60, 3), torch.nan)}, ValueError, "finite generated"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"real": torch.rand(60, 3), "generated": torch.rand(60, 3), "num_bins": 5, "seed": 0} | change
    with pytest.raises(error, match=message):
        ndb(**arguments)


@pytest.mark.skipif(not (data_root() / "mnist").is_dir(), reason=f"no MNIST under {os.fspath(data_root())}")
def test_real_halves_of_mnist_are_at_the_floor():
    images = load_images("mnist", "test")[0]
    numbers = []
    for seed in range(3):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        real, other = images[order[:5000]], images[order[5000:]]
        numbers.append(ndb(real=real, generated=other, num_bins=100, seed=seed).num_different_bins)
    assert 2 <= sum(numbers) / 3 <= 12
