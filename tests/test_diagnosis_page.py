"""The report of a diagnosis as a page and as text."""

import io
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from ndiv_lib.diagnosis import diagnose
from ndiv_lib.diagnosis.page import encode_tiles, to_html
from ndiv_lib.diagnosis.words import WIDTH, words_of
from tests.toy_sets import blobs, shapes


class Page(HTMLParser):
    """Tags, attributes, and whether every tag that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.addresses, self.alts = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.addresses += [values[key] for key in ("src", "href", "action", "srcset") if key in values]
        if tag == "img":
            self.alts.append(values["alt"])
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def lost():
    """Half of the modes are lost; a condition has a name that must not become markup."""
    real, drawn = shapes(300, 0), shapes(900, 1)
    left = (drawn.modes < 8).nonzero()[:300, 0]
    names = ["<b>&", "disc", "cross", "triangle"]
    return diagnose(
        real=real.images,
        generated=drawn.images[left],
        conditions_real=[names[one] for one in real.conditions],
        conditions_generated=[names[one] for one in drawn.conditions[left]],
    )


def test_the_page_is_whole_and_asks_for_nothing(lost, tmp_path):
    path = lost.to_html(tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.alts and all(page.alts)
    assert all(address.startswith("data:image/webp;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags) and "http" not in text and "url(" not in text
    assert text.startswith('<!doctype html>\n<html lang="en">') and page.tags.count("h1") == 1
    assert "prefers-color-scheme: dark" in text and "viewport" in text
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text
    assert len(text) < 1_000_000


def test_the_page_shows_what_is_avoided(lost):
    assert lost.verdict == "collapse" and lost.bins
    text = to_html(lost)
    assert text.count("are due") == min(8, len(lost.bins))
    for one in lost.bins:
        assert one.real_images.shape[1:] == (3, 16, 16) and len(one.generated_images) <= one.num_generated
    for finding in lost.findings:
        assert words_of(finding).title in text and words_of(finding).title in lost.to_text()


def test_the_text_marks_alarms_and_fits_a_terminal(lost):
    lines = lost.to_text().splitlines()
    assert sum(line.endswith("ALARM") for line in lines) == len(lost.alarms)
    assert max(map(len, lines)) <= WIDTH


def test_vectors_have_a_page_too(tmp_path):
    found = diagnose(real=blobs(4, 200, 0), generated=blobs(3, 200, 1))
    page = Page(found.to_html(tmp_path / "page.html").read_text())
    assert not page.alts and found.pictures is None


def test_tiles_keep_square_pixels_and_the_order():
    images = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, 0.0, 1.0)])
    data, width, height = encode_tiles(images)
    picture = np.asarray(Image.open(io.BytesIO(data)))
    assert picture.shape == (height, width, 4) == (48, 3 * 48 + 6, 4)
    assert picture[20, [20, 71, 122], 0].tolist() == [0, 128, 255]
    assert picture[20, 49, 3] == 0  # the gap shows the page
