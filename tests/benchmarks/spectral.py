"""The transform of maps on the sphere against the direct sum over SciPy's harmonics, both after their set-up."""

from __future__ import annotations

import statistics
import time

import torch
from scipy.special import sph_harm_y

from ndiv_lib.spectral import SphericalTransform, harmonic_orders
from tests.benchmarks.loss import interleaved


def milliseconds(max_degree: int = 31) -> dict[str, float]:
    """Median times for one real map: the transform, and one matrix product with all harmonics at all samples."""
    transform = SphericalTransform(max_degree)
    n = transform.num_samples
    values = torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    polar, azimuth = (angle.numpy() for angle in (transform.polar, transform.azimuth))
    degree, order = harmonic_orders(max_degree).numpy().T[:, :, None, None]
    harmonics = sph_harm_y(degree, order, polar[:, None], azimuth)
    matrix = torch.from_numpy(harmonics.conj()).reshape(len(degree), -1)
    weighted = matrix * transform.weights.repeat_interleave(n)
    direct = torch.view_as_real(weighted).movedim(-1, 0).contiguous()
    torch.testing.assert_close(
        torch.complex(*(direct @ values.flatten())), transform.analyze(values), rtol=0, atol=1e-10
    )
    return interleaved(
        {"transform": lambda: transform.analyze(values), "direct": lambda: direct @ values.flatten()}
    )


def milliseconds_of_256() -> float:
    """Median processor time of a 256 x 256 map, 16384 coefficients; a direct sum would need a matrix of 16 GB."""
    transform = SphericalTransform(127)
    values = torch.randn(256, 256, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    transform.analyze(values)
    times = []
    for _ in range(50):
        before = time.process_time()
        transform.analyze(values)
        times.append(1e3 * (time.process_time() - before))
    return statistics.median(times)
