"""Checkpoints: everything a run needs to go on exactly where it was, or nothing.

A checkpoint is a folder ``step-00001200`` with ``tensors.safetensors`` and ``state.json``, which holds the structure around the
tensors and the sha256 of both. It is written beside its place and renamed into it, so that a process killed at any moment
leaves whole checkpoints only. Nothing is pickled: a checkpoint from elsewhere can hold numbers, and no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ndiv_lib._checks import require

FORMAT = 1
_TENSORS, _STATE, _WORKSHOP = "tensors.safetensors", "state.json", ".writing-"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message says what is kept and what to do."""


def write_checkpoint(
    folder: str | os.PathLike[str], step: int, state: Mapping[str, Any], *, keep: int = 2
) -> Path:
    """Write the state after ``step`` whole or not at all, and remove all but the newest ``keep`` checkpoints.

    Args:
        folder: of the run's checkpoints; made if it is not there.
        step: number of finished steps.
        state: dictionaries, lists and tuples of tensors, numbers, strings, booleans and None, as ``state_dict()`` returns.
        keep: how many checkpoints stay, >= 1.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError: if it cannot be written (no space, no permission); earlier checkpoints are untouched.
        TypeError: for a value or a key that is none of the above.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_checkpoint(folder, 7, {"weights": torch.ones(2), "epoch": 3})
        ...     step, state = read_checkpoint(folder)
        >>> step, state["epoch"], state["weights"]
        (7, 3, tensor([1., 1.]))
    """
    folder = Path(folder)
    place = folder / f"step-{step:08d}"
    tensors: dict[str, Tensor] = {}
    structure = _pack(state, tensors)
    try:
        workshop = folder / f"{_WORKSHOP}{place.name}"
        shutil.rmtree(workshop, ignore_errors=True)
        workshop.mkdir(parents=True)
        try:
            _write(workshop / _TENSORS, require("safetensors.torch", "train").save(tensors))
            document = {"format": FORMAT, "step": step, "state": structure}
            document["sha256"] = _sha256(workshop / _TENSORS, document)
            _write(workshop / _STATE, json.dumps(document).encode())
            _sync(workshop)
            if place.exists():  # the same step once more, after one that turned out damaged
                shutil.rmtree(place)
            os.rename(workshop, place)
            _sync(folder)
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    except OSError as error:
        names = ", ".join(path.name for path in checkpoints(folder)) or "none"
        raise CheckpointError(
            f"cannot write the checkpoint of step {step} to {folder}: {error.strerror or error}. Kept: {names}. "
            f"Make room (it takes {_megabytes(tensors)} MB) or mend the folder, and start the same command again."
        ) from error
    kept = [path for path in checkpoints(folder) if path <= place][-keep:]
    for path in checkpoints(folder):
        if (
            path not in kept
        ):  # old ones; and later ones, which were damaged, or the run would not have gone back
            shutil.rmtree(path, ignore_errors=True)
    return place


def read_checkpoint(
    folder: str | os.PathLike[str], *, report: Callable[[str], None] = print
) -> tuple[int, dict[str, Any]] | None:
    """Step and state of the newest whole checkpoint, tensors on the CPU; None if there is no checkpoint.

    A damaged checkpoint is reported and passed over, as the one before it is as good a place to go on from.

    Raises:
        CheckpointError: for a checkpoint of another format, or if there are checkpoints but none is whole.
    """
    found = checkpoints(folder)
    for place in reversed(found):
        try:
            document = json.loads((place / _STATE).read_text())
            if document["format"] != FORMAT:
                raise CheckpointError(
                    f"{place}: expected a checkpoint of format {FORMAT}, got format {document['format']}; "
                    "read it with the version of ndiv_lib that wrote it, or start in a new folder."
                )
            if _sha256(place / _TENSORS, document) != document["sha256"]:
                raise ValueError("its content is not what was written")
            tensors = require("safetensors.torch", "train").load_file(place / _TENSORS)
            return document["step"], _unpack(document["state"], tensors)
        except (OSError, ValueError, LookupError, TypeError) as error:
            report(f"{place}: damaged ({error}); going back to the checkpoint before it.")
    if found:
        raise CheckpointError(f"{folder}: no whole checkpoint among {len(found)}; remove them to start anew.")
    return None


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(Path(folder).glob("step-*"))


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove what killed processes left of checkpoints that they were writing; only while no other process writes here."""
    for workshop in Path(folder).glob(f"{_WORKSHOP}*"):
        shutil.rmtree(workshop, ignore_errors=True)


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The structure of a state as JSON, its tensors put aside under running numbers."""
    if isinstance(value, Tensor):
        key = str(len(tensors))
        channels_last = value.ndim == 4 and not value.is_contiguous() and _is_channels_last(value)
        tensors[key] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": key, "channels_last": channels_last}
    if isinstance(value, Mapping):  # keys may be numbers: those of an optimizer's state are
        for key in value:
            if not isinstance(key, str | int):
                raise TypeError(f"expected strings or integers as keys of a state, got {key!r}.")
        return {"mapping": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"expected a state of tensors, numbers, strings, dictionaries and lists, got {type(value).__name__}; "
        "nothing is pickled."
    )


def _unpack(structure: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(structure, dict):
        return structure
    if "tensor" in structure:
        tensor = tensors[structure["tensor"]]
        return tensor.to(memory_format=torch.channels_last) if structure["channels_last"] else tensor
    if "mapping" in structure:
        return {key: _unpack(item, tensors) for key, item in structure["mapping"]}
    (kind,) = structure
    return {"tuple": tuple, "list": list}[kind](_unpack(item, tensors) for item in structure[kind])


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last)


def _write(path: Path, content: bytes) -> None:
    """Write and wait until it is on the disk: a renamed file whose content is still on its way is a torn one."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    if os.name == "posix":  # elsewhere folders cannot be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sha256(tensors: Path, document: Mapping[str, Any]) -> str:
    """Of the tensors' file and of all that the document says beside this sum."""
    with tensors.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps({key: document[key] for key in ("format", "step", "state")}).encode())
    return digest.hexdigest()


def _megabytes(tensors: Mapping[str, Tensor]) -> int:
    return 1 + sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) // 2**20
