"""Fetching, from a server on this machine: verified, from mirrors in order, going on where it broke."""

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests import data_forms as forms
from tests.data_forms import _checks

import _fetch  # isort: skip  # on the path once data_forms is imported

pytest.importorskip("pooch")


@dataclass
class Server:
    """Serves `files`; breaks connections after `limits` bytes, one after the other; may know nothing of ranges."""

    files: dict = field(default_factory=dict)
    limits: list = field(default_factory=list)
    ranges: bool = True
    wrong_range: bool = False
    asked: list = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
            state.asked.append((self.path, int(start)))
            data = state.files.get(self.path.split("/")[-1])
            if data is None:
                self.send_error(404)
                return
            start = int(start) if state.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                shown = start - 1 if state.wrong_range else start
                self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            rest = data[start:]
            limit = state.limits.pop(0) if state.limits else len(rest)
            with contextlib.suppress(OSError):
                self.wfile.write(rest[:limit])
            self.close_connection = True

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}"
    thread = threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.01), daemon=True)
    thread.start()
    yield state
    httpd.shutdown()
    httpd.server_close()
    thread.join()


DATA = bytes(range(256)) * 400


def file_of(server, data=DATA, folders=("a",)):
    return _checks.File(
        "set.bin",
        hashlib.sha256(data).hexdigest(),
        len(data),
        tuple(f"{server.url}/{f}/set.bin" for f in folders),
    )


def fetch(file, folder, **options):
    _fetch.fetch([file], folder, page="https://example.org/page", **options)


@pytest.mark.parametrize("name", forms.FETCHED)
def test_every_set_is_fetched_by_default(name, server, tmp_path, capsys, monkeypatch):
    published = forms.publish(name, tmp_path / "raw", monkeypatch)
    server.files = {path.name: path.read_bytes() for path in published.folder.iterdir()}
    arguments = ["--mirror", f"{server.url}/copies/", "--to", str(tmp_path / "out")]
    assert published.script.main(arguments) == 0
    assert "every sha256 verified" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    asked = len(server.asked)
    assert published.script.main(arguments) == 0
    assert "nothing to do" in capsys.readouterr().out and len(server.asked) == asked > 0


def test_celeba_names_the_page_the_files_and_the_command(tmp_path, capsys):
    assert forms.script("celeba").main(["--to", str(tmp_path / "out")]) == 1
    message = capsys.readouterr().err
    for part in (
        "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
        "img_align_celeba.zip",
        "list_eval_partition.txt",
        "list_attr_celeba.txt",
        "python data_scripts/celeba.py --from",
    ):
        assert part in message
    assert not (tmp_path / "out").exists()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.files, server.limits = {"set.bin": DATA}, [30_000, 50_000]
    fetch(file_of(server), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == DATA
    starts = [start for _, start in server.asked]
    assert starts[0] == 0 and len(starts) == 3 and 0 < starts[1] <= 30_000 < starts[2] <= 80_000
    assert [path.name for path in tmp_path.iterdir()] == ["set.bin"]


def test_the_next_run_goes_on_where_the_last_one_stopped(server, tmp_path):
    server.files = {"set.bin": DATA}
    (tmp_path / "set.bin.part").write_bytes(DATA[:60_000])
    fetch(file_of(server), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == DATA and server.asked == [("/a/set.bin", 60_000)]


def test_a_download_that_was_complete_is_only_checked(server, tmp_path):
    (tmp_path / "set.bin.part").write_bytes(DATA)
    fetch(file_of(server), tmp_path)
    fetch(file_of(server), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == DATA and not server.asked


@pytest.mark.parametrize(
    "left", [b"rubbish" * 1000, DATA[:-1] + b"?", DATA + b"more"], ids=["part", "whole", "too long"]
)
def test_a_wrong_part_is_fetched_anew(left, server, tmp_path):
    server.files = {"set.bin": DATA}
    (tmp_path / "set.bin.part").write_bytes(left)
    fetch(file_of(server), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == DATA and server.asked[-1] == ("/a/set.bin", 0)


def test_a_server_without_ranges_sends_the_whole_again(server, tmp_path):
    server.files, server.ranges, server.limits = {"set.bin": DATA}, False, [30_000]
    fetch(file_of(server), tmp_path)
    assert (tmp_path / "set.bin").read_bytes() == DATA


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path):
    server.files, server.wrong_range = {"set.bin": DATA}, True
    (tmp_path / "set.bin.part").write_bytes(DATA[:60_000])
    with pytest.raises(_checks.DataError, match="another part of the file"):
        fetch(file_of(server), tmp_path)


def test_mirrors_are_tried_in_order(server, tmp_path):
    server.files = {"set.bin": DATA}
    file = file_of(server, folders=("a", "b"))
    fetch(file, tmp_path / "one", mirror=f"{server.url}/mine")
    assert [path for path, _ in server.asked] == ["/mine/set.bin"]
    server.asked.clear()
    server.limits = [0, 0]
    fetch(file, tmp_path / "two", mirror=f"{server.url}/mine/")
    assert [path for path, _ in server.asked] == ["/mine/set.bin", "/a/set.bin", "/b/set.bin"]


@pytest.mark.parametrize(
    ("served", "reason"),
    [
        (None, "404"),
        (b"<html>Please log in</html>" * 1000, "web page"),
        (DATA[:-1] + b"?", "hash"),
        (DATA[:-5], "expected 102,400 bytes, got 102,395"),
        (DATA + DATA, "got more"),
    ],
    ids=["missing", "web page", "altered", "cut short", "too long"],
)
def test_what_is_wrong_is_said_and_deleted(served, reason, server, tmp_path):
    server.files = {} if served is None else {"set.bin": served}
    with pytest.raises(
        _checks.DataError, match=r"could not be fetched \(.*by hand \(https://example.org/page\)"
    ) as error:
        fetch(file_of(server, folders=("a", "b")), tmp_path)
    assert (
        reason in str(error.value)
        and f"{server.url}/a/" in str(error.value)
        and f"{server.url}/b/" in str(error.value)
    )
    left = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert left.keys() <= {"set.bin.part"} and (reason.endswith("102,395") or not any(left.values()))


def test_no_server_at_all(server, tmp_path, capsys, monkeypatch):
    forms.publish("mnist", tmp_path / "raw", monkeypatch)
    arguments = ["--mirror", "http://127.0.0.1:9", "--to", str(tmp_path / "out")]
    assert forms.script("mnist").main(arguments) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("error: ") and "127.0.0.1:9" in message and "--from" in message
    assert not list((tmp_path / "out").iterdir())


def test_a_run_that_stopped_leaves_only_the_part_to_go_on_with(server, tmp_path, capsys, monkeypatch):
    published = forms.publish("cifar10", tmp_path / "raw", monkeypatch)
    server.files = {path.name: path.read_bytes() for path in published.folder.iterdir()}
    size, out = len(server.files[published.script.ARCHIVE]), tmp_path / "out"
    server.limits = [size // 2, 0]
    arguments = ["--mirror", server.url, "--to", str(out)]
    assert published.script.main(arguments) == 1
    assert "Run the script again to go on where it stopped" in capsys.readouterr().err
    left = [path for path in out.rglob("*") if path.is_file()]
    assert [path.name for path in left] == [f"{published.script.ARCHIVE}.part"]
    had = left[0].stat().st_size
    assert published.script.main(arguments) == 0 and server.asked[-1][1] == had > 0
    assert [path.name for path in out.iterdir()] == ["cifar10"]


def test_without_pooch_the_page_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pooch", None)
    with pytest.raises(
        _checks.DataError, match=r"pip install pooch. Or fetch by hand from https://example.org/page"
    ):
        fetch(_checks.File("set.bin", "0" * 64, 5), tmp_path)
