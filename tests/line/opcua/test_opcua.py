"""opcua: a real server, asked by real clients: states, recipes, results, events, and a client that comes again."""

import asyncio
import hashlib
import queue
from datetime import UTC

import pytest
from asyncua import ua

from lineside.bundle.folder import open_bundle
from lineside.bundle.model import load as load_model
from lineside.errors import LineError
from lineside.line.sink import opcua_steering, plant
from lineside.line.sink import opcua_vision as vision
from lineside.line.sink.opcua_results import Results
from lineside.line.sink.plant import recipes
from lineside.line.source.frame import Frame, Source
from lineside.line.view import only
from lineside.store.open import open_store
from tests.line.opcua.shop import Shop
from tests.line.test_sink import inspection
from tests.line.tiny import BLUE, GREY, RED, picture, run, stub, write_bundle

MODEL = vision.MODEL


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("opcua")
    views = only(load_model(write_bundle(folder / "tiny.bundle")), Source("mem:", iter(()), 0))
    shop = Shop(folder, "&keep=5", recipes(views))
    yield shop
    shop.sink.close()


async def at(client, path):
    ns = await client.get_namespace_index(MODEL)
    node = client.nodes.objects
    own = await client.get_namespace_array()
    for name in path.split("/"):
        index = own.index(next(uri for uri in own if uri.endswith(":line"))) if name == "VisionSystem" else ns
        index = 0 if name in ("CurrentState", "Id") else index
        node = await node.get_child(f"{index}:{name}")
    return node


async def call(client, path, *args):
    method = await at(client, path)
    owner = await at(client, path.rpartition("/")[0])
    return await owner.call_method(method, *args)


async def results(client, state=0, most=0, start=0, part=None):
    nothing = ua.Variant()
    ids = [nothing, part or nothing, *[nothing] * 6]
    numbers = [ua.Variant(n, ua.VariantType.UInt32) for n in (most, start)]
    state = ua.Variant(state, ua.VariantType.Int32)
    wait = ua.Variant(0, ua.VariantType.Int32)
    path = "VisionSystem/ResultManagement/GetResultListFiltered"
    return await call(client, path, state, *ids, *numbers, wait)


class Listener:
    """Events of a subscription, in their order."""

    def __init__(self):
        self.events = queue.SimpleQueue()

    def event_notification(self, event):
        self.events.put(event)

    def status_change_notification(self, status):
        self.events.put(status)


async def told(listener):
    """The next event; fails after a minute."""
    for _ in range(6000):
        try:
            return listener.events.get_nowait()
        except queue.Empty:
            await asyncio.sleep(0.01)
    raise AssertionError("no event within a minute")


async def state_of(client):
    names = ("VisionStateMachine", "VisionStateMachine/AutomaticModeStateMachine")
    found = [await (await at(client, f"VisionSystem/{name}/CurrentState")).read_value() for name in names]
    return tuple(one.Text or "" for one in found)


def test_the_model_is_the_official_one():
    data = vision.NODESET.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert digest in (vision.NODESET.parent / "README.md").read_text()
    licence = (vision.NODESET.parent / "LICENSE.txt").read_text()
    assert "OPC Foundation MIT License 1.00" in licence
    assert b"OPC Foundation MIT License 1.00" in data[:500]


def test_the_recipe_is_the_bundle(shop):
    async def ask(client):
        path = "VisionSystem/RecipeManagement/GetRecipeListFiltered"
        numbers = [ua.Variant(0, ua.VariantType.UInt32)] * 2
        more = [ua.Variant(2, ua.VariantType.Int32), *numbers, ua.Variant(0, ua.VariantType.Int32)]
        listed = await call(client, path, ua.Variant(), ua.Variant(), *more)
        folder = await at(client, "VisionSystem/RecipeManagement/Recipes")
        (recipe,) = await folder.get_children()
        return listed, (await recipe.read_browse_name()).Name

    (complete, count, handle, (recipe,), error), name = shop.within(ask)
    assert (complete, count, handle, error) == (True, 1, 0, 0)
    assert (recipe.Id, recipe.HashAlgorithm, name) == ("part", "SHA-256", "part")
    assert recipe.Hash.hex() == open_bundle(shop.folder / "tiny.bundle").sha256
    assert type(recipe).__name__ == "RecipeIdInternalDataType"


def test_without_orders_what_would_steer_the_line_is_refused_and_what_is_not_there_is_left_out(shop):
    async def ask(client):
        said = []
        cause = [ua.Variant(0, ua.VariantType.Int32), ua.Variant("", ua.VariantType.String)]
        for path in ("VisionStateMachine/Halt", "VisionStateMachine/Reset"):
            method = await at(client, f"VisionSystem/{path}")
            executable = await method.read_attribute(ua.AttributeIds.Executable)
            try:
                await call(client, f"VisionSystem/{path}", *cause)
                said.append("done")
            except ua.UaStatusCodeError as error:
                said.append((type(error).__name__, executable.Value.Value))
        system = await at(client, "VisionSystem")
        names = [(await one.read_browse_name()).Name for one in await system.get_children()]
        return said, set(names)

    said, names = shop.within(ask)
    assert said == [("BadNotExecutable", False)] * 2
    assert names == {"RecipeManagement", "ResultManagement", "SystemState", "VisionStateMachine"}


def test_results_are_listed_found_held_and_released(shop):
    ids = [f"{n:032x}" for n in range(1, 8)]
    for n in range(1, 8):
        reason = {5: "stopped", 6: "engine", 7: "deadline"}.get(n, "decided")
        shop.sink.tell([inspection(n, reason=reason, part_id=f"part {n}", verdict="accept")])

    async def ask(client):
        async def by_id(id_):
            path = "VisionSystem/ResultManagement/GetResultById"
            asked = ua.Variant(ua.ResultIdDataType(Id=id_), ua.VariantType.ExtensionObject)
            return await call(client, path, asked, ua.Variant(0, ua.VariantType.Int32))

        async def release(handle):
            path = "VisionSystem/ResultManagement/ReleaseResultHandle"
            return await call(client, path, ua.Variant(handle, ua.VariantType.UInt32))

        listed = await results(client)
        for _ in range(600):
            if listed[1] == 5 and listed[3][0].ResultId.Id == ids[6]:
                break
            await asyncio.sleep(0.02)
            listed = await results(client)
        assert (listed[0], listed[1], listed[4]) == (True, 5, 0)
        assert [one.ResultId.Id for one in listed[3]] == ids[6:1:-1]  # newest first; the oldest two are gone
        assert [one.ResultState for one in listed[3]] == [3, 4, 3, 1, 1]
        page = await results(client, most=2, start=1)
        assert (page[0], page[1], [one.ResultId.Id for one in page[3]]) == (False, 2, ids[5:3:-1])
        failed = await results(client, state=4)
        assert [one.PartId.Id for one in failed[3]] == ["part 6"]
        part = ua.Variant(ua.PartIdDataType(Id="part 4"), ua.VariantType.ExtensionObject)
        assert [one.ResultId.Id for one in (await results(client, part=part))[3]] == [ids[3]]

        handle, one, error = await by_id(ids[2])
        assert (handle > 0, one.PartId.Id, one.JobId.Id, error) == (True, "part 3", "r" * 32, 0)
        assert one.CreationTime.replace(tzinfo=UTC).isoformat() == "2026-11-22T13:00:00.005000+00:00"
        assert one.ProcessingTimes.ProcessingDuration == 2.5
        content = {pair.Key.Name: pair.Value.Value for pair in (v.Value for v in one.ResultContent)}
        assert (content["verdict"], content["label"], content["score"]) == ("accept", "good", 0.9)
        assert (await by_id(ids[0]))[2] == opcua_steering.UNKNOWN

        shop.sink.tell([inspection(n, id=f"later {n}") for n in range(20, 26)])
        for _ in range(600):
            if (await results(client))[3][0].ResultId.Id == "later 25":
                break
            await asyncio.sleep(0.02)
        assert (await by_id(ids[2]))[1].PartId.Id == "part 3"  # held, though newer ones pushed it out
        second = (await by_id(ids[2]))[0]
        third = (await by_id(ids[2]))[0]
        for held in (handle, handle + 1, second, third):
            assert await release(held) == 0
        assert await release(handle) == opcua_steering.UNKNOWN
        assert (await by_id(ids[2]))[2] == opcua_steering.UNKNOWN

    shop.within(ask)


@pytest.mark.parametrize("simulated", [True, False])
def test_parts_of_the_synthetic_camera_are_simulated(shop, simulated):
    """As mqtt and webhook say it (message.py). shop: has loaded the model's types."""
    url = "nuts:seed=1" if simulated else "basler:"
    results = Results(lambda product: (None, None, None), None, 5, plant.simulated(url))
    assert results.add(inspection()).IsSimulated is simulated


def test_a_whole_run_as_a_client_sees_it(shop, tmp_path):
    """States, ResultReady events in order, and their fields, while a true line runs."""
    store = open_store(tmp_path / "line.db")
    frames = [Frame(f"p{n}", n, "x", picture=picture(c)) for n, c in enumerate((RED, BLUE, GREY), 1)]

    async def ask(client):
        ns = await client.get_namespace_index(MODEL)
        system = await at(client, "VisionSystem")
        listener = Listener()
        subscription = await client.create_subscription(20, listener)
        kinds = [ua.NodeId(vision.STATE_CHANGED, ns), ua.NodeId(vision.RESULT_READY, ns)]
        await subscription.subscribe_events(system, evtypes=kinds)
        before = await state_of(client)
        line = asyncio.to_thread(run, stub(), Source("mem:", iter(frames), 3), [shop.sink], store)
        summary = await line
        events = [await told(listener) for _ in range(3 + 4)]
        after = await state_of(client)
        described = await (await at(client, "VisionSystem/SystemState")).read_value()
        await subscription.delete()
        return before, after, described, events, summary

    before, after, described, events, summary = shop.within(ask)
    store.dispose()
    assert summary.fault == ""
    assert (before, after) == (("Preoperational", ""), ("Halted", ""))
    assert described.State == ua.SystemStateDataType.NST_6
    states = [one for one in events if one.EventType.Identifier == vision.STATE_CHANGED]
    assert [one.ToState.Text for one in states] == ["Initialized", "Ready", "ContinuousExecution", "Halted"]
    ready = [one for one in events if one.EventType.Identifier == vision.RESULT_READY]
    assert events == [*states[:3], *ready, *states[3:]]
    assert [one.PartId.Id for one in ready] == ["p1", "p2", "p3"]
    assert [one.Message.Text for one in ready] == ["p1: accept (decided)", "p2: reject (decided)", "p3: hold (decided)"]
    assert {one.JobId.Id for one in ready} == {summary.run_id}
    assert {(one.InternalRecipeId.Id, one.ExternalRecipeId.Id, one.ProductId.Id) for one in ready} == {("part",) * 3}
    assert [(one.ResultState, one.IsPartial, one.IsSimulated) for one in ready] == [(1, False, False)] * 3
    verdicts = [{v.Value.Key.Name: v.Value.Value.Value for v in one.ResultContent}["verdict"] for one in ready]
    assert verdicts == ["accept", "reject", "hold"]


def test_a_fault_of_the_line_is_the_error_state(shop, tmp_path):
    store = open_store(tmp_path / "line.db")

    def broken():
        yield Frame("p1", 1, "x", picture=picture(RED))
        raise LineError("camera: gone")

    run(stub(), Source("mem:", broken(), None), [shop.sink], store)
    store.dispose()

    async def ask(client):
        for _ in range(600):
            if (await state_of(client))[0] == "Error":
                break
            await asyncio.sleep(0.02)
        described = await (await at(client, "VisionSystem/SystemState")).read_value()
        current = await at(client, "VisionSystem/VisionStateMachine/CurrentState/Id")
        return await state_of(client), described, (await current.read_value()).Identifier

    states, described, node = shop.within(ask)
    assert states == ("Error", "")
    assert (described.State, described.StateDescription) == (ua.SystemStateDataType.UDT_5, "camera: gone")
    assert node == 5030


def test_nothing_can_be_written(shop):
    async def ask(client):
        node = await at(client, "VisionSystem/VisionStateMachine/CurrentState")
        with pytest.raises(ua.UaStatusCodeError):
            await node.write_value(ua.LocalizedText("Operational"))

    shop.within(ask)


@pytest.mark.slow
def test_a_client_that_lost_the_server_finds_it_again(tmp_path):
    """The line is started anew on the same port; an auto-reconnecting client gets its events again."""
    first = Shop(tmp_path)

    async def go():
        client = await first.client(auto_reconnect=True, reconnect_max_delay=1.0)
        listener = Listener()
        async with client:
            await client.load_data_type_definitions()
            ns = await client.get_namespace_index(MODEL)
            subscription = await client.create_subscription(20, listener)
            await subscription.subscribe_events(
                await at(client, "VisionSystem"), evtypes=[ua.NodeId(vision.RESULT_READY, ns)]
            )
            first.sink.tell([inspection(1, part_id="before")])
            assert (await told(listener)).PartId.Id == "before"
            await asyncio.to_thread(first.sink.close)
            second = await asyncio.to_thread(_again, first)
            for n in range(1800):  # until the subscription is there again, events go to nobody
                second.tell([inspection(2 + n, part_id="after")])
                await asyncio.sleep(0.1)
                while not listener.events.empty():
                    event = listener.events.get_nowait()
                    if getattr(event, "PartId", None) and event.PartId.Id == "after":
                        return second
        raise AssertionError("no event after the restart")

    second = asyncio.run(go())
    second.close()


def _again(shop):
    from lineside.line.sink.catalog import open_sink

    return open_sink(shop.url, None)


def test_a_port_that_is_taken_is_a_sentence(shop):
    with pytest.raises(LineError, match=r"can not listen there .*; is another server on this port\?"):
        _again(shop)
