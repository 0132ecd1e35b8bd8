"""HMGAN's Tables 1 and 2: settings are MSGAN's, every method runs, bins are the library's, records say what the chapter says."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from ndiv_lib.metrics import mean_pairwise_distance, ndb
from ndiv_lib.recipes import class_images, image_scores
from ndiv_lib.recipes.class_images import CELLS, FULL, METHODS, PRESETS, SHORT, SMALL, Config
from ndiv_lib.recipes.image_gan import labels_for
from ndiv_lib.reporting.ledger import load_claims
from ndiv_lib.reporting.pictures import draw_bins
from ndiv_lib.reporting.results import load, load_arrays
from tests.image_recipes import make_twins

pytest.importorskip("accelerate")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    return make_twins(tmp_path_factory.mktemp("twins"), "cifar10", size=1000)


@pytest.fixture(autouse=True)
def fresh_data(twins, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(twins))
    class_images.real_images.cache_clear()
    class_images.floor_scores.cache_clear()


@pytest.fixture
def quick(monkeypatch):
    """Twelve numbers in place of the networks' features."""

    def extract(images, features):
        if features == "inception":
            raise FileNotFoundError("no weights")
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    monkeypatch.setattr(image_scores, "extract_features", extract)
    monkeypatch.setattr(image_scores, "lpips_diversity", lambda images, **options: 0.0)


def tiny(config, **changes):
    return replace(
        class_images.smoke(config), generator_width=8, discriminator_width=8, num_steps=2, **changes
    )


def test_settings_are_those_of_the_released_code():
    for name, config in FULL.items():
        assert (config.data, config.image_size, config.num_classes) == ("cifar10", 0, 10)
        assert (config.architecture, config.latent, config.latent_dim) == ("conditional_dcgan", "normal", 100)
        assert (config.generator_width, config.discriminator_width) == (128, 128)
        assert (config.batch_size, config.fakes_per_real, config.discriminator_steps) == (32, 2, 1)
        assert config.num_steps * config.batch_size == 200 * 50_000
        assert (config.learning_rate, config.beta1, config.beta2, config.weight_decay) == (
            2e-4,
            0.5,
            0.999,
            1e-4,
        )
        assert config.objective == "nonsaturating" and config.penalty == "none" and not config.joint_batches
        assert config.diversity_weight == {"none": 0.0, "ndiv": 8.0}.get(name, 1.0)
    targets = next(claim for claim in load_claims() if claim.id == "hmgan-config-names").numbers
    assert (FULL["zeros"].expected_ratio, FULL["ones"].expected_ratio) == (
        targets["HMGAN1"],
        targets["HMGAN2"],
    )


def test_rows_differ_in_the_term_alone():
    for group, prefix in ((FULL, ""), (SHORT, "short-"), (SMALL, "small-")):
        plain = asdict(group[f"{prefix}none"])
        for name, config in group.items():
            changed = {field for field, value in asdict(config).items() if value != plain[field]}
            assert changed <= {*METHODS[name.removeprefix(prefix)], "keep"}


def test_what_waits_for_a_gpu():
    full = {cell.name: cell for cell in CELLS if cell.full_scale}
    assert set(full) == {*SHORT, *FULL}
    assert all(full[name].seeds == (0, 1, 2) and full[name].config.num_steps == 5_000 for name in SHORT)
    assert all(full[name].stack == 1 for name in full)
    assert min(full[name].priority for name in SHORT) > max(full[name].priority for name in FULL)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_measures_class_by_class(method, quick):
    measured = class_images.run(tiny(PRESETS[method], keep="both"), [0])
    names = ("airplane", "dog", "truck")
    assert {f"{score}_{name}" for score in ("ndb", "jsd") for name in names} < set(measured.values)
    for score in ("ndb", "jsd", "missing", "distance", "frechet_efficientnet", "recall", "coverage", "lpips"):
        assert np.isfinite(measured.values[score]).all() and f"floor_{score}" in measured.values
    shares = measured.arrays["generated_shares"]
    assert shares.shape == (10, measured.values["n_bins"][0]) and np.allclose(shares.sum(1), 1)
    assert measured.arrays["real_members"].shape[2:] == (32, 32, 3)
    assert measured.n_generated == 10 * (measured.n_generated // 10)


def test_tuning_keeps_numbers_only(quick):
    assert not class_images.run(tiny(PRESETS["none"], keep="nothing"), [0]).arrays


def test_pairs_are_of_one_class_and_groups_too():
    labels = torch.arange(32) % 10
    for method, latents in (("mode_seeking", 2), ("zeros", 2), ("ndiv", 4)):
        real, fake = labels_for(FULL[method], labels)
        assert len(real) == 32 and len(fake) == 64
        assert (fake.unflatten(0, (-1, latents)) == fake[::latents, None]).all()


def test_class_scores_are_the_librarys_own(quick):
    random = torch.Generator().manual_seed(0)
    real, made = (
        {name: torch.rand(60, 3, 8, 8, generator=random) * 2 - 1 for name in ("cat", "dog")} for _ in "ab"
    )
    made["dog"] = made["dog"][:1].repeat(60, 1, 1, 1)
    scores, bins = class_images.class_scores(Config(num_classes=2, num_bins=4), real, made)
    for name in real:
        alone = ndb(real=real[name], generated=made[name], num_bins=4, seed=0)
        assert scores[f"ndb_{name}"] == alone.num_different_bins
        assert scores[f"jsd_{name}"] == pytest.approx(alone.js_divergence)
        assert torch.equal(bins[name].generated_shares, alone.generated_shares)
    assert scores["jsd"] == pytest.approx((scores["jsd_cat"] + scores["jsd_dog"]) / 2)
    assert scores["jsd_dog"] > 0.15 > scores["jsd_cat"]
    assert scores["distance"] == pytest.approx(mean_pairwise_distance(made["cat"]) / 2, rel=1e-3)
    assert scores["n_bins"] == 4


def test_floors_are_of_other_images_each_time():
    config = Config(num_classes=10, num_samples=200)
    real = class_images.real_images(config, None)
    parts = [class_images.real_images(config, part) for part in (0, 1)]
    assert all(len(images) == 20 for images in real.values())
    seen = torch.cat([one["dog"].flatten(1) for one in (real, *parts)])
    assert len(seen.unique(dim=0)) == 60


def test_too_few_images_are_said():
    with pytest.raises(ValueError, match="expected at least 20 images of every class"):
        class_images.real_images(Config(num_classes=10, num_samples=100), None)


def test_members_are_those_of_the_bin_and_black_where_there_are_no_more():
    images = torch.tensor([0.5, 0.1, 0.3, -0.7]).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    found = class_images.members(images, torch.tensor([0, 0, 0, 1]), 2, 2)
    assert found.shape == (2, 2, 2, 2, 3) and found.dtype == np.uint8
    assert found[:, :, 0, 0, 0].tolist() == [[191, 140], [38, 0]]


def test_bins_are_drawn_in_columns():
    plt = pytest.importorskip("matplotlib.pyplot")
    images = np.zeros((3, 2, 4, 4, 3), dtype=np.uint8)
    images[0] = 100
    names = {"real": "real"}
    draw_bins(
        {"real": images}, {"real": [0.5, 0.3, 0.2]}, labels=names, colors={"real": "gray"}, title="dogs"
    )
    picture, bars = plt.gcf().axes
    shown = picture.images[0].get_array()
    assert shown.shape == (12, 18, 3)
    assert shown[1, 1, 0] == 100 and shown[1, 7, 0] == 235 and shown[0, 0, 0] == 255
    assert [patch.get_height() for patch in bars.patches] == pytest.approx([50, 30, 20])
    plt.close()


# --- The records say what the chapter says ----------------------------------------------------------------------------


def recorded(method, metric):
    return np.array(load("class_images", f"small-{method}").values[metric])


def test_every_generator_is_far_from_the_floor():
    for method in METHODS:
        assert (recorded(method, "ndb") > 4 * recorded(method, "floor_ndb")).all()
        assert (
            recorded(method, "frechet_efficientnet") > 2 * recorded(method, "floor_frechet_efficientnet")
        ).all()
    assert recorded("none", "floor_ndb").max() < 5


def test_seed_by_seed():
    """Mode seeking and targets of 0 gain in quality and distance with every seed, in bins with two of three."""
    for method in ("mode_seeking", "zeros"):
        assert (recorded(method, "frechet_efficientnet") < recorded("none", "frechet_efficientnet")).all()
        assert (recorded(method, "lpips") > recorded("none", "lpips")).all()
        assert (recorded(method, "ndb") < recorded("none", "ndb")).sum() == 2
    assert (recorded("ones", "ndb") < recorded("none", "ndb")).sum() == 1
    assert (recorded("ones", "lpips") > recorded("none", "lpips")).all()
    assert all(
        (recorded("ndiv", name) > recorded("none", name)).all()
        for name in ("ndb", "jsd", "frechet_efficientnet")
    )
    assert (recorded("ndiv", "lpips") < recorded("none", "lpips")).all()
    assert all(recorded(method, "ndb").argmin() == 2 for method in METHODS)


def test_a_small_generator_beats_the_print_in_ndb_and_loses_in_jsd():
    tables = {claim.id: claim.numbers for claim in load_claims() if claim.id.startswith("hmgan-table1")}
    for name, printed in tables["hmgan-table1-ndb"]["DCGAN"].items():
        assert recorded("none", f"ndb_{name}").max() < printed["mean"]
        assert (
            np.median(recorded("none", f"jsd_{name}")) > 2 * tables["hmgan-table1-js"]["DCGAN"][name]["mean"]
        )
    assert recorded("none", "floor_jsd_bird").max() > 0.024 - 0.001


def test_the_dogs_shown():
    """Among the largest bins some are short without a term, and targets of 0 fill those and take from others."""
    plain, hmgan = (load_arrays("class_images", f"small-{name}") for name in ("none", "zeros"))
    real, none, zeros = (
        one[5, : class_images.SHOWN_BINS]
        for one in (plain["real_shares"], plain["generated_shares"], hmgan["generated_shares"])
    )
    assert np.array_equal(plain["real_shares"], hmgan["real_shares"])
    worst = np.argsort(none - real)[:8]
    assert (none[worst[:3]] < 0.6 * real[worst[:3]]).all()
    assert zeros[worst[:4]].sum() > none[worst[:4]].sum()
    assert zeros[worst[4:]].sum() < none[worst[4:]].sum()
    assert plain["real_members"].shape == (16, 4, 16, 16, 3)


def test_printed_bins_need_more_images_than_the_test_set_has():
    """Sum of z^2 (1 - pi) is n Delta, and Delta is at most 4 JSD: so 1.96^2 (NDB - 1) / (4 JSD) is at most n."""
    tables = {claim.id: claim.numbers for claim in load_claims() if claim.id.startswith("hmgan-table1")}
    ndb_of, jsd_of = tables["hmgan-table1-ndb"]["DCGAN"], tables["hmgan-table1-js"]["DCGAN"]
    least = [1.96**2 / 4 * (ndb_of[name]["mean"] - 1) / jsd_of[name]["mean"] for name in ndb_of]
    assert min(least) > 1200 and max(least) < 1500
    for method in METHODS:
        for name in ndb_of:
            ours = 1.96**2 / 4 * (recorded(method, f"ndb_{name}") - 1) / recorded(method, f"jsd_{name}")
            assert (ours <= 1000).all()


def test_trials_are_equally_many_and_settle_little():
    """The heaviest weight is the best of all methods; for three of them two seeds of a weight are farther apart than weights."""
    unsettled = 0
    for method, weights in class_images.WEIGHTS.items():
        cells = [f"tuning-{method}-w{weight:g}" for weight in sorted(weights)]
        trials = np.array([load("class_images", cell).values["frechet_efficientnet"] for cell in cells])
        assert trials.shape == (4, 2) and trials.mean(1).argmin() == 3
        unsettled += np.ptp(trials, axis=1).max() > np.ptp(trials.mean(1))
    assert unsettled == 3


def test_the_step_size_moves_the_baseline_more_than_a_weight_moves_any_term():
    """Larger steps: a smaller Frechet distance up to the edge of what was tried, and more bins that differ."""

    def means(names, metric="frechet_efficientnet"):
        return np.array([np.mean(load("class_images", name).values[metric]) for name in names])

    assert tuple(0.0005 * 2**k for k in range(7)) == class_images.RATES
    plain, averaged = (
        [f"tuning-rate{rate:g}-average{decay:g}" for rate in class_images.RATES] for decay in (0, 0.99)
    )
    assert means(plain)[[0, -1]].round().tolist() == [603, 465]
    assert min([*means(plain), *means(averaged)]) == means(plain)[-1]
    assert means(plain, "ndb")[[0, -1]].round().tolist() == [26, 38]
    assert 1.8 < means(plain, "jsd")[-1] / means(plain, "jsd")[0] < 2
    assert (means(averaged, "lpips") > means(plain, "lpips")).all()
    for method, weights in class_images.WEIGHTS.items():
        assert np.ptp(means([f"tuning-{method}-w{w:g}" for w in weights])) < np.ptp(means(plain))
