"""line.toml: what it may say, what it is told when it says something else; and the flags as the same record."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lineside.cli.main import main
from lineside.errors import SettingsError
from lineside.line.open import opened
from lineside.line.settings import Settings, of_flags, read_line, shown
from lineside.line.tables import LineCamera, Log, Parts, Product, Store, Web
from tests.line.tiny import BLUE, GREY, RED, png, write_bundle

FULL = """
name = "press-3"
product = "m8"
sinks = ["mqtt://broker/line3?user=x&password_file=mqtt.secret", "csv:results.csv", "opcua://0.0.0.0?pki=/etc/pki"]
gate = "modbus://192.168.0.10?unit=1"

[products.m8]
bundles.top = "m8-top.bundle"
bundles.side = "/models/m8-side.bundle"
[products.m10]
bundle = "m10.bundle"

[[cameras]]
name = "top"
source = "basler:40012345"
trigger = "hardware"
exposure_us = 2000
roi = [16, 0, 640, 480]
[[cameras]]
name = "side"
source = "folder:parts/side"

[parts]
max_fps = 20.0
deadline_ms = 50
together_ms = 5
stop_after_rejects = 10
watchdog_s = 30.0
limit = 1000

[store]
url = "line.db"
pictures = "rejects"
every = 100
folder = "pictures"
quota_gb = 50

[web]
metrics = "127.0.0.1:9464"

[log]
format = "json"
level = "warning"
file = "line.log"
"""
ONE = '[products.m8]\nbundle = "m8.bundle"\n'
CAMERA = '[[cameras]]\nsource = "folder:parts"\n'


def line_of(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "line.toml"
    file.write_text(text)
    return read_line(file)


@pytest.mark.parametrize(
    ("sinks", "control", "orders"),
    [
        ("[]", "", False),
        ('["opcua://0.0.0.0?pki=pki"]', "", False),
        ('["opcua://0.0.0.0?pki=pki&orders=false"]', "", False),
        ('["csv:orders=true"]', "", False),
        ('["opcua://0.0.0.0?pki=pki&orders=true"]', "", True),
        ("[]", 'socket = "line.sock"', True),
    ],
)
def test_a_line_that_waits_to_be_started_needs_somebody_who_can(tmp_path, sinks, control, orders):
    text = f"sinks = {sinks}\n{ONE}{CAMERA}[control]\n{control}\n"
    assert line_of(tmp_path, text).takes_orders == orders
    if orders:
        assert not line_of(tmp_path, text + "autostart = false").control.autostart
    else:
        with pytest.raises(SettingsError, match=r"control\.autostart: nobody could start the station"):
            line_of(tmp_path, text + "autostart = false")


def test_all_that_it_can_say(tmp_path):
    line = line_of(tmp_path, FULL)
    top = LineCamera(
        source="basler:40012345", name="top", trigger="hardware", exposure_us=2000.0, roi=(16, 0, 640, 480)
    )
    assert line == Settings(
        name="press-3",
        product="m8",
        cameras=(top, LineCamera(source=f"folder:{tmp_path}/parts/side", name="side")),
        products={
            "m8": Product(bundles={"top": tmp_path / "m8-top.bundle", "side": Path("/models/m8-side.bundle")}),
            "m10": Product(tmp_path / "m10.bundle"),
        },
        sinks=(
            f"mqtt://broker/line3?user=x&password_file={tmp_path}/mqtt.secret",
            f"csv:{tmp_path}/results.csv",
            "opcua://0.0.0.0?pki=/etc/pki",
        ),
        gate="modbus://192.168.0.10?unit=1",
        parts=Parts(20.0, 50.0, 5.0, 10, 30.0, 1000),
        store=Store(f"{tmp_path}/line.db", "rejects", 100, tmp_path / "pictures", 50.0),
        web=Web("127.0.0.1:9464"),
        log=Log("json", "warning", tmp_path / "line.log"),
    )
    assert line.bundle("m8", "side") == Path("/models/m8-side.bundle")
    assert line.bundle("m10", "side") == line.bundle("m10", "top") == tmp_path / "m10.bundle"
    assert line.first_bundle == tmp_path / "m8-top.bundle"
    assert len(line.bundles) == 3
    assert (line.cameras[0].how.exposure_us, line.cameras[0].how.trigger) == (2000.0, "hardware")


def test_the_least_that_it_must_say(tmp_path):
    line = line_of(tmp_path, CAMERA + ONE)
    assert line == Settings(
        cameras=(LineCamera(source=f"folder:{tmp_path}/parts"),), products={"m8": Product(tmp_path / "m8.bundle")}
    )
    assert (line.first_product, line.store_place) == ("m8", tmp_path / "m8.bundle.db")
    assert line.pictures_folder == tmp_path / "m8.bundle.db.pictures"


@pytest.mark.parametrize("trigger", ["free", "hardware"])
def test_a_gate_and_a_camera_that_may_come_back_are_refused_unless_the_line_triggers_it(tmp_path, trigger):
    """How many parts passed meanwhile nobody can tell: SEQUENCE would not be the number of the PLC's trigger."""
    says = rf"gate: the camera camera has reconnect_s, and its trigger is {trigger}: .*; leave reconnect_s out"
    gate = {"gate": "s7://plc", "deadline_ms": 5.0}
    for url in (f"basler:#trigger={trigger},reconnect_s=60", f"aravis:1.2.3.4#reconnect_s=60,trigger={trigger}"):
        with pytest.raises(SettingsError, match=says):
            of_flags(tmp_path / "m8.bundle", url, **gate)
        of_flags(tmp_path / "m8.bundle", url)
        of_flags(tmp_path / "m8.bundle", url.replace("reconnect_s", "timeout_s"), **gate)
        of_flags(tmp_path / "m8.bundle", url.replace(trigger, "software"), **gate)
    table = f'[[cameras]]\nsource = "basler:"\ntrigger = "{trigger}"\nreconnect_s = 60\n'
    with pytest.raises(SettingsError, match=says):
        line_of(tmp_path, 'gate = "s7://plc"\n' + table + "[parts]\ndeadline_ms = 5\n" + ONE)


@pytest.mark.parametrize("url", ["rtsp://c/1#reconnect_s=60", "v4l:/dev/video0#reconnect_s=60"])
def test_a_stream_runs_by_itself_so_it_is_refused_too(tmp_path, url):
    with pytest.raises(SettingsError, match="its trigger is free"):
        of_flags(tmp_path / "m8.bundle", url, gate="s7://plc", deadline_ms=5.0)


def test_a_gate_without_a_deadline_is_refused_in_the_file_and_on_the_command_line_alike(tmp_path):
    says = (
        r"gate: needs parts.deadline_ms \(or --deadline-ms\): without it a verdict may come when its part is long past"
    )
    with pytest.raises(SettingsError, match=says):
        line_of(tmp_path, 'gate = "s7://plc"\n' + CAMERA + ONE)
    with pytest.raises(SettingsError, match=says):
        of_flags(tmp_path / "m8.bundle", "folder:parts", gate="s7://plc")
    assert of_flags(tmp_path / "m8.bundle", "folder:parts", gate="s7://plc", deadline_ms=5.0).gate == "s7://plc"


@pytest.mark.parametrize("deadline_ms", [20.0, 500.0])
def test_a_deadline_that_ends_when_the_part_has_passed_the_gate_is_refused(tmp_path, deadline_ms):
    says = rf"gate: with delay_ms=20 .* parts\.deadline_ms \(or --deadline-ms\) is {deadline_ms:g}; expected less than"
    gate = "modbus://plc?unit=1&delay_ms=20"
    with pytest.raises(SettingsError, match=says):
        line_of(tmp_path, f'gate = "{gate}"\n{CAMERA}{ONE}[parts]\ndeadline_ms = {deadline_ms}\n')
    with pytest.raises(SettingsError, match=says):
        of_flags(tmp_path / "m8.bundle", "folder:parts", gate=gate, deadline_ms=deadline_ms)
    for fits in ("modbus://plc", "modbus://plc?delay_ms=0", "s7://plc?delay_ms=501", "modbus://plc?delay_ms=soon"):
        assert of_flags(tmp_path / "m8.bundle", "folder:parts", gate=fits, deadline_ms=deadline_ms).gate == fits


def test_the_flags_make_the_same_record(tmp_path):
    bundle = tmp_path / "m8.bundle"
    text = CAMERA + ONE + 'sinks_ = 1\n[parts]\nmax_fps = 4.0\ndeadline_ms = 5.0\nlimit = 9\n[store]\nurl = "s.db"\n'
    line = line_of(tmp_path, 'sinks = ["stdout:"]\ngate = "s7://plc"\n' + text.replace("sinks_ = 1\n", ""))
    flags = of_flags(
        bundle,
        f"folder:{tmp_path}/parts",
        sinks=["stdout:"],
        gate="s7://plc",
        store=f"{tmp_path}/s.db",
        max_fps=4.0,
        deadline_ms=5.0,
        limit=9,
    )
    assert flags == line


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'cameras = [{source = "basler:", exposre_us = 1}]\n' + ONE,
            r": cameras\[0\]\.exposre_us: unknown key; did you",
        ),
        (
            'cameras = [{source = "basler:", exposure_ms = 2}]\n' + ONE,
            r": cameras\[0\]\.exposure_ms: unknown key; did you mean exposure_us = 2000\? It is in microseconds",
        ),
        (
            CAMERA + "exposure = 2\n" + ONE,
            r"cameras\[0\]\.exposure: unknown key; did you mean exposure_us\? It is in mic",
        ),
        (CAMERA + "timeout_ms = 500\n" + ONE, r"did you mean timeout_s = 0\.5\? It is in seconds"),
        (
            CAMERA + ONE + "[parts]\ndeadline_s = 0.05",
            r": parts\.deadline_s: .* deadline_ms = 50\? It is in milliseconds",
        ),
        (
            CAMERA + ONE + "[parts]\nmax_hz = 5",
            r"parts\.max_hz: unknown key; did you mean max_fps = 5\? It is in a second",
        ),
        (CAMERA + ONE + "[store]\nquota_mb = 500", r"did you mean quota_gb = 0\.5\? It is in gigabytes"),
        (CAMERA + ONE + "[prats]", r"prats: unknown key; did you mean parts\?"),
        (CAMERA + ONE + "[parts]\ndeadline_ms = '50'", r"parts\.deadline_ms: expected a number, got '50'"),
        (CAMERA + ONE + "[parts]\nlimit = 1.5", r"parts\.limit: expected a whole number, got 1.5"),
        (CAMERA + ONE + "[parts]\ndeadline_ms = 0", "parts: deadline_ms: expected a number from 0.001 to 1e"),
        (CAMERA + ONE + "[parts]\nmax_fps = nan", "parts: max_fps: expected a number from 0.001"),
        (CAMERA + ONE + "[parts]\nwatchdog_s = inf", "parts: watchdog_s: expected a number from 0.001"),
        (CAMERA + ONE + f"[parts]\ndeadline_ms = 1{'0' * 400}", "parts.deadline_ms: expected a number, got 1000"),
        (
            CAMERA + ONE + "[parts]\nstop_after_rejects = 0",
            "stop_after_rejects: expected a whole number above 0, got 0",
        ),
        (CAMERA + ONE + "[store]\npictures = 'all'\nevery = 5", 'every: pictures = "all" keeps every picture'),
        (
            CAMERA + ONE + "[store]\npictures = 'some'",
            r"store\.pictures: expected one of 'none', 'rejects', 'all', got",
        ),
        (CAMERA + ONE + "[store]\nfolder = 'kept'", 'pictures: none is kept, .*; say pictures = "rejects"'),
        (CAMERA + ONE + "[store]\nquota_gb = 5", "pictures: none is kept, so folder and quota_gb mean nothing"),
        (CAMERA + ONE + "[store]\nquota_gb = 0.01", "quota_gb: expected a number from 0.1 to 1000000, got 0.01"),
        (
            CAMERA + ONE + "[store]\nurl = 'postgresql://h/d'\nevery = 5",
            "so nothing says where pictures go; name a fol",
        ),
        (CAMERA + ONE + "[store]\nurl = 'mysql://h/d'", "expected a file, or a URL that begins with postgresql:"),
        (CAMERA + ONE + "[web]\nmetrics = '0.0.0.0:9464'", "can be read by other machines, .* other_machines = true"),
        (
            CAMERA + ONE + "[web]\nmetrics = '127.0.0.1:9'\ncertificate = 'a.pem'",
            "certificate and key: expected both",
        ),
        (
            CAMERA + ONE + "[web]\nmetrics = '127.0.0.1:9'\nclient_ca = 'a.pem'",
            "client_ca: needs certificate and key",
        ),
        (CAMERA + ONE + "[web]\ncertificate = 'a.pem'\nkey = 'a.key'", "certificate: nothing is served"),
        (
            CAMERA + ONE + "[web]\nmetrics = '0.0.0.0:9'\ncertificate = 'a.pem'\nkey = 'a.key'",
            "can be read by other machines, by anyone there",
        ),
        (CAMERA + ONE + "[web]\nmetrics = '9464'", "expected ADDRESS:PORT such as 127.0.0.1:9464, got '9464'"),
        (CAMERA + ONE + "[web]\nmetrics = '127.0.0.1:99999'", "expected a port from 0 to 65535"),
        (CAMERA + ONE + "[log]\nlevel = 'loud'", r"log\.level: expected one of 'info', 'warning', 'error'"),
        (CAMERA + "[products.m8]\n", "products.m8: expected either bundle = PATH for every camera, or bundles.CAMERA"),
        (CAMERA + ONE + "bundles.camera = 'x'", "products.m8: expected either bundle = PATH for every camera, or bund"),
        (
            CAMERA + "[products.m8]\nbundles.top = 'x'",
            r"products\.m8\.bundles\.top: there is no such camera; there are c",
        ),
        (CAMERA + "[products.m8]\nbundle = ''", r"products\.m8\.bundle: expected a path, got ''"),
        (CAMERA.replace("parts", "") + ONE, r"cameras\[0\].*'folder:': no path after the colon"),
        (CAMERA.replace("folder:parts", "watch:#timeout_s=1") + ONE, "no path after the colon .*watch:PATH"),
        ('sinks = ["csv:"]\n' + CAMERA + ONE, r"sinks\[0\]: 'csv:': no path after the colon"),
        (CAMERA, r"products: is required \(a table\)"),
        ("products = {}\n" + CAMERA, r"products: expected at least one: \[products.NAME\] with bundle = PATH"),
        ("cameras = []\n" + ONE, r"cameras: expected at least one: \[\[cameras\]\] with source"),
        (
            CAMERA + 'name = "a"\n' + CAMERA.replace("parts", "x") + 'name = "a"\n' + ONE,
            "two of them are named 'a'; giv",
        ),
        (
            CAMERA + 'name = "a"\n' + CAMERA + ONE,
            "two of them have the source folder:.*parts; a camera can be opened on",
        ),
        (
            CAMERA + 'name = "a"\n' + CAMERA.replace("parts", "x") + 'name = "b"\n[products.m8]\nbundles.a = "x"',
            "products.m8: lacks the bundle of the camera b; add bundles.b = PATH",
        ),
        (
            CAMERA + ONE + ONE.replace("m8", "m9"),
            r'which one at the start\? Expected one of m8, m9, such as product = "m8"',
        ),
        ('product = "m9"\n' + CAMERA + ONE, "product: there is no product 'm9'; products: m8"),
        ('name = " "\n' + CAMERA + ONE, "name: expected a name of 1 to 64 letters without :/\\?#@=&%, got ' '"),
        (
            'sinks = ["cvs:x"]\n' + CAMERA + ONE,
            r"sinks\[0\]: 'cvs:x': no sink has the scheme 'cvs'; did you mean csv:x\?",
        ),
        ('sinks = ["stdout:", "stdout:"]\n' + CAMERA + ONE, r"sinks\[1\]: stdout: is there twice"),
        ('sinks = "stdout:"\n' + CAMERA + ONE, r"sinks: expected a list, each text, got 'stdout:'"),
        (
            'gate = "modbsu://h"\n' + CAMERA + ONE,
            r"gate: 'modbsu://h': no gate has the scheme .* did you mean modbus://h\?",
        ),
        (CAMERA.replace("folder", "fodler") + ONE, r"cameras\[0\]: source: 'fodler:parts': no source has the scheme"),
        ("[[cameras]]\n" + ONE, r"cameras\[0\]\.source: is required \(text\)"),
        ("[cameras]\nsource = 'folder:x'\n" + ONE, r"cameras: expected a list, each a table, got "),
        (CAMERA + ONE + "[parts", "not a TOML file"),
        ("a = " + "[" * 20_000, "not a TOML file"),
        ("a = 1" + "0" * 5_000, "not a TOML file"),
    ],
)
def test_what_is_wrong_is_a_sentence_with_its_place(tmp_path, text, says):
    with pytest.raises(SettingsError, match=rf"^{tmp_path}/line\.toml: .*{says.removeprefix(': ')}"):
        line_of(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match=r"line\.toml: can not be read \(No such file or directory\)"):
        read_line(tmp_path / "line.toml")


@pytest.fixture
def shop(tmp_path):
    """A line of one folder of six parts, of which two are red (accept), two blue, two grey."""
    write_bundle(tmp_path / "m8.bundle")
    (tmp_path / "parts").mkdir()
    for n in range(6):
        (tmp_path / "parts" / f"{n}.png").write_bytes(png((RED, BLUE, GREY)[n % 3]))
    (tmp_path / "line.toml").write_text('sinks = ["csv:results.csv"]\n' + CAMERA + ONE)
    return tmp_path


def test_it_runs_from_any_folder(shop, capsys):
    assert main(["run", str(shop / "line.toml")]) == 0
    assert "6 parts in" in capsys.readouterr().out
    assert len((shop / "results.csv").read_bytes().splitlines()) == 7
    assert (shop / "m8.bundle.db").is_file()


def test_parts_may_be_limited_by_a_flag(shop, capsys):
    assert main(["run", str(shop / "line.toml"), "--parts", "2"]) == 0
    assert "2 parts in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--gate", "s7://x"], "--gate: line.toml says that: set gate there"),
        (["--to", "stdout:"], "--to: line.toml says that: set sinks there"),
        (["--max-fps", "3"], "--max-fps: line.toml says that: set parts.max_fps there"),
        (["--source", "nuts:"], "--source: line.toml says that: set cameras there"),
    ],
)
def test_a_flag_is_no_second_place_for_a_setting(shop, monkeypatch, capsys, flags, says):
    monkeypatch.chdir(shop)
    assert main(["run", "line.toml", *flags]) == 2
    assert says in capsys.readouterr().err


def test_a_bundle_needs_a_source(shop, monkeypatch, capsys):
    monkeypatch.chdir(shop)
    assert main(["run", "m8.bundle"]) == 2
    assert "m8.bundle: expected line.toml, or a bundle and where its pictures come from: --source URL" in (
        capsys.readouterr().err
    )


def test_pictures_are_kept_as_the_file_says(shop, monkeypatch, capsys):
    """The tiny bundle on red and blue parts: rejects and one in two of the others, under their hashes."""
    import hashlib

    monkeypatch.chdir(shop)
    (shop / "parts").mkdir(exist_ok=True)
    for n in range(1, 9):
        (shop / "parts" / f"{n}.png").write_bytes(png(BLUE if n % 4 == 0 else RED, 16 + n))
    camera = '[[cameras]]\nsource = "folder:parts"\n'
    (shop / "line.toml").write_text(camera + ONE + '[store]\npictures = "rejects"\nevery = 2\nfolder = "kept"\n')
    assert main(["run", "line.toml", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["verdicts"]["reject"], summary["pictures"]["kept"]) == (2, 2 + 3)
    kept = {path.stem for path in (shop / "kept").rglob("*.png")}
    assert len(kept) == 5
    for name in ("4.png", "8.png"):
        assert hashlib.sha256((shop / "parts" / name).read_bytes()).hexdigest() in kept
    store = str(read_line(shop / "line.toml").store_place)
    assert main(["verify", "--store", store, "--pictures"]) == 0
    assert "5 pictures are as promised" in capsys.readouterr().out


def test_views_of_several_cameras_and_products(shop, monkeypatch):
    import numpy as np

    from lineside.line.open import view

    line = read_line(shop / "line.toml")
    write_bundle(shop / "m9.bundle", accept=("bad",))
    line = replace(line, products=line.products | {"m9": Product(shop / "m9.bundle")}, product="m9")
    one = view(line, line.cameras[0], np.random.default_rng(0))
    assert {name: model.manifest.accept for name, model in one.models.items()} == {
        "m8": ("good",), "m9": ("bad",)
    }  # fmt: skip
    assert (one.name, one.source.total, set(one.drifts)) == ("camera", 6, {"m8", "m9"})


def test_a_sink_that_does_not_open_leaves_nothing_open(shop):
    import numpy as np

    line = read_line(shop / "line.toml")
    wrong = replace(line, sinks=(*line.sinks, f"csv:{shop}/no/x.csv"))
    with (
        pytest.raises(Exception, match=r"no/x\.csv: can not be opened"),
        opened(wrong, np.random.default_rng(0), print),
    ):
        raise AssertionError("it is open")
    with opened(line, np.random.default_rng(0), print) as it:  # or results.csv would still be locked
        assert len(it.sinks) == 1


def test_it_is_shown_without_secrets(tmp_path):
    import json

    text = CAMERA.replace("folder:parts", "rtsp://u:geheim@cam/x?token=geheim") + ONE
    said = json.dumps(shown(line_of(tmp_path, 'sinks = ["webhook:https://mes/r?token=geheim"]\n' + text)))
    assert "geheim" not in said
    assert "rtsp://u:***@cam/x" in said
