"""Fetch CIFAR-10, verify it and prepare it for `ndiv_lib.data.load_images("cifar10", split)`.

    python data_scripts/cifar10.py               fetch the archive (170 MB), write $NDIV_DATA/cifar10
    python data_scripts/cifar10.py --from DIR    the same from files at hand in DIR
    python data_scripts/cifar10.py --twin        a small procedural stand-in in the same layout

`--to OUT` writes OUT/cifar10; without it and without NDIV_DATA in the environment the set goes to data/cifar10.
DIR is, or holds, one of three forms:

    cifar-10-python.tar.gz   the published archive (or --from the file itself), read in place, not unpacked
    cifar-10-batches-py/     its six batches, unpacked: data_batch_1 ... data_batch_5, test_batch
    *.webp and labels.npz    lossless WebP sheets, one per batch: tiles of 32x32, row by row in the published
                             order, and a uint8 array of labels for each, keyed by its name (needs Pillow)

DIR/cifar10 and DIR/cifar-10-batches-py are searched too. A batch is a pickle: it is opened only once it has
the sha256 of the published file, and then by a reader that knows no more than lists, dictionaries and byte
arrays. Whatever the form, decoded images and labels of every batch are verified.

50,000 training and 10,000 test photographs, 32x32, RGB, ten classes.
License: the authors state none and ask for a citation.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # run by path, from wherever

from _archives import read_members
from _checks import Array, DataError, File, Sums, check_sum, refuse_web_page, sha256
from _command import run
from _common import DataSet, Reading, Splits, first_existing
from _twins import draw_splits, gratings, labeled

CIFAR10 = DataSet(
    name="cifar10",
    title="CIFAR-10",
    license="none stated by the authors, who ask for a citation",
    citation="A. Krizhevsky, 'Learning Multiple Layers of Features from Tiny Images', 2009.",
    page="https://www.cs.toronto.edu/~kriz/cifar.html",
    shape=(32, 32, 3),
    counts={"train": 50_000, "test": 10_000},
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    files=(
        File(
            "cifar-10-python.tar.gz",
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            170_498_071,
            (
                "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
                "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
            ),
        ),
    ),
    sha256={
        "train/images": "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "train/labels": "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
        "test/images": "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "test/labels": "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    },
)
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
FORMS = f"{ARCHIVE}, or the six batches of {FOLDER}, or lossless WebP sheets, one per batch, and labels.npz."

# sha256 of every published batch file (with the published md5), of its images as (10000, 32, 32, 3) and
# of its labels, both uint8.
BATCHES = {
    "data_batch_1": (
        "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
        "fc115a3de050d667b88cbd5b0b9612ebf996c54230fe7758f3a14bb5af9a1c27",
        "d829dbdf32167c9d7b3687cee66d92d80d46c441308b5aca0d11e8b69e27dac9",
    ),
    "data_batch_2": (
        "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
        "89e609b642f687bc796fa3bfa4211005582a0e8131d463d996d11ddb297d312e",
        "5d18f7371ed35ea9ade77952fe958b0660a45cd6c8b8a8970030f21612cfd7e3",
    ),
    "data_batch_3": (
        "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
        "93a365823e61729490a8801d80864ccd0ab1e8c98f19d71af65644d1c5f1486e",
        "32cf77b0ee2e790b1c4384d2d82e42dc1571b87e67f6da8f444b2725b2973f65",
    ),
    "data_batch_4": (
        "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
        "809eb95ecd057a36516318f5023ea619009dd70dd38193db9da43125a928e6fa",
        "d2815e3f8f656272864920fc0edde56b04ec9cf81bf397c0dd3069f4aea51aeb",
    ),
    "data_batch_5": (
        "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
        "d05b7d66d216d6df882cc760cdc0ff2f1f0437abf699ed16005c021ef0add9cb",
        "2ddf3ab27d5d04409c94ce7b56849c243129c10de1058ae0bfe14c77e934800c",
    ),
    "test_batch": (
        "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
}
LARGEST = 64 * 2**20  # a published batch has about 31 MB

Batch = tuple[Array, Array]  # images (n, 32, 32, 3), labels (n,)


class BatchUnpickler(pickle.Unpickler):
    """Knows the three names that a batch needs to hold a byte array, and refuses every other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.ndarray([]).__reduce__()[0]
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise pickle.UnpicklingError(f"a batch has no use for {module}.{name}")


def parse_batch(data: bytes, what: str, name: str) -> Batch:
    """Images and labels of a python batch, opened only if it is the published file to the bit."""
    refuse_web_page(Path(what), data[:64])
    check_sum(f"{what} ({len(data):,} bytes)", expected=BATCHES[name][0], got=sha256(data))
    try:
        batch = BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise DataError(f"{what}: not a CIFAR-10 batch ({error}). Fetch the file again.") from error
    images = batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), np.array(batch[b"labels"], dtype=np.uint8)


def read_archive(path: Path) -> Iterator[tuple[str, Batch]]:
    """The batches inside the published archive, in its order; no member is ever written to disk."""
    for member in read_members(path, largest=LARGEST):
        if member.name.parent.name == FOLDER and member.name.name in BATCHES:
            name = member.name.name
            yield name, parse_batch(member.content.read(), f"{path}: {member.name}", name)


def read_batches(folder: Path) -> Iterator[tuple[str, Batch]]:
    for name in BATCHES:
        path = folder / name
        if not path.is_file():
            raise DataError(f"{path}: missing. Expected all six batches there: {', '.join(BATCHES)}.")
        with path.open("rb") as file:
            yield name, parse_batch(file.read(LARGEST), str(path), name)


def read_sheets(folder: Path) -> Iterator[tuple[str, Batch]]:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise DataError("WebP sheets need Pillow: pip install pillow") from error

    path = folder / "labels.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            labels = {name: np.asarray(stored[name]) for name in BATCHES}
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing. Expected it beside the WebP sheets.") from error
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: expected one uint8 array for every batch, got {error}. Fetch the file again."
        ) from error
    for name in BATCHES:
        path = folder / f"{name}.webp"
        if not path.is_file():
            raise DataError(f"{path}: missing. Expected one sheet for every batch: {', '.join(BATCHES)}.")
        with path.open("rb") as file:
            refuse_web_page(path, file.read(64))
        try:
            with Image.open(path, formats=["WEBP"]) as image:
                sheet = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path}: not a readable WebP image ({error}). Fetch the file again.") from error
        yield name, (cut_tiles(sheet, path), labels[name])


def cut_tiles(sheet: Array, path: Path) -> Array:
    """(32 rows, 32 columns, 3) -> (rows columns, 32, 32, 3), row by row."""
    height, width, _ = sheet.shape
    if height % 32 or width % 32:
        raise DataError(
            f"{path}: expected a sheet of 32x32 tiles, got {height}x{width} pixels. Fetch the file again."
        )
    return sheet.reshape(height // 32, 32, width // 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)


def find(source: Path) -> tuple[Iterator[tuple[str, Batch]], str]:
    """The form in which the set lies under `source`, as a reader of its batches and a name for it."""
    if source.is_file():
        return read_archive(source), ARCHIVE
    places = [source, source / "cifar10", source / FOLDER]
    forms: list[tuple[str, str, Callable[[Path], Iterator[tuple[str, Batch]]]]] = [
        ("data_batch_1", "the six python batches", lambda path: read_batches(path.parent)),
        (ARCHIVE, ARCHIVE, read_archive),
        ("data_batch_1.webp", "lossless WebP sheets", lambda path: read_sheets(path.parent)),
    ]
    for file, form, reader in forms:
        path = first_existing(place / file for place in places)
        if path is not None:
            return reader(path), form
    raise DataError(
        f"{source}: no CIFAR-10 here, nor in cifar10/ or {FOLDER}/ below it. Expected under --from: {FORMS}"
    )


def read(source: Path, sums: Sums) -> Reading:
    batches, form = find(source)
    verified: dict[str, Batch] = {}
    for name, (images, labels) in batches:
        _, images_sha256, labels_sha256 = BATCHES[name]
        check_sum(f"{source}: images of {name}, decoded", expected=images_sha256, got=sha256(images))
        check_sum(f"{source}: labels of {name}", expected=labels_sha256, got=sha256(labels))
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            got = f"{labels.dtype} {labels.shape}"
            raise DataError(f"{source}: labels of {name}: expected uint8 {images.shape[:1]}, got {got}.")
        verified[name] = images, labels
    if missing := [name for name in BATCHES if name not in verified]:
        raise DataError(f"{source}: {', '.join(missing)} missing from {form}. Fetch it again.")
    train = [verified[name] for name in BATCHES if name != "test_batch"]
    images, labels = verified["test_batch"]
    splits: Splits = {
        "train": {
            "images": np.concatenate([i for i, _ in train]),
            "labels": np.concatenate([k for _, k in train]),
        },
        "test": {"images": images, "labels": labels},
    }
    return Reading(splits, form, sums)


def twin(size: int, seed: int) -> Splits:
    def draw(rng: np.random.Generator, count: int) -> dict[str, Array]:
        return labeled(rng, count, 10, lambda rng, labels: gratings(rng, labels, 32))

    return draw_splits(draw, size, seed, {"train": 1, "test": 4})


def main(argv: Sequence[str] | None = None) -> int:
    return run(CIFAR10, read, twin, forms=FORMS, argv=argv)


if __name__ == "__main__":
    sys.exit(main())
