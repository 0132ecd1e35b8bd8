"""Real image sets, as `data_scripts/` prepares them under `$NDIV_DATA` (default `data/`).

A set is a folder with one `.npz` of bytes for each split and `manifest.json`. Its procedural twin has the same
layout and comes through the same loader; `describe_images(name).twin` tells them apart.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ndiv_lib._checks import check_choice

IMAGE_SHAPES = {
    "celeba": (3, 64, 64),
    "cifar10": (3, 32, 32),
    "fashion_mnist": (1, 28, 28),
    "mnist": (1, 28, 28),
    "stl10": (3, 96, 96),
}
PAIR_SHAPES = {"facades": (3, 256, 256), "maps": (3, 256, 256)}
SPLITS = ("train", "test")
MORE_SPLITS = {"celeba": ("train", "valid", "test"), "stl10": ("train", "test", "unlabeled")}
LAYOUT = 1  # of the prepared folder; data_scripts/_layout.py writes it


@dataclass(frozen=True)
class ImageSet:
    """What a prepared set is and what may be done with it, as its manifest says.

    ``verified``: every byte had a published checksum; not so for a twin, nor for files that were taken on trust.
    """

    name: str
    title: str
    twin: bool
    verified: bool
    source: str
    license: str
    citation: str
    class_names: tuple[str, ...]
    num_images: dict[str, int]


class Pairs(NamedTuple):
    """Photos and the maps they belong to, both float32 (n, 3, 256, 256) in [-1, 1]; row i is one pair."""

    photos: Tensor
    maps: Tensor


def load_bytes(name: str, split: str, *, root: str | os.PathLike[str] | None = None) -> tuple[Tensor, Tensor]:
    """Load a prepared image set as bytes: images uint8 (n, channels, height, width), labels int64 (n,).

    ``name`` is "mnist" or "fashion_mnist" (1x28x28), "cifar10" (3x32x32), "celeba" (3x64x64) or "stl10"
    (3x96x96; all colors RGB). ``split`` is "train" or "test"; "celeba" has "valid" too, "stl10" "unlabeled". Images come
    in the published order. Where a set has no classes ("celeba", and "unlabeled" of "stl10") every label is -1.
    ``root`` is the data folder, by default ``$NDIV_DATA``, else ``data``.

    A quarter of the memory of ``load_images``: what trains on a large set keeps it like this, and turns each batch
    into numbers in [-1, 1] by ``batch.float().div(127.5).sub(1)``.

    Raises ``FileNotFoundError`` naming the script to run if the set is not in place, and ``ValueError`` for an
    unknown name or split and for files that are damaged or not what the manifest describes.

    >>> load_bytes("stl10", "train", root="nowhere")
    Traceback (most recent call last):
    FileNotFoundError: nowhere/stl10: stl10 is not in place; prepare it with `python data_scripts/stl10.py ...
    """
    check_choice(name, "name", sorted(IMAGE_SHAPES))
    if name == "celeba" or split == "unlabeled":
        (images,) = _load_arrays(name, split, root, "images")
        return images, torch.full((len(images),), -1)
    images, labels = _load_arrays(name, split, root, "images", "labels")
    return images, labels.long()


def load_images(
    name: str, split: str, *, root: str | os.PathLike[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Load a prepared image set: images float32 (n, channels, height, width) in [-1, 1], labels int64 (n,).

    Names, splits, labels and errors are those of ``load_bytes``.

    >>> load_images("mnist", "train", root="nowhere")
    Traceback (most recent call last):
    FileNotFoundError: nowhere/mnist: mnist is not in place; prepare it with `python data_scripts/mnist.py ...
    """
    images, labels = load_bytes(name, split, root=root)
    return _as_floats(images), labels


def load_pairs(name: str, split: str, *, root: str | os.PathLike[str] | None = None) -> Pairs:
    """Load pairs of a photo and a map of it: ``Pairs`` of float32 (n, 3, 256, 256) in [-1, 1], RGB.

    ``name`` is "facades" (photos of house fronts, label maps drawn in colors) or "maps" (aerial photos, street
    maps), ``split`` "train" or "test".

    Raises as ``load_bytes`` does.

    >>> load_pairs("facades", "train", root="nowhere")
    Traceback (most recent call last):
    FileNotFoundError: nowhere/facades: facades is not in place; prepare it with `python data_scripts/facades.py ...
    """
    check_choice(name, "name", sorted(PAIR_SHAPES))
    photos, maps = _load_arrays(name, split, root, "photos", "maps")
    return Pairs(_as_floats(photos), _as_floats(maps))


def describe_images(name: str, *, root: str | os.PathLike[str] | None = None) -> ImageSet:
    """Read what a prepared set says of itself: real or twin, source, license, citation, class names, counts.

    Raises ``FileNotFoundError`` naming the script to run if it is not in place, and ``ValueError`` for an
    unknown name or a manifest that cannot be read.

    >>> describe_images("imagenet")
    Traceback (most recent call last):
    ValueError: expected name to be one of 'celeba', 'cifar10', ..., got 'imagenet'.
    """
    check_choice(name, "name", sorted(IMAGE_SHAPES | PAIR_SHAPES))
    folder = data_root(root) / name
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["name"], manifest["layout"]
        if found != (name, LAYOUT):
            raise ValueError(f"expected {name} in layout {LAYOUT}, got {found[0]} in layout {found[1]}")
        counted = "photos" if name in PAIR_SHAPES else "images"
        return ImageSet(
            **{key: manifest[key] for key in ("name", "title", "twin", "source", "license", "citation")},
            verified=bool(manifest.get("verified", not manifest["twin"])),  # once there was no other way
            class_names=tuple(manifest["class_names"]),
            num_images={
                split: manifest["arrays"][f"{split}/{counted}"]["shape"][0]
                for split in MORE_SPLITS.get(name, SPLITS)
            },
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(_not_in_place(folder)) from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: not the manifest of a prepared set ({error}); {_prepare(folder)}."
        ) from error


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the prepared sets: ``root``, else ``$NDIV_DATA``, else ``data``.

    >>> data_root("sets").name
    'sets'
    """
    return Path(root if root is not None else os.environ.get("NDIV_DATA") or "data")


def _not_in_place(folder: Path) -> str:
    """What is wrong with a folder that holds no set, and what to do."""
    what = f"{folder}: {folder.name} is not in place"
    if (folder.parent / "manifest.json").is_file():
        return (
            f"{what}, because {folder.parent} is the folder of one set; set NDIV_DATA to the folder above it."
        )
    if folder.parent.is_file() or folder.is_file():
        what += ", because there is a file where a folder should be"
    elif folder.is_dir():
        what += ", because its folder has no manifest.json, so no script has finished it"
    return f"{what}; {_prepare(folder)}."


def _load_arrays(name: str, split: str, root: str | os.PathLike[str] | None, *keys: str) -> list[Tensor]:
    """The arrays of a split, all uint8, as many as the manifest says: pictures (n, channels, height, width), labels (n,)."""
    check_choice(split, "split", MORE_SPLITS.get(name, SPLITS))
    count = describe_images(name, root=root).num_images[split]
    folder = data_root(root) / name
    path = folder / f"{split}.npz"
    channels, height, width = (IMAGE_SHAPES | PAIR_SHAPES)[name]
    pixels = (height, width) + ((channels,) if channels > 1 else ())
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in keys}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: missing or damaged ({error}); {_prepare(folder)}.") from error
    expected = " and ".join(
        f"uint8 {key} {(count,) if key == 'labels' else (count, *pixels)}" for key in keys
    )
    got = " and ".join(f"{array.dtype} {key} {array.shape}" for key, array in arrays.items())
    if got != expected:
        raise ValueError(f"{path}: expected {expected}, got {got}; {_prepare(folder)}.")
    return [
        # Contiguous while still bytes: a quarter of the memory traffic.
        tensor.view(count, height, width, channels).permute(0, 3, 1, 2).contiguous()
        if tensor.ndim > 1
        else tensor
        for tensor in map(torch.from_numpy, arrays.values())
    ]


def _as_floats(pixels: Tensor) -> Tensor:
    return pixels.float().div_(127.5).sub_(1)


def _prepare(folder: Path) -> str:
    return (
        f"prepare it with `python data_scripts/{folder.name}.py --to {folder.parent}`, or `ndiv data {folder.name} --to "
        f"{folder.parent}`; add `--from DIR` if the files are at hand, or `--twin` for a small stand-in"
    )
