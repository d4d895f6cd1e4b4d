"""What a message may show of an address: everything but what may be a secret.

Hidden (as ***) are: what stands between the first colon after // and the last @ (passwords are written with every
letter there is, @ and / too), and a port that is no number; a user without a password, except where our own protocols
name one; what may be a token in a path of http (16 characters or more without a dot, letters and digits among them, or
32 of any kind); the value of every option that Lineside does not know by name, since a token may be in it; and all
options of an address whose query belongs to somebody else (a camera's, a receiver's), or whose scheme nobody knows.
Rather too much than too little: a message also says which setting it is about.
"""

import re
from typing import Any

OWN_QUERY = ("modbus", "s7", "opcua", "mqtt", "postgresql")  # schemes whose ?name=value are Lineside's settings
OWN_TAIL = ("basler", "genicam", "aravis", "v4l", "webcam", "watch", "rtsp", "webhook")  # those whose #name=value are
NAMES_A_USER = ("mqtt", "rtsp", "postgresql")
PATHS = ("folder", "video", "csv", "nuts", "stdout")  # no address at all: shown as it is
SHOWN = frozenset(  # options without secrets, of all schemes; of a password: where it is kept
    (
        *("unit", "coil", "register", "rack", "slot", "db", "offset", "sslmode"),
        *("deadline_ms", "heartbeat_ms", "pass_ms", "delay_ms", "delay_counts", "encoder", "poll_ms"),
        *("jump_counts", "jitter_counts", "still_ms", "encoder_db"),
        *("pki", "users", "anonymous", "none", "keep", "orders"),
        *("user", "password_file", "password_env", "ca", "cert", "key"),
        *("plain", "window", "limit", "events", "timeout_s", "secret_file", "secret_env"),
        *("exposure_us", "gain_db", "white_balance", "roi", "trigger", "reconnect_s"),
    )
)
HARMLESS = ("channel", "subtype", "stream")  # of a camera's query
HIDDEN = "***"
LONGEST_NAME = 64
PUNCTUATION = frozenset(":/?#@=&%\\")
_IN_A_PATH = re.compile(r"(?i)((?:pass\w*|pwd|pw|token|secret|key)=)[^&/?#]*")  # some cameras ask for it there
_TOKEN = re.compile(r"(?=[^/]*[0-9])(?=[^/]*[A-Za-z])[^/.]{16,}|[^/]{32,}")  # of a path; a receiver may ask for one
_PORT = re.compile(r"(//(?:\[[^\]/?#]*\]|[^/?#:\[]*)):([^/?#]+)")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,19}")


def redact(url: str) -> str:
    """The address without what may be a secret. A text that is no address stays, but for what stands before an @."""
    scheme, _, where = url.partition(":")
    if not _SCHEME.fullmatch(scheme) or ":" not in url:
        scheme, where = "", url
    if scheme.lower() == "webhook":
        inner, hash_, tail = where.partition("#")
        return f"webhook:{redact(inner)}{hash_}{_options(tail, True)}" if "@" not in tail else f"webhook:{HIDDEN}"
    begin, scheme = f"{scheme}:" if scheme else "", scheme.lower()
    people, address = _people(scheme, where)
    if scheme in PATHS:
        return f"{begin}{people}{address}"
    address, hash_, tail = address.partition("#")
    address, mark, query = address.partition("?")
    address = _IN_A_PATH.sub(rf"\1{HIDDEN}", address)
    if scheme in ("http", "https"):
        host = re.match(r"/*[^/]*", address).group()  # pyright: ignore[reportOptionalMemberAccess]
        path = address[len(host) :].split("/")
        address = host + "/".join(HIDDEN if _TOKEN.fullmatch(one) else one for one in path)
    shown = f"{people}{address}{mark}{_options(query, scheme in OWN_QUERY)}"
    return f"{begin}{shown}{hash_}{_options(tail, scheme in OWN_TAIL)}"


def is_name(text: str) -> bool:
    """Whether this can be no address nor part of one: what people call a line, a camera or a setting."""
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text == text.strip() and not set(text) & PUNCTUATION


def name(text: str) -> str:
    """A name as it is; of what is none, nothing."""
    return text if is_name(text) else HIDDEN


def redacted(value: Any) -> Any:
    """The same in a value of a settings file; of a table only its names are shown, and what are numbers."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [redacted(one) for one in value]
    if isinstance(value, dict):
        return {name(str(key)): HIDDEN if isinstance(one, str) else redacted(one) for key, one in value.items()}
    return value


def _people(scheme: str, where: str) -> tuple[str, str]:
    """(who, shown as far as may be; the rest behind the last @)."""
    before, at, rest = where.rpartition("@")
    if not at and scheme not in PATHS and (odd := _PORT.match(where)) and not odd.group(2).isdecimal():
        return f"{odd.group(1)}:{HIDDEN}", where[odd.end() :]  # a password whose @ was forgotten
    if not at or (scheme in PATHS and "//" not in before):
        return "", where
    slashes = "//" if before.startswith("//") else ""
    user = re.match(r"[^:/?#]*", before[len(slashes) :]).group()  # pyright: ignore[reportOptionalMemberAccess]
    if scheme not in NAMES_A_USER or not slashes:
        return f"{slashes}{HIDDEN}@", rest
    return f"{slashes}{user}{'' if before == slashes + user else f':{HIDDEN}'}@", rest


def _options(text: str, ours: bool) -> str:
    """name=value, with & or , between: the values that are ours and no secrets."""
    items = re.split("([&,])", text)
    return "".join(item if k % 2 or not item else _option(item, ours) for k, item in enumerate(items))


def _option(item: str, ours: bool) -> str:
    said, equals, _ = item.partition("=")
    if not equals:
        return HIDDEN
    return item if (ours and said in SHOWN) or said in HARMLESS else f"{name(said)}={HIDDEN}"
