"""/metrics: what a plant sees of a line, read from a real one over HTTP."""

import queue
import re
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from lineside.errors import LineError, SettingsError
from lineside.evidence.drift import Detector
from lineside.line.gate.catalog import open_gate
from lineside.line.latency import Histogram
from lineside.line.metrics import CLIENTS, Tls, place, serve, tls_context
from lineside.line.open import told
from lineside.line.settings import read_line
from lineside.line.sink.durable import Durable
from lineside.line.snapshot import BOUNDS_MS, Window, _since_s
from lineside.line.source.frame import Counts, Frame, Source, counted
from lineside.line.states import STATES
from tests.line.broker import free_port
from tests.line.gate.doubles import plc
from tests.line.tiny import BLUE, GREY, RED, picture, run, stub, write_bundle

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")


def scrape(url: str, context=None) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """{sample name: {labels: value}}"""
    with urllib.request.urlopen(url, timeout=30, context=context) as answer:
        text = answer.read().decode()
    found: dict = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            at = found.setdefault(sample.name, {})
            key = tuple(sorted(sample.labels.items()))
            assert key not in at, f"{sample.name}{key} is there twice"
            at[key] = sample.value
    return found


class Deaf:
    """A consumer who acknowledges nothing."""

    strange = 3

    def ready(self):
        pass

    def idle(self):
        pass

    def deliver(self, letters):
        return ()

    def close(self):
        pass


def test_every_number_of_a_line_that_runs(store, tmp_path, monkeypatch):
    """Scraped while part 5 is before the camera: four parts have their verdicts, and are stored."""
    monkeypatch.setattr("lineside.line.courier.PATIENCE_S", 0.2)
    window, counts, go, seen = Window("press-3"), Counts(), threading.Event(), queue.SimpleQueue()

    def frames():
        for n, color in enumerate((RED, BLUE, GREY), 1):
            yield Frame(f"p{n}", n, "x", picture=picture(color))
        yield Frame("p4", 4, "x", error="lost")
        go.wait()
        yield Frame("p5", 5, "x", picture=picture(RED))

    rng = np.random.default_rng(0)
    drift = Detector({"good": {"margin": rng.normal(3, 1, 50)}}, rng=rng)
    deaf = Durable("mqtt://host/plant?timeout-s=1", "mqtt://host/plant", lambda who, halt: Deaf())
    with plc(tmp_path) as double, serve("127.0.0.1:0", window, dropped=lambda: 7) as metrics:
        assert scrape(metrics.url)["lineside_build_info"]  # nothing of a line yet, and no error
        gate = open_gate(f"modbus://127.0.0.1:{double.port}?unit=1&deadline_ms=30000")
        source = Source("cam:", counted(frames(), counts), None, counts=counts)
        given = {"gate": gate, "drift": drift, "deadline_ms": 60_000, "window": window}
        line = threading.Thread(target=lambda: seen.put(run(stub(), source, [deaf], store, **given)))
        line.start()
        for _ in range(3000):
            found = scrape(metrics.url)
            done = (
                found.get("lineside_stored_total", {}).get((), 0),
                found.get("lineside_gate_confirmed_total", {}).get((), 0),
                list(found.get("lineside_courier_up", {}).values()),  # it has heard that nobody answers
            )
            if done == (4, 4, [0]):
                break
            threading.Event().wait(0.01)
        go.set()
        line.join()
        last = scrape(metrics.url)
    summary = seen.get()
    assert summary.parts == 5
    assert summary.fault == ""

    def one(name, **labels):
        return found[name][tuple(sorted(labels.items()))]

    assert found["lineside_parts_total"] == {
        (("verdict", "accept"),): 1,
        (("verdict", "hold"),): 1,
        (("verdict", "reject"),): 2,
    }
    assert one("lineside_parts_by_reason_total", reason="decided") == 3
    assert one("lineside_parts_by_reason_total", reason="unreadable") == 1
    assert one("lineside_parts_triggered_total") == 4
    assert one("lineside_deadline_misses_total") == 0
    assert one("lineside_deadline_seconds") == 60
    assert one("lineside_parts_in_flight") == 0
    assert found["lineside_state"] == {(("state", state),): state == "continuous" for state in STATES}
    assert last["lineside_state"] == {(("state", state),): state == "halted" for state in STATES}
    assert one("lineside_rejects_in_a_row") == 2  # a hold neither counts nor ends the row
    assert one("lineside_product_info", product="part") == 1
    assert one("lineside_frames_total", camera="camera", fate="delivered") == 3
    assert one("lineside_frames_total", camera="camera", fate="lost") == 1
    assert one("lineside_store_lag_parts") == one("lineside_store_lag_seconds") == one("lineside_store_lost_total") == 0
    assert one("lineside_store_room_parts") == 256
    assert one("lineside_store_up") == 1
    sink = {"sink": "mqtt://host/plant"}
    assert one("lineside_outbox_results", **sink) == 4
    assert one("lineside_outbox_oldest_seconds", **sink) > 0
    assert one("lineside_courier_up", **sink) == 0
    assert one("lineside_outbox_acknowledged_total", **sink) == 0
    assert one("lineside_outbox_strange_total", **sink) == 3
    assert one("lineside_gate_up") == 1
    assert 0 <= one("lineside_gate_heartbeat_age_seconds") < 30
    assert one("lineside_drift_threshold", camera="camera") == 100_000
    assert one("lineside_drift_evidence", camera="camera") > 0
    assert one("lineside_drift_alarms_total", camera="camera", number="margin") == 0
    assert one("lineside_log_dropped_total") == 7
    assert one("lineside_bundle_info", camera="camera", product="part", sha256="ab" * 32) == 1
    assert one("process_resident_memory_bytes") > 1e6
    for stage, n in {"decode": 3, "infer": 3, "decide": 3, "total": 4, "wire": 4, "confirmed": 4}.items():
        assert one("lineside_stage_seconds_count", stage=stage) == n
        assert one("lineside_stage_seconds_bucket", stage=stage, le="+Inf") == n
    ends = {stage: last["lineside_stage_seconds_sum"][(("stage", stage),)] for stage in ("total", "wire", "confirmed")}
    assert ends["confirmed"] == pytest.approx(ends["total"] + ends["wire"], abs=0.05)
    assert last["lineside_parts_total"][(("verdict", "accept"),)] == 2  # the end of the run stays to be seen
    assert summary.end_ms.n == 5
    assert set(found) | set(last) >= listed()
    assert {name for name in found if name.startswith("lineside_")} <= listed(), "docs/metrics.md does not list it"


def listed() -> set[str]:
    """Samples in the tables of docs/metrics.md; a histogram as its three."""
    names = set(re.findall(r"^\| `(lineside_[a-z_]+)", PAGE, re.MULTILINE))
    names -= {"lineside_stage_seconds"}
    return names | {f"lineside_stage_seconds_{part}" for part in ("bucket", "count", "sum")}


def test_what_a_line_has_not_has_no_metric(store):
    window = Window("l")
    run(stub(), Source("mem:", iter([Frame("1", 1, "x", picture=picture(RED))]), 1), [], store, window=window)
    with serve("127.0.0.1:0", window) as metrics:
        found = scrape(metrics.url)
    assert found["lineside_parts_total"][(("verdict", "accept"),)] == 1
    for name in found:
        assert not name.startswith(("lineside_gate", "lineside_drift", "lineside_outbox", "lineside_deadline_seconds"))


def test_a_store_that_hangs_costs_the_page_its_outboxes_only(store):
    class Hung:
        def sent(self):
            hang.wait()

    hang, window = threading.Event(), Window("l", wait_s=0.01)
    run(stub(), Source("mem:", iter([Frame("1", 1, "x", picture=picture(RED))]), 1), [], store, window=window)
    last = window.look()
    assert last is not None
    window.open(lambda: replace(last, outboxes=None), (Hung(),))
    with serve("127.0.0.1:0", window) as metrics:
        found = scrape(metrics.url)
        threads = threading.active_count()
        for _ in range(5):
            assert scrape(metrics.url)["lineside_store_up"] == {(): 0}
        assert threading.active_count() <= threads + CLIENTS  # one asks, however often it is looked
        hang.set()
    assert found["lineside_parts_triggered_total"] == {(): 1}


def test_histograms_count_what_is_at_most_so_long():
    rng = np.random.default_rng(1)
    times = np.exp(rng.uniform(np.log(0.01), np.log(5000), 4000))
    histogram = Histogram()
    for ms in times:
        histogram.add(float(ms))
    got = histogram.up_to(BOUNDS_MS)
    for bound, n in zip(BOUNDS_MS, got.counts, strict=True):
        assert (times <= bound / 1.0051).sum() <= n <= (times <= bound).sum()
    assert (got.n, got.sum_ms) == (4000, pytest.approx(times.sum()))


def test_the_lag_is_the_age_of_the_oldest_verdict_that_is_not_stored():
    given = deque([1e9, 2e9, 3e9])
    assert [_since_s(5e9, given, waiting) for waiting in (0, 1, 2, 3, 9)] == [0, 2, 3, 4, 4]
    assert _since_s(5e9, deque(), 1) == 0


def test_addresses():
    assert place("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert place("9464") == ("127.0.0.1", 9464)
    assert place("[::1]:80") == ("::1", 80)
    for wrong in ("", "host", "host:", ":80", "host:99999", "host:8 0", "http://host:80/"):
        with pytest.raises(SettingsError, match="expected HOST:PORT"):
            place(wrong)


def test_a_port_that_is_taken_is_a_sentence_and_another_host_a_note():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            LineError, match=rf"metrics: 127\.0\.0\.1:{port}: can not be served \(Address already in use"
        ):
            serve(f"127.0.0.1:{port}", Window("l"))
    with pytest.raises(LineError, match="can not be served"):
        serve("203.0.113.1:0", Window("l"))
    with serve("0.0.0.0:0", Window("l")) as metrics:
        assert "anyone who reaches this address can read it" in metrics.note
    with serve("127.0.0.1:0", Window("l")) as metrics:
        assert metrics.note == ""


def test_clients_that_hang_are_let_go_and_do_not_add_up(monkeypatch):
    monkeypatch.setattr("lineside.line.metrics.TIMEOUT_S", 0.2)
    with serve("127.0.0.1:0", Window("l")) as metrics:
        address = ("127.0.0.1", int(metrics.url.split(":")[2].split("/")[0]))
        before = threading.active_count()
        silent = [socket.create_connection(address) for _ in range(4 * CLIENTS)]
        assert threading.active_count() <= before + CLIENTS
        for client in silent:
            client.settimeout(60)
            assert client.recv(100) == b""  # the server has closed it
            client.close()
        assert scrape(metrics.url)["lineside_build_info"]


def certificate(folder: Path, name: str, *more: str) -> tuple[Path, Path]:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-days", "2"]
    command += ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}"]
    subprocess.run([*command, *(more or ["-nodes"])], cwd=folder, check=True, capture_output=True)
    return folder / f"{name}.pem", folder / f"{name}.key"


def test_tls_and_the_clients_certificate(tmp_path):
    """As line.toml says it, with paths relative to the file."""
    server = certificate(tmp_path, "server", "-nodes", "-addext", "subjectAltName=IP:127.0.0.1")
    client = certificate(tmp_path, "client")
    write_bundle(tmp_path / "m8.bundle")
    port = free_port()
    text = '[products.m8]\nbundle = "m8.bundle"\n[[cameras]]\nsource = "nuts:"\n[log]\nfile = "line.log"\n'
    web = 'certificate = "server.pem"\nkey = "server.key"\nclient_ca = "client.pem"\n'
    (tmp_path / "line.toml").write_text(f'{text}[web]\nmetrics = "127.0.0.1:{port}"\n{web}')
    url = f"https://127.0.0.1:{port}/metrics"
    with told(read_line(tmp_path / "line.toml")):
        stranger = ssl.create_default_context(cafile=str(server[0]))
        with pytest.raises(OSError):  # noqa: PT011  refused in the handshake or after it: both are OSErrors
            scrape(url, stranger)
        friend = ssl.create_default_context(cafile=str(server[0]))
        friend.load_cert_chain(*client)
        assert scrape(url, friend)["lineside_build_info"]
    assert f"metrics at {url}" in (tmp_path / "line.log").read_text()


def test_files_that_are_none_for_tls(tmp_path):
    with pytest.raises(SettingsError, match=r"metrics: .*none\.pem.*can not be used for TLS \(No such file"):
        tls_context(Tls(tmp_path / "none.pem", tmp_path / "none.key"))
    locked = certificate(tmp_path, "locked", "-passout", "pass:geheim")
    with pytest.raises(SettingsError, match=r"\(the key has a passphrase\); expected PEM files, the key without"):
        tls_context(Tls(*locked))  # and nobody is asked for it
    seen = certificate(tmp_path, "seen")
    seen[1].chmod(0o644)
    with pytest.raises(SettingsError, match=r"seen\.key: holds the server's key and others can read it \(mode 644\)"):
        tls_context(Tls(*seen))


def test_the_alarm_rules_are_yaml_and_of_metrics_that_there_are():
    """What promtool checks beside this (the grammar of PromQL) was checked by hand: it is no Python package."""
    import yaml

    (group,) = yaml.safe_load((ROOT / "docs" / "lineside-alerts.yml").read_text(encoding="utf-8"))["groups"]
    names = [rule["alert"] for rule in group["rules"]]
    assert len(set(names)) == len(names) >= 15
    known = listed()
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    used = set(re.findall(r"\blineside_[a-z_]+", " ".join(rule["expr"] for rule in group["rules"])))
    assert set(re.findall(r"^\| `(lineside_\w+)` \|.*\| any[^|]*\|$", page, re.MULTILINE)) <= used
    for rule in group["rules"]:
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        used = set(re.findall(r"\blineside_[a-z_]+", rule["expr"]))
        assert used <= known, f"{rule['alert']}: {used - known}"
        assert used or "up{" in rule["expr"]
        assert rule["expr"].count("(") == rule["expr"].count(")")
