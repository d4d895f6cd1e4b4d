"""What a consumer writes on the acknowledgement topic: the id of a result or event that he has stored.

Either the 32 hexadecimal digits alone, as text, or a JSON object with them as "ResultId" or "EventId". Anything
else is no acknowledgement: it is counted and forgotten, whoever sent it.
"""

import json
import re

MAX_BYTES = 4096
ID = re.compile(r"[0-9a-f]{32}")


def acknowledged_id(payload: bytes) -> str | None:
    """The id that is acknowledged; None where the payload says none."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        text = payload.decode("ascii").strip()
    except UnicodeDecodeError:
        return None
    if not text.startswith("{"):
        return text if ID.fullmatch(text) else None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = said.get("ResultId", said.get("EventId")) if isinstance(said, dict) else None
    return found if isinstance(found, str) and ID.fullmatch(found) else None
