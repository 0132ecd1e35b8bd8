"""The baselines' parts: embeddings, packs, steps ahead, losses."""

import math

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from ndiv_lib import baselines


def points(n=40, seed=0):
    return torch.rand(n, 2, generator=torch.Generator().manual_seed(seed))


def test_embedding_has_the_papers_size_and_scale():
    embedding = baselines.bourgain_embedding(points(), generator=torch.Generator().manual_seed(0))
    assert embedding.shape == (40, 5 * math.ceil(math.log2(40)))
    assert_close(embedding.mean(0), torch.zeros(embedding.shape[1]), atol=1e-5, rtol=0)
    assert_close(embedding.square().mean(), torch.tensor(1.0))


def test_each_coordinate_is_one_lipschitz_before_scaling():
    """Distance to a set moves at most as far as the point: Bourgain's argument, up to one common factor."""
    data = points()
    embedding = baselines.bourgain_embedding(data, generator=torch.Generator().manual_seed(0))
    data_distance = torch.cdist(data, data).fill_diagonal_(1)
    stretch = (embedding[:, None] - embedding).abs() / data_distance[..., None]
    assert float(stretch.amax((0, 1)).max() / stretch.amax((0, 1)).median()) < 3


def test_latents_lie_around_embedded_points_with_the_given_width():
    embedding = baselines.bourgain_embedding(points(), generator=torch.Generator().manual_seed(0))
    latents = baselines.bourgan_latents(
        embedding, 4000, width=0.01, generator=torch.Generator().manual_seed(1)
    )
    squared = torch.cdist(latents, embedding).amin(1).square().mean() / embedding.shape[1]
    assert float(squared) == pytest.approx(0.01**2, rel=0.1)


def test_loss_equals_a_loop_over_pairs_and_vanishes_for_a_scaling():
    generator = torch.Generator().manual_seed(0)
    latents, outputs = torch.randn(6, 3, generator=generator), torch.randn(6, 2, generator=generator)
    pairs = [
        (
            math.log(math.dist(outputs[i], outputs[i + 1]))
            - math.log(2 * math.dist(latents[i], latents[i + 1]))
        )
        ** 2
        for i in (0, 2, 4)
    ]
    got = baselines.bourgan_loss(latents, outputs, scale=2.0)
    assert float(got) == pytest.approx(sum(pairs) / 3, rel=1e-5)
    assert float(baselines.bourgan_loss(latents, 2 * latents, scale=2.0)) == pytest.approx(0, abs=1e-10)


def test_coincident_pairs_give_finite_gradients():
    latents, outputs = torch.randn(4, 3), torch.zeros(4, 2, requires_grad=True)
    baselines.bourgan_loss(latents, outputs, scale=1.0).backward()
    assert bool(torch.isfinite(outputs.grad).all())


def test_kernel_density_has_data_mean_and_widened_variance():
    data = points(200)
    samples = baselines.sample_kernel_density(
        data, 50_000, bandwidth=0.3, generator=torch.Generator().manual_seed(0)
    )
    assert_close(samples.mean(0), data.mean(0), atol=0.01, rtol=0)
    assert_close(samples.var(0), data.var(0, correction=0) + 0.09, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: baselines.bourgain_embedding(points(1)), ValueError, "at least 2"),
        (lambda: baselines.bourgain_embedding(points().long()), TypeError, "floating"),
        (lambda: baselines.bourgan_latents(points(), 3, width=0.0), ValueError, "width > 0"),
        (lambda: baselines.sample_kernel_density(points(), 3, bandwidth=-1.0), ValueError, "> 0"),
        (lambda: baselines.bourgan_loss(points(3), points(3), scale=1.0), ValueError, "even number"),
        (lambda: baselines.bourgan_loss(points(4), points(4), scale=0.0), ValueError, "scale > 0"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- PacGAN, unrolled GAN, VEEGAN, VAE --------------------------------------------------------------------------------


def test_packing_joins_neighbors():
    samples = torch.arange(2 * 6 * 2).reshape(2, 6, 2)
    packed = baselines.pack(samples, 3)
    assert packed.shape == (2, 2, 6)
    assert packed[1, 0].tolist() == samples[1, :3].flatten().tolist()
    assert torch.equal(baselines.pack(samples, 1), samples)


@pytest.mark.parametrize(("shape", "num_packed"), [((2, 5, 2), 2), ((4,), 2), ((4, 2), 0)])
def test_packing_refuses(shape, num_packed):
    with pytest.raises(ValueError, match="expected"):
        baselines.pack(torch.zeros(shape), num_packed)


def discriminator_and_points(seed=0):
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1)).double()
    return net, torch.randn(16, 2, dtype=torch.float64), torch.randn(16, 2, dtype=torch.float64)


@pytest.mark.parametrize("num_before", [0, 3])
def test_unrolled_parameters_are_those_of_adam(num_before):
    net, real, fake = discriminator_and_points()
    adam = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.999))

    def loss(parameters):
        logits = torch.func.functional_call(net, dict(parameters), (torch.cat([real, fake]),))
        return F.softplus(-logits[:16]).mean() + F.softplus(logits[16:]).mean()

    def steps(number):
        for _ in range(number):
            adam.zero_grad()
            loss(dict(net.named_parameters())).backward()
            adam.step()

    steps(num_before)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    ahead = baselines.unrolled_parameters(loss, net, adam, num_steps=5)
    assert all(torch.equal(now, then) for now, then in zip(net.parameters(), before, strict=True))
    steps(5)
    for name, parameter in net.named_parameters():
        assert_close(ahead[name], parameter, rtol=1e-6, atol=1e-9)


def test_the_generator_feels_the_steps_ahead():
    net, real, fake = discriminator_and_points()
    adam = torch.optim.Adam(net.parameters(), lr=1e-2, betas=(0.5, 0.999))

    def generator_loss(fake):
        def loss(parameters):
            logits = torch.func.functional_call(net, dict(parameters), (torch.cat([real, fake]),))
            return F.softplus(-logits[:16]).mean() + F.softplus(logits[16:]).mean()

        ahead = baselines.unrolled_parameters(loss, net, adam, num_steps=2)
        return F.softplus(-torch.func.functional_call(net, ahead, (fake,))).mean()

    assert torch.autograd.gradcheck(generator_loss, fake.requires_grad_(), eps=1e-6, atol=1e-5)


def test_unrolling_refuses_negative_steps():
    net, *_ = discriminator_and_points()
    with pytest.raises(ValueError, match="num_steps >= 0"):
        baselines.unrolled_parameters(
            lambda p: p["0.bias"].sum(), net, torch.optim.Adam(net.parameters()), num_steps=-1
        )


def test_unrolling_refuses_an_optimizer_whose_steps_it_does_not_know():
    net, *_ = discriminator_and_points()

    def ahead(optimizer):
        baselines.unrolled_parameters(lambda p: p["0.bias"].sum(), net, optimizer, num_steps=1)

    first, *others = net.parameters()
    with pytest.raises(TypeError, match="Adam"):
        ahead(torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(TypeError, match="AdamW"):
        ahead(torch.optim.AdamW(net.parameters()))
    with pytest.raises(ValueError, match="weight_decay"):
        ahead(torch.optim.Adam(net.parameters(), weight_decay=0.1))
    with pytest.raises(ValueError, match="one group"):
        ahead(torch.optim.Adam([{"params": [first]}, {"params": others}]))
    with pytest.raises(ValueError, match="exactly the discriminator's parameters"):
        ahead(torch.optim.Adam([first]))


def test_a_parameter_without_a_gradient_stays_where_it_is():
    net, *_ = discriminator_and_points()
    adam = torch.optim.Adam(net.parameters(), lr=0.1)
    ahead = baselines.unrolled_parameters(lambda p: p["0.bias"].square().sum(), net, adam, num_steps=2)
    assert torch.equal(ahead["2.weight"], net[2].weight)
    assert not torch.equal(ahead["0.bias"], net[0].bias)


def test_veegan_loss_by_a_loop():
    z, r = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    real, fake = torch.randn(2, 5), torch.randn(2, 5)
    by_hand = [
        sum(float(real[b, i] - fake[b, i] + (z[b, i] - r[b, i]).square().sum()) for i in range(5)) / 5
        for b in range(2)
    ]
    value = baselines.veegan_loss(z, r, real_logits=real, fake_logits=fake)
    assert_close(value, torch.tensor(by_hand))
    with pytest.raises(ValueError, match="latents and reconstructions"):
        baselines.veegan_loss(z, r[:, :4], real_logits=real, fake_logits=fake)


def test_vae_loss_is_the_negative_bound():
    from torch.distributions import Normal, kl_divergence

    points, outputs, mean, log_variance = (torch.randn(7, 2, dtype=torch.float64) for _ in range(4))
    std = 0.3
    posterior = Normal(mean, (0.5 * log_variance).exp())
    divergence = kl_divergence(posterior, Normal(torch.zeros_like(mean), 1.0)).sum(-1)
    log_likelihood = Normal(outputs, std).log_prob(points).sum(-1)
    constant = 2 * math.log(std * math.sqrt(2 * math.pi))
    expected = (divergence - log_likelihood).mean() - constant
    assert_close(baselines.vae_loss(points, outputs, mean, log_variance, std=std), expected)
    with pytest.raises(ValueError, match="std"):
        baselines.vae_loss(points, outputs, mean, log_variance, std=0.0)
