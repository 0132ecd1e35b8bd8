"""Curves that a reader moves: sliders, a formula, and a picture that the page's own script draws anew. No kernel, no request.

Where a :func:`~ndiv_lib.reporting.widgets.frame_slider` shows prepared frames, this computes. The formula is JavaScript and
stands where the mathematics is explained, in the chapter.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping, Sequence

from ndiv_lib.reporting.widgets import HTML

# White paper in dark mode too, like every figure. Drawn at the width that is there, so that type keeps its size on a phone.
_SCRIPT = """
const root = document.getElementById(ID), svg = root.querySelector("svg"), stage = svg.parentElement;
const inputs = [...root.querySelectorAll("input")], status = root.querySelector("[role=status]");
const short = (x) => (Math.abs(x) >= 100 ? x.toFixed(0) : String(+x.toPrecision(2)));
const add = (tag, attributes, text) => {
  const element = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
};
const draw = () => {
  const values = inputs.map((input, i) => AXES[i][+input.value]);
  inputs.forEach((input, i) => {
    input.setAttribute("aria-valuetext", short(values[i]));
    input.parentElement.querySelector("output").textContent = short(values[i]);
  });
  const shown = FORMULA(...values);
  const width = Math.max(290, Math.min(700, stage.clientWidth || 640)), height = Math.round(0.36 * width + 130);
  const [left, right, top, bottom] = [48, width - 12, 14, height - 46];
  const [low, high] = LIMITS.map(Math.log10);
  const px = (x) => left + (x / shown.to) * (right - left);
  const py = (y) => bottom - ((Math.max(low - 1, Math.log10(y)) - low) / (high - low)) * (bottom - top);
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const halo = {stroke: "#ffffff", "stroke-width": 4, "paint-order": "stroke"};
  const ink = {fill: "#333333", "font-size": 13, "font-family": "sans-serif", ...halo};
  for (let power = Math.ceil(low); power <= high; power++) {
    add("line", {x1: left, x2: right, y1: py(10 ** power), y2: py(10 ** power), stroke: "#e4e4e4"});
    add("text", {...ink, x: left - 6, y: py(10 ** power) + 4, "text-anchor": "end"}, 10 ** power);
  }
  const rough = shown.to / 5, unit = 10 ** Math.floor(Math.log10(rough));
  const gap = [1, 2, 5, 10].find((m) => m * unit >= rough) * unit;
  for (let x = 0; x <= shown.to; x += gap)
    add("text", {...ink, x: px(x), y: bottom + 18, "text-anchor": "middle"}, String(+x.toPrecision(3)));
  add("text", {...ink, x: (left + right) / 2, y: height - 8, "text-anchor": "middle"}, HORIZONTAL);
  add("path", {d: `M${left} ${top}V${bottom}H${right}`, fill: "none", stroke: "#555555"});
  if (shown.level) {
    const y = py(shown.level);
    add("line", {x1: left, x2: right, y1: y, y2: y, stroke: "#6b6b6b", "stroke-dasharray": "5 4"});
    add("text", {...ink, x: right - 4, y: y - 5, "text-anchor": "end"}, LEVEL);
  }
  CURVES.forEach(([name, color], k) => {
    const steps = [...Array(201).keys()].map((i) => (i * shown.to) / 200);
    const inside = steps.map((x) => [px(x), py(shown.curves[k](x))]).filter(([, y]) => y >= top - 1 && y <= bottom + 1);
    const points = inside.map((point) => point.map((v) => v.toFixed(1)).join(","));
    add("polyline", {points: points.join(" "), fill: "none", stroke: color, "stroke-width": 2.4});
    add("text", {...ink, fill: color, "font-weight": 600, x: right - 4, y: top + 12 + 18 * k, "text-anchor": "end"}, name);
    const mark = shown.marks?.[k];
    if (mark === undefined || mark > shown.to) return;
    const y = Math.min(bottom, Math.max(top, py(shown.level)));
    add("line", {x1: px(mark), x2: px(mark), y1: y, y2: bottom, stroke: color, "stroke-dasharray": k ? "2 3" : "6 3"});
    add("circle", {cx: px(mark), cy: y, r: 5, fill: color, "data-mark": mark});
  });
  if (status.textContent !== shown.text) status.textContent = shown.text;
};
inputs.forEach((input) => input.addEventListener("input", draw));
let last = 0;
new ResizeObserver(() => { if (stage.clientWidth !== last) { last = stage.clientWidth; draw(); } }).observe(stage);
draw();
"""


def curve_explorer(
    formula: str,
    axes: Mapping[str, Sequence[float]],
    *,
    curves: Mapping[str, str],
    horizontal: str,
    level: str,
    limits: tuple[float, float],
    alt: str,
    start: Sequence[int],
) -> HTML:
    """Curves over a logarithmic axis that follow sliders, with a level and each curve's mark on it.

    Args:
        formula: a JavaScript function of the sliders' values, in their order. It returns an object with ``to`` (the
            horizontal axis goes from 0 to there), ``curves`` (functions of the horizontal coordinate, one for each name),
            ``level`` (where the dashed line is), ``marks`` (for each curve, where it meets the level) and ``text`` (what
            this means, one sentence).
        axes: slider name to the values of its positions.
        curves: name to color.
        horizontal: name of the horizontal axis, with its unit.
        level: name of the dashed line.
        limits: ends of the vertical axis, above 0.
        alt: what the picture shows, for readers who do not see it; the sentence below it is read out as it changes.
        start: first position of each slider.

    Returns:
        An object that notebooks display; sliders move by mouse, touch and keyboard.

    Raises:
        ValueError: for a start that is not one position of each slider, or limits that do not ascend from above 0.

    Example:
        >>> explorer = curve_explorer(
        ...     "(rate) => ({to: 3, curves: [(t) => Math.exp(-rate * t)], level: 0.5, marks: [0.7 / rate], text: ''})",
        ...     {"rate": [1, 2, 4]}, curves={"decay": "#0072b2"}, horizontal="time", level="half", limits=(0.01, 2),
        ...     alt="A decaying curve", start=[0])
        >>> explorer.markup.count('type="range"')
        1
    """
    if len(start) != len(axes) or not all(0 <= k < len(v) for k, v in zip(start, axes.values(), strict=True)):
        raise ValueError(f"expected one start position for each of {len(axes)} sliders, got {list(start)}.")
    if not 0 < limits[0] < limits[1]:
        raise ValueError(f"expected ascending limits above 0, got {limits}.")
    sliders = "".join(
        f'<label class="nd-slider"><span class="nd-name">{html.escape(name)}</span>'
        f'<input type="range" min="0" max="{len(values) - 1}" value="{position}" step="1" autocomplete="off">'
        f"<output>{values[position]:g}</output></label>"
        for (name, values), position in zip(axes.items(), start, strict=True)
    )
    picture = f'<svg role="img" aria-label="{html.escape(alt)}" style="background:#fff;border-radius:4px;max-width:100%"></svg>'
    constants = {
        "AXES": [[float(value) for value in values] for values in axes.values()],
        "CURVES": list(curves.items()),
        "HORIZONTAL": horizontal,
        "LEVEL": level,
        "LIMITS": list(limits),
    }
    identity = "nd-" + hashlib.sha256((formula + json.dumps(constants) + alt).encode()).hexdigest()[:10]
    named = {"ID": identity, **constants}
    declared = "".join(f"const {name} = {json.dumps(value)};\n" for name, value in named.items())
    script = f"(() => {{\n{declared}const FORMULA = {formula};{_SCRIPT}}})();".replace("</", "<\\/")
    return HTML(
        f'<figure class="nd-widget nd-explorer" id="{identity}"><div class="nd-stage">{picture}</div>'
        f'<p role="status"></p>{sliders}</figure><script>{script}</script>'
    )
