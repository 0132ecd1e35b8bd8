"""The explorer of walks: what it refuses, and in Chromium that it walks as the library does, by click and by keyboard."""

import json
from pathlib import Path

import pytest
import torch

from ndiv_lib.cgml import infer
from ndiv_lib.models import MLP
from ndiv_lib.recipes import phantom, two_branches
from ndiv_lib.reporting import style
from ndiv_lib.reporting.results import load_arrays
from ndiv_lib.reporting.walk_explorer import walk_explorer
from tests import explorers

CHAPTER = Path(__file__).parents[1] / "notebooks" / "cgml_03_phantom_distributions.ipynb"
COLORS = {"plain": "#f0a58f", "momentum": "#c8321e", "hybrid": "#6d1408"}
MODES = "(x) => [[4 * x, x], [-4 * x, -x]]"


def networks(seed):
    source = torch.Generator().manual_seed(seed)
    sizes = {"encoder": [1, 8, 3], "generator": [4, 8, 2], "predictor": [4, 8, 2]}
    return {name: MLP(size, negative_slope=0.2, generator=source).double() for name, size in sizes.items()}


def layers(network):
    linear = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
    return [(layer.weight.detach().T.numpy(), layer.bias.detach().numpy()) for layer in linear]


def explorer(**changes):
    options = {
        "modes": MODES,
        "missed": 0.25,
        "rules": COLORS,
        "inputs": (0.0, 1.0),
        "latents": (-2.0, 2.0),
        "alt": "A map of moves and three walks",
        "start": (0.8, 0.4, 20),
    }
    both = {
        name: {part: layers(network) for part, network in networks(seed).items()}
        for seed, name in enumerate(["one", "two"])
    }
    return walk_explorer(both, **options | changes)


def test_the_markup_stands_alone():
    explorers.stands_alone(explorer, "A map of moves and three walks", num_sliders=3)
    assert explorer().markup.count("<option>") == 2


def test_what_it_refuses():
    with pytest.raises(ValueError, match="plain, momentum and hybrid"):
        explorer(rules={"plain": "#000"})
    with pytest.raises(ValueError, match="a start on the axes"):
        explorer(start=(2.0, 0.0, 20))
    with pytest.raises(ValueError, match="1 to 100 steps"):
        explorer(start=(0.5, 0.0, 0))
    with pytest.raises(ValueError, match="encoder, generator and predictor of 'a'"):
        walk_explorer(
            {"a": {"encoder": []}},
            modes=MODES,
            missed=0.25,
            rules=COLORS,
            inputs=(0, 1),
            latents=(-1, 1),
            alt="",
            start=(0, 0, 1),
        )


def ends(page):
    circles = page.locator("circle[data-rule]").all()
    return {one.get_attribute("data-rule"): float(one.get_attribute("data-end")) for one in circles}


def expected(nets, x, z, steps):
    features = nets["encoder"](torch.tensor([[x]], dtype=torch.double))

    def predictor(h, latents):
        return nets["predictor"](torch.cat([h, latents], dim=-1))

    start = torch.tensor([[z]], dtype=torch.double)
    return {
        rule: infer(predictor, features, start, rule=rule, steps=steps, latent="interval")[0].item()
        for rule in COLORS
    }


@pytest.mark.browser
def test_it_walks_as_the_library_does(show):
    page = show(explorer().markup)
    assert ends(page) == pytest.approx(expected(networks(0), 0.8, 0.4, 20), abs=1e-3)
    page.locator("select").select_option("two")
    assert ends(page) == pytest.approx(expected(networks(1), 0.8, 0.4, 20), abs=1e-3)
    steps = page.locator("input").nth(2)
    steps.focus()
    page.keyboard.press("ArrowRight")
    assert ends(page) == pytest.approx(expected(networks(1), 0.8, 0.4, 21), abs=1e-3)
    latent = page.locator("input").nth(1)
    latent.focus()
    page.keyboard.press("ArrowLeft")
    assert latent.get_attribute("aria-valuetext") == "0.39"
    assert ends(page) == pytest.approx(expected(networks(1), 0.8, 0.39, 21), abs=1e-3)
    text = page.locator("[role=status]").inner_text()
    assert "After 21 steps from z = 0.39 at x = 0.80" in text and "hybrid: " in text
    assert not page.complaints


@pytest.mark.browser
@pytest.mark.parametrize("width", [800, 390])
def test_a_click_drops_a_latent(show, width):
    page = show(explorer().markup, width=width)
    frame = page.locator("svg").bounding_box()
    page.mouse.click(frame["x"] + 60, frame["y"] + 70)  # upper left of the map
    x, z, _ = (float(one.input_value()) for one in page.locator("input").all())
    assert x < 0.3 and z > 1.2
    assert float(page.locator("circle[data-start]").get_attribute("data-start")) == z
    assert ends(page) == pytest.approx(expected(networks(0), x, z, 20), abs=1e-3)
    assert not page.complaints


@pytest.mark.browser
def test_it_fits_a_phone_and_keeps_the_size_of_its_type(show):
    explorers.fits_a_phone(show, explorer)


@pytest.mark.browser
def test_the_chapters_explorer_walks_as_the_recorded_networks_do(show):
    models, arrays = two_branches.Models(phantom.Config(), [0]), load_arrays("phantom", "l2")
    models.load_state_dict({name: torch.from_numpy(arrays[name]) for name in models.state_dict()})
    models.requires_grad_(False)
    cells = ["".join(cell["source"]) for cell in json.loads(CHAPTER.read_text())["cells"]]
    (source,) = [cell for cell in cells if "The explorer:" in cell]
    scope = {
        "recorded_networks": lambda cell: models,
        "walk_explorer": walk_explorer,
        "two_branches": two_branches,
        "style": style,
        "RULES": phantom.RULES,
    }
    exec(source.replace("\nwalk_explorer(", "\nmade = walk_explorer("), scope)
    page = show(scope["made"].markup)
    features = models.encoder(torch.full((1, 1, 1), 0.8))
    start = torch.full((1, 1, 1), 0.5)  # away from the watershed, where rounding would grow
    page.locator("input").nth(1).evaluate("e => {e.value = 0.5; e.dispatchEvent(new Event('input'))}")
    found = {
        rule: infer(models.predictor, features, start, rule=rule, steps=20, latent="interval")[0].item()
        for rule in phantom.RULES
    }
    assert ends(page) == pytest.approx(found, abs=2e-3)
    latents = torch.tensor(found["hybrid"]).reshape(1, 1, 1)
    side = "positive" if models.generator(features, latents)[0, 0, 0] > 0 else "negative"
    assert f"hybrid: the {side} answer" in page.locator("[role=status]").inner_text()
    assert not page.complaints
