"""What the main thread does with each message, by a clock of our own."""

import threading
from types import SimpleNamespace

import pytest

from lineside.line.camera import Taken
from lineside.line.control import Line
from lineside.line.decide import Answer
from lineside.line.events import Answered, Part
from lineside.line.messages import Asked
from lineside.line.source.frame import Frame
from lineside.line.station import Station
from lineside.tasks.classify.decode import decider
from tests.line.tiny import CLASSES, RED, logits_of, picture, point

MS = 1_000_000


def test_a_picture_that_was_taken_before_a_change_of_product_is_judged_by_the_model_of_the_one_before():
    """Taken at 5 ms, on its way while another product is prepared at 10, let in at 20."""
    clock, asked, kept = SimpleNamespace(ns=0), [], []
    line = Line(
        Station(products=("m8", "m10")),
        actuate=lambda *_: None,
        infer=lambda camera, product, frame: asked.append((frame.part_id, product)),
        remember=lambda *_: None,
        record=lambda result, flight, total_ms: kept.append((result.part.part_id, result.product, flight.product)),
        halt=threading.Event(),
        now_ns=lambda: clock.ns,
    )
    line.begin("m8", start=True)
    clock.ns = 10 * MS
    line.handle(Asked("prepare", "ann", "m10"))
    clock.ns = 20 * MS
    decision = decider(CLASSES, ("good",), point())(logits_of(picture(RED)[None])[0])
    for n, captured_ns in ((1, 5 * MS), (2, 15 * MS)):
        line.handle(Taken(Frame(f"p{n}", n, f"{n}.png", picture=picture(RED)), captured_ns, 0.0))
        line.handle(Answer(Answered(Part(f"p{n}", n), decision, 20 * MS), decision=decision))
    assert asked == [("p1", "m8"), ("p2", "m10")]
    assert kept == [("p1", "m8", "m8"), ("p2", "m10", "m10")]


@pytest.mark.parametrize(
    ("handled_ms", "leaves"), [(5, ("accept", "decided")), (20, ("accept", "decided")), (90, ("reject", "deadline"))]
)
def test_the_deadline_counts_until_the_gate_acts_not_until_the_engine_has_answered(handled_ms, leaves):
    """Deadline 20 ms, answered after 5 ms; then the answer lies in the inbox until the main thread comes to it."""
    clock, gate, took_ms = SimpleNamespace(ns=0), [], []
    line = Line(
        Station(20 * MS),
        actuate=lambda part, verdict, reason, triggered_ns: gate.append((verdict, reason)),
        infer=lambda camera, product, frame: None,
        remember=lambda *_: None,
        record=lambda result, flight, total_ms: took_ms.append(total_ms),
        halt=threading.Event(),
        now_ns=lambda: clock.ns,
    )
    line.begin("", start=True)
    line.handle(Taken(Frame("p1", 1, "1.png", picture=picture(RED)), 0, 0.0))
    decision = decider(CLASSES, ("good",), point())(logits_of(picture(RED)[None])[0])
    clock.ns = handled_ms * MS
    line.handle(Answer(Answered(Part("p1", 1), decision, 5 * MS), decision=decision))
    assert gate == [leaves]
    assert took_ms == [handled_ms]


def test_a_late_camera_of_a_part_that_is_gone_is_not_inferred():
    """Camera b's picture of part 1 comes behind a's of part 2, and part 1's verdict has left at its deadline."""
    clock, asked = SimpleNamespace(ns=0), []
    line = Line(
        Station(20 * MS, cameras=("a", "b")),
        actuate=lambda *_: None,
        infer=lambda camera, product, frame: asked.append((camera, frame.sequence)),
        remember=lambda *_: None,
        record=lambda *_: None,
        halt=threading.Event(),
        now_ns=lambda: clock.ns,
    )
    line.begin("", start=True)
    for n, camera in ((1, "a"), (2, "a"), (1, "b"), (3, "a"), (3, "b")):
        clock.ns += 6 * MS
        line.handle(Taken(Frame(f"p{n}", n, f"{n}.png", picture=picture(RED)), clock.ns, 0.0, camera))
    assert asked == [("a", 1), ("a", 2)]  # two at the engine
    decision = decider(CLASSES, ("good",), point())(logits_of(picture(RED)[None])[0])
    for n in (1, 2):
        line.handle(Answer(Answered(Part(f"p{n}", n), decision, clock.ns, "a"), decision=decision))
    assert asked[2:] == [("a", 3), ("b", 3)]
