"""The data scripts: layout, command line, what stays when something fails. `NDIV_DATA_RAW=DIR` adds the real files."""

import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ndiv_lib.data.images import IMAGE_SHAPES, PAIR_SHAPES
from tests import data_forms as forms
from tests.data_forms import _checks

import _layout  # isort: skip  # on the path once data_forms is imported


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    return forms.publish("mnist", tmp_path / "raw", monkeypatch)


def test_a_script_for_every_set():
    scripts = {path.stem for path in forms.SCRIPTS.glob("*.py") if not path.stem.startswith("_")}
    assert scripts == set(forms.NAMES) == IMAGE_SHAPES.keys() | PAIR_SHAPES.keys()


@pytest.mark.parametrize("name", forms.NAMES)
def test_what_is_known_of_a_set(name):
    data = forms.data_set(name)
    assert data.name == name and data.license and data.citation and data.page.startswith("http")
    channels, *size = (IMAGE_SHAPES | PAIR_SHAPES)[name]
    assert data.shape == (*size, *[3] * (channels == 3))
    assert bool(data.files) != bool(data.by_hand)
    for file in data.files:
        assert (
            len(file.sha256) == 64 and file.size > 1000 and all(url.endswith(file.name) for url in file.urls)
        )
        assert len(file.urls) == len(set(file.urls)) >= 2


def test_second_run_changes_nothing_and_damage_is_mended(mnist, tmp_path, capsys):
    arguments, folder = ["--from", str(mnist.folder), "--to", str(tmp_path / "out")], tmp_path / "out/mnist"
    assert mnist.script.main(arguments) == 0
    out = capsys.readouterr().out
    assert "40 train, 10 test" in out and "CC BY-SA 3.0" in out and "LeCun" in out
    first, written = forms.everything(folder), {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert mnist.script.main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == written

    forms.flip_bit(folder / "train.npz", 20_000)
    assert mnist.script.main(arguments) == 0
    assert forms.everything(folder) == first
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_a_write_that_fails_leaves_what_was_there(mnist, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert mnist.script.main(["--twin", "--twin-size", "40", "--to", str(out)]) == 0
    savez = _layout.np.savez

    def full_disk(path, **arrays):
        savez(path, **arrays)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_layout.np, "savez", full_disk)
    forms.refused(mnist.script, mnist.folder, out, capsys, "No space left")


def test_an_interrupted_run_leaves_what_was_there(mnist, tmp_path, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(_layout.np, "savez", interrupt)
    assert mnist.script.main(["--from", str(mnist.folder), "--to", str(tmp_path / "out")]) == 130
    assert "interrupted" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())


def test_a_rename_that_fails_puts_the_old_set_back(mnist, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert mnist.script.main(["--twin", "--twin-size", "40", "--to", str(out)]) == 0
    rename = os.rename

    def stubborn(source, target):
        if Path(source).name == "fresh":
            raise OSError("rename failed")
        rename(source, target)

    monkeypatch.setattr(_layout.os, "rename", stubborn)
    forms.refused(mnist.script, mnist.folder, out, capsys, "rename failed")
    assert _layout.read_manifest(out / "mnist")["twin"]


def test_what_a_killed_run_left_is_removed_a_day_later(mnist, tmp_path):
    out = tmp_path / "out"
    old, young = out / ".mnist-old", out / ".mnist-young"
    for folder in (old, young):
        (folder / "fresh").mkdir(parents=True)
    os.utime(old, (time.time() - 90_000,) * 2)
    assert mnist.script.main(["--from", str(mnist.folder), "--to", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [".mnist-young", "mnist"]


def test_real_data_replace_a_twin_but_never_the_reverse(mnist, tmp_path, capsys):
    out = ["--to", str(tmp_path / "out")]
    assert mnist.script.main(["--twin", "--twin-size", "40", *out]) == 0
    assert mnist.script.main(["--from", str(mnist.folder), *out]) == 0
    assert mnist.script.main(["--twin", *out]) == 1
    assert "must not replace" in capsys.readouterr().err
    assert _layout.read_manifest(tmp_path / "out" / "mnist")["twin"] is False


@pytest.mark.parametrize("as_file", [False, True], ids=["folder", "file"])
def test_what_somebody_else_made_is_left_alone(mnist, tmp_path, capsys, as_file):
    place = tmp_path / "out" / "mnist"
    (place.parent if as_file else place).mkdir(parents=True)
    (place if as_file else place / "thesis.txt").write_text("mine")
    forms.refused(mnist.script, mnist.folder, tmp_path / "out", capsys, "not made by this script", "--to")


def test_contents_of_another_kind_are_refused(mnist, tmp_path, capsys, monkeypatch):
    def check(*expected, **fields):
        with monkeypatch.context() as patch:
            forms.change(patch, "mnist", **fields)
            forms.refused(mnist.script, mnist.folder, tmp_path / "out", capsys, *expected)

    check("train images of shape (41, 28, 28), got (40, 28, 28)", counts={"train": 41})
    check("of shape (40, 32, 32)", shape=(32, 32))
    check("labels below 9, got 9", class_names=tuple("012345678"))
    check("expected arrays with sha256", sha256={**mnist.script.MNIST.sha256, "test/labels": "0" * 64})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--twin", "--from", "x"],
        ["--twin", "--twin-size", "39"],
        ["--twin", "--seed", "-1"],
        ["--twin-size", "x"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(mnist, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        mnist.script.main(arguments)
    assert "error:" in capsys.readouterr().err


def test_script_runs_by_itself_into_ndiv_data(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, forms.SCRIPTS / "mnist.py", *arguments], cwd=tmp_path, text=True,
            env={**os.environ, "NDIV_DATA": str(tmp_path / "sets")}, capture_output=True, check=False,
        )  # fmt: skip

    done = run("--twin", "--twin-size", "40")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in (tmp_path / "sets/mnist").iterdir()} == {
        "manifest.json",
        "test.npz",
        "train.npz",
    }
    failed = run("--from", str(tmp_path / "nowhere"))
    assert failed.returncode == 1 and "Traceback" not in failed.stderr and "no such folder" in failed.stderr


@pytest.mark.parametrize("name", forms.NAMES)
def test_script_runs_by_path(name, tmp_path, capsys, monkeypatch):
    """As the command line of the library runs it: from any folder, one script after the other."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(forms.SCRIPTS)])
    found = runpy.run_path(str(forms.SCRIPTS / f"{name}.py"))
    assert found["main"](["--from", "nowhere"]) == 1
    assert "no such folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        found["main"](["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert found[name.upper()].title in shown and "License:" in shown and "--mirror" in shown


@pytest.mark.parametrize("name", forms.NAMES)
def test_the_published_files(name, tmp_path, capsys):
    raw = os.environ.get("NDIV_DATA_RAW")
    if not raw:
        pytest.skip("NDIV_DATA_RAW does not name a folder with the published files")
    module = forms.script(name)
    try:
        module.read(Path(raw), _checks.Sums())
    except _checks.DataError as error:
        if "missing" in str(error) or " here, nor " in str(error):
            pytest.skip(f"not in NDIV_DATA_RAW: {error}")
        raise
    assert module.main(["--from", raw, "--to", str(tmp_path)]) == 0
    assert "every sha256 verified" in capsys.readouterr().out
    assert json.loads((tmp_path / name / "manifest.json").read_text())["verified"]
