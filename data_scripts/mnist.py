"""Verify MNIST and prepare it for `ndiv_lib.data.load_images("mnist", split)`.

    python data_scripts/mnist.py --from DIR            verify the files in DIR, write $NDIV_DATA/mnist
    python data_scripts/mnist.py --from DIR --to OUT   the same, into OUT/mnist
    python data_scripts/mnist.py --twin                a small procedural stand-in in the same layout

Without NDIV_DATA in the environment the set goes to data/mnist. DIR holds the four published IDX files,
unpacked or gzipped, under their usual names (`train-images-idx3-ubyte` or `train-images.idx3-ubyte`, with or
without `.gz`); DIR/mnist and DIR/MNIST/raw are searched too. The sha256 of the unpacked file decides, so any
gzip wrapping will do. Needs numpy alone; nothing is downloaded.

60,000 training and 10,000 test images of handwritten digits, 28x28, gray.
License: CC BY-SA 3.0, as commonly stated.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from _common import (
    Array,
    DataError,
    DataSet,
    Splits,
    balanced_labels,
    check_sum,
    first_existing,
    main,
    refuse_web_page,
    sha256,
)

MNIST = DataSet(
    name="mnist",
    title="MNIST",
    license="CC BY-SA 3.0, as commonly stated",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, 'Gradient-based learning applied to document "
    "recognition', Proceedings of the IEEE 86(11), 1998.",
    class_names=tuple("0123456789"),
    sha256={
        "train/images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "train/labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "test/images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test/labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
)
FORMS = "the four IDX files of MNIST, unpacked or gzipped, in DIR, DIR/mnist or DIR/MNIST/raw."

IDX_FILES = {  # sha256 of the published files, unpacked
    "train/images": (
        "train-images-idx3-ubyte",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train/labels": (
        "train-labels-idx1-ubyte",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test/images": (
        "t10k-images-idx3-ubyte",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test/labels": (
        "t10k-labels-idx1-ubyte",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
LARGEST = 64 * 2**20  # the largest of the four has 47,040,016 bytes; a gzip bomb stops here


def find(folder: Path, name: str) -> Path:
    spellings = [name, name.replace("-idx", ".idx")]
    places = [folder, folder / "mnist", folder / "MNIST" / "raw"]
    found = first_existing(
        place / (s + suffix) for place in places for s in spellings for suffix in ("", ".gz")
    )
    if found is None:
        raise DataError(
            f"{folder / name}[.gz]: missing (also looked in {', '.join(map(str, places[1:]))}). "
            f"Expected under --from: {FORMS}"
        )
    return found


def unpacked(path: Path) -> bytes:
    """The bytes of an IDX file, at most LARGEST of them, through gzip where the name says so."""
    with path.open("rb") as file:
        head = file.read(64)
        refuse_web_page(path, head)
        if path.suffix != ".gz":
            return head + file.read(LARGEST)
    if head[:2] != b"\x1f\x8b":
        raise DataError(
            f"{path}: expected gzip data (1f 8b ...), got {head[:4].hex(' ')}. Fetch the file again."
        )
    try:
        with gzip.open(path) as file:
            return file.read(LARGEST)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{path}: the gzip data are damaged or cut short ({error}). Fetch the file again."
        ) from error


def parse_idx(data: bytes) -> Array:
    """An IDX file of unsigned bytes: 0 0 8 ndim, ndim big-endian sizes, the values."""
    ndim = data[3]
    shape = np.frombuffer(data, ">u4", count=ndim, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * ndim).reshape([int(size) for size in shape])


def read(folder: Path) -> tuple[Splits, str]:
    splits: Splits = {"train": {}, "test": {}}
    for key, (name, expected) in IDX_FILES.items():
        path = find(folder, name)
        data = unpacked(path)
        check_sum(f"{path} (unpacked, {len(data):,} bytes)", expected=expected, got=sha256(data))
        split, kind = key.split("/")
        splits[split][kind] = parse_idx(data)
    return splits, "the four IDX files"


# The twin writes seven-segment digits: strokes between six corners of a box, lit as on a pocket calculator.
CORNERS = np.array([[-1, -2], [1, -2], [-1, 0], [1, 0], [-1, 2], [1, 2]], dtype=float) * 3.5
SEGMENTS = np.array([[0, 1], [0, 2], [1, 3], [2, 3], [2, 4], [3, 5], [4, 5]])
LIT = (
    "1110111",
    "0010010",
    "1011101",
    "1011011",
    "0111010",
    "1101011",
    "1101111",
    "1010010",
    "1111111",
    "1111011",
)


def draw_digits(rng: np.random.Generator, labels: Array) -> Array:
    """One 28x28 image per label: the lit strokes, slanted, scaled, shifted and of random width."""
    n = len(labels)
    lit = np.array([[c == "1" for c in code] for code in LIT])[labels]
    slant, width = rng.normal(0.15, 0.12, n), rng.uniform(0.9, 1.8, n)
    scale, shift = rng.uniform(0.8, 1.15, (n, 1, 2)), rng.uniform(-2, 2, (n, 1, 2))
    corners = CORNERS * scale + shift
    corners[..., 0] -= slant[:, None] * corners[..., 1]
    start, end = corners[:, SEGMENTS[:, 0]], corners[:, SEGMENTS[:, 1]]
    axis = np.arange(28) - 13.5
    pixels = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)  # (784, xy)
    images = np.zeros((n, 784))
    for s in range(len(SEGMENTS)):
        along = (end - start)[:, s, None]
        offset = pixels - start[:, s, None]
        t = np.clip((offset * along).sum(-1) / (along**2).sum(-1), 0, 1)
        distance = np.linalg.norm(offset - t[..., None] * along, axis=-1)
        images = np.maximum(images, lit[:, s, None] * np.clip(width[:, None] + 0.5 - distance, 0, 1))
    return np.round(255 * images).astype(np.uint8).reshape(n, 28, 28)


def twin(size: int, seed: int) -> Splits:
    splits: Splits = {}
    for i, (split, count) in enumerate({"train": size, "test": size // 4}.items()):
        rng = np.random.default_rng([seed, i])
        labels = balanced_labels(rng, count, len(MNIST.class_names))
        splits[split] = {"images": draw_digits(rng, labels), "labels": labels}
    return splits


def cli(argv: Sequence[str] | None = None) -> int:
    return main(MNIST, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(cli())
