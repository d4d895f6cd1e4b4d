"""`lineside run` as its own process: a true bundle and engine, signals, kill -9, a full disk, a reader who leaves."""

import csv
import json
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineside.cli.main import main
from lineside.line.desk import Desk
from lineside.line.messages import Reply
from tests.line import impatient
from tests.line.tiny import BLUE, GREY, RED, png, write_bundle

LINESIDE = [sys.executable, "-m", "lineside"]
IMPATIENT = [sys.executable, *impatient.COMMAND]


@pytest.fixture
def shop(tmp_path):
    """A folder with tiny.bundle and 12 parts in class folders, one of them unreadable."""
    write_bundle(tmp_path / "tiny.bundle")
    for n in range(12):
        label, color = (("good", RED), ("bad", BLUE), ("odd", GREY))[n % 3]
        (tmp_path / "parts" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / label / f"{n:02}.png").write_bytes(png(color) if n != 4 else b"")
    return tmp_path


def many(shop, n=6_000) -> str:
    """More parts than any test waits for: links to one picture."""
    folder = shop / "many"
    folder.mkdir()
    (folder / "000000.png").write_bytes(png(RED))
    for k in range(1, n):
        (folder / f"{k:06}.png").hardlink_to(folder / "000000.png")
    return f"folder:{folder}"


def rows(store: Path, query="SELECT sequence, id FROM inspection ORDER BY sequence"):
    connection = sqlite3.connect(store)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def start(shop, *flags, stdout=subprocess.PIPE, program=LINESIDE, **given):
    command = [*program, "run", "tiny.bundle", *flags]
    return subprocess.Popen(command, cwd=shop, stdout=stdout, stderr=subprocess.PIPE, text=True, **given)


def lines(path: Path, at_least=0) -> list[bytes]:
    """The whole lines of a file, as soon as there are so many."""
    for _ in range(6000):
        found = path.read_bytes().rpartition(b"\n")[0].splitlines()
        if len(found) >= at_least:
            return found
        time.sleep(0.01)
    raise AssertionError(f"{path} has only {len(found)} lines after a minute")


@pytest.mark.parametrize("packed", [False, True])
def test_from_files_to_verdicts_with_a_real_engine(shop, capsys, monkeypatch, packed):
    monkeypatch.chdir(shop)
    bundle = "tiny.bundle"
    if packed:
        from lineside.bundle.folder import pack

        pack("tiny.bundle", bundle := "tiny.zip")
    assert main(["run", bundle, "--source", "folder:parts", "--to", "csv:r.csv", "--deadline-ms", "60000"]) == 0
    out, err = capsys.readouterr()
    assert "12 parts in" in out
    assert "1 unreadable" in out
    assert "deadline 60000 ms: 0 misses" in out
    assert "escape   0.0 % (0.0 to 60.2, n = 4)" in out
    assert "p99.9" in out
    assert "12 rejected" not in err
    with (shop / "r.csv").open(newline="") as file:
        told = list(csv.DictReader(file))
    assert {row["verdict"] for row in told if row["name"].startswith("good/")} == {"accept"}
    assert {row["verdict"] for row in told if row["name"].startswith("odd/")} == {"hold"}
    assert {row["verdict"] for row in told if row["name"].startswith("bad/")} == {"reject"}
    assert [(int(row["sequence"]), row["id"]) for row in told] == rows(shop / f"{bundle}.db")
    ((sha256, source, ended),) = rows(shop / f"{bundle}.db", "SELECT bundle_sha256, source, ended FROM run")
    import hashlib

    assert sha256 == hashlib.sha256((shop / "tiny.bundle" / "manifest.json").read_bytes()).hexdigest()
    assert (source, ended is not None) == ("folder:parts", True)


def test_results_on_stdout_are_alone_there(shop, capsys, monkeypatch):
    monkeypatch.chdir(shop)
    assert main(["run", "tiny.bundle", "--source", "folder:parts", "--to", "stdout:", "--json", "--parts", "5"]) == 0
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert [one["sequence"] for one in told] == [1, 2, 3, 4, 5]
    summary = json.loads(err[err.index("{") :])
    assert summary["parts"] == summary["stored"] == 5
    assert summary["latency_ms"]["total"]["n"] == 5


def test_a_second_run_goes_on_in_the_same_files(shop, capsys, monkeypatch):
    monkeypatch.chdir(shop)
    for _ in range(2):
        assert main(["run", "tiny.bundle", "--source", "folder:parts", "--to", "csv:r.csv", "--store", "s.db"]) == 0
    assert rows(shop / "s.db", "SELECT count(*), count(DISTINCT run_id) FROM inspection") == [(24, 2)]
    assert len((shop / "r.csv").read_bytes().splitlines()) == 25


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["--source", "folder:none"], 6, "folder:none: does not exist; expected a folder of pictures"),
        (["--source", "folder:"], 2, "source: 'folder:': no path after the colon (was a variable of the"),
        (["--source", "watch:"], 2, "expected watch:PATH, or watch:. for the folder that you are in"),
        (["--source", "watch:#timeout_s=1"], 2, "expected watch:PATH"),
        (["--source", "video:"], 2, "expected video:PATH"),
        (["--source", "folder:parts", "--to", "csv:"], 2, "expected csv:PATH"),
        (["--source", "folder:parts", "--gate", ""], 2, "a gate is written SCHEME:WHERE"),
        (["--source", "folder:parts", "--store", ""], 2, "expected a file or postgresql://"),
        (["--source", "fodler:parts"], 2, "did you mean folder:parts?"),
        (["--source", "folder:parts", "--to", "cvs:x"], 2, "did you mean csv:x?"),
        (["--source", "folder:parts", "--store", "no/x.db"], 6, "the folder no does not exist; make it"),
        (["--source", "folder:parts", "--store", "/proc/x.db"], 6, "in a writable folder, with --store FILE"),
        (["--source", "folder:parts", "--store", "tiny.bundle/x.db"], 4, "x.db: is inside the bundle tiny.bundle"),
        (["--source", "folder:parts", "--to", "csv:tiny.bundle/r.csv"], 4, "r.csv: is inside the bundle tiny.bundle"),
    ],
)
def test_what_can_not_start_says_why(shop, capsys, monkeypatch, flags, code, says):
    monkeypatch.chdir(shop)
    assert main(["run", "tiny.bundle", *flags]) == code
    assert says in capsys.readouterr().err
    assert main(["run", "tiny.bundle", "--source", "folder:parts"]) == 0  # nothing was left in the bundle


@pytest.mark.parametrize("flags", [["--max-fps", "0"], ["--deadline-ms", "nan"], ["--parts", "0"], ["--parts", "x"]])
def test_flags_out_of_range(shop, capsys, flags):
    with pytest.raises(SystemExit) as stop:
        main(["run", "x", "--source", "folder:parts", *flags])
    assert stop.value.code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_stop_is_orderly(shop, number):
    out = shop / "out"
    with out.open("w") as file, start(shop, "--source", many(shop), "--to", "stdout:", stdout=file) as line:
        lines(out, at_least=20)
        line.send_signal(number)
        _, err = line.communicate(timeout=60)
    assert line.returncode == 130
    told = [json.loads(one) for one in lines(out)]
    stored = rows(shop / "tiny.bundle.db")
    assert [(one["sequence"], one["id"]) for one in told] == stored
    assert [sequence for sequence, _ in stored] == list(range(1, len(stored) + 1))
    assert f"{len(stored):,} parts in" in err
    assert "p99.9" in err
    assert rows(shop / "tiny.bundle.db", "SELECT ended IS NOT NULL FROM run") == [(1,)]


LINE = """
[[cameras]]
source = "folder:parts"
[products.m8]
bundle = "tiny.bundle"
[control]
socket = "line.sock"
"""


def test_sigterm_while_the_line_is_being_opened_leaves_no_socket_behind(shop):
    """At the worst moment: everything is open, and nobody has begun to run it."""
    (shop / "line.toml").write_text(LINE)
    program = (
        "import os, signal, sys, time\n"
        "from lineside.cli.main import main\n"
        "from lineside.line import open\n"
        "def last(views):\n"
        "    assert os.path.exists('line.sock')\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
        "open._notes = last\n"
        "sys.exit(main(['run', 'line.toml']))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=shop, capture_output=True, text=True, timeout=120)
    assert (done.returncode, (shop / "line.sock").exists()) == (130, False), done.stderr
    assert rows(shop / "tiny.bundle.db") == []


def test_an_order_that_nobody_answers_is_refused_without_a_product_that_is_not_known(shop, capsys):
    (shop / "line.toml").write_text(LINE)
    desk = Desk(shop / "line.sock", lambda asked: None, patience_s=0.05)
    try:
        assert main(["control", str(shop / "line.toml"), "start"]) == 1
    finally:
        desk.close()
    said = capsys.readouterr().out
    assert said.startswith("refused: the line did not answer within")
    assert len(said.splitlines()) == 1
    desk = Desk(shop / "line.sock", lambda asked: asked.reply(Reply("not now", "preoperational", "", "")))
    try:
        assert main(["control", str(shop / "line.toml"), "start"]) == 1
    finally:
        desk.close()
    assert capsys.readouterr().out == "refused: not now\npreoperational\n"


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_told(shop):
    rng = random.Random(7)
    source = many(shop)
    store = shop / "tiny.bundle.db"
    for turn in range(5):
        out, told_csv = shop / f"{turn}.jsonl", shop / f"{turn}.csv"
        with (
            out.open("w") as file,
            start(shop, "--source", source, "--to", "stdout:", "--to", f"csv:{told_csv}", stdout=file) as line,
        ):
            lines(out, at_least=rng.randint(1, 300))
            time.sleep(rng.uniform(0, 0.05))
            line.kill()
            line.communicate()
        whole = [json.loads(one) for one in lines(out)]
        run_id = whole[0]["run_id"]
        stored = rows(store, f"SELECT sequence, id FROM inspection WHERE run_id = '{run_id}' ORDER BY sequence")
        assert [(one["sequence"], one["id"]) for one in whole] == stored[: len(whole)]
        assert [sequence for sequence, _ in stored] == list(range(1, len(stored) + 1))
        complete = told_csv.read_bytes().rpartition(b"\r\n")[0].decode().splitlines()
        written = [(int(row["sequence"]), row["id"]) for row in csv.DictReader(complete)]
        assert written == stored[: len(written)]
        assert rows(store, "PRAGMA integrity_check") == [("ok",)]
    assert rows(store, "SELECT count(*) - count(DISTINCT id), count(DISTINCT run_id) FROM inspection") == [(0, 5)]
    assert rows(store, "SELECT count(*) FROM run WHERE ended IS NULL") == [(5,)]


def test_a_full_disk_stops_the_line_and_says_so(shop):
    def tiny_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    source = ("--source", many(shop))
    with start(shop, *source, "--to", "stdout:", preexec_fn=tiny_disk, program=IMPATIENT) as line:
        out, err = line.communicate(timeout=60)
    assert line.returncode == 6
    assert "the line stopped, and rejected what was in flight: tiny.bundle.db:" in err
    assert "--store FILE" in err
    told = [json.loads(one) for one in out.splitlines()]
    stored = rows(shop / "tiny.bundle.db")
    assert [(one["sequence"], one["id"]) for one in told] == stored[: len(told)]
    assert len(stored) > 0


def test_a_reader_who_leaves_stops_the_line(shop):
    with start(shop, "--source", many(shop), "--to", "stdout:") as line:
        line.stdout.readline()
        line.stdout.close()
        err = line.stderr.read()
        assert line.wait(60) == 6
    assert "stdout: nobody reads any more; every result is in the store" in err
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.parametrize(("fails", "code"), [(False, 141), (True, 6)])
def test_a_reader_who_leaves_before_the_summary_takes_no_fault_with_him(shop, fails, code):
    def tiny_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    read, write = os.pipe()
    os.close(read)
    source = many(shop) if fails else "folder:parts"
    limit = tiny_disk if fails else None
    with start(shop, "--source", source, stdout=write, preexec_fn=limit, program=IMPATIENT) as line:
        os.close(write)
        err = line.stderr.read()
    assert line.returncode == code
    assert ("the line stopped, and rejected what was in flight" in err) == fails
    assert "Traceback" not in err
    assert "BrokenPipe" not in err
    assert len(rows(shop / "tiny.bundle.db")) >= 12


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full without filling one")
def test_results_on_a_full_disk_stop_the_line(shop):
    with open("/dev/full", "w") as full, start(shop, "--source", many(shop), "--to", "stdout:", stdout=full) as line:
        err = line.stderr.read()
    assert line.returncode == 6
    assert "stdout: can not be written (No space left on device); every result is in the store" in err
    assert "Exception ignored" not in err


def test_two_lines_on_one_store(shop):
    lines = [start(shop, "--source", "folder:parts", "--to", f"csv:{k}.csv") for k in range(2)]
    assert [line.communicate(timeout=60)[0].splitlines()[0].split(" in ")[0] for line in lines] == ["12 parts"] * 2
    assert rows(shop / "tiny.bundle.db", "SELECT count(*), count(DISTINCT run_id) FROM inspection") == [(24, 2)]


def test_running_needs_no_torch_and_help_nothing_at_all(shop):
    code = """
import sys
from lineside.cli.main import main
try:
    main(["run", "--help"])
except SystemExit:
    pass
heavy = {"numpy", "sqlalchemy", "PIL", "scipy", "onnxruntime"} & set(sys.modules)
assert not heavy, heavy
assert main(["run", "tiny.bundle", "--source", "folder:parts"]) == 0
learning = {"torch", "onnx", "onnxscript", "openvino", "sklearn", "matplotlib"} & set(sys.modules)
assert not learning, learning
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=shop, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_line_that_halted_and_that_nobody_can_reset_has_an_exit_code_of_its_own(shop):
    """A service manager that starts it again at once would let the belt go on before anybody has looked."""
    settings = '[[cameras]]\nsource = "folder:parts/bad"\n[products.m8]\nbundle = "tiny.bundle"\n'
    (shop / "line.toml").write_text(f"{settings}[parts]\nstop_after_rejects = 2\n")
    command = [*LINESIDE, "run", "line.toml", "--json"]
    done = subprocess.run(command, cwd=shop, capture_output=True, text=True, timeout=120)
    assert done.returncode == 8, done.stderr
    assert "2 rejects in a row: look at the process" in done.stderr
    assert json.loads(done.stdout)["halted"]


def test_a_bundle_that_only_sorts_is_refused_before_anything_is_opened_or_made(shop, capsys):
    write_bundle(shop / "sorts.bundle", accept=(), operating_point=None)
    assert main(["run", str(shop / "sorts.bundle"), "--source", f"folder:{shop / 'nowhere'}"]) == 2
    assert "this bundle sorts only" in capsys.readouterr().err
    assert not (shop / "sorts.bundle.db").exists()
