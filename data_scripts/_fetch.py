"""Fetching published files: pooch checks the sha256, mirrors are tried in order, a broken download goes on.

What has come so far lies in `FILE.part` until it is whole, so that the next mirror, or the next run, asks only
for the rest (HTTP Range). A whole file with another sha256 is deleted at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _checks import DataError, File, refuse_web_page

CHUNK = 2**14  # what a broken connection may cost
TALKATIVE = 50 * 10**6  # from this size on, progress is shown
ATTEMPTS = 5  # of one address, as long as each brings the file further


def fetch(files: Sequence[File], folder: Path, *, page: str, mirror: str | None = None) -> None:
    """Bring all `files` into `folder`; `mirror` is an address that holds copies of them and is tried first."""
    try:
        import pooch
    except ImportError as error:
        raise DataError(
            f"fetching needs the package pooch: pip install pooch. Or fetch by hand from {page}, and give --from."
        ) from error
    pooch.get_logger().setLevel("WARNING")
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        copies = (f"{mirror.rstrip('/')}/{file.name}",) if mirror else ()
        fetch_file(file, folder, (*copies, *file.urls), page)


def fetch_file(file: File, folder: Path, urls: Sequence[str], page: str) -> None:
    import pooch
    import requests

    part = folder / f"{file.name}.part"
    failures = []

    def resume(url: str, output: str, _: Any) -> None:
        download_rest(url, part, file)
        os.replace(part, output)

    for url in urls:
        for _ in range(ATTEMPTS):
            before = size_of(part)
            try:
                pooch.retrieve(
                    url, known_hash=file.sha256, fname=file.name, path=folder, downloader=resume
                )  # fmt: skip
                return
            except ValueError as error:  # another sha256; pooch has deleted the file
                failures.append(f"{url}: {error}")
                if not before:
                    break
            except (requests.RequestException, DataError) as error:
                failures.append(f"{url}: {error}")
                if size_of(part) <= before:
                    break
    reasons = "; ".join(" ".join(reason.split()) for reason in failures)
    raise DataError(
        f"{file.name}: could not be fetched ({reasons}). Run the script again to go on where it stopped, or fetch "
        f"the file by hand ({page}) and give its folder as --from."
    )


def download_rest(url: str, part: Path, file: File) -> None:
    """Add to `part` what it still lacks of `file`; start over where the server cannot send a rest."""
    import requests

    have = size_of(part)
    if have == file.size:
        return
    if have > file.size:
        part.unlink()
        have = 0
    print(f"fetching {url} ({file.size / 1e6:,.1f} MB{', the rest of it' if have else ''})", file=sys.stderr)
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=(20, 60)) as response:
        response.raise_for_status()
        if response.status_code == 206 and not response.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        ):
            raise DataError("the server sent another part of the file than was asked for")
        if response.status_code != 206:
            have = 0
        with part.open("ab" if have else "wb") as out:
            for chunk in response.iter_content(CHUNK):
                if not have:
                    refuse_web_page(url, chunk[:64])
                tenths = have * 10 // file.size
                have += len(chunk)
                if have > file.size:
                    part.unlink()
                    raise DataError(f"expected {file.size:,} bytes, got more")
                out.write(chunk)
                if file.size >= TALKATIVE and have * 10 // file.size > tenths:
                    print(f"  {have * 100 // file.size} %", file=sys.stderr)
    if have < file.size:
        raise DataError(f"expected {file.size:,} bytes, got {have:,}: the connection broke")


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
