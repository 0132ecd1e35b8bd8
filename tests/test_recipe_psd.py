"""The PSD recipe: Eq. 6 plugged in, the form's distances against a loop, and what the records show."""

import numpy as np
import pytest
import torch

from ndiv_lib.recipes import psd
from ndiv_lib.reporting.results import load


def values(cell, metric):
    return np.array(load("psd", cell).values[metric])


@pytest.mark.parametrize("preset", psd.PRESETS)
def test_every_preset_runs(preset):
    measured = psd.run(psd.smoke(psd.PRESETS[preset]), [0, 1])
    assert all(len(one) == 2 for one in measured.values.values())


def test_form_distances_are_the_form_pair_by_pair():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(2, 4, 3, generator=random, dtype=torch.float64)
    forms = torch.randn(2, 3, 3, generator=random, dtype=torch.float64)
    for b in range(2):
        for i in range(4):
            for j in range(4):
                step = points[b, i] - points[b, j]
                expected = float(step @ forms[b] @ step)
                assert float(psd.form_distances(points, forms)[b, i, j]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_the_printed_pair_gives_99_beta_over_dim_squared(dim):
    """Erratum E6: printed is 99 beta without the positive part and beta with it."""
    for beta in (1e-4, 1.0, 100.0):
        found = psd.plug_in(psd.Config(dim=dim, beta=beta), 0)
        assert found["variation_without"] == pytest.approx(99 / dim**2)
        share = 0.5 / 63
        assert found["variation_with"] == pytest.approx(min(99 / dim**2, share / beta))
        along_first = psd.plug_in(psd.Config(dim=dim, beta=beta, pair="first"), 0)
        assert [along_first[f"variation_{name}"] for name in ("without", "with")] == pytest.approx([1, 1])


def test_eigenvectors_are_rows():
    """Erratum E6: the columns of U are no eigenvectors of U^T diag U."""
    u = psd.rotation(5, torch.Generator().manual_seed(0))
    phi = psd.form(u, 1.0)
    torch.testing.assert_close(phi @ u[0], -u[0])
    torch.testing.assert_close(phi @ u[1], 100 * u[1])
    of_columns = [psd.plug_in(psd.Config(dim=5), seed)["distance_of_columns"] for seed in range(5)]
    assert max(of_columns) - min(of_columns) > 1


def test_a_seed_does_not_depend_on_its_neighbors():
    config = psd.smoke(psd.PRESETS["learn"])
    alone, together = (psd.run(config, seeds).values for seeds in ([1], [0, 1]))
    assert alone["smallest"][0] == pytest.approx(together["smallest"][1])


# --- Records ----------------------------------------------------------------------------------------------------------


def test_both_learned_forms_end_positive_semidefinite():
    for part in psd.HINGES:
        for case in ("learn", "learn_adam"):
            assert values(f"{case}-{part}", "psd_margin").min() > 0


def test_the_hinge_makes_a_large_beta_costly():
    assert (values("scale_100-hinge", "psd_margin") > 0).all()
    assert (values("scale_1-hinge", "psd_margin") < 0).all()
    assert (values("scale_100-no_hinge", "psd_margin") < 0).all()
    assert abs(values("own_normalizer-hinge", "psd_margin")).max() < 1e-9


def test_without_the_hinge_the_loss_is_linear_in_beta():
    """Rows of both matrices sum to constants, so that Eq. 4 is (alpha - beta) / (n - 1) there."""
    for beta in psd.BETAS:
        assert values(f"scale_{beta:g}-no_hinge", "loss_over_bound") == pytest.approx(1 - 2 * beta, rel=1e-4)
