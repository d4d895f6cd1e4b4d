"""stdout:, one JSON object a line (RFC 8259, ASCII), flushed with every group. What is not known is null."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lineside.errors import LineError, SettingsError
from lineside.line.sink.plant import Plant
from lineside.line.sink.sink import Sink, written
from lineside.redact import redact
from lineside.store.records import Inspection


def connect(url: str, where: str, bundle: Path | None, plant: Plant) -> Sink:
    probe(url, where, bundle)

    def tell(group: Sequence[Inspection]) -> None:
        try:
            sys.stdout.write("".join(json.dumps(written(one), allow_nan=False) + "\n" for one in group))
            sys.stdout.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains again when it exits
            if isinstance(error, BrokenPipeError):
                raise LineError(f"{url} nobody reads any more; every result is in the store") from None
            raise LineError(
                f"{url} can not be written ({error.strerror}); every result is in the store; free space, or lead it "
                "elsewhere"
            ) from None

    return Sink(url, tell, lambda: None)


def probe(url: str, where: str, bundle: Path | None) -> str:
    """There is nothing to reach; what was found."""
    if where:
        raise SettingsError(f"{redact(url)!r}: stdout: takes nothing after the colon; a file is csv:PATH")
    return "results go to this command's standard output"
