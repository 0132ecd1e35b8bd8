"""The four IDX files in which MNIST and Fashion-MNIST are published, unpacked or gzipped."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _checks import Array, DataError, Sums, check_sum, refuse_web_page, sha256
from _common import Reading, Splits, first_existing

LARGEST = 64 * 2**20  # the largest of the four has 47,040,016 bytes; a gzip bomb stops here


class IdxFile(NamedTuple):
    """An IDX file by its usual name, with the sha256 of the unpacked or of the gzipped file as published."""

    name: str
    unpacked: str | None = None
    gzipped: str | None = None


def read_idx(folder: Path, sums: Sums, files: Mapping[str, IdxFile], places: tuple[str, ...]) -> Reading:
    """All four of `files` (by "train/images" and so on), from `folder` or one of `places` below it."""
    splits: Splits = {"train": {}, "test": {}}
    for key, file in files.items():
        path = find(folder, file.name, places)
        if file.gzipped is not None:
            sums.check_file(path, file.gzipped if path.suffix == ".gz" else None)
        data = unpacked(path)
        if file.unpacked is not None:
            check_sum(f"{path} (unpacked, {len(data):,} bytes)", expected=file.unpacked, got=sha256(data))
        split, kind = key.split("/")
        splits[split][kind] = parse_idx(data, path)
    return Reading(splits, "the four IDX files", sums)


def find(folder: Path, name: str, places: tuple[str, ...]) -> Path:
    spellings = [name, name.replace("-idx", ".idx")]
    below = [folder / place for place in places]
    found = first_existing(
        place / (s + suffix) for place in (folder, *below) for s in spellings for suffix in (".gz", "")
    )
    if found is None:
        raise DataError(
            f"{folder / name}[.gz]: missing (also looked in {', '.join(map(str, below))}). "
            "Expected under --from: the four IDX files, unpacked or gzipped."
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


def parse_idx(data: bytes, path: Path) -> Array:
    """An IDX file of unsigned bytes: 0 0 8 ndim, ndim big-endian sizes, the values."""
    ndim = data[3] if data[:3] == b"\0\0\x08" and len(data) > 3 else 0
    start = 4 + 4 * ndim
    shape = [int.from_bytes(data[i : i + 4], "big") for i in range(4, start, 4)]
    if not ndim or len(data) != start + int(np.prod(shape, dtype=object)):
        raise DataError(f"{path}: not an IDX file of bytes, or cut short. Fetch the file again.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
