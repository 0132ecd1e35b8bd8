"""Print the run time of every notebook, from the start of its kernel, on one thread: ``make notebooks``."""

import time
from datetime import datetime
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run_seconds(path: Path) -> tuple[float, float]:
    """Run a notebook and return its seconds in all and those of its longest cell."""
    notebook = nbformat.read(path, as_version=4)
    started = time.perf_counter()
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}}).execute()
    total = time.perf_counter() - started
    return total, max(map(cell_seconds, notebook.cells))


def cell_seconds(cell: nbformat.NotebookNode) -> float:
    """The seconds between the kernel's busy and idle messages of a cell; 0 for a cell of text."""
    times = cell.metadata.get("execution", {})
    if "shell.execute_reply" not in times:
        return 0.0
    began, ended = (
        datetime.fromisoformat(times[key]) for key in ("iopub.status.busy", "shell.execute_reply")
    )
    return (ended - began).total_seconds()


if __name__ == "__main__":
    print(f"{'notebook':32}{'seconds':>10}{'longest cell':>15}")
    totals = []
    for path in NOTEBOOKS:
        total, longest = run_seconds(path)
        totals.append(total)
        print(f"{path.stem:32}{total:>10.1f}{longest:>15.1f}", flush=True)
    print(f"{'mean':32}{sum(totals) / len(totals):>10.1f}")
