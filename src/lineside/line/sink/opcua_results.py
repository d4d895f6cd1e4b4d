"""Results of a VisionSystem (opcua_vision.py): the last `keep`, as a list that clients filter, by id and by handle."""

from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC
from typing import Any

import asyncua.ua
from asyncua.common.methods import uamethod

from lineside.line.sink.message import result_state
from lineside.line.sink.opcua_steering import OK, UNKNOWN
from lineside.store.records import Inspection

ua: Any = asyncua.ua
HANDLES = 64  # results that clients may hold beyond the last ones
EVENT_FIELDS = {  # of ResultReadyEventType, in the order of GetResultComponentsById: name → variant
    "IsPartial": ua.VariantType.Boolean,
    "IsSimulated": ua.VariantType.Boolean,
    "ResultState": ua.VariantType.Int32,
    "MeasId": ua.VariantType.ExtensionObject,
    "PartId": ua.VariantType.ExtensionObject,
    "ExternalRecipeId": ua.VariantType.ExtensionObject,
    "InternalRecipeId": ua.VariantType.ExtensionObject,
    "ProductId": ua.VariantType.ExtensionObject,
    "ExternalConfigurationId": ua.VariantType.ExtensionObject,
    "InternalConfigurationId": ua.VariantType.ExtensionObject,
    "JobId": ua.VariantType.ExtensionObject,
    "CreationTime": ua.VariantType.DateTime,
    "ProcessingTimes": ua.VariantType.ExtensionObject,
    "ResultContent": ua.VariantType.Variant,
    "ResultId": ua.VariantType.ExtensionObject,
}
COMPONENTS = {"HasTransferableDataOnFile": ua.VariantType.Boolean}


class Results:
    """Those that clients can still ask for. Final; every method in the server's own loop."""

    def __init__(
        self, ids: Callable[[str | None], tuple[Any, Any, Any]], configuration: Any, keep: int, simulated: bool
    ):
        """ids: of a product: external and internal id of its recipe, and its own. configuration: its id."""
        self._ids, self._configuration, self._keep, self._simulated = ids, configuration, keep, simulated
        self._last: OrderedDict[str, Any] = OrderedDict()  # by result id, oldest first: ua.ResultDataType
        self._held: dict[int, str] = {}  # handle → result id
        self._held_results: dict[str, Any] = {}
        self._handle = 0

    def add(self, one: Inspection) -> Any:
        """Keep a result, and forget the oldest; what clients are told of it."""
        result = self._last[one.id] = self._result(one)
        while len(self._last) > self._keep:
            self._last.popitem(last=False)
        return result

    def methods(self) -> dict[str, Any]:
        """What ResultManagement does, by name."""
        return {
            "GetResultListFiltered": self._list_results(),
            "GetResultById": self._result_by_id(),
            "GetResultComponentsById": self._components_by_id(),
            "ReleaseResultHandle": self._release(),
        }

    def _result(self, one: Inspection) -> Any:
        said = {
            "verdict": one.verdict,
            "reason": one.reason,
            "label": one.label,
            "score": one.score,
            "margin": one.margin,
            "sequence": one.sequence,
            "sha256": one.sha256,
            "detail": one.detail,
            "total_ms": one.total_ms,
        }
        external, internal, product = self._ids(one.product)
        return ua.ResultDataType(
            ResultId=ua.ResultIdDataType(Id=one.id),
            HasTransferableDataOnFile=False,
            IsPartial=False,
            IsSimulated=self._simulated,
            ResultState=ua.Int32(result_state(one.reason)),
            PartId=ua.PartIdDataType(Id=one.part_id),
            ExternalRecipeId=external,
            InternalRecipeId=internal,
            ProductId=product,
            InternalConfigurationId=self._configuration,
            JobId=ua.JobIdDataType(Id=one.run_id),
            CreationTime=one.decided.astimezone(UTC),
            ProcessingTimes=ua.ProcessingTimesDataType(
                StartTime=one.captured.astimezone(UTC),
                EndTime=one.decided.astimezone(UTC),
                ProcessingDuration=one.total_ms,
            ),
            ResultContent=[
                ua.Variant(ua.KeyValuePair(ua.QualifiedName(key), ua.Variant(value)), ua.VariantType.ExtensionObject)
                for key, value in said.items()
                if value is not None
            ],
        )

    def _list_results(self) -> Any:
        wanted = ("MeasId", "PartId", "ExternalRecipeId", "InternalRecipeId", "ExternalConfigurationId")
        wanted += ("InternalConfigurationId", "ProductId", "JobId")

        @uamethod
        async def results(_parent: Any, state: int, *more: Any):
            ids, (most, start, _wait) = more[:8], more[8:]
            found = [
                one
                for one in reversed(self._last.values())
                if (not state or one.ResultState == state)
                and all(id_of(ask) in ("", id_of(getattr(one, n))) for n, ask in zip(wanted, ids, strict=True))
            ]
            shown = page(found, most, start)
            return outputs(
                (start + len(shown) >= len(found), ua.VariantType.Boolean),
                (len(shown), ua.VariantType.UInt32),
                (0, ua.VariantType.UInt32),
                (shown, ua.VariantType.ExtensionObject),
                (OK, ua.VariantType.Int32),
            )

        return results

    def _result_by_id(self) -> Any:
        @uamethod
        async def result(_parent: Any, asked: Any, _wait: int):
            found = self._find(id_of(asked))
            handle = self._hold(found) if found else 0
            return outputs(
                (handle, ua.VariantType.UInt32),
                (found or _nothing(), ua.VariantType.ExtensionObject),
                (OK if found else UNKNOWN, ua.VariantType.Int32),
            )

        return result

    def _components_by_id(self) -> Any:
        names = ("HasTransferableDataOnFile", "", *EVENT_FIELDS)

        @uamethod
        async def components(_parent: Any, asked: Any, _wait: int):
            found = self._find(id_of(asked))
            told = found or _nothing()
            values = [
                (self._hold(found) if found else 0, ua.VariantType.UInt32)
                if not name
                else (getattr(told, name), COMPONENTS.get(name, EVENT_FIELDS.get(name, ua.VariantType.Boolean)))
                for name in names
            ]
            return outputs(*values, (OK if found else UNKNOWN, ua.VariantType.Int32))

        return components

    def _release(self) -> Any:
        @uamethod
        async def release(_parent: Any, handle: int):
            id_ = self._held.pop(handle, None)
            if id_ and id_ not in self._held.values():
                self._held_results.pop(id_, None)
            return outputs((OK if id_ else UNKNOWN, ua.VariantType.Int32))

        return release

    def _find(self, id_: str) -> Any:
        return self._last.get(id_) or self._held_results.get(id_)

    def _hold(self, result: Any) -> int:
        """A handle, by which a result stays when newer ones push it out; 0: none is left."""
        if len(self._held) >= HANDLES:
            return 0
        self._handle = self._handle % (2**32 - 1) + 1
        self._held[self._handle] = result.ResultId.Id
        self._held_results[result.ResultId.Id] = result
        return self._handle


def id_of(value: Any) -> str:
    """The Id of a structure that a client sent; "" where it sent none, or something else."""
    found = getattr(value, "Id", None)
    return found if isinstance(found, str) else ""


def page(found: list[Any], most: int, start: int) -> list[Any]:
    return found[start : start + most] if most else found[start:]


def _nothing() -> Any:
    return ua.ResultDataType()


def outputs(*values: tuple[Any, Any]) -> Any:
    made = [ua.Variant(v, kind, is_array=isinstance(v, list)) if v is not None else ua.Variant() for v, kind in values]
    return ua.CallMethodResult(OutputArguments=made)
