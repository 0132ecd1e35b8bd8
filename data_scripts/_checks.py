"""What the data scripts refuse, and how they say it: wrong checksums, web pages saved under the name of data."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.uint8]


class DataError(Exception):
    """A file is missing, altered or not what it should be; the message names it and says what to do."""


@dataclass(frozen=True)
class File:
    """A published file: where it lies, how long it is, its sha256."""

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...] = ()  # tried in this order; none where it has to be fetched by hand


def sha256(data: bytes | Array) -> str:
    return hashlib.sha256(data if isinstance(data, bytes) else np.ascontiguousarray(data).data).hexdigest()


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sum(what: str, *, expected: str, got: str, kind: str = "sha256") -> None:
    """Refuse `what` unless its checksum is the published one."""
    if got != expected:
        raise DataError(
            f"{what}: expected {kind} {expected}, got {got}. The file is altered, cut short or another "
            "version: fetch it again from where the set is published."
        )


def refuse_web_page(path: Path | str, head: bytes) -> None:
    """Name the commonest wrong file: the error page of a server, saved under the name of the data."""
    if head.lstrip()[:1] == b"<":
        raise DataError(
            f"{path}: expected binary data, got a web page (it begins with {head.lstrip()[:16]!r}). "
            "The server answered the download with an error page: fetch the file again."
        )


@dataclass
class Sums:
    """The checksums that came, file by file, for sets whose decoded arrays have no published sum.

    What a published archive holds is verified. A form for which no sum is published (files unpacked by somebody)
    is taken only with --trust; then its sum is recorded in the manifest, and the set is not called verified.
    """

    trust: bool = False
    seen: dict[str, str] = field(default_factory=dict)
    verified: bool = True

    def check_file(self, path: Path, expected: str | None) -> None:
        with path.open("rb") as file:
            refuse_web_page(path, file.read(64))
        got = file_sha256(path)
        self.seen[path.name] = got
        if expected is None:
            self.take_on_trust(path)
        else:
            check_sum(str(path), expected=expected, got=got)

    def take_on_trust(self, what: Path | str) -> None:
        if not self.trust:
            raise DataError(
                f"{what}: no published sha256 is known for this, so it cannot be verified. Give the published "
                "archive instead, or say --trust: it is taken as it is, and its sha256 recorded."
            )
        self.verified = False
