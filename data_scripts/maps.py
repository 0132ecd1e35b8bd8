"""Fetch pix2pix's maps, verify it and prepare it for `ndiv_lib.data.load_pairs("maps", split)`.

    python data_scripts/maps.py               fetch the archive (1.5 GB), write $NDIV_DATA/maps
    python data_scripts/maps.py --from DIR    the same from files at hand in DIR
    python data_scripts/maps.py --twin        a small procedural stand-in in the same layout

`--to OUT` writes OUT/maps; without it and without NDIV_DATA in the environment the set goes to data/maps.
DIR is, or holds, in DIR or DIR/maps, one of three forms:

    maps.zip                         the archive of CycleGAN's version, read in place
    trainA/ trainB/ testA/ testB/    the same, unpacked: 1_A.jpg beside 1_B.jpg, and so on; needs --trust
    maps.tar.gz, train/ val/         pix2pix's version, packed or not: photo and map side by side, and val for
                                     test. No sha256 is published for it: it needs --trust

The pictures have 600x600 pixels and are resized to 256x256 (Pillow, bicubic with antialiasing).

1,096 training and 1,098 test pairs, RGB: an aerial photo (A) and the street map of the same place (B).
License: none stated; the pictures come from Google Maps, for research.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # run by path, from wherever

from _checks import Array, File, Sums
from _command import run
from _common import DataSet, Reading, Splits
from _pairs import PairFiles, read_pairs
from _twins import Rng, draw_splits

MAPS = DataSet(
    name="maps",
    title="pix2pix maps",
    license="none stated; the pictures come from Google Maps, for research",
    citation="P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros, 'Image-to-Image Translation with Conditional Adversarial "
    "Networks', CVPR 2017.",
    page="https://phillipi.github.io/pix2pix/",
    shape=(256, 256, 3),
    counts={"train": 1_096, "test": 1_098},
    files=(
        File(
            "maps.zip",
            "639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e",
            1_476_754_427,
            (
                "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/maps.zip",
                "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/maps.zip",
            ),
        ),
    ),
    twin_size=24,
)
FORMS = "maps.zip; with --trust also its folders trainA, trainB, testA, testB, or maps.tar.gz of pix2pix, or its folders."
FILES = PairFiles(
    zip_sha256=MAPS.files[0].sha256, side=600, joined={"train": "train", "val": "test"}
)  # fmt: skip


def read(source: Path, sums: Sums) -> Reading:
    return read_pairs(MAPS, FILES, source, sums)


# The twin. From a photo the street map follows: every ground has its color there, and houses have the color of
# land. The other way leaves a choice: houses anywhere on the land, in one of three seasons.
GROUNDS = {
    "land": (232, 230, 224),
    "park": (200, 228, 165),
    "water": (165, 205, 250),
    "street": (255, 255, 255),
}
SEASONS = {  # colors of the same grounds, and of roofs, in the photo
    "summer": ((120, 130, 95), (60, 95, 45), (35, 60, 75), (120, 120, 122), (150, 110, 95)),
    "autumn": ((140, 125, 95), (125, 95, 45), (40, 55, 70), (115, 112, 112), (135, 90, 75)),
    "drought": ((190, 170, 130), (150, 145, 90), (60, 85, 90), (140, 138, 135), (175, 150, 130)),
}
PALETTE = np.array(list(GROUNDS.values()), np.uint8)
LAND, PARK, WATER, STREET, ROOF = range(5)


def draw_grounds(rng: Rng) -> Array:
    """Which ground is where, (256, 256): a park, a river at times, streets in both directions, an avenue."""
    y, x = np.mgrid[:256, :256]
    grounds = np.full((256, 256), LAND, np.uint8)
    cx, cy, radius = rng.integers(30, 226), rng.integers(30, 226), rng.integers(25, 70)
    grounds[np.hypot(x - cx, 1.3 * (y - cy)) < radius] = PARK
    if rng.random() < 0.5:
        bank = rng.integers(40, 216) + 25 * np.sin(x / rng.uniform(30, 60) + rng.uniform(0, 6))
        grounds[np.abs(y - bank) < rng.integers(10, 28)] = WATER
    turn = rng.uniform(-0.3, 0.3)
    for along in (x + turn * y, y - turn * x):
        gap = rng.integers(38, 70)
        grounds[(along + rng.integers(gap)) % gap < 6] = STREET
    grounds[np.abs(x * rng.uniform(-1, 1) + y - rng.integers(60, 196)) < 8] = STREET
    return grounds


def draw_photo(rng: Rng, grounds: Array, season: str) -> Array:
    """One of the valid photos of a street map."""
    photo = grounds.copy()
    for _ in range(220):
        y, x = rng.integers(0, 246, 2)
        house = np.s_[y : y + rng.integers(6, 14), x : x + rng.integers(6, 14)]
        if (photo[house] == LAND).all():
            photo[house] = ROOF
    grain = rng.normal(0, 1, (256, 256, 1)) * np.array([7, 14, 2, 3, 4])[photo][..., None]
    return np.clip(np.round(np.array(SEASONS[season])[photo] + grain), 0, 255).astype(np.uint8)


def draw_pairs(rng: Rng, count: int) -> dict[str, Array]:
    grounds = [draw_grounds(rng) for _ in range(count)]
    seasons = rng.choice(list(SEASONS), count)
    photos = [draw_photo(rng, g, str(season)) for g, season in zip(grounds, seasons, strict=True)]
    return {"photos": np.stack(photos), "maps": PALETTE[np.stack(grounds)]}


def twin(size: int, seed: int) -> Splits:
    return draw_splits(draw_pairs, size, seed, {"train": 1, "test": 4})


def main(argv: Sequence[str] | None = None) -> int:
    return run(MAPS, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
