"""The form of the notebooks; nbval runs them, in the same run of pytest (see the Makefile)."""

import copy
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELLS = (12, 25)
CELLS_OF_TABLE_CHAPTERS = (12, 35)
TABLE_CHAPTERS = {
    "ndiv_01_donut",
    "ndiv_07_ring_and_grid",
    "ndiv_07_ablations",
    "ndiv_08_images_at_scale",
    "hmgan_04_steering",
}
LINES = 25
CHECKED_CELLS = 3

pytestmark = pytest.mark.skipif(not NOTEBOOKS, reason="there are no notebooks")
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_checked(cell: nbformat.NotebookNode) -> bool:
    return "# NBVAL_CHECK_OUTPUT" in cell.source or "nbval-check-output" in cell.metadata.get("tags", [])


@each_notebook
def test_form(path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.nbformat_minor >= 5, "expected cell ids (nbformat 4.5)"
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata, "expected no stored widget state"
    least, most = CELLS_OF_TABLE_CHAPTERS if path.stem in TABLE_CHAPTERS else CELLS
    assert least <= len(notebook.cells) <= most
    assert notebook.cells[0].source.startswith("# "), "expected the title in the first cell"
    for cell in code_cells(notebook):
        assert len(cell.source.splitlines()) <= LINES, f"cell too long:\n{cell.source}"


@each_notebook
def test_outputs_are_kept_only_where_they_are_checked(path):
    checked = [cell for cell in code_cells(read(path)) if is_checked(cell)]
    assert len(checked) >= CHECKED_CELLS
    for cell in checked:
        # nbval compares nothing where the execution count is missing, and says nothing about it.
        assert cell.execution_count is not None, f"run and keep the output of:\n{cell.source}"
        assert cell.outputs, f"expected a stored output of:\n{cell.source}"
        assert all(output.output_type == "stream" and output.name == "stdout" for output in cell.outputs), (
            f"a checked cell prints text and nothing else:\n{cell.source}"
        )
    for cell in code_cells(read(path)):
        if not is_checked(cell):
            assert not cell.outputs, f"expected no stored output of:\n{cell.source}"
            assert cell.execution_count is None, f"expected no execution count of:\n{cell.source}"


def test_the_set_up_cell_is_the_same_everywhere():
    set_up = {path.stem: code_cells(read(path))[0] for path in NOTEBOOKS}
    assert len({cell.source for cell in set_up.values()}) == 1
    for name, cell in set_up.items():
        assert "hide-input" in cell.metadata.get("tags", []), (
            f"fold the set-up cell of {name} by the tag hide-input"
        )


def test_the_set_up_cell_installs_nothing_that_is_there():
    source = code_cells(read(NOTEBOOKS[0]))[0].source
    installs = re.findall(r"subprocess.run.*", source)
    assert len(installs) == 1
    assert "constraints" in installs[0], "the installed torch and numpy must stay as they are"


def only_prints(cell: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A checked cell that now only prints what it has stored, to run fast."""
    short = copy.deepcopy(cell)
    mark = "# NBVAL_CHECK_OUTPUT\n" if "# NBVAL_CHECK_OUTPUT" in cell.source else ""
    short.source = f"{mark}print({''.join(output.text for output in cell.outputs)!r}, end='')"
    return short


def test_a_changed_output_fails(tmp_path):
    """The checked cells of all notebooks in one, for the sake of time: nbval reads no more of a notebook than its cells."""
    together = read(NOTEBOOKS[0])
    together.cells, changed = [], {}
    for path in NOTEBOOKS:
        checked = [only_prints(cell) for cell in code_cells(read(path)) if is_checked(cell)]
        changed[len(together.cells)] = path.stem
        checked[0].outputs[0].text = re.sub(r"\w", "x", checked[0].outputs[0].text, count=1)
        together.cells += checked
    for number, cell in enumerate(together.cells):
        cell.id = f"cell-{number}"
    nbformat.write(together, tmp_path / "changed.ipynb")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval-lax",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
    ]
    run = subprocess.run(
        [*command, "--rootdir", tmp_path, "changed.ipynb"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode == 1, run.stdout
    failed = {int(number) for number in re.findall(r"^FAILED changed.ipynb::Cell (\d+)", run.stdout, re.M)}
    missed = sorted(changed[number] for number in changed.keys() - failed)
    assert not missed, f"a changed output passes in {missed}"
    assert failed == changed.keys(), run.stdout
    assert f"{len(changed)} failed, {len(together.cells) - len(changed)} passed" in run.stdout, run.stdout
