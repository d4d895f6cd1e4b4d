"""docs/plc.md says what the code has: addresses, codes, settings and their defaults."""

import re
from dataclasses import fields
from pathlib import Path

from lineside.line.gate import modbus, s7
from lineside.line.gate.catalog import GATES
from lineside.line.gate.gate import BELT_S, ROOM, ROOM_ON_BELT
from lineside.line.gate.wire import OTHER_REASON, PASSING, REASONS, STATES, VERDICTS

PAGE = (Path(__file__).parents[3] / "docs" / "plc.md").read_text(encoding="utf-8")
MODBUS, S7 = PAGE[PAGE.index("## modbus:") : PAGE.index("## s7:")], PAGE[PAGE.index("## s7:") :]


def test_every_scheme_is_there():
    for scheme in GATES:
        assert f"## {scheme}://HOST[:{(modbus if scheme == 'modbus' else s7).PORT}]" in PAGE
    assert f"at most {ROOM} verdicts" in PAGE


def test_the_register_map_is_the_code():
    coils = re.findall(r"^\| `coil` \+ (\d+) \| ([A-Z]+)", MODBUS, re.MULTILINE)
    registers = re.findall(r"^\| `register` \+ (\d+) \| ([A-Z]+)", MODBUS, re.MULTILINE)
    assert {name: int(at) for at, name in coils} == {"REJECT": modbus.REJECT, "PASS": modbus.PASS}
    names = ("HEARTBEAT", "STATE", "VERDICT", "REASON", "SEQUENCE", "ACCEPTED", "HELD", "REJECTED", "COUNT")
    assert {name: int(at) for at, name in registers} == {name: getattr(modbus, name) for name in names}


def test_the_block_is_the_code():
    rows = dict(re.findall(r"^\| ([\d.]+) \| ([A-Z]+)", S7, re.MULTILINE))
    assert {at: name for at, name in rows.items() if name in ("COUNT", "HEARTBEAT")} == {
        str(s7.COUNT): "COUNT", str(s7.HEARTBEAT): "HEARTBEAT",
    }  # fmt: skip
    assert f"at least `offset` + {s7.SIZE} bytes" in S7


def test_what_may_pass_in_which_state_is_the_code():
    numbers = sorted(STATES[state] for state in PASSING)
    assert numbers == [1, 8, 9, 10]
    assert "STATE is 1, 8, 9 or 10" in PAGE
    assert "in every STATE but 1, 8, 9 and 10" in PAGE
    assert "passing := state = 1 OR (state >= 8 AND state <= 10);" in PAGE
    assert f"up to {ROOM_ON_BELT} parts" in PAGE
    assert f"at most {BELT_S:g} s" in PAGE


def test_codes_are_the_code():
    for words, codes in (("VERDICT | per part", VERDICTS), ("STATE | by the heartbeat", STATES)):
        line = next(line for line in MODBUS.splitlines() if words in line)
        assert {name: int(n) for n, name in re.findall(r"(\d+) ([a-z]+)", line) if n != "0"} == codes
    told = dict(re.findall(r"(\d+) `([a-z-]+)`", MODBUS))
    assert {name: int(n) for n, name in told.items()} == REASONS
    assert f"{OTHER_REASON} another" in MODBUS


def test_settings_and_defaults_are_the_code():
    rows = {}
    for page, cls in ((MODBUS, modbus.Settings), (S7, s7.Settings)):
        for names, defaults in re.findall(r"^\| (`[a-z_`, ]+`) \| ([-\d., ]+) \|", page, re.MULTILINE):
            rows |= dict(zip(re.findall(r"`([a-z_]+)`", names), defaults.split(", "), strict=True))
        assert {name: float(value) for name, value in rows.items()} == {f.name: f.default for f in fields(cls)}
        rows = {}
