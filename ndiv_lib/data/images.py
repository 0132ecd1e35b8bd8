"""Real image sets, as `data_scripts/` prepares them under `$NDIV_DATA` (default `data/`).

A set is a folder with `train.npz`, `test.npz` (images and labels, uint8) and `manifest.json`. Its procedural
twin has the same layout and comes through the same loader; `describe_images(name).twin` tells them apart.
"""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ndiv_lib._checks import check_choice

IMAGE_SHAPES = {"cifar10": (3, 32, 32), "mnist": (1, 28, 28)}
SPLITS = ("train", "test")
LAYOUT = 1  # of the prepared folder; data_scripts/_common.py writes it


@dataclass(frozen=True)
class ImageSet:
    """What a prepared set is and what may be done with it, as its manifest says."""

    name: str
    title: str
    twin: bool
    source: str
    license: str
    citation: str
    class_names: tuple[str, ...]
    num_images: dict[str, int]


def load_images(
    name: str, split: str, *, root: str | os.PathLike[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Load a prepared image set: images float32 (n, channels, height, width) in [-1, 1], labels int64 (n,).

    ``name`` is "mnist" (1x28x28) or "cifar10" (3x32x32, RGB), ``split`` "train" or "test", in the published
    order. ``root`` is the data folder, by default ``$NDIV_DATA``, else ``data``.

    Raises ``FileNotFoundError`` naming the script to run if it is not in place, and ``ValueError`` for an
    unknown name or split and for files that are damaged or not what the manifest describes.

    >>> load_images("mnist", "train", root="nowhere")
    Traceback (most recent call last):
    FileNotFoundError: nowhere/mnist: mnist is not in place; prepare it with `python data_scripts/mnist.py ...
    """
    check_choice(split, "split", SPLITS)
    num_images = describe_images(name, root=root).num_images[split]
    folder = data_root(root) / name
    path = folder / f"{split}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: missing or damaged ({error}); {_prepare(folder)}.") from error

    channels, height, width = IMAGE_SHAPES[name]
    stored = (num_images, height, width) + ((channels,) if channels > 1 else ())
    expected = f"uint8 images {stored} and uint8 labels {(num_images,)}"
    got = f"{images.dtype} images {images.shape} and {labels.dtype} labels {labels.shape}"
    if got != expected:
        raise ValueError(f"{path}: expected {expected}, got {got}; {_prepare(folder)}.")

    pixels = torch.from_numpy(images).view(num_images, height, width, channels).permute(0, 3, 1, 2)
    # Contiguous while still bytes: a quarter of the memory traffic.
    return pixels.contiguous().float().div_(127.5).sub_(1), torch.from_numpy(labels).long()


def describe_images(name: str, *, root: str | os.PathLike[str] | None = None) -> ImageSet:
    """Read what a prepared set says of itself: real or twin, source, license, citation, class names, counts.

    Raises ``FileNotFoundError`` naming the script to run if it is not in place, and ``ValueError`` for an
    unknown name or a manifest that cannot be read.

    >>> describe_images("imagenet")
    Traceback (most recent call last):
    ValueError: expected name to be one of 'cifar10', 'mnist', got 'imagenet'.
    """
    check_choice(name, "name", sorted(IMAGE_SHAPES))
    folder = data_root(root) / name
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["name"], manifest["layout"]
        if found != (name, LAYOUT):
            raise ValueError(f"expected {name} in layout {LAYOUT}, got {found[0]} in layout {found[1]}")
        return ImageSet(
            **{key: manifest[key] for key in ("name", "title", "twin", "source", "license", "citation")},
            class_names=tuple(manifest["class_names"]),
            num_images={split: manifest["arrays"][f"{split}/labels"]["shape"][0] for split in SPLITS},
        )
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{folder}: {name} is not in place; {_prepare(folder)}.") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{path}: not the manifest of a prepared set ({error}); {_prepare(folder)}."
        ) from error


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the prepared sets: ``root``, else ``$NDIV_DATA``, else ``data``.

    >>> data_root("sets").name
    'sets'
    """
    return Path(root if root is not None else os.environ.get("NDIV_DATA") or "data")


def _prepare(folder: Path) -> str:
    return (
        f"prepare it with `python data_scripts/{folder.name}.py --from DIR --to {folder.parent}`, "
        "or a small stand-in with `--twin` in place of `--from DIR`"
    )
