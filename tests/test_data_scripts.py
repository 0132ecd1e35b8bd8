"""The data scripts: published forms are accepted to the bit, all else is refused and leaves nothing behind.

The published files are large, so small stand-ins (made of the twins' images, in the published formats) take
their place here, with their own sha256 put where the published ones stand. `NDIV_DATA_RAW=DIR` adds the real
files.
"""

import dataclasses
import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[1] / "data_scripts"
sys.path.insert(0, str(SCRIPTS))

import _common  # noqa: E402
import cifar10  # noqa: E402
import mnist  # noqa: E402


def array_sums(splits):
    return {
        f"{split}/{key}": _common.sha256(a) for split, arrays in splits.items() for key, a in arrays.items()
    }


@pytest.fixture
def mnist_raw(tmp_path, monkeypatch):
    """A folder with four small gzipped IDX files that the script takes for the published ones."""
    raw, splits, files = tmp_path / "raw", mnist.twin(40, seed=7), {}
    raw.mkdir()
    for key, (name, _) in mnist.IDX_FILES.items():
        split, kind = key.split("/")
        array = splits[split][kind]
        data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        (raw / f"{name}.gz").write_bytes(gzip.compress(data))
        files[key] = name, _common.sha256(data)
    monkeypatch.setattr(mnist, "IDX_FILES", files)
    monkeypatch.setattr(mnist, "MNIST", dataclasses.replace(mnist.MNIST, sha256=array_sums(splits)))
    return raw


def python2_pickle(images, labels):
    """A CIFAR-10 batch as Python 2 wrote it, opcode by opcode: byte strings and numpy's old module names."""

    def number(n):
        return b"J" + struct.pack("<i", n)

    data = images.transpose(0, 3, 1, 2).tobytes()
    shape = number(len(images)) + number(3072) + b"\x86"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNN" + number(-1) + number(-1) + b"K\x00tb"
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    array = empty + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<I", len(data)) + data + b"tb"
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x06labels" + listed + b"U\x04data" + array + b"u."


@pytest.fixture
def cifar_batches(tmp_path, monkeypatch):
    """A folder with six small python batches that the script takes for the published ones."""
    folder, splits, sums = tmp_path / cifar10.FOLDER, cifar10.twin(200, seed=7), {}
    folder.mkdir()
    for i, name in enumerate(cifar10.BATCHES):
        images, labels = (
            (splits["test"][key] if name == "test_batch" else splits["train"][key][40 * i : 40 * i + 40])
            for key in ("images", "labels")
        )
        data = python2_pickle(images, labels)
        (folder / name).write_bytes(data)
        sums[name] = _common.sha256(data), _common.sha256(images), _common.sha256(labels)
    monkeypatch.setattr(cifar10, "BATCHES", sums)
    monkeypatch.setattr(cifar10, "CIFAR10", dataclasses.replace(cifar10.CIFAR10, sha256=array_sums(splits)))
    return folder


@pytest.fixture
def cifar_sheets(cifar_batches, tmp_path):
    """The same images as lossless WebP sheets, five tiles a row."""
    image = pytest.importorskip("PIL.Image")
    folder, labels = tmp_path / "sheets", {}
    folder.mkdir()
    for name, (images, labels[name]) in cifar10.read_batches(cifar_batches):
        sheet = images.reshape(-1, 5, 32, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 160, 3)
        image.fromarray(sheet).save(folder / f"{name}.webp", lossless=True)
    np.savez(folder / "labels.npz", **labels)
    return folder


def archive_of(folder, path, *, also=()):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, cifar10.FOLDER)
        for member in also:
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def flip_bit(path, position=-100):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def refused(script, source, out, capsys, *expected):
    """The script says no, in one line that holds every expected part, and leaves nothing behind."""
    before = sorted(out.rglob("*")) if out.exists() else None
    assert script.cli(["--from", str(source), "--to", str(out)]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1
    for part in expected:
        assert part in message
    assert (sorted(out.rglob("*")) if out.exists() else None) == before


def arrays_in(folder):
    return {s: dict(np.load(folder / f"{s}.npz")) for s in ("train", "test")}


def test_mnist_forms_give_the_same_files(mnist_raw, tmp_path, capsys):
    assert mnist.cli(["--from", str(mnist_raw), "--to", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert "40 train, 10 test" in out and "CC BY-SA 3.0" in out and "LeCun" in out
    assert array_sums(arrays_in(tmp_path / "a/mnist")) == mnist.MNIST.sha256
    manifest = json.loads((tmp_path / "a/mnist/manifest.json").read_text())
    assert manifest["twin"] is False and str(tmp_path) not in json.dumps(manifest)

    nested = tmp_path / "elsewhere" / "MNIST" / "raw"  # unpacked, dotted names, as torchvision lays them
    nested.mkdir(parents=True)
    for path in mnist_raw.iterdir():
        (nested / path.stem.replace("-idx", ".idx")).write_bytes(gzip.decompress(path.read_bytes()))
    assert mnist.cli(["--from", str(tmp_path / "elsewhere"), "--to", str(tmp_path / "b")]) == 0
    for file in ("train.npz", "test.npz", "manifest.json"):
        assert (tmp_path / "a/mnist" / file).read_bytes() == (tmp_path / "b/mnist" / file).read_bytes()


def test_cifar10_forms_give_the_same_arrays(cifar_batches, cifar_sheets, tmp_path):
    archive = archive_of(cifar_batches, tmp_path / cifar10.ARCHIVE)
    for i, source in enumerate([cifar_batches, cifar_batches.parent, archive, cifar_sheets]):
        assert cifar10.cli(["--from", str(source), "--to", str(tmp_path / f"out{i}")]) == 0
        assert array_sums(arrays_in(tmp_path / f"out{i}" / "cifar10")) == cifar10.CIFAR10.sha256


def test_second_run_changes_nothing_and_damage_is_mended(mnist_raw, tmp_path, capsys):
    arguments, folder = ["--from", str(mnist_raw), "--to", str(tmp_path / "out")], tmp_path / "out" / "mnist"
    assert mnist.cli(arguments) == 0
    first = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}
    capsys.readouterr()
    assert mnist.cli(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()} == first

    flip_bit(folder / "train.npz", 20_000)
    assert mnist.cli(arguments) == 0
    assert {path: path.read_bytes() for path in folder.iterdir()} == {
        p: data for p, (_, data) in first.items()
    }
    assert [path.name for path in folder.parent.iterdir()] == ["mnist"]


def test_mnist_refusals(mnist_raw, tmp_path, capsys):
    path = mnist_raw / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()

    def check(data, *expected):
        path.write_bytes(data)
        refused(mnist, mnist_raw, tmp_path / "out", capsys, str(path), "again", *expected)

    altered = bytearray(gzip.decompress(whole))
    altered[-1] ^= 1
    published = mnist.IDX_FILES["test/images"][1]
    check(gzip.compress(bytes(altered)), f"expected sha256 {published}, got {_common.sha256(bytes(altered))}")
    check(whole[: len(whole) // 2], "cut short")
    check(whole[:50] + bytes([whole[50] ^ 255]) + whole[51:])
    check(b"\n<!DOCTYPE html><title>404</title>", "web page")
    check(b"version https://git-lfs", "expected gzip")
    check(b"", "expected gzip")
    path.unlink()
    refused(mnist, mnist_raw, tmp_path / "out", capsys, str(path.with_suffix("")), "missing")
    refused(mnist, tmp_path / "nowhere", tmp_path / "out", capsys, "no such folder")


def test_gzip_bomb_stops_at_the_limit(mnist_raw, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mnist, "LARGEST", 10_000)
    (mnist_raw / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    refused(mnist, mnist_raw, tmp_path / "out", capsys, "10,000 bytes", "expected sha256")


def test_cifar10_batch_refusals(cifar_batches, tmp_path, capsys, monkeypatch):
    batch = cifar_batches / "data_batch_3"
    whole = batch.read_bytes()

    class NeverOpened(cifar10.BatchUnpickler):
        def load(self):
            pytest.fail("unpickled before it was verified")

    flip_bit(batch)
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "BatchUnpickler", NeverOpened)
        patch.setattr(cifar10, "BATCHES", {"data_batch_3": cifar10.BATCHES["data_batch_3"]})
        refused(cifar10, cifar_batches, tmp_path / "out", capsys, str(batch), "expected sha256")
    batch.write_bytes(whole[:1000])
    refused(cifar10, cifar_batches, tmp_path / "out", capsys, str(batch), "1,000 bytes")
    batch.write_bytes(b"<html>moved</html>")
    refused(cifar10, cifar_batches, tmp_path / "out", capsys, str(batch), "web page")
    batch.unlink()
    refused(cifar10, cifar_batches, tmp_path / "out", capsys, str(batch), "missing")
    refused(cifar10, tmp_path / "out", tmp_path / "out", capsys, "no such folder")
    (tmp_path / "empty").mkdir()
    refused(cifar10, tmp_path / "empty", tmp_path / "out", capsys, "no CIFAR-10 here")


def test_unpickler_runs_no_code(cifar_batches, tmp_path, capsys, monkeypatch):
    """Even a file with the expected sum can only hold what a batch is made of."""

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "broken-in"),)

    for protocol in (0, 2, 5):
        data = pickle.dumps({0: Attack()}, protocol=protocol)
        (cifar_batches / "data_batch_1").write_bytes(data)
        sums = {**cifar10.BATCHES, "data_batch_1": (_common.sha256(data), "", "")}
        monkeypatch.setattr(cifar10, "BATCHES", sums)
        refused(cifar10, cifar_batches, tmp_path / "out", capsys, "a batch has no use for", "mkdir")
    assert not (tmp_path / "broken-in").exists()


def escaping(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.size, member.type, member.linkname = (3 if kind == tarfile.REGTYPE else 0), kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        escaping("../escaped"),
        escaping("/tmp/escaped"),
        escaping(f"{cifar10.FOLDER}/../../escaped"),
        escaping(f"{cifar10.FOLDER}/data_batch_9", tarfile.SYMTYPE, "/etc/passwd"),
        escaping(f"{cifar10.FOLDER}/data_batch_9", tarfile.LNKTYPE, "/etc/passwd"),
    ],
    ids=["parent", "absolute", "inside and out", "symbolic link", "hard link"],
)
def test_archive_with_a_stray_member_is_refused(member, cifar_batches, tmp_path, capsys):
    archive = archive_of(cifar_batches, tmp_path / cifar10.ARCHIVE, also=[member])
    refused(
        cifar10,
        archive,
        tmp_path / "out",
        capsys,
        str(archive),
        repr(member.name),
        "not the published archive",
    )


def test_archive_refusals(cifar_batches, tmp_path, capsys, monkeypatch):
    archive = archive_of(cifar_batches, tmp_path / cifar10.ARCHIVE)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    refused(cifar10, archive, tmp_path / "out", capsys, str(archive), "cut short")
    archive.write_bytes(b"<html>not found</html>")
    refused(cifar10, archive, tmp_path / "out", capsys, str(archive), "web page")
    archive.write_bytes(b"PK\x03\x04 something else")
    refused(cifar10, archive, tmp_path / "out", capsys, str(archive), "damaged")
    archive.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "LARGEST", 1000)
        refused(cifar10, archive, tmp_path / "out", capsys, "more than a batch")
    (cifar_batches / "test_batch").unlink()
    archive_of(cifar_batches, archive)
    refused(cifar10, archive, tmp_path / "out", capsys, "test_batch missing")
    flip_bit(cifar_batches / "data_batch_2")
    archive_of(cifar_batches, archive)
    refused(cifar10, archive, tmp_path / "out", capsys, "data_batch_2", "expected sha256")


def test_sheet_refusals(cifar_sheets, tmp_path, capsys):
    from PIL import Image

    sheet, labels = cifar_sheets / "data_batch_4.webp", cifar_sheets / "labels.npz"
    whole, whole_labels = sheet.read_bytes(), labels.read_bytes()
    pixels = np.asarray(Image.open(sheet)).copy()

    def check(source, *expected):
        refused(cifar10, cifar_sheets, tmp_path / "out", capsys, str(source), *expected)

    pixels[7, 7, 0] ^= 1
    Image.fromarray(pixels).save(sheet, lossless=True)
    check(cifar_sheets, "images of data_batch_4", "expected sha256")
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
    check(cifar_sheets, "labels of test_batch", "expected sha256")
    np.savez(labels, **{**stored, "test_batch": stored["test_batch"].view(np.int8)})
    check(cifar_sheets, "labels of test_batch", "expected uint8", "got int8")
    np.savez(labels, **{**stored, "test_batch": np.array([{}], dtype=object)})
    check(labels)
    del stored["test_batch"]
    np.savez(labels, **stored)
    check(labels)
    labels.write_bytes(whole_labels[:500])
    check(labels)
    labels.unlink()
    check(labels, "missing")


def test_a_write_that_fails_leaves_what_was_there(mnist_raw, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert mnist.cli(["--twin", "--twin-size", "40", "--to", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    savez = np.savez

    def full_disk(path, **arrays):
        savez(path, **arrays)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_common.np, "savez", full_disk)
    refused(mnist, mnist_raw, out, capsys, "No space left")
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_rename_that_fails_puts_the_old_set_back(mnist_raw, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    assert mnist.cli(["--twin", "--twin-size", "40", "--to", str(out)]) == 0
    rename = os.rename

    def stubborn(source, target):
        if Path(source).name == "fresh":
            raise OSError("rename failed")
        rename(source, target)

    monkeypatch.setattr(_common.os, "rename", stubborn)
    refused(mnist, mnist_raw, out, capsys, "rename failed")
    assert _common.read_manifest(out / "mnist")["twin"]


def test_real_data_replace_a_twin_but_never_the_reverse(mnist_raw, tmp_path, capsys):
    out = ["--to", str(tmp_path / "out")]
    assert mnist.cli(["--twin", "--twin-size", "40", *out]) == 0
    assert mnist.cli(["--from", str(mnist_raw), *out]) == 0
    assert mnist.cli(["--twin", *out]) == 1
    assert "must not replace" in capsys.readouterr().err
    assert _common.read_manifest(tmp_path / "out" / "mnist")["twin"] is False


def test_a_folder_of_somebody_else_is_left_alone(mnist_raw, tmp_path, capsys):
    (tmp_path / "out" / "mnist").mkdir(parents=True)
    (tmp_path / "out" / "mnist" / "thesis.txt").write_text("mine")
    refused(mnist, mnist_raw, tmp_path / "out", capsys, "not made by this script", "--to")


@pytest.mark.parametrize("script", [mnist, cifar10], ids=["mnist", "cifar10"])
def test_twin_follows_its_seed(script, tmp_path, capsys):
    assert script.cli(["--twin", "--twin-size", "60", "--seed", "3", "--to", str(tmp_path)]) == 0
    assert "citation" not in capsys.readouterr().out
    (splits,) = (arrays_in(path) for path in tmp_path.iterdir())
    assert array_sums(splits) == array_sums(script.twin(60, 3)) != array_sums(script.twin(60, 4))
    assert np.bincount(splits["train"]["labels"]).tolist() == [6] * 10
    assert set(splits["test"]["labels"]) == set(range(10))
    assert script.cli(["--twin", "--twin-size", "60", "--seed", "3", "--to", str(tmp_path)]) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("script", [mnist, cifar10], ids=["mnist", "cifar10"])
def test_twin_classes_can_be_told_apart(script):
    """Nearest neighbors find the class, so a classifier trained on a twin has something to learn."""
    splits = script.twin(500, 0)
    train, test = (spectrum(splits[split]["images"]) for split in ("train", "test"))
    nearest = ((test[:, None] - train[None]) ** 2).sum(-1).argmin(1)
    assert (splits["train"]["labels"][nearest] == splits["test"]["labels"]).mean() > 0.8


def spectrum(images):
    """Amplitudes of the Fourier transform: blind to shifts and to a grating's phase."""
    gray = images.reshape(*images.shape[:3], -1).mean(-1)
    amplitude = np.abs(np.fft.rfft2(gray - gray.mean((1, 2), keepdims=True)))[:, :, :10].reshape(
        len(gray), -1
    )
    return amplitude / np.linalg.norm(amplitude, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--twin", "--from", "x"],
        ["--twin", "--twin-size", "39"],
        ["--twin", "--seed", "-1"],
        ["--twin-size", "x"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        mnist.cli(arguments)
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_script_runs_by_itself_into_ndiv_data(name, tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, SCRIPTS / f"{name}.py", *arguments],
            env={**os.environ, "NDIV_DATA": str(tmp_path)}, text=True, capture_output=True, check=False,
        )  # fmt: skip

    assert "nothing is downloaded" in " ".join(run("--help").stdout.split())
    done = run("--twin", "--twin-size", "40")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
        "manifest.json",
        "test.npz",
        "train.npz",
    ]
    failed = run("--from", str(tmp_path / "nowhere"))
    assert failed.returncode == 1 and "Traceback" not in failed.stderr


@pytest.mark.parametrize("script", [mnist, cifar10], ids=["mnist", "cifar10"])
def test_the_published_files(script, tmp_path, capsys):
    raw = os.environ.get("NDIV_DATA_RAW")
    if not raw:
        pytest.skip("NDIV_DATA_RAW does not name a folder with the published files")
    try:
        script.read(Path(raw))
    except _common.DataError as error:
        if "missing (also" in str(error) or "no CIFAR-10 here" in str(error):
            pytest.skip(f"not in NDIV_DATA_RAW: {error}")
        raise
    assert script.cli(["--from", raw, "--to", str(tmp_path)]) == 0
    assert "every sha256 verified" in capsys.readouterr().out
