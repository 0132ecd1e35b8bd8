"""The page *At full scale*: its commands at smoke size on a twin, and its example, killed and started again."""

import json
import re
from pathlib import Path

import pytest
import torch

from ndiv_lib import cli
from ndiv_lib.recipes.recording import RECIPES, is_trained
from ndiv_lib.training import read_checkpoint

PAGE = (Path(__file__).parents[1] / "book" / "full-scale.md").read_text()
README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [
    line.split()
    for line in re.findall(r"^ndiv (.+)$", README, flags=re.MULTILINE)
    if "cifar10" in line or "train" in line
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    assert COMMANDS[0] == ["data", "cifar10"]
    assert cli.main([*COMMANDS[0], "--twin", "--to", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """README's third command, with eight steps in place of hundreds of thousands."""
    out = tmp_path_factory.mktemp("out")
    command = [str(out) if word == "runs" else word for word in COMMANDS[1]]
    options = ["--smoke", "--num-steps", "8", "--num-samples", "60", "--data-dir", str(data), "--cpu"]
    assert cli.main([*command, *options]) == 0
    return out, command, options


def test_page_and_readme_name_the_same_commands():
    for command in COMMANDS:
        assert f"ndiv {' '.join(command)}" in PAGE


def test_three_commands_train_and_measure(trained):
    out, _, _ = trained
    (record,) = out.glob("ndiv_images/*.json")
    document = json.loads(record.read_text())
    values = document["values"]
    assert document["versions"]["precision"] == "float32"
    assert values["train_steps"] == [8] and values["frechet_efficientnet"][0] > 0
    assert values["floor_frechet_efficientnet"][0] < values["frechet_efficientnet"][0], (
        "real images are nearer"
    )


def test_a_finished_run_is_not_trained_again(trained, capsys):
    _, command, options = trained
    assert cli.main([*command, *options]) == 0
    assert "going on after step 8" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", [name for name in RECIPES if is_trained(name)])
def test_every_such_recipe_trains_without_naming_a_preset(recipe, data, tmp_path, capsys):
    samples = "200" if recipe == "class_images" else "60"  # its bins need twenty of every class
    options = ["--smoke", "--num-steps", "1", "--num-samples", samples, "--data-dir", str(data), "--cpu"]
    assert cli.main(["train", recipe, *options, "--out", str(tmp_path)]) == 0
    assert f"{recipe}/" in capsys.readouterr().out


def test_evaluate_measures_a_run_again(trained, data, capsys):
    out, _, _ = trained
    (run,) = (path.parent for path in out.rglob("run.json"))
    assert cli.main(["evaluate", str(run), "--num-samples", "40", "--data-dir", str(data)]) == 0
    assert json.loads((run / "result.json").read_text())["n_generated"] == 40
    assert "frechet_efficientnet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "ndiv_images", "--smoke", "--data-dir", "nowhere"], "data_scripts/cifar10.py"),
        (["evaluate", "nowhere"], "ndiv train RECIPE --out DIR makes one"),
        (["train", "ndiv_images", "--preset", "none such"], "expected a preset"),
    ],
)
def test_what_is_missing_is_named(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDIV_DATA", str(tmp_path))
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err


def test_another_configuration_in_the_same_folder_is_refused(trained, capsys):
    _, command, options = trained
    assert cli.main([*command, *options, "--alpha", "0.8"]) == 2
    error = capsys.readouterr().err
    assert "alpha 0.5 (now 0.8)" in error and "choose another folder" in error


def test_unknown_fields_are_refused(trained):
    _, command, options = trained
    with pytest.raises(SystemExit):
        cli.main([*command, *options, "--no-such-field", "1"])


def test_help_shows_options_and_the_reasons_of_fields(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "ndiv_images", "--help"])
    shown = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert "--max-minutes" in shown and "--discriminator-steps" in shown
    assert "for each step of the generator" in " ".join(shown.split())


def test_a_field_is_not_short_for_an_option(capsys):
    """``--data`` is what some recipes run on; ``--data-dir`` is where the sets are."""
    assert cli.main(["train", "steering", "--smoke", "--data", "digits", "--preset", "none"]) == 0


def test_data_scripts_tell_their_options(capsys):
    assert cli.main(["data", "celeba", "--help"]) == 0
    assert "--twin" in capsys.readouterr().out


def test_the_example_survives_being_killed(tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    example = example.replace("checkpoint_minutes=5", "checkpoint_minutes=0")
    killed = example.replace("loss.backward()", "loss.backward()\n        assert step != 77, 'killed'")
    assert killed != example
    (tmp_path / "whole").mkdir()
    monkeypatch.chdir(tmp_path / "whole")
    exec(compile(example, "full-scale.md", "exec"), {})
    (tmp_path / "in two").mkdir()
    monkeypatch.chdir(tmp_path / "in two")
    with pytest.raises(AssertionError, match="killed") as error:
        exec(compile(killed, "full-scale.md", "exec"), {})
    assert "was at step 77; its last checkpoint is of step 50" in error.value.__notes__[0]
    exec(compile(example, "full-scale.md", "exec"), {})
    states = [read_checkpoint(tmp_path / folder / "my-run" / "checkpoints") for folder in ("whole", "in two")]
    assert [step for step, _ in states] == [100, 100]
    first, second = (state["shared"]["generator"] for _, state in states)
    assert all(torch.equal(first[name], second[name]) for name in first)
