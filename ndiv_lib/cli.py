"""Command line: ``ndiv list | data | train | evaluate | results | reproduce | diagnose``.

Several GPUs: ``accelerate launch -m ndiv_lib.cli train ...`` (or ``torchrun --nproc-per-node K -m ...``).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import runpy
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ndiv_lib.diagnosis import diagnose, read_samples
from ndiv_lib.metrics.features import NAMES
from ndiv_lib.recipes.recording import (
    RECIPES,
    as_result,
    get_preset,
    get_recipe,
    is_trained,
    measure,
    measure_trained,
    pending,
    reproduce,
)
from ndiv_lib.reporting.results import RECORDED, Result, load, recorded_cells, save, write
from ndiv_lib.training import CheckpointError, Speed, TrainingDiverged, read_identity

# Beside the package in a clone, inside it where it was installed.
_PACKAGE = Path(__file__).parent
DATA_SCRIPTS = next(
    (folder for folder in (_PACKAGE.parent / "data_scripts", _PACKAGE / "_data_scripts") if folder.is_dir()),
    _PACKAGE / "_data_scripts",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; errors of use end with a message and status 2."""
    parser = argparse.ArgumentParser(
        prog="ndiv", description="Diverse generation: run, record and list experiments."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="recipes, their presets, and how many seeds are recorded")

    data = commands.add_parser(
        "data", help="fetch, verify and prepare a data set; ndiv data NAME --help says more", add_help=False
    )
    data.add_argument("name", choices=data_names())

    train = commands.add_parser(
        "train",
        help="run one recipe; --FIELD VALUE changes any field of its configuration",
        description="Run one recipe. --FIELD VALUE changes any field of its configuration; the fields stand below.",
        add_help=False,  # it also shows the fields, which are the recipe's
        allow_abbrev=False,  # --data is a field of some recipes, and not short for --data-dir
    )
    train.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help="see: ndiv list")
    train.add_argument("-h", "--help", action="store_true", help="show this and the recipe's fields")
    train.add_argument("--preset", help="default: ours, or the recipe's first")
    train.add_argument("--seeds", type=int, nargs="+", default=[0], help="default: 0")
    train.add_argument("--smoke", action="store_true", help="a few steps only")
    train.add_argument(
        "--out", type=Path, help="folder for the record, and for the runs (image recipes: default runs)"
    )
    train.add_argument("--max-minutes", type=float, help="stop after so long; the same command goes on")
    _add_options_of_runs(train)

    evaluate = commands.add_parser("evaluate", help="measure the last checkpoint of a run")
    evaluate.add_argument("run", type=Path, help="its folder, with run.json")
    evaluate.add_argument("--num-samples", type=int, help="default: what its configuration says")
    evaluate.add_argument("--data-dir", type=Path, help="data folder (default: $NDIV_DATA, else data)")

    results = commands.add_parser("results", help="recorded results: median [min, max] over seeds")
    results.add_argument("recipe", nargs="?", choices=RECIPES, metavar="RECIPE")
    results.add_argument("--folder", type=Path, default=RECORDED)

    again = commands.add_parser(
        "reproduce", help="run what lacks a record, most valuable first, and stop in time"
    )
    again.add_argument("--budget-minutes", type=float, required=True)
    again.add_argument("--out", type=Path, required=True, help="folder of the records; run again to go on")
    again.add_argument("--recipes", nargs="+", choices=RECIPES, metavar="RECIPE", default=list(RECIPES))
    again.add_argument(
        "--runs", type=Path, help="folder of the runs with their checkpoints (default: OUT/runs)"
    )
    _add_options_of_runs(again)

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
    if fields and options.command not in ("train", "data"):
        parser.error(f"unknown arguments: {' '.join(fields)}")
    if getattr(options, "data_dir", None) is not None:
        os.environ["NDIV_DATA"] = str(options.data_dir)
    try:
        if options.command == "list":
            _list()
        elif options.command == "data":
            return _data(options.name, fields)
        elif options.command == "train":
            if options.help:
                train.print_help()
                fields = ["--help"]
            _train(options, fields)
        elif options.command == "evaluate":
            _evaluate(options)
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
            reproduce(
                options.out,
                budget_minutes=options.budget_minutes,
                recipes=options.recipes,
                runs=options.runs,
                **_options_of_runs(options),
            )
    except (ValueError, FileNotFoundError, ImportError, CheckpointError, TrainingDiverged) as error:
        print("\n".join([f"ndiv: {error}", *getattr(error, "__notes__", [])]), file=sys.stderr)
        return 2
    return 0


def data_names() -> list[str]:
    """The data sets that ``ndiv data`` can prepare."""
    return sorted(path.stem for path in DATA_SCRIPTS.glob("[a-z]*.py"))


def _add_options_of_runs(parser: argparse.ArgumentParser) -> None:
    """How runs in folders are computed; other recipes run on the CPU and do not look at it."""
    parser.add_argument("--data-dir", type=Path, help="data folder (default: $NDIV_DATA, else data)")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16", "float16"), default="auto")
    for name, meaning in {
        "channels-last": "memory order that convolutions in 16 bits prefer",
        "compile": "compile the networks",
        "cuda-graphs": "record updates once and replay them",
        "cpu": "stay on the CPU",
    }.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    parser.add_argument("--checkpoint-minutes", type=float, default=10.0, help="default: 10")


def _options_of_runs(options: argparse.Namespace) -> dict[str, Any]:
    speed = Speed(
        precision=options.precision,
        channels_last=options.channels_last,
        compile=options.compile,
        cuda_graphs=options.cuda_graphs,
        cpu=options.cpu,
    )
    return {"speed": speed, "checkpoint_minutes": options.checkpoint_minutes}


def _list() -> None:
    for name in RECIPES:
        recipe = get_recipe(name)
        summary = (sys.modules[f"ndiv_lib.recipes.{name}"].__doc__ or "").splitlines()[0]
        missing = list(pending(RECORDED, [name], full_scale=True))
        left = sum(len(seeds) for _, _, seeds in missing)
        for_gpu = sum(len(seeds) for _, cell, seeds in missing if cell.full_scale)
        total = sum(len(cell.seeds) for cell in recipe.CELLS)
        waiting = f", {for_gpu} wait for a GPU" if for_gpu else ""
        print(f"{name}: {summary}")
        print(f"  presets: {', '.join(recipe.PRESETS)}")
        print(f"  recorded: {total - left} of {total} seeds in {len(recipe.CELLS)} cells{waiting}")


def _train(options: argparse.Namespace, fields: list[str]) -> None:
    import tyro  # slow to import, and only training needs it

    presets = get_recipe(options.recipe).PRESETS
    preset = options.preset or ("ours" if "ours" in presets else next(iter(presets)))
    config = get_preset(options.recipe, preset)
    config = tyro.cli(type(config), default=config, args=fields, prog=f"ndiv train {options.recipe}")
    if options.smoke:
        config = get_recipe(options.recipe).smoke(config)
    if not is_trained(options.recipe):
        result, arrays = measure(options.recipe, preset, config, options.seeds)
        _print_results([result])
        if options.out:
            print(f"written: {save(result, options.out, arrays=arrays)}")
        return
    out = options.out or Path("runs")
    cell = f"{preset}-smoke" if options.smoke else preset
    measured = measure_trained(
        options.recipe,
        cell,
        config,
        options.seeds,
        out / "runs",
        max_minutes=options.max_minutes,
        **_options_of_runs(options),
    )
    if measured is not None:
        _print_results([measured[0]])
        print(f"written: {save(measured[0], out, arrays=measured[1])}")


def _evaluate(options: argparse.Namespace) -> None:
    identity = read_identity(options.run)
    recipe = get_recipe(identity["recipe"])
    config = recipe.Config(**identity["config"])
    if options.num_samples is not None:
        config = dataclasses.replace(config, num_samples=options.num_samples)
    measured = recipe.evaluate(config, options.run, identity["seed"])  # type: ignore[attr-defined]
    result = as_result(identity["recipe"], options.run.name, config, [identity["seed"]], measured)
    _print_results([result])
    print(f"written: {write(result, options.run / 'result.json')}")


def _data(name: str, arguments: Sequence[str]) -> int:
    """Run the data script of that name with these arguments; its status."""
    script = DATA_SCRIPTS / f"{name}.py"
    before = sys.argv
    sys.argv = [f"ndiv data {name}", *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    finally:
        sys.argv = before
    return 0


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


if __name__ == "__main__":
    sys.exit(main())
