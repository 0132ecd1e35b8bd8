"""SNDCGAN and MSGAN's conditional DCGAN: layers and weights by count, classes as planes, and what every pair keeps."""

import pytest
import torch

from ndiv_lib.models import (
    ConditionalDCGANDiscriminator,
    ConditionalDCGANGenerator,
    SNDCGANDiscriminator,
    SNDCGANGenerator,
)
from tests import image_networks as check

PAIRS = {
    "sndcgan": (SNDCGANGenerator, SNDCGANDiscriminator),
    "conditional": (ConditionalDCGANGenerator, ConditionalDCGANDiscriminator),
}


def pair(name, image_size=8, *, num_classes=0, draws=None, **of_discriminator):
    shape = {"image_size": image_size, "num_classes": num_classes, "width": 4}
    shape["generator"] = draws or check.draws(0)
    make_generator, make_discriminator = PAIRS[name]
    return make_generator(6, **shape), make_discriminator(**shape, **of_discriminator)


@pytest.mark.parametrize(
    ("name", "image_size", "num_classes", "normalized"),
    [
        ("sndcgan", 8, 3, True),
        ("sndcgan", 16, 0, False),
        ("sndcgan", 32, 0, True),
        ("sndcgan", 64, 0, True),
        ("conditional", 8, 0, True),
        ("conditional", 16, 3, False),
        ("conditional", 32, 10, False),
    ],
)
def test_pair(name, image_size, num_classes, normalized):
    networks = pair(name, image_size, num_classes=num_classes, spectral_norm=normalized)
    check.check_pair(*networks, num_classes=num_classes)


def weights(fan_in, fan_out, side):
    return side**2 * fan_in * fan_out


def test_number_of_parameters_of_sndcgan():
    """Counted from the table in print: (channels, side of the filter); normalization replaces a bias by a scale and a shift."""
    layers = [
        (3, 64, 3),
        (64, 128, 4),
        (128, 128, 3),
        (128, 256, 4),
        (256, 256, 3),
        (256, 512, 4),
        (512, 512, 3),
    ]
    convolutions = sum(weights(*layer) + layer[1] for layer in layers)
    for image_size in (32, 64):
        side = image_size // 8
        found = check.num_parameters(SNDCGANDiscriminator(image_size=image_size))
        assert found == convolutions + 512 * side**2 + 1
        first = 128 * 512 * side**2 + 2 * 512
        ups = sum(weights(a, b, 4) + 2 * b for a, b in ((512, 256), (256, 128), (128, 64)))
        found = check.num_parameters(SNDCGANGenerator(image_size=image_size))
        assert found == first + ups + weights(64, 3, 3) + 3


def test_number_of_parameters_of_the_conditional_pair():
    ups = sum(weights(a, b, 4) + 2 * b for a, b in ((110, 512), (512, 256), (256, 128)))
    found = check.num_parameters(ConditionalDCGANGenerator(num_classes=10))
    assert found == ups + weights(128, 3, 4) + 3
    first = weights(13, 128, 4) + 128
    downs = sum(weights(a, b, 4) + 2 * b for a, b in ((128, 256), (256, 512)))
    found = check.num_parameters(ConditionalDCGANDiscriminator(num_classes=10))
    assert found == first + downs + weights(512, 1, 4) + 1


def test_narrow_networks_have_larger_weights():
    for makes, wide in zip(PAIRS.values(), (64, 128), strict=True):
        for make in makes:
            for width in (wide, wide // 4):
                network = make(width=width, generator=check.draws(0))
                convolution = network.blocks[1][0].weight.detach()
                assert float(convolution.std()) == pytest.approx(0.02 * (wide / width) ** 0.5, rel=0.05)


def test_classes_are_planes():
    discriminator = pair("conditional", num_classes=3)[1]
    seen = []
    discriminator.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = torch.randn(2, 3, 8, 8, generator=check.draws(1))
    discriminator(images, torch.tensor([2, 0]))
    torch.testing.assert_close(seen[0][:, :3], images)
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0]])[..., None, None].expand(-1, -1, 8, 8)
    torch.testing.assert_close(seen[0][:, 3:], expected)


@pytest.mark.parametrize("name", PAIRS)
def test_a_class_changes_image_and_logit(name):
    generator, discriminator = (network.eval() for network in pair(name, num_classes=2))
    labels = torch.tensor([0, 1])
    images = generator(torch.zeros(2, 6), labels)
    assert not torch.allclose(images[0], images[1])
    logits = discriminator(images[:1].expand(2, -1, -1, -1), labels)
    assert logits[0] != logits[1]


def test_normalization_stands_where_it_is_said():
    kinds = [type(module) for module in pair("conditional", 32)[1].modules()]
    assert kinds.count(torch.nn.Conv2d) - kinds.count(torch.nn.BatchNorm2d) == 1  # not after the first
    kinds = [type(module) for module in pair("conditional", 32, spectral_norm=True)[1].modules()]
    assert torch.nn.BatchNorm2d not in kinds


@pytest.mark.parametrize("name", PAIRS)
def test_spectral_norms(name):
    check.check_spectral_norms(pair(name, 16, num_classes=3, spectral_norm=True)[1], torch.tensor([1]))


@pytest.mark.parametrize("name", PAIRS)
def test_seeds(name):
    for kind in (0, 1):
        check.check_seeds(lambda draws, kind=kind: pair(name, draws=draws, spectral_norm=True)[kind])


@pytest.mark.parametrize("name", PAIRS)
def test_penalty_is_differentiated_twice_correctly(name):
    check.check_penalty_gradient(pair(name)[1], "blocks.0.0.weight")


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("num_classes", [0, 3])
def test_bad_input(name, num_classes):
    check.check_refusals(*pair(name, num_classes=num_classes), num_classes=num_classes)
    for make in PAIRS[name]:
        with pytest.raises(ValueError, match="image_size to be one of 8, 16, 32"):
            make(image_size=28)


@pytest.mark.parametrize("name", PAIRS)
def test_layouts_and_precision(name):
    check.check_layouts(*pair(name, 16, num_classes=3), num_classes=3)


@pytest.mark.parametrize("name", PAIRS)
def test_torch_can_capture_it(name):
    generator, discriminator = pair(name, num_classes=3)
    latents, labels = check.batch(generator, num_classes=3)
    check.check_capture(generator, (latents, *labels))
    check.check_capture(discriminator, (torch.zeros(4, 3, 8, 8), *labels))
