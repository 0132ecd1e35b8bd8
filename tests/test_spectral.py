"""Spherical harmonics and Zernike functions: orthonormal, invertible, differentiable; and what the printed formulas give."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.recipes.spectral_facts import printed_harmonic, radial_part
from ndiv_lib.spectral import (
    SphericalTransform,
    ZernikeTransform,
    harmonic_index,
    harmonic_orders,
    power_spectrum,
    spherical_harmonics,
    zernike_functions,
    zernike_index,
    zernike_moments,
    zernike_orders,
    zernike_radial,
)

DOUBLE = torch.float64


def drawn(*shape, seed=0, complex_=False):
    dtype = torch.complex128 if complex_ else DOUBLE
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def angles(n, seed=0):
    random = torch.Generator().manual_seed(seed)
    polar, azimuth = torch.rand(2, n, generator=random, dtype=DOUBLE)
    return math.pi * polar, 2 * math.pi * azimuth


def in_the_ball(n, seed=0):
    points = drawn(n, 3, seed=seed)
    return points / points.norm(dim=1, keepdim=True) * torch.linspace(0, 1, n, dtype=DOUBLE)[:, None]


def harmonic_gram(max_degree, **options):
    grid = SphericalTransform(max_degree)
    values = spherical_harmonics(max_degree, grid.polar[:, None], grid.azimuth, **options).flatten(0, 1)
    return values.mH @ (values * grid.weights.repeat_interleave(grid.num_samples)[:, None])


def radial_gram(degree, formula, max_n=9):
    grid = ZernikeTransform(max_n)
    measure = grid.weights.sum((1, 2)) / (4 * math.pi)
    rows = [zernike_radial(n, degree, grid.radius, formula=formula) for n in range(degree, max_n + 1, 2)]
    return torch.stack(rows) * measure @ torch.stack(rows).T


# --- Orthonormal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["condon_shortley", "printed"])
def test_harmonics_are_orthonormal(phase):
    gram = harmonic_gram(9, phase=phase)
    assert (gram - torch.eye(100)).abs().max() <= 1e-12


def test_zernike_functions_are_orthonormal():
    grid = ZernikeTransform(9)
    values = zernike_functions(9, grid.points).flatten(0, 2)
    gram = values.mH @ (values * grid.weights.flatten()[:, None])
    assert (gram - torch.eye(220)).abs().max() <= 1e-12


def test_harmonics_are_those_of_scipy():
    sph_harm_y = pytest.importorskip("scipy.special").sph_harm_y
    polar, azimuth = angles(12)
    polar[:2] = torch.tensor([0.0, math.pi], dtype=DOUBLE)
    values = spherical_harmonics(40, polar, azimuth)
    for column, (degree, order) in enumerate(harmonic_orders(40).tolist()):
        wanted = sph_harm_y(degree, order, polar.numpy(), azimuth.numpy())
        np.testing.assert_allclose(values[:, column].numpy(), wanted, atol=1e-12)


def test_degree_127_neither_overflows_nor_fades():
    values = spherical_harmonics(127, *angles(50))
    assert values.isfinite().all()
    degrees = harmonic_orders(127)[:, 0]
    for degree in (
        0,
        60,
        127,
    ):  # the addition theorem: the squares of one degree sum to (2 l + 1) / (4 pi), everywhere
        total = values[:, degrees == degree].abs().square().sum(1)
        torch.testing.assert_close(total, torch.full_like(total, (2 * degree + 1) / (4 * math.pi)))


@pytest.mark.parametrize("pair", [(0, 0), (5, 3), (40, 0), (40, 20), (41, 39)])
def test_radial_parts_are_jacobi_polynomials(pair):
    eval_jacobi = pytest.importorskip("scipy.special").eval_jacobi
    n, degree = pair
    radius = torch.linspace(0, 1, 50, dtype=DOUBLE)
    wanted = eval_jacobi((n - degree) // 2, 0, degree + 0.5, 2 * radius.numpy() ** 2 - 1)
    wanted *= math.sqrt(2 * n + 3) * radius.numpy() ** degree
    np.testing.assert_allclose(zernike_radial(n, degree, radius).numpy(), wanted, atol=1e-10)


def test_functions_are_the_product_of_their_parts():
    points = in_the_ball(9)[1:]
    radius = points.norm(dim=1)
    polar, azimuth = torch.acos(points[:, 2] / radius), torch.atan2(points[:, 1], points[:, 0])
    harmonics, values = spherical_harmonics(6, polar, azimuth), zernike_functions(6, points)
    for n, degree, order in zernike_orders(6).tolist():
        wanted = zernike_radial(n, degree, radius) * harmonics[:, harmonic_index(degree, order)]
        torch.testing.assert_close(values[:, zernike_index(n, degree, order)], wanted)


# --- Analysis and synthesis -------------------------------------------------------------------------------------------


def test_analysis_inverts_synthesis():
    transform = SphericalTransform(127)
    assert transform.num_samples == 256
    coefficients = drawn(128 * 128, complex_=True)
    assert coefficients.shape == (16384,)
    assert (transform.analyze(transform.synthesize(coefficients)) - coefficients).abs().max() <= 1e-10


@given(max_degree=st.integers(0, 9), extra=st.integers(1, 4), batch=st.sampled_from([(), (1,), (2, 3)]))
@settings(max_examples=25, deadline=None)
def test_every_size_inverts(max_degree, extra, batch):
    """From the fewest samples on, odd or even, and with leading dimensions."""
    transform = SphericalTransform(max_degree, num_samples=2 * max_degree + extra)
    coefficients = drawn(*batch, (max_degree + 1) ** 2, complex_=True)
    maps = transform.synthesize(coefficients)
    assert maps.shape == (*batch, transform.num_samples, transform.num_samples)
    torch.testing.assert_close(transform.analyze(maps), coefficients)
    ball = ZernikeTransform(max_degree, num_samples=transform.num_samples)
    moments = drawn(*batch, len(zernike_orders(max_degree)), complex_=True)
    torch.testing.assert_close(ball.analyze(ball.synthesize(moments)), moments)


def test_synthesis_is_the_sum_of_functions():
    transform, coefficients = SphericalTransform(5), drawn(36, complex_=True)
    harmonics = spherical_harmonics(5, transform.polar[:, None], transform.azimuth)
    torch.testing.assert_close(transform.synthesize(coefficients), harmonics @ coefficients)
    ball, moments = ZernikeTransform(5), drawn(56, complex_=True)
    torch.testing.assert_close(ball.synthesize(moments), zernike_functions(5, ball.points) @ moments)


def test_real_maps_have_symmetric_coefficients_and_come_back_real():
    transform = SphericalTransform(6)
    coefficients = transform.analyze(drawn(3, 14, 14))
    for degree, order in harmonic_orders(6).tolist():
        mirrored = (-1) ** order * coefficients[:, harmonic_index(degree, -order)].conj()
        torch.testing.assert_close(coefficients[:, harmonic_index(degree, order)], mirrored)
    assert transform.synthesize(coefficients).imag.abs().max() < 1e-12


@pytest.mark.parametrize("num", [2, 8, 20])
def test_weights_are_those_of_driscoll_and_healy(num):
    """Their series in sines, at the middle of the rows; and the area of the sphere."""
    transform = SphericalTransform((num - 2) // 2, num_samples=num)
    k = torch.arange(num // 2, dtype=DOUBLE)
    odd = 2 * k + 1
    sines = (torch.sin(odd * transform.polar[:, None]) / odd).sum(1)
    printed = 4 / num * transform.polar.sin() * sines
    torch.testing.assert_close(transform.weights, printed * 2 * math.pi / num)
    assert float(transform.weights.sum()) * num == pytest.approx(4 * math.pi)


def test_sine_weights_are_not_exact():
    coefficients = drawn(128 * 128, complex_=True)
    transform = SphericalTransform(127, weights="sine")
    assert (transform.analyze(transform.synthesize(coefficients)) - coefficients).abs().max() > 1e-3


def test_single_precision():
    transform, coefficients = SphericalTransform(31, dtype=torch.float32), drawn(1024, complex_=True)
    there = transform.synthesize(coefficients.to(torch.complex64))
    assert there.dtype == torch.complex64
    assert (transform.analyze(there) - coefficients).abs().max() < 1e-4


def test_everything_stays_on_its_device():
    """On a device without values, which refuses to mix with any other; shapes and dtypes as elsewhere."""
    place = {"device": "meta", "dtype": DOUBLE}
    sphere, ball = SphericalTransform(3, device="meta"), ZernikeTransform(3, device="meta")
    coefficients = sphere.analyze(torch.zeros(2, 8, 8, **place))
    assert sphere.synthesize(coefficients).shape == (2, 8, 8)
    moments = ball.analyze(torch.zeros(ball.weights.shape, **place))
    assert ball.synthesize(moments).shape == ball.points.shape[:-1]
    points = torch.zeros(5, 3, **place)
    assert zernike_functions(3, points).shape == (5, 20)
    assert zernike_moments(points, points[:, 0], max_degree=3).shape == moments.shape
    assert zernike_radial(3, 1, points[:, 0], formula="printed").device.type == "meta"
    assert spherical_harmonics(3, points[:, 0], points[:, 1], phase="printed").shape == (5, 16)
    assert power_spectrum(moments, domain="ball").dtype == DOUBLE


def test_a_compiled_transform():
    transform, maps = SphericalTransform(3), drawn(2, 8, 8)
    compiled = torch.compile(transform.analyze, backend="eager")
    torch.testing.assert_close(compiled(maps), transform.analyze(maps))


def test_moments_of_points_are_those_of_the_ball():
    """A sum over the grid's points, with its weights, is the transform."""
    ball = ZernikeTransform(5)
    values = drawn(2, *ball.weights.shape)
    moments = zernike_moments(ball.points.flatten(0, 2), (values * ball.weights).flatten(1), max_degree=5)
    torch.testing.assert_close(moments, ball.analyze(values))


def test_moments_of_a_cloud_are_the_mean_of_the_functions():
    points = in_the_ball(50)
    moments = zernike_moments(points, torch.full((50,), 1 / 50, dtype=DOUBLE), max_degree=4)
    torch.testing.assert_close(moments, zernike_functions(4, points).conj().mean(0))


def test_weights_of_the_ball_sum_to_its_volume():
    assert float(ZernikeTransform(3).weights.sum()) == pytest.approx(4 * math.pi / 3)


# --- Gradients --------------------------------------------------------------------------------------------------------


def test_gradients_pass_through_both_transforms():
    sphere, ball = SphericalTransform(2), ZernikeTransform(2, num_samples=5)
    maps = drawn(2, 6, 6).requires_grad_()
    coefficients = drawn(9, complex_=True).requires_grad_()
    values = drawn(4, 5, 5).requires_grad_()
    moments = drawn(10, complex_=True).requires_grad_()
    assert torch.autograd.gradcheck(sphere.analyze, maps)
    assert torch.autograd.gradcheck(sphere.synthesize, coefficients)
    assert torch.autograd.gradcheck(ball.analyze, values)
    assert torch.autograd.gradcheck(ball.synthesize, moments)


def test_gradients_pass_to_points_and_angles():
    points = 0.9 * in_the_ball(4)
    points[1] = torch.tensor([0.0, 0.0, 0.5])  # a pole; the first point is the origin
    weights = torch.full((4,), 0.25, dtype=DOUBLE)
    assert torch.autograd.gradcheck(
        lambda p, w: zernike_moments(p, w, max_degree=4), (points.requires_grad_(), weights.requires_grad_())
    )
    polar, azimuth = (angle.requires_grad_() for angle in angles(3))
    assert torch.autograd.gradcheck(lambda p, a: spherical_harmonics(3, p, a), (polar, azimuth))


# --- Rotations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_a_rotation_leaves_the_power_spectrum_alone(seed):
    turn = torch.linalg.qr(drawn(3, 3, seed=seed))[0]
    ball, moments = ZernikeTransform(5), drawn(56, seed=seed, complex_=True)
    turned = ball.analyze(zernike_functions(5, ball.points @ turn) @ moments)
    assert (turned - moments).abs().max() > 0.1
    torch.testing.assert_close(power_spectrum(turned, domain="ball"), power_spectrum(moments, domain="ball"))


def test_power_spectrum_is_the_sum_over_orders():
    coefficients, moments = drawn(2, 16, complex_=True), drawn(20, complex_=True)
    degree = harmonic_orders(3)[:, 0]
    wanted = torch.stack([coefficients[:, degree == j].abs().square().sum(1) for j in range(4)], 1)
    torch.testing.assert_close(power_spectrum(coefficients, domain="sphere"), wanted)
    rows = zernike_orders(3)[:, :2]
    pairs = list(dict.fromkeys(map(tuple, rows.tolist())))
    wanted = torch.stack([moments[(rows == torch.tensor(p)).all(1)].abs().square().sum() for p in pairs])
    torch.testing.assert_close(power_spectrum(moments, domain="ball"), wanted)


# --- What is printed --------------------------------------------------------------------------------------------------


def test_degree_128_does_not_fit_on_256_samples():
    """Erratum C15: 16384 moments are those up to degree 127; with 128 there are 16641, and some come back wrong."""
    assert len(harmonic_orders(127)) == 16384
    assert len(harmonic_orders(128)) == 16641
    transform = SphericalTransform(128, num_samples=256)
    coefficients = drawn(16641, complex_=True)
    error = (transform.analyze(transform.synthesize(coefficients)) - coefficients).abs()
    assert error.max() > 0.1
    assert error[harmonic_orders(128)[:, 0] < 128].max() < 1e-10


def test_there_are_220_zernike_functions_up_to_degree_9():
    """Erratum C16: not 100, which is the number of spherical harmonics up to degree 9."""
    orders = zernike_orders(9)
    assert len(orders) == 220
    assert (orders[:, 2] >= 0).sum() == 125
    assert len(harmonic_orders(9)) == 100


def test_printed_orders_leave_out_the_constant():
    """Erratum C17: l > 0 and |m| < l keep 81 of 100 functions up to degree 9, and no constant."""
    degree, order = harmonic_orders(9).T
    kept = (degree > 0) & (order.abs() < degree)
    assert kept.sum() == 81
    transform = SphericalTransform(9)
    one = transform.analyze(torch.ones(20, 20, dtype=DOUBLE))
    assert transform.synthesize(one * kept).abs().max() < 1e-12


def test_the_printed_sign_cancels():
    """Erratum C18: Eq. 25 with Eq. 26 has (-1)^m twice; odd orders are the negatives of SciPy's."""
    polar, azimuth = angles(10)
    printed, usual = (
        spherical_harmonics(6, polar, azimuth, phase=phase) for phase in ("printed", "condon_shortley")
    )
    for column, (degree, order) in enumerate(harmonic_orders(6).tolist()):
        letter = torch.from_numpy(printed_harmonic(degree, order, polar.numpy(), azimuth.numpy()))
        torch.testing.assert_close(printed[:, column], letter, rtol=0, atol=1e-12)
        torch.testing.assert_close(printed[:, column], (-1) ** order * usual[:, column])


def test_printed_radial_parts_are_not_orthogonal():
    """Erratum C19: the last binomial of Eq. 33; and the limit of Eq. 32 takes a term from degree 0 and even n."""
    assert (radial_gram(1, "printed") - torch.diag(radial_gram(1, "printed").diagonal())).abs().max() > 0.1
    assert (radial_gram(1, "corrected") - torch.eye(5, dtype=DOUBLE) / 3).abs().max() < 1e-12
    radius = torch.linspace(0, 1, 7, dtype=DOUBLE)
    for n, degree, _ in zernike_orders(9).tolist():
        for formula in ("orthonormal", "corrected", "printed"):
            letter = radial_part(n, degree, radius, formula)
            torch.testing.assert_close(
                zernike_radial(n, degree, radius, formula=formula), letter, rtol=0, atol=1e-11
            )
        limit, binomial, both = (
            radial_part(n, degree, radius, f) for f in ("printed_limit", "printed_binomial", "printed")
        )
        if degree or n % 2:  # there the printed limit only adds terms that are zero
            torch.testing.assert_close(limit, radial_part(n, degree, radius, "corrected"))
            torch.testing.assert_close(both, binomial)


def test_the_squared_norm_is_one_third():
    """Erratum C20: with the harmonics of Eq. 25 it is 1/3; 4 pi / 3 needs harmonics of squared norm 4 pi."""
    grid = ZernikeTransform(9)
    values = zernike_functions(9, grid.points, formula="corrected").flatten(0, 2)
    norms = (values.abs().square() * grid.weights.flatten()[:, None]).sum(0)
    torch.testing.assert_close(norms, torch.full_like(norms, 1 / 3))


def test_the_printed_expansion_returns_a_third():
    """Erratum C20: Eq. 36 into Eq. 35 with functions of squared norm 1/3."""
    grid, moments = ZernikeTransform(5), drawn(56, complex_=True)
    function = (grid.synthesize(moments)).flatten()
    values = zernike_functions(5, grid.points, formula="corrected").flatten(0, 2)
    omega = values.mH @ (function * grid.weights.flatten())
    torch.testing.assert_close(values @ omega, function / 3)


def test_half_of_the_samples_are_enough():
    """Erratum C22: N + 1 rows of 2 N + 1 columns determine a map of degree N, so 4 N^2 samples are not the minimum."""
    degree = 12
    rows = (torch.arange(degree + 1, dtype=DOUBLE) + 0.5) * (math.pi / (degree + 1))
    columns = torch.arange(2 * degree + 1, dtype=DOUBLE) * (2 * math.pi / (2 * degree + 1))
    values = spherical_harmonics(degree, rows[:, None], columns).flatten(0, 1)
    assert len(values) == 325 < 4 * degree**2
    coefficients = drawn((degree + 1) ** 2, complex_=True)
    found = torch.linalg.lstsq(values, (values @ coefficients)[:, None]).solution[:, 0]
    torch.testing.assert_close(found, coefficients)
    assert torch.linalg.cond(values) < 20


# --- Order of coefficients --------------------------------------------------------------------------------------------


def test_indices_point_at_their_rows():
    for row, (degree, order) in enumerate(harmonic_orders(6).tolist()):
        assert harmonic_index(degree, order) == row
    for row, (n, degree, order) in enumerate(zernike_orders(7).tolist()):
        assert zernike_index(n, degree, order) == row


# --- Bad input --------------------------------------------------------------------------------------------------------

SPHERE, BALL = SphericalTransform(2), ZernikeTransform(2)
HALF = torch.tensor([0.5])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: spherical_harmonics(-1, HALF, HALF), ValueError, "max_degree >= 0"),
        (lambda: spherical_harmonics(1.5, HALF, HALF), TypeError, "max_degree to be an integer"),
        (lambda: spherical_harmonics(2, torch.tensor([1]), HALF), TypeError, "polar to be floating point"),
        (lambda: spherical_harmonics(2, 4 * HALF * 2, HALF), ValueError, r"within \[0, pi\]"),
        (lambda: spherical_harmonics(2, HALF * math.nan, HALF), ValueError, r"within \[0, pi\]"),
        (lambda: spherical_harmonics(2, HALF, HALF * math.inf), ValueError, "finite azimuths"),
        (lambda: spherical_harmonics(2, HALF.expand(3), HALF.expand(2)), ValueError, "broadcast"),
        (lambda: spherical_harmonics(2, HALF, HALF, phase="none"), ValueError, "phase to be one of"),
        (lambda: harmonic_index(2, 3), ValueError, "<= degree = 2, got order 3"),
        (lambda: zernike_index(3, 2, 0), ValueError, "same parity"),
        (lambda: zernike_radial(2, 4, HALF), ValueError, "at most n = 2"),
        (lambda: zernike_radial(2, 2, 3 * HALF), ValueError, r"within \[0, 1\]"),
        (lambda: zernike_radial(2, 2, HALF, formula="mine"), ValueError, "formula to be one of"),
        (lambda: zernike_functions(2, torch.ones(4, 3)), ValueError, "inside the unit ball"),
        (lambda: zernike_functions(2, torch.full((4, 3), math.nan)), ValueError, "inside the unit ball"),
        (lambda: zernike_functions(2, torch.zeros(4, 2)), ValueError, r"points \(..., 3\)"),
        (lambda: zernike_functions(2, torch.zeros(4, 3, dtype=torch.long)), TypeError, "floating point"),
        (lambda: zernike_moments(torch.zeros(4, 3), torch.ones(5), max_degree=2), ValueError, "batch, n"),
        (
            lambda: zernike_moments(torch.zeros(4, 3), torch.ones(4) / 0, max_degree=2),
            ValueError,
            "finite weights",
        ),
        (
            lambda: zernike_moments(torch.zeros(4, 3), torch.ones(4).double(), max_degree=2),
            TypeError,
            "one dtype",
        ),
        (
            lambda: zernike_moments(torch.zeros(4, 3), torch.ones(4).int(), max_degree=2),
            TypeError,
            "floating point",
        ),
        (lambda: SphericalTransform(-2), ValueError, "max_degree >= 0"),
        (lambda: SphericalTransform(4, num_samples=7), ValueError, "at least 8 samples"),
        (lambda: SphericalTransform(4, weights="uniform"), ValueError, "weights to be one of"),
        (lambda: SphericalTransform(4, dtype=torch.int64), TypeError, "float32 or torch.float64"),
        (lambda: SPHERE.analyze(drawn(5, 6)), ValueError, r"shape \(..., 6, 6\)"),
        (
            lambda: SPHERE.analyze(torch.zeros(6, 6, dtype=torch.long)),
            TypeError,
            "torch.float64 or torch.complex128",
        ),
        (lambda: SPHERE.analyze(torch.zeros(6, 6)), TypeError, "another dtype"),
        (lambda: SPHERE.analyze(drawn(6, 6) * math.nan), ValueError, "finite maps"),
        (lambda: SPHERE.analyze(drawn(0, 6, 6)), ValueError, "at least one entry in maps"),
        (lambda: SPHERE.synthesize(drawn(8, complex_=True)), ValueError, r"shape \(..., 9\)"),
        (lambda: SPHERE.synthesize(drawn(9)), TypeError, "complex coefficients"),
        (lambda: SPHERE.analyze([[0.0]]), TypeError, "to be a torch.Tensor"),
        (lambda: ZernikeTransform(4, num_radii=5), ValueError, "at least 6 radii"),
        (lambda: ZernikeTransform(4, num_samples=8), ValueError, "at least 9 samples"),
        (lambda: BALL.analyze(drawn(6, 6)), ValueError, r"shape \(..., 4, 6, 6\)"),
        (lambda: BALL.synthesize(drawn(10)), TypeError, "complex moments"),
        (lambda: power_spectrum(drawn(10), domain="sphere"), ValueError, "nearest full set has 16"),
        (lambda: power_spectrum(drawn(10), domain="cube"), ValueError, "domain to be one of"),
        (lambda: power_spectrum(torch.arange(9), domain="sphere"), TypeError, "complex or floating-point"),
    ],
)
def test_errors_say_what_to_do(call, error, message):
    with pytest.raises(error, match=message):
        call()
