"""Runs, inspections and events for tests of the store, and a recorder that takes them at once."""

from datetime import datetime, timedelta, timezone

from lineside.store.recorder import Recorder
from lineside.store.records import Event, Inspection, Run

WHEN = datetime(2026, 11, 22, 14, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))


def a_run(id="r" * 32) -> Run:
    return Run(id, WHEN, "ab" * 32, "nuts.bundle", "nuts:", "0.1.0", {"deadline_ms": 20.0})


def inspection(sequence: int, run_id="r" * 32, **changed) -> Inspection:
    given = {
        "id": f"{run_id[0]:0<8}".encode().hex()[:8] + f"{sequence:024x}", "run_id": run_id, "sequence": sequence,
        "part_id": str(sequence), "name": "a\n'ä.png", "sha256": "ab" * 32, "label": "good", "score": 0.9,
        "scores": {"bad": 0.1, "good": 0.9}, "margin": 2.2, "verdict": "accept", "reason": "decided", "detail": "",
        "truth": None, "captured": WHEN, "decided": WHEN + timedelta(seconds=sequence), "decode_ms": 0.1,
        "infer_ms": 2.0, "decide_ms": None, "total_ms": 2.5,
    }  # fmt: skip
    return Inspection(**(given | changed))


def event(n: int, **changed) -> Event:
    given = {
        "id": f"{n:e>32x}", "run_id": "r" * 32, "at": WHEN + timedelta(seconds=n), "kind": "drift", "who": "line",
        "subject": "", "detail": {"n": n},
    }  # fmt: skip
    return Event(**(given | changed))


def record(engine, inspections, tell=lambda group: None, failed=lambda sentence: None, run=None, **given):
    recorder = Recorder(engine, run or a_run(), tell=tell, failed=failed, **given)
    for one in inspections:
        if isinstance(one, Event):
            recorder.note(one)
        else:
            recorder.put(lambda one=one: one)
    recorder.close(WHEN, 30)
    return recorder
