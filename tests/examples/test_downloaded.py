"""Files of the examples, from a server of this machine."""

import gzip
import hashlib
import http.server
import sys
import threading
from functools import partial

import pytest
from support.running import ROOT

from zoo import ZooError

sys.path.insert(0, f"{ROOT}/examples/domains")
from downloaded import Remote, files

TEXT = b"good\t1\n"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server of a folder with a file, and an empty cache."""
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "a.tsv").write_bytes(TEXT)
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def remote(address, content=TEXT, name="a.tsv"):
    return Remote(name, f"{address}/{name}", hashlib.sha256(content).hexdigest())


def kept(tmp_path):
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_file_is_downloaded_once(served, tmp_path):
    address, folder = served
    (path,) = files([remote(address)])
    assert path.read_bytes() == TEXT
    (folder / "a.tsv").unlink()
    assert files([remote(address)]) == [path]
    assert kept(tmp_path) == [path]


def test_a_file_that_was_damaged_is_downloaded_again(served):
    address, _ = served
    (path,) = files([remote(address)])
    path.write_bytes(TEXT[:3])
    assert files([remote(address)]) == [path]
    assert path.read_bytes() == TEXT


def test_another_file_than_meant_is_not_kept(served, tmp_path):
    address, _ = served
    message = r"a.tsv is another file than meant \(sha256 differs\), not kept: get a.tsv elsewhere"
    with pytest.raises(ZooError, match=message):
        files([remote(address, b"bad\t0\n")])
    assert not kept(tmp_path)


def test_what_is_not_there(served, tmp_path):
    address, _ = served
    with pytest.raises(ZooError, match=r"b.tsv cannot be downloaded \(404\): get b.tsv elsewhere"):
        files([remote(address, name="b.tsv")])
    with pytest.raises(ZooError, match=r"cannot be downloaded \(ConnectionError\)"):
        files([remote("http://127.0.0.1:9")])  # nobody listens there
    assert not kept(tmp_path)


def test_a_cache_that_is_no_folder(served, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(ZooError, match=r"cache.interpretable-zoo cannot be written \(.*--data"):
        files([remote(served[0])])


def test_files_that_are_there_already(tmp_path):
    (tmp_path / "a.tsv").write_bytes(TEXT)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "b.tsv.gz").write_bytes(gzip.compress(TEXT))
    wanted = [Remote(name, "http://127.0.0.1:9", "0") for name in ("a.tsv", "b.tsv")]
    assert files(wanted, tmp_path) == [tmp_path / "a.tsv", tmp_path / "text" / "b.tsv.gz"]
    with pytest.raises(ZooError, match=r"--data: .* has no c.tsv \(or c.tsv.gz\): get it by http"):
        files([Remote("c.tsv", "http://127.0.0.1:9", "0")], tmp_path)


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(ZooError, match=r'pip install "interpretable-zoo\[domains\]", or give'):
        files([Remote("a.tsv", "http://127.0.0.1:9", "0")])
