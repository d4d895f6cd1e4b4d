"""What this process takes of the machine: memory, open files, threads, processor time (/proc); and malloc's arenas."""

import ctypes
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from lineside.errors import LineError

MALLOC_ARENAS = 2  # glibc's own: eight a core
M_ARENA_MAX = -8  # malloc.h


@dataclass(frozen=True, slots=True)
class Usage:
    rss_bytes: int  # resident memory, shared libraries included
    held_bytes: int | None  # given out by malloc and not given back; None: only glibc 2.33 and newer says it
    files: int  # open descriptors
    threads: int
    cpu_s: float  # user and system, of all threads since the start


def usage() -> Usage:
    """As it is now; LineError where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        files = len(os.listdir("/proc/self/fd")) - 1  # one is that of the listing
        threads = len(os.listdir("/proc/self/task"))
    except (OSError, ValueError, IndexError) as error:
        raise LineError(
            f"/proc/self: memory and files of this process can't be read ({error}); Linux has them"
        ) from None
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), held_bytes(), files, threads, time.process_time())


def held_bytes() -> int | None:
    """What the program's own libraries hold of malloc; Python keeps its small objects elsewhere.

    Where resident memory grows and this does not, it is room between blocks that malloc keeps: no leak.
    """
    mallinfo2 = _mallinfo2()
    if mallinfo2 is None:
        return None
    said = mallinfo2()
    return said.uordblks + said.hblkhd


def share_arenas(environ: Mapping[str, str]) -> bool:
    """Let the threads of this process share MALLOC_ARENAS of malloc's, and say whether they will.

    A line's pictures and results are made in one thread and let go in another. With an arena for each thread, as glibc
    has it, every one keeps its own room between blocks, which creeps for days (docs/soak.md). To be called before the
    threads start. Not where glibc was told otherwise by its own variables, nor with another malloc.
    """
    if "MALLOC_ARENA_MAX" in environ or "glibc.malloc.arena_max" in environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        return bool(ctypes.CDLL(None).mallopt(M_ARENA_MAX, MALLOC_ARENAS))
    except (OSError, AttributeError):
        return False


class _Mallinfo2(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@cache
def _mallinfo2() -> Any:
    try:
        found = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return None
    found.restype = _Mallinfo2
    return found
