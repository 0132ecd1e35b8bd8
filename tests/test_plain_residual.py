"""The plain residual pair: signal sizes at the start, blocks that begin as nothing, halving, and what every pair keeps."""

import pytest
import torch
from torch.nn import functional as F

from ndiv_lib.activations import record_activations
from ndiv_lib.models import PlainResidualDiscriminator, PlainResidualGenerator
from tests import image_networks as check


def pair(image_size=8, *, num_classes=0, draws=None, width=4):
    shape = {"image_size": image_size, "num_classes": num_classes, "width": width}
    shape["generator"] = draws or check.draws(0)
    return PlainResidualGenerator(6, **shape), PlainResidualDiscriminator(**shape)


@pytest.mark.parametrize(("image_size", "num_classes"), [(8, 0), (16, 3), (32, 0), (64, 3)])
def test_pair(image_size, num_classes):
    check.check_pair(*pair(image_size, num_classes=num_classes), num_classes=num_classes)


def test_number_of_parameters():
    """Counted from the description, at 32 pixels: widths 64, 128, 256, 256 from the image's side to 4 pixels."""
    blocks = sum(2 * (9 * width**2 + width) for width in (64, 128, 256, 256))
    changes = 64 * 128 + 128 * 256
    first, last = (64 + 1) * 16 * 256, 9 * 64 * 3 + 3
    assert check.num_parameters(PlainResidualGenerator()) == first + blocks + changes + last
    first, pool, last = 9 * 3 * 64 + 64, 16 * 256 + 256, 257
    assert check.num_parameters(PlainResidualDiscriminator()) == first + blocks + changes + pool + last


def test_the_signal_keeps_its_size():
    generator, discriminator = pair(32, width=32)
    latents = torch.randn(64, 6, generator=check.draws(1))
    with record_activations(generator, generator.path_names()) as recorded:
        generator(latents)
    sizes = [float(maps.detach().square().mean().sqrt()) for maps in recorded.values()]
    assert all(0.3 < size < 2 for size in sizes)  # interpolation takes some
    images = torch.randn(64, 3, 32, 32, generator=check.draws(2))
    images = F.interpolate(images[..., :4, :4], 32)  # noise would average out
    pooled = discriminator.features(images, level="pooled")
    assert 0.2 < float(pooled.detach().square().mean().sqrt()) < 3
    maps = torch.randn(64, 32, 8, 8, generator=check.draws(3))
    inner = discriminator.blocks[0][1].conv1(F.leaky_relu(maps, 0.2))[..., 1:-1, 1:-1]
    assert float(inner.detach().square().mean()) == pytest.approx(1, rel=0.1)


def test_blocks_begin_as_nothing():
    block = pair()[0].blocks[0]
    maps = torch.randn(2, 8, 4, 4, generator=check.draws(1))
    torch.testing.assert_close(block(maps), maps, rtol=0, atol=0)
    block(maps).square().sum().backward()
    assert block.conv2.weight.grad.abs().sum() > 0


def test_halving_is_bilinear():
    images = torch.randn(2, 3, 8, 8, generator=check.draws(1))
    halve = pair()[1].blocks[1][0]
    torch.testing.assert_close(halve(images), F.interpolate(images, scale_factor=0.5, mode="bilinear"))


def test_samples_do_not_see_each_other():
    generator, discriminator = pair(16)
    latents, _ = check.batch(generator)
    images = generator(latents)
    torch.testing.assert_close(generator(latents[:1]), images[:1])
    torch.testing.assert_close(discriminator(images[:1]), discriminator(images)[:1])


def test_spectral_norm_is_refused():
    with pytest.raises(ValueError, match="start at zero"):
        PlainResidualDiscriminator(image_size=8, width=4, spectral_norm=True)


def test_seeds():
    for kind in (0, 1):
        check.check_seeds(lambda draws, kind=kind: pair(draws=draws)[kind])


def test_penalty_is_differentiated_twice_correctly():
    discriminator = pair()[1]
    torch.nn.init.normal_(discriminator.blocks[0][1].conv2.weight, std=0.1, generator=check.draws(5))
    check.check_penalty_gradient(discriminator, "blocks.0.1.conv1.weight")


@pytest.mark.parametrize("num_classes", [0, 3])
def test_bad_input(num_classes):
    check.check_refusals(*pair(num_classes=num_classes), num_classes=num_classes)
    for make in (PlainResidualGenerator, PlainResidualDiscriminator):
        with pytest.raises(ValueError, match="image_size to be one of 8, 16, 32, 64, got 28"):
            make(image_size=28)


def test_layouts_and_precision():
    check.check_layouts(*pair(16, num_classes=3), num_classes=3)


def test_torch_can_capture_it():
    generator, discriminator = pair(num_classes=3)
    latents, labels = check.batch(generator, num_classes=3)
    check.check_capture(generator, (latents, *labels))
    check.check_capture(discriminator, (torch.zeros(4, 3, 8, 8), *labels))
