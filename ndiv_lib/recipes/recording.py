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
)


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
    result = Result(
        recipe=recipe,
        cell=cell,
        config=asdict(config),
        seeds=list(seeds),
        values={metric: list(values) for metric, values in measured.values.items()},
        n_real=measured.n_real,
        n_generated=measured.n_generated,
        minutes=(time.process_time() - started) / 60,
    )
    return stamp(result), measured.arrays


def pending(
    folder: str | os.PathLike[str], recipes: Sequence[str] = RECIPES
) -> Iterator[tuple[str, Cell, list[int]]]:
    """Recipe, cell and seeds that lack a record under ``folder``, most valuable first, a stack of seeds at a time.

    Full-scale cells come first where there is a GPU, and not at all where there is none.
    """
    missing = []
    for recipe in recipes:
        for cell in get_recipe(recipe).CELLS:
            if cell.full_scale and not torch.cuda.is_available():
                continue
            seeds = [seed for seed in cell.seeds if seed not in _recorded_seeds(folder, recipe, cell)]
            starts = range(0, len(seeds), cell.stack)
            missing += [(recipe, cell, seeds[start : start + cell.stack]) for start in starts]
    yield from sorted(missing, key=lambda item: (not item[1].full_scale, -item[1].priority))


def reproduce(
    folder: str | os.PathLike[str],
    *,
    budget_minutes: float,
    recipes: Sequence[str] = RECIPES,
    report: Callable[[str], None] = print,
    clock: Callable[[], float] = time.monotonic,
) -> int:
    """Run what is pending under ``folder``, one stack of seeds at a time, and stop in time; return how many stacks ran.

    A stack starts only if one as long as the longest so far would still end within the budget. Each is saved when it ends;
    a killed sweep loses the stack in flight and nothing else.
    """
    started, longest, done = clock(), 0.0, 0
    todo = list(pending(folder, recipes))
    for number, (recipe, cell, seeds) in enumerate(todo, start=1):
        before = clock()
        if before + longest - started > 60 * budget_minutes:
            report(
                f"stopping: {len(todo) - done} of {len(todo)} pieces left; run the same command again to go on."
            )
            break
        result, arrays = measure(recipe, cell.name, cell.config, seeds)
        if _recorded_seeds(folder, recipe, cell):
            earlier = replace(load(recipe, cell.name, folder=folder), config=result.config)
            result, arrays = earlier.extended(result), {}
        save(result, folder, arrays=arrays)
        done += 1
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
