"""Fetch one file by https into the cache folder, checked by its sha256, whole or not at all.

    fetch(url, sha256, folder, offline=False)   the file's path there

A file appears under its name only when it is complete and its hash is right. Until then it is `NAME.part`; a cut
connection goes on from there. Nothing here runs unless the user named weights that are published by URL.
"""

import hashlib
import os
import time
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filelock import FileLock, Timeout

from lineside.errors import TrainError
from lineside.progress import Progress, silent

CHUNK_BYTES = 1 << 20
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def is_offline() -> bool:
    """Whether the environment forbids downloads: LINESIDE_OFFLINE is set, and not to 0."""
    return os.environ.get("LINESIDE_OFFLINE", "0") not in ("", "0")


def fetch(
    url: str,
    sha256: str,
    folder: Path,
    *,
    offline: bool = False,
    progress: Progress = silent,
    tries: int = 4,
    timeout_s: float = 30.0,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """The path of the file of this URL in folder, downloaded if it is not there yet.

    sha256 is the hash or its beginning, in hex; progress counts bytes. A try fails when nothing arrives for timeout_s;
    pauses between tries are 1, 2, 4 s. TrainError: offline, no such file, wrong hash, no connection, unwritable folder.
    """
    name = Path(urlsplit(url).path).name
    target, part = folder / name, folder / f"{name}.part"
    if target.exists():
        _verify(target, sha256, url)
        return target
    if offline:
        raise TrainError(
            f"{name} is not in {folder} and downloads are forbidden (offline); fetch {url} on another machine and put "
            f"the file there, or set LINESIDE_CACHE to the folder that has weights/{name}"
        )
    _secure(url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{name}.lock", timeout=3600):  # of the ranks of one training, one downloads
            if not target.exists():
                _download(url, part, progress, tries, timeout_s, pause)
                try:
                    _verify(part, sha256, url)
                except TrainError:
                    part.unlink()  # or the next call would go on from a wrong file
                    raise
                os.replace(part, target)
    except Timeout:
        raise TrainError(f"{folder / name}.lock: another process has held it for an hour; end it, then retry") from None
    except OSError as error:
        raise TrainError(
            f"{folder}: weights can not be kept there ({error.strerror or error}); make it writable, or set "
            "LINESIDE_CACHE to a folder that is"
        ) from None
    return target


def _download(
    url: str, part: Path, progress: Progress, tries: int, timeout_s: float, pause: Callable[[float], None]
) -> None:
    """Fill part with the whole answer of url, going on from what is there."""
    why = ""
    for attempt in range(tries):
        if attempt:
            pause(2.0 ** (attempt - 1))
        have = part.stat().st_size if part.exists() else 0
        try:
            answer = urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=timeout_s)
        except HTTPError as error:
            if error.code == 416:  # what is there is longer than the file: not ours to go on from
                part.unlink()
            elif error.code < 500 and error.code not in (408, 429):
                raise TrainError(
                    f"{url}: the server answered {error.code} {error.reason}; is the address right?"
                ) from None
            why = f"the server answered {error.code} {error.reason}"
            continue
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
            continue
        with answer:
            why = _keep(answer, part, have, progress)
        if not why:
            return
    raise TrainError(
        f"{url}: no complete answer after {tries} tries (the last: {why}); check the network and its proxy "
        f"(HTTPS_PROXY) and run the command again (it goes on from {part}), or put the file itself into {part.parent}"
    )


def _keep(answer: HTTPResponse, part: Path, have: int, progress: Progress) -> str:
    """Write an answer behind the first `have` bytes of part; "" when it came whole, else what happened."""
    goes_on = answer.status == 206
    length = answer.headers.get("Content-Length")
    done = have if goes_on else 0
    total = done + int(length) if length else 0
    with part.open("ab" if goes_on else "wb") as file:
        while True:
            try:
                chunk = answer.read1(CHUNK_BYTES)
            except (HTTPException, TimeoutError, ConnectionError) as error:
                return str(error) or type(error).__name__
            if not chunk:
                break
            file.write(chunk)
            done += len(chunk)
            progress(done, total, part.name.removesuffix(".part"))
        file.flush()
        os.fsync(file.fileno())
    return f"the connection ended after {done:,} of {total:,} bytes" if done < total else ""


def _verify(path: Path, sha256: str, url: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(sha256):
        raise TrainError(
            f"{path}: its sha256 begins with {found[: len(sha256)]}, expected {sha256}: not the file that {url} "
            "publishes; delete it and run the command again"
        )


def _secure(url: str) -> None:
    """Only https, or the machine itself."""
    scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
    if scheme != "https" and not (scheme == "http" and host in LOOPBACK):
        raise TrainError(f"{url}: weights are fetched by https only")
