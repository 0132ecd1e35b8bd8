"""compare_gan's ResNet-CIFAR: layers and weights by count, zeros between entries, and what every pair keeps."""

import pytest
import torch
from torch.nn import functional as F

from ndiv_lib.models import ResidualDiscriminator, ResidualGenerator
from tests import image_networks as check


def pair(image_size=8, *, num_classes=0, draws=None, **of_discriminator):
    shape = {"image_size": image_size, "num_classes": num_classes, "generator": draws or check.draws(0)}
    return ResidualGenerator(6, width=8, **shape), ResidualDiscriminator(width=4, **shape, **of_discriminator)


@pytest.mark.parametrize(
    ("image_size", "num_classes", "normalized"),
    [(8, 0, True), (16, 3, False), (32, 0, True), (64, 0, False), (32, 3, True)],
)
def test_pair(image_size, num_classes, normalized):
    check.check_pair(
        *pair(image_size, num_classes=num_classes, spectral_norm=normalized), num_classes=num_classes
    )


def test_sides_of_the_maps():
    """Every generator block doubles the side; the discriminator stops at 8 pixels and keeps them for two blocks."""
    for image_size, num_blocks in ((8, 1), (16, 2), (32, 3), (64, 4)):
        generator, discriminator = pair(image_size)
        assert len(generator.blocks) == num_blocks and len(discriminator.blocks) == num_blocks + 1
        maps, sides = torch.zeros(1, *discriminator.shape), []
        for block in discriminator.blocks:
            maps = block(maps)
            sides.append(maps.shape[-1])
        assert sides[-2:] == [8, 8] and sides[: num_blocks - 1] == [
            image_size // 2**level for level in range(1, num_blocks)
        ]


def conv(fan_in, fan_out, side=3):
    return side**2 * fan_in * fan_out + fan_out


def test_number_of_parameters():
    """Counted from the description: three convolutions a block; normalization has a scale and a shift a channel."""
    up = 3 * conv(256, 256) + 2 * 2 * 256
    expected = (128 + 1) * 16 * 256 + 3 * up + 2 * 256 + conv(256, 3)
    assert check.num_parameters(ResidualGenerator()) == expected == 5_849_603
    down = 2 * conv(3, 128) + conv(128, 128) + 3 * 3 * conv(128, 128)
    assert check.num_parameters(ResidualDiscriminator()) == down + 129 == 1_483_137
    assert check.num_parameters(ResidualGenerator(image_size=64)) == expected + up
    assert check.num_parameters(ResidualDiscriminator(image_size=64)) == down + 129 + 3 * conv(128, 128)


def test_narrow_networks_have_fewer_and_larger_weights():
    for make, wide in ((ResidualGenerator, 256), (ResidualDiscriminator, 128)):
        for width in (wide, wide // 4):
            network = make(width=width, generator=check.draws(0))
            std = float(network.blocks[1].conv2.weight.detach().std())
            assert std == pytest.approx(0.02 * (wide / width) ** 0.5, rel=0.05)


def test_growing_by_zeros_and_a_convolution_is_a_transposed_convolution():
    layer = pair()[0].blocks[0].conv1
    maps = torch.randn(2, 8, 4, 4, generator=check.draws(1))
    spread = torch.zeros(2, 8, 8, 8)
    spread[:, :, ::2, ::2] = maps
    expected = F.conv2d(spread, layer.weight.flip(2, 3).transpose(0, 1), layer.bias, padding=1)
    torch.testing.assert_close(layer(maps), expected)


def test_only_the_first_block_sees_negative_values():
    """A rectifier in front of it would hide half of an image in [-1, 1]."""
    discriminator = pair()[1]
    images = torch.randn(1, *discriminator.shape, generator=check.draws(1))
    residuals = []
    discriminator.blocks[0].conv1.register_forward_pre_hook(lambda _, inputs: residuals.append(inputs[0]))
    discriminator.blocks[1].conv1.register_forward_pre_hook(lambda _, inputs: residuals.append(inputs[0]))
    discriminator(images)
    assert residuals[0].min() < 0 <= residuals[1].min()


def test_spectral_norms():
    check.check_spectral_norms(pair(num_classes=3, spectral_norm=True)[1], torch.tensor([1]))


def test_seeds():
    for kind in (0, 1):
        check.check_seeds(lambda draws, kind=kind: pair(draws=draws, spectral_norm=True)[kind])


def test_penalty_is_differentiated_twice_correctly():
    check.check_penalty_gradient(pair()[1], "blocks.0.conv1.weight")


@pytest.mark.parametrize("num_classes", [0, 3])
def test_bad_input(num_classes):
    check.check_refusals(*pair(num_classes=num_classes), num_classes=num_classes)
    for make in (ResidualGenerator, ResidualDiscriminator):
        with pytest.raises(ValueError, match="image_size to be one of 8, 16, 32, 64, got 28"):
            make(image_size=28)


def test_layouts_and_precision():
    check.check_layouts(*pair(16, num_classes=3, spectral_norm=True), num_classes=3)


def test_torch_can_capture_it():
    generator, discriminator = pair(num_classes=3, spectral_norm=True)
    latents, labels = check.batch(generator, num_classes=3)
    check.check_capture(generator, (latents, *labels))
    check.check_capture(discriminator, (torch.zeros(4, 3, 8, 8), *labels))
