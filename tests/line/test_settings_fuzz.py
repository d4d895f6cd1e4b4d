"""Whatever stands in line.toml or in a URL: it is read, or refused with a SettingsError that shows no secret."""

import contextlib
import copy
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lineside.errors import SettingsError
from lineside.line.gate import modbus, s7
from lineside.line.gate.address import address
from lineside.line.gate.catalog import GATES
from lineside.line.settings import Settings, read_line, shown
from lineside.line.sink import mqtt, opcua, webhook
from lineside.line.sink.catalog import SINKS
from lineside.line.source import nuts, rtsp
from lineside.line.source.catalog import SOURCES
from lineside.line.source.settings import Camera, with_tail
from lineside.line.url import below, options, split
from lineside.redact import redact
from lineside.settings import read
from tests.line.test_settings import FULL

SECRET = "Geh3imes-W0rt"
SCHEMES = (*SOURCES, *SINKS, *GATES, "postgresql", "https", "htps", "rtps", "mqqt", "modbsu", "webhok", "x")
NAMES = (
    "token",
    "password",
    "key",
    "user",
    "unit",
    "deadline_ms",
    "ca",
    "plain",
    "secret",
    "trigger",
    "roi",
    "a b",
    "",
)

junk = st.text(st.characters(codec="utf-8"), max_size=12)
odd = st.text("@:/?#&=,.%[]*$+ 0a\\", max_size=6)  # what means something in a URL
hosts = st.sampled_from(("10.0.0.5", "broker.plant", "[::1]", "", "h:1883", "h:x", "h:99999", "[::1", "\u2100"))
users = st.sampled_from(("", "anna", "a.b", "a%40b"))
hidden = st.builds(lambda a, b: f"{a}{SECRET}{b}", odd, odd)


@st.composite
def secret_urls(draw) -> str:
    """A URL with a secret where one may stand: a password, an option of a name that is no setting of ours."""
    scheme = draw(st.sampled_from([s for s in SCHEMES if s not in ("folder", "video", "csv", "nuts", "stdout")]))
    inner = "https:" if scheme == "webhook" else ""
    people = draw(st.one_of(st.builds("{}:{}@".format, users, hidden), st.just("")))
    place = f"//{people}{draw(hosts)}/{draw(st.sampled_from(('', 't', 'a/b')))}"
    asked = [f"{draw(st.sampled_from(('token', 'password', 'secret', 'pw')))}={SECRET}"] if not people else []
    asked += [f"{draw(st.sampled_from(NAMES))}={draw(st.sampled_from(('1', 'x', '', 'true', '-1', 'nan', '1e999')))}"]
    asked += asked[-1:] if draw(st.booleans()) else []
    return f"{scheme}:{inner}{place}{draw(st.sampled_from('?#'))}{draw(st.sampled_from('&,')).join(asked)}"


def refused(call, *values) -> None:
    """If it refuses, then without a secret; anything but a SettingsError fails the test."""
    said = ""
    try:
        call(*values)
    except SettingsError as error:
        said = str(error)
    assert SECRET not in said


READERS = {
    "modbus": lambda url, where: address(url, where, modbus.Settings, 502),
    "s7": lambda url, where: address(url, where, s7.Settings, 102),
    "opcua": lambda url, where: address(url, where, opcua.Settings, 4840),
    "mqtt": lambda url, where: mqtt._broker(url, where, {"LINESIDE_MQTT_PASSWORD": SECRET}),
    "webhook": lambda url, where: webhook._receiver(where, {"LINESIDE_WEBHOOK_SECRET": SECRET}),
    "nuts": nuts._plan,
    "rtsp": lambda url, where: rtsp.addresses(where),
    "basler": lambda url, where: with_tail(url, where, Camera()),
}


@pytest.mark.parametrize("scheme", [scheme for scheme in READERS if scheme != "nuts"])  # where no secret can stand
@given(secret_urls())
@settings(max_examples=60, deadline=None)
@example("x://anna:Geh3imes-W0rt@h/t")
@example("x://h:Geh3imes-W0rt/t?unit=1")
@example("x://h/t?user=anna&password=Geh3imes-W0rt")
@example("x://h#token=Geh3imes-W0rt")
@example("x://:#Geh3imes-W0rt=@10.0.0.5/?token=1")
@example("x://anna:0?Geh3imes-W0rt=@10.0.0.5")
@example("x://h/t?anonymous=true&token=Geh3imes-W0rt")
def test_no_reader_of_a_url_shows_a_secret(scheme, url):
    url = f"{scheme}:{url.partition(':')[2]}"
    refused(READERS[scheme], url, url.partition(":")[2])


@pytest.mark.parametrize("scheme", READERS)
@given(st.one_of(junk, odd, st.builds("//{}/{}?{}#{}".format, hosts, junk, odd, odd)))
@settings(max_examples=60, deadline=None)
def test_no_reader_of_a_url_crashes(scheme, where):
    refused(READERS[scheme], f"{scheme}:{where}", where)


@given(secret_urls())
@settings(max_examples=300, deadline=None)
@example(f"rtsp://anna:{SECRET}@cam/x?channel=1")
@example(f"rtsp://anna:a@b#c/{SECRET}@cam/x")
@example(f"webhook:https://mes/r?token={SECRET}#limit=3")
@example(f"mqtt://h:{SECRET}/t")
@example(f"rtsp://cam/user=anna&password={SECRET}&channel=1")
@example(f"anna:{SECRET}@host")
@example(f"//h:{SECRET}/t")
@example(f"anna:b@c:{SECRET}@host")
def test_what_is_shown_holds_no_secret(url):
    assert SECRET not in redact(url)
    for schemes in (SOURCES, SINKS, GATES):
        refused(split, url, schemes, "source", "folder:PATH")


@given(st.one_of(junk, odd, secret_urls()))
def test_showing_and_moving_never_crash(text):
    redact(text)
    below(text, Path("/plant/line 3"))
    refused(options, mqtt.Options, text, f"mqtt://h/t?{text}")


@pytest.mark.parametrize(
    "url",
    [
        "folder:parts/a@b",
        "csv:r#1.csv",
        "nuts:seed=7,lost=3+9",
        "basler:4001#trigger=software",
        "modbus://10.0.0.5:502?unit=1&delay_ms=850",
        "mqtt://anna@broker/line3?password_file=x&plain=true",
        "rtsp://anna@cam/stream",
        "opcua://0.0.0.0:4840?pki=/etc/pki",
        "postgresql://anna@db/lineside",
        "stdout:",
    ],
)
def test_what_is_no_secret_is_shown(url):
    assert redact(url) == url


def test_every_option_of_ours_is_shown():
    from dataclasses import fields

    from lineside.redact import SHOWN

    names = {field.name for cls in (mqtt.Options, webhook.Options, opcua.Settings, modbus.Settings, s7.Settings, Camera)
             for field in fields(cls)}  # fmt: skip
    assert names <= SHOWN


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), junk, odd, secret_urls(),
        st.dates(), st.datetimes(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(junk, st.sampled_from(NAMES)), inner,
                                                                      max_size=3)),
    max_leaves=5,
)  # fmt: skip


def places(table: object, here: tuple = ()) -> list[tuple]:
    """The path of everything in a settings file."""
    inside = table.items() if isinstance(table, dict) else enumerate(table) if isinstance(table, list) else ()
    return [here, *(place for name, one in inside for place in places(one, (*here, name)))]


PLACES = places(tomllib.loads(FULL))[1:]


@given(st.sampled_from(PLACES), values, st.sampled_from(("replace", "beside")), st.one_of(junk, secret_urls()))
@settings(max_examples=400, deadline=None)
def test_whatever_stands_in_a_settings_file(place, value, how, name):
    table = copy.deepcopy(tomllib.loads(FULL))
    inner: object = table
    for step in place[:-1]:
        inner = inner[step]  # type: ignore[index]
    if how == "replace":
        inner[place[-1]] = value  # type: ignore[index]
    elif isinstance(inner, dict):
        inner[name] = value
    else:
        inner.append(value)  # type: ignore[attr-defined]
    kept: list[Settings] = []
    refused(lambda: kept.append(read(Settings, table, "line.toml")))
    for line in kept:  # it is a line, then: whatever is told of it holds no secret
        assert SECRET not in repr(shown(line))


@given(
    st.one_of(
        st.binary(max_size=60), st.binary(max_size=20).map(lambda b: FULL.encode() + b), st.text().map(str.encode)
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_bytes_of_the_file_are(tmp_path, data):
    (tmp_path / "line.toml").write_bytes(data)
    with contextlib.suppress(SettingsError):
        read_line(tmp_path / "line.toml")


def test_the_query_of_a_camera_or_receiver_is_its_own():
    """key= names a file of ours in an option, and whatever the camera likes in its own query."""
    assert below("rtsp://cam/s?key=abc", Path("/etc/line")) == "rtsp://cam/s?key=abc"
    assert (
        below("webhook:https://mes/r?key=abc#ca=mes.pem", Path("/l")) == "webhook:https://mes/r?key=abc#ca=/l/mes.pem"
    )
    assert below("mqtts://mes/r?ca=mes.pem", Path("/l")) == "mqtts://mes/r?ca=/l/mes.pem"
