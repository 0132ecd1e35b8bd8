"""Run recipes cell by cell and keep what they measured, so that a sweep can be stopped and goes on where it was."""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from ndiv_lib.reporting.results import Result, load, save, stamp
from ndiv_lib.training import RunMismatch, TrainingDiverged, read_sittings

RECIPES = (
    "loss_facts",
    "donut",
    "digits",
    "ring",
    "linear",
    "cubic",
    "isometry",
    "free_points",
    "ring_and_grid",
    "psd",
    "conditional",
    "weight_law",
    "feasibility",
    "ndiv_alone",
    "arc",
    "unfolding",
    "small_claims",
    "steering",
    "stopping",
    "stopping_logs",
    "hmgan_small_claims",
    "step_cost",
    "ratio_facts",
    "ratio_bound",
    "measuring",
    "diagnosis_trials",
    "remark",
    "branch_baselines",
    "spectral_facts",
    "phantom",
    "uncertainty",
    "two_ways",
    "two_ways_facts",
    "search_facts",
    "latent_search",
    "several_answers",
    "cgml_small_claims",
    "frechet_noise",
    "ndiv_images",
    "sparse_images",
    "class_images",
)

EVALUATION_MINUTES = 1.0  # kept free at the end of a budget for measuring the run that has just been trained


@dataclass(frozen=True)
class Measured:
    """What a recipe's ``run`` returns: one number per seed for each metric, and arrays worth keeping (of the first seeds)."""

    values: Mapping[str, Sequence[float]]
    n_real: int
    n_generated: int
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """One configuration with its seeds: the unit that is recorded.

    Args:
        name: file name of the record.
        config: the recipe's configuration.
        seeds: all seeds it should have.
        stack: how many seeds run (and are saved) at a time.
        priority: cells of higher priority run first.
        full_scale: runs only where there is a GPU, before everything else; pending until then.
    """

    name: str
    config: Any
    seeds: tuple[int, ...]
    stack: int = 5
    priority: int = 0
    full_scale: bool = False


class Recipe(Protocol):
    """What a module in ``ndiv_lib.recipes`` defines."""

    Config: type
    PRESETS: Mapping[str, Any]
    CELLS: Sequence[Cell]

    def run(self, config: Any, seeds: Sequence[int]) -> Measured:
        """Train and measure one model per seed."""
        ...

    def smoke(self, config: Any) -> Any:
        """The same configuration, seconds long."""
        ...


class TrainedRecipe(Recipe, Protocol):
    """A recipe whose runs are long: each seed lives in a folder, stops when it has to, and goes on where it was."""

    def train(
        self, config: Any, seed: int, folder: Path, *, max_minutes: float | None, **options: Any
    ) -> bool:
        """Train one model in its folder, or go on with it; return whether it is finished."""
        ...

    def evaluate(self, config: Any, folder: Path, seed: int) -> Measured:
        """Measure the model in a folder; ``train_minutes`` is among the values."""
        ...


def get_recipe(name: str) -> Recipe:
    """The recipe module of that name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"expected a recipe out of {', '.join(RECIPES)}, got {name!r}; see: ndiv list")
    module: Any = importlib.import_module(f"ndiv_lib.recipes.{name}")
    return module


def get_preset(name: str, preset: str) -> Any:
    """The configuration of a recipe's preset.

    Raises:
        ValueError: for an unknown recipe or preset.
    """
    presets = get_recipe(name).PRESETS
    if preset not in presets:
        raise ValueError(f"expected a preset of {name!r} out of {', '.join(presets)}, got {preset!r}.")
    return presets[preset]


def measure(
    recipe: str, cell: str, config: Any, seeds: Sequence[int]
) -> tuple[Result, Mapping[str, np.ndarray]]:
    """Run a configuration and wrap what it measured as a :class:`~ndiv_lib.reporting.results.Result`."""
    started = time.process_time()
    measured = get_recipe(recipe).run(config, list(seeds))
    minutes = (time.process_time() - started) / 60
    return as_result(recipe, cell, config, seeds, measured, minutes), measured.arrays


def is_trained(recipe: str) -> bool:
    """Whether the recipe's runs live in folders, see :class:`TrainedRecipe`."""
    return hasattr(get_recipe(recipe), "evaluate")


def measure_trained(
    recipe: str,
    cell: str,
    config: Any,
    seeds: Sequence[int],
    runs: Path,
    *,
    max_minutes: float | None = None,
    **options: Any,
) -> tuple[Result, Mapping[str, np.ndarray]] | None:
    """Train one run for each seed in ``runs/recipe/cell/seed-k`` (or go on with it) and measure it; None if time ran out.

    Further options go to the recipe's ``train``. Where several processes train together, only the first one measures.
    """
    module: Any = get_recipe(recipe)
    started = time.monotonic()
    found = []
    for seed in seeds:
        folder = Path(runs) / recipe / cell / f"seed-{seed}"
        left = None if max_minutes is None else max_minutes - (time.monotonic() - started) / 60
        if left is not None and left <= 0:
            return None
        if not module.train(config, seed, folder, recipe=recipe, max_minutes=left, **options):
            return None
        if int(os.environ.get("RANK", "0")) == 0:
            found.append(module.evaluate(config, folder, seed))
    if not found:
        return None
    measured = joined(found)
    result = as_result(recipe, cell, config, seeds, measured)
    folders = [Path(runs) / recipe / cell / f"seed-{seed}" for seed in seeds]
    precision = {sitting["precision"] for folder in folders for sitting in read_sittings(folder)}
    versions = result.versions | {"precision": ", ".join(sorted(precision))}
    return replace(result, versions=versions), measured.arrays


def joined(measured: Sequence[Measured]) -> Measured:
    """What several seeds measured, as one; arrays are those of the first."""
    first = measured[0]
    values = {name: [value for one in measured for value in one.values[name]] for name in first.values}
    return replace(first, values=values)


def as_result(
    recipe: str,
    cell: str,
    config: Any,
    seeds: Sequence[int],
    measured: Measured,
    minutes: float | None = None,
) -> Result:
    """What was measured as a record; its minutes, if not given, are those of the training."""
    result = stamp(
        Result(
            recipe=recipe,
            cell=cell,
            config=asdict(config),
            seeds=list(seeds),
            values={metric: list(values) for metric, values in measured.values.items()},
            n_real=measured.n_real,
            n_generated=measured.n_generated,
            minutes=sum(measured.values["train_minutes"]) if minutes is None else minutes,
        )
    )
    if not torch.cuda.is_initialized():
        return result
    peak = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return replace(result, device=torch.cuda.get_device_name(), peak_memory_mb=peak)


def pending(
    folder: str | os.PathLike[str], recipes: Sequence[str] = RECIPES, *, full_scale: bool | None = None
) -> Iterator[tuple[str, Cell, list[int]]]:
    """Recipe, cell and seeds that lack a record under ``folder``, most valuable first, a stack of seeds at a time.

    Full-scale cells come first; by default, they come where there is a GPU, and not at all where there is none.
    """
    missing = []
    for recipe in recipes:
        for cell in get_recipe(recipe).CELLS:
            if cell.full_scale and not (torch.cuda.is_available() if full_scale is None else full_scale):
                continue
            seeds = [seed for seed in cell.seeds if seed not in _recorded_seeds(folder, recipe, cell)]
            stacks = [seeds[start : start + cell.stack] for start in range(0, len(seeds), cell.stack)]
            missing += [(turn, recipe, cell, stack) for turn, stack in enumerate(stacks)]
    # Cells of one priority take turns, so that pairs to be compared are complete early.
    missing.sort(key=lambda item: (not item[2].full_scale, -item[2].priority, item[0]))
    yield from ((recipe, cell, stack) for _, recipe, cell, stack in missing)


def reproduce(
    folder: str | os.PathLike[str],
    *,
    budget_minutes: float,
    recipes: Sequence[str] = RECIPES,
    runs: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> int:
    """Run what is pending under ``folder``, one stack of seeds at a time, and stop in time; return how many stacks ended.

    A stack starts only if one as long as the longest so far would still end within the budget. Each is saved when it ends;
    a killed sweep loses the stack in flight and nothing else. Recipes whose runs live in folders (under ``runs``, by default
    ``folder/runs``) lose nothing: they use the budget up, and the next sitting goes on with the run that was stopped. What lacks
    its data, diverges, or finds another run in its folder is reported and left out. Further options go to their ``train``.
    """
    started, longest, done = clock(), 0.0, 0
    todo = list(pending(folder, recipes))
    for number, (recipe, cell, seeds) in enumerate(todo, start=1):
        before = clock()
        left = budget_minutes - (before - started) / 60
        trained = is_trained(recipe)
        measured = None
        try:
            if not trained and left >= longest / 60:
                measured = measure(recipe, cell.name, cell.config, seeds)
            elif trained and left > EVALUATION_MINUTES:
                measured = measure_trained(
                    recipe,
                    cell.name,
                    cell.config,
                    seeds,
                    Path(runs or Path(folder) / "runs"),
                    max_minutes=left - EVALUATION_MINUTES,
                    report=report,
                    **options,
                )
        except (FileNotFoundError, RunMismatch, TrainingDiverged) as error:  # the rest can still run
            report(f"[{number}/{len(todo)}] {recipe}/{cell.name} seeds {seeds} left out: {error}")
            continue
        if measured is None:
            report(
                f"stopping: {len(todo) - done} of {len(todo)} pieces left; run the same command again to go on."
            )
            break
        result, arrays = measured
        if _recorded_seeds(folder, recipe, cell):
            earlier = replace(load(recipe, cell.name, folder=folder), config=result.config)
            result, arrays = earlier.extended(result), {}
        save(result, folder, arrays=arrays)
        done += 1
        if not trained:
            longest = max(longest, clock() - before)
        report(f"[{number}/{len(todo)}] {recipe}/{cell.name} seeds {seeds}: {clock() - before:.0f} s")
    return done


def _recorded_seeds(folder: str | os.PathLike[str], recipe: str, cell: Cell) -> list[int]:
    if not (Path(folder) / recipe / f"{cell.name}.json").is_file():
        return []
    recorded = load(recipe, cell.name, folder=folder)
    return recorded.seeds if same_config(recorded.config, cell.config) else []


def same_config(recorded: Mapping[str, Any], config: Any) -> bool:
    """Whether a record was made with this configuration; a field younger than the record must have its default."""
    defaults = {f.name: f.default for f in fields(config)}

    def as_json(value: Any) -> Any:
        return list(value) if isinstance(value, tuple) else value

    return all(
        as_json(value) == recorded.get(key, as_json(defaults[key])) for key, value in asdict(config).items()
    )
