"""Results survive the disk, intervals cover, sliders hold what they promise."""

import dataclasses
import re

import numpy as np
import pytest

from ndiv_lib.reporting.films import donut_film
from ndiv_lib.reporting.plotting import summary, table
from ndiv_lib.reporting.results import (
    Result,
    bootstrap_interval,
    load,
    load_arrays,
    median_difference_interval,
    recorded_cells,
    save,
    stamp,
)
from ndiv_lib.reporting.widgets import frame_slider

RESULT = Result("toy", "cell", {"alpha": 0.5}, [0, 1], {"cover": [0.123456789, 1.0]}, 10, 20, minutes=0.5)


def test_a_result_comes_back_from_disk(tmp_path):
    save(stamp(RESULT), tmp_path, arrays={"samples": np.arange(3)})
    loaded = load("toy", "cell", folder=tmp_path)
    assert loaded.values == {"cover": [0.123457, 1.0]} and loaded.config == RESULT.config
    assert loaded.revision and loaded.versions["torch"] and loaded.peak_memory_mb > 0
    assert list(load_arrays("toy", "cell", folder=tmp_path)["samples"]) == [0, 1, 2]
    assert recorded_cells("toy", folder=tmp_path) == ["cell"]
    assert not list(tmp_path.rglob("*partial*"))


def test_missing_results_say_what_there_is(tmp_path):
    save(RESULT, tmp_path)
    with pytest.raises(FileNotFoundError, match="recorded for 'toy': cell"):
        load("toy", "other", folder=tmp_path)
    with pytest.raises(FileNotFoundError, match="no"):
        load_arrays("toy", "cell", folder=tmp_path)


def test_seeds_join_only_within_one_configuration():
    more = dataclasses.replace(RESULT, seeds=[2], values={"cover": [0.5]})
    joined = RESULT.extended(more)
    assert joined.seeds == [0, 1, 2] and joined.values["cover"][-1] == 0.5 and joined.minutes == 1.0
    with pytest.raises(ValueError, match="one configuration"):
        RESULT.extended(dataclasses.replace(more, config={"alpha": 1.0}))
    with pytest.raises(ValueError, match="new seeds"):
        RESULT.extended(RESULT)
    with pytest.raises(ValueError, match="one value of 'cover'"):
        dataclasses.replace(RESULT, seeds=[0])


def test_bootstrap_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    covered = [
        low <= 0 <= high for low, high in (bootstrap_interval(random.normal(size=20)) for _ in range(200))
    ]
    assert 0.88 <= np.mean(covered) <= 0.99
    low, high = median_difference_interval([2.0, 2.1, 1.9] * 4, [1.0, 1.1, 0.9] * 4)
    assert 0 < low <= 1 <= high
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])


def test_a_slider_shows_one_frame_and_names_every_position():
    markup = frame_slider(
        [b"%d" % i for i in range(6)], {"n": [64, 256], "step": [0, 1, 2]}, alts=list("abcdef")
    ).markup
    assert markup.count('class="nd-frame"') == 6 and markup.count(" hidden>") == 5
    assert re.search(r'alt="f" src="[^"]+">', markup), "starts at the last positions"
    assert 'data-labels="64|256"' in markup and 'aria-valuetext="2"' in markup
    assert "http" not in markup


def test_a_slider_refuses_frames_that_do_not_match():
    with pytest.raises(ValueError, match="expected 2 frames"):
        frame_slider([b""], {"step": [0, 1]}, alts=["a"])


def test_tables_and_summaries_show_what_they_get():
    markup = table([{"method": "a < b", "cover": summary([0.1, 0.3, 0.2])}], caption="rates").markup
    assert "a &lt; b" in markup and ">0.20 <" in markup and ">[0.10, 0.30]<" in markup
    assert "<caption>rates</caption>" in markup
    with pytest.raises(ValueError, match="at least one row"):
        table([])


def test_every_recorded_donut_film_can_be_shown():
    film = donut_film().markup
    frames = len(load("donut", "film-gan").config["watch_steps"])
    assert film.count("nd-frame") >= frames and "after 0 training steps" in film
