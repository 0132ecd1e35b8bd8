"""The role ``{stored}``: a number in the text that is read from a recorded run when the page is built.

``{stored}`donut/ours-n256:cover_rate:median:.3f` `` takes the values of ``cover_rate``, one per seed, from
the recorded run ``donut/ours-n256`` and prints their median with the format ``.3f``. Statistics: median, mean,
min, max, q025, q975, and ``seeds``, the number of values. What cannot be found fails the build.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from ndiv_lib.reporting.results import RECORDED, load

STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "median": np.median,
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
    "q025": lambda values: np.quantile(values, 0.025),
    "q975": lambda values: np.quantile(values, 0.975),
    "seeds": len,
}


def read(reference: str, folder: Path = RECORDED) -> str:
    """Return the number that ``recipe/cell:metric:statistic:format`` names, formatted."""
    try:
        name, metric, statistic, spec = reference.split(":", maxsplit=3)
        recipe, cell = name.split("/")
    except ValueError:
        raise ValueError(f"expected recipe/cell:metric:statistic:format, got {reference!r}") from None
    values = load(recipe, cell, folder=folder).values
    if metric not in values:
        raise ValueError(f"expected a metric among {', '.join(sorted(values))} in {name}, got {metric!r}")
    if statistic not in STATISTICS:
        raise ValueError(f"expected a statistic among {', '.join(STATISTICS)}, got {statistic!r}")
    return format(STATISTICS[statistic](values[metric]), spec)


class StoredRole(SphinxRole):
    """Replace the reference by its number, and remember the file: a changed record rebuilds the page."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        try:
            number = read(self.text)
        except (ValueError, FileNotFoundError) as error:
            logging.getLogger(__name__).error("stored: %s", error, location=self.get_location())
            return [nodes.problematic(text=self.text)], []
        self.env.note_dependency(str(RECORDED / f"{self.text.split(':')[0]}.json"))
        return [nodes.inline(text=number, classes=["stored"])], []


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_role("stored", StoredRole())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
