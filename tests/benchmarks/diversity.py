"""NDB at the size of CIFAR-10, and LPIPS diversity against the package lpips, pair by pair."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
import warnings
from pathlib import Path

import torch

from ndiv_lib.metrics import lpips_diversity, ndb

NUM_IMAGES = 38  # outputs of one facade label map in NDiv's evaluation


def ndb_seconds(max_dims: int | None, *, n: int = 50_000, dims: int = 3072) -> float:
    """Wall-clock seconds on two threads, images of a hundred blurred modes against as many others."""
    random = torch.Generator().manual_seed(0)
    modes = torch.randn(100, dims, generator=random)
    real, generated = (
        modes[torch.randint(100, (n,), generator=random)] + 3 * torch.randn(n, dims, generator=random)
        for _ in range(2)
    )
    ndb(real=real[:2000], generated=real[:2000], num_bins=10, seed=0)  # imports
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    started = time.perf_counter()
    ndb(real=real, generated=generated, num_bins=100, max_dims=max_dims, seed=0)
    seconds = time.perf_counter() - started
    torch.set_num_threads(threads)
    return seconds


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
