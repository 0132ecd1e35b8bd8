"""The loader on twins that the scripts write, scikit-learn's digits, the real sets where in place."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ndiv_lib.data import describe_images, load_bytes, load_digits_split, load_images, load_pairs
from ndiv_lib.data.images import IMAGE_SHAPES, MORE_SPLITS, PAIR_SHAPES, SPLITS, data_root
from tests import data_forms as forms

LABELED = ("cifar10", "fashion_mnist", "mnist", "stl10")
PUBLISHED_SIZES = {name: dict(forms.data_set(name).counts) for name in forms.NAMES}


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    root = tmp_path_factory.mktemp("twins")
    for name in forms.NAMES:
        size = "40" if name in LABELED else "8"
        assert forms.script(name).main(["--twin", "--twin-size", size, "--to", str(root)]) == 0
    return root


@pytest.fixture
def damaged(twins, tmp_path):
    """A twin of MNIST that a test may spoil."""
    return Path(shutil.copytree(twins / "mnist", tmp_path / "mnist"))


@pytest.mark.parametrize("name", LABELED)
@pytest.mark.parametrize(("split", "count"), [("train", 40), ("test", 10)])
def test_shapes_types_and_range(twins, name, split, count):
    images, labels = load_images(name, split, root=twins)
    assert images.shape == (count, *IMAGE_SHAPES[name]) and images.dtype == torch.float32
    assert images.is_contiguous() and -1 <= images.min() < -0.5 and 0.5 < images.max() <= 1
    assert labels.dtype == torch.int64 and labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize("name", IMAGE_SHAPES)
def test_bytes_are_what_is_stored(twins, name):
    for split in MORE_SPLITS.get(name, SPLITS):
        images, labels = load_bytes(name, split, root=twins)
        stored = np.load(twins / name / f"{split}.npz")
        assert (
            images.dtype == torch.uint8 and images.is_contiguous() and images.shape[1:] == IMAGE_SHAPES[name]
        )
        pixels = images.permute(0, 2, 3, 1).numpy()
        np.testing.assert_array_equal(pixels.reshape(stored["images"].shape), stored["images"])
        expected = stored["labels"] if "labels" in stored.files else np.full(len(images), -1)
        np.testing.assert_array_equal(labels.numpy(), expected)
        assert labels.dtype == torch.int64
        floats, same_labels = load_images(name, split, root=twins)
        assert torch.equal(floats, images.float() / 127.5 - 1) and torch.equal(labels, same_labels)


def test_where_there_are_no_classes_labels_are_minus_one(twins):
    for name, split in (("celeba", "train"), ("celeba", "valid"), ("stl10", "unlabeled")):
        images, labels = load_bytes(name, split, root=twins)
        assert len(images) == len(labels) > 0 and (labels == -1).all()


@pytest.mark.parametrize("name", PAIR_SHAPES)
def test_pairs(twins, name):
    for split, count in (("train", 8), ("test", 2)):
        pairs = load_pairs(name, split, root=twins)
        stored = np.load(twins / name / f"{split}.npz")
        for key, images in pairs._asdict().items():
            assert images.shape == (count, 3, 256, 256) and images.dtype == torch.float32
            pixels = ((images.double() + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
            np.testing.assert_array_equal(pixels, stored[key])


def test_images_and_pairs_are_not_mixed_up(twins):
    with pytest.raises(ValueError, match=r"'mnist', 'stl10', got 'facades'"):
        load_images("facades", "train", root=twins)
    with pytest.raises(ValueError, match=r"'facades', 'maps', got 'mnist'"):
        load_pairs("mnist", "train", root=twins)


def test_wrong_folders(twins, tmp_path):
    """A file for a folder, the folder of a set for the one above it, a set that no script has finished, another set."""
    (tmp_path / "file").write_text("")
    (tmp_path / "unfinished" / "mnist").mkdir(parents=True)
    shutil.copy(twins / "mnist" / "train.npz", tmp_path / "unfinished" / "mnist")
    shutil.copytree(twins / "fashion_mnist", tmp_path / "other" / "mnist")
    for root, reason in (
        (tmp_path / "file", "there is a file where a folder should be"),
        (twins / "mnist", "is the folder of one set; set NDIV_DATA to the folder above it"),
        (tmp_path / "unfinished", "its folder has no manifest.json, so no script has finished it"),
    ):
        with pytest.raises(FileNotFoundError, match=reason):
            load_images("mnist", "train", root=root)
    with pytest.raises(ValueError, match="expected mnist in layout 1, got fashion_mnist"):
        load_bytes("mnist", "train", root=tmp_path / "other")


def test_black_and_white_are_the_ends_of_the_range(twins):
    images, _ = load_images("mnist", "train", root=twins)
    assert images.min() == -1 and images.max() == 1


def test_describe(twins):
    described = describe_images("cifar10", root=twins)
    assert described.twin and not described.verified and "twin" in described.title
    assert described.class_names[3] == "cat"
    assert described.num_images == {"train": 40, "test": 10}


def test_root_is_the_argument_then_the_environment_then_data(twins, monkeypatch):
    monkeypatch.setenv("NDIV_DATA", str(twins))
    assert len(load_images("mnist", "test")[1]) == 10
    assert data_root("here") == Path("here")
    monkeypatch.delenv("NDIV_DATA")
    assert data_root() == Path("data")


def test_unknown_names_and_missing_sets(twins, tmp_path):
    with pytest.raises(ValueError, match=r"'cifar10', .*, got 'imagenet'"):
        load_images("imagenet", "train", root=twins)
    for name, splits in (("mnist", "'train', 'test'"), ("celeba", "'train', 'valid', 'test'")):
        with pytest.raises(ValueError, match=rf"split .*{splits}, got 'val'"):
            load_images(name, "val", root=twins)
    for name in forms.NAMES:
        load = load_pairs if name in PAIR_SHAPES else load_bytes
        with pytest.raises(FileNotFoundError, match=rf"python data_scripts/{name}\.py --to"):
            load(name, "train", root=tmp_path)


def test_damaged_arrays_are_refused(damaged):
    path = damaged / "train.npz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[5_000] ^= 1
    for data in (bytes(flipped), whole[:5_000], b"", b"<html></html>"):
        path.write_bytes(data)
        with pytest.raises(
            ValueError, match=r"train\.npz: missing or damaged .*python data_scripts/mnist\.py"
        ):
            load_images("mnist", "train", root=damaged.parent)
    path.unlink()
    with pytest.raises(ValueError, match="missing or damaged"):
        load_images("mnist", "train", root=damaged.parent)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((40, 28, 28), np.float32), np.zeros(40, np.uint8)),
        (np.zeros((40, 28, 28), np.uint8), np.zeros(40, np.int64)),
        (np.zeros((40, 32, 32), np.uint8), np.zeros(40, np.uint8)),
        (np.zeros((39, 28, 28), np.uint8), np.zeros(39, np.uint8)),
        (np.zeros((40, 28, 28), np.uint8), np.zeros(39, np.uint8)),
    ],
    ids=["float images", "wide labels", "other size", "fewer", "unequal"],
)
def test_arrays_that_are_not_what_the_manifest_says(damaged, images, labels):
    np.savez(damaged / "train.npz", images=images, labels=labels)
    with pytest.raises(
        ValueError, match=r"expected uint8 images \(40, 28, 28\) and uint8 labels \(40,\), got"
    ):
        load_images("mnist", "train", root=damaged.parent)


def test_pickled_arrays_are_never_opened(damaged):
    np.savez(damaged / "train.npz", images=np.array([{}], dtype=object), labels=np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_images("mnist", "train", root=damaged.parent)


@pytest.mark.parametrize(
    "change", [{"name": "cifar10"}, {"layout": 2}, {"arrays": {}}, {"class_names": None}]
)
def test_a_manifest_of_something_else(damaged, change):
    path = damaged / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=r"manifest\.json: not the manifest of a prepared set"):
        describe_images("mnist", root=damaged.parent)


@pytest.mark.parametrize("text", ["", "[]", "{}", "not json"])
def test_no_manifest_at_all(damaged, text):
    (damaged / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="not the manifest"):
        load_images("mnist", "train", root=damaged.parent)


@pytest.mark.parametrize("name", forms.NAMES)
def test_real_sets(name):
    try:
        described = describe_images(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))
    if described.twin:
        pytest.skip(f"{data_root()} holds the twin of {name}")
    assert described.num_images == PUBLISHED_SIZES[name] and described.verified
    if name in PAIR_SHAPES:
        photos, maps = load_pairs(name, "test")
        assert photos.shape == maps.shape and maps.min() < -0.9 and maps.max() > 0.9
        return
    images, labels = load_bytes(name, "test")
    assert images.shape == (PUBLISHED_SIZES[name]["test"], *IMAGE_SHAPES[name])
    assert images.min() == 0 and images.max() == 255
    assert labels.unique().tolist() == ([-1] if name == "celeba" else list(range(10)))


def test_digits_are_all_there_once():
    digits = importlib.import_module("sklearn.datasets").load_digits()
    split = load_digits_split(seed=0)
    images = torch.cat([split.train_images, split.held_out_images])
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    rows = sorted(map(tuple, ((images + 1) * 8).flatten(1).tolist()))
    assert rows == sorted(map(tuple, digits.data.tolist()))
    assert split.train_labels.dtype == split.held_out_labels.dtype == torch.int64


@pytest.mark.parametrize("held_out", [0.001, 0.2, 0.5, 0.999])
def test_digits_are_split_class_by_class(held_out):
    split = load_digits_split(held_out=held_out, seed=1)
    train, held = split.train_labels.bincount(), split.held_out_labels.bincount(minlength=10)
    assert ((held - held_out * (train + held)).abs() <= 1).all() and train.min() >= 1 and held.min() >= 1


def test_digits_follow_the_seed_alone():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (load_digits_split(seed=seed) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.train_images, other.train_images)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("held_out", [0, 1, -0.1, 1.5, float("nan")])
def test_digits_refuse_what_is_no_fraction(held_out):
    with pytest.raises(ValueError, match="strictly between 0 and 1, got"):
        load_digits_split(held_out=held_out, seed=0)


def test_digits_name_the_missing_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"ndiv-lib\[metrics\]"):
        load_digits_split(seed=0)
