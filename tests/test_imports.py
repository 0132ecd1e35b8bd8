"""Imports point one way, without circles, and `import ndiv_lib` loads PyTorch and nothing heavier."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ndiv_lib"

# From the top down. A part imports from its own row or from a row below it.
ROWS = [
    {"cli"},
    {"recipes", "diagnosis"},
    {"reporting", "training", "models", "data", "metrics", "ndiv", "hmgan", "cgml", "baselines"},
    {"adversarial", "activations", "distances", "expansion_bound", "spectral"},
    {"_checks"},
]
ROW = {part: row for row, parts in enumerate(ROWS) for part in parts}

HEAVY = (
    "IPython",
    "accelerate",
    "ipywidgets",
    "lpips",
    "matplotlib",
    "pandas",
    "PIL",
    "pooch",
    "safetensors",
    "scipy",
    "seaborn",
    "sklearn",
    "tensorboard",
    "torchmetrics",
)
HEAVY += ("torchvision", "tyro", "yaml")

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """The parts of the library that a file imports, at its top or inside a function."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "ndiv_lib":
            modules |= {f"ndiv_lib.{name.name}" for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: expected an absolute import from ndiv_lib"
            modules.add(node.module)
    return {module.split(".")[1] for module in modules if module.startswith("ndiv_lib.")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = part_of(path)
    assert part in ROW, f"{part} has no row yet; give it one here and in book/architecture.md"
    for other in imported_parts(path) - {part, "__version__"}:
        assert other in ROW, f"{part} imports {other}; import it from the module that defines it"
        assert ROW[other] >= ROW[part], f"{part} imports {other}, which stands above it"


def test_imports_have_no_circles():
    graph: dict[str, set[str]] = {}
    for path in FILES:
        graph.setdefault(part_of(path), set()).update(imported_parts(path) - {part_of(path)})
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_importing_the_library_loads_nothing_heavy():
    loaded = subprocess.run(
        [
            sys.executable,
            "-c",
            "import torch, sys; before = {*sys.modules}; import ndiv_lib; print(*{*sys.modules} - before)",
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    ).stdout.split()
    assert "ndiv_lib" in loaded
    assert not {name.split(".")[0] for name in loaded} & set(HEAVY)
