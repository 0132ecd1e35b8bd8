"""Spherical harmonics at given directions, and their transform on an equiangular grid (cGML, Eq. 25 to 30)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ndiv_lib._checks import (
    check_choice,
    check_floating,
    check_integer,
    check_same_device,
    values_are_checked,
)
from ndiv_lib.spectral.orders import check_values, harmonic_orders


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
    check_integer(max_degree, "max_degree", least=0)
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
    rows = solid_harmonics(max_degree, step, polar.cos(), torch.ones_like(polar))
    values = torch.cat([with_negative_orders(row) for row in rows]).movedim(0, -1)
    if phase == "printed":
        values = values * signs(harmonic_orders(max_degree)[:, 1]).to(values)
    return values


def solid_harmonics(max_degree: int, step: Tensor, z: Tensor, squared_radius: Tensor) -> list[Tensor]:
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


def with_negative_orders(row: Tensor) -> Tensor:
    """Orders -l ... l of one degree from its orders 0 ... l: Y_{l,-m} = (-1)^m conj Y_lm."""
    others = row[1:].conj() * signs(torch.arange(1, len(row))).to(row).view(-1, *(1 for _ in row.shape[1:]))
    return torch.cat([others.flip(0), row])


def signs(orders: Tensor) -> Tensor:
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
        >>> from ndiv_lib.spectral import SphericalTransform, harmonic_index
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
        check_integer(max_degree, "max_degree", least=0)
        n = 2 * (max_degree + 1) if num_samples is None else num_samples
        check_integer(n, "num_samples")
        if n < max(2 * max_degree, 1):
            raise ValueError(
                f"expected at least {max(2 * max_degree, 1)} samples for degree {max_degree}, got {n}: the azimuth cannot hold "
                "its orders; take more samples or a smaller max_degree."
            )
        check_choice(weights, "weights", ("driscoll_healy", "sine"))
        if dtype not in (torch.float32, torch.float64):
            raise TypeError(f"expected dtype torch.float32 or torch.float64, got {dtype}.")
        self.max_degree, self.num_samples, self.dtype = max_degree, n, dtype
        polar, azimuth = equiangular(n)
        north = polar[: (n + 1) // 2]  # a Legendre function is even or odd, so one half of the rows is enough
        rows = solid_harmonics(max_degree, north.sin(), north.cos(), torch.ones_like(north))
        table = north.new_zeros(max_degree + 1, max_degree + 1, len(north))  # order, degree, row
        for j, row in enumerate(rows):
            table[: j + 1, j] = row
        ring = driscoll_healy(polar) if weights == "driscoll_healy" else polar.sin() * (math.pi / n)
        orders = harmonic_orders(max_degree)

        self.polar = polar.to(dtype).to(device)
        """Polar angle of every row."""
        self.azimuth = azimuth.to(dtype).to(device)
        """Azimuth of every column."""
        self.weights = (ring * (2 * math.pi / n)).to(dtype).to(device)
        """Weight of a sample in every row; all samples of the sphere together have 4 pi."""
        self._table = table.to(dtype).to(device)
        degree, order = orders.T.to(device)
        self._order = order
        self._slot = order.abs(), degree, (degree + order) % 2  # order, degree, odd in the polar angle
        self._sign = torch.where(order < 0, signs(order), 1.0).to(dtype)

    def analyze(self, maps: Tensor) -> Tensor:
        """Coefficients of maps (cGML, Eq. 30).

        Args:
            maps: real or complex ``(*batch, num_samples, num_samples)``, rows over the polar angle.

        Returns:
            Complex ``(*batch, (max_degree + 1)^2)``. For real maps, order ``-m`` holds ``(-1)^m`` times the conjugate of ``m``.

        Raises:
            TypeError: for maps of another dtype (integers too).
            ValueError: for another grid or device, an empty batch, or (looked for on the CPU only) values that are not finite.
        """
        self._check(maps, "maps", (self.num_samples, self.num_samples))
        if maps.is_complex():
            return self.analyze(maps.real) + 1j * self.analyze(maps.imag)
        batch, half = maps.shape[:-2], self._table.shape[-1]
        maps = maps.reshape(math.prod(batch), *maps.shape[-2:]) * self.weights[:, None]
        spectrum = torch.fft.rfft(maps)[..., : self.max_degree + 1]
        north, south = spectrum[..., :half, :], spectrum.flip(-2)[..., :half, :]
        if self.num_samples % 2:  # the equator is its own mirror image
            south = torch.cat([south[..., :-1, :], torch.zeros_like(south[..., -1:, :])], -2)
        folded = torch.stack([north + south, north - south])  # even or odd, map, row, order
        columns = torch.view_as_real(folded).permute(3, 2, 0, 1, 4)
        sums = (self._table @ columns.flatten(2)).unflatten(2, columns.shape[2:])
        values = torch.view_as_complex(sums.contiguous())[self._slot]  # one for each degree and order, map
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
        # order, degree, even or odd, sign of the order, map
        tables = flat.new_zeros(orders, orders, 2, 2, flat.shape[1])
        tables = tables.index_put((order, degree, odd, (self._order < 0).long()), flat)
        columns = torch.view_as_real(tables)
        rows = (self._table.mT @ columns.flatten(2)).unflatten(2, columns.shape[2:])
        # even or odd, sign of the order, map, row, order
        even, uneven = torch.view_as_complex(rows.contiguous()).permute(2, 3, 4, 1, 0)
        south = (even - uneven)[..., : self.num_samples // 2, :].flip(-2)
        rows = torch.cat([even + uneven, south], -2)
        spectrum = rows.new_zeros(*rows.shape[1:-1], self.num_samples)
        column = torch.arange(orders, device=flat.device)
        spectrum = spectrum.index_add(-1, column, rows[0]).index_add(-1, -column % self.num_samples, rows[1])
        return torch.fft.ifft(spectrum, norm="forward").reshape(*batch, *2 * (self.num_samples,))

    def _check(self, values: Tensor, name: str, shape: tuple[int, ...]) -> None:
        check_values(values, name, shape, self.dtype, self._table.device)


def equiangular(n: int) -> tuple[Tensor, Tensor]:
    """Polar angles of n rows, half a step away from the poles, and azimuths of n columns, in float64."""
    steps = torch.arange(n, dtype=torch.float64)
    return (steps + 0.5) * (math.pi / n), steps * (2 * math.pi / n)


def driscoll_healy(polar: Tensor) -> Tensor:
    """Weights at equidistant polar angles, exact for polynomials of the cosine up to ``len(polar) - 1``.

    Driscoll and Healy's weights, placed halfway between the rows of their grid, are those of Fejér's first rule, which
    needs no even number of rows.
    """
    n = len(polar)
    k = torch.arange(1, n // 2 + 1, dtype=torch.float64)
    return (2 - 4 * (torch.cos(2 * k * polar[:, None]) / (4 * k * k - 1)).sum(1)) / n
