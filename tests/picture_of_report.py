"""Make the picture of a diagnosis on its page: `NDIV_DATA=... python -m tests.picture_of_report` (needs MNIST and Chromium)."""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from ndiv_lib.recipes.diagnosis_trials import EXAMPLE_SEED, EXAMPLES, diagnose_one

PICTURE = Path(__file__).parents[1] / "book" / "_assets" / "diagnosis.webp"
WIDTH, HEIGHT = 760, 1297


def main() -> None:
    chromium = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        report = diagnose_one(EXAMPLES["example-collapsed"], EXAMPLE_SEED).to_html(
            Path(folder) / "report.html"
        )
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(report.as_uri())
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(PICTURE, quality=62, method=6)
        browser.close()


if __name__ == "__main__":
    main()
