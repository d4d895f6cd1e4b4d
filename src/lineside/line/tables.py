"""The tables of a line.toml (docs/line-toml.md): each checks what can be known of it alone."""

import ipaddress
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from lineside.errors import SettingsError
from lineside.line.source.catalog import LIVE, SOURCES
from lineside.line.source.settings import Camera, with_tail
from lineside.line.url import split
from lineside.redact import LONGEST_NAME, is_name, redact
from lineside.store.open import is_url

CAMERA, PRODUCT = "camera", "product"  # the names where there is only one, and nobody gave it another
QUOTA_GB = 50.0
LEAST_QUOTA_GB = 0.1  # 100 pictures of a megapixel, and not a quota of which nothing is left in an hour
Pictures = Literal["none", "rejects", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCamera(Camera):
    """One camera of the line: its source, and how it takes its pictures (the fields of Camera)."""

    source: str  # a source URL; what stands after its # are the fields of Camera, too
    name: str = CAMERA

    def __post_init__(self) -> None:
        Camera.__post_init__(self)
        named("name", self.name)
        scheme("source", self.source, SOURCES, "source", "folder:PATH")

    @property
    def how(self) -> Camera:
        return Camera(**{one.name: getattr(self, one.name) for one in fields(Camera)})

    @property
    def all_of_it(self) -> Camera:
        """With what stands after the # of its source, too; where that is wrong, opening it will say so."""
        if self.source.partition(":")[0] not in LIVE:
            return self.how
        with suppress(SettingsError):
            return with_tail(redact(self.source), self.source, self.how)[1]
        return self.how


@dataclass(frozen=True, slots=True)
class Product:
    """What the line looks for in one product: a bundle for all cameras, or one for each."""

    bundle: Path | None = None
    bundles: dict[str, Path] = field(default_factory=dict)  # camera: bundle

    def __post_init__(self) -> None:
        if (self.bundle is None) == (not self.bundles):
            raise ValueError(
                "expected either bundle = PATH for every camera, or bundles.CAMERA = PATH for each of them"
            )


@dataclass(frozen=True, slots=True)
class Parts:
    """When a part comes, how long its verdict may take, and when there is something wrong. None: never, no limit."""

    max_fps: float | None = None  # parts a second, by the clock; None: one after another, or as the camera gives them
    deadline_ms: float | None = None  # from trigger to verdict
    together_ms: float = 20.0  # several cameras: pictures of one part are taken within so long, or they are out of step
    stop_after_rejects: int | None = None  # so many in a row: the station halts until a person resets it
    watchdog_s: float | None = None  # no part for so long is a fault
    limit: int | None = None  # stop after so many parts

    def __post_init__(self) -> None:
        for name, most in (("max_fps", 1e5), ("deadline_ms", 1e8), ("together_ms", 1e6), ("watchdog_s", 1e6)):
            value = getattr(self, name)
            if value is not None and not 1e-3 <= value <= most:
                raise ValueError(f"{name}: expected a number from 0.001 to {most:g}, got {value:g}")
        for name in ("stop_after_rejects", "limit"):
            value = getattr(self, name)
            if value is not None and not 1 <= value < 2**62:
                raise ValueError(f"{name}: expected a whole number above 0, got {value}")


@dataclass(frozen=True, slots=True)
class Store:
    """Where results are kept, and which pictures with them."""

    url: str | None = None  # a file, or postgresql://…; None: beside the first bundle
    pictures: Pictures = "none"  # rejects: of parts that were rejected or held
    every: int | None = None  # and one in so many of the others
    folder: Path | None = None  # of the pictures; None: beside the store
    quota_gb: float = QUOTA_GB  # of 10^9 bytes: then the oldest that every consumer has acknowledged go first

    def __post_init__(self) -> None:
        if self.url is not None and not (self.url and self.url.isprintable()):
            raise ValueError(f"url: expected a file or postgresql://USER@HOST/DATABASE, got {redact(self.url)!r}")
        if self.url and not is_url(self.url) and "://" in self.url:
            raise ValueError(f"url: {redact(self.url)!r}: expected a file, or a URL that begins with postgresql:")
        if self.every is not None and not 1 <= self.every <= 10**9:
            raise ValueError(f"every: expected a whole number above 0, got {self.every}")
        if self.every is not None and self.pictures == "all":
            raise ValueError('every: pictures = "all" keeps every picture; leave one of the two out')
        if not LEAST_QUOTA_GB <= self.quota_gb <= 1e6:
            raise ValueError(f"quota_gb: expected a number from {LEAST_QUOTA_GB:g} to 1000000, got {self.quota_gb:g}")
        if not self.keeps_pictures and (self.folder is not None or self.quota_gb != QUOTA_GB):
            raise ValueError(
                'pictures: none is kept, so folder and quota_gb mean nothing; say pictures = "rejects" or "all", or '
                "every = N, or leave the two out"
            )
        if self.keeps_pictures and self.folder is None and self.url and is_url(self.url):
            raise ValueError("folder: results go to a database, so nothing says where pictures go; name a folder")

    @property
    def keeps_pictures(self) -> bool:
        return self.pictures != "none" or self.every is not None


@dataclass(frozen=True, slots=True)
class Web:
    """What the line serves."""

    metrics: str | None = None  # HOST:PORT of Prometheus' /metrics
    other_machines: bool = False  # whether HOST may be one that other machines can reach, and anyone there may read
    certificate: Path | None = None  # PEM: served by TLS
    key: Path | None = None  # of the certificate, PEM without a passphrase
    client_ca: Path | None = None  # PEM: only who has a certificate of this authority may read

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key: expected both of them, or none")
        if self.client_ca is not None and self.certificate is None:
            raise ValueError("client_ca: needs certificate and key: who reads is known by TLS only")
        if self.metrics is None:
            if self.certificate is not None:
                raise ValueError("certificate: nothing is served; name metrics = ADDRESS:PORT, or leave it out")
            return
        host, _, port = self.metrics.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            raise ValueError(
                f"metrics: expected ADDRESS:PORT such as 127.0.0.1:9464, got {redact(self.metrics)!r}"
            ) from None
        if not (port.isdecimal() and port.isascii() and 0 <= int(port[:6]) < 2**16):
            raise ValueError(f"metrics: expected a port from 0 to 65535 after the colon, got {port!r}")
        if not loopback and not self.other_machines and self.client_ca is None:
            raise ValueError(
                f"metrics: {host} can be read by other machines, by anyone there; take 127.0.0.1, let only those read "
                "who have a certificate (certificate, key, client_ca), or say that it is meant with other_machines = "
                "true"
            )


@dataclass(frozen=True, slots=True)
class Log:
    """What the line writes about itself, and how."""

    format: Literal["text", "json"] = "text"
    level: Literal["info", "warning", "error"] = "info"  # and what is worse
    file: Path | None = None  # None: stderr
    file_mb: float = 10.0  # then a new one is begun
    files_kept: int = 5  # older ones, file.1 the youngest

    def __post_init__(self) -> None:
        if not 0.001 <= self.file_mb <= 10_000:
            raise ValueError(f"file_mb: expected a number from 0.001 to 10000, got {self.file_mb:g}")
        if not 1 <= self.files_kept <= 1000:  # with none the rotation could not begin a new file
            raise ValueError(f"files_kept: expected a whole number from 1 to 1000, got {self.files_kept}")


@dataclass(frozen=True, slots=True)
class Control:
    """Who may tell the station what to do while it runs (states.py)."""

    socket: Path | None = None  # `lineside control` reaches the line there; who may open the file may order
    autostart: bool = True  # inspect at once; if not, only when it is ordered


def scheme(key: str, url: str, schemes: Collection[str], kind: str, example: str) -> None:
    """ValueError where the URL has none of these schemes."""
    try:
        split(url, schemes, kind, example)
    except SettingsError as error:
        raise ValueError(f"{key}: {error}") from None


def named(key: str, name: str) -> None:
    """ValueError where nothing can be called so."""
    if not is_name(name):
        raise ValueError(
            f"{key}: expected a name of 1 to {LONGEST_NAME} letters without :/?#@=&%, got {redact(name)!r}"
        )
