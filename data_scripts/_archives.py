"""Zip and tar archives, and folders, read member by member in place: nothing is ever unpacked to disk."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from _checks import DataError, refuse_web_page

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError, NotImplementedError)


class Content:
    """The bytes of a member, to be read before the next member is asked for."""

    def __init__(self, path: Path, name: str, size: int, file: IO[bytes]) -> None:
        self.path, self.name, self.left, self.file = path, name, size, file

    def read(self, size: int | None = None) -> bytes:
        """The next `size` bytes, or all that are left: no fewer, or the archive is damaged."""
        wanted = self.left if size is None else size
        try:
            data = self.file.read(wanted)
        except DAMAGED as error:
            raise damaged(self.path, error) from error
        if len(data) != wanted:
            raise damaged(self.path, f"{self.name}: {wanted - len(data):,} bytes missing")
        self.left -= wanted
        return data


class Member(NamedTuple):
    name: PurePosixPath
    size: int
    content: Content


def damaged(path: Path, reason: object) -> DataError:
    return DataError(f"{path}: damaged or cut short ({reason}). Fetch it again.")


def read_members(path: Path, *, largest: int) -> Iterator[Member]:
    """Every plain file of a folder, a zip or a tar.gz, in its order (a folder: by name).

    An archive with a member that would leave its folder, that is a link or a device, or that has more than
    `largest` bytes is refused, whether the member is needed or not; so is one that is damaged or cut short.
    A folder is its owner's: what else lies there is none of our business.
    """
    if path.is_dir():
        yield from folder_members(path)
        return
    with path.open("rb") as file:
        head = file.read(64)
    refuse_web_page(path, head)
    try:
        yield from (zip_members if head[:2] == b"PK" else tar_members)(path, largest)
    except DAMAGED as error:
        raise damaged(path, error) from error


def folder_members(path: Path) -> Iterator[Member]:
    for found in sorted(path.rglob("*")):
        if found.is_file():
            name, size = PurePosixPath(found.relative_to(path).as_posix()), found.stat().st_size
            with found.open("rb") as file:
                yield Member(name, size, Content(path, str(name), size, file))


def zip_members(path: Path, largest: int) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG, stat.S_IFDIR) and not info.flag_bits & 1  # nor encrypted
            check_member(path, info.filename, plain=plain, size=info.file_size, largest=largest)
            if not info.is_dir():
                with archive.open(info) as file:
                    content = Content(path, info.filename, info.file_size, file)
                    yield Member(PurePosixPath(info.filename), info.file_size, content)


def tar_members(path: Path, largest: int) -> Iterator[Member]:
    with tarfile.open(path, "r:gz") as archive:
        for info in archive:
            plain = info.isfile() or info.isdir()
            check_member(path, info.name, plain=plain, size=info.size, largest=largest)
            file = archive.extractfile(info) if info.isfile() else None
            if file is not None:
                content = Content(path, info.name, info.size, file)
                yield Member(PurePosixPath(info.name), info.size, content)


def check_member(path: Path, name: str, *, plain: bool, size: int, largest: int) -> None:
    place = PurePosixPath(name)
    if not plain or place.is_absolute() or ".." in place.parts or "\\" in name or ":" in name:
        raise DataError(
            f"{path}: expected plain files inside its own folder, got {name!r}. "
            "This is not the published archive: fetch it again."
        )
    if size > largest:
        raise DataError(
            f"{path}: {name} has {size:,} bytes, more than any file of the set ({largest:,}). Fetch it again."
        )
