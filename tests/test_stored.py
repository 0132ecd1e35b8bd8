"""The role that puts recorded numbers into the text."""

import sys
from pathlib import Path

import pytest

from ndiv_lib.reporting.results import Result, save

sys.path.insert(0, str(Path(__file__).parents[1] / "book" / "_ext"))
stored = pytest.importorskip("stored", reason="needs the extra `book`", exc_type=ImportError)


@pytest.fixture
def folder(tmp_path):
    values = {"cover_rate": [0.5, 0.9, 0.7]}
    save(
        Result("donut", "a", config={}, seeds=[0, 1, 2], values=values, n_real=8, n_generated=8, minutes=0.1),
        tmp_path,
    )
    return tmp_path


@pytest.mark.parametrize(
    ("reference", "number"),
    [
        ("donut/a:cover_rate:median:.2f", "0.70"),
        ("donut/a:cover_rate:max:.0%", "90%"),
        ("donut/a:cover_rate:seeds:d", "3"),
    ],
)
def test_reads_a_statistic(reference, number, folder):
    assert stored.read(reference, folder) == number


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("donut/a:cover_rate:median", "recipe/cell:metric:statistic:format"),
        ("a:cover_rate:median:.2f", "recipe/cell:metric:statistic:format"),
        ("donut/a:outliers:median:.2f", "expected a metric among cover_rate"),
        ("donut/a:cover_rate:mode:.2f", "expected a statistic among median"),
    ],
)
def test_what_is_not_there_is_an_error(reference, message, folder):
    with pytest.raises(ValueError, match=message):
        stored.read(reference, folder)


def test_a_run_that_is_not_recorded_is_an_error(folder):
    with pytest.raises(FileNotFoundError, match="recorded for 'donut': a"):
        stored.read("donut/b:cover_rate:median:.2f", folder)
