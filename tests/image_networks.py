"""What every pair of image networks keeps, as checks that the tests of each pair call."""

import pytest
import torch
from torch.func import functional_call
from torch.nn.utils.parametrize import is_parametrized

from ndiv_lib.activations import record_activations
from ndiv_lib.adversarial import gradient_penalty, r1_penalty


def draws(seed):
    return torch.Generator().manual_seed(seed)


def batch(generator, *, num_classes=0, n=4):
    """Latents, and labels in a tuple of none or one."""
    labels = (torch.arange(n) % num_classes,) if num_classes else ()
    return torch.randn(n, generator.latent_dim, generator=draws(1)), labels


def num_parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def check_pair(generator, discriminator, *, num_classes=0):
    """Shapes, range, features, path, and gradients of every parameter, also of a penalty (double backward)."""
    latents, labels = batch(generator, num_classes=num_classes)
    names = generator.path_names()
    with record_activations(generator, names) as recorded:
        images = generator(latents, *labels)
    assert list(recorded) == names
    sides = [maps.shape[-1] for maps in recorded.values()]
    assert sides == sorted(sides) and all(maps.shape[0] == len(latents) for maps in recorded.values())
    assert images.shape == (4, *discriminator.shape) and images.abs().max() <= 1

    logits = discriminator(images, *labels)
    assert logits.shape == (4,)
    at = {level: discriminator.features(images, *labels, level=level) for level in ("logits", "pooled")}
    assert at["logits"].shape == (4, 1) and at["pooled"].shape == (4, discriminator.last.in_features)
    block = discriminator.features(images, *labels, level="block")
    assert block.ndim == 2 and len(block) == 4
    with pytest.raises(ValueError, match="level to be one of 'logits', 'pooled', 'block'"):
        discriminator.features(images, *labels, level="pixels")

    def judge(points):
        return discriminator(points, *labels)

    penalty = gradient_penalty(judge, real=-images.detach(), fake=images.detach(), generator=draws(2))
    (judge(images).sum() + penalty + r1_penalty(judge, images.detach())).backward()
    for network in (generator, discriminator):
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert all(bool(torch.isfinite(parameter.grad).all()) for parameter in network.parameters())


def check_penalty_gradient(discriminator, name):
    """The gradient of R1 by one weight, against finite differences in float64."""
    discriminator.double().eval()
    images = torch.randn(2, *discriminator.shape, generator=draws(3), dtype=torch.float64)
    parameters = dict(discriminator.named_parameters())

    def penalty(weight):
        def judge(points):
            return functional_call(discriminator, {**parameters, name: weight}, (points,))

        return r1_penalty(judge, images)

    weight = parameters[name].detach().clone()
    direction = torch.randn(weight.shape, generator=draws(4), dtype=torch.float64)
    weight.requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(weight), weight)
    step = 1e-6
    slope = (penalty(weight + step * direction) - penalty(weight - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-9)


def check_seeds(make):
    """Equal weights and buffers for equal seeds, whatever torch's global source; other weights for another seed."""
    states = []
    for seed, elsewhere in ((0, 5), (0, 6), (1, 5)):
        torch.manual_seed(elsewhere)
        states.append([*make(draws(seed)).state_dict().values()])
    first, again, other = states
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert any(not torch.equal(one, two) for one, two in zip(first, other, strict=True))


def check_refusals(generator, discriminator, *, num_classes):
    latents, labels = batch(generator, num_classes=num_classes)
    images = torch.zeros(4, *discriminator.shape)
    with pytest.raises(ValueError, match=rf"latents of shape \(n, {generator.latent_dim}\)"):
        generator(latents[:, 1:], *labels)
    with pytest.raises(ValueError, match=r"images of shape \(n, "):
        discriminator(images[:, :, 1:], *labels)
    wrong = {
        "got none": None,
        "integer label": torch.zeros(4),
        rf"in \[0, {num_classes}\)": torch.full((4,), num_classes),
    }
    for message, given in wrong.items() if num_classes else [("without classes", torch.zeros(4).long())]:
        for network, argument in ((generator, latents), (discriminator, images)):
            with pytest.raises(ValueError, match=message):
                network(argument, given)


def check_layouts(generator, discriminator, *, num_classes=0):
    """Channels-last and bf16 autocast change the numbers by rounding only."""
    generator.eval(), discriminator.eval()
    latents, labels = batch(generator, num_classes=num_classes)
    with torch.no_grad():
        images = generator(latents, *labels)
        logits = discriminator(images, *labels)
        for network in (generator, discriminator):
            network.to(memory_format=torch.channels_last)
        torch.testing.assert_close(generator(latents, *labels), images, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(discriminator(images, *labels), logits, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(generator(latents, *labels).float(), images, rtol=0, atol=0.05)
            torch.testing.assert_close(discriminator(images, *labels).float(), logits, rtol=0.05, atol=0.05)


def check_capture(network, arguments):
    """torch captures forward as one graph, without a break, and the graph computes the same."""
    network.eval()
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*arguments), network(*arguments))


def check_spectral_norms(discriminator, *labels):
    """After some iterations every layer's largest singular value is close to 1, whatever its weights were scaled by."""
    layers = [module for module in discriminator.modules() if is_parametrized(module)]
    with torch.no_grad():
        for layer in layers:
            layer.parametrizations.weight.original.mul_(7)
    discriminator.train()
    for _ in range(20):
        discriminator(torch.zeros(1, *discriminator.shape), *labels)
    discriminator.eval()
    kinds = torch.nn.Conv2d | torch.nn.Linear | torch.nn.Embedding
    assert len(layers) == sum(isinstance(module, kinds) for module in discriminator.modules())
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
        assert abs(largest.item() - 1) < 0.05, layer
