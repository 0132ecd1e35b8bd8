"""NDB at the size of CIFAR-10, and LPIPS diversity against the package lpips, pair by pair."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

from ndiv_lib.metrics import lpips_diversity, ndb

NUM_IMAGES = 38  # outputs of one facade label map in NDiv's evaluation


def ndb_seconds(max_dims: int | None) -> float:
    """Wall-clock seconds on two threads, in a process of its own: scikit-learn reads their number only once."""
    command = [sys.executable, "-m", "tests.benchmarks.diversity", str(max_dims or 0)]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def timed_ndb(max_dims: int | None, *, n: int = 50_000, dims: int = 3072) -> float:
    """Two sets without clusters, so that K-means takes its time; like photographs, most variance lies in few directions."""
    random = torch.Generator().manual_seed(0)
    mix = torch.randn(100, dims, generator=random) / torch.arange(1, 101)[:, None]
    real, generated = (torch.randn(n, 100, generator=random) @ mix for _ in range(2))
    ndb(real=real[:2000], generated=real[:2000], num_bins=10, seed=0)  # imports
    started = time.perf_counter()
    ndb(real=real, generated=generated, num_bins=100, max_dims=max_dims, seed=0)
    return time.perf_counter() - started


def lpips_ratio(side: int = 64) -> float:
    """Seconds of the package over all pairs of 38 images, over those of one call; SqueezeNet with random weights."""
    import lpips
    import torchvision

    random = torch.Generator().manual_seed(0)
    images = 2 * torch.rand(NUM_IMAGES, 3, side, side, generator=random) - 1
    before = os.environ.get("NDIV_DATA")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder, "squeezenet1_1", "squeezenet1_1.pth")
        path.parent.mkdir()
        torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
        model = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
        os.environ["NDIV_DATA"] = folder
        lpips_diversity(images[:2], net="squeeze")
        started = time.perf_counter()
        lpips_diversity(images, net="squeeze")
        once = time.perf_counter()
        with torch.no_grad():
            for j, k in itertools.combinations(range(NUM_IMAGES), 2):
                model(images[j : j + 1], images[k : k + 1])
        ended = time.perf_counter()
    os.environ.pop("NDIV_DATA")
    if before is not None:
        os.environ["NDIV_DATA"] = before
    return (ended - once) / (once - started)


if __name__ == "__main__":
    print(timed_ndb(int(sys.argv[1]) or None))
