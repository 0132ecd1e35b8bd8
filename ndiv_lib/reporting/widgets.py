"""Controls that work on a printed page: plain HTML, no kernel, no extension, no request to anywhere.

A reader of the rendered book has no Python behind the page, and Colab ships old widgets. So every frame is drawn beforehand and a
range input shows one of them; the handler is part of the element.
"""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_HANDLER = (
    (
        "const w=this.closest('.nd-widget');let k=0;"
        "w.querySelectorAll('input').forEach(e=>{{const t=e.dataset.labels.split('|')[e.value];"
        "k=k*(+e.max+1)+(+e.value);e.setAttribute('aria-valuetext',t);e.parentElement.querySelector('output').textContent=t}});"
        "w.querySelectorAll('.nd-frame').forEach((e,i)=>{{e.hidden=i!=k}})"
    )
    .replace("{{", "{")
    .replace("}}", "}")
)


@dataclass(frozen=True)
class HTML:
    """Markup that Jupyter, Colab and the book show as it is."""

    markup: str

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return "<interactive figure>"


def frame_slider(
    frames: Sequence[Any],
    axes: Mapping[str, Sequence[object]],
    *,
    alts: Sequence[str],
    start: Sequence[int] | None = None,
    caption: str = "",
) -> HTML:
    """Show one of many prepared frames, chosen by one slider per axis.

    Args:
        frames: matplotlib figures, or encoded WebP or PNG images as bytes, in row-major order of the axes (the last axis runs
            fastest). Figures are drawn and closed.
        axes: slider name to the labels of its positions, for example ``{"training step": [0, 100, 1000]}``.
        alts: what each frame shows, for readers who do not see it; one per frame.
        start: first position of each slider; the last ones if not given.
        caption: HTML below the sliders.

    Returns:
        An object that notebooks display; sliders move by mouse, touch and keyboard.

    Raises:
        ValueError: if frames, alts and axes do not match.

    Example:
        >>> slider = frame_slider([b"...", b"..."], {"step": [0, 1]}, alts=["before", "after"])
        >>> slider.markup.count("<img")
        2
    """
    sizes = [len(labels) for labels in axes.values()]
    if not sizes or len(frames) != math.prod(sizes) or len(alts) != len(frames):
        raise ValueError(
            f"expected {math.prod(sizes)} frames and alts for sliders of {sizes} positions, got {len(frames)} and {len(alts)}."
        )
    position = list(start) if start is not None else [size - 1 for size in sizes]
    shown = 0
    for size, value in zip(sizes, position, strict=True):
        shown = shown * size + value
    images = "".join(
        f'<img class="nd-frame" alt="{html.escape(alt)}" src="{_data_uri(frame)}"{"" if i == shown else " hidden"}>'
        for i, (frame, alt) in enumerate(zip(frames, alts, strict=True))
    )
    sliders = "".join(
        _slider(name, [str(label) for label in labels], value)
        for (name, labels), value in zip(axes.items(), position, strict=True)
    )
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    return HTML(
        f'<figure class="nd-widget nd-frames"><div class="nd-stage">{images}</div>{sliders}{below}</figure>'
    )


def _slider(name: str, labels: list[str], value: int) -> str:
    text = html.escape(labels[value])
    return (
        f'<label class="nd-slider"><span class="nd-name">{html.escape(name)}</span>'
        f'<input type="range" min="0" max="{len(labels) - 1}" value="{value}" step="1" autocomplete="off" '
        f'aria-valuetext="{text}" data-labels="{html.escape("|".join(labels))}" oninput="{html.escape(_HANDLER)}">'
        f"<output>{text}</output></label>"
    )


def _data_uri(frame: Any) -> str:
    encoded = frame if isinstance(frame, bytes) else encode_figure(frame)
    kind = "png" if encoded.startswith(b"\x89PNG") else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def encode_figure(figure: Any, *, dpi: int = 100, quality: int = 70) -> bytes:
    """Draw a matplotlib figure as WebP and close it."""
    from matplotlib import pyplot

    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=dpi, pil_kwargs={"quality": quality, "method": 4})
    pyplot.close(figure)
    return buffer.getvalue()
