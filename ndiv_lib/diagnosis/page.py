"""The diagnosis as one page: no script, no request to anywhere, light and dark, readable on a phone."""

from __future__ import annotations

import base64
import io
import re
from html import escape

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ndiv_lib._checks import require
from ndiv_lib.diagnosis.checks import LOST, Finding
from ndiv_lib.diagnosis.verdict import LEVEL, SHOWN_BINS, Bin, Diagnosis
from ndiv_lib.diagnosis.words import VERDICTS, explain, explain_power, number, percent, words_of

LARGEST_TILE, SMALLEST_TILE, GAP = 96, 48, 3  # pixels of a picture on the page

STYLE = """
:root { color-scheme: light dark; --text: #1d2421; --muted: #55605a; --page: #fbfcfb; --panel: #ffffff; --line: #d5dbd8;
  --good: #17734a; --bad: #b3261e; --unsure: #7a5200; --band: #cfd8d3; }
@media (prefers-color-scheme: dark) { :root { --text: #e6ebe8; --muted: #a9b5af; --page: #141917; --panel: #1c2320;
  --line: #3d4a44; --good: #63d39b; --bad: #ff8a80; --unsure: #f0c05a; --band: #46534d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 1rem/1.6 system-ui, sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.2rem; font-weight: 500; color: var(--muted); margin: 0; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.5rem 0 .6rem; }
p, li { max-width: 44rem; }
.verdict { font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.2; font-weight: 700; margin: .2rem 0 .8rem; }
.collapse, .alarm { color: var(--bad); } .different, .cannot { color: var(--unsure); } .no { color: var(--good); }
.muted, figcaption { color: var(--muted); } .small { font-size: .92rem; }
.checks { list-style: none; padding: 0; margin: 0; border-top: 1px solid var(--line); }
.checks li { max-width: none; display: grid; grid-template-columns: 1fr 17rem; gap: .2rem 2rem; padding: .8rem 0;
  border-bottom: 1px solid var(--line); }
.checks h3 { font-size: 1rem; margin: 0; } .checks p { margin: 0; }
.checks .asks { grid-column: 1; color: var(--muted); font-size: .92rem; }
.checks .scale { grid-column: 2; grid-row: 1 / span 2; font-size: .92rem; }
.bar { position: relative; height: 1.3rem; margin-bottom: .2rem; border-bottom: 2px solid var(--line); }
.bar i { position: absolute; top: .25rem; height: .8rem; background: var(--band); border-radius: 2px; }
.bar b { position: absolute; top: 0; width: 2px; height: 1.3rem; background: var(--bad); }
.bar em { position: absolute; top: .2rem; width: .9rem; height: .9rem; margin-left: -.45rem; border-radius: 50%;
  background: var(--text); } .bar.over em { background: var(--bad); }
figure { margin: 0 0 1.2rem; } figcaption { font-size: .92rem; margin-bottom: .3rem; }
img { display: block; max-width: 100%; height: auto; image-rendering: pixelated; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem 2rem; }
.group { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem 0;
  margin: 0 0 1rem; }
.group h3 { font-size: 1rem; margin: 0 0 .5rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .3rem 1.5rem .3rem 0; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; margin-bottom: 1.5rem; } :focus-visible { outline: 2px solid var(--good); }
@media (max-width: 44rem) { .checks li { grid-template-columns: 1fr; }
  .checks .scale, .checks .asks { grid-column: 1; grid-row: auto; } }
"""


def to_html(diagnosis: Diagnosis) -> str:
    """The whole page as text."""
    kind = diagnosis.verdict.split()[0]
    sections = [
        f'<h1>Is this mode collapse?</h1><p class="verdict {kind}">{VERDICTS[diagnosis.verdict]}</p>'
        f"<p>{escape(explain(diagnosis))}</p>"
        f'<p class="muted">Compared: {diagnosis.num_real:,} real and {diagnosis.num_generated:,} generated samples; '
        f"{escape(diagnosis.compared)}.</p>",
        _samples(diagnosis),
        _section("What to do next", _list([escape(step) for step in diagnosis.next_steps], "ol")),
        _groups(diagnosis),
        _checks(diagnosis),
        _closest(diagnosis),
        _conditions(diagnosis),
        _power(diagnosis),
        _section("How it was computed", _method(diagnosis)),
    ]
    body = re.sub(r"(\d) %", r"\1&nbsp;%", "".join(sections))  # a number keeps its unit
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Is this mode collapse? {VERDICTS[diagnosis.verdict]}</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{body}</section>" if body else ""


def _list(items: list[str], tag: str = "ul") -> str:
    return f"<{tag}>{''.join(f'<li>{item}</li>' for item in items)}</{tag}>"


def _samples(diagnosis: Diagnosis) -> str:
    if diagnosis.pictures is None:
        return ""
    shown = diagnosis.pictures
    return _section(
        "A few of them, at random",
        '<div class="pairs">'
        + _figure("Real", shown.real, f"{len(shown.real)} random real images")
        + _figure("Generated", shown.generated, f"{len(shown.generated)} random generated images")
        + "</div>",
    )


def _groups(diagnosis: Diagnosis) -> str:
    if not diagnosis.bins:
        return ""
    lead = (
        f"<p>All samples, real and generated, were sorted into {diagnosis.num_bins} groups of look-alikes. Generated samples "
        f"should fall into each about as often as real ones do. They avoid {_plural(len(diagnosis.bins), 'group')}"
        f"{f'; the {SHOWN_BINS} emptiest are shown' if len(diagnosis.bins) > SHOWN_BINS else ''}.</p>"
    )
    return _section(
        "What is missing",
        lead + "".join(_group(index, one) for index, one in enumerate(diagnosis.bins[:SHOWN_BINS], start=1)),
    )


def _group(index: int, one: Bin) -> str:
    fell = f"{_plural(one.num_real, 'real sample')}, {one.num_generated} generated where {one.expected:.0f} are due"
    body = ""
    if one.real_images is not None:
        body = _figure("Real, the most typical first", one.real_images, f"Real images of group {index}")
    if one.generated_images is not None and len(one.generated_images):
        body += _figure("Generated", one.generated_images, f"Generated images of group {index}")
    return f'<div class="group"><h3>Group {index}: {fell}</h3>{body or "<p></p>"}</div>'


def _checks(diagnosis: Diagnosis) -> str:
    rows = "".join(_check(finding) for finding in diagnosis.findings)
    return _section(
        "Every check, beside chance",
        "<p>The dot is what was found here. The gray band is chance: where nine of ten shuffles of both sets fall, that is, what "
        "two sets of these sizes show if nothing is wrong. Beyond the red line is an alarm. Right is always worse.</p>"
        f'<ul class="checks">{rows}</ul>',
    )


def _check(finding: Finding) -> str:
    words = words_of(finding)
    low, high = (number(finding, value) for value in finding.floor_range)
    mark = ' <strong class="alarm">Alarm</strong>' if finding.alarm else ""
    beyond = "below" if finding.worse == "low" else "above"
    return (
        f'<li><h3>{escape(words.title)}{mark}</h3><p class="asks">{escape(words.asks)}</p>'
        f'<div class="scale">{_bar(finding)}<p><strong>{number(finding, finding.value)}</strong> here; '
        f"chance {low} to {high}; alarm {beyond} {number(finding, finding.limit)}</p></div></li>"
    )


def _bar(finding: Finding) -> str:
    """All checks on one scale: 0 is chance, 1 the alarm; drawn from -1 to 3, what lies beyond at the end."""

    def place(value: float) -> float:
        score = (value - finding.floor) / (finding.limit - finding.floor)
        return 25 * (min(max(score, -1.0), 3.0) + 1)

    first, last = sorted(place(value) for value in finding.floor_range)
    over = " over" if finding.alarm else ""
    return (
        f'<div class="bar{over}" aria-hidden="true"><i style="left:{first:.1f}%;width:{last - first:.1f}%"></i>'
        f'<b style="left:50%"></b><em style="left:{min(max(place(finding.value), 2), 98):.1f}%"></em></div>'
    )


def _closest(diagnosis: Diagnosis) -> str:
    if diagnosis.pictures is None:
        return ""
    rows = "".join(
        _figure(name, pairs.flatten(0, 1), f"The four closest pairs of {name.lower()} images", wide_gap=2)
        for name, pairs in (
            ("Real", diagnosis.pictures.closest_real),
            ("Generated", diagnosis.pictures.closest_generated),
        )
    )
    lead = "<p>The four closest pairs of each set, side by side. Copies among the generated ones are repetition.</p>"
    return _section("The closest pairs", f'{lead}<div class="pairs">{rows}</div>')


def _conditions(diagnosis: Diagnosis) -> str:
    if not diagnosis.conditions:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(one.name)}</th><td>{one.num_real:,}</td><td>{one.num_generated:,}</td>'
        f"<td>{'unknown' if one.ratio != one.ratio else f'{one.ratio:.2f}'}{', all identical' if one.identical else ''}</td></tr>"
        for one in diagnosis.conditions[:20]
    )
    pictures = "".join(
        f'<div class="group"><h3>Condition {escape(one.name)}</h3>'
        + _figure("Real", one.real_images, f"Real images of condition {one.name}")
        + _figure("Generated", one.generated_images, f"Generated images of condition {one.name}")
        + "</div>"
        for one in diagnosis.conditions
        if one.real_images is not None and one.generated_images is not None
    )
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("Condition", "Real", "Generated", "Generated / real variety")
    )
    lead = (
        "<p>Two samples of one condition differ because their latents do. A generator that ignores its latent draws one picture "
        "for each condition, and the ratio is 0. About 1 is as it should be. The least varied come first"
        f"{f', 20 of {len(diagnosis.conditions)}' if len(diagnosis.conditions) > 20 else ''}.</p>"
    )
    return _section(
        "Variety within each condition",
        f'{lead}<div class="wide" tabindex="0" role="region" aria-label="Variety within each condition">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{pictures}",
    )


def _power(diagnosis: Diagnosis) -> str:
    rows = "".join(
        f'<tr><th scope="row">{percent(share)}</th><td>{percent(rate)}</td></tr>'
        for share, rate in diagnosis.power.rates.items()
    )
    lead = (
        f"<p>{' '.join(explain_power(diagnosis))} This is simulated: kinds of samples with a given share of the data vanish, "
        "half of them in groups of their own, half mixed with others. What these distances do not tell apart they cannot miss "
        "either.</p>"
    )
    needed = diagnosis.power.needed
    more = (
        f"<p>About {needed:,} samples a set would show a loss of {LOST:.0%}.</p>".replace("%", " %")
        if needed
        else ""
    )
    return _section(
        "What so many samples can show",
        f'{lead}<table><thead><tr><th scope="col">Lost share of the data</th><th scope="col">Chance of an alarm</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>{more}",
    )


def _method(diagnosis: Diagnosis) -> str:
    return _list(
        [
            f"Distances were taken between {escape(diagnosis.compared)}.",
            "Both sets were shuffled together many times, keeping their sizes"
            + (" and every condition's share" if diagnosis.conditions else "")
            + ", and everything was measured anew on each shuffle. That is chance.",
            f"An alarm lies so far out that all checks together raise a false one in {percent(LEVEL)} of cases.",
            "Not seen: copies of training samples, differences that these distances do not show, and a loss of "
            "many rare kinds that hold few samples each.",
        ]
    )


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _figure(caption: str, images: Tensor, alt: str, *, wide_gap: int = 1) -> str:
    data, width, height = encode_tiles(images, per_gap=wide_gap)
    return (
        f'<figure><figcaption>{escape(caption)}</figcaption><img alt="{escape(alt)}" width="{width}" height="{height}" '
        f'src="data:image/webp;base64,{base64.b64encode(data).decode()}"></figure>'
    )


def encode_tiles(images: Tensor, *, per_row: int = 8, per_gap: int = 1) -> tuple[bytes, int, int]:
    """Images ``(n, C, H, W)`` in rows on a transparent ground as WebP, with width and height; a gap after every ``per_gap``-th.

    Small images are enlarged by a whole factor, so that pixels stay square; images above 96 px are averaged down.
    """
    pillow = require("PIL.Image", "train")
    if min(images.shape[-2:]) > LARGEST_TILE:
        scale = LARGEST_TILE / min(images.shape[-2:])
        images = F.adaptive_avg_pool2d(
            images, (round(images.shape[-2] * scale), round(images.shape[-1] * scale))
        )
    factor = max(1, -(-SMALLEST_TILE // min(images.shape[-2:])))
    pixels = ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).expand(-1, 3, -1, -1)
    tiles = np.kron(pixels.permute(0, 2, 3, 1).numpy(), np.ones((1, factor, factor, 1), np.uint8))
    _, height, width, _ = tiles.shape
    rows, columns = -(-len(tiles) // per_row), min(len(tiles), per_row)
    gaps = [GAP * (column // per_gap) for column in range(columns)]
    sheet = np.zeros(
        (rows * (height + GAP) - GAP, columns * width + gaps[-1], 4), np.uint8
    )  # transparent: light and dark pages
    for index, tile in enumerate(tiles):
        row, column = divmod(index, per_row)
        top, left = row * (height + GAP), column * width + gaps[column]
        sheet[top : top + height, left : left + width, :3] = tile
        sheet[top : top + height, left : left + width, 3] = 255
    file = io.BytesIO()
    pillow.fromarray(sheet).save(file, format="webp", lossless=factor > 1, quality=85)
    return file.getvalue(), sheet.shape[1], sheet.shape[0]
