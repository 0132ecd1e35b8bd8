"""The ledger's pages: what stands where is read from the claims, and the filter works by keyboard."""

import importlib.util
import os
from pathlib import Path

import pytest

from ndiv_lib.reporting.ledger import load_claims

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "_build" / "html" / "book" / "ledger.html"
REQUIRED = "browser" in os.environ.get("NDIV_REQUIRE", "")

spec = importlib.util.spec_from_file_location("ledger_extension", ROOT / "book" / "_ext" / "ledger.py")
ledger = importlib.util.module_from_spec(spec)
spec.loader.exec_module(ledger)


@pytest.mark.parametrize(
    ("where", "places"),
    [
        ("Sec. 3 (below Eq. 4), Sec. 3.1, Alg. 1 line 6", ["Sec. 3", "Eq. 4", "Sec. 3.1", "Algorithm 1"]),
        ("Fig. 10-13, 16", ["Fig. 10-13", "Fig. 16"]),
        ("Abstract; App. A.1", ["Abstract", "App. A.1"]),
        ("Paired images", ["Paired images"]),
    ],
)
def test_places_are_read_from_a_claim(where, places):
    assert ledger.places_of(where) == places


def test_places_are_sorted_by_number():
    assert sorted(["Fig. 10", "Table 1", "Sec. 5.1", "Fig. 9", "Abstract"], key=ledger.place_order) == [
        "Abstract",
        "Sec. 5.1",
        "Fig. 9",
        "Fig. 10",
        "Table 1",
    ]


def test_every_claim_stands_in_both_pages():
    pages = ledger.Ledger("https://example.org")
    table = pages.table()
    places = "".join(pages.places(paper) for paper in ("NDiv", "HMGAN", "cGML"))
    for claim in load_claims():
        assert f'id="{claim.id}"' in table
        assert f"#{claim.id}" in places


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ({"a_b": {"mean": 0.1, "std": 0.02}}, "a b 0.1 ± 0.02"),
        ({"ring": {"modes": 8}, "range": [1, 10]}, "ring (modes 8); range 1, 10"),
        ({"<": 1}, "&lt; 1"),
    ],
)
def test_printed_numbers_in_one_line(numbers, text):
    assert ledger._printed(numbers) == text


@pytest.mark.browser
@pytest.mark.skipif(not PAGE.is_file() and not REQUIRED, reason="the book is not built; run `make book`")
def test_the_filter_counts_and_works_by_keyboard(browser):
    page = browser.new_page()
    page.goto(PAGE.as_uri())
    visible = (
        "() => [...document.querySelectorAll('.nd-claim')].filter(claim => claim.checkVisibility()).length"
    )
    assert page.evaluate(visible) == len(load_claims())
    page.locator(".nd-filter select[name=paper]").focus()
    page.keyboard.press("ArrowDown")
    shown = sum(claim.paper == "NDiv" for claim in load_claims())
    assert page.evaluate(visible) == shown
    assert page.locator(".nd-filter [role=status]").inner_text().startswith(f"{shown} of ")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("fig3")
    assert page.evaluate(visible) == sum("ndiv-fig3" in claim.id for claim in load_claims())

    without_scripts = browser.new_context(java_script_enabled=False).new_page()
    without_scripts.goto(PAGE.as_uri())
    assert without_scripts.locator(".nd-claim:visible").count() == len(load_claims())
    assert not without_scripts.locator(".nd-filter").is_visible()
