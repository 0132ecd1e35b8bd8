"""Pairs of a photo and a map of it, in the two forms in which pix2pix's and CycleGAN's sets are published.

CycleGAN's zip, and its folders unpacked: trainA, testA with the photos, trainB, testB with the maps, 1_A.jpg
beside 1_B.jpg. pix2pix's tar.gz, and its folders unpacked: each picture holds a pair, the photo on the left.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _archives import read_members
from _checks import Array, DataError, Sums
from _common import DataSet, Reading, Splits, first_existing
from _pictures import decode, resize

LARGEST = 8 * 2**20  # of one picture
SIDES = ("A", "B")  # photo, map

Wanted = dict[str, list[tuple[str, str]]]  # by folder: split and side of what a picture holds, left to right
Pictures = dict[tuple[str, str], dict[int, Array]]  # by split and side, then by number


@dataclass(frozen=True)
class PairFiles:
    """How one set of pairs is published."""

    zip_sha256: str
    side: int  # pixels of a published picture
    joined: Mapping[str, str]  # pix2pix's folders: {"train": "train", "val": "test"}
    folders_sha256: Mapping[str, str] = field(default_factory=dict)  # the files of trainA joined, and so on


def read_pairs(data: DataSet, files: PairFiles, source: Path, sums: Sums) -> Reading:
    path, form = find(source, data.name)
    if path.is_file():
        sums.check_file(path, files.zip_sha256 if form.endswith(".zip") else None)
    wanted: Wanted = {f"{split}{side}": [(split, side)] for split in data.counts for side in SIDES}
    if form.startswith("pix2pix"):
        wanted = {folder: [(split, side) for side in SIDES] for folder, split in files.joined.items()}
    pictures, folders_sha256 = read_pictures(path, wanted, files.side, data.shape[0])
    if path.is_dir():
        sums.seen.update(folders_sha256)
        if folders_sha256 != files.folders_sha256:
            sums.take_on_trust(path)
    splits: Splits = {}
    for split, count in data.counts.items():
        photos, maps = (pictures.get((split, side), {}) for side in SIDES)
        if len(photos) != count or photos.keys() != maps.keys():
            raise DataError(
                f"{path}: expected {count:,} photos and their {count:,} maps for {split}, "
                f"got {len(photos):,} and {len(maps):,}, {len(photos.keys() & maps.keys()):,} of them pairs. Fetch it again."
            )
        splits[split] = {
            "photos": np.stack([photos[number] for number in sorted(photos)]),
            "maps": np.stack([maps[number] for number in sorted(maps)]),
        }
    return Reading(splits, form, sums)


def find(source: Path, name: str) -> tuple[Path, str]:
    """Where the set lies under `source`, and in which form."""
    if source.is_file():
        return source, f"{name}.zip" if source.suffix == ".zip" else f"pix2pix {name}.tar.gz"
    places = [source, source / name]
    forms = {
        f"{name}.zip": f"{name}.zip",
        "trainA": "folders trainA, trainB, testA, testB",
        "train": "pix2pix folders",
        f"{name}.tar.gz": f"pix2pix {name}.tar.gz",
    }
    for file, form in forms.items():
        path = first_existing(place / file for place in places)
        if path is not None:
            return path.parent if path.is_dir() else path, form
    raise DataError(f"{source}: no {name} here, nor in {name}/ below it. Expected: {', '.join(forms)}.")


def read_pictures(path: Path, wanted: Wanted, side: int, to: int) -> tuple[Pictures, dict[str, str]]:
    """The pictures of the `wanted` folders, and the sha256 of each folder: its files joined in the order of names."""
    pictures: Pictures = {place: {} for places in wanted.values() for place in places}
    digests = {folder: hashlib.sha256() for folder in wanted}
    for member in read_members(path, largest=LARGEST):
        folder, number = member.name.parent.name, re.match(r"\d+", member.name.name)
        deep = path.is_dir() and len(member.name.parts) > 2  # a copy of the set in some folder below
        if folder in wanted and number is not None and not deep:
            content, places = member.content.read(), wanted[folder]
            digests[folder].update(content)
            picture = decode(content, f"{path}: {member.name}", (side * len(places), side))
            for place, part in zip(places, np.split(picture, len(places), axis=1), strict=True):
                pictures[place][int(number[0])] = resize(part, to)
    return pictures, {folder: digest.hexdigest() for folder, digest in digests.items()}
