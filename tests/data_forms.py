"""Every set in its published form, in small: made of the twins' pictures, with its own sums where the real ones stand."""

import dataclasses
import gzip
import hashlib
import importlib
import io
import struct
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from PIL import Image

SCRIPTS = Path(__file__).parents[1] / "data_scripts"
sys.path.insert(0, str(SCRIPTS))

import _checks  # noqa: E402
import _common  # noqa: E402

NAMES = ("celeba", "cifar10", "facades", "fashion_mnist", "maps", "mnist", "stl10")
FETCHED = tuple(name for name in NAMES if name != "celeba")


class Published(NamedTuple):
    """A script, the folder with the small published files, and what it should make of them."""

    script: ModuleType
    folder: Path
    splits: dict


def script(name):
    return importlib.import_module(name)


def data_set(name):
    return getattr(script(name), name.upper())


def array_sums(splits):
    return {
        f"{split}/{key}": _checks.sha256(a) for split, arrays in splits.items() for key, a in arrays.items()
    }


def arrays_in(folder):
    return {path.stem: dict(np.load(path)) for path in sorted(folder.glob("*.npz"))}


def change(monkeypatch, name, **fields):
    """Let the script of a set know it by other facts."""
    monkeypatch.setattr(script(name), name.upper(), dataclasses.replace(data_set(name), **fields))


def publish(name, folder, monkeypatch):
    folder.mkdir(parents=True)
    splits = MAKERS[name](name, folder, monkeypatch)
    counts = {split: len(_common.first_array(arrays)) for split, arrays in splits.items()}
    change(monkeypatch, name, counts=counts, files=small_files(data_set(name), folder))
    return Published(script(name), folder, splits)


def small_files(data, folder):
    return tuple(
        dataclasses.replace(
            file,
            sha256=_checks.file_sha256(folder / file.name),
            size=(folder / file.name).stat().st_size,
            urls=(),
        )
        for file in data.files
    )


def idx(name, folder, monkeypatch):
    module, splits, files = script(name), script(name).twin(40, 7), {}
    for key, file in module.IDX_FILES.items():
        split, kind = key.split("/")
        array = splits[split][kind]
        data = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
        packed = gzip.compress(data)
        (folder / f"{file.name}.gz").write_bytes(packed)
        files[key] = file._replace(
            unpacked=file.unpacked and _checks.sha256(data), gzipped=file.gzipped and _checks.sha256(packed)
        )
    monkeypatch.setattr(module, "IDX_FILES", files)
    if data_set(name).sha256:
        change(monkeypatch, name, sha256=array_sums(splits))
    return splits


def cifar10(name, folder, monkeypatch):
    module, splits, sums = script(name), script(name).twin(100, 7), {}
    with tarfile.open(folder / module.ARCHIVE, "w:gz") as archive:
        for i, batch in enumerate(module.BATCHES):
            split, rows = (
                ("test", np.s_[:]) if batch == "test_batch" else ("train", np.s_[20 * i : 20 * i + 20])
            )
            images, labels = (splits[split][key][rows] for key in ("images", "labels"))
            data = python2_pickle(images, labels)
            sums[batch] = _checks.sha256(data), _checks.sha256(images), _checks.sha256(labels)
            add(archive, f"{module.FOLDER}/{batch}", data)
        add(archive, f"{module.FOLDER}/readme.html", b"<html>")
    monkeypatch.setattr(module, "BATCHES", sums)
    change(monkeypatch, name, sha256=array_sums(splits))
    return splits


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


def stl10(name, folder, monkeypatch):
    module, splits, md5 = script(name), script(name).twin(40, 7), {}
    with tarfile.open(folder / module.ARCHIVE, "w:gz") as archive:
        for file in module.MD5:
            split, kind = file.removesuffix(".bin").split("_")
            by_columns = splits[split]["images"].transpose(0, 3, 2, 1)
            data = (by_columns if kind == "X" else splits[split]["labels"] + 1).tobytes()
            md5[file] = hashlib.md5(data).hexdigest()
            add(archive, f"stl10_binary/{file}", data)
    monkeypatch.setattr(module, "MD5", md5)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    return splits


def celeba(name, folder, monkeypatch):
    """Photographs whose central 160x160 are a twin's face, enlarged, and the rest gray."""
    module, splits, row = script(name), script(name).twin(8, 7), 0
    attributes = ["14", " ".join(module.CELEBA.attribute_names)]
    partition = []
    with zipfile.ZipFile(folder / module.IMAGES, "w") as archive:
        for part, arrays in enumerate(splits.values()):
            for image, values in zip(arrays["images"], arrays["attributes"], strict=True):
                photo = np.full((218, 178, 3), 128, np.uint8)
                photo[29:189, 9:169] = Image.fromarray(image).resize((160, 160), Image.Resampling.BICUBIC)
                row += 1
                archive.writestr(f"img_align_celeba/{row:06}.jpg", encoded(photo, "JPEG"))
                attributes.append(f"{row:06}.jpg " + " ".join(f"{2 * int(v) - 1:2}" for v in values))
                partition.append(f"{row:06}.jpg {part}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(attributes) + "\n")
    (folder / "list_eval_partition.txt").write_text("\n".join(partition) + "\n")
    sums = {file: _checks.file_sha256(folder / file) for file in module.SHA256}
    monkeypatch.setattr(module, "SHA256", sums)
    return splits


def pairs(name, folder, monkeypatch):
    module, splits = script(name), script(name).twin(8, 7)
    side, digests = module.FILES.side, {}
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for split, arrays in splits.items():
            for letter, key in zip("AB", ("photos", "maps"), strict=True):
                contents = {
                    f"{i + 1}{'_' + letter if split == 'train' else ''}.jpg": encoded(
                        enlarged(image, side), "PNG"
                    )
                    for i, image in enumerate(arrays[key])
                }
                for file, content in contents.items():
                    archive.writestr(f"{name}/{split}{letter}/{file}", content)
                joined = b"".join(contents[file] for file in sorted(contents))
                digests[f"{split}{letter}"] = _checks.sha256(joined)
    known = digests if module.FILES.folders_sha256 else {}
    sums = {"zip_sha256": _checks.file_sha256(folder / f"{name}.zip"), "folders_sha256": known}
    monkeypatch.setattr(module, "FILES", dataclasses.replace(module.FILES, **sums))
    return splits


MAKERS = {
    "celeba": celeba,
    "cifar10": cifar10,
    "facades": pairs,
    "fashion_mnist": idx,
    "maps": pairs,
    "mnist": idx,
    "stl10": stl10,
}


def enlarged(image, side):
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST))


def encoded(picture, form):
    out = io.BytesIO()
    Image.fromarray(picture).save(out, form, compress_level=1, quality=95)
    return out.getvalue()


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def main_file(published):
    """The file that holds the pictures, or the first of them."""
    names = [file.name for file in data_set(published.script.__name__).files] or [published.script.IMAGES]
    return published.folder / names[0]


def flip_bit(path, position=-100):
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def everything(folder):
    """All there is below a folder, with contents."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(module, source, out, capsys, *expected, more=()):
    """The script says no, in one line that holds every expected part, and leaves nothing behind."""
    before = everything(out)
    assert module.main(["--from", str(source), "--to", str(out), *more]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 1, message
    for part in expected:
        assert part in message, message
    assert everything(out) == before
