"""The trials of the diagnosis: each preset runs, draws are disjoint, and the records say what the page says."""

import numpy as np
import pytest
import torch

from ndiv_lib.data.images import data_root
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.recipes import diagnosis_trials
from ndiv_lib.recipes.diagnosis_trials import Config, draw
from ndiv_lib.reporting.printed import printed
from ndiv_lib.reporting.results import load, recorded_cells

needs_images = pytest.mark.skipif(
    not all((data_root() / name / "manifest.json").is_file() for name in ("mnist", "cifar10")),
    reason="MNIST and CIFAR-10 are not prepared under NDIV_DATA",
)


def values(cell, metric):
    return np.array(load("diagnosis_trials", cell).values[metric])


def share(cell, metric):
    return values(cell, metric).mean()


@pytest.mark.parametrize(
    "preset",
    [
        pytest.param(name, marks=needs_images) if config.data in ("mnist", "cifar10") else name
        for name, config in diagnosis_trials.PRESETS.items()
    ],
)
def test_every_preset_runs(preset):
    config = diagnosis_trials.smoke(diagnosis_trials.PRESETS[preset])
    if config.features == "squeezenet" and not (data_root() / "squeezenet1_1").is_dir():
        pytest.skip("the weights of SqueezeNet are not under NDIV_DATA")
    measured = diagnosis_trials.run(config, [0])
    verdicts = [value[0] for name, value in measured.values.items() if name.startswith("verdict_")]
    assert sum(verdicts) == 1 and len(verdicts) == 4


@needs_images
def test_draws_are_disjoint_and_lose_three_classes():
    images, labels = diagnosis_trials._load("mnist")
    known = {image.numpy().tobytes(): int(label) for image, label in zip(images, labels, strict=True)}
    real, generated, _, _ = draw(Config(flaw="lost", num_samples=300), 0)
    classes = [[known[image.numpy().tobytes()] for image in side] for side in (real, generated)]
    assert len(set(classes[0])) == 10 and len(set(classes[1])) == 7
    assert not {image.numpy().tobytes() for image in real} & {image.numpy().tobytes() for image in generated}


def test_known_modes_are_lost_in_every_condition():
    _, images, _, conditions = draw(Config(data="one_to_many", flaw="lost"), 0)
    assert len(images) == len(conditions) == 1000
    modes = OneToMany().assign(images, conditions)
    assert [len(modes[conditions == condition].unique()) for condition in range(4)] == [11] * 4


def test_one_image_for_each_condition():
    _, images, _, conditions = draw(Config(data="one_to_many", flaw="one_each", num_samples=100), 0)
    assert all(len(images[conditions == condition].unique(dim=0)) == 1 for condition in conditions.unique())


def test_a_seed_does_not_depend_on_its_neighbors():
    config = diagnosis_trials.smoke(diagnosis_trials.PRESETS["one_to_many_lost"])
    assert torch.equal(draw(config, 1)[1], draw(config, 1)[1])
    assert not torch.equal(draw(config, 1)[1], draw(config, 2)[1])


# --- Records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
@pytest.mark.parametrize("size", [200, 1000])
def test_at_most_one_of_twenty_real_pairs_raises_an_alarm(data, size):
    alarms = values(f"{data}-none-{size}", "alarm")
    assert len(alarms) == 20 and alarms.sum() <= 1


@pytest.mark.parametrize(
    "cell", ["mnist-lost-1000", "one_to_many-lost-1000", "cifar10-lost-1000-squeezenet-128"]
)
def test_every_loss_of_thirty_percent_raises_an_alarm(cell):
    alarms = values(cell, "alarm")
    assert len(alarms) == 20 and alarms.all()


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_fifty_samples_cannot_tell(data):
    assert share(f"{data}-none-50", "verdict_cannot_be_known") >= 0.9
    assert share(f"{data}-none-50", "verdict_no_sign_of_collapse") == 0


@pytest.mark.parametrize(
    "cell",
    ["mnist-repeated-1000", "one_to_many-one_each-1000", "digits-reconstruction-898", "mnist-lost-1000"],
)
def test_collapse_is_named(cell):
    assert share(cell, "verdict_collapse") == 1


def test_blur_is_not_named_collapse():
    assert share("mnist-blurred-1000", "verdict_different") == 1


def test_pixels_hardly_see_lost_classes_of_photographs():
    assert share("cifar10-lost-1000", "verdict_collapse") < 0.5


def test_the_promise_is_about_kept():
    for size in (50, 200):
        promised = share(f"mnist-lost-{size}", "promised_at_30")
        assert share(f"mnist-lost-{size}", "alarm") > promised - 0.5
    assert share("mnist-lost-200", "alarm") > share("mnist-lost-200", "promised_at_30") - 0.15


def test_with_ndiv_a_class_is_more_varied():
    within = "value_diversity_within_a_condition"
    assert values("digits-ndiv-898", within).min() > 2 * values("digits-reconstruction-898", within).max()


def test_it_is_quick():
    assert values("large-none-1000", "seconds").max() < 60


def test_the_page_prints_what_was_recorded():
    for cell in diagnosis_trials.EXAMPLES:
        markup = printed("diagnosis_trials", cell, label="output").markup
        assert markup.startswith("<pre") and "Is this mode collapse?" in markup and "<b" not in markup
    assert len(recorded_cells("diagnosis_trials")) == len(diagnosis_trials.CELLS)
