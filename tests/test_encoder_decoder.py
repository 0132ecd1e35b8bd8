"""The encoder-decoders of Fig. 24: shapes and latent widths, skips, sources of randomness, and initial weights that can learn."""

import pytest
import torch

from ndiv_lib.models import CodePredictor, SkipEncoder, SkipGenerator
from ndiv_lib.models.encoder_decoder import LATENT_DIMS


def networks(size, *, channels=1, width=2, seed=0, **options):
    draws = torch.Generator().manual_seed(seed)
    encoder = SkipEncoder(size, channels=channels, width=width, generator=draws)
    answers = SkipGenerator(size, channels=channels, width=width, generator=draws, **options)
    return encoder, answers, CodePredictor(size, width=width, generator=draws)


@pytest.mark.parametrize("size", LATENT_DIMS)
def test_shapes_and_the_papers_latents(size):
    encoder, answers, predictor = networks(size, channels=3)
    features = encoder(torch.zeros(2, 3, size, size))
    assert [maps.shape[-1] for maps in features] == [4 * 2**i for i in range(len(features))]
    assert features[-1].shape[-1] == size // 2
    latents = torch.randn(2, LATENT_DIMS[size], generator=torch.Generator().manual_seed(1))
    images, predicted = answers(features, latents), predictor(features, latents)
    assert images.shape == (2, 3, size, size) and images.abs().max() <= 1
    assert predicted.shape == (2, LATENT_DIMS[size] + 1)
    (images.sum() + predicted.sum()).backward()
    assert all(p.grad is not None for network in (encoder, answers, predictor) for p in network.parameters())


def test_latents_are_those_that_are_printed():
    assert LATENT_DIMS == {32: 10, 64: 16, 128: 32, 256: 64}


def test_every_convolution_but_the_last_is_normalized():
    encoder, answers, _ = networks(64)
    for network, bare in ((encoder, 0), (answers, 1)):
        kinds = [type(module) for module in network.modules()]
        convolutions = kinds.count(torch.nn.Conv2d) + kinds.count(torch.nn.ConvTranspose2d)
        assert convolutions - kinds.count(torch.nn.BatchNorm2d) == bare


@pytest.mark.parametrize("skips", [True, False])
def test_skips_reach_the_image(skips):
    encoder, answers, _ = networks(32, skips=skips)
    encoder.eval(), answers.eval()
    code, *maps = encoder(torch.zeros(1, 1, 32, 32))
    latents = torch.zeros(1, 10)
    for i in range(len(maps)):
        other = [one + (j == i) for j, one in enumerate(maps)]
        same = torch.equal(answers([code, *maps], latents), answers([code, *other], latents))
        assert same is not skips


def test_in_eval_mode_samples_do_not_see_each_other():
    encoder, answers, predictor = (network.eval() for network in networks(32))
    images = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    latents = torch.randn(3, 10, generator=torch.Generator().manual_seed(3))
    for head in (answers, predictor):
        together = head(encoder(images), latents)
        torch.testing.assert_close(together[:1], head(encoder(images[:1]), latents[:1]))


def test_a_latent_changes_the_image():
    encoder, answers, _ = networks(32)
    features = encoder.eval()(torch.zeros(1, 1, 32, 32))
    one, other = (answers.eval()(features, sign * torch.eye(10)[:1]) for sign in (1, -1))
    assert (one - other).abs().mean() > 0.05


def test_weights_follow_the_seed():
    first, again, other = (networks(32, seed=seed)[1].state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["last.weight"], other["last.weight"])


def test_printed_weights_start_where_tanh_is_flat():
    """App. 3.1: normal weights of standard deviation 0.5, at the width of context encoders."""
    flat = {}
    for std in (None, 0.5):
        draws = torch.Generator().manual_seed(0)
        shared = {"channels": 1, "width": 16, "weight_std": std, "generator": draws}
        images = torch.rand(8, 1, 32, 32, generator=draws) * 2 - 1
        outputs = SkipGenerator(32, **shared)(SkipEncoder(32, **shared)(images), torch.zeros(8, 10))
        flat[std] = float((outputs.abs() > 0.99).double().mean())
    assert flat[0.5] > 0.5 and flat[None] < 0.2


@pytest.mark.parametrize("network", [SkipEncoder, SkipGenerator, CodePredictor])
def test_other_sizes_are_refused(network):
    with pytest.raises(ValueError, match="expected image_size to be one of 32, 64, 128, 256, got 28"):
        network(28)


@pytest.mark.parametrize("network", [SkipEncoder, SkipGenerator, CodePredictor])
def test_other_widths_are_refused(network):
    with pytest.raises(ValueError, match="expected width >= 1, got 0"):
        network(32, width=0)


def test_wrong_input_is_refused():
    encoder, answers, predictor = networks(32)
    with pytest.raises(TypeError, match=r"images in \[-1, 1\] to be floating point, got torch.uint8"):
        encoder(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"expected images of shape \(n, 1, 32, 32\)"):
        encoder(torch.zeros(2, 3, 32, 32))
    features = encoder(torch.zeros(2, 1, 32, 32))
    for head in (answers, predictor):
        for latents in (torch.zeros(2, 9), torch.zeros(1, 10), torch.zeros(10)):
            with pytest.raises(ValueError, match=r"expected latents of shape \(2, 10\), one for each image"):
                head(features, latents)
