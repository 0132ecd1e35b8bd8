"""One batch out of the batches of several processes, for losses that compare samples with each other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from ndiv_lib._checks import check_tensor


def gather_batch(tensor: Tensor) -> Tensor:
    """All processes' samples in one tensor, in the order of their ranks; gradients flow back to where the samples came from.

    The scale is right for DistributedDataParallel, which averages the processes' gradients: if every process adds the same loss
    of the gathered batch, each network gets the gradient that one process with the whole batch would compute. The losses
    themselves know nothing of processes.

    Args:
        tensor: ``(n, ...)``, of the same shape and dtype on every process.

    Returns:
        ``(k n, ...)`` for k processes; the tensor itself where there is only one.

    Raises:
        TypeError: for anything but a tensor.
        ValueError: for a tensor without a batch dimension.

    Example:
        >>> import torch
        >>> gather_batch(torch.ones(4, 2)).shape  # one process
        torch.Size([4, 2])
    """
    check_tensor(tensor, "tensor")
    if tensor.ndim == 0:
        raise ValueError(
            "expected a tensor (n, ...) to gather, got a scalar; gather samples, not their loss."
        )
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor) -> Tensor:
        context.rows = len(tensor)
        parts = [
            torch.empty_like(tensor, memory_format=torch.contiguous_format)
            for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, gradient: Tensor) -> Tensor:
        # What every process's loss says about these rows: the sum, of which DDP later takes the mean over processes.
        gradient = gradient.clone(
            memory_format=torch.contiguous_format
        )  # it may be another tensor's gradient, too
        dist.all_reduce(gradient)
        start = dist.get_rank() * context.rows
        return gradient[start : start + context.rows]
