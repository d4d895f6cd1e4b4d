"""A real PostgreSQL server in a folder of its own, on a free port of loopback, stopped by its pid."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.line.broker import free_port, until

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
BIN = BINARIES[-1].parent if BINARIES else None
USER = "postgres"  # the server refuses to be root


def missing() -> str:
    if BIN is None:
        return "PostgreSQL's server is not installed: apt-get install postgresql"
    if os.geteuid() == 0 and USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return "PostgreSQL's server can not be root, and there is no user postgres"
    return ""


needs_postgresql = pytest.mark.skipif(bool(missing()), reason=missing() or "it is there")


class Postgres:
    """initdb, start, kill -9, start again, stop."""

    def __init__(self):
        self.as_user = {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="lineside-pg-"))  # not below tmp_path, which only root can enter
        if self.as_user:
            shutil.chown(self.folder, USER, USER)
        self.port = free_port()
        self.process: subprocess.Popen | None = None
        self._do("initdb", "-D", "data", "-U", "line", "--auth=trust", "-E", "UTF8", "--no-sync", "--locale=C")

    @property
    def url(self) -> str:
        return f"postgresql://line@127.0.0.1:{self.port}/postgres"

    def _do(self, program: str, *args: str) -> None:
        assert BIN
        subprocess.run([BIN / program, *args], check=True, cwd=self.folder, capture_output=True, **self.as_user)

    def start(self) -> "Postgres":
        assert BIN
        (self.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [BIN / "postgres", "-D", "data", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-k",
                 str(self.folder)], cwd=self.folder, stdout=log, stderr=log, **self.as_user,
            )  # fmt: skip
        until(self._answers)
        return self

    def _answers(self) -> bool:
        assert BIN
        assert self.process
        assert self.process.poll() is None, (self.folder / "log").read_text()
        ready = [BIN / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port), "-q"]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: at once and in order; SIGQUIT: at once, as after a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(30)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
