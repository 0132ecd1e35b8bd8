"""Fetch Fashion-MNIST, verify it and prepare it for `ndiv_lib.data.load_images("fashion_mnist", split)`.

    python data_scripts/fashion_mnist.py               fetch the four files (31 MB), write $NDIV_DATA/fashion_mnist
    python data_scripts/fashion_mnist.py --from DIR    the same from files at hand in DIR
    python data_scripts/fashion_mnist.py --twin        a small procedural stand-in in the same layout

`--to OUT` writes OUT/fashion_mnist; without it and without NDIV_DATA in the environment the set goes to
data/fashion_mnist. DIR holds the four published files, `train-images-idx3-ubyte.gz` and so on;
DIR/fashion_mnist and DIR/FashionMNIST/raw are searched too. The sha256 of the gzipped files is what is known:
files that somebody has unpacked need --trust.

60,000 training and 10,000 test pictures of articles of clothing, 28x28, gray, ten classes. License: MIT.
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
from _idx import IdxFile, read_idx
from _twins import Rng, draw_splits, labeled

MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
)


def published(name: str, sha256: str, size: int) -> File:
    return File(name, sha256, size, tuple(mirror + name for mirror in MIRRORS))


FASHION_MNIST = DataSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    license="MIT",
    citation="H. Xiao, K. Rasul, R. Vollgraf, 'Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine "
    "Learning Algorithms', arXiv:1708.07747, 2017.",
    page="https://github.com/zalandoresearch/fashion-mnist",
    shape=(28, 28),
    counts={"train": 60_000, "test": 10_000},
    class_names=(
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"
    ),
    files=(
        published(
            "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            26_421_880,
        ),
        published(
            "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            29_515,
        ),
        published(
            "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            4_422_102,
        ),
        published(
            "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            5_148,
        ),
    ),
)  # fmt: skip
FORMS = (
    "the four gzipped IDX files of Fashion-MNIST in DIR, DIR/fashion_mnist or DIR/FashionMNIST/raw; or, with "
    "--trust, unpacked."
)

IDX_FILES = {
    key: IdxFile(file.name.removesuffix(".gz"), gzipped=file.sha256)
    for key, file in zip(
        ("train/images", "train/labels", "test/images", "test/labels"), FASHION_MNIST.files, strict=True
    )
}


def read(folder: Path, sums: Sums) -> Reading:
    return read_idx(folder, sums, IDX_FILES, ("fashion_mnist", "FashionMNIST/raw"))


# The twin cuts clothes out of trapezoids, painted one over the other: (center, top, bottom, half width at the
# top, half width at the bottom, brightness), in units of half the picture, y downward.
BODY = (0, -0.7, 0.8, 0.42, 0.4, 1.0)
LONG_SLEEVES = ((-0.62, -0.65, 0.75, 0.17, 0.13, 0.8), (0.62, -0.65, 0.75, 0.17, 0.13, 0.8))
SHORT_SLEEVES = ((-0.6, -0.65, -0.1, 0.25, 0.2, 0.8), (0.6, -0.65, -0.1, 0.25, 0.2, 0.8))
SOLE = (0.0, 0.55, 0.75, 0.85, 0.85, 1.0)
CLOTHES = (
    (*SHORT_SLEEVES, BODY, (0, -0.7, -0.5, 0.2, 0.1, 0)),
    ((0, -0.85, -0.4, 0.35, 0.4, 1), (-0.24, -0.4, 0.9, 0.17, 0.13, 1), (0.24, -0.4, 0.9, 0.17, 0.13, 1)),
    (*LONG_SLEEVES, BODY),
    ((0, -0.9, -0.2, 0.28, 0.2, 1), (0, -0.2, 0.9, 0.2, 0.5, 0.9)),
    (*LONG_SLEEVES, BODY, (0, -0.7, 0.8, 0.05, 0.05, 0)),
    (
        SOLE,
        (-0.45, 0.0, 0.55, 0.06, 0.12, 1),
        (0.2, 0.1, 0.55, 0.06, 0.25, 1),
        (0.6, 0.3, 0.55, 0.05, 0.1, 1),
    ),
    (*SHORT_SLEEVES, BODY, *((0, y, y + 0.06, 0.06, 0.06, 0.2) for y in (-0.6, -0.3, 0.0, 0.3, 0.6))),
    (SOLE, (-0.1, 0.0, 0.55, 0.4, 0.8, 0.7)),
    ((0, -0.7, -0.2, 0.35, 0.45, 0.7), (0, -0.55, -0.2, 0.25, 0.35, 0), (0, -0.2, 0.7, 0.75, 0.8, 1)),
    (SOLE, (0.4, -0.8, 0.55, 0.32, 0.4, 0.8), (-0.2, 0.15, 0.55, 0.3, 0.6, 0.8)),
)


def draw_clothes(rng: Rng, labels: Array) -> Array:
    """One 28x28 image per label: its trapezoids, of random size, place and cloth."""
    axis = (np.arange(28) - 13.5) / 14
    x, y = np.meshgrid(axis, axis)
    images = np.zeros((len(labels), 28, 28))
    for image, label in zip(images, labels, strict=True):
        width, height = rng.uniform(0.8, 1.05, 2)
        left, up = rng.uniform(-0.06, 0.06, 2)
        cloth = rng.uniform(0.55, 1) + rng.normal(0, 0.04, (28, 28))
        u, v = (x - left) / width, (y - up) / height
        for center, top, bottom, wide, low, brightness in CLOTHES[label]:
            half = wide + (low - wide) * (v - top) / (bottom - top)
            inside = (np.abs(u - center) < half) & (v > top) & (v < bottom)
            image[inside] = brightness * cloth[inside]
    return np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)


def twin(size: int, seed: int) -> Splits:
    return draw_splits(
        lambda rng, count: labeled(rng, count, 10, draw_clothes), size, seed, {"train": 1, "test": 4}
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(FASHION_MNIST, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
