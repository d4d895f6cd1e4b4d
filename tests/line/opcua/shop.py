"""A line's OPC UA sink and real asyncua clients for the tests. anna may steer, bert may look."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from asyncua import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

from lineside.line.messages import Ask
from lineside.line.sink import opcua_trust as trust
from lineside.line.sink.catalog import open_sink
from lineside.line.sink.plant import Plant, Recipe

T = TypeVar("T")
USER, PASSWORD, LOOKER = "anna", "correct horse", "bert"
RECIPES = (
    Recipe("m8", "a8" * 32, datetime(2026, 11, 1, tzinfo=UTC)),
    Recipe("m10", "b1" * 32, datetime(2026, 11, 2, tzinfo=UTC)),
)
CLIENT_URI = "urn:test:client"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def client_certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of a client, made as the server makes its own."""
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "client.der", folder / "client.pem"
    if not key.exists():
        trust._make(certificate, key, CLIENT_URI, "localhost", datetime.now(UTC))
    return certificate, key


class Shop:
    """pki with one user and one trusted client, and the sink."""

    def __init__(self, folder: Path, settings: str = "", recipes: tuple[Recipe, ...] = RECIPES, ask: Ask | None = None):
        self.folder, self.pki, self.port = folder, folder / "pki", free_port()
        trust.private_folder(self.pki, "urn:lineside:test", "localhost", datetime.now(UTC))
        users = self.pki / "users"
        users.touch(mode=0o600)
        lines = [
            trust.password_line(USER, PASSWORD, b"salt" * 4, "steer"),
            trust.password_line(LOOKER, PASSWORD, b"pepp" * 4),
        ]
        users.write_text("\n".join(lines) + "\n")
        self.certificate, self.key = client_certificate(folder / "client")
        (self.pki / "trusted" / "client.der").write_bytes(self.certificate.read_bytes())
        self.url = f"opcua://127.0.0.1:{self.port}?pki={self.pki}{settings}"
        self.sink = open_sink(self.url, None, Plant(recipes, ask))

    @property
    def endpoint(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}/lineside"

    async def client(
        self, user: str | None = USER, password: str = PASSWORD, secure: bool = True, who: Path | None = None, **given
    ) -> Client:
        """A client that is not connected yet."""
        client = Client(self.endpoint, timeout=20, **given)
        client.application_uri = CLIENT_URI
        if user:
            client.set_user(user)
            client.set_password(password)
        if secure:
            certificate, key = client_certificate(who) if who else (self.certificate, self.key)
            await client.set_security(SecurityPolicyBasic256Sha256, str(certificate), str(key))
        return client

    def within(self, do: Callable[[Client], Awaitable[T]], **given: Any) -> T:
        """What `do` gives back, asked by a client that is let in."""

        async def go() -> T:
            client = await self.client(**given)
            async with client:
                await client.load_data_type_definitions()
                return await do(client)

        return asyncio.run(go())

    def knock(self, **given: Any) -> None:
        """Connect, read, and leave: raises what the server says."""

        async def go() -> None:
            client = await self.client(**given)
            async with client:
                await client.nodes.server.read_browse_name()

        asyncio.run(go())
