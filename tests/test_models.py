"""The small convolutional pair: shapes, classes, reproducible weights, no exchange between samples, errors."""

import pytest
import torch

from ndiv_lib.activations import record_activations
from ndiv_lib.models import ConvDiscriminator, ConvGenerator, TransposedGenerator


def pair(image_size, *, num_classes=0, seed=0, channels=3):
    shape = {"image_size": image_size, "channels": channels, "width": 8, "num_classes": num_classes}
    draws = torch.Generator().manual_seed(seed)
    return ConvGenerator(6, **shape, generator=draws), ConvDiscriminator(**shape, generator=draws)


@pytest.mark.parametrize("num_classes", [0, 10])
@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_shapes_and_gradients(image_size, num_classes):
    generator, discriminator = pair(image_size, num_classes=num_classes)
    latents = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    labels = (torch.tensor([0, 3, 9, 9]),) if num_classes else ()
    images = generator(latents, *labels)
    logits = discriminator(images, *labels)
    assert images.shape == (4, 3, image_size, image_size)
    assert logits.shape == (4,)
    assert images.abs().max() <= 1
    logits.sum().backward()
    for network in (generator, discriminator):
        assert all(parameter.grad is not None for parameter in network.parameters())


def test_samples_do_not_see_each_other():
    generator, discriminator = pair(8)
    latents = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    images = generator(latents)
    torch.testing.assert_close(generator(latents[:1]), images[:1])
    torch.testing.assert_close(discriminator(images[:1]), discriminator(images)[:1])


def test_a_class_changes_the_image_and_the_logit_once_it_is_learned():
    generator, discriminator = pair(8, num_classes=2)
    for network in (generator, discriminator):
        torch.nn.init.normal_(network.embedding.weight, generator=torch.Generator().manual_seed(2))
    latents, labels = torch.zeros(2, 6), torch.tensor([0, 1])
    images = generator(latents, labels)
    assert not torch.allclose(images[0], images[1])
    logits = discriminator(images[:1].expand(2, -1, -1, -1), labels)
    assert logits[0] != logits[1]


def test_weights_follow_the_seed():
    first, again, other = (pair(8, seed=seed)[0].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["first.weight"], other["first.weight"])


def test_features_can_be_compared():
    discriminator = pair(16)[1]
    assert discriminator.features(torch.zeros(5, 3, 16, 16)).shape == (5, discriminator.last.in_features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvGenerator(6, image_size=12), "image_size to be one of 8, 16, 32"),
        (lambda: ConvDiscriminator(image_size=64), "image_size to be one of 8, 16, 32"),
        (lambda: pair(8)[0](torch.zeros(4, 5)), r"latents of shape \(n, 6\)"),
        (lambda: pair(8)[1](torch.zeros(4, 1, 8, 8)), r"images of shape \(n, 3, 8, 8\)"),
        (lambda: pair(8)[0](torch.zeros(4, 6), torch.zeros(4).long()), "without classes"),
        (lambda: pair(8, num_classes=2)[0](torch.zeros(4, 6)), "got none"),
        (lambda: pair(8, num_classes=2)[0](torch.zeros(4, 6), torch.zeros(4)), "integer label"),
        (lambda: pair(8, num_classes=2)[0](torch.zeros(4, 6), torch.full((4,), 2)), r"in \[0, 2\)"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("image_size", [8, 16, 32])
def test_transposed_generator_names_the_path_from_latent_to_image(image_size):
    network = TransposedGenerator(
        5, image_size=image_size, width=4, num_classes=3, condition_repeats=2, generator=torch.Generator()
    )
    names = [f"blocks.{index}" for index in range(len(network.blocks))]
    with record_activations(network, names) as layers:
        images = network(torch.randn(6, 5), torch.tensor([0, 1, 2] * 2))
    assert [layer.shape[-1] for layer in layers.values()] == [
        4 * 2**level for level in range(len(names))
    ]  # the image comes after the last
    assert images.shape == (6, 3, image_size, image_size)
    assert images.abs().max() <= 1
    images.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_transposed_generator_weights_follow_the_seed():
    first, again, other = (
        TransposedGenerator(5, image_size=8, generator=torch.Generator().manual_seed(seed)).state_dict()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_scaling_latents_and_condition_together_changes_nothing_after_normalization():
    """What lambda = 1 means at the first layer is decided by the latents' scale, which the images do not show."""
    network = TransposedGenerator(5, image_size=8, num_classes=3, condition_scale=1.0)
    latents, labels = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
    torch.nn.init.normal_(network.blocks[0][0].weight, generator=torch.Generator().manual_seed(1))
    images = network(latents, labels)
    network.condition_scale = 0.3
    torch.testing.assert_close(network(0.3 * latents, labels), images, atol=1e-3, rtol=1e-3)


def test_transposed_generator_refuses_bad_input():
    with pytest.raises(ValueError, match="image_size"):
        TransposedGenerator(5, image_size=12)
    with pytest.raises(ValueError, match=r"\(n, 5\)"):
        TransposedGenerator(5, image_size=8)(torch.zeros(2, 4))
