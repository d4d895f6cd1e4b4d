"""Disks that are full: a file system of one megabyte, a limit on the size of files, /dev/full."""

import csv
import functools
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.shop import PARTS, gate_is_stored, sqlite, store_is_whole
from tests.line import impatient

pytestmark = pytest.mark.slow
SLOW = "deadline_ms=30000&pass_ms=1"
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]  # needs no root where the kernel lets users do it


@functools.cache
def no_namespaces() -> str:
    if shutil.which("unshare") is None:
        return "there is no program unshare"
    done = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True)
    return f"this kernel lets users mount nothing: {done.stderr.strip()}" if done.returncode else ""


needs_namespaces = pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces() or "it lets them")
# mounts a small file system on $0, runs the rest there, copies what is left on it to $0.kept
SMALL = 'mount -t tmpfs -o size=$1 none "$0" || exit 99; shift; "$@"; code=$?; cp -r "$0" "$0.kept"; exit $code'


def on_a_small_disk(folder: Path, size: str) -> list[str]:
    folder.mkdir()
    return [*NAMESPACE, "sh", "-c", SMALL, str(folder), size]


@needs_namespaces
def test_the_disk_of_the_store_is_full(shop, plc):
    """What is committed stays whole. What could not be written any more is counted, and the line has stopped."""
    shop.furnish()
    disk = shop.folder / "disk"
    flags = ("--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}", "--to", f"csv:{shop.folder}/told.csv")
    line = shop.line(*flags, before=on_a_small_disk(disk, "600k"), store=disk / "line.db")
    assert line.ends() == 6, line.said()
    assert "the disk is full; free space, or name a file on another disk with --store FILE" in line.said()
    kept = shop.folder / "disk.kept" / "line.db"
    found = store_is_whole(sqlite(kept), kept)
    summary = line.summary()
    assert summary["stored"] == len(found) < PARTS
    assert summary["stored"] + summary["lost"] == summary["parts"]
    gate_is_stored(plc, found, shop.names, lost=summary["lost"])
    with (shop.folder / "told.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == [row.id for row in found]
    # and with space again the same store goes on
    again = shop.run("--parts", "100", store=kept)
    assert again["stored"] == 100
    assert len(store_is_whole(sqlite(kept), kept)) == len(found) + 100


@needs_namespaces
def test_the_disk_of_a_csv_file_is_full(shop, plc):
    """The store has every result, also those that the file could not take."""
    shop.furnish()
    disk = shop.folder / "disk"
    gate = ("--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}")
    line = shop.line(*gate, "--to", f"csv:{disk}/told.csv", before=on_a_small_disk(disk, "100k"))
    assert line.ends() == 6, line.said()
    assert "can not be written (No space left on device); the results are in the store" in line.said()
    summary = line.summary()
    found = store_is_whole(sqlite(shop.store), shop.store)
    assert (summary["stored"], summary["lost"]) == (summary["parts"], 0) == (len(found), 0)
    gate_is_stored(plc, found, shop.names)
    whole = (shop.folder / "disk.kept" / "told.csv").read_bytes().rpartition(b"\r\n")[0].decode().splitlines()
    told = [row["id"] for row in csv.DictReader(whole)]
    assert told == [row.id for row in found[: len(told)]]
    assert len(told) > 100


def test_a_file_that_may_not_grow_is_a_full_disk(shop, plc):
    """By RLIMIT_FSIZE, which every machine has: a quota. What the store could not take, the next line brings it."""
    shop.furnish()
    gate = ("--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}")
    line = shop.line(*gate, before=["prlimit", "--fsize=400000"], program=impatient.COMMAND)
    assert line.ends() == 6, line.said()
    found = store_is_whole(sqlite(shop.store), shop.store)
    summary = line.summary()
    assert summary["stored"] == len(found) < PARTS
    assert summary["lost"] > 0
    assert "the next line on this store takes it over" in line.said()
    shop.run(*gate, "--parts", "1")
    found = store_is_whole(sqlite(shop.store), shop.store)
    gate_is_stored(plc, found, shop.names)
    assert len(found) == summary["parts"] + 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_sink_that_is_full_from_the_start_moves_nothing(shop, plc):
    shop.furnish()
    line = shop.line("--gate", f"modbus://127.0.0.1:{plc.port}?{SLOW}", "--to", "csv:/dev/full")
    assert line.ends() == 6, line.said()
    assert "csv:/dev/full: can not be written (No space left on device)" in line.said()
    assert plc.parts() == []
