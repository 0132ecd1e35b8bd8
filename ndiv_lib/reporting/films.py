"""Films of recorded runs: the donut of the first page (and the picture of the README), and a square that unfolds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ndiv_lib._checks import require
from ndiv_lib.distances import normalized_distances
from ndiv_lib.reporting.plotting import (
    draw_matrix,
    draw_mesh,
    draw_points,
    draw_region,
    draw_support,
    draw_walk,
)
from ndiv_lib.reporting.results import load, load_arrays
from ndiv_lib.reporting.style import COLORS, LABELS, use_style
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


def unfolding_film(
    supports: Mapping[str, Callable[[Tensor], Tensor]],
    methods: Mapping[str, str],
    *,
    stops: Sequence[float],
    steps: Sequence[int],
) -> HTML:
    """The latent square under several generators over training, with sliders over shape and step (NDiv, Fig. 2).

    Args:
        supports: shape to the test of which points lie on it.
        methods: palette key to setting; the cells ``<shape>-<setting>`` of the recipe ``unfolding`` hold films.
        stops: shares of the diagonal that are numbered, and whose distances are compared below.
        steps: training steps to show, out of those recorded.
    """
    frames, alts = [], []
    names = " and ".join(LABELS[method] for method in methods)
    for shape, step in itertools.product(supports, steps):
        frames.append(_unfolding_panels(shape, supports[shape], methods, stops, step))
        alts.append(
            f"The latent square and its diagonal under {names} on {shape} after {step} training steps"
        )
    start = [0, len(steps) - 1]
    return frame_slider(frames, {"shape": list(supports), "training step": steps}, alts=alts, start=start)


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


def _unfolding_panels(
    shape: str,
    inside: Callable[[Tensor], Tensor],
    methods: Mapping[str, str],
    stops: Sequence[float],
    step: int,
) -> Any:
    """Above, where the mesh of the latent square and its diagonal go; below, the distances between the stops."""
    use_style()
    pyplot = require("matplotlib.pyplot", "book")
    figure, axes = pyplot.subplots(
        2, len(methods) + 1, figsize=(2.55 * (len(methods) + 1), 4.5), height_ratios=[2, 1]
    )
    latents = normalized_distances(torch.tensor(stops)[:, None])
    side = torch.linspace(-2, 2, 21)
    corners = torch.tensor([[-2.0, -2.0], [2.0, 2.0]])
    draw_support(axes[0, 0], lambda points: points[:, 0] > torch.inf)
    draw_mesh(axes[0, 0], torch.cartesian_prod(side, side), method="data")
    draw_walk(axes[0, 0], torch.lerp(corners[0], corners[1], torch.linspace(0, 1, 81)[:, None]), stops=stops)
    axes[0, 0].set_title("latent square", color="#555555")
    draw_matrix(axes[1, 0], latents, note="$D^Z$ between the stops")
    for (top, bottom), (method, setting) in zip(axes.T[1:], methods.items(), strict=True):
        cell = f"{shape}-{setting}"
        film, index = (
            load_arrays("unfolding", cell),
            load("unfolding", cell).config["watch_steps"].index(step),
        )
        path = torch.tensor(film["diagonal"][index]).float()
        outputs = normalized_distances(path[[round(share * (len(path) - 1)) for share in stops]])
        draw_support(top, inside)
        draw_mesh(top, film["mesh"][index], method=method)
        draw_walk(top, path, stops=stops)
        top.set_title(LABELS[method], color=COLORS[method])
        error = float((latents - outputs).abs().sum(-1).mean() / 2)
        draw_matrix(bottom, outputs, note=f"$D^Y$, {error:.2f} from $D^Z$")
    return figure
