"""Exponential averages of weights, whose samples are steadier than those of the last step."""

from __future__ import annotations

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of the network that follows it: ``update_parameters`` moves each weight by ``1 - decay``; buffers are copied.

    Args:
        network: without the wrappers of several processes.
        decay: in [0, 1); 0 follows at once.

    Raises:
        ValueError: for a decay outside [0, 1).

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(1, 1)
        >>> average = averaged(network, 0.9)
        >>> average.update_parameters(network)
        >>> bool(average.module.weight == network.weight)
        True
    """
    if not 0 <= decay < 1:
        raise ValueError(f"expected decay in [0, 1), got {decay}.")
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay)).requires_grad_(False)
