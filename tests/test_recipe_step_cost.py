"""What a step costs: operations are counted right, and the method's own term is what it should be."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ndiv_lib.recipes import step_cost as recipe
from ndiv_lib.reporting.results import load

torch.set_num_threads(1)


@pytest.mark.parametrize("preset", recipe.PRESETS)
def test_every_preset_runs(preset):
    measured = recipe.run(recipe.smoke(recipe.PRESETS[preset]), [0])
    assert all(value > 0 for values in measured.values.values() for value in values)


def test_a_second_latent_doubles_the_generators_work():
    ratios = {
        pairs: recipe.cost(recipe.smoke(recipe.PRESETS[f"hierarchical-{pairs}"]), 0)["flop_ratio"]
        for pairs in ("same_batch", "second_batch")
    }
    assert ratios["same_batch"] == 1
    trainer = recipe.Trainer(recipe.smoke(recipe.Config()), 0)
    with FlopCounterMode(display=False) as step:
        trainer.step("none")
    with FlopCounterMode(display=False) as generator:
        trainer.generator(trainer.latents(), trainer.labels()).sum().backward()
    assert (ratios["second_batch"] - 1) * step.get_total_flops() == pytest.approx(generator.get_total_flops())


def test_pairs_share_their_condition():
    labels = recipe.Trainer(recipe.smoke(recipe.Config()), 0).labels()
    a, b = labels.chunk(2)
    assert (a == b).all() and len(labels.unique()) == 4


def test_what_the_records_say():
    ratio = {cell: load("step_cost", cell).values["flop_ratio"][0] for cell in recipe.PRESETS}
    assert ratio["mode_seeking-same_batch"] == ratio["hierarchical-same_batch"] == 1
    assert ratio["augmentation"] < 1.01 < ratio["encoder"] < ratio["hierarchical-second_batch"]
    memory = load("step_cost", "hierarchical-same_batch").values["memory_ratio"]
    assert min(memory) > 1
