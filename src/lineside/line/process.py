"""What this process takes of the machine now: memory, open files, threads, processor time. Linux: /proc."""

import os
import time
from dataclasses import dataclass

from lineside.errors import LineError


@dataclass(frozen=True, slots=True)
class Usage:
    rss_bytes: int  # resident memory, shared libraries included
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
    return Usage(pages * os.sysconf("SC_PAGE_SIZE"), files, threads, time.process_time())
