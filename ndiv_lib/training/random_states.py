"""The global random states of a process, as tensors and numbers that a checkpoint can hold."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """Where the random numbers of Python, NumPy and PyTorch are, on the CPU and on every GPU."""
    kind, words, *rest = np.random.get_state()  # noqa: NPY002  # a library below may draw from it
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(words).astype(np.int64)), *rest],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_states(states: Mapping[str, Any]) -> None:
    """Go back to saved states."""
    random.setstate(states["python"])
    kind, words, *rest = states["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if states["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(states["cuda"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave all random states as they were: looking at samples must not change a run.

    Example:
        >>> import torch
        >>> before = torch.get_rng_state()
        >>> with undisturbed():
        ...     _ = torch.rand(3)
        >>> bool((before == torch.get_rng_state()).all())
        True
    """
    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)
