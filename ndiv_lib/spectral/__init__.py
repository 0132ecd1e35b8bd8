r"""Spherical harmonics and 3-D Zernike functions: shapes as lists of numbers (cGML, App. 3.12 and 4).

Conventions. The **polar** angle runs over ``[0, pi]`` from the z axis, the **azimuth** over ``[0, 2 pi)``; the paper calls them
:math:`\phi` and :math:`\theta`, most of physics the other way round. Harmonics are complex, orthonormal on the unit sphere and
carry the Condon-Shortley sign :math:`(-1)^m` once, as in SciPy. Zernike functions are orthonormal on the unit ball. Where the
printed formulas say something else, an argument gives the printed form.

Order of coefficients. Harmonics: degree by degree, orders ``-degree ... degree``; ``(degree, order)`` stands at
``degree^2 + degree + order``, and degrees up to ``N`` give ``(N + 1)^2`` of them. Zernike functions: by ``n``, then by degree (at
most ``n``, of its parity), then by order: ``(N + 1)(N + 2)(N + 3) / 6``. :func:`~ndiv_lib.spectral.harmonic_orders` and
:func:`~ndiv_lib.spectral.zernike_orders` list them.

Everything is differentiable, also at the origin and at the poles of the ball.
"""

from ndiv_lib.spectral.ball import ZernikeTransform, zernike_functions, zernike_moments, zernike_radial
from ndiv_lib.spectral.orders import (
    harmonic_index,
    harmonic_orders,
    power_spectrum,
    zernike_index,
    zernike_orders,
)
from ndiv_lib.spectral.sphere import SphericalTransform, spherical_harmonics

__all__ = [
    "SphericalTransform",
    "ZernikeTransform",
    "harmonic_index",
    "harmonic_orders",
    "power_spectrum",
    "spherical_harmonics",
    "zernike_functions",
    "zernike_index",
    "zernike_moments",
    "zernike_orders",
    "zernike_radial",
]
