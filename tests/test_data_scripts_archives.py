"""Archives: read in place; damaged, cut short, altered, escaping ones and web pages are refused, nothing left behind."""

import io
import stat
import tarfile
import zipfile

import pytest

from tests import data_forms as forms
from tests.data_forms import _checks

import _archives  # isort: skip  # on the path once data_forms is imported


def names_in(path, largest=100):
    return {
        str(member.name): member.content.read() for member in _archives.read_members(path, largest=largest)
    }


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tar_of(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for member, data in members.items():
            if isinstance(member, str):
                forms.add(archive, member, data)
            else:
                archive.addfile(member, io.BytesIO(data))
    return path


def test_folder_zip_and_tar_give_the_same(tmp_path):
    members = {"set/a.txt": b"first", "set/deep/b.txt": b"", "set/c.txt": b"x" * 100}
    for name, data in members.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    folder = tar_of(tmp_path / "a.tar.gz", members), zip_of(tmp_path / "a.zip", members), tmp_path / "folder"
    assert all(names_in(path) == members for path in folder)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "a.zip", "a.tar.gz"}


@pytest.mark.parametrize(
    "name", ["../escaped", "/tmp/escaped", "set/../../escaped", "C:/escaped", "set\\..\\..\\x"]
)
@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar"])
def test_escaping_names(name, pack, tmp_path):
    path = pack(tmp_path / "archive", {"set/good.txt": b"good", name: b"bad"})
    with pytest.raises(_checks.DataError, match=r"inside its own folder, got .*fetch it again"):
        names_in(path)
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(kind, tmp_path):
    member = tarfile.TarInfo("set/link")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(_checks.DataError, match="expected plain files"):
        names_in(tar_of(tmp_path / "a.tar.gz", {member: b""}))


def test_links_in_a_zip(tmp_path):
    info = zipfile.ZipInfo("set/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(_checks.DataError, match="expected plain files"):
        names_in(zip_of(tmp_path / "a.zip", {info: b"/etc/passwd"}))


@pytest.mark.parametrize("pack", [zip_of, tar_of], ids=["zip", "tar"])
def test_bombs_and_damage(pack, tmp_path):
    path = pack(tmp_path / "archive", {"set/zeros": bytes(10**7)})
    with pytest.raises(_checks.DataError, match="10,000,000 bytes, more than any file of the set"):
        names_in(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    for data in (
        whole[:middle],
        b"",
        b"PK\3\4",
        b"\x1f\x8b",
        whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
    ):
        path.write_bytes(data)
        with pytest.raises(_checks.DataError, match="damaged or cut short"):
            names_in(path, largest=10**8)
    path.write_bytes(b"  <!DOCTYPE html>")
    with pytest.raises(_checks.DataError, match="got a web page"):
        names_in(path)


@pytest.mark.parametrize("name", forms.NAMES)
def test_every_script_refuses_what_is_not_the_published_file(name, tmp_path, capsys, monkeypatch):
    """Cut short, one bit altered, a web page in its place, nothing at all, and after all that still taken when whole."""
    published = forms.publish(name, tmp_path / "raw", monkeypatch)
    path, out = forms.main_file(published), tmp_path / "out"
    whole = path.read_bytes()

    def check(data, *expected):
        path.write_bytes(data)
        forms.refused(published.script, published.folder, out, capsys, str(path), *expected)

    check(whole[: len(whole) // 2])
    check(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1 :])
    check(b"\n<!DOCTYPE html><title>404</title>", "web page", "again")
    check(b"")
    path.unlink()
    forms.refused(published.script, published.folder, out, capsys, str(published.folder), "Expected")
    assert not out.exists()
    path.write_bytes(whole)
    assert published.script.main(["--from", str(published.folder), "--to", str(out)]) == 0


@pytest.mark.parametrize("name", ["cifar10", "stl10"])
def test_an_escaping_member_in_an_archive_whose_parts_are_right(name, tmp_path, capsys, monkeypatch):
    published = forms.publish(name, tmp_path / "raw", monkeypatch)
    path = forms.main_file(published)
    with tarfile.open(path) as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}
    tar_of(path, {**members, "../escaped": b"bad"})
    forms.refused(published.script, path, tmp_path / "out", capsys, str(path), "'../escaped'")
    missing = next(iter(members))
    tar_of(path, {name: data for name, data in members.items() if name != missing})
    forms.refused(published.script, path, tmp_path / "out", capsys, f"{missing.split('/')[1]} missing")
