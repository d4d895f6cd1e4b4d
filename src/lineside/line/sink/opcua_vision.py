"""The address space of OPC 40100-1, "OPC UA for Machine Vision, part 1": one VisionSystem, filled by the line.

State machine    CurrentState of VisionStateMachine and of its AutomaticModeStateMachine; StateChanged events
Recipes          one a product (plant.py): its ids are the product's name; RecipePrepared events
Results          ResultReady events; the last `keep` of them: opcua_results.py

What would move the line (Halt, Reset, StartContinuous, PrepareRecipe, …) is in opcua_steering.py. Optional parts that
Lineside does not have are left out, so that no client finds a method which does nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.common.methods import uamethod

from lineside.line.sink.opcua_results import EVENT_FIELDS, Results, id_of, outputs, page
from lineside.line.sink.opcua_steering import METHODS, OK, Call, Method, Steering
from lineside.line.sink.plant import Plant, Recipe
from lineside.line.sink.sink import Standing
from lineside.line.states import EXECUTING, State
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
SYSTEM_STATES = {
    "Preoperational": 2,
    "Halted": 6,
    "Error": 5,
    "Initialized": 2,
    "Ready": 2,
    "SingleExecution": 1,
    "ContinuousExecution": 1,
}
VISION_SYSTEM, RECIPE, RESULT_READY, STATE_CHANGED, RECIPE_PREPARED, JOB_STARTED = 1003, 1002, 1024, 1018, 1022, 1013
DONT_CARE = 2  # of TriStateBooleanDataType
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
RECIPE_LEFT_OUT = ("Handle", "LinkProduct", "UnlinkProduct")
NAMES: dict[State, str] = {  # states of the line, as the model calls them
    "preoperational": "Preoperational",
    "halted": "Halted",
    "error": "Error",
    "initialized": "Initialized",
    "ready": "Ready",
    "single": "SingleExecution",
    "continuous": "ContinuousExecution",
}
PREPARED = ("ready", "single", "continuous")  # states in which the product is


class Vision:
    """One VisionSystem in a server's address space. Final; every method in the server's own loop."""

    def __init__(self, server: Any, plant: Plant, call: Call | None, lineside: str, keep: int):
        """call: gives an order to the line; None: clients look only."""
        self._server, self._lineside, self._keep = server, lineside, keep
        self._recipes = {recipe.product: recipe for recipe in plant.recipes}
        self._simulated = plant.simulated
        self._prepared: dict[str, Any] = {}  # the node that says so, by product
        self._steering = Steering(call, {one.product: bytes.fromhex(one.sha256) for one in plant.recipes})
        self._state = self._product = self._run_id = ""

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
        for path, order in METHODS.items():
            await self._steer(path, order)
        configuration = self._derived["ConfigurationIdDataType"](Id=f"lineside {self._lineside}")
        self._results = Results(self._ids, configuration, self._keep, self._simulated)
        for name, method in self._results.methods().items():
            self._server.link_method(await self._at(f"ResultManagement/{name}"), method)
        self._server.link_method(await self._at("RecipeManagement/GetRecipeListFiltered"), self._list_recipes())
        for recipe in self._recipes.values():
            await self._add_recipe(own, recipe)
        self._server.iserver.steering = self._steering.nodes
        self._ready = await self._server.get_event_generator(ua.NodeId(RESULT_READY, self._ns), self.system)
        self._changed = await self._server.get_event_generator(ua.NodeId(STATE_CHANGED, self._ns), self.system)
        self._recipe_prepared = await self._server.get_event_generator(
            ua.NodeId(RECIPE_PREPARED, self._ns), self.system
        )
        self._job_started = await self._server.get_event_generator(ua.NodeId(JOB_STARTED, self._ns), self.system)
        await self._to("Preoperational", "the line is starting")

    async def follow(self, standing: Standing) -> None:
        """The station stands otherwise: another state, or another product."""
        self._run_id = standing.run_id
        await self._steering.follow(standing)
        prepared = standing.product if standing.state in PREPARED else ""
        before, self._product = self._product, prepared
        for product in {before, prepared} & self._prepared.keys() if before != prepared else ():
            await self._prepared[product].write_value(product == prepared)
        name = NAMES[standing.state]
        started = name != self._state and standing.state in EXECUTING
        await self._to(name, standing.why)
        if prepared and prepared != before:
            event = self._recipe_prepared.event
            for key, value in zip(("ExternalId", "InternalId", "ProductId"), self._ids(prepared), strict=True):
                event.add_property(key, value, ua.VariantType.ExtensionObject)
            await self._recipe_prepared.trigger(message=f"{prepared} is prepared")
        if started:
            self._job_started.event.add_property("JobId", self._job(), ua.VariantType.ExtensionObject)
            await self._job_started.trigger(message=f"{name} of {prepared}")

    async def _to(self, state: str, why: str) -> None:
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
            result = self._results.add(one)
            event = self._ready.event
            for name in EVENT_FIELDS:
                self._note(event, name, getattr(result, name))
            event.Severity = 100 if one.verdict == "accept" else 200 if one.verdict == "hold" else 300
            await self._ready.trigger(message=f"{one.part_id}: {one.verdict} ({one.reason})")

    def _ids(self, product: str | None) -> tuple[Any, Any, Any]:
        """What a product is called: external and internal id of its recipe, and its own. None: the only one."""
        if product is None:
            product = next(iter(self._recipes)) if len(self._recipes) == 1 else ""
        recipe = self._recipes.get(product)
        known = {"Hash": bytes.fromhex(recipe.sha256), "HashAlgorithm": "SHA-256"} if recipe else {}
        return (
            self._derived["RecipeIdExternalDataType"](Id=product),
            self._derived["RecipeIdInternalDataType"](Id=product, **known),
            ua.ProductIdDataType(Id=product),
        )

    def _job(self) -> Any:
        return ua.JobIdDataType(Id=self._run_id)

    def _derive(self) -> None:
        """Their own classes for structures that only inherit: asyncua takes the base, whose encoding id is abstract."""
        self._derived: dict[str, Any] = {}
        for name, (data_type, encoding) in DERIVED.items():
            made = self._derived[name] = dataclass(
                type(name, (ua.BinaryIdBaseDataType,), {"data_type": ua.NodeId(data_type, self._ns)})
            )
            ua.register_extension_object(name, ua.NodeId(encoding, self._ns), made, ua.NodeId(data_type, self._ns))

    def _note(self, event: Any, name: str, value: Any) -> None:
        event.add_property(name, value, EVENT_FIELDS.get(name, ua.VariantType.LocalizedText))

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

    async def _steer(self, path: str, order: str) -> None:
        """One of METHODS."""
        read = {"start": self._steering.job, "start-single": self._steering.job}.get(order, self._steering.cause)
        if order in ("prepare", "unprepare"):
            read = self._steering.recipe
        owner = await self._at(path.rpartition("/")[0])
        await self._steering.link(
            self._server, Method(await self._at(path), owner.nodeid, order, read, self._says(order))
        )

    def _says(self, order: str, of_recipe: bool = False) -> Callable[[str, bool], list[Any]]:
        """What a method says before its Error, of a product, and whether the line obeyed: JobId; InternalIdOut (not of
        the recipe's own method), IsCompleted."""

        def says(product: str, obeyed: bool) -> list[Any]:
            if order in ("start", "start-single"):
                return [ua.Variant(self._job() if obeyed else ua.JobIdDataType())]
            recipe = [] if of_recipe or order not in ("prepare", "unprepare") else [ua.Variant(self._ids(product)[1])]
            return [*recipe, ua.Variant(obeyed)] if order == "prepare" else recipe

        return says

    async def _add_recipe(self, own: int, recipe: Recipe) -> None:
        folder = await self._at("RecipeManagement/Recipes")
        made = await folder.add_object(own, recipe.product, ua.NodeId(RECIPE, self._ns))
        for name in RECIPE_LEFT_OUT:
            await (await made.get_child(f"{self._ns}:{name}")).delete(recursive=True)
        external, internal, product = self._ids(recipe.product)
        values = {
            "ExternalId": (external, ua.VariantType.ExtensionObject),
            "InternalId": (internal, ua.VariantType.ExtensionObject),
            "LinkedProducts": ([product], ua.VariantType.ExtensionObject),
            "IsPrepared": (False, ua.VariantType.Boolean),
            "LastModified": (recipe.created, ua.VariantType.DateTime),
        }
        for name, (value, kind) in values.items():
            await (await made.get_child(f"{self._ns}:{name}")).write_value(ua.Variant(value, kind))
        self._prepared[recipe.product] = await made.get_child(f"{self._ns}:IsPrepared")
        for name in ("Prepare", "Unprepare"):
            node = await made.get_child(f"{self._ns}:{name}")
            says = self._says(name.lower(), of_recipe=True)
            method = Method(node, made.nodeid, name.lower(), self._steering.nothing, says, recipe.product)
            await self._steering.link(self._server, method)

    def _list_recipes(self) -> Any:
        @uamethod
        async def recipes(_parent: Any, external: Any, product: Any, prepared: Any, most: int, start: int, _wait: int):
            found = [
                self._ids(name)[1]
                for name in self._recipes
                if (id_of(external) or name) == name == (id_of(product) or name)
                and prepared in (DONT_CARE, name == self._product)
            ]
            whole, found = len(found), page(found, most, start)
            return outputs(
                (start + len(found) >= whole, ua.VariantType.Boolean),
                (len(found), ua.VariantType.UInt32),
                (0, ua.VariantType.UInt32),
                (found, ua.VariantType.ExtensionObject),
                (OK, ua.VariantType.Int32),
            )

        return recipes
