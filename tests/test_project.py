"""What stands in several places is the same everywhere, and the wheel is complete."""

import importlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
ADDRESS = PROJECT["urls"]["Repository"]
OWNER, NAME = ADDRESS.removeprefix("https://github.com/").split("/")


def text_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    kinds = {".md", ".py", ".ipynb", ".toml", ".yml", ".yaml", ".cff", ".txt", ".lock", ""}
    return [
        ROOT / name
        for name in listed
        if Path(name).suffix in kinds and (ROOT / name).is_file() and "vendor" not in name
    ]


def test_the_address_is_the_same_everywhere():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    assert config["repository"]["url"] == ADDRESS
    assert PROJECT["urls"]["Book"] == f"https://{OWNER}.github.io/{NAME}"
    mention = re.compile(
        r"(?:github\.com/|research\.google\.com/github/)([\w.-]+)/(ndiv[\w-]*)|([\w-]+)\.github\.io/(ndiv[\w-]*)"
    )
    seen = set()
    for path in text_files():
        for match in mention.finditer(path.read_text(encoding="utf-8")):
            owner, name = match[1] or match[3], match[2] or match[4]
            assert (owner, name) == (OWNER, NAME), f"{path.relative_to(ROOT)}: {match[0]}"
            seen.add(path.name)
    assert {"pyproject.toml", "_config.yml", "CITATION.cff", "how-to-run.md"} <= seen


def test_links_to_colab_open_notebooks_that_exist():
    link = re.compile(rf"research\.google\.com/github/{OWNER}/{NAME}/blob/main/([\w./-]+)")
    for path in text_files():
        for target in link.findall(path.read_text(encoding="utf-8")):
            assert (ROOT / target).is_file(), f"{path.relative_to(ROOT)} links to {target}"


def test_the_version_is_the_same_everywhere():
    version = PROJECT["version"]
    assert importlib.import_module("ndiv_lib").__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"{ADDRESS}@v{version}" in path.read_text(), f"{path.name} installs another version"


def test_the_lock_names_no_host_and_every_requirement():
    lock = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|^-|@", lock, re.MULTILINE), "expected plain `name==version` lines"
    locked = {re.split("==", line)[0] for line in lock.splitlines() if line}
    assert {"torch", "torchvision", "jupyter-book"} <= locked
    extras = PROJECT["optional-dependencies"]
    wanted = [requirement for group in [PROJECT["dependencies"], *extras.values()] for requirement in group]
    names = {re.match(r"[\w-]+", requirement)[0].lower() for requirement in wanted} - {PROJECT["name"]}
    assert names <= locked, "run `make lock`"


@pytest.mark.parametrize("requirement", PROJECT["dependencies"] + PROJECT["optional-dependencies"]["metrics"])
def test_the_library_asks_for_lower_bounds_only(requirement):
    assert re.fullmatch(r"[\w-]+>=[\d.]+", requirement)


def test_colab_versions_satisfy_the_lower_bounds():
    lines = (ROOT / ".github/colab-constraints.txt").read_text().splitlines()
    colab = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = PROJECT["optional-dependencies"]
    for requirement in PROJECT["dependencies"] + extras["metrics"] + extras["train"] + extras["book"]:
        name, _, bound = requirement.split(",")[0].partition(">=")
        if name in colab:
            assert [int(part) for part in colab[name].split(".")] >= [
                int(part) for part in bound.split(".")
            ], requirement


def test_the_wheel_carries_claims_and_records(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    recorded = (ROOT / "ndiv_lib/reporting/recorded").rglob("*.*")
    wanted = {"ndiv_lib/__init__.py", "ndiv_lib/py.typed", "ndiv_lib/reporting/claims.yml"}
    assert wanted | {path.relative_to(ROOT).as_posix() for path in recorded} <= names
    assert {name.split("/")[0] for name in names} == {"ndiv_lib", wheel.name.split("-py3")[0] + ".dist-info"}
