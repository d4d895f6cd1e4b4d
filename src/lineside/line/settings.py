"""A line: what line.toml says, as one frozen record (docs/line-toml.md). The flags of `lineside run` make the same.

Everything is checked here that can be known without opening anything; `line/open.py` opens, `line/check.py` looks.
Paths, also those in URLs, are relative to the file; a unit is part of a name. Secrets are never in here: URLs name the
file or environment variable that holds one (secret.py).
"""

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from lineside.bundle.folder import beside
from lineside.errors import SettingsError
from lineside.line.gate.catalog import GATES
from lineside.line.sink.catalog import SINKS, takes_orders
from lineside.line.source.catalog import SOURCES
from lineside.line.source.settings import Camera
from lineside.line.url import below, split
from lineside.redact import LONGEST_NAME, is_name, redact, redacted
from lineside.redact import name as shown_name
from lineside.settings import plain, read, read_toml
from lineside.store.open import default_store, is_url

CAMERA, PRODUCT = "camera", "product"  # the names where there is only one, and nobody gave it another
LEAST_QUOTA_GB = 0.1  # 100 pictures of a megapixel, and not a quota of which nothing is left in an hour
Pictures = Literal["none", "rejects", "all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCamera(Camera):
    """One camera of the line: its source, and how it takes its pictures (the fields of Camera)."""

    source: str  # a source URL; what stands after its # are the fields of Camera, too
    name: str = CAMERA

    def __post_init__(self) -> None:
        Camera.__post_init__(self)
        _named("name", self.name)
        _scheme("source", self.source, SOURCES, "source", "folder:PATH")

    @property
    def how(self) -> Camera:
        return Camera(**{one.name: getattr(self, one.name) for one in fields(Camera)})


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
    quota_gb: float = 50.0  # of 10^9 bytes: then the oldest that every consumer has acknowledged go first

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
        if self.keeps_pictures and self.folder is None and self.url and is_url(self.url):
            raise ValueError("folder: results go to a database, so nothing says where pictures go; name a folder")

    @property
    def keeps_pictures(self) -> bool:
        return self.pictures != "none" or self.every is not None


@dataclass(frozen=True, slots=True)
class Web:
    """What the line serves."""

    metrics: str | None = None  # HOST:PORT of Prometheus' /metrics
    other_machines: bool = False  # whether HOST may be one that other machines can reach

    def __post_init__(self) -> None:
        if self.metrics is None:
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
        if not loopback and not self.other_machines:
            raise ValueError(
                f"metrics: {host} can be read by other machines, by anyone there; take 127.0.0.1, or say that this is "
                "meant with other_machines = true"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A whole line."""

    cameras: tuple[LineCamera, ...]
    products: dict[str, Product]
    product: str | None = None  # at the start; None: the only one
    name: str | None = None  # of the line: in logs, metrics and events; None: the host's
    sinks: tuple[str, ...] = ()
    gate: str | None = None
    signed_by: Path | None = None  # every bundle must be signed by this public key; None: need not be signed
    parts: Parts = Parts()
    store: Store = Store()
    web: Web = Web()
    log: Log = Log()
    control: Control = Control()

    def __post_init__(self) -> None:
        if self.name is not None:
            _named("name", self.name)
        self._check_cameras()
        self._check_products()
        for number, url in enumerate(self.sinks):
            _scheme(f"sinks[{number}]", url, SINKS, "sink", "csv:PATH")
            if url in self.sinks[:number]:
                raise ValueError(f"sinks[{number}]: {redact(url)} is there twice; leave one out")
        if not self.control.autostart and not self.takes_orders:
            raise ValueError(
                "control.autostart: nobody could start the station; name control.socket for `lineside control`, or let "
                "OPC UA clients do it: opcua://HOST?orders=true"
            )
        if self.gate is not None:
            _scheme("gate", self.gate, GATES, "gate", "modbus://HOST:PORT")
            if self.parts.deadline_ms is None:
                raise ValueError(
                    "gate: needs parts.deadline_ms (or --deadline-ms): without it a verdict may come when its part is "
                    "long past the gate, and another lies there; say for how many ms after its trigger one is of use"
                )

    def _check_cameras(self) -> None:
        names = [one.name for one in self.cameras]
        if not names:
            raise ValueError('cameras: expected at least one: [[cameras]] with source = "basler:" or another')
        if len(set(names)) < len(names):
            twice = max(names, key=names.count)
            raise ValueError(f"cameras: two of them are named {twice!r}; give each its own name")
        sources = [one.source for one in self.cameras]
        if len(set(sources)) < len(sources):
            twice = max(sources, key=sources.count)
            raise ValueError(f"cameras: two of them have the source {redact(twice)}; a camera can be opened only once")

    def _check_products(self) -> None:
        names = [one.name for one in self.cameras]
        if not self.products:
            raise ValueError("products: expected at least one: [products.NAME] with bundle = PATH")
        for name, product in self.products.items():
            _named(f"products.{shown_name(name)}", name)
            for camera in product.bundles:
                if camera not in names:
                    raise ValueError(
                        f"products.{name}.bundles.{shown_name(camera)}: there is no such camera; there are "
                        + ", ".join(names)
                    )
            if product.bundles and (missing := [one for one in names if one not in product.bundles]):
                raise ValueError(
                    f"products.{name}: lacks the bundle of the camera {missing[0]}; add bundles.{missing[0]} = PATH"
                )
        if self.product is None and len(self.products) > 1:
            raise ValueError(
                f"product: which one at the start? Expected one of {', '.join(self.products)}, such as "
                f'product = "{next(iter(self.products))}"'
            )
        if self.product is not None and self.product not in self.products:
            raise ValueError(
                f"product: there is no product {shown_name(self.product)!r}; products: {', '.join(self.products)}"
            )

    @property
    def takes_orders(self) -> bool:
        """Whether somebody can tell the station what to do while it runs: at the desk, or through a sink."""
        return self.control.socket is not None or any(takes_orders(url) for url in self.sinks)

    @property
    def first_product(self) -> str:
        return self.product or next(iter(self.products))

    def bundle(self, product: str, camera: str) -> Path:
        """The bundle that looks at this product through this camera."""
        one = self.products[product]
        return one.bundle or one.bundles[camera]

    @property
    def first_bundle(self) -> Path:
        """That of the first camera and product: files that belong to the line lie beside it, unless named."""
        return self.bundle(self.first_product, self.cameras[0].name)

    @property
    def bundles(self) -> tuple[Path, ...]:
        """Every bundle, once."""
        cameras = [one.name for one in self.cameras]
        return tuple(dict.fromkeys(self.bundle(product, camera) for product in self.products for camera in cameras))

    def bundles_of(self, product: str) -> tuple[Path, ...]:
        """Every bundle that looks at this product, once."""
        return tuple(dict.fromkeys(self.bundle(product, camera.name) for camera in self.cameras))

    @property
    def store_place(self) -> str | Path:
        """The store's file or URL."""
        if self.store.url is None:
            return default_store(self.first_bundle)
        return self.store.url if is_url(self.store.url) else Path(self.store.url)

    @property
    def pictures_folder(self) -> Path:
        """Where kept pictures go."""
        return self.store.folder or beside(Path(self.store_place), ".pictures")


def read_line(path: Path) -> Settings:
    """The line of a line.toml. SettingsError says what is wrong and where."""
    return _below(read_toml(Settings, path), path.parent)


def of_flags(
    bundle: Path,
    source: str,
    *,
    sinks: Sequence[str] = (),
    gate: str | None = None,
    store: str | None = None,
    max_fps: float | None = None,
    deadline_ms: float | None = None,
    limit: int | None = None,
) -> Settings:
    """The line of one camera and one bundle, as the flags of `lineside run BUNDLE` describe it."""
    parts = {"max_fps": max_fps, "deadline_ms": deadline_ms, "limit": limit}
    name = bundle.resolve().name.removesuffix(".zip").removesuffix(".bundle")
    name = name if is_name(name) else PRODUCT
    values = {
        "cameras": [{"source": source}],
        "products": {name: {"bundle": str(bundle)}},
        "sinks": list(sinks),
        "gate": gate,
        "parts": parts,
        "store": {"url": store},
    }
    return read(Settings, values, "lineside run")


def shown(settings: Settings) -> dict[str, Any]:
    """All of it as JSON can hold it, without what may be a secret: for the store and for people."""
    values = plain(settings)
    for camera in values["cameras"]:
        camera["source"] = redact(camera["source"])
    values["sinks"] = redacted(values["sinks"])
    values["gate"], values["signed_by"] = redacted(values["gate"]), redacted(values["signed_by"])
    for table, key in (("store", "url"), ("store", "folder"), ("log", "file"), ("control", "socket")):
        values[table][key] = redacted(values[table][key])  # a URL may stand where a path ought to
    for product in values["products"].values():
        product["bundle"] = redacted(product["bundle"])
        product["bundles"] = {camera: redacted(bundle) for camera, bundle in product["bundles"].items()}
    return values


def _below(line: Settings, folder: Path) -> Settings:
    """The same with every relative path below this folder."""

    def path(one: Path | None) -> Path | None:
        return None if one is None else folder / one

    def product(one: Product) -> Product:
        return Product(path(one.bundle), {camera: folder / bundle for camera, bundle in one.bundles.items()})

    store = line.store.url if line.store.url is None or is_url(line.store.url) else str(folder / line.store.url)
    return replace(
        line,
        cameras=tuple(replace(one, source=below(one.source, folder)) for one in line.cameras),
        products={name: product(one) for name, one in line.products.items()},
        sinks=tuple(below(url, folder) for url in line.sinks),
        gate=None if line.gate is None else below(line.gate, folder),
        store=replace(line.store, url=store, folder=path(line.store.folder)),
        log=replace(line.log, file=path(line.log.file)),
        control=replace(line.control, socket=path(line.control.socket)),
        signed_by=path(line.signed_by),
    )


def _scheme(key: str, url: str, schemes: Collection[str], kind: str, example: str) -> None:
    try:
        split(url, schemes, kind, example)
    except SettingsError as error:
        raise ValueError(f"{key}: {error}") from None


def _named(key: str, name: str) -> None:
    if not is_name(name):
        raise ValueError(
            f"{key}: expected a name of 1 to {LONGEST_NAME} letters without :/?#@=&%, got {redact(name)!r}"
        )
