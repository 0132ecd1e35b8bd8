"""Command line: ``ndiv list | train | results | reproduce | diagnose``."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ndiv_lib.diagnosis import diagnose, read_samples
from ndiv_lib.metrics.features import NAMES
from ndiv_lib.recipes.recording import RECIPES, get_preset, get_recipe, measure, pending, reproduce
from ndiv_lib.reporting.results import RECORDED, Result, load, recorded_cells, save


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors of use end with a message and status 2."""
    parser = argparse.ArgumentParser(
        prog="ndiv", description="Diverse generation: run, record and list experiments."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="recipes, their presets, and how many seeds are recorded")

    train = commands.add_parser(
        "train", help="run one recipe; --FIELD VALUE changes any field of its configuration"
    )
    train.add_argument("recipe", choices=RECIPES)
    train.add_argument("--preset", help="default: ours, or the recipe's first")
    train.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    train.add_argument("--smoke", action="store_true", help="a few steps only")
    train.add_argument("--out", type=Path, help="folder for the result record")

    results = commands.add_parser("results", help="recorded results: median [min, max] over seeds")
    results.add_argument("recipe", nargs="?", choices=RECIPES)
    results.add_argument("--folder", type=Path, default=RECORDED)

    again = commands.add_parser(
        "reproduce", help="run what lacks a record, most valuable first, and stop in time"
    )
    again.add_argument("--budget-minutes", type=float, required=True)
    again.add_argument("--out", type=Path, required=True, help="folder of the records; run again to go on")
    again.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))

    asked = commands.add_parser(
        "diagnose",
        help="is this mode collapse? compare generated with real images",
        description="Is this mode collapse? Ends with status 0 if there is no sign of it, 1 with an alarm, 2 with an error, and "
        "3 if these samples are too few to know.",
    )
    for side in ("real", "generated"):
        asked.add_argument(
            f"--{side}", type=Path, required=True, help="folder of images, with its subfolders, or .npz file"
        )
    asked.add_argument(
        "--conditions",
        action="store_true",
        help="subfolders (or the array `labels`) are the generator's conditions",
    )
    asked.add_argument("--features", choices=NAMES, default="pixels", help="what distances are taken between")
    asked.add_argument("--out", type=Path, help="write a page to look at, for example report.html")
    asked.add_argument("--max-samples", type=int, help="draw so many of each set at random; default: all")
    asked.add_argument("--seed", type=int, default=0)

    options, fields = parser.parse_known_args(arguments)
    if fields and options.command != "train":
        parser.error(f"unknown arguments: {' '.join(fields)}")
    try:
        if options.command == "list":
            _list()
        elif options.command == "train":
            _train(options, fields)
        elif options.command == "results":
            for recipe in [options.recipe] if options.recipe else RECIPES:
                _print_results(
                    [
                        load(recipe, cell, folder=options.folder)
                        for cell in recorded_cells(recipe, folder=options.folder)
                    ]
                )
        elif options.command == "diagnose":
            return _diagnose(options)
        else:
            reproduce(options.out, budget_minutes=options.budget_minutes, recipes=options.recipes)
    except (ValueError, FileNotFoundError, ImportError) as error:
        print(f"ndiv: {error}", file=sys.stderr)
        return 2
    return 0


def _list() -> None:
    for name in RECIPES:
        recipe = get_recipe(name)
        summary = (sys.modules[f"ndiv_lib.recipes.{name}"].__doc__ or "").splitlines()[0]
        left = sum(len(seeds) for _, _, seeds in pending(RECORDED, [name]))
        total = sum(len(cell.seeds) for cell in recipe.CELLS)
        print(f"{name}: {summary}")
        print(f"  presets: {', '.join(recipe.PRESETS)}")
        print(f"  recorded: {total - left} of {total} seeds in {len(recipe.CELLS)} cells")


def _train(options: argparse.Namespace, fields: list[str]) -> None:
    import tyro  # slow to import, and only training needs it

    presets = get_recipe(options.recipe).PRESETS
    preset = options.preset or ("ours" if "ours" in presets else next(iter(presets)))
    config = get_preset(options.recipe, preset)
    config = tyro.cli(type(config), default=config, args=fields, prog=f"ndiv train {options.recipe}")
    if options.smoke:
        config = get_recipe(options.recipe).smoke(config)
    result, arrays = measure(options.recipe, preset, config, options.seeds)
    _print_results([result])
    if options.out:
        print(f"written: {save(result, options.out, arrays=arrays)}")


def _diagnose(options: argparse.Namespace) -> int:
    both: dict[str, Any] = {}
    for side in ("real", "generated"):
        samples, conditions = read_samples(getattr(options, side), conditions=options.conditions)
        if options.max_samples is not None and len(samples) > options.max_samples:
            chosen = torch.randperm(len(samples), generator=torch.Generator().manual_seed(options.seed))
            chosen = chosen[: options.max_samples]
            print(f"{side}: {options.max_samples:,} of {len(samples):,} samples, at random")
            samples = samples[chosen]
            conditions = [conditions[index] for index in chosen.tolist()] if conditions else None
        both |= {side: samples, f"conditions_{side}": conditions}
    diagnosis = diagnose(**both, features=options.features, seed=options.seed)
    print(diagnosis.to_text(), end="")
    if options.out:
        print(f"\nwritten: {diagnosis.to_html(options.out)}")
    return {"no sign of collapse": 0, "cannot be known": 3}.get(diagnosis.verdict, 1)


def _print_results(results: list[Result]) -> None:
    for result in results:
        numbers = "  ".join(
            f"{metric} {statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"
            for metric, values in result.values.items()
        )
        print(
            f"{result.recipe}/{result.cell} ({len(result.seeds)} seeds, {result.minutes:.1f} min): {numbers}"
        )
