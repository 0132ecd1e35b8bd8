"""The donut, drawn from recorded runs: the film of the first page and the picture of the README."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ndiv_lib._checks import require
from ndiv_lib.reporting.plotting import draw_points, draw_region
from ndiv_lib.reporting.results import load, load_arrays
from ndiv_lib.reporting.style import LABELS, use_style
from ndiv_lib.reporting.widgets import HTML, encode_figure, frame_slider

THREE_METHODS = {"gan": "gan", "bourgan": "bourgan_0.01", "ndiv": "paper"}


def donut_film(methods: Mapping[str, str] = THREE_METHODS) -> HTML:
    """Generated points of several methods side by side over training, with a slider.

    Args:
        methods: palette key to preset of the donut recipe; each needs a recorded ``film-<preset>``.
    """
    steps = load("donut", f"film-{next(iter(methods.values()))}").config["watch_steps"]
    names = ", ".join(LABELS[method] for method in methods)
    frames = [_panels(methods, index) for index in range(len(steps))]
    alts = [f"Points of {names} on the donut after {step} training steps" for step in steps]
    return frame_slider(frames, {"training step": steps}, alts=alts)


def save_donut_picture(path: str | Path) -> None:
    """Write the last frame of the film as WebP."""
    Path(path).write_bytes(encode_figure(_panels(THREE_METHODS, -1), dpi=160))


def _panels(methods: Mapping[str, str], index: int) -> Any:
    use_style()
    pyplot = require("matplotlib.pyplot", "book")
    figure, axes = pyplot.subplots(1, len(methods), figsize=(2.55 * len(methods), 2.9))
    for panel, (method, preset) in zip(axes, methods.items(), strict=True):
        film = load_arrays("donut", f"film-{preset}")
        draw_region(panel, 1, 2)
        draw_points(panel, film["frames"][index], method=method, title=LABELS[method], data=film["data"])
    return figure
