"""Figures used more than once: points in the plane, all seeds as strips, and tables of paper, recorded and live."""

from __future__ import annotations

import html
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ndiv_lib.reporting.results import load
from ndiv_lib.reporting.style import COLORS, MARKERS
from ndiv_lib.reporting.widgets import HTML

_RANGE = re.compile(r"\[[^\[\]]*\]")  # stays on one line, below its median where a column is narrow


def draw_points(
    axes: Any,
    points: Any,
    *,
    method: str,
    title: str = "",
    note: str = "",
    data: Any = None,
    reach: float = 2.4,
) -> None:
    """Generated points in the plane in the method's color, training points on top in gray, a note below.

    Args:
        axes: matplotlib axes.
        points: ``(n, 2)``.
        method: key of the palette.
        title: above the panel, in the method's color.
        note: below the panel, for its numbers.
        data: training points ``(m, 2)``, drawn as small rings.
        reach: the panel shows ``[-reach, reach]`` in both directions.
    """
    axes.scatter(*np.asarray(points, dtype=float).T, s=3, color=COLORS[method], alpha=0.45, linewidths=0)
    if data is not None:
        axes.scatter(
            *np.asarray(data, dtype=float).T,
            s=9,
            facecolors="none",
            edgecolors=COLORS["data"],
            linewidths=0.7,
        )
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, color=COLORS[method])
    if note:
        axes.set_xlabel(note)
    axes.spines[:].set_visible(False)


def draw_region(axes: Any, *radii: float) -> None:
    """Circles around the origin: the edges of a region."""
    angle = np.linspace(0, 2 * np.pi, 200)
    for radius in radii:
        axes.plot(radius * np.cos(angle), radius * np.sin(angle), color="#bbbbbb", linewidth=0.8, zorder=0)


def draw_support(axes: Any, inside: Callable[[Tensor], Tensor], *, reach: float = 2.4) -> None:
    """The region where ``inside`` is true in light gray; the panel shows ``[-reach, reach]`` in both directions."""
    along = torch.linspace(-reach, reach, 240)
    region = inside(torch.cartesian_prod(along, along)).reshape(240, 240).T
    axes.imshow(
        np.where(region[..., None], 0.91, 1.0).repeat(3, axis=-1),
        origin="lower",
        extent=(-reach, reach, -reach, reach),
        zorder=0,
    )
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def draw_mesh(axes: Any, mesh: Any, *, method: str) -> None:
    """The image ``(m * m, 2)`` of an m by m mesh of the latent square, as lines in the method's color."""
    side = math.isqrt(len(mesh))
    lines = np.asarray(mesh, dtype=float).reshape(side, side, 2)
    for family in (lines, lines.swapaxes(0, 1)):
        axes.plot(*family.transpose(2, 1, 0), color=COLORS[method], linewidth=0.5, alpha=0.55)


def draw_walk(axes: Any, path: Any, *, stops: Sequence[float] = (), color: str = "#c9960c") -> None:
    """A path ``(num_points, 2)`` in gold, with numbered stops at shares of its points."""
    points = np.asarray(path, dtype=float)
    axes.plot(*points.T, color=color, linewidth=2.2)
    for number, share in enumerate(stops, start=1):
        spot = points[round(share * (len(points) - 1))]
        axes.plot(*spot, "o", color="white", markeredgecolor=color, markeredgewidth=1.5, markersize=10)
        axes.text(*spot, number, ha="center", va="center_baseline", fontsize=9, clip_on=True)


def draw_matrix(axes: Any, matrix: Any, *, note: str = "", largest: float = 0.4) -> None:
    """A matrix of normalized distances, white at 0 and dark at ``largest``, a note below."""
    axes.imshow(np.asarray(matrix, dtype=float), cmap="Blues", vmin=0, vmax=largest)
    axes.set(xticks=[], yticks=[], xlabel=note)
    axes.spines[:].set_visible(False)


def draw_seeds(
    axes: Any,
    positions: Sequence[float],
    groups: Sequence[Sequence[float]],
    *,
    method: str,
    label: str = "",
    label_shift: float = 0.0,
    dashed: bool = False,
) -> None:
    """Every seed as a small marker, medians joined by a line, the label at the line's end (shifted up by some points)."""
    color = COLORS[method]
    for position, values in zip(positions, groups, strict=True):
        spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else [0.0]
        axes.scatter(
            position + np.asarray(spread),
            values,
            s=9,
            color=color,
            alpha=0.35,
            marker=MARKERS[method],
            linewidths=0,
        )
    medians = [statistics.median(values) for values in groups]
    axes.plot(positions, medians, color=color, linestyle="--" if dashed else "-")
    if label:
        axes.annotate(
            label,
            (positions[-1], medians[-1]),
            xytext=(8, label_shift),
            textcoords="offset points",
            color=color,
            va="center",
        )


def draw_tradeoff(axes: Any, groups: Sequence[Any], *, color: str, marker: str) -> np.ndarray:
    """Two metrics of every seed as points, and a line over the settings' medians, whose marks grow along it.

    Args:
        axes: matplotlib axes.
        groups: of each setting the values of both metrics, ``(2, num_seeds)``.
        color: of points and line.
        marker: of points and medians.

    Returns:
        The medians, ``(num_settings, 2)``.
    """
    points = np.asarray(groups, dtype=float)
    look = {"color": color, "marker": marker, "clip_on": False}
    axes.scatter(*points.swapaxes(0, 1), s=10, alpha=0.4, linewidths=0, **look)
    medians = np.median(points, axis=2)
    axes.plot(*medians.T, color=color)
    axes.scatter(*medians.T, s=40 + 15 * np.arange(len(medians)), edgecolors="white", zorder=3, **look)
    return np.asarray(medians)


def recorded_values(recipe: str, cells: Sequence[str], metric: str) -> list[list[float]]:
    """One metric of several recorded cells: a list of per-seed values for each."""
    return [load(recipe, cell).values[metric] for cell in cells]


def summary(values: Sequence[float], digits: int = 2) -> str:
    """Median and range over seeds, for tables: ``0.90 [0.87, 0.93]``.

    Example:
        >>> summary([0.9, 0.87, 0.93])
        '0.90 [0.87, 0.93]'
    """
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def table(rows: Sequence[Mapping[str, object]], *, caption: str = "") -> HTML:
    """Rows as a plain HTML table; the first column names the row.

    Args:
        rows: column name to cell, the same columns in every row.
        caption: what the numbers are.

    Raises:
        ValueError: without rows.
    """
    if not rows:
        raise ValueError("expected at least one row for a table, got none.")
    head = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in rows[0])
    body = ""
    for row in rows:
        first, *rest = (
            _RANGE.sub(r'<span class="nd-range">\g<0></span>', html.escape(str(cell)))
            for cell in row.values()
        )
        body += f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    # It scrolls sideways on a phone, so the keyboard must be able to reach it.
    opening = (
        f'<div class="nd-table" tabindex="0" role="region" aria-label="{html.escape(caption or "table")}">'
    )
    return HTML(f"{opening}<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>")
