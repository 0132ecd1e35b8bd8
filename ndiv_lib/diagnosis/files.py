"""Samples from folders of images and from `.npz` files; what cannot be read is named, nothing is skipped or resized."""

from __future__ import annotations

import os
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ndiv_lib._checks import require

_NAMED = 5  # files named in a message


class Samples(NamedTuple):
    """Images ``(n, 1 | 3, H, W)`` in [-1, 1] or vectors ``(n, d)``, and a condition for each, or None."""

    samples: Tensor
    conditions: list[str] | None


def read_samples(path: str | os.PathLike[str], *, conditions: bool = False) -> Samples:
    """Read a folder of images, or an ``.npz`` file.

    A folder is read with its subfolders; hidden files (their names begin with a dot) do not count. In an ``.npz`` file the
    array ``images`` holds bytes ``(n, H, W)`` or ``(n, H, W, 1 | 3)``, or floats ``(n, 1 | 3, H, W)`` in [-1, 1]; or the only
    array holds vectors ``(n, d)``.

    Args:
        path: the folder or file.
        conditions: read conditions too: the names of the subfolders that hold the images, or the array ``labels``.

    Raises:
        FileNotFoundError: if there is no such folder or file.
        ValueError: for an empty folder, files that are no images or cannot be read, images of mixed sizes or kinds, images
            outside a subfolder where conditions are asked for, or arrays of another form.
        ImportError: without Pillow (extra ``train``), for folders.
    """
    source = Path(path)
    if source.is_dir():
        return _read_folder(source, conditions)
    if source.suffix == ".npz" and source.is_file():
        return _read_arrays(source, conditions)
    raise FileNotFoundError(f"expected a folder of images or an .npz file, got {source}, which is neither.")


def _read_folder(folder: Path, conditions: bool) -> Samples:
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise ValueError(f"expected images in {folder}, got an empty folder.")
    images, unreadable = [], []
    kinds: dict[str, list[str]] = defaultdict(list)
    for path in files:
        try:
            image = _read_image(path)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow raises SyntaxError for broken PNG files
            unreadable.append(f"{path.relative_to(folder)} ({error})")
            continue
        images.append(image)
        height, width, channels = image.shape
        kinds[f"{width}×{height} {'gray' if channels == 1 else 'color'}"].append(
            str(path.relative_to(folder))
        )
    if unreadable:
        raise ValueError(
            f"expected only images in {folder}, got {len(unreadable)} of {len(files)} files that cannot be read: "
            f"{_some(unreadable)}; move them elsewhere, or replace them."
        )
    if len(kinds) > 1:
        found = "; ".join(f"{len(names)} of {kind} ({_some(names)})" for kind, names in kinds.items())
        raise ValueError(f"expected images of one size and kind in {folder}, got {found}; bring them to one.")
    names = None
    if conditions:
        outside = [path.name for path in files if path.parent == folder]
        if outside:
            raise ValueError(
                f"expected every image of {folder} in a subfolder named after its condition, got {len(outside)} outside: "
                f"{_some(outside)}."
            )
        names = [path.parent.relative_to(folder).as_posix() for path in files]
    return Samples(_from_bytes(np.stack(images)), names)


def _read_image(path: Path) -> np.ndarray:
    """Bytes ``(H, W, 1 | 3)``; a palette is looked up, and a bitmap's two values become black and white."""
    pillow = require("PIL.Image", "train")
    with pillow.open(path) as image:
        if image.mode not in ("L", "RGB", "P", "1"):
            raise ValueError(f"image mode {image.mode}, expected 8-bit gray or RGB without transparency")
        if image.mode in ("P", "1"):
            image = image.convert("RGB" if image.mode == "P" else "L")
        pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _read_arrays(path: Path, conditions: bool) -> Samples:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: cannot be read ({error}).") from error
    others = [name for name in arrays if name != "labels"]
    if "images" not in arrays and len(others) != 1:
        raise ValueError(
            f"{path}: expected an array named images, or a single array, got {', '.join(arrays)}."
        )
    values = arrays["images" if "images" in arrays else others[0]]
    if values.dtype == np.uint8 and (values.ndim == 3 or (values.ndim == 4 and values.shape[-1] in (1, 3))):
        samples = _from_bytes(values if values.ndim == 4 else values[..., None])
    elif np.issubdtype(values.dtype, np.floating) and values.ndim in (2, 4):
        samples = torch.from_numpy(values).float()
    else:
        raise ValueError(
            f"{path}: expected bytes (n, H, W) or (n, H, W, 1 or 3), floats (n, 1 or 3, H, W) in [-1, 1], or float vectors "
            f"(n, d), got {values.dtype} {values.shape}."
        )
    if not conditions:
        return Samples(samples, None)
    if "labels" not in arrays:
        raise ValueError(
            f"{path}: expected an array named labels for the conditions, got {', '.join(arrays)}."
        )
    return Samples(samples, [str(label) for label in arrays["labels"].tolist()])


def _from_bytes(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
