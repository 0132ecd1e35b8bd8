"""Fetch MNIST, verify it and prepare it for `ndiv_lib.data.load_images("mnist", split)`.

    python data_scripts/mnist.py                       fetch the four files (12 MB), write $NDIV_DATA/mnist
    python data_scripts/mnist.py --from DIR            the same from files at hand in DIR
    python data_scripts/mnist.py --twin                a small procedural stand-in in the same layout

`--to OUT` writes OUT/mnist; without it and without NDIV_DATA in the environment the set goes to data/mnist.
DIR holds the four published IDX files, unpacked or gzipped, under their usual names (`train-images-idx3-ubyte`
or `train-images.idx3-ubyte`, with or without `.gz`); DIR/mnist and DIR/MNIST/raw are searched too. The sha256
of the unpacked file decides, so any gzip wrapping will do.

60,000 training and 10,000 test images of handwritten digits, 28x28, gray.
License: CC BY-SA 3.0, as commonly stated.
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
from _twins import draw_splits, labeled

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)


def published(name: str, sha256: str, size: int) -> File:
    return File(name, sha256, size, tuple(mirror + name for mirror in MIRRORS))


MNIST = DataSet(
    name="mnist",
    title="MNIST",
    license="CC BY-SA 3.0, as commonly stated",
    citation="Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, 'Gradient-based learning applied to document "
    "recognition', Proceedings of the IEEE 86(11), 1998.",
    page="http://yann.lecun.com/exdb/mnist/",
    shape=(28, 28),
    counts={"train": 60_000, "test": 10_000},
    class_names=tuple("0123456789"),
    files=(
        published(
            "train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            9_912_422,
        ),
        published(
            "train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            28_881,
        ),
        published(
            "t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            1_648_877,
        ),
        published(
            "t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            4_542,
        ),
    ),
    sha256={
        "train/images": "741c988805d008ac6e4c904b69001ba184c24b2c540a4ef403f4c71b676cf757",
        "train/labels": "1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
        "test/images": "6d87418db22cc8025d05968bec9bd5c3932904b23485740db143a061a2c9d161",
        "test/labels": "ddeff807876a9661a1110d45c266c86239a3a1b7d37da0c3716a7a683c852ff5",
    },
)
FORMS = "the four IDX files of MNIST, unpacked or gzipped, in DIR, DIR/mnist or DIR/MNIST/raw."

IDX_FILES = {
    "train/images": IdxFile(
        "train-images-idx3-ubyte",
        unpacked="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train/labels": IdxFile(
        "train-labels-idx1-ubyte",
        unpacked="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test/images": IdxFile(
        "t10k-images-idx3-ubyte",
        unpacked="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "test/labels": IdxFile(
        "t10k-labels-idx1-ubyte",
        unpacked="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


def read(folder: Path, sums: Sums) -> Reading:
    return read_idx(folder, sums, IDX_FILES, ("mnist", "MNIST/raw"))


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
    return draw_splits(
        lambda rng, count: labeled(rng, count, 10, draw_digits), size, seed, {"train": 1, "test": 4}
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run(MNIST, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
