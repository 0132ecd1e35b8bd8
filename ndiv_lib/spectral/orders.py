"""Which functions there are, in which order their coefficients stand, and what a rotation leaves of them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_finite, check_integer, check_tensor


def harmonic_orders(max_degree: int) -> Tensor:
    """Degree and order of every spherical harmonic up to ``max_degree``, in the order of the coefficients.

    Returns:
        Integers ``((max_degree + 1)^2, 2)``. All orders with ``|order| <= degree`` are needed, and so is degree 0: the paper's
        ``|m| < l`` with positive ``l`` leaves out the constant and both ends of every degree.

    Raises:
        TypeError: for a degree that is not an integer.
        ValueError: for a negative degree.

    Example:
        >>> harmonic_orders(1).tolist()
        [[0, 0], [1, -1], [1, 0], [1, 1]]
    """
    check_integer(max_degree, "max_degree", least=0)
    return torch.tensor([(j, m) for j in range(max_degree + 1) for m in range(-j, j + 1)])


def zernike_orders(max_degree: int) -> Tensor:
    """``n``, degree and order of every Zernike function with ``n <= max_degree``, in the order of the moments.

    Returns:
        Integers ``(num_moments, 3)``, with 220 rows for ``max_degree`` 9, where the paper counts 100.

    Raises:
        TypeError: for a degree that is not an integer.
        ValueError: for a negative degree.

    Example:
        >>> zernike_orders(2).tolist()
        [[0, 0, 0], [1, 1, -1], [1, 1, 0], [1, 1, 1], [2, 0, 0], [2, 2, -2], [2, 2, -1], [2, 2, 0], [2, 2, 1], [2, 2, 2]]
    """
    return torch.tensor([(n, j, m) for n, j in zernike_pairs(max_degree) for m in range(-j, j + 1)])


def harmonic_index(degree: int, order: int) -> int:
    """Where the harmonic of this degree and order stands among the coefficients.

    Raises:
        TypeError: for a degree or an order that is not an integer.
        ValueError: for a negative degree, or an order above it.

    Example:
        >>> harmonic_index(2, -2), harmonic_index(2, 2)
        (4, 8)
    """
    check_integer(degree, "degree", least=0)
    check_order(degree, order)
    return degree * degree + degree + order


def zernike_index(n: int, degree: int, order: int) -> int:
    """Where the Zernike function of ``n``, degree and order stands among the moments.

    Raises:
        TypeError: for a number that is not an integer.
        ValueError: if there is no such function: a degree above ``n`` or of another parity, an order above the degree.

    Example:
        >>> zernike_index(2, 0, 0), zernike_index(2, 2, -2)
        (4, 5)
    """
    check_pair(n, degree)
    check_order(degree, order)
    return n * (n + 1) * (n + 2) // 6 + degree * (degree - 1) // 2 + degree + order


def zernike_pairs(max_degree: int) -> list[tuple[int, int]]:
    """All (n, degree) of Zernike functions."""
    check_integer(max_degree, "max_degree", least=0)
    return [(n, degree) for n in range(max_degree + 1) for degree in range(n % 2, n + 1, 2)]


def power_spectrum(coefficients: Tensor, *, domain: Literal["sphere", "ball"]) -> Tensor:
    """Squared norm of the coefficients of each degree: numbers that do not change when the shape is turned.

    A rotation mixes the orders of one degree among themselves, by a unitary matrix.

    Args:
        coefficients: ``(*batch, num_coefficients)`` up to a full degree, complex or real.
        domain: ``"sphere"`` for spherical harmonics, ``"ball"`` for Zernike moments.

    Returns:
        Real ``(*batch, max_degree + 1)`` on the sphere, at least 0; on the ball one number for each pair of ``n`` and degree, in
        the order of :func:`~ndiv_lib.spectral.zernike_orders`.

    Raises:
        TypeError: for something that is not a floating-point or complex tensor.
        ValueError: for another domain, or a number of coefficients that is no full set.

    Example:
        >>> import torch
        >>> power_spectrum(torch.tensor([2.0, 0.0, 3.0, 4.0]), domain="sphere")
        tensor([ 4., 25.])
    """
    check_choice(domain, "domain", ("sphere", "ball"))
    if not isinstance(coefficients, Tensor) or not (
        coefficients.is_complex() or coefficients.is_floating_point()
    ):
        raise TypeError(
            f"expected coefficients to be a complex or floating-point tensor, got {type(coefficients)}."
        )
    num, max_degree = coefficients.shape[-1] if coefficients.ndim else 0, 0
    while _full_set(max_degree, domain) < num:
        max_degree += 1
    if _full_set(max_degree, domain) != num:
        raise ValueError(
            f"expected all coefficients up to a degree, got {num}; the nearest full set has {_full_set(max_degree, domain)}."
        )
    degrees = list(range(max_degree + 1)) if domain == "sphere" else [j for _, j in zernike_pairs(max_degree)]
    group = torch.repeat_interleave(torch.tensor([2 * j + 1 for j in degrees])).to(coefficients.device)
    squares = (coefficients * coefficients.conj()).real
    return squares.new_zeros(*squares.shape[:-1], len(degrees)).index_add(-1, group, squares)


def _full_set(max_degree: int, domain: str) -> int:
    n = max_degree + 1
    return n * n if domain == "sphere" else n * (n + 1) * (n + 2) // 6


# --- Checks -------------------------------------------------------------------------------------------------------------


def check_order(degree: int, order: int) -> None:
    check_integer(order, "order")
    if abs(order) > degree:
        raise ValueError(f"expected |order| <= degree = {degree}, got order {order}.")


def check_pair(n: int, degree: int) -> None:
    check_integer(n, "n", least=0)
    check_integer(degree, "degree", least=0)
    if degree > n or (n - degree) % 2:
        raise ValueError(f"expected a degree of at most n = {n} and of the same parity, got {degree}.")


def check_values(
    values: Tensor, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Values on a grid, or coefficients, of the dtype (or its complex twin), shape and device of a transform."""
    check_tensor(values, name)
    if values.dtype not in (dtype, dtype.to_complex()):
        raise TypeError(
            f"expected {name} of {dtype} or {dtype.to_complex()}, got {values.dtype}; convert it with .to(), or give the "
            "transform another dtype."
        )
    if tuple(values.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"expected {name} of shape (..., {', '.join(map(str, shape))}), got {tuple(values.shape)}."
        )
    if not values.numel():
        raise ValueError(f"expected at least one entry in {name}, got shape {tuple(values.shape)}.")
    if values.device != device:
        raise ValueError(f"expected {name} on {device}, got {values.device}; move it with .to(device).")
    check_finite(values, name)
