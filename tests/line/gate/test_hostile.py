"""What comes from the wire is material to judge: garbage is a sentence, never a crash, and never a confirmation."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineside.errors import LineError
from lineside.line.gate.catalog import open_gate
from lineside.line.gate.modbus import connect
from lineside.line.gate.wire import Telegram

ACCEPT = Telegram("accept", "decided", 1, 1, 0, 0, 1)
Answer = Callable[[bytes], bytes | None]  # of a request; None: hang up


@contextlib.contextmanager
def server(answer: Answer, replies: int = 1000) -> Iterator[int]:
    """One connection; each of so many things that are received is answered, then it hangs up. The port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    for _ in range(replies):
                        request = connection.recv(4096)
                        if not request:
                            return
                        reply = answer(request)
                        if reply is None:
                            return
                        connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join(30)


def honest(request: bytes) -> bytes:
    """The Modbus answer to a write (15, 16) or a read of one register (3)."""
    head, function = request[:4], request[7]
    body = request[7:12] if function in (15, 16) else b"\x03\x02\x00\x00"
    return head + struct.pack(">H", len(body) + 1) + request[6:7] + body


def mutated(draw_bytes: bytes, at: int, reply: bytes) -> bytes:
    at %= len(reply)
    return reply[:at] + draw_bytes + reply[at + len(draw_bytes) :]


ATTACKS = st.one_of(
    st.tuples(st.just("raw"), st.binary(max_size=300), st.just(0)),
    st.tuples(st.just("mutated"), st.binary(min_size=1, max_size=4), st.integers(0, 12)),
    st.tuples(st.just("cut"), st.just(b""), st.integers(0, 11)),
    st.tuples(st.just("function"), st.binary(min_size=1, max_size=1), st.just(7)),
    st.tuples(st.just("hang up"), st.just(b""), st.just(0)),
)


def attacked(attack: tuple[str, bytes, int], reply: bytes) -> bytes | None:
    how, data, at = attack
    return {
        "raw": data,
        "mutated": mutated(data, at, reply) if data else reply,
        "cut": reply[:at],
        "function": mutated(data, 7, reply) if data else reply,
        "hang up": None,
    }[how]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ATTACKS, st.integers(0, 2))
def test_modbus_takes_no_answer_but_the_right_one(attack, when):
    """The server is honest for `when` requests (count, coils, verdict), then it is not."""
    seen, wrong = [0], [False]

    def answer(request: bytes) -> bytes | None:
        seen[0] += 1
        reply = honest(request)
        if seen[0] <= when:
            return reply
        told = attacked(attack, reply)
        wrong[0] = wrong[0] or told is None or not told.startswith(reply)
        # a longer or equal answer that begins as the right one is the right one, and what follows is noise
        if request[7] == 3 and told is not None and len(told) == len(reply) and told[:9] == reply[:9]:
            wrong[0] = False  # another count is a count
        return told

    with server(answer) as port:
        try:
            wire, _ = connect(url := f"modbus://127.0.0.1:{port}?deadline_ms=15", url.partition(":")[2])
            with contextlib.closing(wire):
                wire.tell(ACCEPT)
            confirmed = True
        except LineError as error:
            confirmed, sentence = False, str(error)
        else:
            sentence = f"{url}: "
    assert sentence.startswith(f"modbus://127.0.0.1:{port}?deadline_ms=15: ")
    assert not (confirmed and wrong[0])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({7: 15}, "the PLC answered function 15, not 16"),  # pymodbus itself takes it
        ({9: 3}, "the PLC confirmed 11 at 3, not 11 at 2"),
        ({11: 10}, "the PLC confirmed 10 at 2, not 11 at 2"),
        ({6: 9}, "not confirmed"),  # another unit
        ({1: 99}, "not confirmed"),  # another transaction
        ({0: 0, 1: 0}, "not confirmed"),  # none
    ],
)
def test_an_answer_to_something_else_confirms_nothing(wrong, says):
    """Byte: value, in the answer to the write of the verdict's registers."""

    def answer(request: bytes) -> bytes:
        reply = bytearray(honest(request))
        if request[7] == 16:
            for at, value in wrong.items():
                reply[at] = value
        return bytes(reply)

    with server(answer) as port:
        url = f"modbus://127.0.0.1:{port}?deadline_ms=200"
        wire, _ = connect(url, url.partition(":")[2])
        with contextlib.closing(wire), pytest.raises(LineError, match=says):
            wire.tell(ACCEPT)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=64))
def test_s7_survives_garbage_when_it_connects(garbage):
    with server(lambda request: garbage, replies=1) as port:
        with pytest.raises(LineError) as error:
            open_gate(f"s7://127.0.0.1:{port}?deadline_ms=15")
        assert str(error.value).startswith(f"s7://127.0.0.1:{port}?deadline_ms=15: ")


COTP_CONFIRM = bytes.fromhex("0300000b06d00001000100")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=40), st.booleans())
def test_s7_takes_no_answer_but_the_right_one(garbage, framed):
    """Connects as it should; then every answer is garbage, some of it in a correct frame with the right reference."""
    asked = [0]

    def answer(request: bytes) -> bytes | None:
        asked[0] += 1
        if asked[0] == 1:
            return COTP_CONFIRM
        reference = request[11:13]
        if asked[0] == 2:
            body = bytes.fromhex("3203 0000") + reference + bytes.fromhex("0008 0000 0000 f0000001000100f0")
        else:
            body = bytes.fromhex("3203 0000") + reference + garbage if framed else garbage
        tpkt = bytes.fromhex("02f080") + body
        return b"\x03\x00" + struct.pack(">H", len(tpkt) + 4) + tpkt

    for _ in range(20):  # on a busy machine the deadline may pass before
        asked[0] = 0
        with server(answer) as port, pytest.raises(LineError):
            open_gate(f"s7://127.0.0.1:{port}?deadline_ms=15")
        if asked[0] > 2:
            return
    pytest.fail("it did not come to the garbage")
