"""Every set: its published forms give the same arrays to the bit, and what is peculiar to it is refused."""

import gzip
import json
import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from tests import data_forms as forms
from tests.data_forms import _checks

cifar10, celeba = forms.script("cifar10"), forms.script("celeba")


def prepared(published, source, out, *more):
    name = published.script.__name__
    assert published.script.main(["--from", str(source), "--to", str(out), *more]) == 0
    return forms.arrays_in(out / name), json.loads((out / name / "manifest.json").read_text())


def unpack(path, folder):
    with tarfile.open(path) if path.name.endswith("gz") else zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def same(one, other):
    return forms.array_sums(one) == forms.array_sums(other)


@pytest.mark.parametrize("name", ["cifar10", "facades", "fashion_mnist", "mnist", "stl10"])
def test_published_files_give_their_arrays_to_the_bit(name, tmp_path, capsys, monkeypatch):
    published = forms.publish(name, tmp_path / "raw", monkeypatch)
    splits, manifest = prepared(published, published.folder, tmp_path / "out")
    assert same(splits, published.splits)
    assert manifest["verified"] and not manifest["twin"] and str(tmp_path) not in json.dumps(manifest)
    shown = capsys.readouterr().out
    assert manifest["license"] in shown and manifest["citation"] in shown and "every sha256 verified" in shown
    (tmp_path / "below").mkdir()
    published.folder.rename(tmp_path / "below" / name)
    assert same(prepared(published, tmp_path / "below", tmp_path / "out2")[0], splits)


def test_mnist_unpacked_as_torchvision_lays_it(tmp_path, monkeypatch):
    published = forms.publish("mnist", tmp_path / "raw", monkeypatch)
    nested = tmp_path / "elsewhere" / "MNIST" / "raw"
    nested.mkdir(parents=True)
    for path in published.folder.iterdir():
        (nested / path.stem.replace("-idx", ".idx")).write_bytes(gzip.decompress(path.read_bytes()))
    first, second = tmp_path / "a", tmp_path / "b"
    prepared(published, published.folder, first)
    prepared(published, tmp_path / "elsewhere", second)
    for path in (first / "mnist").iterdir():
        assert path.read_bytes() == (second / "mnist" / path.name).read_bytes()


def test_idx_refusals(tmp_path, capsys, monkeypatch):
    published = forms.publish("mnist", tmp_path / "raw", monkeypatch)
    path = published.folder / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()

    def check(data, *expected):
        path.write_bytes(data)
        forms.refused(
            published.script, published.folder, tmp_path / "out", capsys, str(path), "again", *expected
        )

    altered = bytearray(gzip.decompress(whole))
    altered[-1] ^= 1
    expected = published.script.IDX_FILES["test/images"].unpacked
    check(gzip.compress(bytes(altered)), f"expected sha256 {expected}, got {_checks.sha256(bytes(altered))}")
    check(b"version https://git-lfs", "expected gzip")
    path.unlink()
    forms.refused(
        published.script, published.folder, tmp_path / "out", capsys, str(path.with_suffix("")), "missing"
    )
    forms.refused(published.script, tmp_path / "nowhere", tmp_path / "out", capsys, "no such folder")


def test_a_gzip_bomb_stops_at_the_limit(tmp_path, capsys, monkeypatch):
    published = forms.publish("mnist", tmp_path / "raw", monkeypatch)
    monkeypatch.setattr(forms.script("_idx"), "LARGEST", 10_000)
    (published.folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    forms.refused(
        published.script, published.folder, tmp_path / "out", capsys, "10,000 bytes", "expected sha256"
    )


def test_fashion_mnist_unpacked_by_somebody_is_taken_on_trust_only(tmp_path, capsys, monkeypatch):
    published = forms.publish("fashion_mnist", tmp_path / "raw", monkeypatch)
    folder, out = tmp_path / "unpacked", tmp_path / "out"
    folder.mkdir()
    for path in published.folder.iterdir():
        (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    forms.refused(published.script, folder, out, capsys, "no published sha256 is known", "--trust")
    splits, manifest = prepared(published, folder, out, "--trust")
    assert same(splits, published.splits) and not manifest["verified"]
    assert "taken on trust" in capsys.readouterr().out
    assert manifest["source_sha256"] == {path.name: _checks.file_sha256(path) for path in folder.iterdir()}
    images = folder / "train-images-idx3-ubyte"
    whole = images.read_bytes()
    for data in (whole[:-1], whole[:3], b"", b"\0\0\x09" + whole[3:]):
        images.write_bytes(data)
        forms.refused(published.script, folder, out, capsys, "not an IDX file", more=["--trust"])
    images.unlink()
    forms.refused(published.script, folder, out, capsys, "missing", more=["--trust"])
    assert prepared(published, published.folder, out)[1]["verified"]


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    return forms.publish("cifar10", tmp_path / "raw", monkeypatch)


@pytest.fixture
def batches(cifar, tmp_path):
    return unpack(cifar.folder / cifar10.ARCHIVE, tmp_path / "unpacked") / cifar10.FOLDER


@pytest.fixture
def sheets(batches, tmp_path):
    """The same images as lossless WebP sheets, five tiles a row."""
    folder, labels = tmp_path / "sheets", {}
    folder.mkdir()
    for name, (images, labels[name]) in cifar10.read_batches(batches):
        sheet = images.reshape(-1, 5, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 160, 3)
        Image.fromarray(sheet).save(folder / f"{name}.webp", lossless=True)
    np.savez(folder / "labels.npz", **labels)
    return folder


def test_cifar10_forms_give_the_same_arrays(cifar, batches, sheets, tmp_path):
    for i, source in enumerate([batches, batches.parent, cifar.folder / cifar10.ARCHIVE, sheets]):
        assert same(prepared(cifar, source, tmp_path / f"out{i}")[0], cifar.splits)


def test_cifar10_batch_refusals(batches, tmp_path, capsys, monkeypatch):
    batch = batches / "data_batch_3"
    whole = batch.read_bytes()

    class NeverOpened(cifar10.BatchUnpickler):
        def load(self):
            pytest.fail("unpickled before it was verified")

    forms.flip_bit(batch)
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "BatchUnpickler", NeverOpened)
        patch.setattr(cifar10, "BATCHES", {"data_batch_3": cifar10.BATCHES["data_batch_3"]})
        forms.refused(cifar10, batches, tmp_path / "out", capsys, str(batch), "expected sha256")
    batch.write_bytes(whole[:1000])
    forms.refused(cifar10, batches, tmp_path / "out", capsys, str(batch), "1,000 bytes")
    batch.write_bytes(b"<html>moved</html>")
    forms.refused(cifar10, batches, tmp_path / "out", capsys, str(batch), "web page")
    batch.unlink()
    forms.refused(cifar10, batches, tmp_path / "out", capsys, str(batch), "missing")
    (tmp_path / "empty").mkdir()
    forms.refused(cifar10, tmp_path / "empty", tmp_path / "out", capsys, "no CIFAR-10 here")


def test_unpickler_runs_no_code(batches, tmp_path, capsys, monkeypatch):
    """Even a file with the expected sum can only hold what a batch is made of."""

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "broken-in"),)

    for protocol in (0, 2, 5):
        data = pickle.dumps({0: Attack()}, protocol=protocol)
        (batches / "data_batch_1").write_bytes(data)
        monkeypatch.setattr(
            cifar10, "BATCHES", {**cifar10.BATCHES, "data_batch_1": (_checks.sha256(data), "", "")}
        )
        forms.refused(cifar10, batches, tmp_path / "out", capsys, "a batch has no use for", "mkdir")
    assert not (tmp_path / "broken-in").exists()


def test_sheet_refusals(sheets, tmp_path, capsys):
    sheet, labels = sheets / "data_batch_4.webp", sheets / "labels.npz"
    whole, whole_labels = sheet.read_bytes(), labels.read_bytes()
    pixels = np.asarray(Image.open(sheet)).copy()

    def check(source, *expected):
        forms.refused(cifar10, sheets, tmp_path / "out", capsys, str(source), *expected)

    pixels[7, 7, 0] ^= 1
    Image.fromarray(pixels).save(sheet, lossless=True)
    check(sheets, "images of data_batch_4", "expected sha256")
    Image.fromarray(pixels[:-1]).save(sheet, lossless=True)
    check(sheet, "32x32 tiles")
    Image.fromarray(pixels).save(sheet, format="PNG")
    check(sheet, "not a readable WebP")
    sheet.write_bytes(whole[: len(whole) // 2])
    check(sheet)
    sheet.write_bytes(b"<html></html>")
    check(sheet, "web page")
    sheet.unlink()
    check(sheet, "missing")
    sheet.write_bytes(whole)

    stored = dict(np.load(labels))
    np.savez(labels, **{**stored, "test_batch": stored["test_batch"][::-1]})
    check(sheets, "labels of test_batch", "expected sha256")
    np.savez(labels, **{**stored, "test_batch": stored["test_batch"].view(np.int8)})
    check(sheets, "labels of test_batch", "expected uint8", "got int8")
    np.savez(labels, **{**stored, "test_batch": np.array([{}], dtype=object)})
    check(labels)
    del stored["test_batch"]
    np.savez(labels, **stored)
    check(labels)
    labels.write_bytes(whole_labels[:500])
    check(labels)
    labels.unlink()
    check(labels, "missing")


def test_stl10_unpacked(tmp_path, capsys, monkeypatch):
    published = forms.publish("stl10", tmp_path / "raw", monkeypatch)
    folder = unpack(forms.main_file(published), tmp_path / "unpacked")
    splits, _ = prepared(published, folder, tmp_path / "out")
    assert same(splits, published.splits) and splits["unlabeled"].keys() == {"images"}
    file = folder / "stl10_binary" / "test_y.bin"
    forms.flip_bit(file, 0)
    forms.refused(published.script, folder, tmp_path / "new", capsys, "test_y.bin", "expected md5")
    file.unlink()
    forms.refused(published.script, folder, tmp_path / "new", capsys, "test_y.bin missing")


@pytest.fixture
def faces(tmp_path, monkeypatch):
    return forms.publish("celeba", tmp_path / "raw", monkeypatch)


def test_celeba_is_cropped_to_the_middle_and_resized(faces, tmp_path):
    splits, manifest = prepared(faces, faces.folder, tmp_path / "out")
    left, top, right, bottom = celeba.CROP
    assert (left + right, top + bottom) == celeba.SIZE and right - left == bottom - top == 160
    for split, arrays in faces.splits.items():
        np.testing.assert_array_equal(splits[split]["attributes"], arrays["attributes"])
        difference = splits[split]["images"].astype(float) - arrays["images"]
        assert np.abs(difference).mean() < 8  # JPEG, enlarged and reduced; other faces differ by far more
        assert np.abs(splits[split]["images"].astype(float) - arrays["images"][::-1]).mean() > 25
    assert manifest["attribute_names"][31] == "Smiling" and manifest["class_names"] == []
    assert "160x160" in manifest["title"] and "non-commercial" in manifest["license"]


def test_celeba_in_the_folders_of_the_drive_and_unpacked(faces, tmp_path, capsys):
    expected, _ = prepared(faces, faces.folder, tmp_path / "out")
    places = {"Img": celeba.IMAGES, "Anno": "list_attr_celeba.txt", "Eval": "list_eval_partition.txt"}
    for folder, file in places.items():
        (tmp_path / "drive" / folder).mkdir(parents=True)
        (faces.folder / file).rename(tmp_path / "drive" / folder / file)
    assert same(prepared(faces, tmp_path / "drive", tmp_path / "out2")[0], expected)

    archive = tmp_path / "drive" / "Img" / celeba.IMAGES
    unpack(archive, archive.parent)
    archive.unlink()
    forms.refused(celeba, tmp_path / "drive", tmp_path / "out3", capsys, "img_align_celeba", "--trust")
    splits, manifest = prepared(faces, tmp_path / "drive", tmp_path / "out3", "--trust")
    assert same(splits, expected) and not manifest["verified"]
    (archive.parent / "img_align_celeba" / "000003.jpg").unlink()
    forms.refused(
        celeba,
        tmp_path / "drive",
        tmp_path / "out4",
        capsys,
        "1 images missing, 000003.jpg",
        more=["--trust"],
    )


def test_celeba_lists_are_verified(faces, tmp_path, capsys):
    for file in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        whole = (faces.folder / file).read_bytes()
        forms.flip_bit(faces.folder / file, -3)
        forms.refused(celeba, faces.folder, tmp_path / "out", capsys, file, "expected sha256")
        (faces.folder / file).unlink()
        forms.refused(celeba, faces.folder, tmp_path / "out", capsys, file, "missing", celeba.PAGE)
        (faces.folder / file).write_bytes(whole)


@pytest.mark.parametrize("name", ["facades", "maps"])
def test_pairs_unpacked_and_in_the_form_of_pix2pix(name, tmp_path, capsys, monkeypatch):
    published = forms.publish(name, tmp_path / "raw", monkeypatch)
    module, out = published.script, tmp_path / "out"
    expected, _ = prepared(published, published.folder, out)
    for split, arrays in published.splits.items():
        for key, array in arrays.items():
            assert np.abs(expected[split][key].astype(float) - array).mean() < 4

    folder = unpack(published.folder / f"{name}.zip", tmp_path / "unpacked")
    (folder / name / "backup" / "trainA").mkdir(parents=True)
    (folder / name / "backup" / "trainA" / "1_A.jpg").write_bytes(b"an older copy")
    with (folder / name / "thesis.txt").open("wb") as file:
        file.truncate(2**30)  # larger than any picture, and nothing to us
    known = bool(module.FILES.folders_sha256)
    if not known:
        forms.refused(module, folder, tmp_path / "out1", capsys, "no published sha256", "--trust")
    splits, manifest = prepared(published, folder, tmp_path / "out1", *([] if known else ["--trust"]))
    assert same(splits, expected) and manifest["verified"] is known
    assert manifest["source_sha256"].keys() == {"trainA", "trainB", "testA", "testB"}

    joined = tmp_path / "joined" / name
    for place, split in module.FILES.joined.items():
        (joined / place).mkdir(parents=True)
        letters = [sorted((folder / name / f"{split}{side}").iterdir(), key=number) for side in "AB"]
        for i, (photo, drawn) in enumerate(zip(*letters, strict=True)):
            both = np.concatenate([np.asarray(Image.open(path)) for path in (photo, drawn)], axis=1)
            (joined / place / f"{i + 1}.jpg").write_bytes(forms.encoded(both, "PNG"))
    forms.refused(module, joined.parent, tmp_path / "out2", capsys, "--trust")
    assert same(prepared(published, joined.parent, tmp_path / "out2", "--trust")[0], expected)
    with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(joined, name)
    forms.refused(module, tmp_path / f"{name}.tar.gz", tmp_path / "out3", capsys, "--trust")
    splits, manifest = prepared(published, tmp_path / f"{name}.tar.gz", tmp_path / "out3", "--trust")
    assert same(splits, expected) and list(manifest["source_sha256"]) == [f"{name}.tar.gz"]


def number(path):
    return int(path.stem.split("_")[0])


def test_pairs_that_are_none_are_refused(tmp_path, capsys, monkeypatch):
    published = forms.publish("facades", tmp_path / "raw", monkeypatch)
    folder = unpack(published.folder / "facades.zip", tmp_path / "unpacked")
    photo = folder / "facades" / "trainA" / "1_A.jpg"
    whole = photo.read_bytes()

    def check(*expected, more=("--trust",)):
        forms.refused(published.script, folder, tmp_path / "out", capsys, *expected, more=more)

    photo.write_bytes(forms.encoded(np.asarray(Image.open(photo)) // 2, "PNG"))
    check("no published sha256", more=())
    photo.write_bytes(forms.encoded(np.zeros((256, 255, 3), np.uint8), "PNG"))
    check("1_A.jpg", "expected 256x256 pixels, got 255x256")
    photo.write_bytes(whole[: len(whole) // 2])
    check("1_A.jpg", "not a readable JPEG or PNG")
    photo.write_bytes(b"<html>")
    check("1_A.jpg", "web page")
    photo.unlink()
    check("expected 8 photos and their 8 maps for train, got 7 and 8, 7 of them pairs")
    photo.with_name("9_A.jpg").write_bytes(whole)
    check("expected 8 photos and their 8 maps for train, got 8 and 8, 7 of them pairs")
    forms.refused(published.script, tmp_path / "raw2", tmp_path / "out", capsys, "no such folder")
    (tmp_path / "raw2").mkdir()
    forms.refused(published.script, tmp_path / "raw2", tmp_path / "out", capsys, "no facades here")
