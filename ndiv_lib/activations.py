"""Record the outputs of named layers while a network runs, without changing the network."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def record_activations(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record what the named layers of a network put out, while the block runs.

    Gradients flow through the recorded tensors. A layer that runs several times keeps its latest output. Names are those
    of ``module.named_modules()``; the wrappers of DDP and ``torch.compile`` are seen through, so that a name is the same
    with and without them. A compiled network runs eagerly inside the block, since compiled code calls no hooks.

    Args:
        module: the network.
        names: layers, in the order in which the dictionary shall list them.

    Yields:
        A dictionary from name to output tensor, filled as the layers run.

    Raises:
        TypeError: if a named layer puts out something else than one tensor.
        ValueError: for no name, a name twice, a name that the network does not have (near matches are listed), or, as
            the block ends, a layer that did not run.

    Example:
        >>> import torch
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
        >>> with record_activations(network, ["1"]) as recorded:
        ...     outputs = network(torch.zeros(4, 2))
        >>> recorded["1"].shape
        torch.Size([4, 5])
    """
    layers, compiled = _named_layers(module)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"expected one or more different layer names, got {list(names)}.")
    for name in names:
        if name not in layers:
            near = (
                difflib.get_close_matches(name, layers, n=5, cutoff=0.4) or sorted(filter(None, layers))[:10]
            )
            raise ValueError(
                f"expected names of layers, got {name!r}, which {type(module).__name__} does not have; "
                f"near matches: {', '.join(map(repr, near))}."
            )
    recorded: dict[str, Tensor] = {}
    with ExitStack() as stack:
        if compiled:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        for name in names:
            handle = layers[name].register_forward_hook(_recorder(recorded, name))
            stack.callback(handle.remove)
        yield recorded
        missed = [name for name in names if name not in recorded]
        if missed:
            raise ValueError(
                f"expected every named layer to run inside the block; not reached: {', '.join(map(repr, missed))}. "
                "Run the network inside the block, and name layers that its forward() calls."
            )
        for name in names:  # in the order asked for, not in the order of running
            recorded[name] = recorded.pop(name)


def _recorder(recorded: dict[str, Tensor], name: str) -> Any:
    def hook(layer: nn.Module, _: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            raise TypeError(
                f"expected layer {name!r} ({type(layer).__name__}) to put out one tensor, got {type(output).__name__}; "
                "name a layer inside it."
            )
        recorded[name] = output

    return hook


def _named_layers(module: nn.Module) -> tuple[dict[str, nn.Module], bool]:
    """All layers by the names they have without wrappers, and whether any of them is compiled."""
    layers: dict[str, nn.Module] = {}
    compiled = False

    def walk(layer: nn.Module, prefix: str) -> None:
        nonlocal compiled
        while (inner := _unwrapped(layer)) is not layer:
            compiled |= hasattr(layer, "_orig_mod")
            layer = inner
        compiled |= layer._compiled_call_impl is not None  # by layer.compile()
        layers[prefix] = layer
        for name, child in layer.named_children():
            walk(child, f"{prefix}.{name}" if prefix else name)

    walk(module, "")
    return layers, compiled


def _unwrapped(layer: nn.Module) -> nn.Module:
    wrappers = (nn.parallel.DistributedDataParallel, nn.DataParallel)
    inner = layer.module if isinstance(layer, wrappers) else getattr(layer, "_orig_mod", layer)
    assert isinstance(inner, nn.Module)
    return inner
