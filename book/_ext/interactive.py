"""The directive ``{interactive}``: what a function of the library draws from recorded runs, placed on a page without cells.

```{interactive} ndiv_lib.reporting.films:donut_film
```
"""

from __future__ import annotations

import importlib
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ndiv_lib.reporting.results import RECORDED


class Interactive(SphinxDirective):
    """Call ``module:function`` when the page is built and insert its markup."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the markup; the page is built anew when the code or the records change."""
        name, _, function = self.arguments[0].partition(":")
        module = importlib.import_module(name)
        self.env.note_dependency(str(module.__file__))
        for record in Path(RECORDED).rglob("*.np[yz]"):
            self.env.note_dependency(str(record))
        return [nodes.raw("", getattr(module, function)().markup, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("interactive", Interactive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
