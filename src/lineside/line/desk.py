"""The desk: orders from people and programs on this machine, through a socket in the file system.

    in     {"order": "prepare", "product": "m10"}
    out    {"refused": "", "state": "continuous", "product": "m10", "detail": ""}

One JSON object a line, UTF-8, at most LIMIT bytes; a connection may bring several. Orders are those of states.py, and
"status". Who may order is who may open the socket: it is made with the rights of MODE, its owner and its group, and who
it was is asked of the system, not of him (SO_PEERCRED): his user name stands in the audit.

At most CONNECTIONS are served. Where one more comes, the one that has said nothing for longest is closed for it, so
that nobody locks others out by saying nothing; one whose order is just being followed is never closed.
"""

import errno
import json
import os
import pwd
import queue
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lineside.errors import LineError, SettingsError
from lineside.line.messages import Ask, Asked, Reply, claim_once
from lineside.line.states import NEVER_LATE
from lineside.settings import read_json

MODE = 0o660
LIMIT = 16 * 2**10
PATIENCE_S = 5.0  # for the line to follow an order
IDLE_S = 60.0  # a connection that says nothing for so long is closed
CONNECTIONS = 16
BUSY_S = 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """What stands in one line. expect: for calibrate, of each master part to come."""

    order: str
    product: str = ""
    expect: tuple[Literal["accept", "hold", "reject"], ...] = ()
    why: str = ""


class Desk:
    """Open it on a path with what passes orders to the line; close it. Final."""

    def __init__(self, path: Path, ask: Ask, patience_s: float = PATIENCE_S):
        self.path, self._ask, self._patience_s = path, ask, patience_s
        self._socket = _bind(path)
        self._seats = threading.Lock()
        self._idle: dict[socket.socket, None] = {}  # that wait for their next order, the longest first
        self._busy: set[socket.socket] = set()  # whose order is being followed
        self._closed = False
        threading.Thread(target=self._listen, name="desk", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._socket.fileno() < 0 or self._closed:
                    return
                time.sleep(BUSY_S)  # no file descriptor is left: orders must come through again as soon as one is
                continue
            if self._seat(connection):
                threading.Thread(target=self._serve, args=(connection,), name="desk visitor", daemon=True).start()
            else:
                connection.close()

    def _seat(self, connection: socket.socket) -> bool:
        """Whether there is room for it."""
        with self._seats:
            if len(self._idle) + len(self._busy) >= CONNECTIONS:
                if not self._idle:
                    return False
                longest = next(iter(self._idle))
                del self._idle[longest]
                with suppress(OSError):
                    longest.shutdown(socket.SHUT_RDWR)  # its thread wakes up, and leaves
            self._idle[connection] = None
            return True

    def _take(self, connection: socket.socket) -> bool:
        """An order of his is there: whether it is to be followed, or he had to make room for another."""
        with self._seats:
            if connection not in self._idle:
                return False
            del self._idle[connection]
            self._busy.add(connection)
            return True

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):
                connection.settimeout(IDLE_S)
                who = _who(connection)
                with connection.makefile("rb") as lines:
                    while (line := lines.readline(LIMIT + 1)) and self._take(connection):
                        connection.sendall(json.dumps(self._answer(line, who)).encode() + b"\n")
                        if len(line) > LIMIT:
                            return
                        with self._seats:
                            self._busy.discard(connection)
                            self._idle[connection] = None  # the last to be closed
        finally:
            with self._seats:
                self._busy.discard(connection)
                self._idle.pop(connection, None)

    def _answer(self, line: bytes, who: str) -> dict[str, str]:
        if len(line) > LIMIT:
            return {"refused": f"an order has at most {LIMIT} bytes"}
        try:
            request = read_json(Request, line, "order")
        except SettingsError as error:
            return {"refused": str(error)}
        except RecursionError:
            return {"refused": "order: nested too deeply"}
        replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        claim = claim_once()
        self._ask(Asked(request.order, who, request.product, request.expect, request.why, replies.put, claim))
        for _ in range(2):
            with suppress(queue.Empty):
                return asdict(replies.get(timeout=self._patience_s))
            if claim():  # if not, the line is just about to answer
                break
        late = "it is followed as soon as the line can" if request.order in NEVER_LATE else "it is taken back"
        return {
            "refused": f"the line did not answer within {self._patience_s:g} s, it may have come to its end; "
            f"{request.order}: {late}"
        }


def send(path: Path, request: Request, timeout_s: float = PATIENCE_S + 1) -> Reply:
    """Give one order to the line whose desk is at path. LineError where nobody is there or may not be spoken to."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps(asdict(request)).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = lines.readline()
        except OSError as error:
            why = {FileNotFoundError: "no line runs there", ConnectionRefusedError: "no line runs there any more"}
            raise LineError(f"{path}: {why.get(type(error), error.strerror or error)}") from None
    if not answer:
        raise LineError(f"{path}: the line closed the connection; try again")
    try:
        said = json.loads(answer)
        return Reply(said["refused"], said.get("state", ""), said.get("product", ""), said.get("detail", ""))
    except (ValueError, TypeError, KeyError):
        raise LineError(
            f"{path}: what listens there is no line, or it was cut short; look at [control] socket"
        ) from None


def _bind(path: Path) -> socket.socket:
    """A listening socket at path, with the rights of MODE from the first moment on."""
    bound = socket.socket(socket.AF_UNIX)
    try:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as other:
                other.settimeout(1.0)
                if other.connect_ex(str(path)) != errno.ECONNREFUSED:  # a busy one has no place for us, and lives
                    raise LineError(f"{path}: another line listens there; give each line a socket of its own")
            path.unlink()  # left by a line that was killed
        before = os.umask(0o777 & ~MODE)
        try:
            bound.bind(str(path))
        finally:
            os.umask(before)
        bound.listen(CONNECTIONS)
    except OSError as error:
        bound.close()
        raise LineError(f"{path}: can not listen there: {error.strerror or error}") from None
    except LineError:
        bound.close()
        raise
    return bound


def _who(connection: socket.socket) -> str:
    """The user at the other end, by the system's word."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
