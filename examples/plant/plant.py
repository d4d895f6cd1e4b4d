"""A whole plant on one machine: synthetic camera → line → PLC, MES and SCADA, each a process of its own, on loopback.

    python examples/plant/plant.py [--bundle BUNDLE] [--parts N] [-o FOLDER]      (make plant)

    camera   nuts: with faults by plan (lost frames, a lamp that is out)
    line     `lineside run line.toml`: decides, rejects what it can not see, stores, tells
    PLC      plc.py, Modbus: passes a part only where the line has said so
    MES      mosquitto, and mes.py, which keeps each result and acknowledges it
    SCADA    scada.py, an OPC UA client with certificate, user and password

Without --bundle one is trained first, as `lineside demo` does it. At the end what the four of them have is compared,
part by part; the exit code is 0 only if they agree.
"""

import argparse
import contextlib
import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
USER = {"mes": "mes", "line": "line1", "scada": "scada"}
TOPIC = "plant/line1"
FAULTS = "lost=20+21,truncated=50,dark=80"
PATIENCE_S = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, help="a bundle that decides about nuts; trained if not given")
    parser.add_argument("--parts", type=int, default=300)
    parser.add_argument("-o", "--output", type=Path, default=Path("plant"), help="where it all goes")
    args = parser.parse_args()
    folder = args.output.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    bundle = (args.bundle or trained(folder)).resolve()
    for name in ("line.db", "plc.jsonl", "mes.jsonl", "scada.jsonl"):
        for old in folder.glob(f"{name}*"):
            old.unlink()
    with contextlib.ExitStack() as stack:
        mqtt, gate = plc_and_mes(stack, folder)
        certificate, key = trusted_client(folder)
        opcua, password = free_port(), folder / "scada.password"
        scada = helper(stack, "scada.py", opcua, USER["scada"], password, certificate, key, folder / "scada.jsonl")
        settings = folder / "line.toml"
        settings.write_text(line_toml(bundle, [mqtt, f"opcua://127.0.0.1:{opcua}?pki=opcua"], gate, args.parts))
        print(f"$ lineside run {settings} --check", flush=True)
        subprocess.run([*lineside(), "run", str(settings), "--check"], check=True)
        print(f"$ lineside run {settings}", flush=True)
        line = subprocess.Popen([*lineside(), "run", str(settings)], stdin=subprocess.DEVNULL)
        stack.callback(stop, line)
        wait_for(scada, "listening")
        order("status", settings)
        order("start", settings)
        code = line.wait()
        until(lambda: (folder / "mes.jsonl").exists())
    if code:
        print(f"the line ended with {code}")
        return code
    return compare(folder)


def trained(folder: Path) -> Path:
    """A bundle as `lineside demo` trains it."""
    bundle, recipe = folder / "nuts.bundle", folder / "recipe.toml"
    if not bundle.exists():
        recipe.write_text("epochs = 10\n")
        command = ["train", "nuts:", "-o", str(bundle), "--accept", "hex_nut", "--max-escape", "0.05"]
        print(f"$ lineside {' '.join(command)}", flush=True)
        subprocess.run([*lineside(), *command, "--recipe", str(recipe)], check=True)
    return bundle


def line_toml(bundle: Path, sinks: list[str], gate: str, parts: int) -> str:
    return f"""\
name = "plant line 1"
sinks = {json.dumps(sinks)}
gate = "{gate}"

[products.hex_nut]
bundle = {json.dumps(str(bundle))}

[[cameras]]
name = "belt"
source = "nuts:seed=1,{FAULTS}"

[parts]
deadline_ms = 500.0
limit = {parts}

[store]
url = "line.db"

[control]
socket = "line.sock"
autostart = false
"""


def plc_and_mes(stack: contextlib.ExitStack, folder: Path) -> tuple[str, str]:
    """PLC, broker and MES, all listening; the sink and the gate of a line.toml in that folder."""
    mqtt, modbus = free_port(), free_port()
    broker(stack, folder, mqtt)
    helper(stack, "plc.py", modbus, folder / "plc.jsonl")
    until(lambda: listens(modbus))
    mes = helper(stack, "mes.py", mqtt, USER["mes"], folder / "mes.password", TOPIC, folder / "mes.jsonl")
    wait_for(mes, "listening")
    user = f"user={USER['line']}&password_file={USER['line']}.password"
    return f"mqtt://127.0.0.1:{mqtt}/{TOPIC}?plain=true&{user}", f"modbus://127.0.0.1:{modbus}?deadline_ms=500"


def broker(stack: contextlib.ExitStack, folder: Path, port: int) -> None:
    """A mosquitto that lets in two users, each with a password of this run."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if mosquitto is None:
        raise SystemExit("mosquitto is not installed: apt-get install mosquitto")
    passwords = folder / "broker.passwords"
    passwords.unlink(missing_ok=True)
    passwords.touch(mode=0o600)
    for user in (USER["line"], USER["mes"]):
        password = secret(folder / f"{user}.password")
        subprocess.run(["mosquitto_passwd", "-b", str(passwords), user, password], check=True)
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n")
    log = stack.enter_context((folder / "mosquitto.log").open("wb"))
    process = subprocess.Popen([mosquitto, "-c", str(config)], stdout=log, stderr=log)
    stack.callback(stop, process)
    until(lambda: listens(port))


def trusted_client(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of the SCADA, whom the line's OPC UA server trusts, and a user for it."""
    certificate, key, pki = folder / "scada.der", folder / "scada.pem", folder / "opcua"
    if not key.exists():
        subject = ["-subj", "/CN=scada", "-addext", "subjectAltName=URI:urn:plant:scada,DNS:localhost"]
        made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", *subject]
        subprocess.run(
            [*made, "-keyout", str(key), "-out", str(certificate), "-outform", "DER"], check=True, capture_output=True
        )
    (pki / "trusted").mkdir(parents=True, exist_ok=True)
    (pki / "trusted" / "scada.der").write_bytes(certificate.read_bytes())
    password = secret(folder / "scada.password")
    make = [sys.executable, "-m", "lineside.line.sink.opcua_trust", str(pki / "users"), USER["scada"]]
    subprocess.run(make, input=password + "\n", text=True, check=True, capture_output=True)
    return certificate, key


def compare(folder: Path) -> int:
    """Who has what, in one table; 0 if they agree."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "line.db")) as store:
        rows = store.execute("SELECT id, sequence, verdict, reason FROM inspection ORDER BY sequence").fetchall()
    stored = {id_: verdict for id_, _, verdict, _ in rows}
    plc, mes, scada = (read(folder / f"{name}.jsonl") for name in ("plc", "mes", "scada"))
    passed = {one["sequence"] for one in plc if one["passes"]}
    kept = {one["ResultMetaData"]["ResultId"]: one["lineside"]["verdict"] for one in mes}
    shown = [one["result"] for one in scada if "result" in one]
    unseen = sum(reason != "decided" for *_, reason in rows)
    agree = {
        "every accepted part passed the gate, and no other": passed == {n for _, n, v, _ in rows if v == "accept"},
        "the PLC was told of every part, once, in order": [o["sequence"] for o in plc] == [n for _, n, _, _ in rows],
        "the MES keeps every result, with the verdict of the store": kept == stored,
        "the SCADA has seen every result, in order": shown == [id_ for id_, *_ in rows],
    }
    print(f"\n{len(rows)} parts, {len(passed)} passed the gate, {unseen} rejected unseen ({FAULTS})")
    print(f"the SCADA saw the states: {' → '.join(one['state'] for one in scada if 'state' in one)}")
    for what, true in agree.items():
        print(f"{'yes' if true else 'NO '}  {what}")
    print(f"everything is in {folder}")
    return 0 if rows and all(agree.values()) else 1


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def order(what: str, settings: Path) -> None:
    print(f"$ lineside control {settings} {what}", flush=True)
    subprocess.run([*lineside(), "control", str(settings), what], check=True)


def lineside() -> list[str]:
    return [sys.executable, "-m", "lineside"]


def helper(stack: contextlib.ExitStack, script: str, *args: object) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, str(HERE / script), *map(str, args)], stdout=subprocess.PIPE, text=True)
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(20)


def wait_for(process: subprocess.Popen, word: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.strip() == word:
            return
    raise SystemExit(f"{process.args} has ended")


def secret(path: Path) -> str:
    """A new password in a file that only we may read."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(secrets.token_urlsafe(16))
    return path.read_text()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise SystemExit("gave up waiting")
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
