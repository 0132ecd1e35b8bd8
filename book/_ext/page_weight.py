"""Take out of the built book what no page uses: the theme's 1.5 MB icon script.

The pages draw their icons from the theme's font; `fa-config.js` switches the script off. Its tag is in the
theme's layout, so the file stays, empty.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx


def empty_icon_script(app: Sphinx, exception: Exception | None) -> None:
    if exception is None and app.builder.format == "html":
        for script in Path(app.outdir, "_static").rglob("fontawesome.js"):
            script.write_text("/* not used: the icons come from the theme's font */\n")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("build-finished", empty_icon_script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
