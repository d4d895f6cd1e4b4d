"""opcua with orders=true: real clients steer a real station, each in its own words, and some may not."""

import asyncio
import functools
import json
import queue
import random
import sqlite3
import threading
import time

import numpy as np
import pytest
from asyncua import ua

from lineside.errors import LineError, SettingsError
from lineside.line.control import Line
from lineside.line.messages import Asked, Finish, Lost
from lineside.line.open import opened, work
from lineside.line.said import unheard
from lineside.line.settings import read_line
from lineside.line.sink import opcua, opcua_steering
from lineside.line.sink import opcua_vision as vision
from lineside.line.sink.sink import Standing
from lineside.line.states import LEADS, STATES
from lineside.line.station import Station
from tests.line.opcua.shop import LOOKER, Shop
from tests.line.opcua.test_opcua import MODEL, Listener, at, results, state_of, told
from tests.line.tiny import BLUE, RED, png, write_bundle

PATHS = [*opcua_steering.METHODS, *(f"RecipeManagement/Recipes/m8/{name}" for name in ("Prepare", "Unprepare"))]
DRIVE = {  # how a station that has just been made gets there
    "preoperational": (),
    "initialized": ("reset",),
    "ready": ("reset", "prepare"),
    "continuous": ("reset", "prepare", "start"),
    "single": ("reset", "prepare", "start-single"),
    "halted": ("reset", "prepare", "halt"),
    "error": ("reset",),
}


class Works:
    """A line without cameras: its main thread, which does to a true station what is asked. hang: it does not."""

    def __init__(self):
        self.inbox, self.asked, self.sink = queue.SimpleQueue(), [], None
        self.go = threading.Event()
        self.go.set()
        self.line = None
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while (message := self.inbox.get()) is not None:
            self.go.wait(60)
            message() if callable(message) else self.line.handle(message)

    def drive(self, state):
        """A new station, in this state."""
        done = threading.Event()

        def anew():
            self.line = Line(
                Station(products=("m8", "m10")),
                actuate=lambda *_: None,
                infer=lambda *_: None,
                remember=lambda *_: None,
                record=lambda *_: None,
                halt=threading.Event(),
                now_ns=time.monotonic_ns,
                changed=lambda change, who: self.sink.state(Standing(change.state, change.product, change.why, "run7")),
                obeyed=lambda asked, refused: self.asked.append((asked, refused)),
                resettable=True,
            )
            self.sink.state(Standing("preoperational", "", "", "run7"))
            for order in DRIVE[state]:
                self.line.handle(Asked(order, "the test", "m8" if order == "prepare" else ""))
            if state == "error":
                self.line.handle(Lost("the PLC is gone"))
            assert self.line.state.state == state
            self.asked.clear()
            done.set()

        self.inbox.put(anew)
        assert done.wait(20)


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    works = Works()
    works.shop = Shop(tmp_path_factory.mktemp("steering"), "&orders=true&anonymous=true", ask=works.inbox.put)
    works.sink = works.shop.sink
    yield works
    works.inbox.put(None)
    works.sink.close()


async def find(client, path):
    """A node below VisionSystem; looked up once a client."""
    known = client.__dict__.setdefault("found", {})
    if path not in known:
        known[path] = await _look(client, path)
    return known[path]


async def _look(client, path):
    own = next(n for n, uri in enumerate(await client.get_namespace_array()) if uri.endswith(":line"))
    ns = await client.get_namespace_index(MODEL)
    node = await client.nodes.objects.get_child(f"{own}:VisionSystem")
    for name in path.split("/"):
        node = await node.get_child(f"{own if name in ('m8', 'm10') else ns}:{name}")
    return node


async def order(client, path, *arguments, owner=None):
    """(status, outputs) of a call, also of one that is refused."""
    method = await find(client, path)
    owner = await find(client, owner or path.rpartition("/")[0])
    return await raw(client, owner.nodeid, method.nodeid, list(arguments))


async def raw(client, owner, method, arguments):
    request = ua.CallMethodRequest(ObjectId=owner, MethodId=method, InputArguments=arguments)
    (said,) = await client.uaclient.call([request])
    return said.StatusCode.name, [one.Value for one in said.OutputArguments or []]


def cause(number=0, text=""):
    return ua.Variant(number, ua.VariantType.Int32), ua.Variant(text, ua.VariantType.String)


def named(kind, id_, **more):
    """A structure as clients of the model send it. (asyncua's own send the base of those that only inherit.)"""
    model = ua.NodeId(vision.DERIVED[kind][0], 2) if kind in vision.DERIVED else None
    made = ua.extension_objects_by_datatype[model] if model else getattr(ua, kind)
    return ua.Variant(made(Id=id_, **more), ua.VariantType.ExtensionObject)


def recipe(external=None, internal=None, **more):
    return (
        named("RecipeIdExternalDataType", external) if external else ua.Variant(),
        named("RecipeIdInternalDataType", internal, **more) if internal else ua.Variant(),
    )


def job(measurement=None, part=None, external=None, product=None, more=None):
    kinds = ("MeasIdDataType", "PartIdDataType", "RecipeIdExternalDataType", "ProductIdDataType")
    given = (measurement, part, external, product)
    ids = [named(kind, id_) if id_ else ua.Variant() for kind, id_ in zip(kinds, given, strict=True)]
    return (*ids, ua.Variant(more) if more is not None else ua.Variant())


def arguments(path):
    name = path.rpartition("/")[2]
    if name.startswith("Start"):
        return job()
    return {"PrepareRecipe": recipe("m8"), "UnprepareRecipe": recipe("m8"), "Prepare": (), "Unprepare": ()}.get(
        name, cause()
    )


def meant(path):
    return opcua_steering.METHODS.get(path) or path.rpartition("/")[2].lower()


async def executable(client, path, attribute=ua.AttributeIds.Executable):
    return (await (await find(client, path)).read_attribute(attribute)).Value.Value


HALT, RESET = "VisionStateMachine/Halt", "VisionStateMachine/Reset"
START, SINGLE = f"{opcua_steering.AUTOMATIC}/StartContinuous", f"{opcua_steering.AUTOMATIC}/StartSingleJob"
PREPARE, UNPREPARE = "RecipeManagement/PrepareRecipe", "RecipeManagement/UnprepareRecipe"


@pytest.mark.parametrize("state", STATES)
def test_every_method_in_every_state_does_what_the_station_says(works, state):
    async def ask(client):
        found = {}
        for path in PATHS:
            works.drive(state)
            known = await settled(client, state)
            status, outputs = await order(client, path, *arguments(path))
            found[path] = (status, outputs[-1], known[path], works.line.state.state)
        return found

    async def settled(client, state):
        """Executable of every method, when the server has heard of the state."""
        for _ in range(1000):
            if (await state_of(client))[state not in ("preoperational", "halted", "error")] == vision.NAMES[state]:
                return {path: await executable(client, path) for path in PATHS}  # of all: no state shows another's
            await asyncio.sleep(0.01)
        raise AssertionError(f"no {state} within ten seconds")

    found = works.shop.within(ask)
    for path, (status, error, could, after) in found.items():
        leads = LEADS.get((state, meant(path)))
        # a recipe's own Unprepare is executable only where this recipe is the prepared one
        assert could == bool(leads), path
        if leads:
            assert (status, error) == ("Good", 0), path
        else:
            assert (status, error, after) == ("BadNotExecutable", opcua_steering.REFUSED, state), path


def test_who_ordered_and_why_is_the_user_his_application_and_his_words(works):
    works.drive("continuous")
    status, outputs = works.shop.within(lambda client: order(client, HALT, *cause(17, "a hand in the machine")))
    assert (status, outputs) == ("Good", [0])
    ((asked, refused),) = works.asked
    assert (asked.order, asked.who, asked.why) == ("halt", "anna @ urn:test:client", "cause 17: a hand in the machine")
    assert (refused, works.line.state.detail) == ("", "cause 17: a hand in the machine")


@pytest.mark.parametrize("user", [LOOKER, None], ids=str)
def test_who_only_looks_does_not_steer_and_sees_that_he_can_not(works, user):
    works.drive("continuous")

    async def ask(client):
        said = {path: await order(client, path, *arguments(path)) for path in PATHS}
        mine = {await executable(client, path, ua.AttributeIds.UserExecutable) for path in PATHS}
        return said, mine, await executable(client, HALT)

    said, mine, anybody = works.shop.within(ask, user=user)
    denied = ("BadUserAccessDenied", opcua_steering.NOT_ALLOWED)
    assert {(status, outputs[-1]) for status, outputs in said.values()} == {denied}
    assert (works.asked, works.line.state.state) == ([], "continuous")
    assert (mine, anybody) == ({False}, True)
    assert works.shop.within(lambda client: executable(client, HALT, ua.AttributeIds.UserExecutable)) is True


def test_without_orders_nobody_steers(tmp_path):
    asked = []
    shop = Shop(tmp_path, ask=asked.append)
    try:
        shop.sink.state(Standing("continuous", "m8", "", "run7"))

        async def ask(client):
            said = [await order(client, path, *arguments(path)) for path in PATHS]
            return said, [await executable(client, path) for path in PATHS]

        said, can = shop.within(ask)
    finally:
        shop.sink.close()
    assert {(status, outputs[-1]) for status, outputs in said} == {("BadNotExecutable", opcua_steering.REFUSED)}
    assert (set(can), asked) == ({False}, [])


def test_recipes_are_products(works):
    works.drive("initialized")

    async def listed(client, external=None, product=None, prepared=2, most=0, start=0):
        path = "RecipeManagement/GetRecipeListFiltered"
        wanted = named("ProductIdDataType", product) if product else ua.Variant()
        numbers = [ua.Variant(n, ua.VariantType.UInt32) for n in (most, start)]
        status, (complete, count, _, found, error) = await order(
            client, path, recipe(external)[0], wanted, ua.Variant(prepared, ua.VariantType.Int32), *numbers, cause()[0]
        )
        assert (status, count, error) == ("Good", len(found), 0)
        return [one.Id for one in found], complete

    async def facts(client):
        found = {}
        for name in ("m8", "m10"):
            nodes = [
                await find(client, f"RecipeManagement/Recipes/{name}/{one}")
                for one in ("InternalId", "ExternalId", "LinkedProducts", "IsPrepared")
            ]
            internal, external, products, prepared = [await node.read_value() for node in nodes]
            found[name] = (internal.Id, internal.Hash.hex(), external.Id, [one.Id for one in products], prepared)
        return found

    async def ask(client):
        assert await facts(client) == {
            "m8": ("m8", "a8" * 32, "m8", ["m8"], False),
            "m10": ("m10", "b1" * 32, "m10", ["m10"], False),
        }
        assert await listed(client) == (["m8", "m10"], True)
        assert await listed(client, most=1) == (["m8"], False)
        assert await listed(client, most=1, start=1) == (["m10"], True)
        assert await listed(client, external="m10") == await listed(client, product="m10") == (["m10"], True)
        assert await listed(client, external="m12") == await listed(client, "m8", "m10") == ([], True)
        assert await listed(client, prepared=1) == ([], True)

        listener = Listener()
        subscription = await client.create_subscription(20, listener)
        ns = await client.get_namespace_index(MODEL)
        kinds = [ua.NodeId(kind, ns) for kind in (vision.RECIPE_PREPARED, vision.STATE_CHANGED, vision.JOB_STARTED)]
        await subscription.subscribe_events(await at(client, "VisionSystem"), evtypes=kinds)

        status, (found, completed, error) = await order(client, PREPARE, *recipe("m10"))
        assert (status, found.Id, found.Hash.hex(), completed, error) == ("Good", "m10", "b1" * 32, True, 0)
        assert await state_of(client) == ("Operational", "Ready")
        assert [one[4] for one in (await facts(client)).values()] == [False, True]
        assert (await listed(client, prepared=1), await listed(client, prepared=0)) == ((["m10"], True), (["m8"], True))
        assert await executable(client, "RecipeManagement/Recipes/m8/Unprepare") is False
        assert await executable(client, "RecipeManagement/Recipes/m10/Unprepare") is True

        # the internal id counts where both are given, and its hash must be right where it is given
        right, wrong = {"Hash": bytes.fromhex("a8" * 32)}, {"Hash": bytes.fromhex("a9" * 32)}
        assert (await order(client, PREPARE, *recipe("m10", "m8", **wrong)))[0] == "BadNotFound"
        assert (await order(client, PREPARE, *recipe("m10", "m8", **right)))[0] == "Good"
        assert (await order(client, "RecipeManagement/Recipes/m10/Prepare")) == ("Good", [True, 0])
        said = await order(client, PREPARE, *recipe("m12"))
        assert (said[0], said[1][1:]) == ("BadNotFound", [False, opcua_steering.UNKNOWN])
        assert (await order(client, PREPARE, *recipe()))[0] == "BadInvalidArgument"
        base = ua.Variant(ua.RecipeIdExternalDataType(Id="m10"), ua.VariantType.ExtensionObject)
        assert (await order(client, PREPARE, base, ua.Variant()))[0] == "Good"

        # what is not prepared is neither started nor taken away
        assert (await order(client, UNPREPARE, *recipe("m8")))[0] == "BadInvalidState"
        assert (await order(client, START, *job(product="m8")))[0] == "BadInvalidState"
        assert (await order(client, START, *job(product="m10", external="m8")))[0] == "BadInvalidArgument"
        status, (started, error) = await order(client, START, *job(product="m10", external="m10"))
        assert (status, started.Id, error) == ("Good", "run7", 0)
        stop = f"{opcua_steering.AUTOMATIC}/Stop"
        assert await order(client, stop, *cause()) == ("Good", [0])
        assert await order(client, "RecipeManagement/Recipes/m10/Unprepare") == ("Good", [0])
        assert await state_of(client) == ("Operational", "Initialized")

        events = [await told(listener) for _ in range(8)]
        await subscription.delete()
        return events

    events = works.shop.within(ask)
    seen = [
        (one.FromState.Text, one.ToState.Text)
        if one.EventType.Identifier == vision.STATE_CHANGED
        else one.InternalId.Id
        if one.EventType.Identifier == vision.RECIPE_PREPARED
        else one.JobId.Id
        for one in events
    ]
    assert seen == [
        ("Initialized", "Ready"), "m10", "m8", "m10",
        ("Ready", "ContinuousExecution"), "run7", ("ContinuousExecution", "Ready"), ("Ready", "Initialized"),
    ]  # fmt: skip


def test_a_job_for_a_part_that_the_client_names_is_refused_and_not_given_another_name(works):
    works.drive("ready")

    async def ask(client):
        given = ({"part": "p7"}, {"measurement": "x"}, {"more": 5}, {"more": "speed"})
        return [await order(client, SINGLE, *job(**one)) for one in given]

    for status, (made, error) in works.shop.within(ask):
        assert (status, made.Id or "", error) == ("BadInvalidArgument", "", opcua_steering.ARGUMENT)
    assert works.asked == []


def test_a_method_is_of_its_object(works):
    works.drive("initialized")

    async def ask(client):
        path = "RecipeManagement/Recipes/m8/Prepare"
        other = await order(client, path, owner="RecipeManagement/Recipes/m10")
        method = (await find(client, path)).nodeid
        return other, await raw(client, ua.NodeId(2253), method, [])

    assert works.shop.within(ask) == (("BadMethodInvalid", []), ("BadMethodInvalid", []))
    assert works.asked == []


def test_a_line_that_hangs_is_a_time_out_and_starts_nothing_when_it_wakes(works, monkeypatch):
    monkeypatch.setattr(opcua, "PATIENCE_S", 0.2)
    works.drive("ready")
    works.go.clear()
    try:

        async def ask(client):
            said = [await order(client, START, *job()), await order(client, HALT, *cause())]
            await client.nodes.server.read_browse_name()  # the server lives
            return said

        start, halt = works.shop.within(ask)
    finally:
        works.go.set()
    assert (start[0], start[1][-1], halt) == (
        "BadTimeout", opcua_steering.NO_ANSWER, ("BadTimeout", [opcua_steering.NO_ANSWER])
    )  # fmt: skip
    done = threading.Event()
    works.inbox.put(done.set)
    assert done.wait(20)
    assert [(asked.order, refused.partition(":")[0]) for asked, refused in works.asked] == [
        ("start", "it came to the station too late"),
        ("halt", ""),  # however late
    ]
    assert works.line.state.state == "halted"


def test_of_two_clients_at_once_one_starts_the_line(works):
    async def both():
        one, other = await works.shop.client(), await works.shop.client()
        async with one, other:
            await one.load_data_type_definitions()
            rounds = []
            for _ in range(10):
                works.drive("ready")
                rounds.append(await asyncio.gather(order(one, START, *job()), order(other, SINGLE, *job())))
            return rounds

    for round_ in asyncio.run(both()):
        assert sorted(status for status, _ in round_) == ["BadNotExecutable", "Good"]


def rubbish(rng):
    """Any argument at all."""
    text = rng.choice(["", "m8", "x" * 5000, "\0", "ü", "\u202e"])
    kinds = ("RecipeIdExternalDataType", "RecipeIdInternalDataType", "PartIdDataType", "JobIdDataType")
    return rng.choice(
        [
            lambda: ua.Variant(),
            lambda: ua.Variant(rng.randrange(-(2**31), 2**31), ua.VariantType.Int32),
            lambda: ua.Variant(rng.randrange(2**63), ua.VariantType.UInt64),
            lambda: ua.Variant(rng.choice([0.5, float("nan"), float("inf")]), ua.VariantType.Double),
            lambda: ua.Variant(text, ua.VariantType.String),
            lambda: ua.Variant([text] * rng.randrange(3), ua.VariantType.String),
            lambda: ua.Variant([1, 2], ua.VariantType.Int32),
            lambda: ua.Variant(rng.randbytes(rng.randrange(40)), ua.VariantType.ByteString),
            lambda: ua.Variant(ua.LocalizedText(text), ua.VariantType.LocalizedText),
            lambda: ua.Variant(ua.NodeId(rng.randrange(9), 3), ua.VariantType.NodeId),
            lambda: ua.Variant(True, ua.VariantType.Boolean),
            lambda: named(rng.choice(kinds), text),
            lambda: named("RecipeIdInternalDataType", "m8", Hash=rng.randbytes(rng.randrange(40))),
            lambda: ua.Variant([ua.PartIdDataType(Id=text)], ua.VariantType.ExtensionObject),
            lambda: ua.Variant(
                ua.ExtensionObject(TypeId=ua.NodeId(rng.randrange(9999), 3), Body=rng.randbytes(rng.randrange(40))),
                ua.VariantType.ExtensionObject,
            ),
        ]
    )()


@pytest.mark.parametrize("seed", range(4))
def test_arguments_of_any_type_and_number_do_no_harm(works, seed, caplog):
    works.drive("ready")
    rng = random.Random(seed)

    async def ask(client):
        statuses = []
        nodes = [
            ((await find(client, path.rpartition("/")[0])).nodeid, (await find(client, path)).nodeid) for path in PATHS
        ]
        for _ in range(150):
            owner, method = rng.choice(nodes)
            statuses.append((await raw(client, owner, method, [rubbish(rng) for _ in range(rng.randrange(7))]))[0])
        works.drive("ready")
        return statuses, await order(client, HALT, *cause(1, "x" * 5000))

    statuses, halted = works.shop.within(ask)
    assert halted == ("Good", [0])
    assert len(works.line.state.detail) == len("cause 1: ") + opcua_steering.LONGEST_TEXT
    known = {
        "Good", "BadNotExecutable", "BadInvalidState", "BadNotFound", "BadInvalidArgument", "BadArgumentsMissing",
        "BadTooManyArguments",
    }  # fmt: skip
    assert set(statuses) <= known
    assert {"BadInvalidArgument", "BadArgumentsMissing", "BadTooManyArguments"} <= set(statuses)
    assert not [record for record in caplog.records if record.exc_info]  # no method raised


def test_orders_want_a_user_who_steers_encryption_and_a_line(tmp_path):
    with pytest.raises(SettingsError, match="orders=true needs encryption and certificates"):
        Shop(tmp_path / "a", "&orders=true&none=true&anonymous=true", ask=print)
    with pytest.raises(SettingsError, match="orders=true: nobody here takes orders"):
        Shop(tmp_path / "b", "&orders=true")
    users = tmp_path / "users"
    users.touch(mode=0o600)
    users.write_text("bert:scrypt:00:00:look\n")
    with pytest.raises(LineError, match=r"no user of .*users may steer; .* NAME --role steer"):
        Shop(tmp_path / "c", f"&orders=true&users={users}", ask=print)


def test_a_client_changes_the_product_inspects_one_part_halts_and_resets_a_whole_line(tmp_path):
    """line.toml with two products; from its start to its end by OPC UA."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for n in range(1, 5):
        (folder / f"{n}.png").write_bytes(png(RED if n != 3 else BLUE))
    write_bundle(tmp_path / "m8.bundle")
    write_bundle(tmp_path / "m10.bundle", operating_point=None, extra={"note.txt": b"another"})
    shop = Shop(tmp_path / "shop", "&orders=true", ask=print)  # for its keys, users and clients
    shop.sink.close()
    (tmp_path / "line.toml").write_text(
        f"""
        product = "m8"
        sinks = ["{shop.url}"]
        [[cameras]]
        source = "folder:parts"
        [products.m8]
        bundle = "m8.bundle"
        [products.m10]
        bundle = "m10.bundle"
        [store]
        url = "line.db"
        [control]
        autostart = false
        """
    )
    settings, inbox, summary = read_line(tmp_path / "line.toml"), queue.SimpleQueue(), []
    assert settings.takes_orders

    async def until(client, *wanted):
        for _ in range(2000):
            if (await state_of(client)) == wanted:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{await state_of(client)}, not {wanted}, for twenty seconds")

    async def ask(client):
        await until(client, "Operational", "Ready")
        assert (await order(client, PREPARE, *recipe("m10")))[0] == "Good"
        status, (made, _) = await order(client, SINGLE, *job(product="m10"))
        assert status == "Good"
        await until(client, "Operational", "Ready")
        while not (await results(client))[1]:
            await asyncio.sleep(0.01)
        (_, _, _, (first,), _) = await results(client)
        assert (first.InternalRecipeId.Id, first.ExternalRecipeId.Id, first.ProductId.Id) == ("m10",) * 3
        assert first.JobId.Id == made.Id
        assert (await order(client, HALT, *cause(5, "lunch")))[0] == "Good"
        assert await state_of(client) == ("Halted", "")
        assert (await order(client, START, *job()))[0] == "BadNotExecutable"
        assert (await order(client, RESET, *cause()))[0] == "Good"
        assert await state_of(client) == ("Operational", "Ready")
        assert (await order(client, PREPARE, *recipe("m8")))[0] == "Good"
        assert (await order(client, START, *job()))[0] == "Good"

    with opened(settings, np.random.default_rng(0), inbox.put) as it:
        runs = functools.partial(work, it, inbox=inbox, say=unheard, journal=tmp_path)
        thread = threading.Thread(target=lambda: summary.append(runs()), daemon=True)
        thread.start()
        try:
            shop.within(ask)
        finally:
            if not summary:
                inbox.put(Finish())
            thread.join(60)
    assert summary[0].fault == ""
    connection = sqlite3.connect(tmp_path / "line.db")
    rows = connection.execute("SELECT product, verdict, reason FROM inspection ORDER BY sequence").fetchall()
    events = connection.execute("SELECT kind, who, subject, detail FROM event ORDER BY rowid").fetchall()
    connection.close()
    assert rows[0][0] == "m10"
    assert {product for product, *_ in rows[1:]} <= {"m8"}
    commands = [
        (who, subject, json.loads(detail)["refused"] == "")
        for kind, who, subject, detail in events
        if kind == "command"
    ]
    me = "anna @ urn:test:client"
    assert commands == [
        (me, "prepare", True), (me, "start-single", True), (me, "halt", True), (me, "start", False),
        (me, "reset", True), (me, "prepare", True), (me, "start", True),
    ]  # fmt: skip
    states = [(who, json.loads(detail)["state"]) for kind, who, _, detail in events if kind == "state"]
    assert states[:3] == [("line", "initialized"), ("line", "ready"), (me, "ready")]
    assert states[3:6] == [(me, "single"), ("line", "ready"), (me, "halted")]
    assert states[6:11] == [(me, one) for one in ("preoperational", "initialized", "ready", "ready", "continuous")]
