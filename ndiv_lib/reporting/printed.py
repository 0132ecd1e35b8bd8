"""What a command printed in a recorded run, for pages without cells."""

from __future__ import annotations

from html import escape

from ndiv_lib.reporting.results import load_arrays
from ndiv_lib.reporting.widgets import HTML


def printed(recipe: str, cell: str, *, label: str) -> HTML:
    """The text that was kept with a record; long lines scroll, also by keyboard.

    Args:
        recipe: name of the recipe.
        cell: a cell whose arrays hold a ``text``.
        label: what it is, for readers who do not see it.

    Raises:
        FileNotFoundError: if nothing was kept.
    """
    text = str(load_arrays(recipe, cell)["text"])
    return HTML(
        f'<pre class="nd-printed" tabindex="0" role="region" aria-label="{escape(label)}">{escape(text)}</pre>'
    )


def diagnosis_of_real_digits() -> HTML:
    """Real handwritten digits against other real ones."""
    return printed("diagnosis_trials", "example-healthy", label="Output for real against real digits")


def diagnosis_of_lost_digits() -> HTML:
    """Three of ten digits are lost."""
    return printed("diagnosis_trials", "example-collapsed", label="Output for three lost digits")


def diagnosis_of_an_ignored_latent() -> HTML:
    """A trained generator that ignores its latent."""
    return printed(
        "diagnosis_trials", "example-ignores", label="Output for a generator that ignores its latent"
    )


def diagnosis_of_few_digits() -> HTML:
    """Fifty samples of each set."""
    return printed("diagnosis_trials", "example-few", label="Output for fifty digits")
