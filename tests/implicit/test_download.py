"""The download of MovieLens, from a server of the test's own."""

import hashlib
import http.server
import threading
from unittest import mock

import pytest

from datamodules import download
from zoo import ZooError

BODY = bytes(range(256)) * 5000  # more than one piece
MD5 = hashlib.md5(BODY).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `server.files`; of a file named cut-off it sends the first half."""

    def do_GET(self):
        body = self.server.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if body is not None:
            self.wfile.write(body[: len(body) // 2] if "cut-off" in self.path else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    """The address of a server, and the files that it serves."""
    files = {
        "/ml-1m.zip": BODY,
        "/ml-1m.zip.md5": f"MD5 (ml-1m.zip) = {MD5}\n".encode(),
        "/cut-off.zip": BODY,
        "/wrong.zip": BODY[::-1],
        "/wrong.zip.md5": f"{MD5.upper()}  wrong.zip\n".encode(),
        "/odd.zip": BODY,
        "/odd.zip.md5": b"<html>",
    }
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files = files
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_file_is_that_of_the_published_checksum(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "URL", server + "/{name}.zip")
    target = download.download("ml-1m", str(tmp_path / "new/data"))
    assert target == tmp_path / "new/data/ml-1m.zip"
    assert target.read_bytes() == BODY
    assert [path.name for path in target.parent.iterdir()] == ["ml-1m.zip"]


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
    url = f"{server}/ml-1m.zip"
    target = tmp_path / "ml-1m.zip"
    target.write_bytes(BODY)
    with mock.patch.object(download, "_fetch", side_effect=AssertionError):
        assert download.download("ml-1m", str(tmp_path), url) == target
        target.write_bytes(b"another")
        with pytest.raises(ZooError, match=r"exists and its MD5 is .*: delete it"):
            download.download("ml-1m", str(tmp_path), url)
    assert target.read_bytes() == b"another"


@pytest.mark.parametrize(
    ("file", "md5", "message"),
    [
        ("cut-off.zip", MD5, f"with MD5 [0-9a-f]+, not {MD5}: the download was cut off"),
        ("wrong.zip", None, f"with MD5 [0-9a-f]+, not {MD5}"),
        ("gone.zip", MD5, r"gone\.zip cannot be downloaded: 404 Not Found"),
        ("gone.zip", None, r"gone\.zip\.md5 cannot be downloaded: 404 Not Found"),
        ("odd.zip", None, r"odd\.zip\.md5 holds no MD5 checksum: give one with --md5"),
    ],
)
def test_a_failed_download_leaves_nothing(server, tmp_path, file, md5, message):
    with pytest.raises(ZooError, match=message):
        download.download("ml-1m", str(tmp_path), f"{server}/{file}", md5)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(server, tmp_path):
    def interrupted(url):
        yield BODY[:100]
        raise KeyboardInterrupt

    url = f"{server}/ml-1m.zip"
    with (
        mock.patch.object(download, "_pieces", interrupted),
        pytest.raises(KeyboardInterrupt),
    ):
        download.download("ml-1m", str(tmp_path), url, MD5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/x.zip", "nonsense"])
def test_an_address_that_does_not_answer(tmp_path, url):
    with pytest.raises(ZooError, match=r"x?(\.zip)? cannot be downloaded: "):
        download.download("ml-1m", str(tmp_path), url, MD5)


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ZooError, match=r"cannot write .*ml-1m\.zip: "):
        download.download("ml-1m", str(tmp_path / "file"), f"{server}/ml-1m.zip")


def test_the_command_line(server, tmp_path, capsys):
    line = ["download", "ml-1m", f"--to={tmp_path}", f"--url={server}/ml-1m.zip"]
    with mock.patch("sys.argv", line):
        download.main()
    assert capsys.readouterr().out.strip() == str(tmp_path / "ml-1m.zip")
    with mock.patch("sys.argv", [*line, "--md5=0"]), pytest.raises(SystemExit) as exit_:
        download.main()
    assert str(exit_.value.code).startswith("error: ")
