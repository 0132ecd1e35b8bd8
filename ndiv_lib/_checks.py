"""Input checks shared by the whole library: what was expected, what came, what to do."""

from __future__ import annotations

import importlib
from collections.abc import Collection
from numbers import Real
from types import ModuleType

import torch
from torch import Tensor


def check_tensor(tensor: object, name: str) -> None:
    """Raise ``TypeError`` unless ``tensor`` is one."""
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"expected {name} to be a torch.Tensor, got {type(tensor).__name__}; convert it with torch.as_tensor()."
        )


def check_floating(tensor: object, name: str, *, min_dims: int = 1) -> None:
    """Raise ``TypeError`` unless ``tensor`` is a floating-point tensor, ``ValueError`` if it has too few dimensions."""
    check_tensor(tensor, name)
    assert isinstance(tensor, Tensor)
    if not tensor.is_floating_point():
        raise TypeError(
            f"expected {name} to be floating point, got {tensor.dtype}; convert it with .float()."
        )
    if tensor.ndim < min_dims:
        raise ValueError(
            f"expected {name} with at least {min_dims} dimensions, got shape {tuple(tensor.shape)}."
        )


def check_same_device(**tensors: Tensor | None) -> None:
    """Raise ``ValueError`` if the named tensors are on different devices."""
    devices = {name: tensor.device for name, tensor in tensors.items() if tensor is not None}
    if len(set(devices.values())) > 1:
        got = ", ".join(f"{name} on {device}" for name, device in devices.items())
        raise ValueError(f"expected all tensors on one device, got {got}; move them with .to(device).")


def check_two_sets(real: Tensor, generated: Tensor, *, fewest: int, reason: str) -> None:
    """Raise unless real and generated samples ``(n, ...)`` can be compared: on one device, of one shape, enough, finite.

    ``reason`` says why it takes ``fewest`` samples of each, or what to do with less. Values are looked at on every device:
    whoever compares two sets wants a number, and waits for it anyway.
    """
    sets = {"real": real, "generated": generated}
    for name, samples in sets.items():
        check_floating(samples, name, min_dims=2)
    check_same_device(**sets)
    if real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            f"expected real and generated samples of one shape, got {tuple(real.shape[1:])} and {tuple(generated.shape[1:])}; "
            "bring both to the shape that the generator makes."
        )
    for name, samples in sets.items():
        if len(samples) < fewest:
            raise ValueError(f"expected at least {fewest} {name} samples, got {len(samples)}: {reason}.")
        if not bool(torch.isfinite(samples).all()):
            raise ValueError(
                f"expected finite {name} samples, got NaN or infinity; the generator may have diverged."
            )


def check_integer(value: object, name: str, *, least: int | None = None) -> None:
    """Raise ``TypeError`` unless ``value`` is an integer, ``ValueError`` if it is below ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected {name} to be an integer, got {value!r}.")
    if least is not None and value < least:
        raise ValueError(f"expected {name} >= {least}, got {value}.")


def check_positive(value: float, name: str, *, allow_zero: bool = False) -> None:
    """Raise ``TypeError`` unless ``value`` is a number, ``ValueError`` unless it is positive (or zero, if allowed)."""
    if not isinstance(value, Real | Tensor):
        raise TypeError(f"expected {name} to be a number, got {value!r}.")
    if not (value > 0 or (allow_zero and value == 0)):
        raise ValueError(f"expected {name} {'>= 0' if allow_zero else '> 0'}, got {value}.")


def check_choice(value: object, name: str, choices: Collection[object]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"expected {name} to be one of {', '.join(map(repr, choices))}, got {value!r}.")


def values_are_checked(tensor: Tensor, check_values: bool | None) -> bool:
    """Whether to look at values: asked for, or free because the tensor is on the CPU; never while compiling."""
    if torch.compiler.is_compiling():
        return False
    return tensor.device.type == "cpu" if check_values is None else check_values


def check_finite(tensor: Tensor, name: str, *, check_values: bool | None = None) -> None:
    """Raise ``ValueError`` for NaN or infinity, where values are looked at (see :func:`values_are_checked`)."""
    if values_are_checked(tensor, check_values) and not bool(tensor.isfinite().all()):
        raise ValueError(f"expected finite {name}, got NaN or infinity; find them with torch.isfinite().")


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"this function needs the package {module.partition('.')[0]!r}, which is not installed; "
            f"install it with: pip install 'ndiv-lib[{extra}]'"
        ) from error
