"""A soak of a real line: what it counts, what it sees that is wrong, what it writes."""

import ctypes
import dataclasses
import itertools
import json
import mmap
import os
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from html.parser import HTMLParser

import numpy as np
import pytest
from sqlalchemy import delete, select

from lineside.evidence.slope import slope
from lineside.line import soak_page
from lineside.line.gate.catalog import open_gate
from lineside.line.gate.gate import Gate
from lineside.line.gate.wire import Timing
from lineside.line.process import Usage, held_bytes, usage
from lineside.line.sink.durable import Durable
from lineside.line.snapshot import Window
from lineside.line.soak import MOST, Hearing, Kept, Sampler, kept, soak
from lineside.line.source.frame import Counts, Frame, Source, counted
from lineside.store.tables import CHAIN, INSPECTION
from tests.line.gate.doubles import Fake, plc
from tests.line.tiny import BLUE, RED, logits_of, picture, run, stub


class Quick:
    """A consumer who acknowledges all."""

    strange = 0

    def ready(self):
        pass

    def idle(self):
        pass

    def deliver(self, letters):
        return {letter.record.id for letter in letters}

    def close(self):
        pass


def source(parts=60):
    counts = Counts()
    frames = (Frame(f"p{n}", n, "x", picture=picture(RED if n % 2 else BLUE)) for n in range(1, parts + 1))
    return Source("cam:", counted(frames, counts), parts, counts=counts)


def sound(store, parts=60, every_s=0.002, model=None, **given):
    window = Window("press-3")
    return soak(
        lambda sink: run(model or stub(), source(parts), [sink], store, window=window, **given),
        window,
        lambda run_id: kept(store, run_id),
        every_s=every_s,
    )


class Page(HTMLParser):
    """Every tag is closed, and nothing is loaded."""

    VOID = ("meta", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.words = [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert not {"src", "href", "onclick"} & dict(attrs).keys()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert not {"src", "href", "onclick"} & dict(attrs).keys()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_all_witnesses_agree_from_the_trigger_to_the_plc_and_the_consumer(store, tmp_path):
    window = Window("press-3")
    durable = Durable("mqtt://host/t?timeout-s=1", "mqtt://host/t", lambda who, halt: Quick(), window=8)

    def job(sink):
        with plc(tmp_path) as double:
            gate = open_gate(f"modbus://127.0.0.1:{double.port}?unit=1&deadline_ms=30000")
            return run(stub(), source(60), [sink, durable], store, window=window, gate=gate, deadline_ms=60_000)

    found = soak(job, window, lambda run_id: kept(store, run_id), every_s=0.005)
    assert found.passed
    assert {one.what: one.n for one in found.counts} == {
        "triggered (the station)": 60,
        "verdicts (the line's summary)": 60,
        "stored (asked of the store)": 60,
        "told, in order (a sink of the soak)": 60,
        "acknowledged or waiting (mqtt://host/t)": 60,
        "confirmed (the gate's PLC)": 60,
        "verdicts lost on their way to the store": 0,
        "deadline misses, as the sink saw them": 0,
    }
    assert found.waiting == {"mqtt://host/t": 0}
    assert found.summary.end_ms.n == found.summary.wire_ms.n == 60
    assert found.frames["camera"]["delivered"] == 60
    assert found.bundles == {"camera": "ab" * 32}

    values = json.loads(soak_page.as_json(found))
    assert values["passed"] is True
    assert values["summary"]["end_ms"]["n"] == 60
    assert set(values["samples"]) == {f.name for f in dataclasses.fields(found.samples[0])}
    page = soak_page.render(found)
    words = " ".join(Page(page).words)
    assert "60 parts, each with one verdict, stored and told; all counts agree." in words
    for said in ("trigger → confirmed by the PLC", "confirmed (the gate's PLC)", "zero inside", "sha256 abab"):
        assert said in words
    assert page.count("<svg") >= 5


def test_a_part_that_had_passed_the_gate_before_its_verdict_is_no_disagreement(store):
    window, old = Window("l"), time.monotonic_ns() - 5_000_000_000
    lost = Frame("p1", 1, "1", error="the camera is away", captured_ns=old)
    frames = [lost, Frame("p2", 2, "2", picture=picture(RED))]
    gate = Gate(Fake().wire(), Timing(deadline_ms=60_000))

    def job(sink):
        return run(stub(), Source("mem:", iter(frames), None, trigger="free"), [sink], store, window=window, gate=gate)

    found = soak(job, window, lambda run_id: kept(store, run_id), every_s=0.005)
    assert found.passed
    told = {one.what: one.n for one in found.counts}
    assert told["confirmed (the gate's PLC), and 1 past it before their verdict"] == 2


@pytest.mark.parametrize("wrong", [{"stored": 59}, {"outboxes": {"mqtt://h/t": (50, 9)}}])
def test_a_result_that_is_missing_anywhere_is_seen(store, wrong):
    def less(run_id):
        return dataclasses.replace(kept(store, run_id), **wrong)

    window = Window("l")
    found = soak(lambda sink: run(stub(), source(60), [sink], store, window=window), window, less, every_s=0.01)
    assert not found.passed
    assert "Counts do not agree" in soak_page.headline(found)
    assert "contradicted" in soak_page.render(found)
    assert "DOES NOT AGREE" in soak_page.text(found)


def test_the_store_is_really_asked(store):
    found = sound(store)
    assert found.passed
    with store.begin() as connection:
        last = connection.execute(select(INSPECTION.c.id).where(INSPECTION.c.sequence == 60)).scalar_one()
        connection.execute(delete(CHAIN).where(CHAIN.c.inspection_id == last))
        connection.execute(delete(INSPECTION).where(INSPECTION.c.id == last))
    assert kept(store, found.summary.run_id) == Kept(59, {})


def test_results_out_of_turn_and_verdicts_that_are_none_are_seen(store):
    seen = []
    run(stub(), source(4), [dataclasses.replace(_list(), tell=seen.extend)], store)
    one, two, three, four = seen
    for told, what in (
        ((one, three, two, four), "result 2 of the run has the number 3 (part p3)"),
        ((one, one), "result 2 of the run has the number 1 (part p1)"),
        ((dataclasses.replace(one, verdict="pass"),), "part p1 has the verdict 'pass', which is none"),
        ((one, two, three, four), ""),
    ):
        hearing = Hearing()
        hearing.tell(told)
        assert hearing.disorder == what


def _list():
    from lineside.line.sink.sink import Sink

    return Sink("list:", lambda group: None, lambda: None)


def test_deadline_misses_are_listed_with_when(store):
    hang = threading.Event()

    def infer(pictures):
        if pictures[0, 0, 0, 2] == BLUE[2]:
            hang.wait(60)
        return logits_of(pictures)

    def gate(part, verdict, reason, triggered_ns):
        if reason == "deadline":
            hang.set()

    found = sound(store, parts=2, model=stub(infer), deadline_ms=1500, actuate=gate)
    (miss,) = found.misses
    assert (miss.sequence, miss.part_id) == (2, "p2")
    assert miss.total_ms >= 1500
    assert miss.at > found.began
    assert found.passed  # a miss is a verdict, in time: it is listed, and its parts have all that they must have
    assert "Deadline 1500 ms: 1 misses." in soak_page.sentences(found)
    assert "p2" in soak_page.render(found)


def test_a_fault_is_the_headline_and_no_success(store):
    def frames():
        yield Frame("p1", 1, "x", picture=picture(RED))
        raise OSError("unplugged")

    window = Window("l")

    def job(sink):
        return run(stub(), Source("cam:", frames(), None), [sink], store, window=window)

    found = soak(job, window, lambda run_id: kept(store, run_id))
    assert not found.passed
    assert soak_page.headline(found) == "The line stopped by itself: the source failed: OSError: unplugged"
    Page(soak_page.render(found))


def test_hostile_names_stay_text(store):
    found = dataclasses.replace(sound(store), line="<script>alert(1)</script>", waiting={"mqtt://<b>": 3})
    assert "<script>" not in soak_page.render(found)
    assert "<b>" not in soak_page.render(found)


def test_a_leak_shows_and_a_flat_line_does_not(store):
    found = sound(store)
    rng = np.random.default_rng(0)

    def with_memory(rate):
        one = found.samples[0] if found.samples else None
        assert one is not None
        samples = tuple(
            dataclasses.replace(one, t_s=float(t), rss_bytes=int(2e8 + rate * t + rng.normal(0, 1e5)))
            for t in range(700)
        )
        memory = slope(np.arange(700.0), np.array([s.rss_bytes for s in samples], float))
        return dataclasses.replace(found, samples=samples, memory=memory)

    assert "it GROWS, zero is not inside" in soak_page.sentences(with_memory(10_000))[1]
    assert "no growth shown, zero is inside" in soak_page.sentences(with_memory(0))[1]
    assert "too few samples" in soak_page.sentences(found)[1] or found.memory.value is not None


def test_samples_are_thinned_and_the_interval_doubles(store):
    window = Window("l")
    run(stub(), source(2), [], store, window=window)
    seen, clock = window.look(), itertools.count()
    sampler = Sampler(window, 1.0, lambda: Usage(10**8, None, 5, 4, 1.0), lambda: float(next(clock)))
    for _ in range(3 * MOST):
        sampler.add(seen)
    assert MOST / 2 < len(sampler.samples) <= MOST
    assert sampler.every_s == 16  # thinned at 721 samples, and then after every 361 more: four times
    assert [one.t_s for one in sampler.samples] == sorted(one.t_s for one in sampler.samples)


def test_this_process_is_measured(tmp_path):
    with ExitStack() as open_files, mmap.mmap(-1, 64 * 2**20) as much:
        before = usage()
        for n in range(10):
            open_files.enter_context((tmp_path / str(n)).open("w"))
        for page in range(0, len(much), mmap.PAGESIZE):  # touched, so that it is there
            much[page] = 1
        after = usage()
    assert after.files - before.files == 10
    assert after.rss_bytes - before.rss_bytes > 48 * 2**20


ARENAS_OF_TWELVE_THREADS = """
import ctypes, os, re, threading
from lineside.line.process import share_arenas

print(share_arenas(os.environ))
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.open_memstream.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
together = threading.Barrier(12)

def take():
    libc.malloc(ctypes.c_size_t(1000))
    together.wait()

threads = [threading.Thread(target=take) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
text, length = ctypes.c_char_p(), ctypes.c_size_t()
stream = libc.open_memstream(ctypes.byref(text), ctypes.byref(length))
libc.malloc_info(0, stream)
libc.fclose(stream)
print(len(re.findall(rb"<heap nr=", text.value)))
"""


@pytest.mark.skipif(held_bytes() is None, reason="this C library is not glibc")
@pytest.mark.parametrize(
    ("told", "shares", "arenas"),
    [
        ({}, "True", 2),
        ({"MALLOC_ARENA_MAX": "5"}, "False", 5),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=6"}, "False", 6),
    ],
)
def test_threads_share_arenas_if_glibc_was_not_told_otherwise(told, shares, arenas):
    environ = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}
    command = [sys.executable, "-c", ARENAS_OF_TWELVE_THREADS]
    done = subprocess.run(command, env=environ | told, capture_output=True, text=True, check=True)
    said, found = done.stdout.split()
    assert (said, int(found)) == (shares, arenas)


@pytest.mark.skipif(held_bytes() is None, reason="this C library does not say what malloc has given out")
@pytest.mark.parametrize("size", [200, 50_000, 10_000_000])  # in bins, in the heap, mapped alone
def test_what_malloc_has_given_out_is_what_is_held(size):
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    n = 40_000_000 // size
    before = held_bytes()
    blocks = [libc.malloc(ctypes.c_size_t(size)) for _ in range(n)]
    during = held_bytes()
    for block in blocks:
        libc.free(block)
    assert 0.9 * n * size < during - before < 1.3 * n * size
    assert abs(held_bytes() - before) < 0.05 * n * size


def test_a_soak_says_what_malloc_has_given_out(store):
    found = sound(store)
    times = np.arange(700.0)
    samples = tuple(dataclasses.replace(found.samples[0], t_s=float(t), held_bytes=40 * 2**20) for t in times)
    held = slope(times, np.array([one.held_bytes for one in samples], float))
    page = soak_page.render(dataclasses.replace(found, samples=samples, held=held))
    assert "What malloc has given out of it: +0.00 MiB an hour, 95 % interval +0.00 to +0.00: no growth shown" in page
    assert "Given out by malloc, MiB" in page
    silent = tuple(dataclasses.replace(one, held_bytes=None) for one in samples)
    nothing = slope(times, np.full(700, np.nan))
    page = soak_page.render(dataclasses.replace(found, samples=silent, held=nothing))
    assert "given out of it" not in page
    assert "Given out by malloc, MiB" not in page
