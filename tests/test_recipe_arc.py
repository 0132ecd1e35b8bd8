"""Three points on an arc: the triangle inequality holds, additivity fails, and the loss prefers the chord (errata, E9)."""

import math

import pytest
import torch

from ndiv_lib.ndiv import ndiv_loss
from ndiv_lib.recipes import arc


@pytest.mark.parametrize("preset", arc.PRESETS)
def test_every_preset_runs(preset):
    measured = arc.run(arc.smoke(arc.PRESETS[preset]), [0, 1])
    assert all(len(values) == 2 for values in measured.values.values())


@pytest.mark.parametrize("turn", [0.5, math.pi, 1.9 * math.pi])
def test_the_triangle_inequality_holds_on_every_arc(turn):
    """What the paper calls its violation, that the way over B is longer than the chord, is what it states."""
    places = torch.rand(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sort().values
    for a, b, c in arc.arc(places.flatten(), turn).reshape(200, 3, 2):
        over_b, chord = (a - b).norm() + (b - c).norm(), (a - c).norm()
        assert float(chord) <= float(over_b) + 1e-12
    along = places.diff(dim=1).sum(1)  # d(A, B) + d(B, C) on the curve
    assert float((along - (places[:, 2] - places[:, 0])).abs().max()) < 1e-12


def test_the_printed_example_is_a_strict_inequality_on_a_half_circle():
    a, b, c = arc.arc(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), math.pi)
    detour = ((a - b).norm() + (b - c).norm()) / (a - c).norm()
    assert float(detour) == pytest.approx(math.sqrt(2))


def test_the_loss_prefers_the_chord():
    bent, straight = (arc.run(arc.PRESETS[name], range(10)).values for name in ("arc", "line"))
    assert min(bent["curve_loss"]) > 0.01
    assert max(bent["chord_loss"]) == pytest.approx(0, abs=1e-12)
    assert max(straight["curve_loss"]) == pytest.approx(0, abs=1e-12)


def test_the_slack_that_an_arc_needs_falls_as_it_closes():
    slacks = [
        arc.free_slack(5, turn) for turn in (0.0, 0.5 * math.pi, math.pi, 1.5 * math.pi, 1.999 * math.pi)
    ]
    assert slacks[0] == pytest.approx(1)
    assert slacks == sorted(slacks, reverse=True)
    assert slacks[-1] < 0.01  # the ends meet
    half = [math.sin(math.pi * k / 8) for k in (1, 2, 3, 4)]  # by hand: chords of a half circle from its end
    assert slacks[2] == pytest.approx(half[3] / sum(half) / 0.4)


def test_below_that_slack_an_arc_costs_nothing():
    places = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    bent, slack = arc.arc(places[:, 0], math.pi), arc.free_slack(5, math.pi)
    assert float(ndiv_loss(places, bent, alpha=slack - 1e-6)) == 0
    assert float(ndiv_loss(places, bent, alpha=slack + 1e-3)) > 0
