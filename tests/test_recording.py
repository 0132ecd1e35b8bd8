"""Sweeps stop in time, survive being killed, and go on where they were; the command line explains itself."""

import dataclasses
import itertools
import subprocess
import sys

import pytest
import torch

from ndiv_lib import cli
from ndiv_lib.recipes import donut, recording
from ndiv_lib.recipes.recording import Cell, get_preset, pending, reproduce
from ndiv_lib.reporting.results import load

TINY = donut.smoke(donut.PRESETS["paper"])


@pytest.fixture
def two_cells(monkeypatch):
    cells = [
        Cell("later", TINY, (0, 1, 2), stack=2),
        Cell("first", dataclasses.replace(TINY, method="real"), (0,), priority=1),
    ]
    monkeypatch.setattr(donut, "CELLS", cells)


@pytest.mark.usefixtures("two_cells")
def test_a_sweep_goes_by_value_and_resumes(tmp_path):
    lines = []
    assert [(cell.name, seeds) for _, cell, seeds in pending(tmp_path, ["donut"])] == [
        ("first", [0]),
        ("later", [0, 1]),
        ("later", [2]),
    ]
    ticks = itertools.count(step=60)
    done = reproduce(
        tmp_path, budget_minutes=2.5, recipes=["donut"], report=lines.append, clock=lambda: next(ticks)
    )
    assert done == 1 and "run the same command again" in lines[-1]
    assert reproduce(tmp_path, budget_minutes=60, recipes=["donut"], report=lines.append) == 2
    assert load("donut", "later", folder=tmp_path).seeds == [0, 1, 2]
    assert reproduce(tmp_path, budget_minutes=60, recipes=["donut"], report=lines.append) == 0


def test_cells_of_one_priority_take_turns(tmp_path, monkeypatch):
    cells = [Cell(name, TINY, (0, 1), stack=1) for name in ("without", "with")]
    monkeypatch.setattr(donut, "CELLS", cells)
    order = [(cell.name, seeds) for _, cell, seeds in pending(tmp_path, ["donut"])]
    assert order == [("without", [0]), ("with", [0]), ("without", [1]), ("with", [1])]


@pytest.mark.usefixtures("two_cells")
def test_what_lacks_its_data_is_left_out_and_the_rest_runs(tmp_path, monkeypatch):
    def without_data(config, seeds):
        if config.method == "real":
            raise FileNotFoundError("prepare it with `ndiv data celeba`")
        return run(config, seeds)

    run, lines = donut.run, []
    monkeypatch.setattr(donut, "run", without_data)
    assert reproduce(tmp_path, budget_minutes=60, recipes=["donut"], report=lines.append) == 2
    assert "donut/first seeds [0] left out" in lines[0] and "ndiv data celeba" in lines[0]
    assert load("donut", "later", folder=tmp_path).seeds == [0, 1, 2]


@pytest.mark.parametrize(("with_gpu", "names"), [(False, ["small"]), (True, ["large", "small"])])
def test_full_scale_waits_for_a_gpu_and_then_goes_first(tmp_path, monkeypatch, with_gpu, names):
    cells = [Cell("small", TINY, (0,), priority=9), Cell("large", TINY, (0,), full_scale=True)]
    monkeypatch.setattr(donut, "CELLS", cells)
    monkeypatch.setattr("torch.cuda.is_available", lambda: with_gpu)
    assert [cell.name for _, cell, _ in pending(tmp_path, ["donut"])] == names


@pytest.mark.usefixtures("two_cells")
def test_stacks_and_interruptions_do_not_change_a_result(tmp_path):
    reproduce(tmp_path, budget_minutes=60, recipes=["donut"], report=lambda line: None)
    alone = [donut.run(TINY, [seed]).values["cover"][0] for seed in (0, 1, 2)]
    assert load("donut", "later", folder=tmp_path).values["cover"] == pytest.approx(alone, abs=0.02)


def test_an_older_record_of_another_configuration_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(donut, "CELLS", [Cell("cell", TINY, (0,))])
    reproduce(tmp_path, budget_minutes=60, recipes=["donut"], report=lambda line: None)
    monkeypatch.setattr(donut, "CELLS", [Cell("cell", dataclasses.replace(TINY, alpha=0.7), (0,))])
    assert len(list(pending(tmp_path, ["donut"]))) == 1
    reproduce(tmp_path, budget_minutes=60, recipes=["donut"], report=lambda line: None)
    assert load("donut", "cell", folder=tmp_path).config["alpha"] == 0.7


@pytest.mark.parametrize("preset", donut.PRESETS)
def test_every_donut_preset_runs(preset):
    measured = donut.run(donut.smoke(donut.PRESETS[preset]), [0, 1])
    assert set(measured.values) >= {"cover", "outlier"}
    assert all(len(values) == 2 for values in measured.values.values())
    assert all(torch.isfinite(torch.tensor(values)).all() for values in measured.values.values())


def test_every_recipe_is_complete():
    for name in recording.RECIPES:
        recipe = recording.get_recipe(name)
        names = [cell.name for cell in recipe.CELLS]
        assert len(names) == len(set(names)), f"cell names of {name} repeat"
        assert all(isinstance(cell.config, recipe.Config) for cell in recipe.CELLS)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="ndiv list"):
        recording.get_recipe("no_such_recipe")
    with pytest.raises(ValueError, match="paper"):
        get_preset("donut", "no_such_preset")


def test_command_line(tmp_path, capsys):
    assert cli.main(["list"]) == 0
    assert "donut: Covering a donut" in capsys.readouterr().out
    train = ["train", "donut", "--preset", "paper", "--smoke", "--alpha", "0.7", "--seeds", "0", "1"]
    assert cli.main([*train, "--out", str(tmp_path)]) == 0
    assert "cover" in capsys.readouterr().out
    assert load("donut", "paper", folder=tmp_path).config["alpha"] == 0.7
    assert cli.main(["results", "donut", "--folder", str(tmp_path)]) == 0
    assert "donut/paper (2 seeds" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in recording.RECIPES if not recording.is_trained(name)])
def test_every_recipe_trains_without_naming_a_preset(name, capsys):
    """Those that live in folders do so in tests/test_full_scale.py."""
    assert cli.main(["train", name, "--smoke"]) == 0
    assert f"{name}/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "donut", "--preset", "nonsense"], "expected a preset of 'donut'"),
        (["train", "nonsense"], "invalid choice"),
        (["list", "--alpha", "1"], "unknown arguments"),
    ],
)
def test_command_line_errors(arguments, message, capsys):
    try:
        status = cli.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert message in capsys.readouterr().err


def test_the_module_runs_as_a_program():
    run = [sys.executable, "-c", "from ndiv_lib.cli import main; raise SystemExit(main(['--help']))"]
    assert "reproduce" in subprocess.run(run, capture_output=True, text=True, check=True).stdout
