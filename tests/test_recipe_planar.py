"""The planar loop: every method runs, seeds are independent, schedules and latents are what they say."""

from dataclasses import replace

import pytest
import torch

from ndiv_lib.recipes import planar
from ndiv_lib.recipes.planar import Config
from ndiv_lib.training.stacked import StackedDraws

SHORT = Config(num_steps=3, batch_size=24, hidden=8)
METHODS = {
    "gan": SHORT,
    "relativistic": replace(SHORT, objective="relativistic", r1_weight=0.1, r2_weight=0.1),
    "packed": replace(SHORT, num_packed=3, r1_weight=0.1, discriminator_features=4),
    "unrolled": replace(SHORT, unroll_steps=2),
    "noise": replace(SHORT, instance_noise=1.0, latent="codebook", num_hidden=3),
    "residual": replace(SHORT, residual=True, discriminator_features=6, feature_draw="even"),
    "bourgan": replace(SHORT, method="bourgan"),
    "veegan": replace(SHORT, method="veegan", latent="normal", latent_dim=3),
    "vae": replace(SHORT, method="vae", latent="normal"),
    "joint": replace(SHORT, diversity_weight=1e3, repeats=2, diversity_schedule="cosine"),
    "alternate": replace(SHORT, diversity_weight=1e3, alternate=True, shared_adam=False),
}


def data(seeds, n=40):
    return torch.stack([torch.randn(n, 2, generator=g) for g in StackedDraws(seeds).generators])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_seeds_do_not_feel_each_other(name):
    alone = planar.train(METHODS[name], data([1]), [1])(50)
    together = planar.train(METHODS[name], data([0, 1]), [0, 1])(50)
    assert together.shape == (2, 50, 2)
    torch.testing.assert_close(alone[0], together[1], rtol=1e-3, atol=1e-4)


def test_a_packed_discriminators_penalty_is_the_gradient_of_its_logit():
    config = replace(METHODS["packed"], feature_scale=2.0)
    discriminator = planar.Discriminator(config, StackedDraws([0, 1])).double()
    packs = torch.randn(2, 5, 6, dtype=torch.float64, requires_grad=True)
    logits, penalty = discriminator.with_penalty(packs)
    (gradient,) = torch.autograd.grad(discriminator(packs).sum(), packs)
    torch.testing.assert_close(logits, discriminator(packs))
    torch.testing.assert_close(penalty, 0.5 * gradient.square().sum(-1))


def test_looking_ahead_changes_the_run():
    plain, ahead = (
        planar.train(replace(METHODS[name], num_steps=10), data([0]), [0])(50) for name in ("gan", "unrolled")
    )
    assert not torch.allclose(plain, ahead, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "values"),
    [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.75, 0.25, 0]), ("hold_then_fall", [1, 1, 0, 0])],
)
def test_schedules(name, values):
    at = [planar.schedule(name, part / 3) for part in range(4)]
    assert at == pytest.approx(values, abs=1e-9)


def test_codes_are_evenly_spread_and_their_boxes_apart():
    codes = planar.low_discrepancy_codes(256)
    assert codes.min() >= 0 and codes.max() < 1
    gaps = torch.cdist(codes, codes) + 9 * torch.eye(256)
    assert gaps.min() > 0.5 / 16  # half a cell; uniform points come far closer
    config = Config(latent="codebook", latent_scale=4.0)
    z = planar.draw_latents(config, StackedDraws([0]), 2000)[0]
    assert z.abs().max() <= 2.1
    to_code = torch.cdist(z / 4 + 0.5, codes, p=float("inf")).amin(1)
    assert to_code.max() <= 0.5 * config.code_width / 16 + 1e-6


@pytest.mark.parametrize(("fields", "updates"), [({}, 10), ({"repeats": 3}, 30), ({"alternate": True}, 60)])
def test_generator_updates_count_every_change(fields, updates):
    assert planar.generator_updates(Config(num_steps=10, **fields)) == updates


def test_even_frequencies_have_the_normals_lengths_and_every_direction():
    config = Config(discriminator_features=200, feature_draw="even", feature_scale=3.0)
    frequencies = planar.feature_frequencies(config, StackedDraws([0, 1]))
    assert frequencies.shape == (2, 2, 200)
    assert frequencies.square().mean().sqrt() == pytest.approx(3, rel=0.05)
    angle = torch.atan2(frequencies[:, 1], frequencies[:, 0]).remainder(torch.pi).sort(dim=-1).values
    assert angle.diff(dim=-1).max() < 10 * torch.pi / 200
    with pytest.raises(ValueError, match="packed"):
        planar.feature_frequencies(replace(config, num_packed=2), StackedDraws([0]))


def test_a_residual_generator_starts_near_its_latents():
    z = StackedDraws([0]).rand(50, 2)
    for residual in (False, True):
        config = replace(SHORT, residual=residual, num_steps=0)
        points = planar.train(config, data([0]), [0])(z)
        singular = torch.linalg.svdvals(
            torch.linalg.lstsq(z[0] - z[0].mean(0), points[0] - points[0].mean(0)).solution
        )
        assert (float(singular.min()) > 0.5) == residual
