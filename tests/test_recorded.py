"""The records of every recipe: all that it asks for, made as it says, nothing else, and small enough to ship."""

import pytest

from ndiv_lib.recipes.recording import RECIPES, get_recipe, same_config
from ndiv_lib.reporting.results import RECORDED, load, recorded_cells

LARGEST = {"donut": 700_000}  # bytes of arrays; it carries the films of the first page
each_recipe = pytest.mark.parametrize("recipe", RECIPES)


@each_recipe
def test_every_cell_is_recorded_with_its_configuration_and_all_seeds(recipe):
    cells = {cell.name: cell for cell in get_recipe(recipe).CELLS}
    here = {name for name, cell in cells.items() if not cell.full_scale}
    assert here <= set(recorded_cells(recipe)) <= set(cells)
    for name in recorded_cells(recipe):
        cell, recorded = cells[name], load(recipe, name)
        assert same_config(recorded.config, cell.config), name
        assert sorted(recorded.seeds) == sorted(cell.seeds), name
        assert recorded.revision and recorded.versions, name


@each_recipe
def test_records_are_small(recipe):
    size = sum(path.stat().st_size for path in (RECORDED / recipe).glob("*.npz"))
    assert size < LARGEST.get(recipe, 300_000)
    assert sum(path.stat().st_size for path in (RECORDED / recipe).glob("*.json")) < 600_000


def test_reported_seeds_are_not_those_of_tuning():
    for recipe in RECIPES:
        cells = get_recipe(recipe).CELLS
        tuned = {
            seed for cell in cells if cell.name.startswith("tuning") for seed in cell.seeds if seed >= 1000
        }
        assert not tuned & {
            seed for cell in cells if not cell.name.startswith("tuning") for seed in cell.seeds
        }
