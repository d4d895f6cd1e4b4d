"""What comes from outside, made of chance: pixels of cameras, bytes of pictures, and what a broker sends.

Never a crash, never a part that passes, never a result that counts as acknowledged. Elsewhere: PLCs in
tests/line/gate/test_fuzz.py and test_hostile.py, damaged picture files in tests/data/test_picture.py, payloads of
acknowledgements in tests/line/test_mqtt.py, webhooks in tests/line/test_webhook.py.
"""

import contextlib
import random
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineside.errors import LineError
from lineside.line.decide import answerer, pixels
from lineside.line.events import Answered
from lineside.line.sink import mqtt
from lineside.line.source.frame import Frame, Source
from lineside.line.source.pixels import CHANNELS, SAME, Y_AT, converter
from lineside.store.open import open_store
from lineside.store.outbox import Letter
from tests.line.tiny import BLUE, GREY, RED, logits_of, picture, png, run, stub
from tests.store.rows import a_run, inspection

FORMATS = [
    *CHANNELS, *Y_AT, *SAME, "Mono10Packed", "Mono12Packed", "BayerRG12Packed",
    *(f"{kind}{bits}{tail}" for kind in ("Mono", "BayerRG", "BayerGR", "BayerGB", "BayerBG")
      for bits in (8, 10, 12, 14, 16) for tail in ("", "p")),
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(FORMATS) | st.text(max_size=12), st.integers(1, 9), st.integers(1, 9), st.data())
def test_pixels_of_any_camera_are_a_picture_of_the_right_size_or_an_error(form, width, height, data):
    """A buffer that is too short is never a picture; one that is longer (padding) is cut."""
    try:
        convert = converter(form, width, height)
    except LineError:
        return
    size = data.draw(st.integers(0, width * height * 4 + 8), label="bytes")
    raw = np.frombuffer(random.Random(size).randbytes(size), np.uint8)
    try:
        found = convert(raw)
    except ValueError:
        found = None
    if found is not None:
        assert found.shape == (height, width, 3)
        assert found.dtype == np.uint8
        assert size >= width * height  # a pixel of 8 bits is the smallest there is


JUNK = st.one_of(
    st.binary(max_size=300).map(lambda data: {"data": data}),
    st.tuples(st.sampled_from([RED, BLUE]), st.integers(8, 60), st.integers(0, 255)).map(
        lambda cut: {"data": png(cut[0])[: cut[1]] + bytes([cut[2]]) + png(cut[0])[cut[1] + 1 :]}
    ),
    st.tuples(st.sampled_from([RED, BLUE]), st.integers(0, 60)).map(lambda cut: {"data": png(cut[0])[: cut[1]]}),
    st.just({"error": "lost"}),
    st.just({}),
    st.sampled_from([(0, 0, 3), (16, 16), (16, 16, 3, 1), (0,), ()]).map(lambda s: {"picture": np.zeros(s, np.uint8)}),
)
GOOD = st.sampled_from([RED, BLUE, GREY]).map(lambda color: {"data": png(color)})


@settings(max_examples=200, deadline=None)
@given(JUNK | GOOD)
def test_only_a_whole_picture_can_be_accepted(given_frame):
    frame = Frame("p1", 1, "1.png", **given_frame)
    event = answerer(stub(), lambda: 0)(frame).event
    if isinstance(event, Answered) and event.decision.verdict == "accept":
        assert (pixels(frame) == picture(RED)).all()


@settings(max_examples=15, deadline=None)
@given(st.lists(JUNK | GOOD, min_size=1, max_size=12), st.sampled_from(["right", "nan", "inf", "raise", "few"]))
def test_a_shift_of_rubbish_gives_each_part_its_verdict(tmp_path_factory, frames, engine):
    def infer(pictures):
        if engine == "raise":
            raise MemoryError("no room")
        found = logits_of(pictures)
        return {"nan": found * np.nan, "inf": found * np.inf, "few": found[:, :1]}.get(engine, found)

    awake = {"calls": 0}

    def after_warm_up(pictures):  # a line whose engine never answered does not start
        awake["calls"] += 1
        return infer(pictures) if awake["calls"] > 5 else logits_of(pictures)

    store = open_store(Path(tmp_path_factory.mktemp("fuzz")) / "line.db")
    told, frames = [], [{"data": png(RED)}, *frames]  # the engine warms up on the first

    def actuate(part, verdict, reason, triggered_ns):
        told.append((part.sequence, verdict))

    made = (Frame(f"p{n}", n, f"{n}.png", **one) for n, one in enumerate(frames, 1))
    summary = run(stub(after_warm_up), Source("mem:", made, len(frames)), [], store, actuate=actuate)
    store.dispose()
    assert [sequence for sequence, _ in told] == list(range(1, len(frames) + 1))
    assert summary.stored == len(frames)
    red = {n for n, one in enumerate(frames, 1) if "data" in one and one["data"].startswith(png(RED))}
    assert {sequence for sequence, verdict in told if verdict == "accept"} <= red


# A broker that does not speak MQTT as it should

CONNACK, SUBACK = b"\x20\x03\0\0\0", b"\x90\x04%b\0\1"
RESULT = "c" * 32


def packet(rng: random.Random) -> bytes:
    """A head of MQTT with a length that may lie, or nothing of the kind."""
    body = rng.randbytes(rng.randrange(40))
    head = bytes([rng.randrange(256)])
    how = rng.randrange(6)
    if how == 0:
        return rng.randbytes(rng.randrange(1, 200))
    if how == 1:
        return head + b"\xff\xff\xff\xff" + body  # a length of five bytes
    if how == 2:
        return head + b"\xff\xff\xff\x7f" + body  # 256 MB are to come
    if how == 3:  # a publication on our topic that ends in the middle
        return b"\x32" + bytes([len(body) + 2]) + struct.pack(">H", rng.randrange(70)) + body
    if how == 4:  # a topic that is no UTF-8, the payload an id that nobody sent
        return b"\x30" + bytes([5 + 32]) + b"\0\2\xff\xfe\0" + b"d" * 32
    return head + bytes([len(body)]) + body


@contextlib.contextmanager
def broker(seed: int):
    """One connection: polite for a while, then `packet`s. The port."""
    rng = random.Random(seed)
    polite = rng.randrange(3)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.settimeout(10)
                    connection.recv(4096)
                    if polite > 0:
                        connection.sendall(CONNACK)
                        asked = connection.recv(4096)
                        if polite > 1:
                            at = asked.index(b"\x82")  # SUBSCRIBE
                            connection.sendall(SUBACK % asked[at + 2 : at + 4])
                            connection.recv(4096)
                    for _ in range(rng.randrange(1, 6)):
                        connection.sendall(packet(rng))
                    if rng.randrange(2):
                        connection.recv(65_536)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_a_broker_sends_nothing_counts_as_acknowledged(monkeypatch, seed):
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed: pip install 'lineside[mqtt]'")
    monkeypatch.setattr(mqtt, "CONNECT_S", 0.1)
    with broker(seed) as port:
        where = mqtt.Broker("mqtt://b/t", "127.0.0.1", port, "t", None, lambda: None, None, 0.1)
        wire = mqtt.Connection(where, "who", threading.Event())
        closed, said = set(), "mqtt://b/t: "
        try:
            closed = wire.deliver([Letter(1, inspection(1, id=RESULT), a_run(), "e" * 64)])
        except LineError as error:
            said = str(error)
        assert said.startswith("mqtt://b/t: ")
        wire.idle()
        wire.close()
    assert closed == set()
