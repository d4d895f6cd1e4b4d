"""Several cameras and products, orders, master parts: real threads, a real store, engines that are plain functions."""

import json
import queue
import socket
import sqlite3
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from lineside.errors import LineError, SettingsError
from lineside.line import halted
from lineside.line.desk import CONNECTIONS, Desk, Request, send
from lineside.line.events import Changed
from lineside.line.halted import Reminder
from lineside.line.messages import Asked, Finish, Lost, Reply
from lineside.line.pace import Pace
from lineside.line.run import run
from lineside.line.source.frame import Frame, Source
from lineside.line.view import View, only
from tests.line.gate.doubles import until
from tests.line.tiny import BLUE, GREY, RED, logits_of, picture, png, stub


def rows(store, query):
    connection = sqlite3.connect(store.url.database)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def events(store, kind):
    found = rows(store, f"SELECT who, subject, detail FROM event WHERE kind = '{kind}' ORDER BY rowid")
    return [(who, subject, json.loads(detail)) for who, subject, detail in found]


def states(store):
    return [detail["state"] for _, _, detail in events(store, "state")]


def frames(*colors, names=None, **given):
    names = names or [f"p{n}" for n in range(1, len(colors) + 1)]
    return [
        Frame(
            name, n, f"{name}.png", **(given | ({"error": "no packet came"} if c is None else {"picture": picture(c)}))
        )
        for n, (name, c) in enumerate(zip(names, colors, strict=True), 1)
    ]


def view(name, shown, *, trigger="recorded", models=None):
    models = models or {"part": stub()}
    source = Source(f"mem:{name}", iter(shown), None, trigger=trigger)
    return View(name, source, models, dict.fromkeys(models))


def blind(pictures):
    """A model of another product: everything is bad."""
    return logits_of(np.full_like(pictures, 0) + np.array(BLUE, np.uint8))


def test_a_part_of_two_cameras_is_one_decision_and_both_are_kept(store):
    gate = []
    views = [view("top", frames(RED, RED, BLUE, RED)), view("side", frames(RED, GREY, RED, None))]
    summary = run(views, [], store, actuate=lambda part, verdict, *rest: gate.append((part.sequence, verdict)))
    assert gate == [(1, "accept"), (2, "hold"), (3, "reject"), (4, "reject")]
    assert summary.verdicts == {"accept": 1, "hold": 1, "reject": 2}
    assert summary.reasons == {"decided": 3, "unreadable": 1}
    found = rows(store, "SELECT verdict, reason, detail, label, name, views FROM inspection ORDER BY sequence")
    assert [row[:4] for row in found] == [
        ("accept", "decided", "", "good"),
        ("hold", "decided", "", "bad"),
        ("reject", "decided", "", "bad"),
        ("reject", "unreadable", "side: not-acquired: no packet came", None),
    ]
    seen = [[(v["camera"], v["verdict"], v["name"]) for v in json.loads(row[5])] for row in found]
    assert seen[1] == [("top", "accept", "p2.png"), ("side", "hold", "p2.png")]
    assert seen[3] == [("top", "accept", "p4.png"), ("side", "reject", "p4.png")]
    settings = json.loads(rows(store, "SELECT settings FROM run")[0][0])
    assert settings["cameras"] == {"top": "mem:top", "side": "mem:side"}


def test_a_camera_that_has_fewer_pictures_leaves_no_part_without_a_verdict(store):
    summary = run([view("top", frames(RED, RED, RED)), view("side", frames(RED))], [], store)
    assert summary.verdicts == {"accept": 1, "hold": 0, "reject": 2}
    (detail,) = set(rows(store, "SELECT detail FROM inspection WHERE sequence > 1"))
    assert detail == ("side: not-acquired: camera side has no picture of this part: it has come to its end",)


def test_files_of_different_parts_stop_the_line(store):
    def files(*names):
        return [Frame(str(n), n, f"{name}.png", data=png(RED)) for n, name in enumerate(names, 1)]

    summary = run([view("top", files("a", "b", "c")), view("side", files("a", "c", "d"))], [], store)
    assert "cameras are out of step: part 2 is 'b.png' to camera top and 'c.png' to camera side" in summary.fault
    assert summary.verdicts == {"accept": 1, "hold": 0, "reject": 1}
    assert states(store)[-1] == "error"


def test_pictures_that_were_not_taken_together_stop_the_line(store):
    began = time.monotonic_ns() + 10**9  # after the line has begun to inspect

    def at(ns, n):
        return Frame(str(n), n, f"{n}", picture=picture(RED), captured_ns=began + ns)

    ms = 1_000_000
    top, side = [at(n * 100 * ms, n) for n in (1, 2, 3)], [at(100 * ms, 1), at(300 * ms, 2)]
    views = [view("top", top, trigger="hardware"), view("side", side, trigger="hardware")]
    summary = run(views, [], store, pace=Pace(together_ms=50))
    assert "the pictures of part 2 by" in summary.fault
    assert "are 100 ms apart, together_ms is 50; look at the trigger lines" in summary.fault
    assert summary.verdicts["accept"] <= 1


@pytest.mark.parametrize("together_ms", [None, 50])
def test_a_frame_that_was_lost_on_the_network_rejects_its_part_and_stops_nothing(store, together_ms):
    """It is missed when the next one comes, and has that one's time: no sign of cameras that are out of step."""
    began = time.monotonic_ns() + 10**9

    def at(n, of, **given):
        shown = given or {"picture": picture(RED)}
        return Frame(str(n), n, f"{n}", captured_ns=began + of * 100_000_000, **shown)

    top = [at(n, n) for n in range(1, 6)]
    side = [at(1, 1), at(2, 2), at(3, 4, error="a frame before the camera's 4 never arrived"), at(4, 4), at(5, 5)]
    views = [view("top", top, trigger="hardware"), view("side", side, trigger="hardware")]
    summary = run(views, [], store, pace=Pace(together_ms=together_ms))
    assert (summary.fault, summary.verdicts) == ("", {"accept": 4, "hold": 0, "reject": 1})
    found = rows(store, "SELECT sequence, reason FROM inspection WHERE verdict = 'reject'")
    assert found == [(3, "unreadable")]


def test_a_camera_that_missed_a_trigger_of_close_parts_stops_the_line(store):
    """Parts 15 ms apart, together_ms 20: only their own spacing shows that the pictures are of two parts."""
    ms, began = 1_000_000, time.monotonic_ns() + 10**9

    def at(n, of, color=RED):
        return Frame(str(n), n, f"{n}", picture=picture(color), captured_ns=began + of * 15 * ms)

    top = [at(n, n, BLUE if n == 4 else RED) for n in range(1, 6)]
    side = [at(1, 1), at(2, 2), at(3, 4), at(4, 5)]  # it lost the trigger of part 3 without a word
    gate = []
    views = [view("top", top, trigger="hardware"), view("side", side, trigger="hardware")]
    summary = run(views, [], store, actuate=lambda part, verdict, *rest: gate.append((part.sequence, verdict)))
    assert "which of them belong together can not be told" in summary.fault
    assert [n for n, verdict in gate if verdict == "accept"] in ([], [1], [1, 2])


@pytest.mark.parametrize("trigger", ["recorded", "hardware"])
@pytest.mark.parametrize("numbers", [(1, 2, 4, 5), (1, 2, 2, 3)])
def test_a_source_that_leaves_a_number_out_or_gives_one_twice_stops_the_line(store, trigger, numbers):
    top = frames(*[RED] * 5)
    side = [replace(one, sequence=n) for one, n in zip(top, numbers, strict=False)]
    gate = []
    views = [view("top", top, trigger=trigger), view("side", side, trigger=trigger)]
    summary = run(views, [], store, actuate=lambda part, verdict, *rest: gate.append((part.sequence, verdict)))
    assert f"the source calls it picture {numbers[2]}, and picture 3 was to come" in summary.fault
    assert [n for n, _ in gate] == sorted({n for n, _ in gate})
    assert {n for n, verdict in gate if verdict == "accept"} <= {1, 2}


def test_a_camera_that_hangs_is_a_reject_at_the_deadline(store):
    release = threading.Event()

    def side():
        yield frames(RED)[0]
        release.wait(20)

    def free(shown):
        for frame in shown:
            yield Frame(frame.part_id, frame.sequence, frame.name, picture=frame.picture, captured_ns=None)

    top = Source("mem:top", free(frames(RED, RED, RED)), None)
    views = [
        View("top", top, {"part": stub()}, {}),
        View("side", Source("mem:side", side(), None), {"part": stub()}, {}),
    ]
    got = []

    def actuate(part, verdict, reason, triggered_ns):
        got.append((part.sequence, verdict, reason))
        if len(got) == 3:
            release.set()

    summary = run(views, [], store, actuate=actuate, pace=Pace(max_fps=50, deadline_ms=100))
    assert got == [(1, "accept", "decided"), (2, "reject", "deadline"), (3, "reject", "deadline")]
    assert summary.stored == 3
    assert rows(store, "SELECT detail FROM inspection WHERE sequence = 2") == [("no answer about side",)]


def test_cameras_of_one_line_need_one_kind_of_trigger(store):
    views = [view("top", frames(RED)), view("side", frames(RED), trigger="free")]
    with pytest.raises(SettingsError, match="top: recorded, side: free"):
        run(views, [], store)


def asker(inbox):
    """ask(order, …) -> the reply, for a thread of its own."""

    def ask(order, **given):
        replies = queue.SimpleQueue()
        inbox.put(Asked(order, "ada", reply=replies.put, **given))
        return replies.get(timeout=20)

    return ask


def test_a_product_changes_while_the_line_runs(store):
    inbox, ready, changed = queue.SimpleQueue(), threading.Event(), threading.Event()
    ask = asker(inbox)

    def shown():
        yield from frames(RED, RED)
        ready.set()
        changed.wait(20)
        yield from (Frame(f"p{n}", n, "x", picture=picture(RED)) for n in (3, 4))

    models = {"m8": stub(), "m10": stub(blind)}
    views = [View("top", Source("mem:", shown(), None), models, {})]

    def person():
        ready.wait(20)
        said.append(ask("prepare", product="m12"))
        said.append(ask("prepare", product="m10"))
        changed.set()

    said = []
    threading.Thread(target=person, daemon=True).start()
    run(views, [], store, product="m8", inbox=inbox)
    found = rows(store, "SELECT sequence, product, verdict FROM inspection ORDER BY sequence")
    assert (found[0], found[-1]) == ((1, "m8", "accept"), (4, "m10", "reject"))
    assert said[0].refused == "no product 'm12'; there are: m8, m10"
    assert (said[1].refused, said[1].product, said[1].state) == ("", "m10", "continuous")
    assert [(who, order, d["product"]) for who, order, d in events(store, "command")] == [
        ("ada", "prepare", "m12"),
        ("ada", "prepare", "m10"),
    ]


def test_a_halted_station_waits_for_a_person_and_goes_on(store, tmp_path):
    """Through the desk, as `lineside control` does it."""
    inbox, gate, halted = queue.SimpleQueue(), [], threading.Event()
    desk = Desk(tmp_path / "line.sock", inbox.put)

    def actuate(part, verdict, reason, triggered_ns):
        gate.append((part.sequence, verdict))
        if part.sequence == 2:
            halted.set()

    def person():
        halted.wait(20)
        while not said or said[-1].state != "halted":
            said.append(send(desk.path, Request("status")))
        said.append(send(desk.path, Request("start")))
        said.append(send(desk.path, Request("reset")))
        said.append(send(desk.path, Request("start", why="the tool was changed")))

    said = []
    threading.Thread(target=person, daemon=True).start()
    try:
        summary = run(
            only(stub(), Source("mem:", iter(frames(BLUE, BLUE, RED, RED)), 4)),
            [],
            store,
            pace=Pace(halt_after=2),
            resettable=True,
            inbox=inbox,
            actuate=actuate,
        )
    finally:
        desk.close()
    assert gate == [(1, "reject"), (2, "reject"), (3, "accept"), (4, "accept")]
    assert summary.fault == ""
    assert [one.refused for one in said[-3:]] == [
        "the station is halted and can not start; now it can: reset", "", ""
    ]  # fmt: skip
    assert states(store) == [
        "initialized", "ready", "continuous", "halted", "preoperational", "initialized", "ready", "continuous", "halted"
    ]  # fmt: skip
    assert events(store, "command")[-1][2]["why"] == "the tool was changed"
    assert not desk.path.exists()


def test_a_station_that_nobody_can_reset_ends_the_run_with_its_reason(store):
    summary = run(only(stub(), Source("mem:", iter(frames(BLUE, BLUE, RED)), 3)), [], store, pace=Pace(halt_after=2))
    assert summary.fault.startswith("2 rejects in a row")
    assert summary.halted
    assert summary.parts == 2


def test_a_fault_while_the_station_is_halted_for_good_does_not_hide_the_halt(store):
    """A line that ends with a fault is started again by its service manager; one that halted is not."""
    inbox = queue.SimpleQueue()

    def say(one):
        if one.event == "state" and "halted" in one.sentence:
            inbox.put(Lost("the PLC is gone"))

    def slowly():
        yield from frames(BLUE, BLUE)
        time.sleep(0.5)  # the camera is not closed yet

    source = Source("mem:", slowly(), None)
    summary = run(only(stub(), source), [], store, pace=Pace(halt_after=2), inbox=inbox, say=say)
    assert [state for state in states(store) if state in ("halted", "error")][:2] == ["halted", "error"]
    assert summary.fault.startswith("2 rejects in a row")
    assert summary.halted
    assert summary.parts == 2


def test_master_parts_are_noted_with_what_was_said_of_them(store):
    inbox = queue.SimpleQueue()
    inbox.put(Asked("calibrate", "ada", expect=("accept", "reject")))

    def shown():
        while inbox.qsize():  # the order comes first
            pass
        yield from frames(RED, RED, RED)

    summary = run(only(stub(), Source("mem:", shown(), 3, trigger="free")), [], store, inbox=inbox)
    assert summary.reasons == {"calibration": 2, "decided": 1}
    assert [(part, d["expected"], d["said"], d["agrees"]) for _, part, d in events(store, "calibration")] == [
        ("p1", "accept", "accept", True),
        ("p2", "reject", "accept", False),
    ]


def test_no_part_for_too_long_is_a_fault(store):
    release = threading.Event()

    def shown():
        yield frames(RED)[0]
        release.wait(20)

    source = Source("mem:", shown(), None, trigger="free", close=release.set)
    summary = run(only(stub(), source), [], store, pace=Pace(watchdog_s=0.2))
    assert summary.fault == "no part has come for 0.2 s; look at the trigger and the camera"


def test_an_order_that_a_hung_line_did_not_answer_is_taken_back_but_a_halt_is_not(store, tmp_path):
    inbox, hangs, goes = queue.SimpleQueue(), threading.Event(), threading.Event()
    desk = Desk(tmp_path / "line.sock", inbox.put, patience_s=0.2)

    def actuate(part, verdict, reason, triggered_ns):
        if part.sequence == 1:
            hangs.set()
            goes.wait(20)

    def person():
        hangs.wait(20)
        said.append(send(desk.path, Request("prepare", "m10")).refused)
        said.append(send(desk.path, Request("halt")).refused)
        goes.set()

    said = []
    threading.Thread(target=person, daemon=True).start()
    models = {"m8": stub(), "m10": stub(blind)}
    source = Source("mem:", iter(frames(RED, RED)), 2, trigger="free")
    try:
        run([View("top", source, models, {})], [], store, product="m8", inbox=inbox, actuate=actuate)
    finally:
        desk.close()
    assert said[0].endswith("it may have come to its end; prepare: it is taken back")
    assert said[1].endswith("it may have come to its end; halt: it is followed as soon as the line can")
    found = [(order, d["refused"].partition(":")[0]) for _, order, d in events(store, "command")]
    assert found == [("prepare", "it came to the station too late"), ("halt", "")]
    assert "ready" in states(store)
    assert set(rows(store, "SELECT product FROM inspection")) == {("m8",)}


def test_the_desk_answers_nonsense_with_a_sentence_and_lives(tmp_path):
    import socket

    desk = Desk(tmp_path / "line.sock", lambda asked: asked.reply(Reply("", "ready", "", "")))
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(str(desk.path))
            one.settimeout(20)
            lines = one.makefile("rb")
            for nonsense, expected in (
                (b"\n", "order: not JSON"),
                (b"[1]\n", "expected a table"),
                (b"\xff\xfe\n", "not JSON"),
                (b'{"order": "start", "prodct": "x"}\n', "did you mean product?"),
                (b'{"order": "calibrate", "expect": ["maybe"]}\n', "expected one of"),
                (b"[" * 5000 + b"\n", "order"),
            ):
                one.sendall(nonsense)
                assert expected in json.loads(lines.readline())["refused"]
            one.sendall(b"x" * 20_000 + b"\n")
            assert json.loads(lines.readline())["refused"] == "an order has at most 16384 bytes"
        assert send(desk.path, Request("status")).state == "ready"
        assert (desk.path.stat().st_mode & 0o777) == 0o660
        with pytest.raises(LineError, match="another line listens there"):
            Desk(desk.path, lambda asked: None)
    finally:
        desk.close()
    with pytest.raises(LineError, match="no line runs there"):
        send(desk.path, Request("status"))


def test_who_says_nothing_at_the_desk_makes_room_for_who_has_an_order(tmp_path):
    release = threading.Event()

    def ask(asked):
        if asked.why == "slow":
            assert release.wait(60)
        asked.reply(Reply("", "ready", "", ""))

    desk, silent = Desk(tmp_path / "line.sock", ask), []
    order = json.dumps({"order": "status", "why": "slow"}).encode() + b"\n"
    try:
        for n in range(CONNECTIONS):
            silent.append(socket.socket(socket.AF_UNIX))
            silent[-1].settimeout(60)
            silent[-1].connect(str(desk.path))
            silent[-1].sendall(order if n == 0 else b'{"order": ')  # the first one's is followed, and takes its time
        until(lambda: len(desk._busy) == 1 and len(desk._idle) == CONNECTIONS - 1)
        assert [send(desk.path, Request("status"), 60).state for _ in range(3)] == ["ready"] * 3
        assert silent[1].recv(1) == b""  # it had said nothing for longest
        silent[-1].sendall(b'"status"}\n')
        assert json.loads(silent[-1].makefile().readline())["state"] == "ready"  # three came, one after another
        release.set()
        assert json.loads(silent[0].makefile().readline())["state"] == "ready"
    finally:
        release.set()
        for one in silent:
            one.close()
        desk.close()


def test_a_halted_line_says_again_that_it_is_and_how_many_parts_it_has_rejected_since(store):
    clock, told = [0], []
    reminder = Reminder(told.append, lambda: clock[0], every_s=300)
    assert reminder.patience_s(None) is None
    clock[0] = 10**9
    reminder.changed(Changed("halted", "m8", "3 rejects in a row"), 5)
    assert (reminder.patience_s(None), reminder.patience_s(7.0)) == (300.0, 7.0)
    for seconds, rejected in (
        (300, 6),
        (301, 7),
        (302, 7),
        (600, 8),
        (601, 8),
        (2000, 1005),
        (2100, 1006),
        (2101, 1006),
    ):
        clock[0] = seconds * 10**9
        reminder.look(rejected)
    assert [(one.level, one.facts["halted_s"], one.facts["rejected"]) for one in told] == [
        ("warning", 300, 2), ("warning", 600, 3), ("warning", 1999, 1000), ("warning", 2100, 1001),
    ]  # fmt: skip
    assert str(told[0]) == (
        "the station is still halted, for 5 minutes: 3 rejects in a row; 2 parts have been rejected since. "
        "It goes on after: reset, start"
    )
    reminder.changed(Changed("ready", "m8", ""), 1006)
    clock[0] = 10_000 * 10**9
    reminder.look(2000)
    assert len(told) == 4


def test_the_running_line_reminds_of_its_halt(store, monkeypatch):
    """Without any part or message coming, and with what came since."""
    monkeypatch.setattr(halted, "EVERY_S", 0.05)
    inbox, said, stands, again = queue.SimpleQueue(), [], threading.Event(), threading.Event()

    def say(one):
        said.append(one.sentence)
        if "still halted" in one.sentence:
            stands.set()
            if one.facts["rejected"] == 1:
                again.set()

    def shown():
        bad, good = frames(BLUE, RED)
        yield replace(bad, captured_ns=time.monotonic_ns())
        stands.wait(30)
        yield replace(good, captured_ns=time.monotonic_ns())  # no matter how good: the station is halted
        again.wait(30)
        inbox.put(Finish())

    views = [view("top", shown(), trigger="free")]
    run(views, [], store, pace=Pace(halt_after=1), resettable=True, inbox=inbox, say=say)
    assert stands.is_set(), said
    assert again.is_set(), said


def test_a_halt_after_the_last_picture_turns_what_is_on_the_belt(store):
    """The cameras have come to their end; the run has not, while accepted parts are on their way to the gate."""
    from lineside.line.gate.gate import Gate
    from lineside.line.gate.wire import Timing
    from tests.line.gate.doubles import Fake

    def slow(pictures):
        time.sleep(0.2)
        return logits_of(pictures)

    fake = Fake()
    gate = Gate(fake.wire(), Timing(deadline_ms=5000, delay_ms=1500))
    views = [view("top", frames(RED, BLUE), models={"part": stub(slow)})]
    run(views, [], store, pace=Pace(halt_after=1), resettable=True, gate=gate)
    assert [one.verdict for one in fake.told] == ["reject", "reject"]


def test_a_single_part_is_triggered_once(store):
    """No second one is fired when the first makes room: it would be rejected unseen."""
    inbox, fired = queue.SimpleQueue(), []

    def shown():
        for n in range(1, 9):
            fired.append(n)
            yield Frame(f"p{n}", n, "x", picture=picture(RED), captured_ns=time.monotonic_ns())

    def slow(pictures):
        time.sleep(0.15)
        return logits_of(pictures)

    def person():
        ask = asker(inbox)
        for _ in range(2):
            ask("start-single")
            time.sleep(0.6)
        inbox.put(Finish())

    threading.Thread(target=person, daemon=True).start()
    found = run(
        [view("top", shown(), trigger="software", models={"part": stub(slow)})],
        [], store, inbox=inbox, autostart=False, resettable=True,
    )  # fmt: skip
    assert (fired, found.verdicts["accept"], found.verdicts["reject"]) == ([1, 2], 2, 0)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\n", b"[1]\n", b"{}\n", b'{"refu', b"\xff\n"])
def test_what_listens_in_place_of_a_line_is_a_sentence(tmp_path, answer):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)

        def serve():
            connection, _ = other.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(LineError, match="what listens there is no line"):
            send(path, Request("status"))
