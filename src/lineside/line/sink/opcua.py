"""opcua://HOST:PORT, an OPC UA server with the Machine Vision model (OPC 40100-1; asyncua, which is LGPL and optional).

The server has a thread and an event loop of its own. `tell`, `state` and replies to orders hand over and return, and
come out of there in their order: no client can delay the line, and who is answered finds the state that he asked for.
Results that wait for the server are at most BACKLOG; beyond that the sink fails, as any other.

Security, unless the URL says otherwise: Basic256Sha256 with signing and encryption only, clients by their certificate
(opcua_trust.py), users by password. anonymous=true lets a trusted client in without a user; none=true also lets one in
without certificate and encryption, for a test on one machine. orders=true lets users whose role is `steer` order what
the line does (opcua_steering.py); never who is anonymous, and never without encryption.

asyncua 2.1 needs four things held down, each with a test: its default user manager lets anyone in; a channel without
security is open whatever the policies are, so the right to enter is decided where a session is activated; a session can
be taken over from another channel by its number, and that channel keeps it when its signature is wrong; anyone may
register servers.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lineside import __version__
from lineside.bundle.folder import outside
from lineside.errors import LineError, MissingExtra, SettingsError
from lineside.line.gate.address import address
from lineside.line.messages import Asked, Reply, claim_once
from lineside.line.sink import opcua_trust as trust
from lineside.line.sink.plant import Plant
from lineside.line.sink.sink import Sink, Standing
from lineside.store.records import Inspection

PORT = 4840
START_S, STOP_S = 60.0, 10.0
PATIENCE_S = 3.0  # for the line to follow an order; less than what clients wait for us
LINGER_S = 0.5  # for clients to hear of the last state before the server goes
BACKLOG = 4096  # results that may wait for the server's thread
URI = "urn:lineside"
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    pki: Path | None = None  # folder of certificates and users; None: BUNDLE.opcua
    users: Path | None = None  # file of users; None: `users` in there
    anonymous: bool = False
    none: bool = False
    keep: int = 100  # results that clients can ask for
    orders: bool = False  # whether users with the role `steer` may steer the line

    def __post_init__(self):
        if not 1 <= self.keep <= 10_000:
            raise ValueError(f"keep: expected 1 to 10000, got {self.keep}")
        if self.none and not self.anonymous:
            raise ValueError("none=true sends everything unencrypted, passwords too: it goes with anonymous=true only")
        if self.none and self.orders:
            raise ValueError("orders=true needs encryption and certificates; leave none=true out")


@dataclass(frozen=True, slots=True)
class Door:
    """Who may enter, as asyncua asks it: get_user(…) is called where a session is activated."""

    given: Settings
    pki: Path
    users: dict[str, trust.Account]
    guest: Callable[[str, str, bool], Any]  # name, application, whether he steers: asyncua's record of who is in
    tries: trust.Tries = field(default_factory=trust.Tries)

    def get_user(
        self, _server: Any, username: str | None = None, password: Any = None, certificate: bytes | None = None
    ) -> Any:
        """A user, or None. certificate is that of the encrypted channel, whose key the client has proved to have."""
        if not certificate and not self.given.none:
            return self._refuse("it came without certificate and encryption")
        if certificate and (why := trust.trusts(self.pki, certificate, datetime.now(UTC))):
            return self._refuse(why)
        application = trust.application(certificate) if certificate else "no certificate"
        if username is None:
            if self.given.anonymous:
                return self.guest("anonymous", application, False)
            return self._refuse("it named no user")
        said = password.decode("utf-8", "replace") if isinstance(password, bytes) else password or ""
        client = certificate or b""
        if self.tries.rests(client):
            return None  # that it was refused for a while has been said
        right = trust.is_user(self.users, username, said)
        if self.tries.tried(client, right):
            return self._refuse(
                f"{trust.TRIES} wrong passwords in a row from {application}: none of its passwords is looked at for "
                f"{trust.REST_S:.0f} s"
            )
        if not right:
            return self._refuse("user or password is wrong")
        steers = self.given.orders and self.users[username].role == "steer"
        return self.guest(username, application, steers)

    def _refuse(self, why: str) -> None:
        LOG.warning("opcua: a client was refused: %s", why)


def connect(url: str, where: str, bundle: Path | None, plant: Plant) -> Sink:
    host, port, given, pki = _asked(url, where, bundle)
    if given.orders and plant.ask is None:
        raise SettingsError(f"{url!r}: orders=true: nobody here takes orders; leave it out")
    users = _users(url, given, pki)
    name = socket.gethostname()
    uri = f"{URI}:{name}"
    own = trust.private_folder(pki, uri, name, datetime.now(UTC))
    server = _Server(url, host, port, given, pki, own, users, uri, plant)
    server.start()
    return Sink(url, server.tell, server.close, server.state)


def probe(url: str, where: str, bundle: Path | None) -> str:
    """Whether the server could start: users, keys, a free port. Nothing is made, and nobody can connect."""
    host, port, given, pki = _asked(url, where, bundle)
    made = (pki / "own" / "key.pem").exists()
    if made:
        trust.private_folder(pki, "", "", datetime.now(UTC))
    users = _users(url, given, pki)
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        raise _no_listening(url, error) from None
    trusted = len(list((pki / "trusted").glob("*.der")))
    certificate = "its certificate is there" if made else "its certificate is made at the first start"
    steer = sum(account.role == "steer" for account in users.values())
    may = f", of whom {steer} may steer" if given.orders else ""
    return f"the port is free; {certificate}; trusted clients: {trusted}, users: {len(users)}{may}"


def _asked(url: str, where: str, bundle: Path | None) -> tuple[str, int, Settings, Path]:
    """(host, port, settings, folder of certificates)."""
    host, port, given = address(url, where, Settings, PORT)
    try:
        import asyncua  # noqa: F401
    except ImportError:
        raise MissingExtra("an OPC UA server", "asyncua", "opcua") from None
    if given.pki is None and bundle is None:
        raise SettingsError(f"{url!r}: expected pki=FOLDER, where certificates and users are kept")
    pki = given.pki or Path(f"{bundle}.opcua")
    if bundle:
        outside(bundle, pki)
    return host, port, given, pki


def _users(url: str, given: Settings, pki: Path) -> dict[str, trust.Account]:
    file = given.users or pki / "users"
    users = trust.read_users(file) if file.exists() or not given.anonymous else {}
    if given.orders and all(account.role != "steer" for account in users.values()):
        raise LineError(
            f"{url}: orders=true, and no user of {file} may steer; such a user is made by: "
            f"python -m lineside.line.sink.opcua_trust {file} NAME --role steer"
        )
    return users


def _no_listening(url: str, error: OSError) -> LineError:
    return LineError(f"{url}: can not listen there ({error.strerror}); is another server on this port?")


class _Server:
    """The server in its thread. Final."""

    def __init__(
        self,
        url: str,
        host: str,
        port: int,
        given: Settings,
        pki: Path,
        own: tuple[Path, Path],
        users: dict[str, trust.Account],
        uri: str,
        plant: Plant,
    ):
        self._url, self._address, self._given, self._own, self._uri = url, (host, port), given, own, uri
        self._pki, self._users, self._plant = pki, users, plant
        self._loop: asyncio.AbstractEventLoop | None = None
        self._todo: asyncio.Queue[tuple[str, Any]] | None = None
        self._handed = self._told = 0  # results; each is counted by one thread only
        self._ready = threading.Event()
        self._error = ""
        self._thread = threading.Thread(target=self._run, name="opcua", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if not self._ready.wait(START_S):
            raise LineError(f"{self._url}: the server has not started within {START_S:g} s")
        if self._error:
            raise LineError(self._error)

    def tell(self, group: Sequence[Inspection]) -> None:
        if self._error:
            raise LineError(self._error)
        waiting = self._handed - self._told
        if waiting > BACKLOG:
            raise LineError(f"{self._url}: {waiting} results wait for the server; this machine is too slow for it")
        self._handed += len(group)
        self._hand_over("tell", tuple(group))

    def state(self, standing: Standing) -> None:
        self._hand_over("state", standing)

    def close(self) -> None:
        self._hand_over("close", None)
        self._thread.join(STOP_S)

    def _hand_over(self, what: str, value: Any) -> None:
        if self._loop and self._todo:
            with suppress(RuntimeError):  # it has ended, and `tell` says why
                self._loop.call_soon_threadsafe(self._todo.put_nowait, (what, value))

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            known = isinstance(error, LineError)
            self._error = str(error) if known else f"{self._url}: the server failed: {type(error).__name__}: {error}"
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        from lineside.line.sink.opcua_vision import Vision

        self._loop, self._todo = asyncio.get_running_loop(), asyncio.Queue()
        for name in ("asyncua", "asyncuagds"):
            logging.getLogger(name).addHandler(logging.NullHandler())
        server = await self._open()
        call = self._order if self._given.orders else None
        vision = Vision(server, self._plant, call, __version__, self._given.keep)
        await vision.build(f"{self._uri}:line")
        try:
            await server.start()
        except OSError as error:
            raise _no_listening(self._url, error) from None
        self._ready.set()
        try:
            while True:
                what, value = await self._todo.get()
                if what == "tell":
                    await vision.tell(value)
                    self._told += len(value)
                elif what == "state":
                    await vision.follow(value)
                elif what == "reply":
                    future, reply = value
                    if not future.done():
                        future.set_result(reply)
                else:
                    break
            await asyncio.sleep(LINGER_S)
        finally:
            await server.stop()

    async def _order(self, order: str, who: str, product: str, why: str) -> Reply | None:
        """Ask the line, and wait; None: it did not answer, and what is not safe at any time is taken back."""
        assert self._loop  # who asks is in it
        assert self._plant.ask  # or there would be no orders
        claim, future = claim_once(), self._loop.create_future()
        self._plant.ask(
            Asked(order, who, product, (), why, lambda reply: self._hand_over("reply", (future, reply)), claim)
        )
        for _ in range(2):
            with suppress(TimeoutError):
                return await asyncio.wait_for(asyncio.shield(future), PATIENCE_S)
            if claim():  # if not, the line is just about to answer
                break
        return None

    async def _open(self) -> Any:
        import asyncua.ua
        from asyncua.server.server import Server

        from lineside.line.sink.opcua_held import Held, Looking, guest

        ua: Any = asyncua.ua
        door = Door(self._given, self._pki, self._users, guest)
        server = Server(iserver=Held(door))
        await server.init()
        server.iserver.allow_remote_admin = False
        server.iserver.max_connections = 32
        server.limits.max_message_size = 4 * 2**20  # what a client may send before anyone knows who it is
        server.limits.max_chunk_count = 64
        host = f"[{self._address[0]}]" if ":" in self._address[0] else self._address[0]
        server.set_endpoint(f"opc.tcp://{host}:{self._address[1]}/lineside")
        server.set_server_name("Lineside")
        await server.set_application_uri(self._uri)
        await server.set_build_info("urn:lineside", "Lineside", "Lineside", __version__, "0", datetime.now(UTC))
        policies = [ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt]
        if self._given.none:
            policies.append(ua.SecurityPolicyType.NoSecurity)
        server.set_security_policy(policies, permission_ruleset=Looking())
        tokens: list[type] = [ua.UserNameIdentityToken]
        server.set_identity_tokens([*tokens, ua.AnonymousIdentityToken] if self._given.anonymous else tokens)
        await server.load_certificate(self._own[0])
        await server.load_private_key(self._own[1])
        return server
