"""The command line of every data script: fetch, or take files at hand, or draw a twin; then verify and prepare."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from _checks import DataError, Sums
from _common import DataSet, Reading, Splits
from _fetch import fetch
from _layout import TWIN_LICENSE, prepare


def run(
    data: DataSet,
    read: Callable[[Path, Sums], Reading],
    twin: Callable[[int, int], Splits],
    *,
    forms: str,
    argv: Sequence[str] | None = None,
) -> int:
    """The command line of a data script: 0 when the set is in place, 1 with a line of error otherwise."""
    options = parse(data, forms, argv)
    downloads = options.to / "downloads" / data.name

    def build() -> Reading:
        size, seed = options.twin_size, options.seed
        if options.twin:
            return Reading(twin(size, seed), f"--twin --twin-size {size} --seed {seed}")
        sums = Sums(trust=options.trust)
        if options.source is not None:
            if not options.source.exists():
                raise DataError(
                    f"{options.source}: no such folder. Give --from the folder that holds {forms}"
                )
            return read(options.source, sums)
        if not data.files:
            raise DataError(data.by_hand)
        fetch(data.files, downloads, page=data.page, mirror=options.mirror)
        return read(downloads, sums)

    try:
        print(prepare(data, options.to / data.name, build, twin=options.twin))
        if not options.twin:
            shutil.rmtree(downloads, ignore_errors=True)  # the fetched archives have done their work
    except (DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: interrupted; nothing was prepared. Run the script again to go on.", file=sys.stderr)
        return 130
    finally:
        remove_empty(downloads, downloads.parent)
    print(f"license:  {TWIN_LICENSE if options.twin else data.license}")
    if not options.twin:
        print(f"citation: {data.citation}")
    return 0


def parse(data: DataSet, forms: str, argv: Sequence[str] | None) -> argparse.Namespace:
    fetched = f"Without --from and --twin it is fetched: {megabytes(data)}." if data.files else data.by_hand
    parser = argparse.ArgumentParser(
        prog=f"{data.name}.py",
        description=f"Verify {data.title} and prepare it for ndiv_lib. {fetched}",
        epilog=f"Accepted under --from: {forms} License: {data.license}. Cite: {data.citation}",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--from", dest="source", type=Path, metavar="DIR", help="where the files at hand are")
    what.add_argument(
        "--twin", action="store_true", help="write a small procedural stand-in in the same layout instead"
    )
    parser.add_argument(
        "--to",
        type=Path,
        default=Path(os.environ.get("NDIV_DATA") or "data"),
        metavar="DIR",
        help=f"data folder, the set goes to DIR/{data.name} (default: $NDIV_DATA, else data)",
    )
    parser.add_argument("--mirror", metavar="URL", help="an address with copies of the files, tried first")
    parser.add_argument(
        "--trust",
        action="store_true",
        help="take files for which no sha256 is published, and record the sha256 they have",
    )
    parser.add_argument(
        "--twin-size",
        type=int,
        default=data.twin_size,
        metavar="N",
        help=f"training images of the twin (default {data.twin_size}); test: N/4",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the twin")
    options = parser.parse_args(argv)
    smallest = 4 * max(1, len(data.class_names))
    if options.twin_size < smallest:
        parser.error(
            f"--twin-size: expected {smallest} or more (every class in both splits), got {options.twin_size}"
        )
    if options.seed < 0:
        parser.error(f"--seed: expected 0 or above, got {options.seed}")
    return options


def megabytes(data: DataSet) -> str:
    return f"{sum(file.size for file in data.files) / 1e6:,.0f} MB"


def remove_empty(*folders: Path) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
