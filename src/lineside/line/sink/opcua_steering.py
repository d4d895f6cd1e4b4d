"""Methods of OPC 40100-1 by which a client steers the line: each is an order of line/states.py.

A call becomes messages.Asked in the line's inbox, with the user and his application as who ordered it; the line
decides, and its reply is the answer. Executable and UserExecutable follow the station's state, for clients that look
before they call; the line does not trust them.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncua.ua

from lineside.line.messages import Reply
from lineside.line.sink.opcua_held import GUEST
from lineside.line.sink.sink import Standing
from lineside.line.states import LEADS

ua: Any = asyncua.ua
OK, UNKNOWN, REFUSED, ARGUMENT, NO_ANSWER, NOT_ALLOWED = 0, -1, -2, -3, -4, -5  # above 0 is the standard's
BASE = "BinaryIdBaseDataType"  # as which asyncua's clients send structures that only inherit from it
LONGEST_ID, LONGEST_TEXT = 256, 1000  # characters that a client may send
LOG = logging.getLogger(__name__)
AUTOMATIC = "VisionStateMachine/AutomaticModeStateMachine"
METHODS = {  # below the system; and of every recipe: Prepare, Unprepare
    "RecipeManagement/PrepareRecipe": "prepare",
    "RecipeManagement/UnprepareRecipe": "unprepare",
    "VisionStateMachine/Halt": "halt",
    "VisionStateMachine/Reset": "reset",
    f"{AUTOMATIC}/Abort": "abort",
    f"{AUTOMATIC}/StartContinuous": "start",
    f"{AUTOMATIC}/StartSingleJob": "start-single",
    f"{AUTOMATIC}/Stop": "stop",
}
Call = Callable[[str, str, str, str], Awaitable[Reply | None]]  # order, who, product, why; None: no answer in time


class Unfit(Exception):
    """What a client sent can not become an order."""

    def __init__(self, status: int, error: int, place: int | None = None):
        super().__init__(status, error, place)
        self.status, self.error, self.place = status, error, place  # place: of the argument of the wrong type


@dataclass(frozen=True, slots=True)
class Wish:
    product: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Method:
    node: Any
    owner: Any  # node id of its object
    order: str
    read: Callable[[Sequence[Any]], Wish]
    told: Callable[[str, bool], list[Any]]  # the outputs before Error: of a product, and whether the line obeyed
    product: str | None = None  # of a recipe's own method


class Steering:
    """The methods of one VisionSystem. Final; every method in the server's own loop."""

    def __init__(self, call: Call | None, hashes: dict[str, bytes]):
        """call: gives an order to the line; None: clients look only. hashes: of the recipes, by product."""
        self._call, self._hashes = call, hashes
        self._methods: list[Method] = []
        self._shown: dict[Any, bool] = {}  # what Executable says, by node id

    @property
    def nodes(self) -> set[Any]:
        return {method.node.nodeid for method in self._methods}

    async def link(self, server: Any, method: Method) -> None:
        """Make a method of the address space do what it says; not executable until the line says where it stands."""
        self._methods.append(method)
        server.link_method(method.node, self._answerer(method))
        await self._show(method, False)

    async def follow(self, standing: Standing) -> None:
        """Show which methods can be executed now."""
        for method in self._methods:
            can = self._call is not None and (standing.state, method.order) in LEADS
            if method.order == "unprepare" and method.product not in (None, standing.product):
                can = False
            if can != self._shown[method.node.nodeid]:
                await self._show(method, can)

    async def _show(self, method: Method, can: bool) -> None:
        self._shown[method.node.nodeid] = can
        for attribute in (ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable):
            await method.node.write_attribute(attribute, ua.DataValue(ua.Variant(can, ua.VariantType.Boolean)))

    def _answerer(self, method: Method) -> Callable[..., Awaitable[Any]]:
        async def answer(parent: Any, *given: Any) -> Any:
            if parent != method.owner:
                return ua.CallMethodResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadMethodInvalid))
            try:
                product = await self._obey(method, given)
            except Unfit as unfit:
                return _result(unfit.status, [*method.told("", False), _int32(unfit.error)], unfit.place, len(given))
            return _result(ua.StatusCodes.Good, [*method.told(product, True), _int32(OK)], None, len(given))

        return answer

    async def _obey(self, method: Method, given: Sequence[Any]) -> str:
        """The product that is prepared when the line has obeyed. Unfit where it has not."""
        guest = GUEST.get()
        if self._call is None:
            raise Unfit(ua.StatusCodes.BadNotExecutable, REFUSED)
        if not guest.steers:
            LOG.warning("opcua: %s may only look, and was refused: %s", guest.who, method.order)
            raise Unfit(ua.StatusCodes.BadUserAccessDenied, NOT_ALLOWED)
        wish = method.read(given)
        product = method.product or wish.product
        reply = await self._call(method.order, guest.who, product, wish.why)
        if reply is None:
            raise Unfit(ua.StatusCodes.BadTimeout, NO_ANSWER)
        if reply.refused and product and product not in self._hashes:
            raise Unfit(ua.StatusCodes.BadNotFound, UNKNOWN)
        if reply.refused and (reply.state, method.order) not in LEADS:
            raise Unfit(ua.StatusCodes.BadNotExecutable, REFUSED)
        if reply.refused:
            raise Unfit(ua.StatusCodes.BadInvalidState, REFUSED)
        return reply.product

    def nothing(self, given: Sequence[Any]) -> Wish:
        """Of Prepare, Unprepare."""
        _count(given, 0)
        return Wish()

    def cause(self, given: Sequence[Any]) -> Wish:
        """Of Halt, Reset, Stop, Abort: Cause, CauseDescription."""
        _count(given, 2)
        number, text = given
        if number.VariantType != ua.VariantType.Int32 or not isinstance(number.Value, int):
            raise Unfit(ua.StatusCodes.BadInvalidArgument, ARGUMENT, 0)
        if text.VariantType not in (ua.VariantType.String, ua.VariantType.Null) or isinstance(text.Value, list):
            raise Unfit(ua.StatusCodes.BadInvalidArgument, ARGUMENT, 1)
        said = (text.Value or "")[:LONGEST_TEXT]
        return Wish(why=": ".join(([f"cause {number.Value}"] if number.Value else []) + ([said] if said else [])))

    def recipe(self, given: Sequence[Any]) -> Wish:
        """Of PrepareRecipe, UnprepareRecipe: ExternalId, InternalIdIn, of which the second takes precedence."""
        _count(given, 2)
        external = _id(given, 0, "RecipeIdExternalDataType")
        internal = _id(given, 1, "RecipeIdInternalDataType")
        named = internal or external
        if not named:
            raise Unfit(ua.StatusCodes.BadInvalidArgument, ARGUMENT)
        asked = (getattr(given[1].Value, "Hash", None) if internal else None) or None
        if asked and asked != self._hashes.get(named, asked):
            raise Unfit(ua.StatusCodes.BadNotFound, UNKNOWN)
        return Wish(named)

    def job(self, given: Sequence[Any]) -> Wish:
        """Of StartSingleJob, StartContinuous: MeasId, PartId, RecipeId, ProductId, Parameters.

        Part ids come from the camera, so a job for a part or measurement that the client names is refused, and not
        answered by results of another name.
        """
        _count(given, 5)
        measurement, part = _id(given, 0, "MeasIdDataType"), _id(given, 1, "PartIdDataType")
        recipe, product = _id(given, 2, "RecipeIdExternalDataType"), _id(given, 3, "ProductIdDataType")
        more = given[4].Value
        if measurement or part or not (more is None or more == []) or (recipe and product and recipe != product):
            raise Unfit(ua.StatusCodes.BadInvalidArgument, ARGUMENT)
        return Wish(recipe or product)


def _count(given: Sequence[Any], expected: int) -> None:
    if len(given) < expected:
        raise Unfit(ua.StatusCodes.BadArgumentsMissing, ARGUMENT)
    if len(given) > expected:
        raise Unfit(ua.StatusCodes.BadTooManyArguments, ARGUMENT)


def _id(given: Sequence[Any], place: int, kind: str) -> str:
    """The Id of a structure; "" where none was sent."""
    value = given[place].Value
    if value is None:
        return ""
    found = getattr(value, "Id", None)
    if (
        type(value).__name__ not in (kind, BASE)
        or not (found is None or isinstance(found, str))
        or len(found or "") > LONGEST_ID
    ):
        raise Unfit(ua.StatusCodes.BadInvalidArgument, ARGUMENT, place)
    return found or ""


def _int32(value: int) -> Any:
    return ua.Variant(value, ua.VariantType.Int32)


def _result(status: int, outputs: list[Any], place: int | None, count: int) -> Any:
    found = [ua.StatusCodes.BadTypeMismatch if place == n else ua.StatusCodes.Good for n in range(count)]
    return ua.CallMethodResult(
        StatusCode=ua.StatusCode(status),
        InputArgumentResults=[ua.StatusCode(one) for one in found],
        OutputArguments=outputs,
    )
