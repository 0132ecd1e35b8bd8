"""NDiv's Table 2: four adversarial losses on CIFAR-10 and on CelebA at 64 pixels, each without and with the diversity term.

The same seed gives the same initial weights, data order and latents with and without the term, so that rows can be compared
seed by seed. Printed: the four rows, the data, alpha. Not printed, and taken from the released code (a fork of compare_gan):
networks, optimizer, batch, latents, five discriminator steps for one of the generator, and a gradient penalty of weight 1
throughout. That code counts its 200,000 steps by the discriminator's updates: they are 40,000 of the generator's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ndiv_lib.recipes.image_gan import Config, evaluate, run, smoke, train
from ndiv_lib.recipes.recording import Cell

__all__ = ["CELLS", "PRESETS", "Config", "evaluate", "run", "smoke", "train"]

_GP: dict[str, Any] = {"penalty": "gradient", "penalty_weight": 1.0}
TABLE = Config()
ROWS: dict[str, Config] = {
    "gan_sn": replace(TABLE, spectral_norm=True),
    "gan_sn_gp": replace(TABLE, spectral_norm=True, **_GP),
    "wgan_gp": replace(TABLE, objective="wasserstein", **_GP),
    "wgan_sn_gp": replace(TABLE, objective="wasserstein", spectral_norm=True, **_GP),
}

# Weights are those of the loss times n - 1, so that they do not depend on the batch. The paper prints none; 8 is what serves
# all tasks of this book.
_NDIV: dict[str, Any] = {"diversity": "ndiv", "diversity_weight": 8.0, "alpha": 0.5}


def with_ndiv(rows: dict[str, Config], **changes: Any) -> dict[str, Config]:
    """Every row, then every row with the term, its name ending in -ndiv."""
    return rows | {f"{name}-ndiv": replace(row, **(_NDIV | changes)) for name, row in rows.items()}


# h_Y: the paper allows pixels or features of the discriminator, and does not say which Table 2 has.
FEATURES: dict[str, Config] = {
    f"{name}-ndiv_pooled": replace(row, **_NDIV, diversity_features="pooled") for name, row in ROWS.items()
}

# What the released code does, quirk by quirk:
_QUIRKS: dict[str, Any] = {
    "diversity": "ndiv",
    "alpha": 0.5,  # of three settings in the code (no row names its own) the one with the printed alpha
    "diversity_features": "logits",  # that setting's level: h_Y is one number, the logit
    # weight 1, added to the loss twice; the mean is over n^2 pairs with those of a sample with itself: 2 / n of ours
    "diversity_weight": 2 / TABLE.batch_size,
}
AUTHORS: dict[str, Config] = {
    "authors-gan_sn": replace(ROWS["gan_sn"], **_QUIRKS),
    "authors-gan_sn_gp": replace(ROWS["gan_sn_gp"], **_QUIRKS),
    # its task for WGAN+SN+GP takes the non-saturating loss: the same run as the one before
    "authors-wgan_sn_gp": replace(ROWS["gan_sn_gp"], **_QUIRKS),
}  # it has no task for WGAN+GP, and none for CelebA

# 5,000 generator steps of one row: an hour or less on a GPU
SHORT: dict[str, Config] = {
    f"short-{name}": replace(row, num_steps=5_000)
    for name, row in with_ndiv({"gan_sn": ROWS["gan_sn"]}).items()
}

# One row on half the side, with narrow networks and few steps: minutes on a CPU. It shows how much runs with different seeds
# differ, and how much with and without the term on one seed; it is not Table 2.
_SMALL: dict[str, Any] = {
    "image_size": 16,
    "generator_width": 32,
    "discriminator_width": 32,
    "batch_size": 32,
    "discriminator_steps": 1,
    "num_steps": 500,
    "learning_rate": 1e-3,  # few steps have to be long
    "num_samples": 500,
}
SMALL: dict[str, Config] = {
    f"small-{name}": replace(row, **_SMALL) for name, row in with_ndiv({"gan_sn": ROWS["gan_sn"]}).items()
}

CIFAR = with_ndiv(ROWS) | FEATURES
CELEBA: dict[str, Config] = {
    f"celeba-{name}": replace(row, data="celeba") for name, row in with_ndiv(ROWS).items()
}
PRESETS: dict[str, Config] = CIFAR | CELEBA | AUTHORS | SHORT | SMALL

SEEDS = (0, 1, 2)
CELLS = [
    Cell(name, config, seeds, stack=1, priority=priority, full_scale=full_scale)
    for configs, seeds, priority, full_scale in (
        (SMALL, (0, 1, 2, 3, 4), 100, False),
        (SHORT, SEEDS, 100, True),
        (with_ndiv(ROWS), SEEDS, 90, True),
        (CELEBA, SEEDS, 80, True),
        (FEATURES, SEEDS, 70, True),
        (AUTHORS, SEEDS, 60, True),
    )
    for name, config in configs.items()
    if name != "authors-wgan_sn_gp"  # recorded under its other name
]
