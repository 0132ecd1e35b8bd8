"""How a run is computed: device, precision, compilation. Choices here change how fast it is, not what it estimates."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ndiv_lib._checks import check_choice, require


@dataclass(frozen=True)
class Speed:
    """Options of computation.

    Args:
        precision: ``"auto"`` takes bfloat16 where the GPU has it, float16 on other GPUs, float32 on the CPU.
        channels_last: memory order that convolutions in 16 bits prefer.
        compile: compile networks with ``torch.compile``; penalties on gradients run uncompiled, as they differentiate twice.
        cuda_graphs: record the kernels of an update once and replay them, which spares small networks most of their time.
        cpu: stay on the CPU where there is a GPU.
    """

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    cpu: bool = False


def choose_precision(precision: str, *, cpu: bool = False) -> str:
    """The precision that ``"auto"`` stands for on this machine; any other is returned as it is.

    Raises:
        ValueError: for an unknown precision, or float16 without a GPU, where it is slow and unscaled.

    Example:
        >>> choose_precision("auto", cpu=True)
        'float32'
    """
    check_choice(precision, "precision", ("auto", "float32", "bfloat16", "float16"))
    on_gpu = torch.cuda.is_available() and not cpu
    if precision == "float16" and not on_gpu:
        raise ValueError("expected float32 or bfloat16 on the CPU, got float16; use precision 'auto'.")
    if precision != "auto":
        return precision
    if not on_gpu:
        return "float32"
    # Emulated bfloat16 (a T4's) is slower than float32; it begins with compute capability 8.
    return "bfloat16" if torch.cuda.get_device_capability() >= (8, 0) else "float16"


def make_accelerator(speed: Speed, *, accumulation: int = 1) -> Any:
    """An ``accelerate.Accelerator`` for these options: it knows the device, the other processes, and scales float16.

    Raises:
        ImportError: without accelerate (extra ``train``).
        ValueError: as ``choose_precision``, or for CUDA graphs with what they cannot replay, or if
            the launcher was told to shard (FSDP, DeepSpeed) what a checkpoint then has only a part of.
    """
    accelerate = require("accelerate", "train")
    precision = choose_precision(speed.precision, cpu=speed.cpu)
    # Accelerate holds to the precision and device of a process's first run; a notebook or a sweep has several.
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=alone)
    # Newer versions of PyTorch have another name for it, which accelerate does not pass on yet.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    accelerator = accelerate.Accelerator(
        cpu=speed.cpu
        or not gpu,  # said plainly, or accelerate takes several processes without a GPU for single ones
        mixed_precision={"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[precision],
        # As a plugin, since `accelerate launch` sets an environment variable that would win over a plain number.
        gradient_accumulation_plugin=accelerate.utils.GradientAccumulationPlugin(
            num_steps=accumulation, sync_with_dataloader=False
        ),
        kwargs_handlers=[
            # Buffers would be overwritten between two forwards of one update; every process keeps its own.
            accelerate.DistributedDataParallelKwargs(broadcast_buffers=False),
            accelerate.utils.AutocastKwargs(
                cache_enabled=not speed.cuda_graphs
            ),  # a graph must not hold cached copies
        ],
    )
    kind = accelerator.distributed_type.value
    if kind not in ("NO", "MULTI_CPU", "MULTI_GPU"):
        raise ValueError(
            f"expected one process or several with DDP, got {kind}; launch without it: every network fits on one GPU."
        )
    if speed.cuda_graphs and (precision == "float16" or accumulation > 1 or accelerator.num_processes > 1):
        raise ValueError(
            "expected CUDA graphs with one process, no accumulation, and bfloat16 or float32, got "
            f"{accelerator.num_processes} processes, accumulation {accumulation}, {precision}; switch cuda_graphs off."
        )
    return accelerator


def prepare_network(network: nn.Module, speed: Speed, device: torch.device) -> None:
    """Move a network to its device, into the memory order asked for, and compile it if that is asked for; all in place."""
    network.to(device)
    if speed.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if speed.compile:
        network.compile()


def keep_capturable(optimizer: torch.optim.Optimizer, speed: Speed) -> torch.optim.Optimizer:
    """The optimizer, fit for CUDA graphs if they are on, also after it is given the state of a sitting with other options."""

    def set_capturable(optimizer: torch.optim.Optimizer) -> None:
        for group in optimizer.param_groups:
            group["capturable"] = speed.cuda_graphs

    set_capturable(optimizer)
    optimizer.register_load_state_dict_post_hook(set_capturable)
    return optimizer


class Replayed:
    """A function of tensors whose kernels are recorded once and then replayed, where CUDA graphs are on.

    The first calls run as they are. Then inputs are copied into fixed places and results come from fixed places, overwritten by
    the next call. The function must do the same work at every call and never wait for the GPU.

    Args:
        function: tensors to a dictionary of tensors.
        enabled: without, it is called as it is.
        warmup: calls before recording.

    Example:
        >>> import torch
        >>> Replayed(lambda x: {"double": 2 * x}, enabled=False)(torch.ones(2))
        {'double': tensor([2., 2.])}
    """

    def __init__(self, function: Callable[..., dict[str, Tensor]], *, enabled: bool, warmup: int = 3) -> None:
        self.function, self.left = function, warmup
        self.enabled = enabled and torch.cuda.is_available()
        self.graph: Any = None

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """Call the function, or replay it."""
        if not self.enabled:
            return self.function(*inputs)
        if self.left:
            self.left -= 1
            return self._on_side_stream(inputs)
        if self.graph is None:
            self.places = [value.clone() for value in inputs]
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.results = self.function(*self.places)
        for place, value in zip(self.places, inputs, strict=True):
            place.copy_(value)
        self.graph.replay()
        return self.results

    def _on_side_stream(self, inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """As PyTorch asks for before a capture, so that nothing lazy is left to be set up in it."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            results = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(side)
        return results
