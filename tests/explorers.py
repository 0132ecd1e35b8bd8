"""What every explorer of a page must do, whatever it shows."""


def stands_alone(explorer, alt: str, num_sliders: int) -> None:
    """The markup of ``explorer()`` loads nothing, says what it shows, and is the same on every build with an id of its own."""
    markup = explorer().markup
    assert markup.count('type="range"') == num_sliders and alt in markup
    assert "src=" not in markup and "href=" not in markup and "import" not in markup
    assert markup == explorer().markup != explorer(alt="Another").markup


def fits_a_phone(show, explorer) -> None:
    """At 390 px nothing is wider than the screen, and letters keep their size."""
    page = show(explorer().markup, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("svg text").first.evaluate("e => e.getBoundingClientRect().height") > 11
