"""Fetch CMP Facades, verify it and prepare it for `ndiv_lib.data.load_pairs("facades", split)`.

    python data_scripts/facades.py               fetch the archive (35 MB), write $NDIV_DATA/facades
    python data_scripts/facades.py --from DIR    the same from files at hand in DIR
    python data_scripts/facades.py --twin        a small procedural stand-in in the same layout

`--to OUT` writes OUT/facades; without it and without NDIV_DATA in the environment the set goes to data/facades.
DIR is, or holds, in DIR or DIR/facades, one of three forms:

    facades.zip                      the archive of CycleGAN's version, read in place
    trainA/ trainB/ testA/ testB/    the same, unpacked: 1_A.jpg beside 1_B.jpg, and so on; verified by the sums of
                                     one public copy, another copy needs --trust
    facades.tar.gz, train/ test/     pix2pix's version, packed or not: photo and map side by side. No sha256 is
                                     published for it: it needs --trust. Its val/ is left out

400 training and 106 test pairs, 256x256, RGB: the photo of a house front (A) and a map of its parts in colors
(B), both JPEG, so that the colors of a map are slightly impure at edges.
License: none stated; for research, cite the authors.
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

FACADES = DataSet(
    name="facades",
    title="CMP Facades",
    license="none stated; for research, cite the authors",
    citation="R. Tylecek, R. Sara, 'Spatial Pattern Templates for Recognition of Objects with Regular Structure', "
    "GCPR 2013; as pairs of 256x256: P. Isola, J.-Y. Zhu, T. Zhou, A. A. Efros, 'Image-to-Image Translation with "
    "Conditional Adversarial Networks', CVPR 2017.",
    page="https://cmp.felk.cvut.cz/~tylecr1/facade/",
    shape=(256, 256, 3),
    counts={"train": 400, "test": 106},
    files=(
        File(
            "facades.zip",
            "9a31ebf3a31b9b5cd195dd5bf62e9308e00cb94604d1019e3889ac84248695c0",
            35_135_868,
            (
                "http://efrosgans.eecs.berkeley.edu/cyclegan/datasets/facades.zip",
                "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/facades.zip",
            ),
        ),
    ),
    twin_size=24,
)
FORMS = "facades.zip, or its folders trainA, trainB, testA, testB; with --trust facades.tar.gz of pix2pix, or its folders."
FILES = PairFiles(
    zip_sha256=FACADES.files[0].sha256,
    side=256,
    joined={"train": "train", "test": "test"},
    folders_sha256={  # of the files of a folder joined, in the order of their names, in one public copy
        "trainA": "c96c25dac52a0d86b529b33654fdc840238610a147a3d847b33b2981b73cd321",
        "trainB": "179718290acb8799fef0f1519d46fe1f78f80eb370d6441791122997c805f667",
        "testA": "7c57ec1f54606b8b4623e3789894fdab6ac22bb8364178d07b4224b0889b00f5",
        "testB": "3e97831131b6237b715ebe96ff23c0cbb8ee4f3f18b59e1866dfcfc1bc9dc371",
    },
)


def read(source: Path, sums: Sums) -> Reading:
    return read_pairs(FACADES, FILES, source, sums)


# The twin. A map says which part is where; what the parts are made of it does not say. So each map has as many
# valid photos as there are materials below: the colors of its parts in one of them, and some light and grain.
PARTS = {  # name: color in the map, as the published maps have it
    "background": (0, 0, 170),
    "wall": (0, 0, 255),
    "window": (0, 85, 255),
    "door": (0, 170, 255),
    "sill": (85, 255, 170),
    "blind": (255, 255, 0),
    "molding": (255, 85, 0),
    "shop": (170, 0, 0),
}
MATERIALS = {  # colors of the same parts in the photo
    "brick": "aac3e1 96503e 343a46 462a1e cdc3b4 e1dccd c3b4a0 283c37",
    "plaster": "b9c8d7 dec896 2d3744 5f3c23 f0ebdc 965a3c f0e6cd 6e2828",
    "stone": "cdd0d4 a0a09b 262c36 2d3230 787876 c8c8be 828280 3c3c55",
    "painted": "96b9e1 78af96 373e48 782d2d ebf0eb 5a7869 e1ebe1 2d5064",
}
PALETTE = np.array(list(PARTS.values()), np.uint8)
INDEX = {name: i for i, name in enumerate(PARTS)}


def draw_parts(rng: Rng) -> Array:
    """Which part is where, (256, 256): floors and axes of windows, moldings between floors, a door, a shop."""
    parts = np.full((256, 256), INDEX["background"], np.uint8)
    left, right = rng.integers(0, 30), 256 - rng.integers(0, 30)
    top = rng.integers(6, 50)
    parts[top:, left:right] = INDEX["wall"]
    floors, axes = rng.integers(3, 6), rng.integers(3, 7)
    height, width = (256 - top) // floors, (right - left) // axes
    blinds, moldings, shop = rng.random(3) < (0.4, 0.6, 0.5)
    tall, broad = rng.uniform(0.4, 0.62) * height, rng.uniform(0.35, 0.6) * width
    for floor in range(floors):
        y = top + floor * height
        ground = floor == floors - 1
        if moldings:
            parts[y : y + 6, left:right] = INDEX["molding"]
        for axis in range(axes):
            x, down = left + round((axis + 0.5) * width - broad / 2), y + round(0.22 * height)
            window = np.s_[down : down + round(tall), x : x + round(broad)]
            if ground and shop:
                parts[down:250, x - 2 : x + round(broad) + 2] = INDEX["shop"]
                continue
            parts[window] = INDEX["window"]
            parts[window[0].stop : window[0].stop + 4, x - 2 : x + round(broad) + 2] = INDEX["sill"]
            if blinds:
                parts[down : down + round(tall / 3), window[1]] = INDEX["blind"]
    at = left + round((int(rng.integers(axes)) + 0.5) * width)
    parts[256 - round(0.7 * height) :, at - 9 : at + 9] = INDEX["door"]
    return parts


def draw_photo(rng: Rng, parts: Array, material: str) -> Array:
    """One of the valid photos of a map: its parts in one material, under a light from the left or the right."""
    light = 1 + rng.uniform(-0.15, 0.15) * np.linspace(-1, 1, 256).reshape(1, 256, 1)
    colors = np.frombuffer(bytes.fromhex(MATERIALS[material]), np.uint8).reshape(-1, 3)
    photo = colors[parts] * light + rng.normal(0, 5, (256, 256, 1))
    return np.clip(np.rint(photo), 0, 255).astype(np.uint8)


def draw_pairs(rng: Rng, count: int) -> dict[str, Array]:
    maps = [draw_parts(rng) for _ in range(count)]
    materials = rng.choice(list(MATERIALS), count)
    photos = [draw_photo(rng, parts, str(m)) for parts, m in zip(maps, materials, strict=True)]
    return {"photos": np.stack(photos), "maps": PALETTE[np.stack(maps)]}


def twin(size: int, seed: int) -> Splits:
    return draw_splits(draw_pairs, size, seed, {"train": 1, "test": 4})


def main(argv: Sequence[str] | None = None) -> int:
    return run(FACADES, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
