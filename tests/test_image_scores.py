"""The scores of generated images: each is the library's own measure, of as many images, with the real images' floor beside it."""

import pytest
import torch

from ndiv_lib.metrics import frechet_distance, lpips_diversity, ndb, precision_recall_density_coverage
from ndiv_lib.recipes import image_scores as recipe
from ndiv_lib.recipes.image_scores import image_scores


@pytest.fixture(autouse=True)
def quick_network(monkeypatch):
    """Twelve numbers in place of the networks' features; Inception's weights are not there. Counts what it is asked for."""
    asked = []

    def extract(images, features):
        if features == "inception":
            raise FileNotFoundError("no weights")
        asked.append(len(images))
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)

    monkeypatch.setattr(recipe, "extract_features", extract)
    monkeypatch.setattr(recipe, "_kept", type(recipe._kept)())
    return asked


@pytest.fixture(autouse=True)
def no_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


def draw(n, seed, side=8, channels=3):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, side, side, generator=random) * 2 - 1


def labels_of(n):
    return torch.arange(n) % 4


def test_scores_are_the_librarys_own_and_the_floor_is_the_same_of_real_images(quick_network):
    real, made, other = draw(40, 0), draw(40, 1) * 0.5, draw(40, 2)
    found = image_scores(real=real, generated=made, floor=other, num_neighbor_samples=30)
    vectors = [recipe.extract_features(images, "efficientnet") for images in (real, made)]
    expected = frechet_distance(real=vectors[0], generated=vectors[1], features="pixels")
    assert found["frechet_efficientnet"] == pytest.approx(expected)
    few = precision_recall_density_coverage(real=vectors[0][:30], generated=vectors[1][:30], k=5)
    assert (found["precision"], found["recall"], found["coverage"]) == (
        few.precision,
        few.recall,
        few.coverage,
    )
    alone = image_scores(real=real, generated=other, num_neighbor_samples=30)
    assert {name: value for name, value in alone.items() if not name.startswith("n_g")} == pytest.approx(
        {name: found.get(f"floor_{name}", found.get(name)) for name in alone if not name.startswith("n_g")}
    )
    assert "fid" not in found and "ndb" not in found and found["n_neighbor"] == 30
    assert found["frechet_efficientnet"] > found["floor_frechet_efficientnet"]


def test_equal_numbers_of_both_are_compared_and_recorded(quick_network):
    found = image_scores(real=draw(50, 0), generated=draw(31, 1), floor=draw(70, 2), num_samples=40)
    assert found["n_real"] == found["n_generated"] == 31 and set(quick_network) == {31}
    same = image_scores(real=draw(50, 0), generated=draw(31, 1), floor=draw(70, 2), num_samples=40)
    assert found == same  # thinned by the seed


def test_real_images_go_through_the_network_once(quick_network):
    real, other = draw(20, 0), draw(20, 1)
    for seed in range(2, 8):
        image_scores(real=real.clone(), generated=draw(20, seed), floor=other)
    assert len(quick_network) == 2 + 6 and len(recipe._kept) <= recipe._KEEP


def test_classes_are_scored_one_by_one():
    real, made = draw(160, 0), draw(200, 1)
    labels, labels_made = labels_of(160), labels_of(200)
    made[labels_made == 1] = made[labels_made == 1][:1]  # one class has collapsed
    arguments = {"real": real, "generated": made, "labels_real": labels, "labels_generated": labels_made}
    found = image_scores(**arguments, num_samples=160, class_names=("a", "b", "c", "d"))
    assert found["n_bins"] == 4 and found["n_real"] == found["n_generated"] == 160
    assert max("abcd", key=lambda name: found[f"jsd_{name}"]) == "b"
    assert found["ndb"] == pytest.approx(sum(found[f"ndb_{name}"] for name in "abcd") / 4)
    exact = ndb(real=real[labels == 1], generated=made[labels_made == 1][:40], num_bins=4, seed=0)
    assert found["jsd_b"] == pytest.approx(exact.js_divergence)
    assert "lpips" not in found  # no weights, and 8 pixels are too few
    numbered = image_scores(**arguments, num_samples=40)
    assert "ndb" not in numbered and "n_bins" not in numbered  # ten images a class make no two bins


def test_lpips_is_the_mean_over_classes(monkeypatch):
    asked = []

    def lpips(images, *, net):
        asked.append((len(images), images.shape[1], net))
        return float(images.abs().mean())

    monkeypatch.setattr(recipe, "lpips_diversity", lpips)
    images = draw(32, 0, side=17, channels=1)
    arguments = {"real": images, "generated": images, "labels_real": labels_of(32)}
    found = image_scores(**arguments, labels_generated=labels_of(32), lpips_samples=6)
    assert asked == [(6, 3, "squeeze")] * 4
    expected = [lpips(images[labels_of(32) == c][:6], net="squeeze") for c in range(4)]
    assert found["lpips"] == pytest.approx(sum(expected) / 4)


def test_without_squeezenet_there_is_no_lpips():
    pytest.importorskip("lpips")
    images = draw(32, 0, side=20)
    with pytest.raises(FileNotFoundError):
        lpips_diversity(images, net="squeeze")
    labels = {"labels_real": labels_of(32), "labels_generated": labels_of(32)}
    assert "lpips" not in image_scores(real=images, generated=images, **labels)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"generated": draw(4, 1)}, ValueError, "at least 6 generated"),
        ({"generated": draw(20, 1, side=9)}, ValueError, "one shape"),
        ({"labels_real": labels_of(20)}, ValueError, "labels of all"),
        ({"labels_real": labels_of(20), "labels_generated": labels_of(20) * 0}, ValueError, "same classes"),
        ({"generated": draw(20, 1) * torch.nan}, ValueError, "finite"),
    ],
)
def test_bad_input(change, error, message):
    with pytest.raises(error, match=message):
        image_scores(**{"real": draw(20, 0), "generated": draw(20, 1)} | change)
