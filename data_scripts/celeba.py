"""Verify CelebA and prepare it, cropped and at 64x64, for `ndiv_lib.data.load_images("celeba", split)`.

    python data_scripts/celeba.py               say where to agree to the terms and which files to fetch
    python data_scripts/celeba.py --from DIR    verify the files in DIR, write $NDIV_DATA/celeba (2.6 GB)
    python data_scripts/celeba.py --twin        a small procedural stand-in in the same layout

`--to OUT` writes OUT/celeba; without it and without NDIV_DATA in the environment the set goes to data/celeba.
CelebA is given for non-commercial research to whoever agrees to its terms, so nothing is fetched here. DIR holds
the aligned images and two lists, as published or in the folders of the publishers' drive (Img, Anno, Eval):

    img_align_celeba.zip        202,599 photographs, 178x218, read in place (or img_align_celeba/, with --trust)
    list_eval_partition.txt     which image is for training, validation, test
    list_attr_celeba.txt        40 attributes of every image

Of every photograph the central 160x160 pixels (rows 29 to 188, columns 9 to 168) are kept and resized to 64x64
(Pillow, bicubic with antialiasing). Takes a few minutes and 3 GB of memory.

162,770 training, 19,867 validation and 19,962 test photographs of faces, RGB, no classes.
License: non-commercial research only, under the terms on the page of the set.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # run by path, from wherever

from _archives import read_members
from _checks import Array, DataError, Sums
from _command import run
from _common import DataSet, Reading, Splits, first_existing
from _pictures import decode, resize
from _twins import Rng, draw_splits

PAGE = "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
ATTRIBUTES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair "
    "Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup "
    "High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose "
    "Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat "
    "Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young"
)
CELEBA = DataSet(
    name="celeba",
    title="CelebA, aligned, central 160x160 at 64x64",
    license=f"non-commercial research only, under the terms on {PAGE}",
    citation="Z. Liu, P. Luo, X. Wang, X. Tang, 'Deep Learning Face Attributes in the Wild', ICCV 2015.",
    page=PAGE,
    shape=(64, 64, 3),
    counts={"train": 162_770, "valid": 19_867, "test": 19_962},
    attribute_names=tuple(ATTRIBUTES.split()),
    by_hand="CelebA is given to those who agree to its terms, so this script does not fetch it. Read the terms on "
    f"{PAGE}, fetch img_align_celeba.zip (1.4 GB), list_eval_partition.txt and list_attr_celeba.txt from the drive "
    "it names into one folder, and run: python data_scripts/celeba.py --from FOLDER",
    twin_size=200,
)
IMAGES = "img_align_celeba.zip"
SHA256 = {
    IMAGES: "46fb89443c578308acf364d7d379fe1b9efb793042c0af734b6112e4fd3a8c74",
    "list_eval_partition.txt": "fc955bcb3ef8fbdf7d5640d9a8693a8431b5f2ee291a5c1449a1549e7e073fe7",
    "list_attr_celeba.txt": "f0e5da289d5ccf75ffe8811132694922b60f2af59256ed362afa03fefba324d0",
}
FORMS = f"{', '.join(SHA256)}; with --trust the folder img_align_celeba instead of the zip."
SIZE = (178, 218)
CROP = (9, 29, 169, 189)  # left, top, right, bottom: 160x160 in the middle
LARGEST = 2**20  # of one photograph


def read(source: Path, sums: Sums) -> Reading:
    images, partition, attributes = (find(source, name) for name in SHA256)
    sums.check_file(partition, SHA256[partition.name])
    sums.check_file(attributes, SHA256[attributes.name])
    if images.is_dir():
        sums.take_on_trust(images)
    else:
        sums.check_file(images, SHA256[IMAGES])

    split_of = {name: int(part) for name, part in (line.split() for line in lines(partition))}
    described = {
        name: [int(v) > 0 for v in values] for name, *values in map(str.split, lines(attributes)[2:])
    }
    names = [[name for name in sorted(split_of) if split_of[name] == i] for i in range(len(CELEBA.counts))]
    place = {name: (i, row) for i, part in enumerate(names) for row, name in enumerate(part)}
    arrays = [np.zeros((len(part), *CELEBA.shape), np.uint8) for part in names]
    seen: set[str] = set()
    for member in read_members(images, largest=LARGEST):
        name = member.name.name
        if name in place:
            what = f"{images}: {name}"
            photo = decode(member.content.read(), what, SIZE)
            part, row = place[name]
            arrays[part][row] = resize(photo, CELEBA.shape[0], CROP)
            seen.add(name)
            if not len(seen) % 20_000:
                print(f"  {len(seen):,} of {len(place):,} images", file=sys.stderr)
    if len(seen) < len(place):
        missing = min(place.keys() - seen)
        raise DataError(
            f"{images}: {len(place) - len(seen):,} images missing, {missing} first. Fetch it again."
        )
    splits: Splits = {
        split: {"images": array, "attributes": np.array([described[name] for name in part], np.uint8)}
        for split, array, part in zip(CELEBA.counts, arrays, names, strict=True)
    }
    return Reading(splits, images.name, sums)


def find(source: Path, name: str) -> Path:
    places = [top / folder for top in (source, source / "celeba") for folder in (".", "Img", "Anno", "Eval")]
    spellings = (name, "img_align_celeba") if name == IMAGES else (name,)
    path = first_existing(place / spelling for spelling in spellings for place in places)
    if path is None:
        raise DataError(f"{source / name}: missing. Expected under --from: {FORMS} Where to fetch: {PAGE}")
    return path


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="ascii").splitlines()


# The twin draws faces of ellipses. The attributes that it knows are those one can see in them.
HAIR = {
    "Black_Hair": (25, 20, 20),
    "Blond_Hair": (220, 190, 110),
    "Brown_Hair": (100, 60, 30),
    "Gray_Hair": (150,) * 3,
}


def draw_faces(rng: Rng, count: int) -> dict[str, Array]:
    axis = np.linspace(-1, 1, 64)
    x, y = np.meshgrid(axis, axis)
    images = np.zeros((count, 64, 64, 3))
    attributes = np.zeros((count, len(CELEBA.attribute_names)), np.uint8)

    def has(row: int, name: str, chance: float = 0.5) -> bool:
        value = rng.random() < chance
        attributes[row, CELEBA.attribute_names.index(name)] = value
        return value

    for row, image in enumerate(images):
        u, v = x - rng.uniform(-0.05, 0.05), y - rng.uniform(-0.05, 0.05)
        image[:] = rng.uniform(40, 220, 3) + 25 * y[..., None] * rng.uniform(-1, 1)
        hair = list(HAIR)[rng.integers(len(HAIR))]
        attributes[row, CELEBA.attribute_names.index(hair)] = 1
        skin = np.array([225, 180, 150]) * (1.08 if has(row, "Pale_Skin") else rng.uniform(0.45, 0.95))
        length = 0.95 if has(row, "Straight_Hair") else 0.62
        image[(u / 0.62) ** 2 + ((v + 0.1) / length) ** 2 < 1] = HAIR[hair]
        image[(u / 0.47) ** 2 + ((v - 0.08) / 0.62) ** 2 < 1] = skin
        if has(row, "Wearing_Hat", 0.2):
            image[(np.abs(u) < 0.6) & (np.abs(v + 0.6) < 0.2)] = rng.uniform(0, 255, 3)
        smile = 1.0 if has(row, "Smiling") else -0.4
        mouth = np.abs(v - 0.45 - smile * (0.06 - 1.2 * u**2)) < 0.035
        image[mouth & (np.abs(u) < 0.22)] = (150, 40, 50)
        for side in (-0.2, 0.2):
            eye = ((u - side) / 0.1) ** 2 + ((v + 0.08) / 0.06) ** 2
            image[eye < 1], image[eye < 0.25] = (240, 240, 240), (30, 30, 30)
        if has(row, "Eyeglasses", 0.3):
            radius = np.hypot(np.abs(u) - 0.2, v + 0.08)
            image[(np.abs(radius - 0.16) < 0.025) | ((np.abs(v + 0.08) < 0.02) & (np.abs(u) < 0.05))] = 20
    images += rng.normal(0, 3, images.shape)
    return {"images": np.clip(np.round(images), 0, 255).astype(np.uint8), "attributes": attributes}


def twin(size: int, seed: int) -> Splits:
    return draw_splits(draw_faces, size, seed, {"train": 1, "valid": 4, "test": 4})


def main(argv: Sequence[str] | None = None) -> int:
    return run(CELEBA, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
