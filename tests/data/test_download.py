"""The VOC archive from a local server: whole, broken off, falsified, malicious."""
from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tinyseg.data import VOCSegmentation, voc
from tinyseg.data.download import download_voc2012, extract, fetch
from tinyseg.data.images import write_image
from tinyseg.data.palette import write_mask

CONTENT = np.random.default_rng(0).bytes(300_000)
HALF = len(CONTENT) // 2


def md5(data):
    return hashlib.md5(data).hexdigest()


class Server:
    """Serves `content` at `url`. The first `breaks` answers stop half way; `requests` records the Range headers."""

    def __init__(self):
        self.content, self.breaks, self.ranges, self.requests = CONTENT, 0, True, []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/archive.tar"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler):
        wanted = handler.headers.get("Range")
        self.requests.append(wanted)
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and self.ranges else 0
        if start >= len(self.content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(self.content) - start))
        handler.end_headers()
        end = HALF if self.breaks > 0 else len(self.content)
        self.breaks -= 1
        handler.wfile.write(self.content[start:end])

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_fetch_whole(server, tmp_path):
    fetch(server.url, tmp_path / "a.tar", md5(CONTENT))
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert names(tmp_path) == ["a.tar"] and server.requests == [None]
    fetch(server.url, tmp_path / "a.tar", md5(CONTENT))                     # it is there: nobody asks the server
    assert len(server.requests) == 1


def test_a_broken_connection_is_taken_up_where_it_stopped(server, tmp_path):
    server.breaks = 1
    fetch(server.url, tmp_path / "a.tar", md5(CONTENT))
    assert (tmp_path / "a.tar").read_bytes() == CONTENT
    assert server.requests == [None, f"bytes={HALF}-"]


def test_the_next_call_resumes_too(server, tmp_path):
    server.breaks = 1
    with pytest.raises(OSError, match=rf"closed after {HALF} of {len(CONTENT)} bytes.*run it again to resume"):
        fetch(server.url, tmp_path / "a.tar", md5(CONTENT), attempts=1)
    assert names(tmp_path) == ["a.tar.part"]
    fetch(server.url, tmp_path / "a.tar", md5(CONTENT), attempts=1)
    assert names(tmp_path) == ["a.tar"] and server.requests == [None, f"bytes={HALF}-"]


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path):
    server.breaks, server.ranges = 1, False
    fetch(server.url, tmp_path / "a.tar", md5(CONTENT))
    assert (tmp_path / "a.tar").read_bytes() == CONTENT and len(server.requests) == 2


def test_a_part_that_is_already_whole(server, tmp_path):
    (tmp_path / "a.tar.part").write_bytes(CONTENT)
    fetch(server.url, tmp_path / "a.tar", md5(CONTENT))
    assert names(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("left_over", [b"", b"something else"])
def test_a_wrong_checksum_leaves_nothing(server, tmp_path, left_over):
    (tmp_path / "a.tar.part").write_bytes(left_over)
    expected = md5(CONTENT) if left_over else "0" * 32
    with pytest.raises(OSError, match=f"the checksum is .* but must be {expected}"):
        fetch(server.url, tmp_path / "a.tar", expected)
    assert names(tmp_path) == []


def test_a_server_that_is_silent_times_out(server, tmp_path, monkeypatch):
    hold = threading.Event()
    monkeypatch.setattr(server, "answer", lambda handler: hold.wait(10))
    with pytest.raises(OSError, match="timed out"):
        fetch(server.url, tmp_path / "a.tar", md5(CONTENT), timeout=0.05, attempts=2)
    hold.set()


def test_no_server(tmp_path):
    with pytest.raises(OSError, match="cannot be downloaded .*refused"):
        fetch("http://127.0.0.1:9/archive.tar", tmp_path / "a.tar", "", attempts=1)


def tar_of(*members):
    """A tar of (name, content) files, or of TarInfo members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return buffer.getvalue()


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpack(tmp_path, data):
    (tmp_path / "a.tar").write_bytes(data)
    (tmp_path / "out").mkdir()
    extract(tmp_path / "a.tar", tmp_path / "out")


def test_extract(tmp_path):
    unpack(tmp_path, tar_of(special("a/empty", tarfile.DIRTYPE), ("a/b/file", CONTENT), ("./top", b"")))
    assert (tmp_path / "out/a/b/file").read_bytes() == CONTENT
    assert (tmp_path / "out/a/empty").is_dir() and (tmp_path / "out/top").read_bytes() == b""


@pytest.mark.parametrize("member, message", [
    (("../evil", b"x"), "outside"),
    (("a/../../evil", b"x"), "outside"),
    (("/tmp/evil", b"x"), "outside"),
    (("..\\evil", b"x"), "outside"),
    (("C:evil", b"x"), "outside"),
    (special("link", tarfile.SYMTYPE, "/etc"), "link or a device"),
    (special("link", tarfile.LNKTYPE, "../../etc/passwd"), "link or a device"),
    (special("pipe", tarfile.FIFOTYPE), "link or a device"),
    (special("disk", tarfile.BLKTYPE), "link or a device"),
])
def test_malicious_members_are_refused_before_anything_is_written(tmp_path, member, message):
    with pytest.raises(OSError, match=f"a.tar: member .*{message}"):
        unpack(tmp_path, tar_of(("good", b"x"), member))
    assert names(tmp_path / "out") == [] and names(tmp_path) == ["a.tar", "out"]


@pytest.mark.parametrize("kept", [0, 100, 512, 512 + 700, 1536, 1536 + 512, 1536 + 512 + 300])
def test_truncated_archives_are_refused(tmp_path, kept):
    """Cut in the first header, after it, in its content, after it, after the second header, in the second content."""
    data = tar_of(("one", b"x" * 1000), ("two", b"y" * 1000))
    with pytest.raises(OSError, match="a.tar: damaged or truncated"):
        unpack(tmp_path, data[:kept])


@pytest.fixture
def voc_archive(tmp_path):
    """A VOC 2012 of one image, as the official archive has it: the tar's bytes."""
    base = "VOCdevkit/VOC2012"
    write_image(tmp_path / "image.png", np.zeros((4, 6, 3), np.uint8))
    write_mask(tmp_path / "mask.png", np.ones((4, 6), np.uint8))
    return tar_of((f"{base}/JPEGImages/x.png", (tmp_path / "image.png").read_bytes()),
                  (f"{base}/SegmentationClass/x.png", (tmp_path / "mask.png").read_bytes()),
                  (f"{base}/ImageSets/Segmentation/train.txt", b"x\n"))


def test_download_puts_a_readable_dataset_there(server, tmp_path, voc_archive, monkeypatch):
    server.content = voc_archive
    monkeypatch.setattr(voc, "download_voc2012", lambda root: download_voc2012(root, server.url, md5(voc_archive)))
    root = tmp_path / "new" / "home"
    for _ in range(2):                                                      # the second time it is already there
        dataset = VOCSegmentation(root, "train", download=True)
        assert dataset.ids == ["x"] and dataset[0][1].max() == 1
    assert len(server.requests) == 1 and names(root) == ["VOCdevkit"]
    VOCSegmentation(root / "VOCdevkit" / "VOC2012", "train", download=True)
    assert len(server.requests) == 1


def test_other_years_in_the_kit_are_left_alone(server, tmp_path, voc_archive):
    server.content = voc_archive
    (tmp_path / "VOCdevkit" / "VOC2007").mkdir(parents=True)
    download_voc2012(tmp_path, server.url, md5(voc_archive))
    assert names(tmp_path / "VOCdevkit") == ["VOC2007", "VOC2012"]


@pytest.mark.parametrize("members, message", [
    ([("VOCdevkit/VOC2012/x", b""), ("../evil", b"")], "outside"),
    ([("something/else", b"")], "holds no VOCdevkit/VOC2012"),
])
def test_a_bad_archive_leaves_no_half_dataset(server, tmp_path, members, message):
    server.content = tar_of(*members)
    with pytest.raises(OSError, match=message):
        download_voc2012(tmp_path / "root", server.url, md5(server.content))
    assert not (tmp_path / "root" / "VOCdevkit" / "VOC2012").exists()
    assert names(tmp_path) == ["root"] and not list((tmp_path / "root").glob(".unpacking*"))
