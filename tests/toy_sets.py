"""Sets that several tests diagnose: Gaussian blobs in the corners of a square, and images with known modes."""

import torch

from ndiv_lib.data.one_to_many import OneToMany, Samples

CORNERS = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])


def blobs(num_modes: int, count: int, seed: int) -> torch.Tensor:
    """Points ``(count, 2)`` around the first corners, 9 apart, of standard deviation 1."""
    random = torch.Generator().manual_seed(seed)
    corners = CORNERS[torch.randint(num_modes, (count,), generator=random)]
    return corners + torch.randn(count, 2, generator=random)


def shapes(count: int, seed: int) -> Samples:
    """Images of shapes with their conditions and modes."""
    return OneToMany().sample(count, generator=torch.Generator().manual_seed(seed))
