"""Every built page: its links resolve; in Chromium it is self-contained and accessible, and its sliders move.

`make test` builds the book before it. Without the pages or without Chromium these tests skip; with
NDIV_REQUIRE=browser they fail instead.
"""

import os
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

SITE = Path(__file__).parents[1] / "_build" / "html"
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for folder in ("book", "notebooks")
    for path in (SITE / folder).glob("*.html")
)
REQUIRED = "browser" in os.environ.get("NDIV_REQUIRE", "")

needs_pages = pytest.mark.skipif(not PAGES and not REQUIRED, reason="the book is not built; run `make book`")

# What a reader sees change when a slider moves: the pictures and tables that are visible now.
VISIBLE = """widget => [...widget.querySelectorAll("img, svg, canvas, table, [data-frame]")]
  .map((element, index) => [element, index])
  .filter(([element]) => element.checkVisibility())
  .map(([element, index]) => index + (element.src ?? element.toDataURL?.() ?? element.outerHTML)).join()"""

# Besides axe's defaults (WCAG 2.1 A and AA, best practices) one that axe still calls experimental; in the dark only what colors
# and pictures of that scheme decide. What passes is not listed, which halves the time on long pages.
AXE = {
    "light": {"rules": {"label-content-name-mismatch": {"enabled": True}}, "resultTypes": ["violations"]},
    "dark": {
        "runOnly": ["color-contrast", "link-in-text-block", "image-alt", "svg-img-alt"],
        "resultTypes": ["violations"],
    },
}

UNFOLD = """() => {
  document.querySelectorAll("details").forEach(details => details.open = true);
  document.querySelectorAll(".toggle-hidden").forEach(box => box.classList.remove("toggle-hidden"));
}"""


class Links(HTMLParser):
    """The ids of a page, and what it links to or loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.targets: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values[key] for key in ("id", "name") if values.get(key)}
        if tag in ("a", "link", "script", "img", "source"):
            self.targets += [values[key] for key in ("href", "src") if values.get(key)]


@needs_pages
def test_the_book_is_built():
    assert "book/index.html" in PAGES, "the book is not built; run `make book`"


@pytest.fixture(scope="module")
def links() -> dict[Path, Links]:
    return {path.resolve(): Links(path) for path in SITE.rglob("*.html")}


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_and_anchors_resolve(page, links):
    path = (SITE / page).resolve()
    for target in links[path].targets:
        if urlparse(target).scheme in ("http", "https", "mailto", "data", "javascript") or target.startswith(
            "//"
        ):
            continue
        address, anchor = urldefrag(target)
        file = (path.parent / unquote(address.split("?")[0])).resolve() if address else path
        assert file.is_file(), f"{page} links to {target}"
        if anchor and file in links:
            assert unquote(anchor) in links[file].ids, f"{page} links to {target}, which has no such anchor"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    """The address of the site, served from this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture
def visit(browser, address):
    """Open a page and keep what it asks for and complains about in `page.foreign` and `page.errors`."""
    contexts = []

    def open_page(name: str, *, scheme: str = "light", width: int = 1280):
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        contexts.append(context)
        page = context.new_page()
        page.foreign, page.errors = [], []
        context.route(
            "**/*",
            lambda route: route.continue_() if route.request.url.startswith(address) else route.abort(),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith((address, "data:", "blob:")) or page.foreign.append(request.url)
            ),
        )
        page.on("console", lambda message: message.type == "error" and page.errors.append(message.text))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("response", lambda response: response.status >= 400 and page.errors.append(response.url))
        page.goto(address + name, wait_until="load")
        page.wait_for_function(
            "() => !window.MathJax?.startup || window.MathJax.startup.promise.then(() => true)"
        )
        return page

    yield open_page
    for context in contexts:
        context.close()


def inaccessible(page, scheme: str) -> list[str]:
    """What axe holds against a page, rule and markup."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page, options=AXE[scheme]).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:200]}" for violation in violations for node in violation["nodes"]
    ]


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_sees_pale_text_and_nameless_pictures(scheme, show):
    page = show("<p style='color: #aaa; background: #bbb'>pale</p><img src='data:,'>")
    found = {line.split(":")[0] for line in inaccessible(page, scheme)}
    assert {"color-contrast", "image-alt"} <= found


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_page_is_self_contained_and_accessible(page, scheme, visit):
    opened = visit(page, scheme=scheme)
    assert not opened.foreign
    assert not opened.errors
    opened.evaluate(UNFOLD)
    found = inaccessible(opened, scheme)
    assert not found, "\n".join(found)


@pytest.mark.browser
@pytest.mark.parametrize("page", PAGES)
def test_page_does_not_scroll_sideways_on_a_phone(page, visit):
    opened = visit(page, width=390)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def moves(widget, act) -> bool:
    before = widget.evaluate(VISIBLE)
    act()
    widget.page.wait_for_timeout(100)
    return widget.evaluate(VISIBLE) != before


@pytest.mark.browser
@pytest.mark.parametrize(
    "page", [page for page in PAGES if 'type="range"' in (SITE / page).read_text(encoding="utf-8")]
)
def test_sliders_move_by_mouse_and_keyboard(page, visit):
    opened = visit(page)
    for slider in opened.locator(".nd-widget input[type=range]").all():
        widget = slider.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' nd-widget ')][1]")
        slider.scroll_into_view_if_needed()
        slider.focus()
        box = slider.bounding_box()
        for key, back in (("Home", "End"), ("End", "Home")):
            opened.keyboard.press(back)
            assert moves(widget, lambda key=key: opened.keyboard.press(key)), f"{key} moves nothing"
        opened.keyboard.press("Home")
        assert moves(widget, lambda: opened.keyboard.press("ArrowRight")), "the arrow key moves nothing"
        opened.keyboard.press("Home")
        x, y = box["x"] + 0.97 * box["width"], box["y"] + box["height"] / 2
        assert moves(widget, lambda x=x, y=y: opened.mouse.click(x, y)), "a click at the end moves nothing"
    assert not opened.errors
