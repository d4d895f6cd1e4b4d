"""Downloads against a real server on the loopback: good, cut, wrong, missing, offline, cached."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from lineside.errors import TrainError
from lineside.nets import weights
from lineside.nets.cache import cache
from lineside.nets.catalog import NETS
from lineside.nets.fetch import fetch, is_offline

BODY = bytes(range(256)) * 12_000  # 3 MB: several chunks
SHA = hashlib.sha256(BODY).hexdigest()


@dataclass
class Shelf:
    """What the server has and how it behaves."""

    files: dict[str, bytes]
    cut_after: list[int] = field(default_factory=list)  # of the next answers: end the connection after so many bytes
    busy: int = 0  # so many answers of 503 first
    ranges: bool = True
    asked: list[str | None] = field(default_factory=list)  # the Range of every request
    url: str = ""


@contextmanager
def server(**files: bytes) -> Iterator[Shelf]:
    shelf = Shelf({f"/models/{name.replace('__', '.')}": body for name, body in files.items()})

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.headers.get("Range")
            shelf.asked.append(wanted)
            body = shelf.files.get(self.path)
            if shelf.busy:
                shelf.busy -= 1
                self.send_error(503)
            elif body is None:
                self.send_error(404)
            else:
                begin = int(wanted.split("=")[1].rstrip("-")) if wanted and shelf.ranges else 0
                if begin >= len(body):
                    self.send_error(416)
                    return
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(body) - begin))
                self.end_headers()
                end = begin + shelf.cut_after.pop(0) if shelf.cut_after else len(body)
                self.wfile.write(body[begin:end])
                self.wfile.flush()

        def log_message(self, format, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    shelf.url = f"http://127.0.0.1:{http.server_port}/models"
    try:
        yield shelf
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def no_pause(seconds: float) -> None:
    """Tests do not wait."""


def test_a_file_comes_whole_once_and_progress_counts_its_bytes(tmp_path):
    seen: list[tuple[int, int]] = []
    with server(w__pth=BODY) as shelf:
        for _ in range(2):
            path = fetch(
                f"{shelf.url}/w.pth",
                SHA[:8],
                tmp_path / "a" / "b",
                progress=lambda done, total, note: seen.append((done, total)),
            )
    assert path.read_bytes() == BODY
    assert path == tmp_path / "a" / "b" / "w.pth"
    assert len(shelf.asked) == 1
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY), len(BODY))
    assert not list(path.parent.glob("*.part"))


def test_a_cut_connection_goes_on_where_it_was(tmp_path):
    with server(w__pth=BODY) as shelf:
        shelf.cut_after = [1_000_000, 500_000]
        path = fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path, pause=no_pause)
    assert path.read_bytes() == BODY
    assert shelf.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_server_without_ranges_starts_again(tmp_path):
    with server(w__pth=BODY) as shelf:
        shelf.cut_after, shelf.ranges = [1_000_000], False
        assert fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path, pause=no_pause).read_bytes() == BODY


def test_a_part_of_something_longer_is_thrown_away(tmp_path):
    (tmp_path / "w.pth.part").write_bytes(BODY + b"more")
    with server(w__pth=BODY) as shelf:
        assert fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path, pause=no_pause).read_bytes() == BODY


def test_a_busy_server_is_asked_again_and_then_given_up(tmp_path):
    pauses: list[float] = []
    with server(w__pth=BODY) as shelf:
        shelf.busy = 2
        assert fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path / "1", pause=pauses.append).read_bytes() == BODY
        shelf.busy = 99
        with pytest.raises(TrainError, match=r"no complete answer after 4 tries \(the last: the server answered 503"):
            fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path / "2", pause=pauses.append)
    assert pauses == [1, 2, 1, 2, 4]


def test_a_connection_that_is_always_cut_is_given_up_and_kept_for_the_next_run(tmp_path):
    with server(w__pth=BODY) as shelf:
        shelf.cut_after = [100_000] * 4
        with pytest.raises(
            TrainError, match=r"the connection ended after 400,000 of 3,072,000 bytes.*it goes on from .*w\.pth\.part"
        ):
            fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path, pause=no_pause)
        assert not (tmp_path / "w.pth").exists()
        assert fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path, pause=no_pause).read_bytes() == BODY
    assert shelf.asked[-1] == "bytes=400000-"


def test_a_wrong_checksum_leaves_nothing(tmp_path):
    with (
        server(w__pth=BODY) as shelf,
        pytest.raises(TrainError, match=f"sha256 begins with {SHA[:8]}, expected 00000000"),
    ):
        fetch(f"{shelf.url}/w.pth", "00000000", tmp_path, pause=no_pause)
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_a_damaged_file_in_the_cache_is_said_not_used(tmp_path):
    (tmp_path / "w.pth").write_bytes(BODY[:-1])
    with pytest.raises(TrainError, match=r"w\.pth: its sha256 begins with .*delete it and run the command again"):
        fetch("https://example.invalid/w.pth", SHA[:8], tmp_path)


def test_no_such_file_is_not_tried_twice(tmp_path):
    with (
        server(w__pth=BODY) as shelf,
        pytest.raises(TrainError, match=r"/models/v\.pth: the server answered 404 Not Found"),
    ):
        fetch(f"{shelf.url}/v.pth", SHA[:8], tmp_path, pause=no_pause)
    assert len(shelf.asked) == 1


def test_nobody_there(tmp_path):
    with server() as shelf:
        pass  # the port is free again
    with pytest.raises(TrainError, match=r"no complete answer after 2 tries \(the last: .*refused"):
        fetch(f"{shelf.url}/w.pth", SHA[:8], tmp_path, tries=2, pause=no_pause)


def test_offline_names_the_file_and_its_place(tmp_path):
    with pytest.raises(
        TrainError, match=r"w\.pth is not in .* \(offline\); fetch https://example\.invalid/w\.pth on another"
    ):
        fetch("https://example.invalid/w.pth", SHA[:8], tmp_path, offline=True)
    (tmp_path / "w.pth").write_bytes(BODY)
    assert fetch("https://example.invalid/w.pth", SHA[:8], tmp_path, offline=True) == tmp_path / "w.pth"


def test_plain_http_is_refused(tmp_path):
    with pytest.raises(TrainError, match="by https only"):
        fetch("http://example.invalid/w.pth", SHA[:8], tmp_path)


def test_an_unwritable_cache_is_told_with_its_remedy(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        TrainError, match=r"file/weights: weights can not be kept there \(.*set LINESIDE_CACHE to a folder"
    ):
        fetch("https://example.invalid/w.pth", SHA[:8], tmp_path / "file" / "weights")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path))
    assert cache() == tmp_path
    monkeypatch.delenv("LINESIDE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache() == tmp_path / "x" / "lineside"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache() == tmp_path / "home" / ".cache" / "lineside"
    for value, expected in [("1", True), ("0", False), ("", False)]:
        monkeypatch.setenv("LINESIDE_OFFLINE", value)
        assert is_offline() is expected


def torchvision_file(tmp_path: Path) -> bytes:
    """resnet18 as torchvision would publish it."""
    net, names = NETS["resnet18"].build(1000), NETS["resnet18"].weights[0].names()
    state = {}
    for key, value in net.state_dict().items():
        module, _, leaf = key.rpartition(".")
        state[f"{names[module]}.{leaf}"] = value
    torch.save(state, tmp_path / "made.pth")
    return (tmp_path / "made.pth").read_bytes()


def test_published_weights_by_url_end_as_safetensors_and_need_no_network_again(tmp_path, monkeypatch):
    """The whole way: server → hash → weights_only → safetensors in the cache → our names → a net with a new head."""
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path / "cache"))
    body = torchvision_file(tmp_path)
    sha = hashlib.sha256(body).hexdigest()
    with server(**{f"resnet18-{sha[:8]}__pth": body}) as shelf:
        row = replace(NETS["resnet18"].weights[0], place=f"{shelf.url}/resnet18-{sha[:8]}.pth", sha256=sha[:8])
        monkeypatch.setitem(NETS, "resnet18", replace(NETS["resnet18"], weights=(row,)))
        first = weights.load_weights("resnet18", 4, offline=False)
    kept = tmp_path / "cache" / "weights"
    assert (kept / f"resnet18-{sha[:8]}.safetensors").exists()
    (kept / f"resnet18-{sha[:8]}.pth").unlink()
    monkeypatch.setenv("LINESIDE_OFFLINE", "1")
    again = weights.load_weights("resnet18", 4)
    assert len(shelf.asked) == 1
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    made = torch.load(tmp_path / "made.pth", weights_only=True)
    assert torch.equal(again.state_dict()["stage4.1.add.body.c2.conv.weight"], made["layer4.1.conv2.weight"])
    assert again.state_dict()["head.fc.weight"].shape == (4, 512)

    (kept / f"resnet18-{sha[:8]}.safetensors").write_bytes(b"torn")
    with pytest.raises(TrainError, match=r"safetensors: can not be read .*delete it and run the command again"):
        weights.load_weights("resnet18", 4)


def test_real_rows_refuse_offline_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("LINESIDE_CACHE", str(tmp_path))
    monkeypatch.setenv("LINESIDE_OFFLINE", "1")
    with pytest.raises(TrainError, match=r"resnet50-0676ba61\.pth is not in .*weights and downloads are forbidden"):
        weights.load_weights("resnet50", 3)
    assert weights.load_weights("resnet50", 3, weights="none").get_submodule("head.fc").weight.shape == (3, 2048)
