"""manifest.json: what a bundle says about itself, and the only way to it.

The text is RFC 8259 JSON in UTF-8: no NaN or Infinity, no key twice. Reading is strict: a key that this format does
not know, a missing key or a wrong type is refused with its place, a newer format or another task with its own sentence.
Its last key, `checksum`, is the sha256 of all others: a bit that flipped on a disk must not become another threshold.
It is no signature: who means to change a manifest can compute it anew.
Every field is written down in docs/bundle-format.md.
"""

import hashlib
import json
import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from lineside import settings
from lineside.errors import BundleError, SettingsError
from lineside.evidence.intervals import Estimate
from lineside.evidence.operating import OperatingPoint

FORMAT = 1
TASK = "classify"
ENSEMBLE = "ensemble"  # the net of a bundle that holds several; which ones, its members say
MANIFEST = "manifest.json"
SIGNATURE = "signature.json"
AGAIN = "take the bundle from its source again, or make it again"
CHECKSUM = "checksum"
MAX_BYTES = 16 * 2**20  # of manifest.json; a real one has tens of kilobytes

Precision = Literal["float32", "bfloat16", "int8"]
EngineName = Literal["onnxruntime", "openvino"]


@dataclass(frozen=True, slots=True)
class Input:
    """What the graph eats, raw pictures (N, H, W, 3), and what its first module (nets/input.py) does with them."""

    size_px: int
    mean: tuple[float, float, float]  # RGB in [0, 1]
    std: tuple[float, float, float]
    min_side_px: int  # a picture with a shorter side is refused
    seen_width_px: tuple[int, int]  # smallest and largest among the pictures it was trained on
    seen_height_px: tuple[int, int]
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    color: Literal["RGB"] = "RGB"

    def __post_init__(self):
        if min(self.size_px, self.min_side_px) < 1:
            raise ValueError("size_px and min_side_px are whole numbers of at least 1")
        if min(self.std) <= 0:
            raise ValueError(f"std must be above 0, got {self.std}")


@dataclass(frozen=True, slots=True)
class Latency:
    """Time from a ready picture to logits, batch 1, on the machine named."""

    median_ms: float
    p95_ms: float
    n: int
    threads: int
    machine: str


@dataclass(frozen=True, slots=True)
class Served:
    """A model file in one engine and precision that parity has accepted."""

    engine: EngineName
    precision: Precision
    file: str
    latency: Latency | None = None


@dataclass(frozen=True, slots=True)
class Data:
    """The pictures it was made from."""

    source: str  # the DATA of the command that made it
    root: str  # the folder that the names in split.csv are relative to: where export looks for calibrate pictures
    counts: dict[str, dict[str, int]]  # {"train": {"hex": 120, …}, "calibrate": …, "test": …}
    sha256: str  # data.split.Split.fingerprint


@dataclass(frozen=True, slots=True)
class Member:
    """One net of an ensemble, as the bundle that it came from had it."""

    net: str  # name in nets/catalog.py
    pool_power: float
    temperature: float  # its own: its logits are divided by it before the mean of scores is taken
    input: Input
    made_from: str  # sha256 of that bundle's manifest.json

    def __post_init__(self):
        if not (self.temperature > 0 and self.pool_power >= 1):
            raise ValueError(
                f"temperature must be above 0 and pool_power at least 1, got {self.temperature} and {self.pool_power}"
            )


@dataclass(frozen=True)
class Manifest:
    """Everything that decides what a bundle answers, and what it was made from and measured at."""

    format: int
    task: Literal["classify"]
    created: str  # UTC, ISO 8601, "2026-11-22T13:00:00Z"
    classes: tuple[str, ...]  # index order of logits and scores
    accept: tuple[str, ...]  # classes that may pass; empty: the bundle only sorts, and has no operating point
    input: Input
    net: str  # name in nets/catalog.py, or "ensemble"
    temperature: float  # the graph divides the net's logits by it
    served: tuple[Served, ...]  # what parity accepted; the first is what runs
    data: Data
    files: dict[str, str]  # name: sha256, hex; every file but manifest.json and signature.json
    pool_power: float = 1.0  # of the mean over the net's last maps; 1: the average
    members: tuple[Member, ...] = ()  # of an ensemble: its nets; input is then that of the one that sees most pixels
    operating_point: OperatingPoint | None = None
    metrics: dict[str, Estimate] = field(default_factory=dict)  # {"test top-1": value, low, high, n, …}
    evaluations: int = 0  # how often the test part has been looked at
    recipe: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # {"lineside": "0.1.0", "torch": …}

    def __post_init__(self):
        if len(self.classes) < 2:
            raise ValueError(f"classes: at least two are needed, got {self.classes}")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes: a name is there twice")
        if unknown := sorted(set(self.accept) - set(self.classes)):
            raise ValueError(f"accept: {unknown[0]!r} is not one of the classes {', '.join(self.classes)}")
        if set(self.accept) == set(self.classes):
            raise ValueError("accept: every class is accepted, nothing could be rejected")
        if bool(self.accept) != (self.operating_point is not None):
            raise ValueError("accept and operating_point: a bundle has both, or neither and only sorts")
        if not self.temperature > 0:
            raise ValueError(f"temperature: must be above 0, got {self.temperature}")
        if not self.pool_power >= 1:
            raise ValueError(f"pool_power: must be at least 1, got {self.pool_power}")
        if (self.net == ENSEMBLE) != bool(self.members) or len(self.members) == 1:
            raise ValueError(
                f"net and members: an ensemble has two members or more, any other net none, got {self.net!r} "
                f"with {len(self.members)}"
            )
        if not self.served:
            raise ValueError("served: at least one engine is needed")
        try:
            datetime.strptime(self.created, "%Y-%m-%dT%H:%M:%SZ")
        except ValueError:
            raise ValueError(f"created: expected UTC as 2026-11-22T13:00:00Z, got {self.created!r}") from None
        for name, digest in self.files.items():
            if (why := bad_name(name)) is not None:
                raise ValueError(f"files: {name!r} {why}")
            if not re.fullmatch("[0-9a-f]{64}", digest):
                raise ValueError(f"files.{name}: expected a sha256 in hex, got {digest!r}")
        if len({name.casefold() for name in self.files}) < len(self.files):
            raise ValueError("files: two names differ only by case")
        for one in self.served:
            if one.file not in self.files:
                raise ValueError(f"served: {one.file!r} is not in files")

    @property
    def made_of(self) -> str:
        """The net or nets for a person: "lenet5, 32 px"."""
        nets = [f"{one.net}, {one.input.size_px} px" for one in self.members or (self,)]
        return f"ensemble of {'; '.join(nets)}" if self.members else nets[0]


def bad_name(name: str) -> str | None:
    """Why a file of this name can't be in a bundle, or None. Names are relative, "/"-separated, and mean one file."""
    if name in (MANIFEST, SIGNATURE):
        return "is never listed: it can not hold its own hash"
    if not name or name.startswith("/") or PurePosixPath(name).as_posix() != name:
        return "is not a plain relative path"
    if any(part in ("", ".", "..") or part[0] == "." or part[-1] in ". " for part in name.split("/")):
        return "has a part that is empty, hidden or leads out of the bundle"
    if any(c in '\\:*?"<>|' or ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name):
        return "has a character that is no file name everywhere"
    return None


def now() -> str:
    """The time for `created`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write(manifest: Manifest) -> bytes:
    """manifest.json: the bytes that are hashed and signed."""
    try:
        values = settings.plain(manifest)
        values[CHECKSUM] = _checksum(values)
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
        return (text + "\n").encode()
    except ValueError as error:
        raise BundleError(
            f"{MANIFEST}: can not be written: {error}; every number must be finite and every text Unicode"
        ) from None


def read(data: bytes, where: str) -> Manifest:
    """A manifest from its bytes; where names it in messages. BundleError for whatever this program can't vouch for."""
    try:
        values = _parse(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where}: not a manifest: {error}; the file is damaged, take the bundle from its source again"
        ) from None
    _refuse_foreign(values, where)
    written = values.pop(CHECKSUM, None)
    try:
        manifest = settings.read(Manifest, values, where)
    except (SettingsError, OverflowError) as error:
        raise BundleError(f"{error}; a manifest is written by lineside, not by hand") from None
    if written is None:
        raise BundleError(f"{where}: has no checksum, so nobody can tell whether it was changed or damaged; {AGAIN}")
    if written != _checksum(values):
        raise BundleError(f"{where}: was changed or damaged: its checksum does not fit what it says; {AGAIN}")
    return manifest


def _checksum(values: dict[str, Any]) -> str:
    """Of everything but itself, whatever the order and the spaces."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_foreign(values: Any, where: str) -> None:
    if not isinstance(values, dict) or type(values.get("format")) is not int or "task" not in values:
        raise BundleError(f"{where}: not a Lineside manifest: it must begin with format and task")
    if values["format"] > FORMAT:
        raise BundleError(
            f"{where}: format {values['format']} is newer than this program, which reads up to format {FORMAT}; "
            "update it with: pip install --upgrade lineside"
        )
    if values["format"] != FORMAT:
        raise BundleError(f"{where}: format {values['format']} has never existed; formats begin at 1")
    if values["task"] != TASK:
        raise BundleError(
            f"{where}: this bundle is for the task {values['task']!r}; this command works with {TASK!r} bundles only"
        )


def _parse(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise ValueError(f"{len(data):,} bytes, more than {MAX_BYTES:,}")
    return json.loads(
        data.decode(),
        parse_float=_finite,
        parse_int=_whole,
        parse_constant=_constant,
        object_pairs_hook=_once,
    )


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:40]} is out of range")
    return value


def _whole(text: str) -> int:
    if len(text) > 19:
        raise ValueError(f"{text[:40]} is out of range")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(values := dict(pairs)) < len(pairs):
        twice = next(k for i, (k, _) in enumerate(pairs) if k in dict(pairs[:i]))
        raise ValueError(f"the key {twice!r} is there twice")
    return values
