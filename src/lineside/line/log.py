"""The line's log: text for people, or one JSON object a line for machines; to stderr, or to a file that is rotated.

    with open_log(settings.log, "press-3") as log:
        log.say(Said("drift", "…"))        # returns at once, whatever becomes of stderr and the disk

Configured once, by the command line. Everything goes through Python's own logging, so that what libraries have to say
(asyncua, pymodbus; from warnings on) is in it too. `say` puts a record into a queue of ROOM and returns; a thread of
its own formats and writes. Where nobody reads stderr, or the disk hangs, the queue fills: what comes then is dropped
and counted, and the count is the first thing that is written when there is room again. No verdict waits for a log.

Secrets: every text that is written goes through `redact` first. It takes out passwords of URLs, values of keys that are
named like a secret, bearer tokens, private keys, and the values of the environment's own secrets wherever they stand.
"""

import copy
import json
import logging
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from lineside.errors import SettingsError
from lineside.line.said import Level, Said
from lineside.line.tables import Log as LogSettings
from lineside.terminal import shown

ROOM = 4096  # records that may wait to be written
CLOSE_S = 2.0  # for the last of them
NAME = "lineside.line"
HIDDEN = "***"
NAMED = r"[\w-]*(?:password|passwd|passphrase|secret|token|api[-_]?key)|pwd|key|auth|authorization"
NAMED_SECRET = re.compile(NAMED, re.IGNORECASE)
PATTERNS = (
    # scheme://user:password@host, also where the password holds @ or /, so a port with an @ somewhere behind it, too
    (re.compile(r"(://[^\s/?#@:]*):[^\s]*@"), rf"\1:{HIDDEN}@"),
    (re.compile(rf"((?<![\w-])(?:{NAMED})=)[^&\s;,]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(rf"""(["'](?:{NAMED})["']\s*:\s*["'])[^"']+""", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
)
LEAST_SECRET = 6  # letters: to hide every "3" because a password is "3" would hide the log


@dataclass(frozen=True)
class Target:
    """Where lines go; write is called in one thread only, and raises OSError where it can't."""

    write: Callable[[str], None]
    close: Callable[[], None] = lambda: None


class Log:
    """An open log. Close it at the end, or use it with `with`. Final."""

    def __init__(self, settings: LogSettings, line: str, target: "Target", hidden: tuple[str, ...]):
        self._line, self._target, self._hidden = line, target, hidden
        self._form = _json if settings.format == "json" else _text
        self._queue: queue.Queue[logging.LogRecord | None] = queue.Queue(ROOM)
        self._reported = self._closing = False
        self.dropped = 0  # records that found no room
        self.failed = 0  # records that could not be written
        self._logger = logging.getLogger(NAME)
        self._root = logging.getLogger()
        self._handler = _Queued(self._put)
        self._before = (self._root.handlers[:], self._root.level, self._logger.level, threading.excepthook)
        self._root.handlers[:] = [self._handler]
        self._root.setLevel(logging.WARNING)
        self._logger.setLevel(settings.level.upper())
        logging.captureWarnings(True)
        threading.excepthook = self._died
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def say(self, said: Said) -> None:
        """Write it down; returns at once."""
        self._logger.log(getattr(logging, said.level.upper()), "%s", said.sentence, extra={"said": said})

    def close(self) -> None:
        """Write what waits, for at most CLOSE_S, and give Python's logging back."""
        if self._closing:
            return
        self._closing = True
        logging.captureWarnings(False)
        self._root.handlers[:], level, own, threading.excepthook = self._before
        self._root.setLevel(level)
        self._logger.setLevel(own)
        with suppress(queue.Full):  # nobody reads: the thread will not come to its end anyway
            self._queue.put(None, timeout=CLOSE_S)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._target.close()

    def _put(self, record: logging.LogRecord) -> None:
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def _work(self) -> None:
        told = 0
        while (record := self._queue.get()) is not None:
            if (dropped := self.dropped) > told:
                sentence = f"{dropped - told:,} messages were dropped here: the log was not read, or written too slowly"
                self._line_of(datetime.now(UTC), "warning", Said("note", sentence, "warning"))
                told = dropped
            said = getattr(record, "said", None)
            if not isinstance(said, Said):
                said = _of_a_library(record)
            self._line_of(datetime.fromtimestamp(record.created, UTC), said.level, said)

    def _line_of(self, at: datetime, level: str, said: Said) -> None:
        try:
            time = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
            values = {
                **said.facts,
                "time": time,
                "level": level,
                "event": said.event,
                "line": self._line,
                "part_id": said.part_id or None,
                "message": said.sentence,
            }
            self._target.write(self._form(redacted(values, self._hidden)) + "\n")
        except Exception:  # a full disk or a closed pipe: the line goes on without a log
            self.failed += 1

    def _died(self, args: threading.ExceptHookArgs) -> None:
        """A thread has died of an exception: Python would print that itself, and could hang."""
        name = args.thread.name if args.thread else "a thread"
        self.say(Said("fault", f"{name} died: {args.exc_type.__name__}: {args.exc_value}", "error"))


def open_log(settings: LogSettings, line: str, environment: Mapping[str, str] = os.environ) -> Log:
    """Begin to log; line is the name of the line. SettingsError where the file can not be written."""
    hidden = sorted((value for name, value in environment.items() if _is_secret(name, value)), key=len, reverse=True)
    target = _stderr() if settings.file is None else _file(settings.file, settings)
    return Log(settings, line, target, tuple(hidden))


def redact(text: str, hidden: tuple[str, ...] = ()) -> str:
    """text without secrets; hidden: values that are secrets wherever they stand."""
    for value in hidden:
        text = text.replace(value, HIDDEN)
    for pattern, instead in PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redacted(value: Any, hidden: tuple[str, ...] = ()) -> Any:
    """The same for whatever JSON can hold, keys that are named like a secret included."""
    if isinstance(value, Mapping):
        return {
            redact(str(key), hidden): HIDDEN
            if NAMED_SECRET.fullmatch(str(key)) and isinstance(one, str | bytes) and one
            else redacted(one, hidden)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(one, hidden) for one in value]
    return value if isinstance(value, int | float | None) else redact(str(value), hidden)


def _is_secret(name: str, value: str) -> bool:
    return name.startswith("LINESIDE_") and len(value) >= LEAST_SECRET and bool(NAMED_SECRET.fullmatch(name))


def _text(values: Mapping[str, Any]) -> str:
    """One line for people: a control character of a name from outside must not make a line of its own."""
    part = f" (part {values['part_id']})" if values["part_id"] else ""
    line = f"{values['time']} {values['level']:<7} {values['line']} {values['event']}: {values['message']}{part}"
    return shown(line)


def _json(values: Mapping[str, Any]) -> str:
    first = ("time", "level", "event", "line", "part_id", "message")
    ordered = {key: values[key] for key in first} | {k: v for k, v in values.items() if k not in first}
    try:
        return json.dumps(ordered, ensure_ascii=False, allow_nan=False)
    except ValueError:  # NaN is no JSON
        return json.dumps(json.loads(json.dumps(ordered), parse_constant=str), ensure_ascii=False)


def _of_a_library(record: logging.LogRecord) -> Said:
    error = record.exc_info[1] if record.exc_info else None
    why = f" ({type(error).__name__}: {error})" if error else ""
    return Said("library", record.getMessage() + why, _level(record.levelno), facts={"library": record.name})


def _level(number: int) -> Level:
    return "error" if number >= logging.ERROR else "warning" if number >= logging.WARNING else "info"


def _stderr() -> Target:
    """To a terminal by sys.stderr, which a progress bar may have replaced; else straight to the file descriptor:
    a thread that hangs in sys.stderr would hold its lock, and the program could not even end."""
    try:
        descriptor = None if sys.stderr.isatty() else os.dup(sys.stderr.fileno())
    except (OSError, AttributeError):  # a stderr of a program's own, a notebook's say, or none
        descriptor = None
    if descriptor is None:
        return Target(lambda line: print(line, end="", file=sys.stderr))

    def write(line: str) -> None:
        rest = memoryview(line.encode("utf-8", "backslashreplace"))
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    return Target(write, lambda: os.close(descriptor))


def _file(path: Path, settings: LogSettings) -> Target:
    try:
        file = _Rotated(
            path,
            maxBytes=round(settings.file_mb * 1e6),
            backupCount=settings.files_kept,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        raise SettingsError(
            f"{path}: the log can not be written ({error.strerror}); look at the folder and its permissions"
        ) from None
    file.terminator = ""
    return Target(lambda line: file.emit(logging.makeLogRecord({"msg": line})), file.close)


class _Rotated(RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        raise


class _Queued(logging.Handler):
    def __init__(self, put: Callable[[logging.LogRecord], None]):
        super().__init__()
        self._put = put

    def emit(self, record: logging.LogRecord) -> None:
        record = copy.copy(record)
        with suppress(Exception):  # arguments that do not fit their message are no reason to stop
            record.msg, record.args = record.getMessage(), None
        self._put(record)
