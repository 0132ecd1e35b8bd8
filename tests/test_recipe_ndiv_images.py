"""NDiv's Table 2: every kind of row runs, settings are those of the released code, and seeds are paired."""

from dataclasses import fields, replace

import pytest
import torch

from ndiv_lib.models import ResidualDiscriminator
from ndiv_lib.ndiv import normalized_distances
from ndiv_lib.recipes import ndiv_images
from ndiv_lib.recipes.image_gan import diversity_term, networks, stored_bytes, trained_generator
from ndiv_lib.recipes.ndiv_images import PRESETS, ROWS
from tests.image_recipes import make_twins

pytest.importorskip("accelerate")
pytest.importorskip("efficientnet_lite_pytorch")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    return make_twins(tmp_path_factory.mktemp("twins"), "cifar10", "celeba")


def tiny(config, **changes):
    config = ndiv_images.smoke(config)
    return replace(config, generator_width=8, discriminator_width=8, num_steps=1, num_samples=12, **changes)


# one of every kind of loss, penalty, h_Y and size
@pytest.mark.parametrize(
    "preset", ["celeba-wgan_gp", "wgan_sn_gp-ndiv_pooled", "authors-gan_sn_gp", "small-gan_sn-ndiv"]
)
def test_smoke(preset, twins, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(twins))
    measured = ndiv_images.run(tiny(PRESETS[preset]), [0])
    assert measured.n_generated == 12
    assert all(len(values) == 1 for values in measured.values.values())
    assert {"frechet_efficientnet", "floor_frechet_efficientnet", "coverage"} <= set(measured.values)


def test_every_preset_can_be_made_smaller():
    for config in PRESETS.values():
        assert ndiv_images.smoke(config).num_steps <= 50


def test_settings_are_those_of_the_released_code():
    for name in (*ROWS, *(f"celeba-{row}" for row in ROWS)):
        row = PRESETS[name]
        assert (row.architecture, row.generator_width, row.discriminator_width) == ("resnet", 256, 128)
        assert (row.latent, row.latent_dim, row.batch_size) == ("uniform", 128, 64)
        assert (row.learning_rate, row.beta1, row.beta2, row.weight_decay) == (2e-4, 0.5, 0.999, 0.0)
        assert row.discriminator_steps * row.num_steps == 200_000  # which is what it counts
        assert row.spectral_norm is ("sn" in name.split("_"))
        assert (row.penalty, row.penalty_weight) == (("gradient", 1.0) if "gp" in name else ("none", 0.0))
        assert row.objective == ("wasserstein" if "wgan" in name else "nonsaturating")
        assert row.data == ("celeba" if name.startswith("celeba") else "cifar10")
        assert row.num_samples == 10_000 and row.average_decay == 0


def test_a_row_and_its_partner_differ_in_the_term_alone():
    of_the_term = {"diversity", "diversity_weight", "diversity_features", "alpha"}
    for name, row in PRESETS.items():
        if partner := PRESETS.get(f"{name}-ndiv"):
            assert (row.diversity, partner.diversity) == ("none", "ndiv") and partner.alpha == 0.5
            changed = {f.name for f in fields(row) if getattr(row, f.name) != getattr(partner, f.name)}
            assert changed <= of_the_term


def test_authors_weight_is_that_of_their_mean_over_all_pairs_counted_twice():
    config = PRESETS["authors-gan_sn"]
    random = torch.Generator().manual_seed(0)
    n = config.batch_size
    latents = torch.randn(n, 4, generator=random)
    discriminator = ResidualDiscriminator(image_size=8, width=4, spectral_norm=True, generator=random).eval()
    images = torch.randn(n, 3, 8, 8, generator=random)
    ours = config.diversity_weight * diversity_term(config, discriminator, latents, images, None, [])
    logits = discriminator(images)[:, None]
    gaps = 0.5 * normalized_distances(latents) - normalized_distances(logits)
    theirs = sum(gap.clamp(min=0).item() for row in gaps for gap in row) / n**2
    assert ours.item() == pytest.approx(2 * theirs, rel=1e-4)


def test_authors_row_with_wasserstein_in_its_name_has_none():
    assert PRESETS["authors-wgan_sn_gp"] == PRESETS["authors-gan_sn_gp"]
    assert PRESETS["authors-wgan_sn_gp"].objective == "nonsaturating"


@pytest.mark.parametrize("features", ["pixels", "logits", "pooled", "block"])
def test_h_y_sends_gradients_to_the_images(features):
    """NDiv Sec. 4.1: pixels, or features of the discriminator; its own weights are none of the term's business."""
    config = replace(PRESETS["gan_sn-ndiv"], alpha=0.9, diversity_features=features)
    random = torch.Generator().manual_seed(0)
    discriminator = ResidualDiscriminator(image_size=8, width=4, generator=random).requires_grad_(False)
    latents = torch.rand(6, 4, generator=random)
    images = torch.randn(6, 3, 8, 8, generator=random, requires_grad=True)
    term = diversity_term(config, discriminator, latents, images, None, [])
    assert 0 < float(term.detach()) <= 0.9
    term.backward()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize("row", ["gan_sn_gp"])
def test_pairs_share_weights_data_and_latents(row, twins, monkeypatch, tmp_path):
    """A term of weight zero leaves every weight as it is, bit by bit: nothing else differs, and the term draws nothing."""
    monkeypatch.setenv("NDIV_DATA", str(twins))
    pair = [tiny(PRESETS[row]), tiny(PRESETS[f"{row}-ndiv"], diversity_weight=0.0)]
    pair = [replace(config, image_size=8, num_steps=3) for config in pair]
    for one, two in zip(*(networks(config, 0) for config in pair), strict=True):
        assert all(map(torch.equal, one.state_dict().values(), two.state_dict().values()))
    states = []
    for name, config in zip(("without", "with"), pair, strict=True):
        assert ndiv_images.train(config, 0, tmp_path / name, report=lambda line: None)
        states.append(trained_generator(config, tmp_path / name)[0].state_dict().values())
    assert all(map(torch.equal, *states))


def test_smaller_images_are_means(twins, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(twins))
    stored, labels = stored_bytes(PRESETS["gan_sn"], "test")
    small, same = stored_bytes(PRESETS["small-gan_sn"], "test")
    assert torch.equal(labels, same) and small.shape[1:] == (3, 16, 16) and small.dtype == torch.uint8
    means = stored[3, :, 4:6, 10:12].float().mean((1, 2))
    assert (small[3, :, 2, 5] - means).abs().max() <= 0.5
    with pytest.raises(ValueError, match="image_size to be one of 0, 32, 16, 8, got 20"):
        replace(PRESETS["gan_sn"], image_size=20)


def test_cells():
    """Full rows wait for a GPU, one seed a piece; the small pair is for any machine."""
    for cell in ndiv_images.CELLS:
        assert cell.config == PRESETS[cell.name] and cell.stack == 1
        assert cell.full_scale is not cell.name.startswith("small")
    names = [cell.name for cell in ndiv_images.CELLS if cell.full_scale]
    assert names[:2] == ["short-gan_sn", "short-gan_sn-ndiv"] and len(set(names)) == len(names)
    assert {f"{data}{row}{term}" for data in ("", "celeba-") for row in ROWS for term in ("", "-ndiv")} < {
        *names
    }
