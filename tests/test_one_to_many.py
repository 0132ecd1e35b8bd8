"""One-to-many images: templates apart by a margin, samples that get back their own factors, independent factors, errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ndiv_lib.data.one_to_many import OneToMany

settings_of_data = st.builds(
    OneToMany,
    image_size=st.sampled_from([16, 32]),
    num_classes=st.integers(1, 4),
    num_positions=st.integers(1, 4),
    num_counts=st.integers(1, 3),
    num_colors=st.integers(1, 6),
    num_textures=st.integers(1, 4),
)
LARGEST = {"num_positions": 4, "num_counts": 3, "num_colors": 6, "num_textures": 4}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def test_templates_differ_by_more_than_twice_the_noise():
    """The largest setting contains all smaller ones' modes, or modes that are as far apart."""
    for size in (16, 32):
        data = OneToMany(image_size=size, **LARGEST)
        assert data.tolerance() > 0.1  # no noise may be larger
    assert OneToMany().tolerance() > 0.16


@settings(max_examples=15, deadline=None)
@given(settings_of_data, st.integers(0, 5))
def test_samples_get_back_their_own_modes(data, seed):
    if data.num_modes == 1:
        return
    drawn = data.sample(50, generator=draw(seed))
    assert drawn.images.shape == (50, 3, data.image_size, data.image_size)
    assert drawn.images.abs().max() <= 1
    assert torch.equal(data.assign(drawn.images, drawn.conditions), drawn.modes)


def test_noise_is_bounded():
    data = OneToMany()
    drawn = data.sample(200, generator=draw())
    away = (drawn.images - data.templates()[drawn.conditions, drawn.modes]).abs().max()
    assert 0.09 < float(away) <= data.noise + 1e-6


def test_factors_are_independent():
    """Each factor changes only what it names: color and texture the pixels that are lit, position and count which are."""
    data = OneToMany(num_positions=4, num_counts=2, num_colors=2, num_textures=2)
    templates = data.templates().unflatten(1, (4, 2, 2, 2))
    lit = (templates > -0.5).any(-3)
    for position in range(4):
        for count in range(2):
            same = lit[:, position, count].flatten(1, 2)
            assert (same == same[:, :1]).all()
    area = lit.flatten(-2).sum(-1)
    assert (area[:, :, 1] == 2 * area[:, :, 0]).all()
    palette = templates.amax((-1, -2))[:, 0, 0]
    assert not torch.equal(palette[:, 0, 0], palette[:, 1, 0])


def test_factors_are_drawn_independently():
    data = OneToMany()
    drawn = data.sample(20_000, generator=draw(3))
    factors = data.factors()[drawn.modes].float()
    correlation = torch.corrcoef(torch.cat([factors, drawn.conditions[:, None].float()], dim=1).T)
    assert (correlation - torch.eye(5)).abs().max() < 0.03


def test_two_sizes_show_the_same_picture():
    small, large = OneToMany().templates(), OneToMany(image_size=32).templates()
    halved = torch.nn.functional.avg_pool2d(large.flatten(0, 1), 2).unflatten(0, (4, 16))
    assert (small - halved).abs().mean() < 0.1  # rounder corners


def test_evaluation_counts_levels_separately():
    data = OneToMany(noise=0.0)
    templates = data.templates()
    labels = torch.arange(4).repeat_interleave(data.num_modes)
    everything = data.evaluate(templates.flatten(0, 1), labels)
    assert (everything.precision, everything.joint, everything.high, everything.low) == (1, 1, 1, 1)
    assert everything.even_joint == pytest.approx(1, abs=1e-6)

    of_low = torch.arange(data.num_high) * data.num_low  # every layout, one appearance
    found = data.evaluate(
        templates[:, of_low].flatten(0, 1), torch.arange(4).repeat_interleave(data.num_high)
    )
    assert (found.high, found.low, found.joint) == (1, 0.25, 0.25)
    assert found.even_high == pytest.approx(1, abs=1e-6)
    assert found.even_low == pytest.approx(0.25, abs=1e-6)


def test_gray_images_are_not_valid():
    data = OneToMany()
    found = data.evaluate(torch.zeros(40, 3, 16, 16), torch.arange(4).repeat(10))
    assert (found.precision, found.joint, found.high, found.low) == (0, 0, 0, 0)


def test_a_shape_of_another_condition_is_not_valid():
    data = OneToMany(noise=0.0)
    modes = data.assign(data.templates()[0], torch.full((16,), 2))
    assert (modes == -1).all()


def test_same_seed_same_images():
    first, again, other = (OneToMany().sample(9, generator=draw(seed)).images for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 20}, "image_size"),
        ({"num_classes": 5}, "num_classes"),
        ({"num_counts": 0}, "num_counts"),
        ({"noise": 0.2}, "noise"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        OneToMany(**options)


def test_bad_images_and_conditions():
    data, good = OneToMany(), torch.zeros(4, 3, 16, 16)
    with pytest.raises(ValueError, match="shape"):
        data.assign(torch.zeros(4, 3, 8, 8), torch.arange(4))
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite images"):
            data.evaluate(good + bad, torch.arange(4))
    with pytest.raises(TypeError, match="floating"):
        data.assign(good.int(), torch.arange(4))
    with pytest.raises(ValueError, match="one integer condition"):
        data.assign(good, torch.arange(3))
    with pytest.raises(ValueError, match=r"\[0, 4\)"):
        data.assign(good, torch.full((4,), 4))
    with pytest.raises(ValueError, match="every condition"):
        data.evaluate(good, torch.zeros(4, dtype=torch.long))
    with pytest.raises(ValueError, match="num_samples"):
        data.sample(0)
    with pytest.raises(TypeError, match="num_samples to be an integer"):
        data.sample(1.5)
