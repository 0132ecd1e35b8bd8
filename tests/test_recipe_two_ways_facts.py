"""Operations, walk and neighbors: counted by hand, by a loop, and against what is recorded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ndiv_lib.data.images import data_root
from ndiv_lib.recipes import half_digits, two_ways_facts
from ndiv_lib.reporting.results import load, load_arrays


def values(cell, metric):
    return np.array(load("two_ways_facts", cell).values[metric])


@pytest.mark.parametrize("preset", two_ways_facts.PRESETS)
def test_every_preset_runs(preset):
    config = two_ways_facts.smoke(two_ways_facts.PRESETS[preset])
    if config.fact == "neighbors" and config.data == "mnist" and not (data_root() / "mnist").is_dir():
        pytest.skip("MNIST is not in place")
    measured = two_ways_facts.run(config, [0])
    assert all(len(one) == 1 and np.isfinite(one).all() for one in measured.values.values())


def test_a_convolution_is_counted_as_on_paper():
    layer = torch.nn.Conv2d(3, 8, 4, 2, 1)
    by_hand = 2 * 16 * 16 * 8 * 3 * 4 * 4
    assert two_ways_facts.count_operations(lambda: layer(torch.zeros(1, 3, 32, 32))) * 1e9 == by_hand


def test_table_7_counts_one_image_and_one_pass():
    """Erratum C23: the rival's sizes are published; ten images take ten times what one takes, the table has no ten."""
    found = two_ways_facts.operations(two_ways_facts.Config())
    printed = two_ways_facts.PRINTED_CONTEXT_ENCODER
    assert 0.5 * printed < found["context_encoder_one_one"] < found["context_encoder_one_two"] < 1.2 * printed
    assert found["context_encoder_ten_one"] > 5 * printed
    assert found["ours_update_one_two"] > 40 * two_ways_facts.PRINTED
    for ops in ("one", "two"):
        assert found[f"ours_pass_ten_{ops}"] == pytest.approx(10 * found[f"ours_pass_one_{ops}"])
        assert values("operations", f"context_encoder_ten_{ops}")[0] == pytest.approx(
            found[f"context_encoder_ten_{ops}"]
        )


def test_an_update_is_steps_walks_and_one_pass():
    config = two_ways_facts.Config(width=4, image_size=32, steps=3)
    few, many = (two_ways_facts.operations(replace(config, steps=steps)) for steps in (3, 6))
    a_step = (many["ours_update_one_two"] - few["ours_update_one_two"]) / 3
    rest = few["ours_update_one_two"] - 3 * a_step
    assert a_step > few["ours_pass_one_two"] and 0 < rest < 5 * few["ours_pass_one_two"]


@pytest.mark.parametrize("latent", ["sphere", "interval"])
def test_the_walk_is_eq_4_step_by_step(latent):
    config = two_ways_facts.PRESETS[f"walk-{latent}"]
    errors = two_ways_facts.walk_errors(config, torch.Generator().manual_seed(0))
    assert errors["walk_error"] < 1e-4 < errors["walk_error_shorter"]
    assert values(f"walk-{latent}", "walk_error").max() < 1e-4
    assert (
        np.median(values(f"walk-{latent}", "walk_error_shorter")) > 1e-4
    )  # some predict no momentum, and rest


def test_near_bottom_halves_have_several_digits():
    for data in ("digits", "nearest"):
        assert values(f"neighbors-{data}", "other_digit").min() > 0.05
        assert values(f"neighbors-{data}", "other_digit").max() < 0.5
        assert values(f"neighbors-{data}", "top_ratio").max() < 0.8
    assert values("neighbors-random", "other_digit").min() > 0.8
    counts = load_arrays("two_ways_facts", "neighbors-nearest")["digits"]
    confused = counts - np.diag(np.diag(counts))
    assert {3, 5} in [
        {int(i), int(j)}
        for i, j in zip(*np.where(confused > 0.1 * counts.sum(1, keepdims=True)), strict=True)
    ]


def test_neighbors_by_a_double_loop():
    config = replace(two_ways_facts.PRESETS["neighbors-digits"], num_queries=4, num_neighbors=3)
    found, _ = two_ways_facts.neighbors(config, torch.Generator().manual_seed(5))
    data = half_digits.load_data("digits")
    index = torch.randperm(len(data.test), generator=torch.Generator().manual_seed(5))[:4]
    other = 0
    for i in index:
        distances = [float((data.test[i, 0, 4:] - image[0, 4:]).norm()) for image in data.train]
        nearest = np.argsort(distances, kind="stable")[:3]
        other += int((data.train_labels[nearest] != data.test_labels[i]).sum())
    assert found["other_digit"] == pytest.approx(other / 12)
