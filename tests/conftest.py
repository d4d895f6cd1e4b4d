"""What every test process needs."""

import os
import shutil
import signal
import tempfile

import pytest
from hypothesis import settings

from lineside.cli.main import let_threads_sleep

# A shell that starts CI in the background makes its children ignore Ctrl-C, and theirs; the tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test` judges a change: the same examples each time. `make fuzz` looks for what nobody has thought of.
settings.register_profile("same", derandomize=True)
settings.register_profile("fuzz", derandomize=False, print_blob=True)
settings.load_profile("same")


# For tests that import onnxruntime themselves; those of silence start a process without it.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
let_threads_sleep()  # as the commands do: two processes of tests share two cores


@pytest.fixture(scope="session", autouse=True)
def _journals():
    """A folder for what lines that tests kill leave behind (lineside/store/journal.py), removed afterwards."""
    folder = tempfile.mkdtemp(prefix="lineside-tests-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.environ["RUNTIME_DIRECTORY"] = folder
    yield
    shutil.rmtree(folder)
