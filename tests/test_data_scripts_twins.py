"""The procedural twins: drawn from a seed, in the layout of the real sets, with something to learn in them."""

import json

import numpy as np
import pytest

from tests import data_forms as forms


@pytest.mark.parametrize("name", forms.NAMES)
def test_twin_follows_its_seed_and_has_the_layout(name, tmp_path, capsys):
    module, data = forms.script(name), forms.data_set(name)
    size = 4 * max(1, len(data.class_names))
    arguments = ["--twin", "--twin-size", str(size), "--seed", "3", "--to", str(tmp_path)]
    assert module.main(arguments) == 0
    assert "citation" not in capsys.readouterr().out
    splits = forms.arrays_in(tmp_path / name)
    assert (
        forms.array_sums(splits)
        == forms.array_sums(module.twin(size, 3))
        != forms.array_sums(module.twin(size, 4))
    )
    assert splits.keys() == data.counts.keys()
    for arrays in splits.values():
        for key, array in arrays.items():
            assert array.dtype == np.uint8 and key in {"images", "labels", "attributes", "photos", "maps"}
            if key not in {"labels", "attributes"}:
                assert array.shape[1:] == data.shape and array.std() > 10
    manifest = json.loads((tmp_path / name / "manifest.json").read_text())
    assert manifest["twin"] and not manifest["verified"] and str(tmp_path) not in json.dumps(manifest)
    assert module.main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "mnist", "stl10"])
def test_classes_are_balanced_and_can_be_told_apart(name):
    """Nearest neighbors find the class, so a classifier trained on a twin has something to learn."""
    splits = forms.script(name).twin(300, 0)
    assert np.bincount(splits["train"]["labels"]).tolist() == [30] * 10
    assert set(splits["test"]["labels"]) == set(range(10))
    train, test = (spectrum(splits[split]["images"]) for split in ("train", "test"))
    nearest = (test @ train.T).argmax(1)
    assert (splits["train"]["labels"][nearest] == splits["test"]["labels"]).mean() > 0.8


def spectrum(images):
    """Low frequencies of the Fourier transform, of length one: blind to shifts and to a grating's phase."""
    gray = images.reshape(*images.shape[:3], -1).mean(-1)
    amplitude = np.abs(np.fft.rfft2(gray - gray.mean((1, 2), keepdims=True)))[:, :, :10]
    amplitude = np.concatenate([amplitude[:, :10], amplitude[:, -9:]], axis=1).reshape(len(gray), -1)
    return amplitude / np.linalg.norm(amplitude, axis=1, keepdims=True)


def test_unlabeled_images_have_no_labels():
    assert forms.script("stl10").twin(40, 0)["unlabeled"].keys() == {"images"}


def test_attributes_can_be_seen():
    module = forms.script("celeba")
    images, attributes = module.twin(120, 0)["train"].values()
    column = module.CELEBA.attribute_names.index
    assert attributes.shape == (120, 40) and len(set(module.CELEBA.attribute_names)) == 40
    hair = [column(name) for name in module.HAIR]
    assert (attributes[:, hair].sum(1) == 1).all()
    blond, black = (images[attributes[:, column(name)] == 1].mean() for name in ("Blond_Hair", "Black_Hair"))
    assert blond > black + 10


def test_a_map_of_a_facade_has_several_valid_photos():
    """Every part has one color for each material, so that the map, the material and the light give the photo."""
    module = forms.script("facades")
    parts = module.draw_parts(np.random.default_rng(1))
    photos = {
        m: module.draw_photo(np.random.default_rng(2), parts, m).astype(float) for m in module.MATERIALS
    }
    walls = [photo[parts == module.INDEX["wall"]].mean(0) for photo in photos.values()]
    between = [np.abs(a - b).max() for i, a in enumerate(walls) for b in walls[:i]]
    assert len(photos) >= 3 and min(between) > 30
    for photo in photos.values():
        assert max(photo[parts == part].std(0).max() for part in np.unique(parts)) < 25


@pytest.mark.parametrize("name", ["facades", "maps"])
def test_maps_have_the_colors_of_their_legend(name):
    module = forms.script(name)
    for arrays in module.twin(8, 0).values():
        assert arrays["photos"].shape == arrays["maps"].shape
        colors = np.unique(arrays["maps"].reshape(-1, 3), axis=0)
        assert {tuple(color) for color in colors} <= {tuple(color) for color in module.PALETTE}


def test_the_street_map_follows_from_the_aerial_photo():
    """Within a season every ground has its own colors, and houses have the color of land in the map."""
    module = forms.script("maps")
    rng = np.random.default_rng(0)
    grounds = module.draw_grounds(rng)
    for season, colors in module.SEASONS.items():
        photo = module.draw_photo(rng, grounds, season).astype(float)
        nearest = ((photo[:, :, None] - np.array(colors, float)) ** 2).sum(-1).argmin(-1)
        nearest[nearest == module.ROOF] = module.LAND
        assert (nearest == grounds).mean() > 0.85
