"""The keeper: which pictures are kept, and what happens when they can't be. Real folder, real store, real full disk."""

import threading
from pathlib import Path

import pytest

from lineside.errors import SettingsError
from lineside.line import keeper as keeping
from lineside.line.keeper import Keeper, Policy
from lineside.line.source.frame import Frame
from lineside.store import outbox
from lineside.store.audit import audit
from lineside.store.events import events
from lineside.store.open import reading
from lineside.store.outbox import Box
from lineside.store.picture_check import check
from lineside.store.pictures import open_folder
from lineside.store.recorder import Recorder
from tests.line.broker import until
from tests.line.tiny import BLUE, RED, picture, png
from tests.store.rows import WHEN, a_run, inspection

HOST = "press-3"
BOX = Box("mqtt://b/t", 999, events=True)


class Line:
    """A recorder and a keeper as run.py has them."""

    def __init__(self, store, path, policy, **given):
        self.store, self.said = store, []
        folder = open_folder(store, path, host=HOST, new_id="f" * 32)
        self.recorder = Recorder(store, a_run(), tell=lambda g: None, failed=self.said.append, boxes=[BOX])
        self.keeper = Keeper(
            store, folder, policy, "r" * 32, keys=[BOX.key], say=self.said.append, now=lambda: WHEN, **given
        )
        self.n = 0

    def part(self, verdict="accept", *frames, color=None, reason="decided"):
        self.n += 1
        n = self.n
        frames = frames or (Frame(f"p{n}", n, "camera", picture=picture(color or (n, 0, n % 7))),)
        one = inspection(
            n,
            verdict=verdict,
            reason=reason,
            sha256=frames[0].sha256() or None,
            views=[{"sha256": f.sha256()} for f in frames],
        )
        self.recorder.put(lambda: self.keeper.offer(one, *frames))

    def close(self):
        self.recorder.close(WHEN, 30)
        self.keeper.close(30)
        return self.keeper.kept()

    def wait(self):
        """Until the keeper has taken everything."""
        until(lambda: self.recorder.committed == self.n and self.keeper._waiting == 0)


def told(store):
    return [one.detail for one in events(store, kind="pictures")]


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (Policy("none"), 0),
        (Policy("none", every=5), 2),
        (Policy("rejects"), 4),
        (Policy("rejects", every=3), 6),
        (Policy("all"), 12),
    ],
)
def test_what_a_policy_keeps(store, tmp_path, policy, kept):
    line = Line(store, tmp_path / "pictures", policy)
    for n in range(12):
        line.part({1: "reject", 2: "hold"}.get(n % 6, "accept"))
    found = line.close()
    assert (found.kept, found.dropped, found.refused, found.trouble) == (kept, 0, 0, "")
    assert len(list((tmp_path / "pictures" / "sha256").rglob("*.png"))) == kept
    assert (check(store, HOST).pictures, check(store, HOST).wrong) == (kept, ())
    assert (audit(store).inspections, told(store), line.said) == (12, [], [])


@pytest.mark.parametrize(
    ("policy", "kept"), [(Policy("rejects"), 1), (Policy("rejects", every=3), 3), (Policy("all"), 7)]
)
def test_what_nobody_has_judged_does_not_take_the_place_of_rejects(store, tmp_path, policy, kept):
    """A station that is halted over night rejects each part that comes; they count among the others."""
    line = Line(store, tmp_path / "pictures", policy)
    line.part("reject")
    for reason in ("halted", "stopped") * 3:
        line.part("reject", reason=reason)
    assert (line.close().kept, line.said) == (kept, [])


@pytest.mark.parametrize("given", [{"pictures": "some"}, {"every": 0}, {"quota_bytes": 0}])
def test_settings_that_are_none(given):
    with pytest.raises(SettingsError):
        Policy(**({"pictures": "all"} | given))


def test_files_stay_as_they_came_and_the_same_picture_is_kept_once(store, tmp_path):
    line = Line(store, tmp_path / "pictures", Policy("all"))
    line.part("accept", Frame("a", 1, "x/A.Png", data=png(RED)))
    line.part("accept", Frame("b", 2, "no suffix", data=b"broken"))
    line.part("reject", Frame("c", 3, "lost.png", error="the camera was away"))
    line.part("accept", Frame("d", 4, "top", picture=picture(BLUE)), Frame("d", 4, "side", picture=picture(BLUE)))
    line.part(color=BLUE)
    assert line.close().kept == 5
    files = sorted(path.suffix for path in (tmp_path / "pictures" / "sha256").rglob("*.*"))
    assert files == [".bin", ".png", ".png"]
    assert check(store, HOST).wrong == ()


def test_the_line_does_not_wait_for_a_disk_that_hangs(store, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "ROOM", 4)
    line = Line(store, tmp_path / "pictures", Policy("all"))
    hangs, goes_on = threading.Event(), threading.Event()
    keep = line.keeper._folder.keep

    def slow(*given):
        hangs.set()
        assert goes_on.wait(30)
        keep(*given)

    monkeypatch.setattr(line.keeper._folder, "keep", slow)
    line.part()
    assert hangs.wait(30)
    for _ in range(20):
        line.part()
    until(lambda: line.recorder.committed == 21)  # all results are in the store, though no picture is
    assert line.keeper.kept().kept == 0
    goes_on.set()
    found = line.close()
    assert (found.kept, found.dropped, found.refused) == (4, 17, 0)
    assert sum(one["not_kept"] for one in told(store)) == 17
    assert {one["state"] for one in told(store)} == {"behind"}
    assert "pictures were not kept, they came faster than the disk takes them" in line.said[0]


def test_a_picture_larger_than_the_room_is_kept_when_nothing_waits(store, tmp_path, monkeypatch):
    monkeypatch.setattr(keeping, "ROOM_BYTES", 10)
    line = Line(store, tmp_path / "pictures", Policy("all"))
    line.part()
    assert line.close().kept == 1


def test_a_quota_full_of_what_nobody_acknowledged(store, tmp_path, monkeypatch):
    now = [0.0]
    size = len(keeping.encode(picture(RED)))
    line = Line(store, tmp_path / "pictures", Policy("all", quota_bytes=2 * size + size // 2), monotonic=lambda: now[0])
    for _ in range(5):
        line.part()
        line.wait()
    found = line.keeper.kept()
    assert (found.kept, found.refused) == (2, 3)
    assert "is full of pictures whose results a sink has not acknowledged" in found.trouble
    assert [one["state"] for one in told(store)] == ["stopped"]
    assert line.said[0].endswith("pictures are not kept, the line goes on")
    with store.begin() as connection:
        letters = outbox.page(connection, BOX.key, 99)
        assert [letter.record.id for letter in letters if letter.record.id == next(events(store)).id]  # it is told
        outbox.close(connection, BOX.key, [letter.number for letter in letters], WHEN)
    line.part()
    line.wait()
    assert line.keeper.kept().refused == 4  # not tried again so soon
    now[0] += keeping.RETRY_S
    line.part()
    found = line.close()
    assert (found.kept, found.refused, found.trouble, found.bytes <= 2.5 * size) == (3, 4, "", True)
    assert told(store)[1] == {"state": "goes on", "not_kept": 4}
    assert (audit(store).inspections, audit(store).events, audit(store).broken) == (7, 2, None)
    assert check(store, HOST).wrong == ()


def test_a_disk_that_is_full(store, tmp_path):
    now = [0.0]
    line = Line(store, tmp_path / "pictures", Policy("all"), monotonic=lambda: now[0])
    Path(tmp_path / "pictures" / "unfinished").symlink_to("/dev/full")  # each write: no space left on device
    for _ in range(3):
        line.part()
        line.wait()
    assert (line.keeper.kept().kept, line.keeper.kept().refused) == (0, 3)
    assert "a picture can not be kept (No space left on device)" in line.said[0]
    now[0] += keeping.RETRY_S  # what was half written is gone by then, and so there is space
    line.part()
    found = line.close()
    assert (found.kept, found.refused, found.trouble) == (1, 3, "")
    assert [one["state"] for one in told(store)] == ["stopped", "goes on"]
    assert (audit(store).inspections, check(store, HOST).wrong) == (4, ())


def test_forgotten_pictures_go_while_the_line_runs(store, tmp_path):
    now = [0.0]
    line = Line(store, tmp_path / "pictures", Policy("all"), monotonic=lambda: now[0])
    line.part()
    line.wait()
    with store.begin() as connection:
        connection.exec_driver_sql("DELETE FROM shown")
    now[0] += keeping.SWEEP_S
    line.part()
    line.close()
    with reading(store) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM picture").scalar_one() == 1
    assert len(list((tmp_path / "pictures" / "sha256").rglob("*.png"))) == 1


def test_the_folder_is_free_again_after_the_keeper(store, tmp_path):
    Line(store, tmp_path / "pictures", Policy("all")).close()
    open_folder(store, tmp_path / "pictures", host=HOST, new_id="0" * 32).close()
