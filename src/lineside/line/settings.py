"""A line: what line.toml says, as one frozen record (docs/line-toml.md). The flags of `lineside run` make the same.

Everything is checked here that can be known without opening anything; `line/open.py` opens, `line/check.py` looks.
Paths, also those in URLs, are relative to the file; a unit is part of a name. Secrets are never in here: URLs name the
file or environment variable that holds one (secret.py).
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lineside.bundle.folder import beside
from lineside.line.gate.catalog import GATES, delay_ms
from lineside.line.sink.catalog import SINKS, takes_orders
from lineside.line.tables import PRODUCT, Control, LineCamera, Log, Parts, Product, Store, Web, named, scheme
from lineside.line.url import below
from lineside.redact import is_name, redact, redacted
from lineside.redact import name as shown_name
from lineside.settings import plain, read, read_toml
from lineside.store.open import default_store, is_url

PLACES = (
    *(("store", "url"), ("store", "folder"), ("log", "file"), ("control", "socket")),
    *(("web", "certificate"), ("web", "key"), ("web", "client_ca")),
)


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
    parts: Parts = field(default_factory=Parts)
    store: Store = field(default_factory=Store)
    web: Web = field(default_factory=Web)
    log: Log = field(default_factory=Log)
    control: Control = field(default_factory=Control)

    def __post_init__(self) -> None:
        if self.name is not None:
            named("name", self.name)
        self._check_cameras()
        self._check_products()
        for number, url in enumerate(self.sinks):
            scheme(f"sinks[{number}]", url, SINKS, "sink", "csv:PATH")
            if url in self.sinks[:number]:
                raise ValueError(f"sinks[{number}]: {redact(url)} is there twice; leave one out")
        if not self.control.autostart and not self.takes_orders:
            raise ValueError(
                "control.autostart: nobody could start the station; name control.socket for `lineside control`, or let "
                "OPC UA clients do it: opcua://HOST?orders=true"
            )
        if self.gate is not None:
            scheme("gate", self.gate, GATES, "gate", "modbus://HOST:PORT")
            if self.parts.deadline_ms is None:
                raise ValueError(
                    "gate: needs parts.deadline_ms (or --deadline-ms): without it a verdict may come when its part is "
                    "long past the gate, and another lies there; say for how many ms after its trigger one is of use"
                )
            if 0 < (way_ms := delay_ms(self.gate)) <= self.parts.deadline_ms:
                raise ValueError(
                    f"gate: with delay_ms={way_ms:g} a part is at the gate before its verdict must be there: "
                    f"parts.deadline_ms (or --deadline-ms) is {self.parts.deadline_ms:g}; expected less than delay_ms, "
                    "or no delay_ms where the PLC itself knows when the part comes"
                )
            self._check_outages()

    def _check_outages(self) -> None:
        """With a gate: after an outage nobody may doubt which part a verdict is of."""
        for camera in self.cameras:
            how = camera.all_of_it
            if how.reconnect_s is not None and how.trigger != "software":
                raise ValueError(
                    f"gate: the camera {camera.name} has reconnect_s, and its trigger is {how.trigger}: how many parts "
                    "pass while it is away nobody can tell, and behind that SEQUENCE is no longer the number of the "
                    "PLC's trigger; leave reconnect_s out, so that a lost camera is a fault and the line is started "
                    "again, or trigger by software"
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
            named(f"products.{shown_name(name)}", name)
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
    def line(self) -> str:
        """What this line is called in logs, metrics and the store."""
        return self.name or socket.gethostname()

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
    for table, key in PLACES:
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
        web=replace(
            line.web,
            certificate=path(line.web.certificate),
            key=path(line.web.key),
            client_ca=path(line.web.client_ca),
        ),
        log=replace(line.log, file=path(line.log.file)),
        control=replace(line.control, socket=path(line.control.socket)),
        signed_by=path(line.signed_by),
    )
