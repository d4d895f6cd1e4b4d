"""The address space of OPC 40100-1, "OPC UA for Machine Vision, part 1": one VisionSystem, filled by the line.

State machine    CurrentState of VisionStateMachine and of its AutomaticModeStateMachine; StateChanged events
Recipes          one recipe, the bundle: its name, and the sha256 of its manifest as the hash
Results          the last `keep` results: ResultReady events, GetResultListFiltered, GetResultById, handles

Clients look; they do not steer: what would move the line (Halt, Reset, StartContinuous, PrepareRecipe, …) is there
because the model demands it, not executable, and answers BadNotExecutable. Optional parts that Lineside does not have
are left out, so that no client finds a method which does nothing.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.common.methods import uamethod

from lineside.store.records import Inspection

ua: Any = asyncua.ua  # most of it is made when it is imported or when a model is loaded: no types to check
MODEL = "http://opcfoundation.org/UA/MachineVision"
NODESET = Path(__file__).with_name("nodeset") / "Opc.Ua.MachineVision.NodeSet2.xml"
STATES = {  # name: (node of the state in the model, its StateNumber)
    "Preoperational": (5028, 1),
    "Halted": (5029, 2),
    "Error": (5030, 3),
    "Operational": (5031, 4),
    "Initialized": (5056, 5),
    "Ready": (5057, 6),
    "SingleExecution": (5058, 7),
    "ContinuousExecution": (5059, 8),
}
SYSTEM_STATES = {"Preoperational": 2, "Halted": 6, "Error": 5, "Initialized": 2, "Ready": 2, "ContinuousExecution": 1}
VISION_SYSTEM, RECIPE, RESULT_READY, STATE_CHANGED = 1003, 1002, 1024, 1018  # types of the model
COMPLETED, ABORTED, FAILED = 1, 3, 4  # ResultState, clause 12.19
RESULT_STATES = {"decided": COMPLETED, "stopped": ABORTED}  # by reason; every other: FAILED
OK, UNKNOWN = 0, -1  # Error of a method: above 0 is the standard's, below it ours
HANDLES = 64  # results that clients may hold beyond the last ones
DERIVED = {  # structures without fields of their own: name → (data type, its binary encoding)
    "RecipeIdInternalDataType": (3013, 5268),
    "RecipeIdExternalDataType": (3002, 5002),
    "ConfigurationIdDataType": (3008, 5090),
}
LEFT_OUT = (  # optional parts that are not there, by path below the system
    "ConfigurationManagement",
    "DiagnosticLevel",
    "SafetyStateManagement",
    *(f"RecipeManagement/{name}" for name in (
        "AddRecipe", "PrepareProduct", "Products", "RecipeTransfer", "ReleaseRecipeHandle", "RemoveRecipe",
        "UnlinkProduct", "UnprepareProduct",
    )),
    "ResultManagement/ResultTransfer",
    *(f"VisionStateMachine/{name}" for name in (
        "ConfirmAll", "SelectModeAutomatic", "ErrorStepModel", "HaltedStepModel", "PreoperationalStepModel",
    )),
    *(f"VisionStateMachine/AutomaticModeStateMachine/{name}" for name in (
        "SimulationMode", "ContinuousExecutionStepModel", "InitializedStepModel", "ReadyStepModel",
        "SingleExecutionStepModel",
    )),
)  # fmt: skip
STEERING = (  # mandatory methods by which a client would steer the line
    "RecipeManagement/PrepareRecipe",
    "RecipeManagement/UnprepareRecipe",
    "VisionStateMachine/Halt",
    "VisionStateMachine/Reset",
    *(f"VisionStateMachine/AutomaticModeStateMachine/{name}" for name in (
        "Abort", "StartContinuous", "StartSingleJob", "Stop",
    )),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """The bundle that the line runs."""

    name: str
    sha256: str  # hex; "" where there is none
    modified: datetime


class Vision:
    """One VisionSystem in a server's address space. Final; every method in the server's own loop."""

    def __init__(self, server: Any, recipe: Recipe, lineside: str, keep: int):
        self._server, self._recipe, self._lineside, self._keep = server, recipe, lineside, keep
        self._results: OrderedDict[str, Any] = OrderedDict()  # by result id, oldest first: ua.ResultDataType
        self._held: dict[int, str] = {}  # handle → result id
        self._held_results: dict[str, Any] = {}
        self._handle = 0
        self._state = ""

    async def build(self, uri: str) -> None:
        """Load the model, make the system and its methods; ends in Preoperational."""
        await self._server.import_xml(str(NODESET))
        self._ns = await self._server.get_namespace_index(MODEL)
        self._derive()
        own = await self._server.register_namespace(uri)
        objects = self._server.nodes.objects
        self.system = await objects.add_object(own, "VisionSystem", ua.NodeId(VISION_SYSTEM, self._ns))
        for path in LEFT_OUT:
            await (await self._at(path)).delete(recursive=True)
        for path in STEERING:
            await self._refuse(await self._at(path))
        link = self._server.link_method
        link(await self._at("ResultManagement/GetResultListFiltered"), self._list_results())
        link(await self._at("ResultManagement/GetResultById"), self._result_by_id())
        link(await self._at("ResultManagement/GetResultComponentsById"), self._components_by_id())
        link(await self._at("ResultManagement/ReleaseResultHandle"), self._release())
        link(await self._at("RecipeManagement/GetRecipeListFiltered"), self._list_recipes())
        await self._add_recipe(own)
        self._ready = await self._server.get_event_generator(ua.NodeId(RESULT_READY, self._ns), self.system)
        self._changed = await self._server.get_event_generator(ua.NodeId(STATE_CHANGED, self._ns), self.system)
        await self.to("Preoperational", "the line is starting")

    async def to(self, state: str, why: str = "") -> None:
        """Go to a state: one of the four, or one of Operational's own. why: for people."""
        if state == self._state:
            return
        outer = state if state in ("Preoperational", "Halted", "Error") else "Operational"
        before, self._state = self._state, state
        await self._current("VisionStateMachine", outer)
        await self._current("VisionStateMachine/AutomaticModeStateMachine", state if outer == "Operational" else "")
        described = ua.SystemStateDescriptionDataType(
            State=ua.SystemStateDataType(SYSTEM_STATES[state]), StateDescription=why or state
        )
        await (await self._at("SystemState")).write_value(described)
        self._changed.event.Severity = 700 if state == "Error" else 100
        self._note(self._changed.event, "FromState", ua.LocalizedText(before))
        self._note(self._changed.event, "ToState", ua.LocalizedText(state))
        await self._changed.trigger(message=f"{before or 'none'} → {state}" + (f": {why}" if why else ""))

    async def tell(self, group: Sequence[Inspection]) -> None:
        """Keep the results, and let subscribers know."""
        for one in group:
            result = self._result(one)
            self._results[one.id] = result
            while len(self._results) > self._keep:
                self._results.popitem(last=False)
            event = self._ready.event
            for name in _EVENT_FIELDS:
                self._note(event, name, getattr(result, name))
            event.Severity = 100 if one.verdict == "accept" else 200 if one.verdict == "hold" else 300
            await self._ready.trigger(message=f"{one.part_id}: {one.verdict} ({one.reason})")

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
        return ua.ResultDataType(
            ResultId=ua.ResultIdDataType(Id=one.id),
            HasTransferableDataOnFile=False,
            IsPartial=False,
            IsSimulated=False,
            ResultState=ua.Int32(RESULT_STATES.get(one.reason, FAILED)),
            PartId=ua.PartIdDataType(Id=one.part_id),
            InternalRecipeId=self._recipe_id(),
            InternalConfigurationId=self._derived["ConfigurationIdDataType"](Id=f"lineside {self._lineside}"),
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

    def _recipe_id(self) -> Any:
        known = {"Hash": bytes.fromhex(self._recipe.sha256), "HashAlgorithm": "SHA-256"} if self._recipe.sha256 else {}
        return self._derived["RecipeIdInternalDataType"](Id=self._recipe.name, **known)

    def _derive(self) -> None:
        """Their own classes for structures that only inherit: asyncua takes the base, whose encoding id is abstract."""
        self._derived: dict[str, Any] = {}
        for name, (data_type, encoding) in DERIVED.items():
            made = self._derived[name] = dataclass(
                type(name, (ua.BinaryIdBaseDataType,), {"data_type": ua.NodeId(data_type, self._ns)})
            )
            ua.register_extension_object(name, ua.NodeId(encoding, self._ns), made, ua.NodeId(data_type, self._ns))

    def _note(self, event: Any, name: str, value: Any) -> None:
        event.add_property(name, value, _EVENT_FIELDS.get(name, ua.VariantType.LocalizedText))

    async def _at(self, path: str) -> Any:
        node = self.system
        for name in path.split("/"):
            node = await node.get_child(f"{self._ns}:{name}")
        return node

    async def _current(self, path: str, state: str) -> None:
        current = await (await self._at(path)).get_child("0:CurrentState")
        await current.write_value(ua.LocalizedText(state))
        node = ua.NodeId(STATES[state][0], self._ns) if state else ua.NodeId()
        await (await current.get_child("0:Id")).write_value(node, ua.VariantType.NodeId)

    async def _refuse(self, method: Any) -> None:
        for attribute in (ua.AttributeIds.Executable, ua.AttributeIds.UserExecutable):
            await method.write_attribute(attribute, ua.DataValue(ua.Variant(False, ua.VariantType.Boolean)))

        async def refused(_parent: Any, *_: Any) -> Any:
            return ua.StatusCode(ua.StatusCodes.BadNotExecutable)

        self._server.link_method(method, refused)

    async def _add_recipe(self, own: int) -> None:
        folder = await self._at("RecipeManagement/Recipes")
        made = await folder.add_object(own, self._recipe.name, ua.NodeId(RECIPE, self._ns), instantiate_optional=False)
        values = {
            "InternalId": (self._recipe_id(), ua.VariantType.ExtensionObject),
            "IsPrepared": (True, ua.VariantType.Boolean),
            "LastModified": (self._recipe.modified, ua.VariantType.DateTime),
        }
        for name, (value, kind) in values.items():
            await (await made.get_child(f"{self._ns}:{name}")).write_value(ua.Variant(value, kind))
        for name in ("Prepare", "Unprepare"):
            await self._refuse(await made.get_child(f"{self._ns}:{name}"))

    def _list_recipes(self) -> Any:
        @uamethod
        async def recipes(_parent: Any, external: Any, product: Any, prepared: Any, most: int, start: int, _wait: int):
            found = [] if _id(external) or _id(product) or prepared == 0 else [self._recipe_id()]
            found = _page(found, most, start)
            return _outputs(
                (True, ua.VariantType.Boolean),
                (len(found), ua.VariantType.UInt32),
                (0, ua.VariantType.UInt32),
                (found, ua.VariantType.ExtensionObject),
                (OK, ua.VariantType.Int32),
            )

        return recipes

    def _list_results(self) -> Any:
        wanted = ("MeasId", "PartId", "ExternalRecipeId", "InternalRecipeId", "ExternalConfigurationId")
        wanted += ("InternalConfigurationId", "ProductId", "JobId")

        @uamethod
        async def results(_parent: Any, state: int, *more: Any):
            ids, (most, start, _wait) = more[:8], more[8:]
            found = [
                one
                for one in reversed(self._results.values())
                if (not state or one.ResultState == state)
                and all(not _id(ask) or _id(getattr(one, n)) == _id(ask) for n, ask in zip(wanted, ids, strict=True))
            ]
            page = _page(found, most, start)
            return _outputs(
                (start + len(page) >= len(found), ua.VariantType.Boolean),
                (len(page), ua.VariantType.UInt32),
                (0, ua.VariantType.UInt32),
                (page, ua.VariantType.ExtensionObject),
                (OK, ua.VariantType.Int32),
            )

        return results

    def _result_by_id(self) -> Any:
        @uamethod
        async def result(_parent: Any, asked: Any, _wait: int):
            found = self._find(_id(asked))
            handle = self._hold(found) if found else 0
            return _outputs(
                (handle, ua.VariantType.UInt32),
                (found or _nothing(), ua.VariantType.ExtensionObject),
                (OK if found else UNKNOWN, ua.VariantType.Int32),
            )

        return result

    def _components_by_id(self) -> Any:
        names = ("HasTransferableDataOnFile", "", *_EVENT_FIELDS)

        @uamethod
        async def components(_parent: Any, asked: Any, _wait: int):
            found = self._find(_id(asked))
            told = found or _nothing()
            values = [
                (self._hold(found) if found else 0, ua.VariantType.UInt32)
                if not name
                else (getattr(told, name), _COMPONENTS.get(name, _EVENT_FIELDS.get(name, ua.VariantType.Boolean)))
                for name in names
            ]
            return _outputs(*values, (OK if found else UNKNOWN, ua.VariantType.Int32))

        return components

    def _release(self) -> Any:
        @uamethod
        async def release(_parent: Any, handle: int):
            id_ = self._held.pop(handle, None)
            if id_ and id_ not in self._held.values():
                self._held_results.pop(id_, None)
            return _outputs((OK if id_ else UNKNOWN, ua.VariantType.Int32))

        return release

    def _find(self, id_: str) -> Any:
        return self._results.get(id_) or self._held_results.get(id_)

    def _hold(self, result: Any) -> int:
        """A handle, by which a result stays when newer ones push it out; 0: none is left."""
        if len(self._held) >= HANDLES:
            return 0
        self._handle = self._handle % (2**32 - 1) + 1
        self._held[self._handle] = result.ResultId.Id
        self._held_results[result.ResultId.Id] = result
        return self._handle


_EVENT_FIELDS = {  # of ResultReadyEventType, in the order of GetResultComponentsById: name → variant
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
_COMPONENTS = {"HasTransferableDataOnFile": ua.VariantType.Boolean}


def _id(value: Any) -> str:
    """The Id of a structure that a client sent; "" where it sent none, or something else."""
    found = getattr(value, "Id", None)
    return found if isinstance(found, str) else ""


def _page(found: list[Any], most: int, start: int) -> list[Any]:
    return found[start : start + most] if most else found[start:]


def _nothing() -> Any:
    return ua.ResultDataType()


def _outputs(*values: tuple[Any, Any]) -> Any:
    made = [ua.Variant(v, kind, is_array=isinstance(v, list)) if v is not None else ua.Variant() for v, kind in values]
    return ua.CallMethodResult(OutputArguments=made)
