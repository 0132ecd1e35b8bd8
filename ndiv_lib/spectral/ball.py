"""3-D Zernike functions at given points, moments of shapes, and the transform on the ball (cGML, Eq. 31 to 36)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import (
    check_choice,
    check_finite,
    check_floating,
    check_integer,
    check_same_device,
    values_are_checked,
)
from ndiv_lib.spectral.orders import (
    check_pair,
    check_values,
    zernike_orders,
    zernike_pairs,
)
from ndiv_lib.spectral.sphere import (
    SphericalTransform,
    driscoll_healy,
    equiangular,
    solid_harmonics,
    with_negative_orders,
)


def zernike_radial(
    n: int,
    degree: int,
    radius: Tensor,
    *,
    formula: Literal["orthonormal", "corrected", "printed"] = "orthonormal",
) -> Tensor:
    r"""Radial part of the 3-D Zernike functions (cGML, Eq. 32 and 33).

    With :math:`k = (n - l) / 2`, the orthonormal form is :math:`\sqrt{2n+3}\, r^l P_k^{(0,\, l + 1/2)}(2 r^2 - 1)`, a Jacobi
    polynomial, computed by recursion: no cancellation at high degrees.

    Args:
        n: largest power of the radius.
        degree: ``l``, at most ``n`` and of its parity.
        radius: any shape, within ``[0, 1]``.
        formula: ``"orthonormal"``: :math:`\int R^2 r^2 dr = 1`. ``"corrected"``: with the square root of Eq. 33, so that the
            integral is 1/3, and its last binomial mended to :math:`\binom{2(k+l+v)+1}{2k}`. ``"printed"``: Eq. 32 and 33
            to the letter, with the sum up to :math:`(n-1)/2`; not orthogonal.

    Returns:
        The shape of ``radius``.

    Raises:
        TypeError: for a radius that is not floating point, or a number that is not an integer.
        ValueError: if there is no such function, for another formula, or (looked for on the CPU only) a radius outside
            ``[0, 1]``.

    Example:
        >>> import torch
        >>> zernike_radial(2, 0, torch.tensor([0.0, 1.0]))  # sqrt(7) (5 r^2 - 3) / 2
        tensor([-3.9686,  2.6458])
    """
    check_pair(n, degree)
    check_floating(radius, "radius", min_dims=0)
    check_choice(formula, "formula", ("orthonormal", "corrected", "printed"))
    if values_are_checked(radius, None) and not bool(((radius >= 0) & (radius <= 1 + 1e-6)).all()):
        raise ValueError(
            f"expected a radius within [0, 1], got [{float(radius.min()):g}, {float(radius.max()):g}]."
        )
    return radius**degree * _radial_factors(n, radius * radius, formula)[n, degree]


def _radial_factors(max_degree: int, squared_radius: Tensor, formula: str) -> dict[tuple[int, int], Tensor]:
    """R_nl(r) / r^l of all pairs: polynomials of the squared radius."""
    factors, t = {}, 2 * squared_radius - 1
    for n, j in zernike_pairs(max_degree):
        k, b = (n - j) // 2, j + 0.5
        if formula == "printed":
            factors[n, j] = _printed_polynomial(n, j, squared_radius)
        elif k == 0:
            factors[n, j] = torch.ones_like(t)
        elif k == 1:
            factors[n, j] = 1 + (b + 2) * (t - 1) / 2
        else:  # the recursion of the Jacobi polynomials P_k^(0, b)
            s = 2 * k + b
            linear = (s - 1) * (s * (s - 2) * t - b * b) * factors[n - 2, j]
            constant = 2 * (k - 1) * (k + b - 1) * s * factors[n - 4, j]
            factors[n, j] = (linear - constant) / (2 * k * (k + b) * (s - 2))
    if formula == "printed":
        return factors
    norm = {"orthonormal": 1.0, "corrected": 1 / 3}[formula]
    return {(n, j): math.sqrt((2 * n + 3) * norm) * factor for (n, j), factor in factors.items()}


def _printed_polynomial(n: int, j: int, squared_radius: Tensor) -> Tensor:
    """Eq. 32 and 33 as they stand, over r^l; half-integer limits are rounded down, and binomials C(a, b) with b > a are zero."""
    k = (n - j) // 2
    total = torch.zeros_like(squared_radius)
    for v in range((n - 1) // 2 + 1):
        binomials = math.comb(k, v) * math.comb(2 * k + j + v + 1, n - j) / math.comb(k + j + v, k)
        q = (-1) ** (k + v) / 2 ** (n - j) * math.sqrt((2 * n + 3) / 3) * math.comb(n - j, k) * binomials
        total = total + q * squared_radius**v
    return total


def zernike_functions(
    max_degree: int,
    points: Tensor,
    *,
    formula: Literal["orthonormal", "corrected", "printed"] = "orthonormal",
) -> Tensor:
    """All 3-D Zernike functions with ``n <= max_degree`` at points of the unit ball (cGML, Eq. 31).

    Args:
        max_degree: the largest ``n``.
        points: Cartesian ``(*shape, 3)``, of length at most 1.
        formula: of the radial part, see :func:`~ndiv_lib.spectral.zernike_radial`; the harmonics carry their sign once.

    Returns:
        Complex ``(*shape, num_moments)``, ordered as :func:`~ndiv_lib.spectral.zernike_orders`. Moments give a
        function back by ``(zernike_functions(N, points) * moments).sum(-1)`` (Eq. 35).

    Raises:
        TypeError: for points that are not floating point, or a degree that is not an integer.
        ValueError: for a negative degree, another formula, a last dimension other than 3, or (looked for on the CPU only)
            points outside the ball.

    Example:
        >>> import torch
        >>> zernike_functions(2, torch.zeros(1, 3)).shape
        torch.Size([1, 10])
    """
    pairs = zernike_pairs(max_degree)
    check_choice(formula, "formula", ("orthonormal", "corrected", "printed"))
    _check_points(points)
    x, y, z = points.unbind(-1)
    squared_radius = (points * points).sum(-1)
    rows = solid_harmonics(max_degree, torch.complex(x, y), z, squared_radius)
    harmonics = [with_negative_orders(row) for row in rows]
    factors = _radial_factors(max_degree, squared_radius, formula)
    return torch.cat([factors[n, j] * harmonics[j] for n, j in pairs]).movedim(0, -1)


def zernike_moments(points: Tensor, weights: Tensor, *, max_degree: int) -> Tensor:
    """Zernike moments of weighted points: a point cloud, or the occupied voxels of a grid (cGML, Eq. 36).

    Args:
        points: Cartesian ``(n, 3)``, of length at most 1.
        weights: ``(*batch, n)``, real: for a cloud ``1 / n`` each, for voxels their occupancy times the volume of one.
        max_degree: the largest ``n`` of a moment.

    Returns:
        Complex ``(*batch, num_moments)``, the sum over points of the weight times the conjugate Zernike function.

    Raises:
        TypeError: for points or weights that are not floating point or of two dtypes, or a degree that is not an integer.
        ValueError: for a negative degree, shapes or devices that do not match, or (looked for on the CPU only) points
            outside the ball or weights that are not finite.

    Example:
        >>> import torch
        >>> zernike_moments(torch.zeros(1, 3), torch.ones(1), max_degree=1).real  # a point at the origin: sqrt(3 / (4 pi))
        tensor([0.4886, 0.0000, 0.0000, 0.0000])
    """
    check_floating(weights, "weights")
    _check_points(points)
    check_same_device(points=points, weights=weights)
    if points.dtype != weights.dtype:
        raise TypeError(
            f"expected points and weights of one dtype, got {points.dtype} and {weights.dtype}; convert one with .to()."
        )
    if points.ndim != 2 or weights.shape[-1] != len(points):
        raise ValueError(
            f"expected points (n, 3) and weights (*batch, n), got {tuple(points.shape)} and {tuple(weights.shape)}."
        )
    check_finite(weights, "weights")
    functions = zernike_functions(max_degree, points)
    return torch.complex(weights @ functions.real, -(weights @ functions.imag))


class ZernikeTransform:
    """Zernike moments of functions on the ball and back, on spheres of samples with exact weights.

    Each of ``num_radii`` spheres (Gauss-Legendre points of the radius) carries the grid of
    :class:`~ndiv_lib.spectral.SphericalTransform`. Sums over all samples are exact integrals for polynomials up to
    ``max_degree`` in the default size; a solid with a sharp surface needs more samples.

    Args:
        max_degree: the largest ``n``.
        num_radii: number of spheres, at least the default ``max_degree + 2``.
        num_samples: rows and columns of each sphere, at least ``2 max_degree + 1``; by default ``2 (max_degree + 1)``.
        dtype: of real values, ``torch.float64`` or ``torch.float32``.
        device: of tables and values.

    Raises:
        TypeError: for a number that is not an integer, or another dtype.
        ValueError: for a negative degree, or too few samples or spheres.

    Example:
        >>> import torch
        >>> transform = ZernikeTransform(max_degree=3)
        >>> x, y, z = transform.points.unbind(-1)
        >>> values = x * y * z + 0.5
        >>> moments = transform.analyze(values)
        >>> moments.shape, torch.allclose(transform.synthesize(moments).real, values)
        (torch.Size([20]), True)
    """

    def __init__(
        self,
        max_degree: int,
        *,
        num_radii: int | None = None,
        num_samples: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        pairs = zernike_pairs(max_degree)
        num_radii = max_degree + 2 if num_radii is None else num_radii
        check_integer(num_radii, "num_radii")
        if num_radii < max_degree + 2:
            raise ValueError(
                f"expected at least {max_degree + 2} radii for n <= {max_degree}, got {num_radii}."
            )
        self._sphere = SphericalTransform(max_degree, num_samples=num_samples, dtype=dtype, device=device)
        if self._sphere.num_samples < 2 * max_degree + 1:
            raise ValueError(
                f"expected at least {2 * max_degree + 1} samples for n <= {max_degree}, got {self._sphere.num_samples}."
            )
        radius, weights = _gauss_legendre(num_radii)
        factors = _radial_factors(max_degree, radius * radius, "orthonormal")
        radial = [radius**j * factors[n, j] for n, j in pairs for _ in range(2 * j + 1)]
        _, degree, order = zernike_orders(max_degree).T
        polar, azimuth = equiangular(self._sphere.num_samples)

        self.max_degree, self.dtype = max_degree, dtype
        self.radius = radius.to(dtype).to(device)
        """Radius of every sphere."""
        self.points = (radius[:, None, None, None] * _directions(polar, azimuth)).to(dtype).to(device)
        """Cartesian places of the samples, ``(num_radii, num_samples, num_samples, 3)``."""
        areas = driscoll_healy(polar) * (2 * math.pi / len(polar))
        rings = torch.outer(weights * radius**2, areas).to(dtype).to(device)
        self.weights = rings[..., None].expand(self.points.shape[:-1])
        """Weight of every sample; all together have the ball's volume, 4 pi / 3."""
        self._radial = torch.stack(radial, 1).to(dtype).to(device)  # radius, moment
        self._radial_weights = (weights * radius**2).to(dtype).to(device)
        self._harmonic = (degree * degree + degree + order).to(device)

    def analyze(self, values: Tensor) -> Tensor:
        """Moments of functions given at ``points`` (cGML, Eq. 36).

        Args:
            values: real or complex ``(*batch, num_radii, num_samples, num_samples)``.

        Returns:
            Complex ``(*batch, num_moments)``, ordered as :func:`~ndiv_lib.spectral.zernike_orders`.

        Raises:
            TypeError: for values of another dtype (integers too).
            ValueError: for another grid or device, an empty batch, or (looked for on the CPU only) values that are not finite.
        """
        check_values(values, "values", tuple(self.points.shape[:-1]), self.dtype, self.points.device)
        shells = self._sphere.analyze(values)[..., self._harmonic]
        return (shells * (self._radial * self._radial_weights[:, None])).sum(-2)

    def synthesize(self, moments: Tensor) -> Tensor:
        """Functions at ``points`` from their moments (cGML, Eq. 35).

        Args:
            moments: complex ``(*batch, num_moments)``.

        Returns:
            Complex ``(*batch, num_radii, num_samples, num_samples)``.

        Raises:
            TypeError: for moments of another dtype.
            ValueError: for another number of moments, another device, or (looked for on the CPU only) values that are not
                finite.
        """
        check_values(moments, "moments", (len(self._harmonic),), self.dtype, self.points.device)
        if not moments.is_complex():
            raise TypeError(
                f"expected complex moments, got {moments.dtype}; use torch.complex(real, imaginary)."
            )
        shells = moments[..., None, :] * self._radial
        coefficients = shells.new_zeros(*shells.shape[:-1], (self.max_degree + 1) ** 2)
        return self._sphere.synthesize(coefficients.index_add(-1, self._harmonic, shells))


def _directions(polar: Tensor, azimuth: Tensor) -> Tensor:
    """Unit vectors ``(rows, columns, 3)``."""
    x = torch.outer(polar.sin(), azimuth.cos())
    y = torch.outer(polar.sin(), azimuth.sin())
    return torch.stack([x, y, polar.cos()[:, None].expand_as(x)], -1)


def _gauss_legendre(num: int) -> tuple[Tensor, Tensor]:
    """Points and weights of Gauss's rule on [0, 1]: eigenvalues of the Jacobi matrix (Golub and Welsch)."""
    k = torch.arange(1, num, dtype=torch.float64)
    beside = k / (4 * k * k - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (points + 1) / 2, vectors[0] ** 2


def _check_points(points: Tensor) -> None:
    check_floating(points, "points")
    if points.shape[-1] != 3:
        raise ValueError(f"expected points (..., 3), got {tuple(points.shape)}.")
    if values_are_checked(points, None) and points.numel():
        longest = float(points.detach().norm(dim=-1).max())
        if not longest <= 1 + 1e-6:
            raise ValueError(
                f"expected points inside the unit ball, got one of length {longest:g}; center the shape and divide by its "
                "largest length."
            )
