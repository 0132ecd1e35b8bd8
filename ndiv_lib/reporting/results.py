"""Recorded results: every number a reader sees, with what is needed to trace and to repeat it."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import platform
import resource
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

RECORDED = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Result:
    """What one cell of an experiment measured, one value per seed.

    Args:
        recipe: name of the recipe, for example ``"donut"``.
        cell: name of the cell, for example ``"paper-n256"``; unique within the recipe.
        config: every field of the recipe's configuration.
        seeds: the seeds, in the order of the values.
        values: metric name to one number per seed.
        n_real: number of real samples a generator was trained on.
        n_generated: number of generated samples that were measured.
        minutes: processor minutes for all seeds together; of runs in folders, minutes by the clock.
        device: what it ran on.
        revision: git revision of the code, with ``+`` for uncommitted changes.
        versions: versions of what computes.
        peak_memory_mb: largest resident memory of the process in MB; on a GPU, the largest memory allocated there.
        date: day of the (last) run.
    """

    recipe: str
    cell: str
    config: dict[str, Any]
    seeds: list[int]
    values: dict[str, list[float]]
    n_real: int
    n_generated: int
    minutes: float
    device: str = "cpu"
    revision: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    peak_memory_mb: float = 0.0
    date: str = ""

    def __post_init__(self) -> None:
        for metric, values in self.values.items():
            if len(values) != len(self.seeds):
                raise ValueError(
                    f"expected one value of {metric!r} for each of {len(self.seeds)} seeds, got {len(values)} in "
                    f"{self.recipe}/{self.cell}."
                )

    def extended(self, other: Result) -> Result:
        """This result with the seeds of another run of the same cell added.

        Raises:
            ValueError: if the other run has another configuration, or a seed that is already here.
        """
        if other.config != self.config:
            raise ValueError(
                f"expected runs of one configuration to join in {self.recipe}/{self.cell}; remove the old file first."
            )
        if set(other.seeds) & set(self.seeds):
            raise ValueError(
                f"expected new seeds for {self.recipe}/{self.cell}, got {sorted(set(other.seeds) & set(self.seeds))} again."
            )
        return dataclasses.replace(
            other,
            seeds=self.seeds + other.seeds,
            values={metric: self.values[metric] + values for metric, values in other.values.items()},
            minutes=self.minutes + other.minutes,
            peak_memory_mb=max(self.peak_memory_mb, other.peak_memory_mb),
        )


def stamp(result: Result) -> Result:
    """The result with revision, versions, peak memory and date of this process filled in."""
    packages = ("torch", "numpy")
    return dataclasses.replace(
        result,
        revision=_git_revision(),
        versions={"python": platform.python_version()} | {name: metadata.version(name) for name in packages},
        peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        date=datetime.date.today().isoformat(),
    )


def save(
    result: Result,
    folder: str | os.PathLike[str] = RECORDED,
    *,
    arrays: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write ``<folder>/<recipe>/<cell>.json`` (and ``.npz`` for arrays) atomically; return the JSON path."""
    path = Path(folder) / result.recipe / f"{result.cell}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    if arrays:
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, allow_pickle=False, **arrays)
        partial.replace(path.with_suffix(".npz"))
    return write(result, path)


def write(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write a result to a JSON file of any name, atomically; return its path."""
    path = Path(path)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(_rounded(dataclasses.asdict(result)), indent=1) + "\n")
    partial.replace(path)
    return path


def load(recipe: str, cell: str, *, folder: str | os.PathLike[str] = RECORDED) -> Result:
    """Read a recorded result.

    Raises:
        FileNotFoundError: if the cell is not recorded; the message lists what is.

    Example:
        >>> load("donut", "real-n256").n_generated
        5000
    """
    path = Path(folder) / recipe / f"{cell}.json"
    if not path.is_file():
        known = ", ".join(recorded_cells(recipe, folder=folder)) or "nothing"
        raise FileNotFoundError(
            f"expected a recorded result {recipe}/{cell}, got none; recorded for {recipe!r}: {known}."
        )
    return Result(**json.loads(path.read_text()))


def load_arrays(
    recipe: str, cell: str, *, folder: str | os.PathLike[str] = RECORDED
) -> dict[str, np.ndarray]:
    """Read the arrays saved with a result.

    Raises:
        FileNotFoundError: if there are none.
    """
    path = Path(folder) / recipe / f"{cell}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"expected arrays saved with {recipe}/{cell}, got none.")
    with np.load(path) as stored:
        return dict(stored)


def recorded_cells(recipe: str, *, folder: str | os.PathLike[str] = RECORDED) -> list[str]:
    """Names of a recipe's recorded cells, sorted."""
    return sorted(path.stem for path in (Path(folder) / recipe).glob("*.json"))


def bootstrap_interval(
    *groups: Sequence[float],
    statistic: Callable[..., Any] = lambda group: np.median(group, axis=-1),
    level: float = 0.95,
    num_resamples: int = 4000,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic over seeds; several groups are resampled independently.

    Args:
        groups: one or more sequences of per-seed values.
        statistic: maps the resampled groups, each ``(num_resamples, seeds)``, to ``(num_resamples,)``; the median if not given.
        level: coverage of the interval.
        num_resamples: fixed seed, so that a verdict never changes by itself.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: for an empty group.

    Example:
        >>> low, high = bootstrap_interval([0.9, 0.91, 0.92, 0.95, 0.99])
        >>> bool(0.9 <= low <= 0.92 <= high <= 0.99)
        True
    """
    if not groups or any(len(group) == 0 for group in groups):
        raise ValueError("expected at least one value in each group to bootstrap, got an empty group.")
    random = np.random.default_rng(0)
    resampled = [
        np.asarray(group, dtype=float)[random.integers(len(group), size=(num_resamples, len(group)))]
        for group in groups
    ]
    low, high = np.quantile(statistic(*resampled), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def median_difference_interval(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of ``median(first) - median(second)``."""
    return bootstrap_interval(
        first, second, statistic=lambda a, b: np.median(a, axis=-1) - np.median(b, axis=-1)
    )


def _git_revision() -> str:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return f"ndiv-lib {metadata.version('ndiv-lib')}"


def _rounded(value: Any) -> Any:
    """Six significant digits: enough for every table, and small differences of machines do not show up in git."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
