"""Settings of all tests, and the browser that several drive.

One thread, so that two workers share two cores. Without Chromium a test that needs it is skipped; with
NDIV_REQUIRE=browser it fails instead.
"""

import os
import shutil

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def browser():
    """Chromium, for tests marked `browser`."""
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
    if not chromium:
        leave = pytest.fail if "browser" in os.environ.get("NDIV_REQUIRE", "") else pytest.skip
        leave("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser):
    """Open markup as a page of the given width; what it requests and complains about is in `page.complaints`."""
    contexts = []

    def open_page(markup: str, width: int = 800):
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}))
        page = contexts[-1].new_page()
        page.complaints = []
        page.on("request", lambda request: page.complaints.append(request.url))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.set_content(f"<!doctype html><html><body>{markup}</body></html>")
        return page

    yield open_page
    for context in contexts:
        context.close()
