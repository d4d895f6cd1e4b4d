"""asyncua's server held down, and who it is that calls.

asyncua 2.1 gives more than a line should: a session can be taken over by its number, anyone may register servers and
write what is writable. And a method of its address space does not learn who called it: here GUEST says so.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import asyncua.ua
from asyncua.crypto.permission_rules import SimpleRoleRuleset, User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession

ua: Any = asyncua.ua


@dataclass
class Guest(User):
    """A user who is in. role and name are asyncua's."""

    who: str = ""  # user @ application, for the audit
    steers: bool = False


GUEST: ContextVar[Guest] = ContextVar("guest")  # whose call is being answered


def guest(name: str, application: str, steers: bool) -> Guest:
    return Guest(UserRole.User, name, f"{name} @ {application}", steers)


class Session(InternalSession):
    """asyncua's; its methods know their caller, and who only looks sees no method that he may execute."""

    async def call(self, params: list[Any]) -> list[Any]:
        GUEST.set(self.user if isinstance(self.user, Guest) else Guest())
        return await super().call(params)

    async def read(self, params: Any) -> list[Any]:
        found = await super().read(params)
        if isinstance(self.user, Guest) and self.user.steers:
            return found
        steering = getattr(self.iserver, "steering")  # noqa: B009 (Held's, which asyncua's type does not know)
        mine = ua.AttributeIds.UserExecutable
        return [
            ua.DataValue(ua.Variant(False, ua.VariantType.Boolean))
            if asked.AttributeId == mine and asked.NodeId in steering
            else value
            for asked, value in zip(params.NodesToRead, found, strict=True)
        ]


class Held(InternalServer):
    """asyncua's, without two services that it gives to anyone (see above)."""

    def __init__(self, user_manager: Any):
        super().__init__(user_manager=user_manager)
        self.steering: set[Any] = set()  # methods that only some may execute

    def create_session(self, name: str, user: User = Guest(), external: bool = False) -> InternalSession:  # noqa: B008
        return Session(self, self.aspace, self.subscription_service, name, user=user, external=external)

    def lookup_external_session(self, auth_token: Any) -> None:
        return None  # a client whose connection broke makes a new session

    def register_server(self, server: Any, conf: Any = None) -> None:
        raise ua.uaerrors.BadServiceUnsupported

    def register_server2(self, params: Any) -> Any:
        raise ua.uaerrors.BadServiceUnsupported


class Looking(SimpleRoleRuleset):
    """What a user may ask for: to look, to subscribe and to call. Nothing is written, nothing taken over."""

    def check_validity(self, user: Any, action_type_id: Any, body: Any) -> bool:
        refused = (
            ua.ObjectIds.WriteRequest_Encoding_DefaultBinary,
            ua.ObjectIds.TransferSubscriptionsRequest_Encoding_DefaultBinary,
        )
        if action_type_id in map(ua.NodeId, refused):
            return False
        return super().check_validity(user, action_type_id, body)
