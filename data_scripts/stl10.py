"""Fetch STL-10, verify it and prepare it for `ndiv_lib.data.load_images("stl10", split)`.

    python data_scripts/stl10.py               fetch the archive (2.6 GB), write $NDIV_DATA/stl10
    python data_scripts/stl10.py --from DIR    the same from files at hand in DIR
    python data_scripts/stl10.py --twin        a small procedural stand-in in the same layout

`--to OUT` writes OUT/stl10; without it and without NDIV_DATA in the environment the set goes to data/stl10.
DIR is, or holds, `stl10_binary.tar.gz` (or is the file itself), read in place, or its five files unpacked
(`train_X.bin` and so on; DIR/stl10 and DIR/stl10_binary are searched too). The md5 of each of the five decides.
Takes about 6 GB of disk space and 4 GB of memory, most of it for the unlabeled images.

5,000 training, 8,000 test and 100,000 unlabeled photographs, 96x96, RGB, ten classes.
License: the images come from ImageNet, whose terms are for research and teaching.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # run by path, from wherever

from _archives import Member, read_members
from _checks import Array, DataError, File, Sums, check_sum
from _command import run
from _common import DataSet, Reading, Splits, first_existing
from _twins import Rng, draw_splits, gratings, labeled

ARCHIVE = "stl10_binary.tar.gz"
STL10 = DataSet(
    name="stl10",
    title="STL-10",
    license="none stated by the authors; the images come from ImageNet, for research and teaching",
    citation="A. Coates, H. Lee, A. Y. Ng, 'An Analysis of Single Layer Networks in Unsupervised Feature "
    "Learning', AISTATS 2011.",
    page="https://cs.stanford.edu/~acoates/stl10/",
    shape=(96, 96, 3),
    counts={"train": 5_000, "test": 8_000, "unlabeled": 100_000},
    class_names=("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"),
    files=(
        File(
            ARCHIVE,
            "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866",
            2_640_397_119,
            (
                f"https://cs.stanford.edu/~acoates/stl10/{ARCHIVE}",
                f"http://ai.stanford.edu/~acoates/stl10/{ARCHIVE}",
            ),
        ),
    ),
    twin_size=200,
)
FORMS = f"{ARCHIVE}, or its five files train_X.bin, train_y.bin, test_X.bin, test_y.bin, unlabeled_X.bin."
MD5 = {  # published, of the files inside the archive
    "train_X.bin": "918c2871b30a85fa023e0c44e0bee87f",
    "train_y.bin": "5a34089d4802c674881badbb80307741",
    "test_X.bin": "7f263ba9f9e0b06b93213547f721ac82",
    "test_y.bin": "36f9794fa4beb8a2c72628de14fa638e",
    "unlabeled_X.bin": "5242ba1fed5e4be9e1e742405eb56ca4",
}
IMAGE_BYTES = 96 * 96 * 3
LARGEST = 100_000 * IMAGE_BYTES
AT_ONCE = 500  # images turned from columns to rows in one go


def read(source: Path, sums: Sums) -> Reading:
    path, form = find(source)
    splits: Splits = {split: {} for split in STL10.counts}
    for member in read_members(path, largest=LARGEST):
        name = member.name.name
        if name in MD5:
            split, kind = name.removesuffix(".bin").split("_")
            array, md5 = (read_images if kind == "X" else read_labels)(member)
            check_sum(f"{path}: {name} ({member.size:,} bytes)", expected=MD5[name], got=md5, kind="md5")
            splits[split]["images" if kind == "X" else "labels"] = array
    missing = [
        name for name in MD5 if ("images" if "X" in name else "labels") not in splits[name.split("_")[0]]
    ]
    if missing:
        raise DataError(f"{path}: {', '.join(missing)} missing. Expected under --from: {FORMS}")
    return Reading({split: dict(sorted(arrays.items())) for split, arrays in splits.items()}, form, sums)


def find(source: Path) -> tuple[Path, str]:
    if source.is_file():
        return source, ARCHIVE
    places = [source, source / "stl10", source / "stl10_binary", source / "stl10" / "stl10_binary"]
    unpacked = first_existing(place / "train_X.bin" for place in places)
    if unpacked is not None:
        return unpacked.parent, "the five binary files"
    archive = first_existing(place / ARCHIVE for place in places)
    if archive is None:
        raise DataError(f"{source}: no STL-10 here, nor below it. Expected under --from: {FORMS}")
    return archive, ARCHIVE


def read_images(member: Member) -> tuple[Array, str]:
    """Images (n, 96, 96, 3), from files that store color by color and column by column, and the md5 of the file."""
    images = np.empty((member.size // IMAGE_BYTES, 96, 96, 3), np.uint8)
    md5 = hashlib.md5(usedforsecurity=False)
    for start in range(0, len(images), AT_ONCE):
        rows = images[start : start + AT_ONCE]
        data = member.content.read(len(rows) * IMAGE_BYTES)
        md5.update(data)
        rows[:] = np.frombuffer(data, np.uint8).reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1)
    md5.update(member.content.read())
    return images, md5.hexdigest()


def read_labels(member: Member) -> tuple[Array, str]:
    """Labels 0 to 9, from files that count from 1, and the md5 of the file."""
    data = member.content.read()
    return np.frombuffer(data, np.uint8) - np.uint8(1), hashlib.md5(data, usedforsecurity=False).hexdigest()


def twin(size: int, seed: int) -> Splits:
    def draw(rng: Rng, count: int) -> dict[str, Array]:
        return labeled(rng, count, 10, lambda rng, labels: gratings(rng, labels, 96))

    splits = draw_splits(draw, size, seed, {"train": 1, "test": 4, "unlabeled": 1})
    del splits["unlabeled"]["labels"]
    return splits


def main(argv: Sequence[str] | None = None) -> int:
    return run(STL10, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
