"""Run notebooks and store what nbval compares: ``python -m tests.store_outputs notebooks/start_01_mode_collapse.ipynb``.

Cells marked ``# NBVAL_CHECK_OUTPUT`` keep their output and execution count; all others are stripped, so that a diff
shows what a person wrote. Without names, all notebooks are run.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from tests.test_notebooks import NOTEBOOKS, is_checked


def strip(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Remove every output, count and run time but those of checked cells, and what an editor left in the metadata."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    kept = {key: value for key, value in notebook.metadata.items() if key == "mystnb"}
    notebook.metadata = nbformat.from_dict(kept | {"kernelspec": kernel, "language_info": {"name": "python"}})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code" and not is_checked(cell):
            cell.outputs, cell.execution_count = [], None
    return notebook


def main(paths: list[Path]) -> None:
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}}).execute()
        nbformat.write(strip(notebook), path)
        print(path)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or NOTEBOOKS)
