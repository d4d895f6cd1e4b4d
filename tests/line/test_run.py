"""The line around the station: real threads, a real store, an engine that is a plain function."""

import gc
import itertools
import queue
import sqlite3
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from lineside.bundle.manifest import Served
from lineside.bundle.model import load
from lineside.bundle.samples import EXPECTED, Sample, write_expected
from lineside.errors import LineError, SettingsError
from lineside.line import books, control
from lineside.line.decide import doubts
from lineside.line.messages import Finish
from lineside.line.sink.sink import Sink
from lineside.line.source.frame import Frame, Source
from lineside.line.summary import text
from lineside.store.open import open_store
from tests.line.tiny import BLUE, GREY, RED, logits_of, picture, png, point, run, stub, write_bundle


def source(*frames: Frame) -> Source:
    return Source("mem:", iter(frames), len(frames))


def frame(sequence: int, color=RED, truth=None, **given) -> Frame:
    given = given or {"picture": picture(color)}
    return Frame(f"p{sequence}", sequence, f"{sequence}.png", truth=truth, **given)


def rows(store, columns="*"):
    with sqlite3.connect(store.url.database) as connection:
        found = connection.execute(f"SELECT {columns} FROM inspection ORDER BY sequence").fetchall()
    connection.close()
    return found


def test_every_part_gets_the_verdict_of_its_picture_in_order(store):
    gate = []
    told = []
    sink = Sink("list:", told.extend, lambda: None)
    colors = [RED, BLUE, GREY, RED]
    truths = ["good", "bad", "good", "bad"]
    frames = [frame(n, c, t) for n, (c, t) in enumerate(zip(colors, truths, strict=True), 1)]
    summary = run(stub(), source(*frames), [sink], store, actuate=lambda *a: gate.append(a))

    assert [(part.sequence, verdict) for part, verdict, *_ in gate] == [
        (1, "accept"),
        (2, "reject"),
        (3, "hold"),
        (4, "accept"),
    ]
    assert rows(store, "sequence, part_id, verdict, label, reason, truth") == [
        (1, "p1", "accept", "good", "decided", "good"),
        (2, "p2", "reject", "bad", "decided", "bad"),
        (3, "p3", "hold", "bad", "decided", "good"),
        (4, "p4", "accept", "good", "decided", "bad"),
    ]
    assert [one.id for one in told] == [id for (id,) in rows(store, "id")]
    assert summary.verdicts == {"accept": 2, "hold": 1, "reject": 1}
    assert (summary.bad, summary.good, summary.escape.value, summary.overkill.value) == (2, 2, 0.5, 0.0)
    assert (summary.held_good, summary.held_bad) == (1, 0)
    assert (summary.stored, summary.lost, summary.fault, summary.interrupted) == (4, 0, "", False)
    assert summary.latency_ms["total"].n == summary.latency_ms["infer"].n == 4


def test_pictures_that_the_bundle_has_learnt_prove_nothing(store):
    frames = [replace(frame(n, BLUE, "bad"), learnt=n < 4, again=n == 6) for n in range(1, 7)]
    summary = run(stub(), source(*frames), [], store)
    assert (summary.bad, summary.learnt, summary.escape.n) == (3, 3, 3)
    assert "3 parts not counted there" in text(summary)
    assert "1 of these parts came before, in another exposure" in text(summary)


def test_parts_of_one_lot_are_one_witness(store):
    """As `lineside evaluate` counts them: ten bad parts of two lots show less than ten that stand alone."""
    alone = [frame(n, BLUE, "bad") for n in range(1, 11)]
    tied = [replace(one, lot=f"lot {one.sequence % 2}") for one in alone]
    escape = run(stub(), source(*tied), [], store).escape
    assert (escape.value, escape.n) == (0, 10)
    assert escape.high == pytest.approx(1 - 0.025 ** (1 / 2))
    assert run(stub(), source(*alone), [], store).escape.high == pytest.approx(1 - 0.025 ** (1 / 10))
    mixed = [*tied[:4], *(replace(one, picture=picture(RED)) for one in tied[4:6]), *alone[6:]]
    escape = run(stub(), source(*mixed), [], store).escape
    assert (escape.value, escape.n) == (0.2, 10)
    assert "groups" in escape.method or escape.method == "Clopper-Pearson"


def test_what_can_not_be_seen_or_answered_is_rejected_and_says_why(store):
    def infer(pictures):
        red = pictures[0, 0, 0, 0]
        if red == 1:
            raise RuntimeError("the engine has lost its mind")
        return np.full((1, 2), np.nan, np.float32) if red == 2 else logits_of(pictures)

    frames = [
        frame(1, data=b""),
        frame(2, data=b"\xff\xd8\xff no JPEG"),
        frame(3, error="part.png: can not be read (Input/output error)"),
        frame(4, picture=picture((1, 0, 0))),
        frame(5, picture=picture((2, 0, 0))),
        frame(6, data=png(RED)),
        frame(7, data=png(RED)[:60]),
        frame(8),
    ]
    summary = run(stub(infer), source(*frames), [], store)
    found = rows(store, "verdict, reason, detail, margin, sha256 IS NULL")
    assert [row[:2] for row in found] == [
        ("reject", "unreadable"),
        ("reject", "unreadable"),
        ("reject", "unreadable"),
        ("reject", "engine"),
        ("reject", "not-finite"),
        ("accept", "decided"),
        ("reject", "unreadable"),
        ("accept", "decided"),
    ]
    assert found[0][2].startswith("zero-byte: 1.png:")
    assert found[2][2] == "not-acquired: part.png: can not be read (Input/output error)"
    assert found[3][2] == "RuntimeError: the engine has lost its mind"
    assert [row[3] for row in found[:5]] == [None] * 5
    assert [row[4] for row in found] == [0, 0, 1, 0, 0, 0, 0, 0]
    assert summary.reasons == {"decided": 2, "unreadable": 4, "engine": 1, "not-finite": 1}


def test_a_picture_that_the_bundle_refuses_is_unreadable(store):
    from lineside.errors import PictureError

    def infer(pictures):
        if pictures.shape[1] < 10:
            raise PictureError("tiny", "the picture is 8×8 pixels; this bundle takes sides of at least 10")
        return logits_of(pictures)

    run(stub(infer), source(frame(1, picture=picture(RED, 8)), frame(2)), [], store)
    assert rows(store, "reason, detail") == [
        ("unreadable", "tiny: the picture is 8×8 pixels; this bundle takes sides of at least 10"),
        ("decided", ""),
    ]


def test_a_hung_engine_rejects_at_the_deadline_and_the_line_goes_on(store):
    release = threading.Event()

    def infer(pictures):
        if pictures[0, 0, 0, 0] == 7:
            release.wait(20)
        return logits_of(pictures)

    gate = []

    def actuate(part, verdict, reason, triggered_ns):
        gate.append((part.sequence, verdict, reason))
        if part.sequence == 3:
            release.set()  # only now does the engine come back: two parts had their verdict without it

    # generous: a part that is answered takes well under a millisecond, and the machine may be busy
    frames = [frame(1), frame(2, (7, 7, 7)), frame(3), *(frame(n) for n in range(4, 8))]
    summary = run(stub(infer), source(*frames), [], store, deadline_ms=400, actuate=actuate)
    assert gate[:3] == [(1, "accept", "decided"), (2, "reject", "deadline"), (3, "reject", "deadline")]
    assert gate[-1] == (7, "accept", "decided")
    assert summary.deadline_misses == summary.reasons["deadline"] >= 2
    assert summary.ignored >= 1  # the answer about part 2 came when nobody waited any more
    assert summary.parts == summary.stored == 7


def test_a_hung_engine_does_not_fill_the_memory(store, monkeypatch):
    """Parts that had their verdict do not wait at the engine's door with their pictures."""
    monkeypatch.setattr("lineside.line.books.ROOM", 64)  # the recorder may hold so many
    release, alive = threading.Event(), []

    def infer(pictures):
        if pictures[0, 0, 0, 0] == 7:
            release.wait(20)
        return logits_of(pictures)

    def actuate(part, verdict, reason, triggered_ns):
        if part.sequence == 300:
            alive.append(sum(type(one) is Frame for one in gc.get_objects()))
            release.set()

    frames = (frame(n, (7, 7, 7) if n > 1 else RED) for n in range(1, 301))
    summary = run(stub(infer), Source("mem:", frames, 300), [], store, max_fps=200, deadline_ms=200, actuate=actuate)
    assert summary.deadline_misses >= 299
    assert alive[0] < 100


def test_a_hung_engine_does_not_keep_the_line_from_stopping(store, monkeypatch):
    monkeypatch.setattr(control, "GRACE_S", 0.1)
    inbox, release = queue.SimpleQueue(), threading.Event()

    def infer(pictures):
        if pictures[0, 0, 0, 0] == 7:
            inbox.put(Finish())
            release.wait(20)
        return logits_of(pictures)

    frames = (frame(n, (7, 7, 7) if n == 2 else RED) for n in itertools.count(1))
    summary = run(stub(infer), Source("mem:", frames, None), [], store, inbox=inbox)
    release.set()
    assert summary.interrupted
    assert rows(store, "sequence, verdict, reason") == [(1, "accept", "decided"), (2, "reject", "stopped")]


def test_a_late_answer_is_a_reject(store):
    def infer(pictures):
        time.sleep(0.05 if pictures[0, 0, 0, 0] == 7 else 0)
        return logits_of(pictures)

    frames = [frame(n, (7, 7, 7)) for n in range(1, 4)]
    summary = run(stub(infer), Source("mem:", iter(frames), 3), [], store, deadline_ms=10)
    assert summary.reasons == {"deadline": 3}


def test_with_max_fps_parts_come_by_the_clock_and_none_is_skipped(store):
    """An engine at half the rate: latency grows by the clock, nothing is left out, misses are counted."""

    def infer(pictures):
        time.sleep(0.02)
        return logits_of(pictures)

    frames = [frame(n) for n in range(1, 21)]
    summary = run(stub(infer), source(*frames), [], store, max_fps=100, deadline_ms=60)
    assert summary.parts == summary.stored == 20
    assert summary.deadline_misses >= 3
    assert summary.verdicts["accept"] + summary.deadline_misses == 20
    assert [row[0] for row in rows(store, "sequence")] == list(range(1, 21))
    assert summary.max_behind_ms is not None


def test_a_full_store_stops_the_line_in_its_safe_state(tmp_path, monkeypatch):
    from sqlalchemy import event

    monkeypatch.setattr(books, "CLOSE_S", 5.0)
    engine = open_store(tmp_path / "line.db")
    limit = {"pages": None}

    @event.listens_for(engine, "begin")
    def _(connection):
        if limit["pages"]:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {limit['pages']}")

    gate, told = [], []

    def actuate(part, verdict, reason, triggered_ns):
        gate.append((part.sequence, verdict, reason))
        limit["pages"] = 20 if part.sequence > 5 else None

    frames = (frame(n) for n in itertools.count(1))
    sink = Sink("list:", told.extend, lambda: None)
    summary = run(stub(), Source("mem:", frames, None), [sink], engine, actuate=actuate)
    engine.dispose()

    assert "disk is full" in summary.fault
    assert "--store FILE" in summary.fault
    assert summary.lost > 0
    assert summary.stored + summary.lost == summary.parts == len(gate)
    stored = [row[0] for row in rows(engine, "sequence")]
    assert stored == list(range(1, summary.stored + 1))  # what is stored is a whole beginning
    assert [one.sequence for one in told] == stored  # nobody was told more


def test_a_broken_sink_stops_the_line_and_results_are_in_the_store(store):
    def tell(group):
        if group[-1].sequence >= 3:
            raise LineError("mqtt: the broker does not answer")

    frames = (frame(n) for n in itertools.count(1))
    summary = run(stub(), Source("mem:", frames, None), [Sink("x:", tell, lambda: None)], store)
    assert summary.fault == "mqtt: the broker does not answer"
    assert summary.stored >= 3
    assert len(rows(store)) == summary.stored


def test_events_alone_are_told_to_no_sink_that_is_told_at_once(store):
    """The states at the start are stored while the first part is at the gate."""

    def actuate(part, verdict, reason, triggered_ns):
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with closing(sqlite3.connect(store.url.database)) as connection:
                if connection.execute("SELECT count(*) FROM event").fetchone()[0]:
                    return
            time.sleep(0.01)
        raise LineError("no event is in the store")

    groups = []
    sink = Sink("list:", lambda group: groups.append([one.sequence for one in group]), lambda: None)
    assert run(stub(), source(frame(1)), [sink], store, actuate=actuate).fault == ""
    assert groups == [[1]]


def test_a_sink_that_hangs_stops_the_line_as_soon_as_a_deadline_can_not_be_kept(store, monkeypatch):
    """Eight results may wait; the ninth part is due at 160 ms and must have its verdict at 360."""
    monkeypatch.setattr("lineside.line.books.ROOM", 8)
    told = threading.Event()

    def tell(group):
        told.wait(20)

    def finish(part, verdict, reason, triggered_ns):
        if part.sequence == 8:
            threading.Timer(1.0, told.set).start()

    frames = (frame(n) for n in itertools.count(1))
    sink = Sink("slow:", tell, lambda: None)
    summary = run(stub(), Source("mem:", frames, None), [sink], store, max_fps=50, deadline_ms=200, actuate=finish)
    assert summary.fault.startswith("part p9: its deadline passed while the store and the sinks had no room")
    assert summary.parts == summary.stored == 8


def rounded(path, logits):
    """A bundle that serves int8 and says so many logits of its one sample, a red part."""
    expected = [Sample("samples/00.png", "red.png", "good", {"onnxruntime int8": tuple(logits)})]
    extra = {"samples/00.png": png(RED), EXPECTED: write_expected(expected)}
    return write_bundle(path, extra=extra, served=(Served("onnxruntime", "int8", "model.onnx"),))


def test_an_int8_model_that_answers_as_it_did_runs(store, tmp_path):
    path = rounded(tmp_path / "int8.bundle", map(float, logits_of(picture(RED)[None])[0]))
    assert run(load(path), source(frame(1)), [], store).verdicts["accept"] == 1


@pytest.mark.parametrize(
    ("logits", "says"),
    [
        ((-0.1, 0.1), r"red\.png\): onnxruntime int8 answers differently on this machine"),
        ((9.0, -9.0), r"red\.png\): onnxruntime int8 answers differently on this machine"),
        ((), "has no answer of onnxruntime int8"),
    ],
)
def test_an_int8_model_that_answers_otherwise_on_this_machine_does_not_start(store, tmp_path, logits, says):
    with pytest.raises(LineError, match=says):
        run(load(rounded(tmp_path / "int8.bundle", logits)), source(frame(1)), [], store)


def test_a_rounded_model_whose_bundle_is_another_by_now_does_not_start(store, tmp_path):
    model = load(rounded(tmp_path / "int8.bundle", (0.0, 0.0)))
    rounded(tmp_path / "int8.bundle", map(float, logits_of(picture(RED)[None])[0]))
    with pytest.raises(LineError, match="was replaced while the line was starting; start it again"):
        run(model, source(frame(1)), [], store)


def test_a_lost_source_is_a_fault(store):
    def frames():
        yield frame(1)
        raise LineError("camera: does not answer any more")

    summary = run(stub(), Source("cam:", frames(), None), [], store)
    assert summary.fault == "camera: does not answer any more"
    assert (summary.parts, summary.stored) == (1, 1)


def test_an_actuator_that_fails_is_a_fault_and_nothing_passes_after_it(store):
    gate = []

    def actuate(part, verdict, reason, triggered_ns):
        gate.append((part.sequence, verdict))
        if part.sequence == 2:
            raise OSError("the coil does not answer")

    summary = run(stub(), source(*(frame(n) for n in range(1, 6))), [], store, max_fps=500, actuate=actuate)
    assert summary.fault == "the actuator failed at part p2: OSError: the coil does not answer"
    assert all(verdict == "reject" for sequence, verdict in gate if sequence > 2)


def test_finish_lets_the_part_in_flight_come_to_its_end(store):
    inbox = queue.SimpleQueue()

    def infer(pictures):
        if pictures[0, 0, 0, 0] == 201:
            inbox.put(Finish())
            time.sleep(0.05)
        return logits_of(pictures)

    frames = itertools.chain([frame(1), frame(2, (201, 30, 30))], (frame(n) for n in itertools.count(3)))
    summary = run(stub(infer), Source("mem:", frames, None), [], store, inbox=inbox)
    assert summary.interrupted
    assert rows(store, "sequence, verdict, reason") == [(1, "accept", "decided"), (2, "accept", "decided")]


def test_a_sorting_bundle_is_refused_with_the_remedy(store):
    with pytest.raises(SettingsError, match=r"sorts only.*lineside train DATA -o tiny\.bundle --accept CLASS"):
        run(stub(accept=()), source(frame(1)), [], store)


def test_an_engine_that_does_not_start_is_refused(store):
    def infer(pictures):
        raise RuntimeError("no memory")

    with pytest.raises(LineError, match=r"tiny\.bundle: the engine does not answer \(RuntimeError: no memory\)"):
        run(stub(infer), source(frame(1)), [], store)


@pytest.mark.parametrize("given", [{"max_fps": 0}, {"max_fps": 1e-300}, {"deadline_ms": float("nan")}, {"parts": -1}])
def test_settings_out_of_range_are_refused(store, given):
    with pytest.raises(SettingsError, match="expected a number of at least"):
        run(stub(), source(frame(1)), [], store, **given)


def test_a_promise_that_was_not_shown_is_said():
    assert doubts(stub()) == ()
    unsure = stub(operating_point=replace(point(), shown=False, more_bad_needed=7))
    assert "NOT shown" in doubts(unsure)[0]
    assert "7 more would show it" in doubts(unsure)[0]


def test_no_frames_at_all(store):
    summary = run(stub(), source(), [], store)
    assert (summary.parts, summary.seconds, summary.parts_per_second) == (0, 0.0, None)
    assert summary.escape.value is None


def test_the_engine_is_warm_before_the_first_part(store):
    calls = []

    def infer(pictures):
        calls.append(pictures.shape)
        return logits_of(pictures)

    run(stub(infer), source(frame(1, picture=picture(RED, 24)), frame(2, data=b"")), [], store)
    assert calls == [(1, 24, 24, 3)] * 5  # four to warm up on the first part's size, one for it


@pytest.mark.slow
def test_memory_is_flat_over_20_000_parts(store):
    """Objects of Python's own soon after the start and at the end, the least of several looks each, when nothing is on
    its way: less than one is kept for every second part. (Caches come and go by thousands.)"""
    soon, late = range(5_000, 8_000, 500), range(17_500, 20_001, 500)
    at = {}

    def blocks(n):
        end = time.monotonic() + 60
        while rows(store, "count(*)")[0][0] < n - 3 and time.monotonic() < end:  # what is on its way is no leak
            time.sleep(0.05)
        time.sleep(0.25)
        gc.collect()
        return sys.getallocatedblocks()

    def frames():
        pixels = picture(RED, 8)
        for n in range(1, 20_001):
            if n in soon or n in late:
                at[n] = min(blocks(n) for _ in range(3))
            yield Frame(str(n), n, "x", picture=pixels, truth="good")

    answer = logits_of(picture(RED, 8)[None])
    summary = run(stub(lambda pictures: answer), Source("mem:", frames(), 20_000), [], store)
    assert summary.stored == 20_000
    assert min(at[n] for n in late) - min(at[n] for n in soon) < 12_000 / 2
