"""One color, marker and label per method, in every figure of the book (colors that color-blind readers can tell apart)."""

from __future__ import annotations

from ndiv_lib._checks import require

COLORS = {
    "data": "#8a8a8a",
    "real": "#8a8a8a",
    "training_set": "#8a8a8a",
    "gan": "#1a1a1a",
    "bourgan": "#e08214",
    "kernel_density": "#6b7fa3",
    "pacgan": "#7f4f24",
    "veegan": "#a47148",
    "unrolled": "#c8a27c",
    "vae": "#cc79a7",
    "mode_seeking": "#0072b2",
    "dsgan": "#56b4e9",
    "hierarchical": "#8e5bb5",
    "ndiv": "#00875a",
    "cgml": "#c8321e",
    "plain": "#f0a58f",  # the rules of cGML's walk: shades of its red, lighter to darker as they get safer
    "momentum": "#c8321e",
    "hybrid": "#6d1408",
    "l1_regression": "#3b7a8c",
    "l2_regression": "#8cc0cd",
    "ensemble": "#4a5fa5",
}
MARKERS = {
    "data": ".",
    "real": "_",
    "training_set": ".",
    "gan": "X",
    "bourgan": "s",
    "kernel_density": "D",
    "pacgan": "P",
    "veegan": "v",
    "unrolled": "<",
    "vae": "p",
    "mode_seeking": "^",
    "dsgan": "d",
    "hierarchical": "h",
    "ndiv": "o",
    "cgml": "*",
    "plain": "o",
    "momentum": "*",
    "hybrid": "D",
    "l1_regression": "1",
    "l2_regression": "2",
    "ensemble": "H",
}
LABELS = {
    "data": "training points",
    "real": "real samples",
    "training_set": "training points",
    "gan": "GAN",
    "bourgan": "BourGAN",
    "kernel_density": "kernel density",
    "pacgan": "PacGAN",
    "veegan": "VEEGAN",
    "unrolled": "unrolled GAN",
    "vae": "VAE",
    "mode_seeking": "mode seeking",
    "dsgan": "DSGAN",
    "hierarchical": "HMGAN",
    "ndiv": "NDiv",
    "cgml": "cGML",
    "plain": "plain walk",
    "momentum": "momentum (Eq. 4)",
    "hybrid": "hybrid walk",
    "l1_regression": "L1 regression",
    "l2_regression": "L2 regression",
    "ensemble": "ensemble of five",
}
PAPER = "#ffffff"  # figures keep a light ground in dark mode too, so that no image color changes


def use_style() -> None:
    """Set matplotlib's defaults for the book: quiet axes, readable type, the palette above.

    Raises:
        ImportError: without matplotlib (extra ``book``).
    """
    matplotlib = require("matplotlib", "book")
    matplotlib.rcParams.update(
        {
            "figure.figsize": (7.2, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": PAPER,
            "figure.constrained_layout.use": True,
            "savefig.facecolor": PAPER,
            "axes.facecolor": PAPER,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": "#555555",
            "axes.titlesize": 11,
            "axes.titleweight": "bold",
            "axes.labelsize": 10.5,
            "axes.grid": False,
            "font.size": 10.5,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.fonttype": "none",
            "axes.prop_cycle": matplotlib.cycler(
                color=[COLORS[m] for m in ("ndiv", "gan", "bourgan", "mode_seeking", "cgml")]
            ),
        }
    )
