"""What the data scripts share: how a set is described, and what reading it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from _checks import Array, File, Sums

Splits = dict[str, dict[str, Array]]  # {"train": {"images": ..., "labels": ...}, "test": ...}


@dataclass(frozen=True)
class DataSet:
    """A data set as published: what it is, what may be done with it, where it lies, how to know it."""

    name: str
    title: str
    license: str
    citation: str
    page: str  # for people: where it is described and, if all else fails, fetched by hand
    shape: tuple[int, ...]  # of one image
    counts: Mapping[str, int]  # images of every split
    class_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    by_hand: str = ""  # why it is not fetched, and what to do
    sha256: Mapping[str, str] = field(default_factory=dict)  # of the prepared arrays, where they have one
    twin_size: int = 1000


@dataclass(frozen=True)
class Reading:
    """What a script read: the arrays, the form they came in, the sums of the files where arrays have none."""

    splits: Splits
    source: str
    sums: Sums = field(default_factory=Sums)


def first_existing(paths: Iterable[Path]) -> Path | None:
    return next((path for path in paths if path.exists()), None)


def first_array(arrays: Mapping[str, Array]) -> Array:
    return next(iter(arrays.values()))
