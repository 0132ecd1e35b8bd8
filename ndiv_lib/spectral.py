r"""Spherical harmonics and 3-D Zernike functions: shapes as lists of numbers (cGML, App. 3.12 and 4).

Conventions. The **polar** angle runs over ``[0, pi]`` from the z axis, the **azimuth** over ``[0, 2 pi)``; the paper calls them
:math:`\phi` and :math:`\theta`, most of physics the other way round. Harmonics are complex, orthonormal on the unit sphere and
carry the Condon-Shortley sign :math:`(-1)^m` once, as in SciPy. Zernike functions are orthonormal on the unit ball. Where the
printed formulas say something else, an argument gives the printed form.

Order of coefficients. Harmonics: degree by degree, orders ``-degree ... degree``; ``(degree, order)`` stands at
``degree^2 + degree + order``, and degrees up to ``N`` give ``(N + 1)^2`` of them. Zernike functions: by ``n``, then by degree (at
most ``n``, of its parity), then by order: ``(N + 1)(N + 2)(N + 3) / 6``. :func:`harmonic_orders` and :func:`zernike_orders` list
them. Everything is differentiable, also at the origin and at the poles of the ball.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import check_choice, check_floating, check_same_device, values_are_checked

# --- Which functions there are ----------------------------------------------------------------------------------------


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
    _check_degree(max_degree, "max_degree")
    return torch.tensor([(j, m) for j in range(max_degree + 1) for m in range(-j, j + 1)])


def zernike_orders(max_degree: int) -> Tensor:
    """``n``, degree and order of every Zernike function with ``n <= max_degree``, in the order of the moments.

    Returns:
        Integers ``(num_moments, 3)``: 220 rows for ``max_degree`` 9, where the paper counts 100.

    Raises:
        TypeError: for a degree that is not an integer.
        ValueError: for a negative degree.

    Example:
        >>> zernike_orders(2).tolist()
        [[0, 0, 0], [1, 1, -1], [1, 1, 0], [1, 1, 1], [2, 0, 0], [2, 2, -2], [2, 2, -1], [2, 2, 0], [2, 2, 1], [2, 2, 2]]
    """
    return torch.tensor([(n, j, m) for n, j in _pairs(max_degree) for m in range(-j, j + 1)])


def harmonic_index(degree: int, order: int) -> int:
    """Where the harmonic of this degree and order stands among the coefficients.

    Raises:
        TypeError: for a degree or an order that is not an integer.
        ValueError: for a negative degree, or an order above it.

    Example:
        >>> harmonic_index(2, -2), harmonic_index(2, 2)
        (4, 8)
    """
    _check_degree(degree, "degree")
    _check_order(degree, order)
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
    _check_pair(n, degree)
    _check_order(degree, order)
    return n * (n + 1) * (n + 2) // 6 + degree * (degree - 1) // 2 + degree + order


def _pairs(max_degree: int) -> list[tuple[int, int]]:
    """All (n, degree) of Zernike functions."""
    _check_degree(max_degree, "max_degree")
    return [(n, degree) for n in range(max_degree + 1) for degree in range(n % 2, n + 1, 2)]


# --- Spherical harmonics ----------------------------------------------------------------------------------------------


def spherical_harmonics(
    max_degree: int,
    polar: Tensor,
    azimuth: Tensor,
    *,
    phase: Literal["condon_shortley", "printed"] = "condon_shortley",
) -> Tensor:
    r"""All spherical harmonics up to a degree at given directions (cGML, Eq. 25 and 26).

    .. math::

        Y_{l,m} = \sqrt{\frac{2l+1}{4\pi} \frac{(l-m)!}{(l+m)!}}\; P_l^m(\cos \text{polar})\; e^{i m\, \text{azimuth}},
        \qquad \int |Y_{l,m}|^2 = 1

    Eq. 25 has the sign :math:`(-1)^m` in front and Eq. 26 has it inside :math:`P_l^m`, so that in print it cancels. Both
    are orthonormal; they disagree in every odd order. Computed by recursion over the degree, without a factorial.

    Args:
        max_degree: the largest degree.
        polar: angles from the z axis in radians, within ``[0, pi]``.
        azimuth: angles around it in radians; the shape must broadcast with that of ``polar``.
        phase: ``"condon_shortley"`` (sign once, as in SciPy) or ``"printed"`` (sign twice, that is never).

    Returns:
        Complex ``(*shape, (max_degree + 1)^2)``.

    Raises:
        TypeError: for angles that are not floating point, or a degree that is not an integer.
        ValueError: for a negative degree, another phase, shapes or devices that do not match, or (looked for on the CPU
            only) polar angles outside ``[0, pi]``, azimuths that are not finite.

    Example:
        >>> import torch
        >>> spherical_harmonics(1, torch.tensor(1.0), torch.tensor(0.0)).real  # degree 0, then orders -1, 0, 1 of degree 1
        tensor([ 0.2821,  0.2907,  0.2640, -0.2907])
    """
    _check_degree(max_degree, "max_degree")
    check_floating(polar, "polar", min_dims=0)
    check_floating(azimuth, "azimuth", min_dims=0)
    check_same_device(polar=polar, azimuth=azimuth)
    check_choice(phase, "phase", ("condon_shortley", "printed"))
    try:
        polar, azimuth = torch.broadcast_tensors(polar, azimuth)
    except RuntimeError:
        raise ValueError(
            f"expected polar and azimuth of shapes that broadcast, got {tuple(polar.shape)} and {tuple(azimuth.shape)}."
        ) from None
    if values_are_checked(polar, None):
        if not bool(((polar >= 0) & (polar <= math.pi + 1e-6)).all()):
            raise ValueError(
                f"expected polar angles within [0, pi], got [{float(polar.min()):g}, {float(polar.max()):g}]; "
                "is this the azimuth, or are these degrees?"
            )
        if not bool(azimuth.isfinite().all()):
            raise ValueError("expected finite azimuths, got NaN or infinity.")
    step = torch.polar(polar.sin(), azimuth)
    rows = _solid_harmonics(max_degree, step, polar.cos(), torch.ones_like(polar))
    values = torch.cat([_with_negative_orders(row) for row in rows]).movedim(0, -1)
    if phase == "printed":
        values = values * _signs(harmonic_orders(max_degree)[:, 1]).to(values)
    return values


def _solid_harmonics(max_degree: int, step: Tensor, z: Tensor, squared_radius: Tensor) -> list[Tensor]:
    """r^l Y_lm of the orders 0 ... l, one tensor ``(l + 1, *shape)`` for each degree l.

    They are polynomials of ``step = x + i y`` and z, so nothing is undefined at the poles or at the origin. With a real
    ``step = sin(polar)`` and ``z = cos(polar)`` they are the normalized Legendre functions.
    """
    rows = [torch.full_like(step, (4 * math.pi) ** -0.5)[None]]
    one = (-1, *(1 for _ in z.shape))
    for j in range(1, max_degree + 1):
        last, before = rows[-1], rows[-2] if j > 1 else rows[-1][:0]
        m = torch.arange(j - 1, dtype=torch.float64)
        a = ((4 * j * j - 1) / (j * j - m * m)).sqrt()
        b = ((2 * j + 1) / (2 * j - 3) * ((j - 1) ** 2 - m * m) / (j * j - m * m)).sqrt() if j > 1 else m
        a, b = (factor.to(z).view(one) for factor in (a, b))
        inner = a * z * last[:-1] - b * squared_radius * before
        next_to_last = math.sqrt(2 * j + 1) * z * last[-1:]
        sectoral = -math.sqrt((2 * j + 1) / (2 * j)) * step * last[-1:]
        rows.append(torch.cat([inner, next_to_last, sectoral]))
    return rows


def _with_negative_orders(row: Tensor) -> Tensor:
    """Orders -l ... l of one degree from its orders 0 ... l: Y_{l,-m} = (-1)^m conj Y_lm."""
    others = row[1:].conj() * _signs(torch.arange(1, len(row))).to(row).view(-1, *(1 for _ in row.shape[1:]))
    return torch.cat([others.flip(0), row])


def _signs(orders: Tensor) -> Tensor:
    """(-1)^m."""
    return 1.0 - 2.0 * (orders % 2)


class SphericalTransform:
    r"""Coefficients of maps on the sphere and back, on an equiangular grid with the weights of Driscoll and Healy (1994).

    The grid has ``num_samples`` rows at the polar angles :math:`(j + 1/2) \pi / n` and as many columns at the azimuths
    :math:`2 \pi k / n`. Sums over it are exact integrals for maps up to ``max_degree`` if ``num_samples >= 2 max_degree + 1``;
    Driscoll and Healy's count is ``2 (max_degree + 1)``. So 256 x 256 samples carry degrees 0 to 127: 16384 coefficients.
    Azimuths are transformed by FFT, polar angles by a table of Legendre functions made here, once.

    Args:
        max_degree: the largest degree.
        num_samples: rows and columns of a map; by default ``2 (max_degree + 1)``.
        weights: ``"driscoll_healy"``, or ``"sine"``: the area of each row, as one would write first; it is never exact.
        dtype: of real maps, ``torch.float64`` or ``torch.float32``; coefficients are complex of the same precision.
        device: of tables and maps.

    Raises:
        TypeError: for a number that is not an integer, or another dtype.
        ValueError: for a negative degree, fewer than ``max(2 max_degree, 1)`` samples, other weights.

    Example:
        >>> import torch
        >>> transform = SphericalTransform(max_degree=4)
        >>> north = transform.polar.cos()[:, None].expand(10, 10)
        >>> coefficients = transform.analyze(north)
        >>> round(coefficients[harmonic_index(1, 0)].real.item(), 4)  # sqrt(4 pi / 3)
        2.0467
        >>> torch.allclose(transform.synthesize(coefficients).real, north)
        True
    """

    def __init__(
        self,
        max_degree: int,
        *,
        num_samples: int | None = None,
        weights: Literal["driscoll_healy", "sine"] = "driscoll_healy",
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        _check_degree(max_degree, "max_degree")
        n = 2 * (max_degree + 1) if num_samples is None else num_samples
        _check_integer(n, "num_samples")
        if n < max(2 * max_degree, 1):
            raise ValueError(
                f"expected at least {max(2 * max_degree, 1)} samples for degree {max_degree}, got {n}: the azimuth cannot hold "
                "its orders; take more samples or a smaller max_degree."
            )
        check_choice(weights, "weights", ("driscoll_healy", "sine"))
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"expected dtype torch.float32 or torch.float64, got {dtype}.")
        self.max_degree, self.num_samples, self.dtype = max_degree, n, dtype
        polar = (torch.arange(n, dtype=torch.float64) + 0.5) * (math.pi / n)
        north = polar[: (n + 1) // 2]  # a Legendre function is even or odd, so one half of the rows is enough
        rows = _solid_harmonics(max_degree, north.sin(), north.cos(), torch.ones_like(north))
        table = torch.zeros(
            max_degree + 1, max_degree + 1, len(north), dtype=torch.float64
        )  # order, degree, row
        for j, row in enumerate(rows):
            table[: j + 1, j] = row
        ring = _driscoll_healy(polar) if weights == "driscoll_healy" else polar.sin() * (math.pi / n)
        orders = harmonic_orders(max_degree)

        self.polar = polar.to(dtype).to(device)
        """Polar angle of every row."""
        self.azimuth = (torch.arange(n, dtype=torch.float64) * (2 * math.pi / n)).to(dtype).to(device)
        """Azimuth of every column."""
        self.weights = (ring * (2 * math.pi / n)).to(dtype).to(device)
        """Weight of a sample in every row; all samples of the sphere together have 4 pi."""
        self._table = table.to(dtype).to(device)
        degree, order = orders.T.to(device)
        self._order = order
        self._slot = order.abs(), degree, (degree + order) % 2  # order, degree, odd in the polar angle
        self._sign = torch.where(order < 0, _signs(order), 1.0).to(dtype)

    def analyze(self, maps: Tensor) -> Tensor:
        """Coefficients of maps (cGML, Eq. 30).

        Args:
            maps: real or complex ``(*batch, num_samples, num_samples)``, rows over the polar angle.

        Returns:
            Complex ``(*batch, (max_degree + 1)^2)``. For real maps, order ``-m`` holds ``(-1)^m`` times the conjugate of ``m``.

        Raises:
            TypeError: for maps of another dtype (integers too).
            ValueError: for another grid or device, or (looked for on the CPU only) values that are not finite.
        """
        self._check(maps, "maps", (self.num_samples, self.num_samples))
        if maps.is_complex():
            return self.analyze(maps.real) + 1j * self.analyze(maps.imag)
        batch, half = maps.shape[:-2], self._table.shape[-1]
        spectrum = (
            torch.fft.rfft(maps.reshape(math.prod(batch), *maps.shape[-2:]))[..., : self.max_degree + 1]
            * self.weights[:, None]
        )
        north, south = spectrum[..., :half, :], spectrum.flip(-2)[..., :half, :]
        if self.num_samples % 2:  # the equator is its own mirror image
            south = torch.cat([south[..., :-1, :], torch.zeros_like(south[..., -1:, :])], -2)
        folded = torch.stack([north + south, north - south])  # even or odd, map, row, order
        columns = torch.view_as_real(folded).permute(3, 2, 0, 1, 4)
        rows = (self._table @ columns.flatten(2)).unflatten(
            2, columns.shape[2:]
        )  # order, degree, even or odd, map, part
        values = torch.view_as_complex(rows.contiguous())[self._slot]
        values = torch.where((self._order < 0)[:, None], values.conj(), values) * self._sign[:, None]
        return values.T.reshape(*batch, -1)

    def synthesize(self, coefficients: Tensor) -> Tensor:
        """Maps from their coefficients (cGML, Eq. 29).

        Args:
            coefficients: complex ``(*batch, (max_degree + 1)^2)``.

        Returns:
            Complex ``(*batch, num_samples, num_samples)``; the imaginary part of a real map is rounding error.

        Raises:
            TypeError: for coefficients of another dtype.
            ValueError: for another number of coefficients, another device, or (looked for on the CPU only) values that are not
                finite.
        """
        self._check(coefficients, "coefficients", (len(self._order),))
        if not coefficients.is_complex():
            raise TypeError(
                f"expected complex coefficients, got {coefficients.dtype}; use torch.complex(real, imaginary)."
            )
        batch, orders = coefficients.shape[:-1], self.max_degree + 1
        flat = (coefficients * self._sign).reshape(math.prod(batch), len(self._order)).T
        order, degree, odd = self._slot
        tables = flat.new_zeros(
            orders, orders, 2, 2, flat.shape[1]
        )  # order, degree, even or odd, sign of the order, map
        tables = tables.index_put((order, degree, odd, (self._order < 0).long()), flat)
        columns = torch.view_as_real(tables)
        rows = (self._table.mT @ columns.flatten(2)).unflatten(2, columns.shape[2:])
        even, uneven = torch.view_as_complex(rows.contiguous()).permute(
            2, 3, 4, 1, 0
        )  # sign, map, row, order
        south = (even - uneven)[..., : self.num_samples // 2, :].flip(-2)
        rows = torch.cat([even + uneven, south], -2)
        spectrum = rows.new_zeros(*rows.shape[1:-1], self.num_samples)
        column = torch.arange(orders, device=flat.device)
        spectrum = spectrum.index_add(-1, column, rows[0]).index_add(-1, -column % self.num_samples, rows[1])
        return torch.fft.ifft(spectrum, norm="forward").reshape(*batch, *2 * (self.num_samples,))

    def _check(self, values: Tensor, name: str, shape: tuple[int, ...]) -> None:
        _check_values(values, name, shape, self.dtype, self._table.device)


def _driscoll_healy(polar: Tensor) -> Tensor:
    """Weights at equidistant polar angles, exact for polynomials of the cosine up to ``len(polar) - 1``.

    Driscoll and Healy's weights, placed halfway between the rows of their grid, are those of Fejér's first rule, which
    needs no even number of rows.
    """
    n = len(polar)
    k = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    return (2 - 4 * (torch.cos(2 * k * polar[:, None]) / (4 * k * k - 1)).sum(1)) / n


# --- Zernike functions ------------------------------------------------------------------------------------------------


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
    _check_pair(n, degree)
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
    for n, j in _pairs(max_degree):
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
        formula: of the radial part, see :func:`zernike_radial`; the harmonics carry their sign once.

    Returns:
        Complex ``(*shape, num_moments)``, ordered as :func:`zernike_orders`. A function is rebuilt from its moments by
        ``(zernike_functions(N, points) * moments).sum(-1)`` (Eq. 35).

    Raises:
        TypeError: for points that are not floating point, or a degree that is not an integer.
        ValueError: for a negative degree, another formula, a last dimension other than 3, or (looked for on the CPU only)
            points outside the ball.

    Example:
        >>> import torch
        >>> zernike_functions(2, torch.zeros(1, 3)).shape
        torch.Size([1, 10])
    """
    pairs = _pairs(max_degree)
    check_choice(formula, "formula", ("orthonormal", "corrected", "printed"))
    _check_points(points)
    x, y, z = points.unbind(-1)
    squared_radius = (points * points).sum(-1)
    rows = _solid_harmonics(max_degree, torch.complex(x, y), z, squared_radius)
    harmonics = [_with_negative_orders(row) for row in rows]
    factors = _radial_factors(max_degree, squared_radius, formula)
    return torch.cat([factors[n, j] * harmonics[j] for n, j in pairs]).movedim(0, -1)


def zernike_moments(points: Tensor, weights: Tensor, *, max_degree: int) -> Tensor:
    """Zernike moments of weighted points: a point cloud, or the occupied voxels of a grid (cGML, Eq. 36).

    Args:
        points: Cartesian ``(n, 3)``, of length at most 1.
        weights: ``(*batch, n)``, real: for a cloud ``1 / n`` each, for voxels their occupancy times the volume of one.
        max_degree: the largest ``n`` of a moment.

    Returns:
        Complex ``(*batch, num_moments)``: the sum over points of the weight times the conjugate Zernike function.

    Raises:
        TypeError: for points or weights that are not floating point or of two dtypes, or a degree that is not an integer.
        ValueError: for a negative degree, shapes or devices that do not match, or (looked for on the CPU only) points
            outside the ball.

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
    functions = zernike_functions(max_degree, points)
    return torch.complex(weights @ functions.real, -(weights @ functions.imag))


class ZernikeTransform:
    """Zernike moments of functions on the ball and back, on spheres of samples with exact weights.

    Each of ``num_radii`` spheres (Gauss-Legendre points of the radius) carries the grid of :class:`SphericalTransform`. Sums
    over all samples are exact integrals for polynomials up to ``max_degree`` in the default size; a solid with a sharp
    surface needs more samples.

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
        pairs = _pairs(max_degree)
        num_radii = max_degree + 2 if num_radii is None else num_radii
        _check_integer(num_radii, "num_radii")
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

        self.max_degree, self.dtype = max_degree, dtype
        self.radius = radius.to(dtype).to(device)
        """Radius of every sphere."""
        self.points = self._grid(radius).to(dtype).to(device)
        """Cartesian places of the samples, ``(num_radii, num_samples, num_samples, 3)``."""
        self.weights = ((weights * radius**2).to(dtype).to(device)[:, None] * self._sphere.weights)[
            ..., None
        ].expand(self.points.shape[:-1])
        """Weight of every sample; all together have the ball's volume, 4 pi / 3."""
        self._radial = torch.stack(radial, 1).to(dtype).to(device)  # radius, moment
        self._radial_weights = (weights * radius**2).to(dtype).to(device)
        self._harmonic = (degree * degree + degree + order).to(device)

    def _grid(self, radius: Tensor) -> Tensor:
        polar, azimuth = (angle.double().cpu() for angle in (self._sphere.polar, self._sphere.azimuth))
        x = torch.outer(polar.sin(), azimuth.cos())
        y = torch.outer(polar.sin(), azimuth.sin())
        z = polar.cos()[:, None].expand_as(x)
        return radius[:, None, None, None] * torch.stack([x, y, z], -1)

    def analyze(self, values: Tensor) -> Tensor:
        """Moments of functions given at :attr:`points` (cGML, Eq. 36).

        Args:
            values: real or complex ``(*batch, num_radii, num_samples, num_samples)``.

        Returns:
            Complex ``(*batch, num_moments)``, ordered as :func:`zernike_orders`.

        Raises:
            TypeError: for values of another dtype (integers too).
            ValueError: for another grid or device, or (looked for on the CPU only) values that are not finite.
        """
        _check_values(values, "values", tuple(self.points.shape[:-1]), self.dtype, self.points.device)
        shells = self._sphere.analyze(values)[..., self._harmonic]
        return (shells * (self._radial * self._radial_weights[:, None])).sum(-2)

    def synthesize(self, moments: Tensor) -> Tensor:
        """Functions at :attr:`points` from their moments (cGML, Eq. 35).

        Args:
            moments: complex ``(*batch, num_moments)``.

        Returns:
            Complex ``(*batch, num_radii, num_samples, num_samples)``.

        Raises:
            TypeError: for moments of another dtype.
            ValueError: for another number of moments, another device, or (looked for on the CPU only) values that are not
                finite.
        """
        _check_values(moments, "moments", (len(self._harmonic),), self.dtype, self.points.device)
        if not moments.is_complex():
            raise TypeError(
                f"expected complex moments, got {moments.dtype}; use torch.complex(real, imaginary)."
            )
        shells = moments[..., None, :] * self._radial
        coefficients = shells.new_zeros(*shells.shape[:-1], (self.max_degree + 1) ** 2)
        return self._sphere.synthesize(coefficients.index_add(-1, self._harmonic, shells))


def _gauss_legendre(num: int) -> tuple[Tensor, Tensor]:
    """Points and weights of Gauss's rule on [0, 1]: eigenvalues of the Jacobi matrix (Golub and Welsch)."""
    k = torch.arange(1, num, dtype=torch.float64)
    beside = k / (4 * k * k - 1).sqrt()
    points, vectors = torch.linalg.eigh(torch.diag(beside, 1) + torch.diag(beside, -1))
    return (points + 1) / 2, vectors[0] ** 2


# --- What a rotation leaves alone -------------------------------------------------------------------------------------


def power_spectrum(coefficients: Tensor, *, domain: Literal["sphere", "ball"]) -> Tensor:
    """Squared norm of the coefficients of each degree: numbers that do not change when the shape is turned.

    A rotation mixes the orders of one degree among themselves, by a unitary matrix.

    Args:
        coefficients: ``(*batch, num_coefficients)`` up to a full degree, complex or real.
        domain: ``"sphere"`` for spherical harmonics, ``"ball"`` for Zernike moments.

    Returns:
        Real, at least 0: ``(*batch, max_degree + 1)`` on the sphere; on the ball one number for each pair of ``n`` and degree, in
        the order of :func:`zernike_orders`.

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
    degrees = list(range(max_degree + 1)) if domain == "sphere" else [j for _, j in _pairs(max_degree)]
    group = torch.repeat_interleave(torch.tensor([2 * j + 1 for j in degrees])).to(coefficients.device)
    squares = (coefficients * coefficients.conj()).real
    return squares.new_zeros(*squares.shape[:-1], len(degrees)).index_add(-1, group, squares)


def _full_set(max_degree: int, domain: str) -> int:
    n = max_degree + 1
    return n * n if domain == "sphere" else n * (n + 1) * (n + 2) // 6


# --- Checks -----------------------------------------------------------------------------------------------------------


def _check_integer(value: object, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected {name} to be an integer, got {value!r}.")


def _check_degree(value: int, name: str) -> None:
    _check_integer(value, name)
    if value < 0:
        raise ValueError(f"expected {name} >= 0, got {value}.")


def _check_order(degree: int, order: int) -> None:
    _check_integer(order, "order")
    if abs(order) > degree:
        raise ValueError(f"expected |order| <= degree = {degree}, got order {order}.")


def _check_pair(n: int, degree: int) -> None:
    _check_degree(n, "n")
    _check_degree(degree, "degree")
    if degree > n or (n - degree) % 2:
        raise ValueError(f"expected a degree of at most n = {n} and of the same parity, got {degree}.")


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


def _check_values(
    values: Tensor, name: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    """Values on a grid, or coefficients, of the dtype (or its complex twin), shape and device of a transform."""
    if not isinstance(values, Tensor):
        raise TypeError(
            f"expected {name} to be a torch.Tensor, got {type(values).__name__}; convert it with torch.as_tensor()."
        )
    if values.dtype not in (dtype, dtype.to_complex()):
        raise TypeError(
            f"expected {name} of {dtype} or {dtype.to_complex()}, got {values.dtype}; convert it with .to(), or give the "
            "transform another dtype."
        )
    if tuple(values.shape[-len(shape) :]) != shape:
        raise ValueError(
            f"expected {name} of shape (..., {', '.join(map(str, shape))}), got {tuple(values.shape)}."
        )
    if values.device != device:
        raise ValueError(f"expected {name} on {device}, got {values.device}; move it with .to(device).")
    if values_are_checked(values, None) and not bool(values.isfinite().all()):
        raise ValueError(f"expected finite {name}, got NaN or infinity.")
