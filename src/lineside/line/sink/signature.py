"""How webhook: signs, and how a receiver checks it: HMAC-SHA-256 (RFC 2104) over the time and the body.

    Lineside-Signature: t=1795356000,v1=5f2c…        v1 = HMAC-SHA-256(secret, "1795356000." + body), hexadecimal

The time is inside what is signed, so an old request can not be sent again later as a new one: verify refuses what is
older or newer than the window. Inside the window a receiver recognises a repeated request by its Idempotency-Key.
"""

import hashlib
import hmac
import re

HEADER = "Lineside-Signature"
WINDOW_S = 300
FORM = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")


def sign(secret: bytes, body: bytes, time_s: int) -> str:
    """The header's value. time_s: seconds since 1970, UTC."""
    return f"t={time_s},v1={_digest(secret, body, time_s)}"


def verify(secret: bytes, header: str, body: bytes, now_s: float, window_s: float = WINDOW_S) -> bool:
    """Whether the body comes from who has the secret, and was signed within window_s of now. Takes constant time."""
    found = FORM.fullmatch(header)
    if not found:
        return False
    time_s = int(found[1])
    same = hmac.compare_digest(_digest(secret, body, time_s), found[2])
    return same and abs(now_s - time_s) <= window_s


def _digest(secret: bytes, body: bytes, time_s: int) -> str:
    return hmac.new(secret, f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()
