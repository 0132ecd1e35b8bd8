"""Samples from folders and files, and the command `ndiv diagnose`."""

import numpy as np
import pytest
import torch
from PIL import Image

from ndiv_lib.cli import main
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.diagnosis.files import read_samples


def shapes(count, seed):
    return OneToMany().sample(count, generator=torch.Generator().manual_seed(seed))


def write_images(folder, images, labels=None):
    for number, image in enumerate(images):
        place = folder / (f"class {int(labels[number])}" if labels is not None else "")
        place.mkdir(parents=True, exist_ok=True)
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            place / f"{number:04}.png"
        )
    return folder


def test_a_folder_is_read_with_its_subfolders(tmp_path):
    drawn = shapes(12, 0)
    folder = write_images(tmp_path / "set", drawn.images, drawn.conditions)
    (folder / ".hidden").write_text("not an image")
    samples, conditions = read_samples(folder, conditions=True)
    order = drawn.conditions.argsort(stable=True)
    assert (samples - drawn.images[order]).abs().max() < 1 / 127.5
    assert conditions == [f"class {int(label)}" for label in drawn.conditions[order]]
    assert read_samples(folder).conditions is None


def test_gray_and_palette_images_are_read(tmp_path):
    gray = write_images(tmp_path / "gray", torch.zeros(2, 1, 8, 8))
    assert read_samples(gray).samples.shape == (2, 1, 8, 8)
    (tmp_path / "palette").mkdir()
    Image.new("RGB", (8, 8), (255, 0, 0)).convert("P").save(tmp_path / "palette" / "a.png")
    assert read_samples(tmp_path / "palette").samples[0, :, 0, 0].tolist() == [1, -1, -1]


def test_what_cannot_be_read_is_named(tmp_path):
    folder = write_images(tmp_path / "set", torch.zeros(3, 3, 8, 8))
    (folder / "notes.txt").write_text("hello")
    broken = folder / "broken.png"
    broken.write_bytes((folder / "0000.png").read_bytes()[:40])
    Image.new("RGBA", (8, 8)).save(folder / "clear.png")
    with pytest.raises(ValueError, match="3 of 6 files") as error:
        read_samples(folder)
    assert all(name in str(error.value) for name in ("notes.txt", "broken.png", "clear.png"))


def test_mixed_sizes_are_named(tmp_path):
    folder = write_images(tmp_path / "set", torch.zeros(3, 3, 8, 8))
    Image.new("RGB", (9, 8)).save(folder / "wide.png")
    Image.new("L", (8, 8)).save(folder / "gray.png")
    with pytest.raises(
        ValueError, match=r"3 of 8×8 color \(0000.png, .*\); 1 of 8×8 gray .*; 1 of 9×8 color \(wide.png\)"
    ):
        read_samples(folder)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(ValueError, match="got an empty folder"):
        read_samples(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere, which is neither"):
        read_samples(tmp_path / "nowhere")


def test_images_outside_a_condition_are_named(tmp_path):
    folder = write_images(tmp_path / "set", torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"2 outside: 0000.png, 0001.png"):
        read_samples(folder, conditions=True)


@pytest.mark.parametrize(
    ("arrays", "shape"),
    [
        ({"images": np.zeros((5, 8, 8), np.uint8)}, (5, 1, 8, 8)),
        ({"images": np.zeros((5, 8, 6, 3), np.uint8)}, (5, 3, 8, 6)),
        ({"images": np.zeros((5, 3, 8, 6), np.float32)}, (5, 3, 8, 6)),
        ({"anything": np.zeros((5, 7))}, (5, 7)),
    ],
)
def test_arrays_are_read(arrays, shape, tmp_path):
    np.savez(tmp_path / "set.npz", labels=np.arange(5), **arrays)
    samples, conditions = read_samples(tmp_path / "set.npz", conditions=True)
    assert samples.shape == shape and conditions == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((5, 8), np.int64)}, r"got int64 \(5, 8\)"),
        (
            {"first": np.zeros((5, 8)), "second": np.zeros((5, 8))},
            "array named images, or a single array, got first, second",
        ),
        ({"images": np.zeros((5, 8))}, "array named labels"),
    ],
)
def test_other_arrays_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path / "set.npz", conditions=True)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"set.npz: cannot be read"):
        read_samples(tmp_path / "set.npz")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, data = tmp_path_factory.mktemp("folders"), OneToMany()
    real, healthy = shapes(300, 0), shapes(300, 1)
    write_images(root / "real", real.images, real.conditions)
    write_images(root / "healthy", healthy.images, healthy.conditions)
    write_images(root / "same", data.templates()[healthy.conditions, 0], healthy.conditions)
    write_images(root / "few", healthy.images[:30], healthy.conditions)
    return root


@pytest.mark.parametrize(("name", "status"), [("healthy", 0), ("same", 1), ("few", 3), ("nowhere", 2)])
def test_the_command(name, status, folders, tmp_path, capsys):
    page = tmp_path / "report.html"
    arguments = ["diagnose", "--real", str(folders / "real"), "--generated", str(folders / name)]
    assert main([*arguments, "--conditions", "--out", str(page)]) == status
    out, err = capsys.readouterr()
    assert page.exists() == (status != 2)
    assert ("Is this mode collapse?" in out) == (status != 2) and ("nowhere" in err) == (status == 2)
    assert ("all identical" in out) == (name == "same")


def test_the_command_draws_fewer_and_says_so(folders, capsys):
    real, generated = str(folders / "real"), str(folders / "healthy")
    assert main(["diagnose", "--real", real, "--generated", generated, "--max-samples", "60"]) == 3
    assert "real: 60 of 300 samples, at random" in capsys.readouterr().out


def test_different_sizes_are_an_error_of_use(folders, tmp_path, capsys):
    other = write_images(tmp_path / "other", torch.zeros(20, 3, 8, 8))
    assert main(["diagnose", "--real", str(folders / "real"), "--generated", str(other)]) == 2
    assert "one shape, got (3, 16, 16) and (3, 8, 8)" in capsys.readouterr().err
