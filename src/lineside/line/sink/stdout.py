"""stdout:, one JSON object a line (RFC 8259, ASCII), flushed with every group. What is not known is null."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lineside.errors import LineError, SettingsError
from lineside.line.sink.sink import Sink, written
from lineside.store.records import Inspection


def connect(url: str, where: str, bundle: Path | None) -> Sink:
    if where:
        raise SettingsError(f"{url!r}: stdout: takes nothing after the colon; a file is csv:{where}")

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
