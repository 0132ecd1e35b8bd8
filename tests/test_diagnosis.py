"""Is this mode collapse? Healthy sets raise no alarm, broken ones do, and few samples are said to be few."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.diagnosis import diagnose
from ndiv_lib.diagnosis.inputs import check_samples
from tests.toy_sets import CORNERS, blobs, shapes

# --- The answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [40, 100])
def test_real_against_real_raises_no_alarm(count):
    found = [
        diagnose(real=blobs(4, count, 2 * seed), generated=blobs(4, count, 2 * seed + 1))
        for seed in range(20)
    ]
    assert sum(bool(one.alarms) for one in found) <= 1


def test_lost_modes_raise_an_alarm_and_are_named():
    found = diagnose(real=blobs(4, 300, 0), generated=blobs(3, 300, 1))
    assert found.verdict == "collapse"
    assert found["coverage"].alarm and found["bins"].alarm and not found["precision"].alarm
    assert found.bins and all(one.num_generated < one.expected for one in found.bins)
    assert sum(one.num_real for one in found.bins) > 40  # most of the lost quarter
    assert all((one.value > one.limit) == (one.worse == "high") for one in found.alarms)


def test_repetition_is_collapse():
    real, few = blobs(4, 200, 0), blobs(4, 20, 1)
    found = diagnose(real=real, generated=few.repeat(10, 1) + 1e-3 * blobs(1, 200, 2))
    assert found.verdict == "collapse" and found["near-duplicates"].value == 1


def test_a_single_point_is_collapse():
    found = diagnose(real=blobs(4, 100, 0), generated=CORNERS[:1].repeat(100, 1))
    assert found.verdict == "collapse" and found["diversity"].value == 0
    assert all(math.isfinite(one.value) and math.isfinite(one.limit) for one in found.findings)


def test_blur_is_not_collapse():
    digits = load_digits_split(seed=0)
    blurred = F.avg_pool2d(F.pad(digits.train_images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    found = diagnose(real=digits.held_out_images, generated=blurred)
    assert found.verdict == "different" and found["sharpness"].alarm


def test_samples_beside_the_real_ones_are_not_collapse():
    found = diagnose(real=blobs(4, 200, 0), generated=blobs(4, 200, 1) + 4)
    assert found.verdict == "different" and found["precision"].alarm


def test_few_samples_are_too_few_to_know():
    found = diagnose(real=shapes(50, 0).images, generated=shapes(50, 1).images)
    assert found.verdict == "cannot be known" and found.power.rates[0.3] < 0.8
    assert "too few" in found.to_text() and str(found.power.needed) in found.to_text()


def test_an_ignored_latent_is_seen_only_with_conditions():
    drawn, asked = shapes(400, 0), shapes(400, 1).conditions
    templates = OneToMany().templates()
    generated = templates[asked, 3]
    found = diagnose(
        real=drawn.images, generated=generated, conditions_real=drawn.conditions, conditions_generated=asked
    )
    assert found.verdict == "collapse" and all(one.identical for one in found.conditions)
    assert found["diversity within a condition"].value == 0 and "identical" in found.to_text()
    healthy = shapes(400, 2)
    found = diagnose(
        real=drawn.images,
        generated=healthy.images,
        conditions_real=drawn.conditions,
        conditions_generated=healthy.conditions,
    )
    assert found.verdict == "no sign of collapse"
    assert all(0.9 < one.ratio < 1.1 and not one.identical for one in found.conditions)


def test_another_mix_of_conditions_is_no_collapse():
    real, generated = shapes(400, 0), shapes(1200, 1)
    often = (generated.conditions < 2).nonzero()[:, 0][:340]
    seldom = (generated.conditions >= 2).nonzero()[:, 0][:60]
    chosen = torch.cat([often, seldom])
    sides = {"real": real.images, "generated": generated.images[chosen]}
    assert diagnose(**sides).verdict == "collapse"
    given_conditions = diagnose(
        **sides, conditions_real=real.conditions, conditions_generated=generated.conditions[chosen]
    )
    assert not given_conditions.alarms


def test_one_real_sample_for_each_condition_has_no_ratio():
    names = [f"photo {number}" for number in range(30)]
    real = shapes(30, 0).images
    generated = shapes(90, 1).images
    found = diagnose(
        real=real,
        generated=generated,
        conditions_real=names,
        conditions_generated=names * 3,
    )
    assert all(math.isnan(one.ratio) and not one.identical for one in found.conditions)
    assert "no two real samples" in found.to_text()
    same = real.repeat(3, 1, 1, 1)
    found = diagnose(real=real, generated=same, conditions_real=names, conditions_generated=names * 3)
    assert found.verdict == "collapse" and all(one.identical for one in found.conditions)


def test_the_same_seed_gives_the_same_answer_and_inputs_stay():
    real, generated = blobs(4, 60, 0), blobs(4, 60, 1)
    before = real.clone(), generated.clone()
    assert diagnose(real=real, generated=generated, seed=3) == diagnose(
        real=real, generated=generated, seed=3
    )
    assert torch.equal(real, before[0]) and torch.equal(generated, before[1])


def test_features_are_taken_and_named():
    def mean_color(images):
        return images.mean((2, 3))

    found = diagnose(real=shapes(60, 0).images, generated=shapes(60, 1).images, features=mean_color)
    assert "mean_color (3 numbers)" in found.compared


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 30), st.integers(20, 45), st.integers(1, 3), st.integers(1, 30), st.integers(0, 100))
def test_any_finite_samples_get_an_answer(num_real, num_generated, dims, distinct, seed):
    """Also with many coinciding samples."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(distinct + 1, dims, generator=random)
    values[-1] += 1  # at least two that differ
    real = values[torch.randint(distinct + 1, (num_real,), generator=random)]
    real[0], real[1] = values[0], values[-1]
    generated = values[torch.randint(distinct, (num_generated,), generator=random)]
    found = diagnose(real=real, generated=generated)
    numbers = [number for one in found.findings for number in (one.value, one.limit, one.floor, one.p_value)]
    assert np.isfinite(numbers).all() and found.to_text()
    assert all(0 < one.p_value <= 1 for one in found.findings)


# --- Bad input --------------------------------------------------------------------------------------------------------

IMAGES = torch.zeros(20, 3, 8, 8)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (IMAGES[:19], IMAGES, "at least 20 real samples, got 19"),
        (IMAGES, IMAGES[..., :7], r"one shape, got \(3, 8, 8\) and \(3, 8, 7\)"),
        (IMAGES[:, :2], IMAGES[:, :2], "images .n, 1 or 3, H, W. or vectors"),
        (IMAGES[..., :3, :3], IMAGES[..., :3, :3], "at least 4 px"),
        (IMAGES, IMAGES + 127, r"in \[-1, 1\], got values from 127 to 127; bytes become floats"),
        (IMAGES * float("nan"), IMAGES, "finite real samples"),
        (torch.zeros(6000, 2), torch.zeros(6000, 2), "at most 10,000 samples .* random part"),
    ],
)
def test_bad_samples_are_refused(real, generated, message):
    with pytest.raises(ValueError, match=message):
        check_samples(real, generated)


def test_bytes_are_refused():
    with pytest.raises(TypeError, match=r"floating point, got torch.uint8"):
        diagnose(real=IMAGES.byte(), generated=IMAGES)


def test_identical_samples_everywhere_are_refused():
    with pytest.raises(ValueError, match="expected samples that differ"):
        diagnose(real=IMAGES, generated=IMAGES)


@pytest.mark.parametrize(
    ("of_real", "of_generated", "message"),
    [
        ([0] * 40, None, "for both sets or for neither"),
        ([0] * 39, [0] * 40, "one condition for each of 40 real samples, got 39"),
        ([0, 1] * 20, [0] * 40, "no generated samples for 1; leave these out"),
    ],
)
def test_bad_conditions_are_refused(of_real, of_generated, message):
    with pytest.raises(ValueError, match=message):
        diagnose(
            real=blobs(4, 40, 0),
            generated=blobs(4, 40, 1),
            conditions_real=of_real,
            conditions_generated=of_generated,
        )
