"""Whose folder it is: what the run in it is, that no other run takes it, and that no two processes write to it at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from ndiv_lib.training.checkpoints import FORMAT, remove_unfinished


class RunMismatch(ValueError):
    """The folder holds another run than the one that was started in it."""


def claim_folder(folder: Path, identity: Mapping[str, Any], *, is_main: bool) -> IO[str] | None:
    """Write what this run is, or make sure that the folder holds the same.

    Args:
        folder: of the run.
        identity: its recipe, config, seed and number of processes; format and version are added.
        is_main: whether this is the process that writes.

    Returns:
        What the main process closes at its end, so that another may go on.

    Raises:
        RunMismatch: if it holds another run or none, or another process is at work on it.
    """
    added = {"format": FORMAT, "version": metadata.version("ndiv-lib")}
    now = json.loads(json.dumps(dict(identity) | added))
    path = folder / "run.json"
    if path.is_file():
        _compare(folder, read_identity(folder), now)
    elif is_main:
        partial = path.with_suffix(".partial")  # of a start that was killed
        if folder.is_dir() and any(entry != partial for entry in folder.iterdir()):
            raise RunMismatch(f"{folder}: is neither empty nor a run; choose another folder.")
        folder.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(now, indent=1) + "\n")
    if not is_main:
        return None
    lock = _locked(path)
    remove_unfinished(folder / "checkpoints")
    return lock


def read_identity(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What the run in a folder is: recipe, configuration, seed, versions.

    Raises:
        FileNotFoundError: if the folder holds no run.
        RunMismatch: if its description cannot be read.
    """
    path = Path(folder) / "run.json"
    try:
        identity: dict[str, Any] = json.loads(path.read_text())
        return identity | {"config": dict(identity["config"])}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"{folder}: expected the folder of a run (with run.json), got none; ndiv train RECIPE --out DIR makes one."
        ) from error
    except (ValueError, LookupError, TypeError) as error:
        raise RunMismatch(
            f"{path}: cannot be read ({error}); remove the folder and start the run again."
        ) from error


def replace_text(path: Path, text: str) -> None:
    """Write a file so that it is at any moment the old or the new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)


def _compare(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in ("recipe", "format", "version", "seed", "num_processes"):
        if before.get(key) != now.get(key):
            raise RunMismatch(
                f"{folder}: holds a run of {key} {before.get(key)!r}, and this one has {now.get(key)!r}; "
                "choose another folder, or start what is there to go on with it."
            )
    old, new = before["config"], now["config"]
    changed = [key for key in old | new if old.get(key) != new.get(key)]
    if changed:
        said = ", ".join(f"{key} {old.get(key)!r} (now {new.get(key)!r})" for key in changed)
        raise RunMismatch(f"{folder}: holds a run with {said}; choose another folder.")


def _locked(path: Path) -> IO[str]:
    """The file, locked against a second start of the same command; the system takes the lock back however we end."""
    file = path.open("r+")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunMismatch(
            f"{path.parent}: another process is at work on this run; wait for it, or choose another folder."
        ) from error
    except (ImportError, OSError):  # Windows, and file systems without locks
        pass
    return file


def read_sittings(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Where each sitting of a run began, with its device, precision and version of PyTorch."""
    path = Path(folder) / "sittings.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
