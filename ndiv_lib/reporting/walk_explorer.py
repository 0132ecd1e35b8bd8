"""Drop a latent anywhere and watch it walk: small networks that the page's own script runs. No kernel, no request.

A sibling of :func:`~ndiv_lib.reporting.explorer.curve_explorer`: there a formula draws curves, here the recorded weights of an
encoder, a generator and a predictor draw the walks of :func:`ndiv_lib.cgml.infer`.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ndiv_lib.reporting.widgets import HTML

# White paper in dark mode too, like every figure. Drawn at the width that is there, so that type keeps its size on a phone.
_SCRIPT = """
const root = document.getElementById(ID), svg = root.querySelector("svg"), stage = svg.parentElement;
const [choice, ...sliders] = root.querySelectorAll("select, input"), status = root.querySelector("[role=status]");
const layer = (v, [weight, bias], last) =>
  bias.map((b, j) => {
    let sum = b;
    for (let i = 0; i < v.length; i++) sum += v[i] * weight[i][j];
    return last || sum > 0 ? sum : SLOPE * sum;
  });
const run = (layers, input) => layers.reduce((v, one, i) => layer(v, one, i === layers.length - 1), input);
const walk = (net, h, z, rule, steps) => {  // the steps of ndiv_lib.cgml.infer, on a line
  const path = [z], pushed = {plain: 0, momentum: steps, hybrid: Math.ceil(steps / 2)}[rule];
  for (let t = 0; t < steps; t++) {
    const [next, rho] = run(net.predictor, [...h, path[t]]);
    path.push(t < pushed ? path[t] + Math.max(rho, 0) * Math.sign(next - path[t]) : next);
  }
  return path;
};
const answer = (net, h, x, z) => {
  const y = run(net.generator, [...h, z]), modes = MODES(x);
  const mean = (a) => a.reduce((s, v) => s + Math.abs(v), 0) / a.length;
  const half = mean(modes[0].map((v, i) => v - modes[1][i])) / 2;
  const [up, down] = modes.map((mode) => mean(mode.map((v, i) => v - y[i])) / half);
  return Math.min(up, down) > MISSED ? "neither answer" : up < down ? "the positive answer" : "the negative answer";
};
const add = (tag, attributes, text) => {
  const element = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", tag));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
};
const [X, Z] = [RANGES.input, RANGES.latent];
const COLUMNS = 36, ROWS = 72, LABELED = 21, maps = {};  // of the map: expected move and momentum, once for each predictor
const inputAt = (i) => X[0] + ((i + 0.5) / COLUMNS) * (X[1] - X[0]);
const latentAt = (j) => Z[0] + (j / ROWS) * (Z[1] - Z[0]);
const map = (name) => maps[name] ??= [...Array(COLUMNS).keys()].map((i) => {
  const h = run(NETWORKS[name].encoder, [inputAt(i)]);
  return [...Array(ROWS + 1).keys()].map(latentAt).map((z) => {
    const [next, rho] = run(NETWORKS[name].predictor, [...h, z]);
    return [next - z, rho];
  });
});
let boxes = [];
const draw = () => {
  const [x, z, steps] = sliders.map((slider) => +slider.value), net = NETWORKS[choice.value];
  sliders.forEach((slider) => {
    const text = slider.step < 1 ? (+slider.value).toFixed(2) : slider.value;
    slider.setAttribute("aria-valuetext", text);
    slider.parentElement.querySelector("output").textContent = text;
  });
  const width = Math.max(290, Math.min(700, stage.clientWidth || 640)), beside = width >= 560;
  const one = beside ? (width - 24) / 2 : width, tall = beside ? 310 : 255;
  const height = beside ? tall : 2 * tall + 12;
  svg.replaceChildren();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", height);
  const halo = {stroke: "#ffffff", "stroke-width": 4, "paint-order": "stroke"};
  const ink = {fill: "#333333", "font-size": 13, "font-family": "sans-serif", ...halo};
  const middle = {...ink, "text-anchor": "middle"};
  const py = (box, v) => box.bottom - ((Math.min(Z[1], Math.max(Z[0], v)) - Z[0]) / (Z[1] - Z[0])) * (box.bottom - box.top);
  boxes = [0, 1].map((k) => {
    const [x0, y0] = beside ? [k * (one + 24), 0] : [0, k * (tall + 12)];
    return {left: x0 + 34, right: x0 + one - 10, top: y0 + 44, bottom: y0 + tall - 40};
  });
  const [field, time] = boxes;
  const fx = (v) => field.left + ((v - X[0]) / (X[1] - X[0])) * (field.right - field.left);
  const tx = (t) => time.left + (t / steps) * (time.right - time.left);
  const notes = [], column = (field.right - field.left) / COLUMNS;
  for (const [i, moves] of map(choice.value).entries()) {
    const cx = fx(inputAt(i)), arrow = {fill: "none", stroke: "#7d7d7d", "stroke-width": 1.2};
    for (let j = 0, from = null; j < ROWS; j++) {
      const here = latentAt(j), [move, rho] = moves[j], y = py(field, here), next = moves[j + 1][0];
      const stalls = Math.abs(move) < STALL * rho;
      if (stalls && from === null) from = j;
      if (!stalls && from !== null) {
        const low = py(field, latentAt(from)), rest = (from === 0 || moves[from - 1][0] > 0) && move < 0;
        if (!rest) add("rect", {x: cx - column / 2, y, width: column + 0.3, height: low - y, fill: "#d9d9d9"});
        if (!rest && i === LABELED) notes.push(["phantom", cx, (y + low) / 2 + 4]);
        from = null;
      }
      if (move > 0 && next <= 0) {
        const at = py(field, here + (move / (move - next)) * (latentAt(1) - latentAt(0)));
        add("rect", {x: cx - column / 2, y: at - 1.5, width: column + 0.3, height: 3, fill: "#4a4a4a"});
        if (i === LABELED) notes.push(["at rest", cx, at + (here > 0 ? -6 : 15)]);
      }
      const tip = -3 * Math.sign(move), to = y - Math.sign(move) * Math.min(12, 90 * Math.abs(move));
      if (i % 3 === 1 && j % 6 === 3 && Math.abs(to - y) > 2.5)
        add("path", {d: `M${cx} ${y}V${to}m-3 ${-tip}l3 ${tip}l3 ${-tip}`, ...arrow});
    }
  }
  for (const [text, cx, y] of notes) add("text", {...middle, "font-size": 12, x: cx, y}, text);
  [["latent z: where it drifts", "input x"], ["latent z: three walks", "step"]].forEach(([title, below], k) => {
    const {left, right, top, bottom} = boxes[k];
    for (let v = Math.ceil(Z[0]); v <= Z[1]; v++)
      add("text", {...ink, x: left - 6, y: py(boxes[k], v) + 4, "text-anchor": "end"}, v);
    add("path", {d: `M${left} ${top}V${bottom}H${right}`, fill: "none", stroke: "#555555"});
    add("text", {...ink, x: left - 22, y: top - 28, "font-weight": 600}, title);
    add("text", {...middle, x: (left + right) / 2, y: bottom + 34}, below);
  });
  for (const v of [X[0], (X[0] + X[1]) / 2, X[1]]) add("text", {...middle, x: fx(v), y: field.bottom + 17}, +v.toFixed(2));
  for (const t of [0, Math.round(steps / 2), steps]) add("text", {...middle, x: tx(t), y: time.bottom + 17}, t);
  const h = run(net.encoder, [x]), found = [];
  RULES.forEach(([rule, color, dash], k) => {
    const path = walk(net, h, z, rule, steps), end = path[steps], dx = 5 * (k - 1);
    const points = path.map((v, t) => `${tx(t).toFixed(1)},${py(time, v).toFixed(1)}`).join(" ");
    const line = {fill: "none", stroke: color, "stroke-width": 2.6, "stroke-dasharray": dash};
    add("polyline", {points, ...line});
    add("path", {d: `M${fx(x) + dx} ${py(field, z)}V${py(field, end)}`, ...line});
    add("circle", {cx: tx(steps), cy: py(time, end), r: 5, fill: color, stroke: "#fff", "data-rule": rule, "data-end": end});
    add("circle", {cx: fx(x) + dx, cy: py(field, end), r: 4.5, fill: color, stroke: "#fff"});
    found.push(`${rule}: ${answer(net, h, x, end)}`);
    const left = time.left + [0, 72, 172][k], y = time.top - 10;
    add("path", {d: `M${left} ${y - 4}h20`, ...line});
    add("text", {...ink, x: left + 25, y}, rule);
  });
  add("circle", {cx: fx(x), cy: py(field, z), r: 6, fill: "#ffffff", stroke: "#000000", "stroke-width": 2, "data-start": z});
  add("circle", {cx: tx(0), cy: py(time, z), r: 6, fill: "#ffffff", stroke: "#000000", "stroke-width": 2});
  const text = `After ${steps} steps from z = ${z.toFixed(2)} at x = ${x.toFixed(2)}: ${found.join("; ")}.`;
  if (status.textContent !== text) status.textContent = text;
};
const drop = (event) => {  // the sliders do the same by keyboard
  const frame = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / frame.width;
  const [cx, cy] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
  const box = boxes.findIndex((b) => cy >= b.top - 8 && cy <= b.bottom + 8 && cx >= b.left - 8 && cx <= b.right + 8);
  if (box < 0) return;
  const {left, right, top, bottom} = boxes[box];
  if (box === 0) sliders[0].value = X[0] + ((cx - left) / (right - left)) * (X[1] - X[0]);
  sliders[1].value = Z[0] + ((bottom - cy) / (bottom - top)) * (Z[1] - Z[0]);
  draw();
};
svg.addEventListener("click", drop);
[choice, ...sliders].forEach((control) => control.addEventListener("input", draw));
let last = 0;
new ResizeObserver(() => { if (stage.clientWidth !== last) { last = stage.clientWidth; draw(); } }).observe(stage);
draw();
"""


def walk_explorer(
    networks: Mapping[str, Mapping[str, Sequence[tuple[Any, Any]]]],
    *,
    modes: str,
    missed: float,
    rules: Mapping[str, str],
    inputs: tuple[float, float],
    latents: tuple[float, float],
    alt: str,
    start: tuple[float, float, int],
    negative_slope: float = 0.2,
    stall: float = 0.25,
) -> HTML:
    """A map of the expected move over input and latent, and three walks from wherever the reader drops a latent.

    Args:
        networks: name to an ``encoder`` of one input, and a ``generator`` and a ``predictor`` of its features and one latent,
            each a list of layers: weights ``(in, out)`` and biases ``(out)``. A select chooses among the names.
        modes: a JavaScript function of the input that returns both right answers, the positive one first.
        missed: an output further from both than this share of half their distance is neither.
        rules: ``plain``, ``momentum`` and ``hybrid`` to their colors.
        inputs: ends of the horizontal axis of the map.
        latents: ends of the vertical axis.
        alt: what the picture shows, for readers who do not see it; the sentence below it is read out as it changes.
        start: input, latent and number of steps that it opens with.
        negative_slope: of the rectifiers.
        stall: between the places of rest, the map is grey where the expected move is shorter than this share of the momentum.

    Returns:
        An object that notebooks display; a click drops a latent, and sliders do it by mouse, touch and keyboard.

    Raises:
        ValueError: for other rules, networks without one of the three parts, or a start outside the axes.

    Example:
        >>> line = lambda *weights: [([[w] for w in weights], [0.0])]
        >>> both = [([[0.0, 0.0], [0.5, 0.1]], [0.0, 0.0])]
        >>> explorer = walk_explorer(
        ...     {"one": {"encoder": line(1.0), "generator": line(0.0, 1.0), "predictor": both}}, modes="(x) => [[x], [-x]]",
        ...     missed=0.25, rules={"plain": "#f00", "momentum": "#0f0", "hybrid": "#00f"}, inputs=(0, 1), latents=(-1, 1),
        ...     alt="Walks to zero", start=(0.5, 0.5, 20))
        >>> explorer.markup.count('type="range"')
        3
    """
    if list(rules) != ["plain", "momentum", "hybrid"]:
        raise ValueError(f"expected colors for plain, momentum and hybrid, in this order, got {list(rules)}.")
    for name, parts in networks.items():
        if set(parts) != {"encoder", "generator", "predictor"}:
            raise ValueError(f"expected encoder, generator and predictor of {name!r}, got {sorted(parts)}.")
    x, z, steps = start
    if not (inputs[0] <= x <= inputs[1] and latents[0] <= z <= latents[1] and 1 <= steps <= 100):
        raise ValueError(f"expected a start on the axes and 1 to 100 steps, got {start}.")
    sliders = "".join(
        f'<label class="nd-slider"><span class="nd-name">{label}</span>'
        f'<input type="range" min="{low}" max="{high}" value="{value}" step="{step}" autocomplete="off">'
        f"<output>{value}</output></label>"
        for label, (low, high), value, step in (
            ("input x", inputs, x, 0.01),
            ("start z", latents, z, 0.01),
            ("steps", (1, 100), steps, 1),
        )
    )
    options = "".join(f"<option>{html.escape(name)}</option>" for name in networks)
    select = f'<select autocomplete="off">{options}</select>'
    choice = f'<label class="nd-slider"><span class="nd-name">predictor</span>{select}</label>'
    style = "background:#fff;border-radius:4px;max-width:100%;cursor:crosshair"
    picture = f'<svg role="img" aria-label="{html.escape(alt)}" style="{style}"></svg>'
    constants = {
        "NETWORKS": {
            name: {part: _plain(layers) for part, layers in parts.items()} for name, parts in networks.items()
        },
        "RULES": [
            [rule, color, dash] for (rule, color), dash in zip(rules.items(), ("", "9 3", "2 4"), strict=True)
        ],
        "RANGES": {"input": list(inputs), "latent": list(latents)},
        "MISSED": missed,
        "SLOPE": negative_slope,
        "STALL": stall,
    }
    identity = "nd-" + hashlib.sha256((modes + json.dumps(constants) + alt).encode()).hexdigest()[:10]
    named = {"ID": identity, **constants}
    declared = "".join(
        f"const {name} = {json.dumps(value, separators=(',', ':'))};\n" for name, value in named.items()
    )
    script = f"(() => {{\n{declared}const MODES = {modes};{_SCRIPT}}})();".replace("</", "<\\/")
    return HTML(
        f'<figure class="nd-widget nd-explorer" id="{identity}"><div class="nd-stage">{picture}</div>'
        f'<p role="status"></p>{choice}{sliders}</figure><script>{script}</script>'
    )


def _plain(layers: Sequence[tuple[Any, Any]]) -> list[list[Any]]:
    """Weights as nested lists of five significant digits: what the page carries."""

    def rounded(array: Any) -> Any:
        digits = [float(f"{value:.5g}") for value in np.asarray(array, dtype=float).ravel()]
        return np.reshape(digits, np.shape(array)).tolist()

    return [[rounded(weight), rounded(bias)] for weight, bias in layers]
