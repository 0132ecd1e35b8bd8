"""The bound of a ratio against the two distance matrices that Eq. 7 of HMGAN needs, on two cores."""

from __future__ import annotations

import torch

from ndiv_lib.expansion_bound import expansion_ratio_bound
from tests.benchmarks.loss import interleaved


def milliseconds(m: int = 4000, f: int = 1024) -> dict[str, float]:
    """Median times of the tiled bound and of two full L1 matrices."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(m, f, generator=generator)
    outputs = torch.relu(inputs @ torch.randn(f, f, generator=generator) / f**0.5)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return interleaved(
            {
                "bound": lambda: expansion_ratio_bound(inputs, outputs),
                "matrices": lambda: (
                    torch.cdist(inputs, inputs, p=1.0),
                    torch.cdist(outputs, outputs, p=1.0),
                ),
            },
            seconds=0.0,
        )
    finally:
        torch.set_num_threads(before)
