"""The explorer of curves: what it refuses, and in Chromium what it computes, by keyboard, on a phone, without a request."""

import json
from pathlib import Path

import numpy as np
import pytest

from ndiv_lib.recipes import stopping
from ndiv_lib.reporting.explorer import curve_explorer
from tests import explorers

CHAPTER = Path(__file__).parents[1] / "notebooks" / "hmgan_02_proposition_1.ipynb"
FORMULA = "(a, b) => ({to: 3, curves: [(t) => Math.exp(-a * t)], level: b, marks: [-Math.log(b) / a], text: `rate ${a}`})"


def explorer(**changes):
    options = {
        "curves": {"decay": "#0072b2"},
        "horizontal": "time",
        "level": "level",
        "limits": (0.01, 2),
        "alt": "A decaying curve",
        "start": [0, 1],
    }
    return curve_explorer(FORMULA, {"rate": [1, 2, 4], "level": [0.1, 0.5]}, **options | changes)


def test_the_markup_stands_alone():
    explorers.stands_alone(explorer, "A decaying curve", num_sliders=2)


def test_starts_and_limits_are_checked():
    with pytest.raises(ValueError, match="one start position for each of 2 sliders"):
        explorer(start=[0])
    with pytest.raises(ValueError, match="one start position"):
        explorer(start=[0, 2])
    with pytest.raises(ValueError, match="ascending limits above 0"):
        explorer(limits=(0, 1))


def marks(page):
    return [float(one.get_attribute("data-mark")) for one in page.locator("circle").all()]


@pytest.mark.browser
def test_sliders_move_the_curve_by_keyboard(show):
    page = show(explorer().markup)
    assert marks(page) == pytest.approx([np.log(2)])
    rate = page.locator("input").first
    rate.focus()
    page.keyboard.press("ArrowRight")
    assert marks(page) == pytest.approx([np.log(2) / 2])
    assert page.locator("[role=status]").inner_text() == "rate 2"
    assert rate.get_attribute("aria-valuetext") == "2" and page.locator("output").first.inner_text() == "2"
    assert not page.complaints


@pytest.mark.browser
def test_it_fits_a_phone_and_keeps_the_size_of_its_type(show):
    explorers.fits_a_phone(show, explorer)


@pytest.mark.browser
def test_the_chapters_explorer_stops_where_the_recipe_does(show):
    """The formula of the page is another program than the recipe's; at every start of its sliders they agree."""
    cells = json.loads(CHAPTER.read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if "The explorer:" in "".join(cell["source"])]
    scope: dict = {"curve_explorer": curve_explorer, "BLUE": "#0072b2", "PURPLE": "#8e5bb5"}
    exec("\n".join(sources).replace("\ncurve_explorer(", "\nmade = curve_explorer("), scope)
    page = show(scope["made"].markup)
    for layers, start, fast, speed, threshold in ((3, 1, 10, 20, 0.1), (3, 10, 1, 1, 6.0), (5, 2, 4, 1, 0.2)):
        wanted = (layers, start, fast, speed, threshold)
        for k, (values, value) in enumerate(zip(scope["AXES"].values(), wanted, strict=True)):
            at = int(np.argmin(abs(np.array(values) - value)))
            page.locator("input").nth(k).evaluate(
                "(e, at) => {e.value = at; e.dispatchEvent(new Event('input'))}", at
            )
            wanted = (*wanted[:k], values[at], *wanted[k + 1 :])
        layers, start, fast, speed, threshold = wanted
        starts = np.full((1, layers - 1), float(start))
        rates = np.array([[fast] + [1.0] * (layers - 2)], dtype=float)
        expected = [
            stopping.product_stop(starts, rates, np.array([threshold]))[0],
            stopping.sum_stop(starts, speed * rates, np.array([threshold]))[0],
        ]
        assert marks(page) == pytest.approx(expected, rel=1e-6)
    assert not page.complaints
