"""Any of these measures as a torchmetrics metric: collects samples over batches and processes, then calls the function."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class Accumulated(Metric):
    """A measure of sets of samples, fed batch by batch, on one process or many.

    Measures of whole sets cannot be averaged over batches or processes. This collects the samples of all of them and calls the
    function once, so that the value under distributed data parallel is the value of one process. Samples are put in an order that
    depends on their content alone, so that seeded measures do not depend on who saw which batch. A function that means
    something by the order of samples, such as LPIPS of consecutive pairs, must be called directly.

    Args:
        function: a function of ``real=`` and ``generated=``, such as :func:`ndb` or :func:`frechet_distance`, or of one set of
            samples, such as :func:`lpips_diversity`.
        options: its further arguments.

    Raises:
        ValueError: for ``pairs="consecutive"``; by ``update`` for real samples that the function does not take; by ``compute``
            what the function raises.
        ImportError: without torchmetrics (extra ``metrics``).

    Example:
        >>> import torch
        >>> from ndiv_lib.metrics import Accumulated, frechet_distance
        >>> metric = Accumulated(frechet_distance, features="pixels")
        >>> for batch in torch.linspace(-1, 1, 12).view(3, 4, 1):
        ...     metric.update(batch, real=True)
        ...     metric.update(batch + 2, real=False)
        >>> round(metric.compute(), 3)
        4.0
    """

    full_state_update = False
    is_differentiable = False
    real: list[Tensor]
    generated: list[Tensor]

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__()
        if options.get("pairs") == "consecutive":
            raise ValueError("expected a measure that ignores the order of samples, got pairs='consecutive'.")
        self.function, self.options = function, options
        self.takes_real = "real" in inspect.signature(function).parameters
        self.add_state("real", default=[], dist_reduce_fx="cat")
        self.add_state("generated", default=[], dist_reduce_fx="cat")

    def update(self, samples: Tensor, *, real: bool) -> None:
        """Add a batch ``(n, ...)`` of real or of generated samples."""
        if real and not self.takes_real:
            raise ValueError(
                f"expected generated samples only: {self.function.__name__} compares nothing with real ones."
            )
        (self.real if real else self.generated).append(samples.detach())

    def compute(self) -> Any:
        """What the function says of all samples so far; fields of a report as a dictionary, as torchmetrics has it."""
        generated = _by_content(dim_zero_cat(self.generated))
        if self.takes_real:
            real = _by_content(dim_zero_cat(self.real))
            value = self.function(real=real, generated=generated, **self.options)
        else:
            value = self.function(generated, **self.options)
        return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


def _by_content(samples: Tensor) -> Tensor:
    """The samples in the order of a hash of each: the same whatever the order they came in."""
    rows = samples.cpu().contiguous().flatten(1).view(torch.uint8).numpy()
    keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
    return samples[torch.tensor(sorted(range(len(keys)), key=keys.__getitem__), device=samples.device)]
